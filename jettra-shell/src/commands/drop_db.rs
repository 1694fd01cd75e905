//! `drop db <name>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Deletes a database.
pub const COMMAND: Command = Command {
    name: "drop db",
    aliases: &[],
    usage: "drop db <name>",
    help: "delete a database and everything in it",
    arguments: &[Argument::Database],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [name] = exactly(arguments, &COMMAND)?;
    shell.client.delete_database(checked_name(name)?).await?;
    if shell.database.as_deref() == Some(name) {
        shell.database = None;
    }
    Ok(Report::status(format!("Deleted database {name}"), "deleted"))
}
