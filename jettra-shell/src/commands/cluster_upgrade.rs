//! `cluster upgrade [level]`

use serde_json::json;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Raises the feature level.
pub const COMMAND: Command = Command {
    name: "cluster upgrade",
    aliases: &[],
    usage: "cluster upgrade [level]",
    help: "raise the feature level, once all nodes run a version that supports it; there is no way back",
    arguments: &[Argument::Any],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let level = match arguments {
        [] => None,
        [level] => Some(level.parse().map_err(|_| Failure::Usage(COMMAND.usage))?),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let answer = shell.client.upgrade(level).await?;
    Ok(Report::Said(format!("The cluster is at feature level {}", answer.feature_level), json!(answer)))
}
