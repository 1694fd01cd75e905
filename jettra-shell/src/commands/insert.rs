//! `insert <col> <json>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::text;

/// Saves a document.
pub const COMMAND: Command = Command {
    name: "insert",
    aliases: &[],
    usage: "insert <col> <json>",
    help: "save a document (its _id names it; a fresh one is made if there is none)",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, document] = exactly(arguments, &COMMAND)?;
    let saved = shell.client.save_document(shell.database()?, collection, document).await?;
    Ok(Report::Said(format!("Saved {} at revision {}", text::plain(&saved.id), saved.rev), json!(saved)))
}
