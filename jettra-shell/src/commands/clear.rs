//! `clear`

use std::io::{IsTerminal, stdout};

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Clears the screen.
pub const COMMAND: Command = Command {
    name: "clear",
    aliases: &["cls"],
    usage: "clear",
    help: "clear the screen",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(_shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    // Programs and files have no screen.
    Ok(if stdout().is_terminal() { Report::ClearScreen } else { Report::Nothing })
}
