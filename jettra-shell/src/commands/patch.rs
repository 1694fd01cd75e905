//! `patch <col> <id> <json>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::text;

/// Changes parts of a document.
pub const COMMAND: Command = Command {
    name: "patch",
    aliases: &[],
    usage: "patch <col> <id> <json>",
    help: "change parts of a document (JSON merge patch; null removes a field)",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id, document] = exactly(arguments, &COMMAND)?;
    let rev = shell.client.patch(shell.database()?, collection, id, document).await?;
    let json = json!({"status": "ok", "rev": rev});
    Ok(Report::Said(format!("Saved {} at revision {rev}", text::plain(id)), json))
}
