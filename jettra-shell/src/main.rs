//! The shell of JettraDB: interactive, scripted, and a load generator.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `cli` | the command line |
//! | `repl`, `complete`, `script` | where lines come from: a terminal, with completion; arguments and pipes |
//! | `line` | lines → statements → words |
//! | `commands/` | the table of commands, one file each: usage, help, completion, what it does |
//! | `shell` | what commands work on: the client, the database in use |
//! | `report`, `text` | what commands return, as tables or JSON, with nothing in it that drives a terminal |
//! | `bench/` | `jettra-shell bench` |
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod cli;
mod commands;
mod complete;
mod line;
mod nearest;
mod repl;
mod report;
mod script;
mod shell;
mod text;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Task};
use shell::{Failure, Shell};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            report::complain(&failure, report::Format::Table);
            ExitCode::FAILURE
        }
    }
}

/// Whether everything succeeded.
fn run(mut cli: Cli) -> Result<bool, Failure> {
    if let Some(Task::Bench(options)) = cli.task.take() {
        // One thread: the load is to take as little as it can from the nodes beside it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(bench::run(&options));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut shell = Shell::new(cli.settings()?)?;
    if let Some(commands) = &cli.command {
        return runtime.block_on(script::run(&mut shell, commands.as_bytes(), cli.keep_going));
    }
    if repl::at_terminal() {
        return repl::run(&runtime, shell, cli.url.is_some()).map(|()| true);
    }
    runtime.block_on(script::run(&mut shell, std::io::stdin().lock(), cli.keep_going))
}
