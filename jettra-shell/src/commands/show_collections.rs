//! `show collections [db]`

use serde_json::json;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Lists the collections.
pub const COMMAND: Command = Command {
    name: "show collections",
    aliases: &["show cols"],
    usage: "show collections [db]",
    help: "list the collections of the database in use, or of another",
    arguments: &[Argument::Database],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let database = match arguments {
        [] => shell.database()?,
        [database] => database,
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let collections = shell.client.list_collections(database).await?;
    Ok(Report::Table {
        header: &["Collection"],
        rows: collections.iter().map(|name| vec![name.clone()]).collect(),
        json: json!(collections),
    })
}
