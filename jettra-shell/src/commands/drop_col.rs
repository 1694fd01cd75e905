//! `drop col <name>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Deletes a collection.
pub const COMMAND: Command = Command {
    name: "drop col",
    aliases: &["drop collection"],
    usage: "drop col <name>",
    help: "delete a collection and its documents",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [name] = exactly(arguments, &COMMAND)?;
    let database = shell.database()?;
    shell.client.delete_collection(database, checked_name(name)?).await?;
    Ok(Report::status(format!("Deleted collection {database}.{name}"), "deleted"))
}
