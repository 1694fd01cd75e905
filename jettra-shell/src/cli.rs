//! The command line.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchOptions;
use crate::failure::Failure;
use crate::report::Format;
use crate::shell::{Settings, credentials};

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

    #[command(flatten)]
    password: Password,

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

/// Where the user's password comes from.
#[derive(Debug, Clone, Args)]
pub struct Password {
    /// The user's password; better by --password-file or JETTRA_PASSWORD, or asked for at a terminal if none is given
    #[arg(short, long, env = "JETTRA_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// A file whose first line is the user's password; '-' is the first line of the input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    /// The password, if one was given. A file counts before the environment.
    ///
    /// # Errors
    /// If the file cannot be read, or has no line.
    pub fn given(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.password_file else { return Ok(self.password.clone()) };
        let wrong = |why: String| Failure::Said(format!("the password cannot be read from {}: {why}", file.display()));
        let line = if file.as_os_str() == "-" {
            first_line(std::io::stdin().lock())
        } else {
            std::fs::File::open(file).and_then(|file| first_line(BufReader::new(file)))
        };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let password = line.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(wrong("its first line is empty".into()));
        }
        Ok(Some(password.to_owned()))
    }
}

/// The first line of an input, no longer than a password may be.
fn first_line(input: impl BufRead) -> std::io::Result<String> {
    const LONGEST: u64 = 4096;
    let mut line = String::new();
    input.take(LONGEST).read_line(&mut line)?;
    Ok(line)
}

/// What the program does beside running commands.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Measure writes and linearizable reads of a cluster under load
    Bench(BenchOptions),
}

impl Cli {
    /// How results and errors are printed.
    pub fn format(&self) -> Format {
        match &self.task {
            Some(Task::Bench(options)) => options.format,
            None => self.format,
        }
    }

    /// What the shell begins with.
    ///
    /// # Errors
    /// If there is a user but no password, and no terminal to ask for it.
    pub fn settings(&self) -> Result<Settings, Failure> {
        Ok(Settings {
            url: self.url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned()),
            credentials: credentials(self.user.as_deref(), self.password.given()?)?,
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
