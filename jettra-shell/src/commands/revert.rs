//! `revert <col> <id> <version>`

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::text;

/// Restores a version.
pub const COMMAND: Command = Command {
    name: "revert",
    aliases: &[],
    usage: "revert <col> <id> <version>",
    help: "make an earlier state of a document its state again",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id, version] = exactly(arguments, &COMMAND)?;
    shell.client.restore_version(shell.database()?, collection, id, version).await?;
    Ok(Report::status(format!("Restored {}", text::plain(id)), "restored"))
}
