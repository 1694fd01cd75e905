//! `login [user [password]]`

use serde_json::json;

use super::Command;
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::{self, Settings, Shell, password_for};
use crate::text;

/// Logs in.
pub const COMMAND: Command = Command {
    name: "login",
    aliases: &[],
    usage: "login [user [password]]",
    help: "say who you are (the password is asked for if it is not given)",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let (user, password) = match arguments {
        [] => match shell.settings.credentials.clone() {
            Some(credentials) => credentials,
            None => return Err(Failure::Usage(COMMAND.usage)),
        },
        [user] => ((*user).to_owned(), ask(user).await?),
        [user, password] => ((*user).to_owned(), (*password).to_owned()),
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let said = format!("Logged in as {}", text::plain(&user));
    let settings = Settings { credentials: Some((user, password)), ..shell.settings.clone() };
    let client = shell::client(&settings, settings.timeout)?;
    let answer = client.login().await?;
    shell.client = client;
    shell.settings = settings;
    let json = json!({"status": "logged in", "role": answer.role});
    Ok(Report::Said(format!("{said} ({})", text::plain(&answer.role)), json))
}

async fn ask(user: &str) -> Result<String, Failure> {
    let user = user.to_owned();
    let asked = tokio::task::spawn_blocking(move || password_for(&user));
    asked.await.map_err(|_| Failure::Said("the password was not read".into()))?
}
