//! `show tokens`

use jettra_client::wire::Login;
use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::utc::utc;

/// Shows who is logged in.
pub const COMMAND: Command = Command {
    name: "show tokens",
    aliases: &["tokens", "logins"],
    usage: "show tokens",
    help: "show who is logged in, newest first; end token ends one",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let logins = shell.client.logins().await?;
    Ok(Report::Table {
        header: &["Id", "User", "Role", "Since (UTC)", "Ends unless used (UTC)", "Ends (UTC)", "This one"],
        rows: logins.iter().map(row).collect(),
        json: json!(logins),
    })
}

fn row(login: &Login) -> Vec<String> {
    let this = if login.current { "yes" } else { "" };
    vec![
        login.id.clone(),
        login.user.clone(),
        login.role.clone(),
        utc(login.issued),
        utc(login.expires),
        utc(login.ends),
        this.to_owned(),
    ]
}
