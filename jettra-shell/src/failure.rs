//! Why a command failed.

use std::io;

use jettra_client::Error;

use crate::text;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The cluster refused, or could not be reached.
    Client(Error),
    /// The command was not given what it needs.
    Usage(&'static str),
    /// Something else, as a sentence.
    Said(String),
    /// The result cannot be written: what comes after it would not be seen either.
    Output(io::Error),
    /// Any other input or output.
    Io(io::Error),
}

impl Failure {
    /// Whether the reader of the output went away, as `head` does when it has enough.
    pub fn is_hang_up(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// As a sentence, without what stands before the `@` of a URL.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = match self {
            Failure::Client(error) => error.to_string(),
            Failure::Usage(usage) => format!("usage: {usage}"),
            Failure::Said(said) => said.clone(),
            Failure::Output(error) => format!("the result cannot be written: {error}"),
            Failure::Io(error) => error.to_string(),
        };
        f.write_str(&text::without_credentials(&said))
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}
