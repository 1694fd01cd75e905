//! `cluster promote <node id or url> [--dry-run]`

use serde_json::json;

use super::{Argument, Command, exactly, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::Shell;
use crate::text;

/// Makes a read replica a voter.
pub const COMMAND: Command = Command {
    name: "cluster promote",
    aliases: &["federated promote"],
    usage: "cluster promote <node id or url> [--dry-run]",
    help: "make a read replica a voter",
    arguments: &[Argument::Node, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (nodes, [dry_run]) = flags(arguments, ["--dry-run"]);
    let [node] = exactly(&nodes, &COMMAND)?;
    if dry_run {
        return Ok(planned(&shell.client.plan_promote(node).await?));
    }
    let answer = shell.client.promote(node).await?;
    let said = match answer.status.as_str() {
        "joining" => format!("{} will vote when it has caught up; look at: cluster status", text::plain(node)),
        _ => format!("Promoted {}", text::plain(node)),
    };
    Ok(Report::Said(said, json!(answer)))
}
