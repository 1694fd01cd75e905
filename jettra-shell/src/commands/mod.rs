//! The table of commands. Adding one is a file and a line here.

mod cluster_deregister;
mod cluster_doctor;
mod cluster_events;
mod cluster_pause;
mod cluster_register;
mod cluster_resume;
mod cluster_settings;
mod cluster_status;
mod cluster_stop;
mod cluster_transfer;
mod cluster_upgrade;
mod connect;
mod count;
mod create_col;
mod create_db;
mod delete;
mod drop_col;
mod drop_db;
mod exit;
mod federated_leader;
mod federated_nodes;
mod find;
mod get;
mod help;
mod history;
mod insert;
mod login;
mod patch;
mod rename_col;
mod rename_db;
mod revert;
mod show_collections;
mod show_dbs;
mod show_version;
mod update;
mod use_db;
mod watch;

use std::pin::Pin;

use crate::nearest::nearest;
use crate::report::Report;
use crate::shell::{Failure, Shell};
use crate::text;

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

/// Every command, as `help` lists them.
pub const TABLE: &[Command] = &[
    connect::COMMAND,
    login::COMMAND,
    federated_nodes::COMMAND,
    federated_leader::COMMAND,
    cluster_status::COMMAND,
    cluster_doctor::COMMAND,
    cluster_events::COMMAND,
    cluster_register::COMMAND,
    cluster_deregister::COMMAND,
    cluster_stop::COMMAND,
    cluster_pause::COMMAND,
    cluster_resume::COMMAND,
    cluster_transfer::COMMAND,
    cluster_settings::COMMAND,
    cluster_upgrade::COMMAND,
    show_dbs::COMMAND,
    use_db::COMMAND,
    show_collections::COMMAND,
    create_db::COMMAND,
    create_col::COMMAND,
    rename_db::COMMAND,
    rename_col::COMMAND,
    drop_db::COMMAND,
    drop_col::COMMAND,
    insert::COMMAND,
    find::COMMAND,
    get::COMMAND,
    count::COMMAND,
    update::COMMAND,
    patch::COMMAND,
    delete::COMMAND,
    history::COMMAND,
    show_version::COMMAND,
    revert::COMMAND,
    watch::COMMAND,
    help::COMMAND,
    exit::COMMAND,
];

/// The command that words begin with, and the words after its name.
pub fn find<'w, 's>(words: &'w [&'s str]) -> Option<(&'static Command, &'w [&'s str])> {
    TABLE.iter().find_map(|command| {
        let after = std::iter::once(&command.name).chain(command.aliases).find_map(|name| after(name, words))?;
        Some((command, after))
    })
}

/// The words after a name, if words begin with it; the name's case does not matter.
pub fn after<'w, 's>(name: &str, words: &'w [&'s str]) -> Option<&'w [&'s str]> {
    let mut rest = words;
    for part in name.split(' ') {
        let (first, others) = rest.split_first()?;
        if !first.eq_ignore_ascii_case(part) {
            return None;
        }
        rest = others;
    }
    Some(rest)
}

/// What to say of words that begin with no command.
pub fn unknown(words: &[&str]) -> String {
    let said: Vec<&str> = words.iter().take(2).copied().collect();
    let names = || TABLE.iter().map(|command| command.name);
    let joined = said.join(" ");
    let two = nearest(&joined, names());
    let first = || nearest(said.first().copied().unwrap_or_default(), names());
    // `cluster` alone is near to none of its commands, but begins several.
    let begun = || names().find(|name| name.split(' ').next() == said.first().copied());
    let said = text::plain(&joined);
    match two.or_else(first).or_else(begun) {
        Some(name) => format!("there is no command {said:?}; did you mean {name:?}? all are listed by: help"),
        None => format!("there is no command {said:?}; all are listed by: help"),
    }
}

/// The arguments, if there are exactly as many as the command takes.
fn exactly<'a, const N: usize>(arguments: &'a [&'a str], command: &Command) -> Result<[&'a str; N], Failure> {
    arguments.try_into().map_err(|_| Failure::Usage(command.usage))
}

/// The rest of the arguments after the flags among `known`, which are taken out. Returns whether each
/// flag was given.
fn flags<'a, const N: usize>(arguments: &[&'a str], known: [&str; N]) -> (Vec<&'a str>, [bool; N]) {
    let given = known.map(|flag| arguments.contains(&flag));
    (arguments.iter().copied().filter(|argument| !known.contains(argument)).collect(), given)
}

/// A name that may stand in the prompt and in a path, as the cluster takes it.
fn checked_name(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > 120 || name.starts_with('.') || !name.chars().all(fits) {
        let said = format!("{name:?} is no name; use up to 120 letters, digits, '_', '.' and '-', not '.' first");
        return Err(Failure::Said(said));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_name_and_alias() {
        let found = |words: &[&str]| find(words).map(|(command, rest)| (command.name, rest.len()));
        assert_eq!(found(&["show", "version", "users", "a", "1_2"]), Some(("show version", 3)));
        assert_eq!(found(&["SHOW", "dbs"]), Some(("show dbs", 0)));
        assert_eq!(found(&["cluster", "add", "http://b"]), Some(("cluster register", 1)));
        assert_eq!(found(&["quit"]), Some(("exit", 0)));
        assert_eq!(found(&["show"]), None);
    }

    #[test]
    fn an_unknown_command_is_named_with_the_nearest() {
        assert_eq!(
            unknown(&["fnid", "users"]),
            r#"there is no command "fnid users"; did you mean "find"? all are listed by: help"#
        );
        assert!(unknown(&["federated", "ndoes"]).contains(r#""federated nodes""#));
        assert!(unknown(&["cluster"]).contains(r#""cluster status""#));
        assert_eq!(unknown(&["xyzzy"]), r#"there is no command "xyzzy"; all are listed by: help"#);
    }

    #[test]
    fn the_table_is_in_order() {
        for command in TABLE {
            assert!(command.usage.starts_with(command.name), "{}", command.name);
            assert!(command.help.ends_with(|c: char| c.is_alphanumeric() || c == ')'), "{}", command.name);
            for other in TABLE {
                let hidden = other.name != command.name && command.name.starts_with(&format!("{} ", other.name));
                assert!(!hidden, "{} hides {}", other.name, command.name);
            }
        }
    }
}
