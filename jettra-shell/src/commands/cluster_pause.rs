//! `cluster pause <node id or url>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::report::Report;
use crate::shell::{Failure, Shell};
use crate::text;

/// Pauses a node.
pub const COMMAND: Command = Command {
    name: "cluster pause",
    aliases: &[],
    usage: "cluster pause <node id or url>",
    help: "keep a node from being sent requests and from being elected",
    arguments: &[Argument::Node],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [node] = exactly(arguments, &COMMAND)?;
    let answer = shell.client.pause(node).await?;
    Ok(Report::Said(format!("Paused {}", text::plain(node)), json!(answer)))
}
