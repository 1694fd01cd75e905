//! `watch <col>`

use jettra_client::Change;
use jettra_client::wire::ChangeOp;
use serde_json::json;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::{self, Format, Report};
use crate::shell::Shell;
use crate::text;

/// Prints changes as they are committed.
pub const COMMAND: Command = Command {
    name: "watch",
    aliases: &[],
    usage: "watch <col>",
    help: "print every change of a collection from now on, a line each, until Ctrl-C",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection] = super::exactly(arguments, &COMMAND)?;
    let mut watch = shell.client.watch(shell.database()?, collection).await?;
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(Report::Nothing);
            }
            change = watch.next() => report::print_line(&line(&change?, shell.settings.format))?,
        }
    }
}

fn line(change: &Change, format: Format) -> String {
    let document = change.document.as_ref().map(|document| text::compact(document.as_str()));
    let op = match change.op {
        ChangeOp::Save => "save",
        ChangeOp::Delete => "delete",
        ChangeOp::DeleteCollection => "delete_collection",
        ChangeOp::RenameCollection => "rename_collection",
    };
    let to = change.renamed_to.as_ref();
    match format {
        Format::Table => {
            let what = change.id.as_deref().unwrap_or(&change.collection);
            let to = to.map(|to| format!("{}/{}", to.db, to.col));
            let more = document.or(to).map(|more| format!(" {more}")).unwrap_or_default();
            format!("{} {op} {}{more}", change.position, text::plain(what))
        }
        Format::Json => {
            let mut line = json!({"position": change.position.to_string(), "op": op, "db": change.database, "col": change.collection});
            if let Some(id) = &change.id {
                line["id"] = id.as_str().into();
            }
            if let Some(to) = to {
                line["to"] = json!(to);
            }
            let mut line = text::compact(&line.to_string());
            if let Some(document) = document {
                // Not through a value: its numbers stay as they are.
                line.truncate(line.len() - 1);
                line = format!("{line},\"doc\":{document}}}");
            }
            line
        }
    }
}
