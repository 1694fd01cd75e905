//! `cluster demote <node id or url> [--dry-run]`

use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Makes a voter a read replica.
pub const COMMAND: Command = Command {
    name: "cluster demote",
    aliases: &["federated demote"],
    usage: "cluster demote <node id or url> [--dry-run]",
    help: "make a voter a read replica, which never votes",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [dry_run]) = flags(arguments, ["--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_demote(node).await?));
    }
    let answer = shell.client.demote(node).await?;
    Ok(Report::Said(format!("Demoted {}", text::plain(node)), json!(answer)))
}
