//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::bench::BenchOptions;
use crate::report::Format;
use crate::shell::{Failure, Settings, credentials};

/// Where a node is when nothing else is said.
pub const DEFAULT_URL: &str = "http://localhost:8080";

/// The shell of JettraDB.
///
/// Without -c it reads commands from the terminal, or from its input if that is no terminal.
/// Commands are separated by ';' or by lines; `help` lists them.
#[derive(Debug, Parser)]
#[command(name = "jettra-shell", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A node to connect to [default: http://localhost:8080]
    pub url: Option<String>,

    /// Run these commands, separated by ';', and exit: 0 only if all of them succeeded
    #[arg(short, long, value_name = "COMMANDS")]
    pub command: Option<String>,

    /// The user to connect as
    #[arg(short, long, env = "JETTRA_USER")]
    user: Option<String>,

    /// The user's password; asked for at a terminal if it is not given
    #[arg(short, long, env = "JETTRA_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// How to print results
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,

    /// How long one command may wait for the cluster, in seconds
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    timeout: f64,

    /// With -c or piped input: go on after a command that failed (the exit code tells it all the same)
    #[arg(short, long)]
    pub keep_going: bool,

    /// Something else than commands
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the program does beside running commands.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Measure writes and linearizable reads of a cluster under load
    Bench(BenchOptions),
}

impl Cli {
    /// What the shell begins with.
    ///
    /// # Errors
    /// If there is a user but no password, and no terminal to ask for it.
    pub fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings {
            url: self.url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned()),
            credentials: credentials(self.user.as_deref(), self.password.as_deref())?,
            format: self.format,
            timeout: Duration::from_secs_f64(self.timeout),
        })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("give a number of seconds above 0 and up to 3600".into()),
    }
}
