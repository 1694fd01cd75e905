//! `cluster deregister <node id or url> [--force] [--dry-run]`

use jettra_client::MembershipOptions;
use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Removes a node.
pub const COMMAND: Command = Command {
    name: "cluster deregister",
    aliases: &["cluster remove"],
    usage: "cluster deregister <node id or url> [--force] [--dry-run]",
    help: "remove a node from the cluster",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run", "--force"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [force, dry_run]) = flags(arguments, ["--force", "--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_deregister(node).await?));
    }
    let options = if force { MembershipOptions::new().force() } else { MembershipOptions::new() };
    let answer = shell.client.deregister_with(node, &options).await?;
    let said = format!("Deregistered {}", text::plain(node));
    Ok(Report::Said(said, json!(answer)))
}
