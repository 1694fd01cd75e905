//! `use <db>`

use serde_json::json;

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Chooses the database.
pub const COMMAND: Command = Command {
    name: "use",
    aliases: &[],
    usage: "use <db>",
    help: "choose the database that the other commands work on",
    arguments: &[Argument::Database],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [database] = exactly(arguments, &COMMAND)?;
    shell.database = Some(checked_name(database)?.to_owned());
    Ok(Report::Said(format!("Using {database}"), json!({"status": "ok", "database": database})))
}
