//! `logout`

use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::{self, Settings, Shell};

/// Forgets who is asking.
pub const COMMAND: Command = Command {
    name: "logout",
    aliases: &[],
    usage: "logout",
    help: "end the session of login on every node, and forget user and password",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let settings = Settings { credentials: None, ..shell.settings.clone() };
    let client = shell::client(&settings, settings.timeout)?;
    let before = std::mem::replace(&mut shell.client, client);
    shell.settings = settings;
    match before.logout().await {
        // Without a session there is nothing to end.
        Ok(()) | Err(jettra_client::Error::InvalidInput { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(Report::Said("Logged out".to_owned(), json!({"status": "logged out"})))
}
