//! The table of commands. Adding one is a file and a line here.

mod clear;
mod cluster_demote;
mod cluster_deregister;
mod cluster_doctor;
mod cluster_events;
mod cluster_pause;
mod cluster_promote;
mod cluster_register;
mod cluster_resume;
mod cluster_settings;
mod cluster_status;
mod cluster_stop;
mod cluster_transfer;
mod cluster_upgrade;
mod command;
mod connect;
mod count;
mod create_col;
mod create_db;
mod delete;
mod drop_col;
mod drop_db;
mod end_token;
mod exit;
mod federated_leader;
mod federated_nodes;
mod find;
mod get;
mod help;
mod history;
mod insert;
mod login;
mod logout;
mod patch;
mod rename_col;
mod rename_db;
mod revert;
mod show_collections;
mod show_dbs;
mod show_tokens;
mod show_version;
mod update;
mod use_db;
mod watch;

pub use command::{Argument, Command};
use command::{checked_name, exactly, flags};
use jettra_client::nearest;

use crate::history::begins_like_login;
use crate::text;

/// Every command, as `help` lists them.
pub const TABLE: &[Command] = &[
    connect::COMMAND,
    login::COMMAND,
    logout::COMMAND,
    show_tokens::COMMAND,
    end_token::COMMAND,
    federated_nodes::COMMAND,
    federated_leader::COMMAND,
    cluster_status::COMMAND,
    cluster_doctor::COMMAND,
    cluster_events::COMMAND,
    cluster_register::COMMAND,
    cluster_deregister::COMMAND,
    cluster_promote::COMMAND,
    cluster_demote::COMMAND,
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
    clear::COMMAND,
    help::COMMAND,
    exit::COMMAND,
];

/// The command that words begin with, and the words after its name. The longest name counts: `connect node` is
/// one, and so is `connect`.
pub fn find<'w, 's>(words: &'w [&'s str]) -> Option<(&'static Command, &'w [&'s str])> {
    let named = TABLE.iter().flat_map(|command| command.names().map(move |name| (command, name)));
    let begun = named.filter_map(|(command, name)| Some((command, after(name, words)?)));
    begun.min_by_key(|(_, after)| after.len())
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
    // What follows a word like `login` is nobody's to read.
    let most = if begins_like_login(words) { 1 } else { 2 };
    let said: Vec<&str> = words.iter().take(most).copied().collect();
    let names = || TABLE.iter().flat_map(Command::names);
    let joined = said.join(" ");
    let two = nearest(&joined, names());
    let first = || nearest(said.first().copied().unwrap_or_default(), names());
    // `cluster` alone is near to none of its commands, but begins several.
    let begun = || names().find(|name| name.split(' ').next() == said.first().copied());
    let said = text::plain(&joined);
    // One word that begins commands as it stands is no mistyped other one.
    let begins = if most == 2 && words.len() == 1 { begun() } else { None };
    match begins.or(two).or_else(first).or_else(begun) {
        Some(name) => format!("there is no command {said:?}; did you mean {name:?}? all are listed by: help"),
        None => format!("there is no command {said:?}; all are listed by: help"),
    }
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
        assert_eq!(found(&["connect", "http://a"]), Some(("connect", 1)));
        assert_eq!(found(&["connect", "node", "http://a"]), Some(("connect", 1)));
        assert_eq!(found(&["create", "database", "x"]), Some(("create db", 1)));
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
