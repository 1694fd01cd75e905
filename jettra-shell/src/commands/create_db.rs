//! `create db <name>`

use super::{Argument, Command, checked_name, exactly};
use crate::report::Report;
use crate::shell::{Failure, Shell};

/// Creates a database.
pub const COMMAND: Command = Command {
    name: "create db",
    aliases: &[],
    usage: "create db <name>",
    help: "create a database (it may exist already)",
    arguments: &[Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [name] = exactly(arguments, &COMMAND)?;
    shell.client.create_database(checked_name(name)?).await?;
    Ok(Report::status(format!("Created database {name}"), "created"))
}
