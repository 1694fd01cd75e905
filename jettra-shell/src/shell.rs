//! What commands work on.

use std::io::IsTerminal;
use std::time::Duration;

use jettra_client::JettraClient;

use crate::failure::Failure;
use crate::report::Format;
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
pub fn credentials(user: Option<&str>, password: Option<String>) -> Result<Option<(String, String)>, Failure> {
    Ok(match (user, password) {
        (None, None) => None,
        (user, Some(password)) => Some((user.unwrap_or("admin").to_owned(), password)),
        (Some(user), None) => Some((user.to_owned(), password_for(user)?)),
    })
}

/// Asks for a password at the terminal, without showing it.
///
/// # Errors
/// If there is no terminal.
pub fn password_for(user: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let said = format!("no password for {user:?}; give --password-file or set JETTRA_PASSWORD");
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
