//! `cluster register <url> [description] [--dry-run]`

use serde_json::json;

use super::{Argument, Command, flags};
use crate::failure::Failure;
use crate::report::{Report, planned};
use crate::shell::{Shell, full_url};
use crate::text;

/// Adds a node.
pub const COMMAND: Command = Command {
    name: "cluster register",
    aliases: &["cluster add"],
    usage: "cluster register <url> [description] [--dry-run]",
    help: "add a node to the cluster",
    arguments: &[Argument::Any, Argument::OneOf(&["--dry-run"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (words, [dry_run]) = flags(arguments, ["--dry-run"]);
    let (url, description) = match words[..] {
        [url] => (url, None),
        [url, description] => (url, Some(description)),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    if dry_run {
        return Ok(planned(&shell.client.plan_register(&full_url(url)).await?));
    }
    let answer = shell.client.register_as(&full_url(url), description).await?;
    let node = answer.node.as_ref().map_or(url, |node| node.id.as_str());
    let said = match answer.status.as_str() {
        "registered" => format!("Registered {}", text::plain(node)),
        "joining" => format!("{} is joining; look at: cluster status", text::plain(node)),
        other => format!("{}: {}", text::plain(node), text::plain(other)),
    };
    Ok(Report::Said(said, json!(answer)))
}
