//! What commands work on.

use std::io::IsTerminal;
use std::time::Duration;

use jettra_client::{Error, JettraClient};

use crate::commands::{self, Command};
use crate::line::Statement;
use crate::report::{Format, Report};
use crate::text;

/// What the shell begins with.
#[derive(Clone)]
pub struct Settings {
    /// The node to ask.
    pub url: String,
    /// User and password, if they were given.
    pub credentials: Option<(String, String)>,
    /// How results are printed.
    pub format: Format,
    /// How long one command may wait for the cluster.
    pub timeout: Duration,
}

/// The state between commands.
pub struct Shell {
    /// The connection.
    pub client: JettraClient,
    /// What was set at the beginning, and by `connect` and `login` since.
    pub settings: Settings,
    /// The database of `use`.
    pub database: Option<String>,
    /// Whether `exit` was said.
    pub finished: bool,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The cluster refused, or could not be reached.
    Client(Error),
    /// The command was not given what it needs.
    Usage(&'static str),
    /// Something else, as a sentence.
    Said(String),
    /// Input or output.
    Io(std::io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Client(error) => error.fmt(f),
            Failure::Usage(usage) => write!(f, "usage: {usage}"),
            Failure::Said(said) => f.write_str(said),
            Failure::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Client(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Io(error)
    }
}

impl Shell {
    /// A shell that will ask the node of `settings`; nothing is sent yet.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(mut settings: Settings) -> Result<Shell, Failure> {
        settings.url = full_url(&settings.url);
        let client = client(&settings, settings.timeout)?;
        Ok(Shell { client, settings, database: None, finished: false })
    }

    /// The database in use.
    ///
    /// # Errors
    /// If there is none.
    pub fn database(&self) -> Result<&str, Failure> {
        self.database.as_deref().ok_or_else(|| Failure::Said("no database is in use; choose one with: use <db>".into()))
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// What the command reports, or that there is no such command.
    pub async fn run(&mut self, statement: &Statement) -> Result<Report, Failure> {
        let words: Vec<&str> = statement.iter().map(|word| word.text.as_str()).collect();
        let (command, arguments) = find(&words)?;
        (command.run)(self, arguments).await
    }
}

fn find<'w>(words: &'w [&'w str]) -> Result<(&'static Command, &'w [&'w str]), Failure> {
    commands::find(words).ok_or_else(|| Failure::Said(commands::unknown(words)))
}

/// A client of a node.
///
/// # Errors
/// If the URL is none.
pub fn client(settings: &Settings, deadline: Duration) -> Result<JettraClient, Failure> {
    let mut builder = JettraClient::builder().url(&settings.url).deadline(deadline);
    if let Some((user, password)) = &settings.credentials {
        builder = builder.credentials(user, password);
    }
    Ok(builder.build()?)
}

/// A URL as it was meant: `host:port` is HTTP, and a slash at the end says nothing.
pub fn full_url(given: &str) -> String {
    let url = given.trim().trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// User and password as they were given. A password alone is the administrator's; a user alone is asked for it.
///
/// # Errors
/// If the password is to be asked for and there is no terminal.
pub fn credentials(user: Option<&str>, password: Option<&str>) -> Result<Option<(String, String)>, Failure> {
    Ok(match (user, password) {
        (None, None) => None,
        (user, Some(password)) => Some((user.unwrap_or("admin").to_owned(), password.to_owned())),
        (Some(user), None) => Some((user.to_owned(), password_for(user)?)),
    })
}

/// Asks for a password at the terminal, without showing it.
///
/// # Errors
/// If there is no terminal.
pub fn password_for(user: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let said = format!("no password for {user:?}; give --password or set JETTRA_PASSWORD");
        return Err(Failure::Said(said));
    }
    rpassword::prompt_password(format!("Password of {}: ", text::plain(user))).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::Said("cancelled".into()),
        _ => Failure::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_completed() {
        assert_eq!(full_url("localhost:8080"), "http://localhost:8080");
        assert_eq!(full_url(" https://db.example/ "), "https://db.example");
    }
}
