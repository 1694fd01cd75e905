//! Which lines the history keeps: none that holds a password.

use std::path::PathBuf;

use jettra_client::nearest;

use crate::commands;
use crate::line::{self, Statement, Word};
use crate::text;

/// What a line begins with that tells a password: our own command, and what people of other shells type.
const TELLING: [&str; 4] = ["login", "auth", "password", "passwd"];

/// Whether to keep a line: not if it says a password, or means to.
pub fn is_worth_keeping(typed: &str) -> bool {
    let statements = line::read(typed).statements;
    !typed.trim().is_empty() && !text::has_credentials(typed) && !statements.iter().any(tells_password)
}

fn tells_password(statement: &Statement) -> bool {
    let words: Vec<&str> = statement.iter().map(|word| word.text.as_str()).collect();
    begins_like_login(&words) || statement.iter().any(is_user_and_host)
}

/// Whether words begin like `login`, misspelt or not.
pub fn begins_like_login(words: &[&str]) -> bool {
    let Some(first) = words.first() else { return false };
    let other_command = commands::find(words).is_some_and(|(command, _)| command.name != "login");
    !other_command && nearest(first, TELLING.into_iter()).is_some()
}

/// `user:password@host`, a URL whose scheme was left out.
fn is_user_and_host(word: &Word) -> bool {
    let json = word.text.starts_with(['{', '[']);
    !json && word.text.split_once(':').is_some_and(|(_, rest)| rest.contains('@'))
}

/// `JETTRA_HISTORY`, or a file in the user's state directory (XDG), or none.
pub fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("JETTRA_HISTORY").or_else(|| {
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
        Some(state.join("jettra/history"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_the_history() {
        for kept in [
            "insert logins {\"a\":1}",
            "connect http://host:8080",
            "find users {\"mail\":\"ada@host.example\"}",
            "insert t {\"site\":\"http://a.example/\",\"mail\":\"b@c\"}",
            "get users ada@host.example",
            "count login",
        ] {
            assert!(is_worth_keeping(kept), "{kept}");
        }
        for dropped in [
            "show dbs; LOGIN admin secret",
            "logn admin hunter3",
            "lgoin hunter3",
            "auth admin hunter3",
            "connect http://admin:hunter2@host",
            "conect admin:hunter2@host",
            "use shop; connect 'https://admin:hun/ter2@host'",
            "insert t {\"url\":\"http://a:hunter2@host\"}",
            "  ",
        ] {
            assert!(!is_worth_keeping(dropped), "{dropped}");
        }
    }
}
