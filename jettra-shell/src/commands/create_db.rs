//! `create db <name>`

use super::{Argument, Command, checked_name, exactly};
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::shell::Shell;

/// Creates a database.
pub const COMMAND: Command = Command {
    name: "create db",
    aliases: &["create database"],
    usage: "create db <name>",
    help: "create a database (it may exist already; a word 'engine' and its name may follow and say nothing)",
    arguments: &[Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let name = match arguments {
        [name, word, _] if word.eq_ignore_ascii_case("engine") => {
            report::hint("there is one engine for every database; which one was asked for makes no difference");
            name
        }
        _ => exactly::<1>(arguments, &COMMAND)?[0],
    };
    shell.client.create_database(checked_name(name)?).await?;
    Ok(Report::status(format!("Created database {name}"), "created"))
}
