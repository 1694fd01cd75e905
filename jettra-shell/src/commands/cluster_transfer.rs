//! `cluster transfer <node id or url>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::report::Report;
use crate::shell::{Failure, Shell};
use crate::text;

/// Hands leadership over.
pub const COMMAND: Command = Command {
    name: "cluster transfer",
    aliases: &[],
    usage: "cluster transfer <node id or url>",
    help: "hand leadership to a node",
    arguments: &[Argument::Node],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [node] = exactly(arguments, &COMMAND)?;
    let answer = shell.client.transfer(node).await?;
    Ok(Report::Said(format!("{} leads now", text::plain(&answer.leader_id)), json!(answer)))
}
