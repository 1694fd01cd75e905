//! `show dbs`

use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Lists the databases.
pub const COMMAND: Command = Command {
    name: "show dbs",
    aliases: &["show databases"],
    usage: "show dbs",
    help: "list the databases",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let databases = shell.client.list_databases().await?;
    Ok(Report::Table {
        header: &["Database", "Engine"],
        rows: databases.iter().map(|database| vec![database.name.clone(), database.engine.clone()]).collect(),
        json: json!(databases),
    })
}
