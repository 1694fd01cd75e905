//! `history <col> <id>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::utc::utc;

/// Lists the states of a document.
pub const COMMAND: Command = Command {
    name: "history",
    aliases: &[],
    usage: "history <col> <id>",
    help: "list the earlier states of a document, newest first",
    arguments: &[Argument::Collection],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [collection, id] = exactly(arguments, &COMMAND)?;
    let versions = shell.client.versions(shell.database()?, collection, id).await?;
    Ok(Report::Table {
        header: &["Version", "Revision", "Written (UTC)"],
        rows: versions.iter().map(|version| row(version)).collect(),
        json: json!(versions),
    })
}

/// A version's name is `<epochMillis>_<rev>`.
fn row(version: &str) -> Vec<String> {
    let (millis, rev) = version.split_once('_').unwrap_or(("", ""));
    vec![version.to_owned(), rev.to_owned(), millis.parse().map(utc).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_names() {
        assert_eq!(row("1767225600007_812"), ["1767225600007_812", "812", "2026-01-01 00:00:00.007"]);
        assert_eq!(row("strange"), ["strange", "", ""]);
    }
}
