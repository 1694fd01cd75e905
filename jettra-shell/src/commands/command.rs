//! What a command is, and how it takes its arguments.

use std::pin::Pin;

use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// What a command does: the future of its result.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Report, Failure>> + 'a>>;

/// A command.
pub struct Command {
    /// Its words, such as `federated nodes`.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Name and arguments.
    pub usage: &'static str,
    /// What it does, as a sentence.
    pub help: &'static str,
    /// What its arguments are, in order, for completion.
    pub arguments: &'static [Argument],
    /// What it does, given the words after its name.
    pub run: for<'a> fn(&'a mut Shell, &'a [&'a str]) -> Running<'a>,
}

impl Command {
    /// Its name, then its other names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// What an argument is, as far as it can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Argument {
    /// The name of a database.
    Database,
    /// The name of a collection of the database in use.
    Collection,
    /// The id of a member of the cluster.
    Node,
    /// The name of a command.
    Command,
    /// Anything.
    Any,
    /// One of these words, here and at every later place.
    OneOf(&'static [&'static str]),
}

/// The arguments, if there are exactly as many as the command takes.
pub fn exactly<'a, const N: usize>(arguments: &'a [&'a str], command: &Command) -> Result<[&'a str; N], Failure> {
    arguments.try_into().map_err(|_| Failure::Usage(command.usage))
}

/// The rest of the arguments after the flags among `known`, which are taken out. Returns whether each
/// flag was given.
pub fn flags<'a, const N: usize>(arguments: &[&'a str], known: [&str; N]) -> (Vec<&'a str>, [bool; N]) {
    let given = known.map(|flag| arguments.contains(&flag));
    (arguments.iter().copied().filter(|argument| !known.contains(argument)).collect(), given)
}

/// A name that may stand in the prompt and in a path, as the cluster takes it.
pub fn checked_name(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > 120 || name.starts_with('.') || !name.chars().all(fits) {
        let said = format!("{name:?} is no name; use up to 120 letters, digits, '_', '.' and '-', not '.' first");
        return Err(Failure::Said(said));
    }
    Ok(name)
}
