//! `get <col> <id>`

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Shows a document.
pub const COMMAND: Command = Command {
    name: "get",
    aliases: &[],
    usage: "get <col> <id>",
    help: "show a document",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id] = exactly(arguments, &COMMAND)?;
    let document = shell.client.get_document(shell.database()?, collection, id).await?;
    let missing = || Failure::Said(format!("{collection} has no document {id:?}; list them with: find {collection}"));
    document.map(Report::Document).ok_or_else(missing)
}
