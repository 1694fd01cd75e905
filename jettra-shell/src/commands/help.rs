//! `help [command]`

use serde_json::json;

use super::{Argument, Command, TABLE};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Lists the commands.
pub const COMMAND: Command = Command {
    name: "help",
    aliases: &["?"],
    usage: "help [command]",
    help: "list the commands, or show one",
    arguments: &[Argument::Command],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(_shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let wanted = arguments.join(" ").to_lowercase();
    let chosen: Vec<&Command> =
        TABLE.iter().filter(|command| command.names().any(|name| name.starts_with(&wanted))).collect();
    if chosen.is_empty() {
        return Err(Failure::Said(super::unknown(arguments)));
    }
    let width = chosen.iter().map(|command| command.usage.len()).max().unwrap_or_default();
    let line = |command: &&Command| {
        let also = match command.aliases {
            [] => String::new(),
            aliases => format!("; also: {}", aliases.join(", ")),
        };
        format!("{:width$}  {}{also}", command.usage, command.help)
    };
    let json = |command: &&Command| {
        json!({
            "name": command.name, "aliases": command.aliases, "usage": command.usage, "help": command.help,
        })
    };
    let said = chosen.iter().map(line).collect::<Vec<_>>().join("\n");
    Ok(Report::Said(said, chosen.iter().map(json).collect()))
}
