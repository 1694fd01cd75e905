//! `exit`

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Leaves the shell.
pub const COMMAND: Command = Command {
    name: "exit",
    aliases: &["quit"],
    usage: "exit",
    help: "leave the shell",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    shell.finished = true;
    Ok(Report::Nothing)
}
