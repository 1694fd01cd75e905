//! `cluster resume <node id or url>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::report::Report;
use crate::shell::{Failure, Shell};
use crate::text;

/// Resumes a node.
pub const COMMAND: Command = Command {
    name: "cluster resume",
    aliases: &[],
    usage: "cluster resume <node id or url>",
    help: "end what cluster pause began",
    arguments: &[Argument::Node],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [node] = exactly(arguments, &COMMAND)?;
    let answer = shell.client.resume(node).await?;
    Ok(Report::Said(format!("Resumed {}", text::plain(node)), json!(answer)))
}
