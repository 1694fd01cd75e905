//! `cluster register <url> [description] [--replica] [--dry-run]`

use serde_json::json;

use super::{Argument, Command, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::{Shell, full_url};
use crate::text;

/// Adds a node.
pub const COMMAND: Command = Command {
    name: "cluster register",
    aliases: &["cluster add", "federated register"],
    usage: "cluster register <url> [description] [--replica] [--dry-run]",
    help: "add a node to the cluster; --replica: as a read replica, which never votes",
    arguments: &[Argument::Any, Argument::OneOf(&["--replica", "--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (words, [replica, dry_run]) = flags(arguments, ["--replica", "--dry-run"]);
    let (url, description) = match words[..] {
        [url] => (url, None),
        [url, description] => (url, Some(description)),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let at = full_url(url);
    if dry_run {
        let plan =
            if replica { shell.client.plan_register_replica(&at).await } else { shell.client.plan_register(&at).await };
        return Ok(planned(&plan?));
    }
    let answer = if replica {
        shell.client.register_replica(&at, description).await?
    } else {
        shell.client.register_as(&at, description).await?
    };
    let node = answer.node.as_ref().map_or(url, |node| node.id.as_str());
    let said = match answer.status.as_str() {
        "registered" => format!("Registered {}", text::plain(node)),
        "joining" => format!("{} is joining; look at: cluster status", text::plain(node)),
        other => format!("{}: {}", text::plain(node), text::plain(other)),
    };
    Ok(Report::Said(said, json!(answer)))
}
