//! `cluster register <url> [description]`

use serde_json::json;

use super::Command;
use crate::report::Report;
use crate::shell::{Failure, Shell, full_url};
use crate::text;

/// Adds a node.
pub const COMMAND: Command = Command {
    name: "cluster register",
    aliases: &["cluster add"],
    usage: "cluster register <url> [description]",
    help: "add a node to the cluster",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (url, description) = match arguments {
        [url] => (*url, None),
        [url, description] => (*url, Some(*description)),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let answer = shell.client.register_as(&full_url(url), description).await?;
    let node = answer.node.as_ref().map_or(url, |node| node.id.as_str());
    let said = match answer.status.as_str() {
        "registered" => format!("Registered {}", text::plain(node)),
        "joining" => format!("{} is joining; look at: cluster status", text::plain(node)),
        other => format!("{}: {}", text::plain(node), text::plain(other)),
    };
    Ok(Report::Said(said, json!(answer)))
}
