//! `cluster transfer <node id or url> [--dry-run]`

use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Hands leadership over.
pub const COMMAND: Command = Command {
    name: "cluster transfer",
    aliases: &[],
    usage: "cluster transfer <node id or url> [--dry-run]",
    help: "hand leadership to a node",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [dry_run]) = flags(arguments, ["--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_transfer(node).await?));
    }
    let answer = shell.client.transfer(node).await?;
    Ok(Report::Said(format!("{} leads now", text::plain(&answer.leader_id)), json!(answer)))
}
