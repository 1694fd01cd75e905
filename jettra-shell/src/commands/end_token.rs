//! `end token <id>`

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::text;

/// Ends somebody's login.
pub const COMMAND: Command = Command {
    name: "end token",
    aliases: &["tokens end", "logins end"],
    usage: "end token <id>",
    help: "end the login with this id, on every node",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [id] = exactly(arguments, &COMMAND)?;
    shell.client.end_login(id).await?;
    Ok(Report::status(format!("Ended the login {}", text::plain(id)), "ended"))
}
