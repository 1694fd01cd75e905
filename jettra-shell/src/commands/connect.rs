//! `connect [url]`

use std::time::Duration;

use jettra_client::{Error, ErrorCode};
use serde_json::json;

use super::Command;
use crate::cli::DEFAULT_URL;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::shell::{self, Settings, Shell, full_url};

/// How long to try: a wrong URL is to be told soon.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to a node.
pub const COMMAND: Command = Command {
    name: "connect",
    aliases: &["connect node", "connect federated"],
    usage: "connect [url]",
    help: "connect to a node (http://localhost:8080 if no URL is given)",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let url = match arguments {
        [] => DEFAULT_URL,
        [url] => url,
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let mut settings = Settings { url: full_url(url), ..shell.settings.clone() };
    // A password belongs to one cluster and is not shown to another.
    let stranger = settings.credentials.is_some() && !is_member(shell, &settings).await?;
    settings.credentials = settings.credentials.filter(|_| !stranger);
    let found = shell::client(&settings, PATIENCE)?.get_cluster().await;
    let said = format!("Connected to {}", settings.url);
    let report = Report::Said(said, json!({"status": "connected", "url": settings.url}));
    match found {
        Ok(_) => {}
        // A node that says who may not, or not yet, is a node.
        Err(Error::Server {
            code: ErrorCode::Unauthorized | ErrorCode::Forbidden | ErrorCode::Unavailable,
            message,
            ..
        }) => {
            report::hint(&message);
        }
        Err(error) => return Err(error.into()),
    }
    if stranger {
        report::hint(
            "this is no known member of the cluster you were logged in to, so user and password were left out; log in with: login <user>",
        );
    }
    shell.client = shell::client(&settings, settings.timeout)?;
    shell.settings = settings;
    Ok(report)
}

/// Whether these settings' URL is a node of the cluster that the shell is connected to: one that was given, or
/// that the cluster itself names.
async fn is_member(shell: &Shell, settings: &Settings) -> Result<bool, Failure> {
    let wanted = shell::client(settings, PATIENCE)?.urls();
    let is_wanted = |url: &String| wanted.contains(url);
    if shell.client.urls().iter().any(is_wanted) {
        return Ok(true);
    }
    let asking = shell::client(&shell.settings, PATIENCE)?;
    // What was encrypted so far does not go out in the clear; a cluster that is away names nobody.
    let in_the_clear = shell.settings.url.starts_with("https:") && !settings.url.starts_with("https:");
    let nodes = asking.get_federated_nodes().await.unwrap_or_default();
    Ok(!in_the_clear && nodes.iter().any(|node| is_wanted(&node.url.trim_end_matches('/').to_owned())))
}
