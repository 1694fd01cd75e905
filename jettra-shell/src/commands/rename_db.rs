//! `rename db <old> <new>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Renames a database.
pub const COMMAND: Command = Command {
    name: "rename db",
    aliases: &[],
    usage: "rename db <old> <new>",
    help: "rename a database",
    arguments: &[Argument::Database, Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [old, new] = exactly(arguments, &COMMAND)?;
    shell.client.rename_database(old, checked_name(new)?).await?;
    if shell.database.as_deref() == Some(old) {
        shell.database = Some(new.to_owned());
    }
    Ok(Report::status(format!("Renamed to {new}"), "renamed"))
}
