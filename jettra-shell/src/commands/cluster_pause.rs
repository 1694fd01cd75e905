//! `cluster pause <node id or url> [--dry-run]`

use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Pauses a node.
pub const COMMAND: Command = Command {
    name: "cluster pause",
    aliases: &[],
    usage: "cluster pause <node id or url> [--dry-run]",
    help: "let a node lead no more; it stays a member and votes",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [dry_run]) = flags(arguments, ["--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_pause(node).await?));
    }
    let answer = shell.client.pause(node).await?;
    Ok(Report::Said(format!("Paused {}", text::plain(node)), json!(answer)))
}
