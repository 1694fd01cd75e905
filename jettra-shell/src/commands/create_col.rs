//! `create col <name>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Creates a collection.
pub const COMMAND: Command = Command {
    name: "create col",
    aliases: &["create collection"],
    usage: "create col <name>",
    help: "create a collection in the database in use (it may exist already)",
    arguments: &[Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [name] = exactly(arguments, &COMMAND)?;
    let database = shell.database()?;
    shell.client.create_collection(database, checked_name(name)?).await?;
    Ok(Report::status(format!("Created collection {database}.{name}"), "created"))
}
