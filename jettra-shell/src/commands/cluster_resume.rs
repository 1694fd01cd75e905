//! `cluster resume <node id or url> [--dry-run]`

use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Resumes a node.
pub const COMMAND: Command = Command {
    name: "cluster resume",
    aliases: &[],
    usage: "cluster resume <node id or url> [--dry-run]",
    help: "end what cluster pause began",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [dry_run]) = flags(arguments, ["--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_resume(node).await?));
    }
    let answer = shell.client.resume(node).await?;
    Ok(Report::Said(format!("Resumed {}", text::plain(node)), json!(answer)))
}
