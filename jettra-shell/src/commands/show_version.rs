//! `show version <col> <id> <version>`

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Shows a version.
pub const COMMAND: Command = Command {
    name: "show version",
    aliases: &[],
    usage: "show version <col> <id> <version>",
    help: "show an earlier state of a document",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id, version] = exactly(arguments, &COMMAND)?;
    let document = shell.client.version(shell.database()?, collection, id, version).await?;
    let missing =
        || Failure::Said(format!("{id:?} has no version {version:?}; list them with: history {collection} {id}"));
    document.map(Report::Document).ok_or_else(missing)
}
