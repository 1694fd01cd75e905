//! `cluster settings [<name>=<number> …]`

use serde_json::{Map, Value, json};

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Shows and changes the replicated settings.
pub const COMMAND: Command = Command {
    name: "cluster settings",
    aliases: &[],
    usage: "cluster settings [<name>=<number> ...]",
    help: "show the settings that all nodes go by, or change some",
    arguments: &[Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let changes = arguments
        .iter()
        .map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), Value::from(value.parse::<u64>().ok()?)))
        })
        .collect::<Option<Map<String, Value>>>()
        .ok_or(Failure::Usage(COMMAND.usage))?;
    let settings = match changes.is_empty() {
        true => shell.client.get_settings().await?,
        false => shell.client.change_settings(&changes).await?,
    };
    let rows = settings.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
    Ok(Report::Table { header: &["Setting", "Value"], rows, json: json!(settings) })
}
