//! `count <col> [filter]`

use jettra_client::ReadOptions;
use serde_json::json;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::{Report, counted};
use crate::shell::Shell;

/// Counts documents.
pub const COMMAND: Command = Command {
    name: "count",
    aliases: &[],
    usage: "count <col> [filter]",
    help: "count the documents of a collection",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (collection, filter) = match arguments {
        [collection] => (*collection, None),
        [collection, filter] => (*collection, Some(*filter)),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let count = shell.client.count_with(shell.database()?, collection, filter, &ReadOptions::new()).await?;
    Ok(Report::Said(counted(count, "document"), json!({"count": count})))
}
