//! `connect [url]`

use std::time::Duration;

use jettra_client::{Error, ErrorCode};
use serde_json::json;

use super::Command;
use crate::cli::DEFAULT_URL;
use crate::report::{self, Report};
use crate::shell::{self, Failure, Settings, Shell, full_url};

/// How long to try: a wrong URL is to be told soon.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to a node.
pub const COMMAND: Command = Command {
    name: "connect",
    aliases: &[],
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
    let settings = Settings { url: full_url(url), ..shell.settings.clone() };
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
    shell.client = shell::client(&settings, settings.timeout)?;
    shell.settings = settings;
    Ok(report)
}
