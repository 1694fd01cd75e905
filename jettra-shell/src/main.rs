//! The shell of JettraDB: interactive, scripted, and a load generator.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `cli`, `conceal` | the command line, and how a password is taken off it |
//! | `repl`, `complete`, `history`, `script` | where lines come from: a terminal, with completion and history; arguments and pipes |
//! | `line` | lines → statements → words |
//! | `dispatch` | statements → commands |
//! | `commands/` | the table of commands, one file each: usage, help, completion, what it does |
//! | `shell`, `failure` | what commands work on: the client, the database in use; why they fail |
//! | `report`, `text`, `utc` | what commands return, as tables or JSON, with nothing in it that drives a terminal |
//! | `bench/` | `jettra-shell bench` |
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod cli;
mod commands;
mod complete;
mod conceal;
mod dispatch;
mod failure;
mod history;
mod line;
mod repl;
mod report;
mod script;
mod shell;
mod text;
mod utc;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Task};
use failure::Failure;
use shell::Shell;

/// The exit code of a program whose reader went away, as shells count it: 128 and the number of SIGPIPE.
const HUNG_UP: u8 = 141;

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(told) => return tell(&told),
    };
    if conceal::is_on_command_line(&matches) {
        report::hint(&conceal::start_anew());
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(told) => return tell(&told),
    };
    let format = cli.format();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) if failure.is_hang_up() => HUNG_UP.into(),
        Err(failure) => {
            report::complain(&failure, format);
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for instead of a run (help, the version), or what is wrong with the arguments.
fn tell(told: &clap::Error) -> ExitCode {
    match told.print().and_then(|()| std::io::stdout().flush()).map_err(Failure::Output) {
        Ok(()) => u8::try_from(told.exit_code()).unwrap_or(1).into(),
        Err(failure) if failure.is_hang_up() => HUNG_UP.into(),
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
