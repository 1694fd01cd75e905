//! `rename col <old> <new>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Renames a collection.
pub const COMMAND: Command = Command {
    name: "rename col",
    aliases: &["rename collection"],
    usage: "rename col <old> <new>",
    help: "rename a collection of the database in use",
    arguments: &[Argument::Collection, Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [old, new] = exactly(arguments, &COMMAND)?;
    shell.client.rename_collection(shell.database()?, old, checked_name(new)?).await?;
    Ok(Report::status(format!("Renamed to {new}"), "renamed"))
}
