//! Statements → commands.

use crate::commands;
use crate::failure::Failure;
use crate::line::Statement;
use crate::report::Report;
use crate::shell::Shell;

impl Shell {
    /// Runs one statement.
    ///
    /// # Errors
    /// What the command reports, or that there is no such command.
    pub async fn run(&mut self, statement: &Statement) -> Result<Report, Failure> {
        let words: Vec<&str> = statement.iter().map(|word| word.text.as_str()).collect();
        let (command, arguments) = commands::find(&words).ok_or_else(|| Failure::Said(commands::unknown(&words)))?;
        (command.run)(self, arguments).await
    }
}
