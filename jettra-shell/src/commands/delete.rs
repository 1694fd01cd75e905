//! `delete <col> <id>`

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::text;

/// Deletes a document.
pub const COMMAND: Command = Command {
    name: "delete",
    aliases: &[],
    usage: "delete <col> <id>",
    help: "delete a document (its states stay in its history)",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id] = exactly(arguments, &COMMAND)?;
    shell.client.delete_document(shell.database()?, collection, id).await?;
    Ok(Report::status(format!("Deleted {}", text::plain(id)), "deleted"))
}
