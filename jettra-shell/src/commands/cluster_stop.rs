//! `cluster stop <node id or url> [--force] [--dry-run]`

use jettra_client::MembershipOptions;
use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Stops a node.
pub const COMMAND: Command = Command {
    name: "cluster stop",
    aliases: &[],
    usage: "cluster stop <node id or url> [--force] [--dry-run]",
    help: "stop a node; it stays a member",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run", "--force"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [force, dry_run]) = flags(arguments, ["--force", "--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_stop(node).await?));
    }
    let options = if force { MembershipOptions::new().force() } else { MembershipOptions::new() };
    let answer = shell.client.stop_with(node, &options).await?;
    let said = match answer.status.as_str() {
        "stopped_already" => format!("{} had stopped already", text::plain(node)),
        _ => format!("{} was told to stop", text::plain(node)),
    };
    Ok(Report::Said(said, json!(answer)))
}
