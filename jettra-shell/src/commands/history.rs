//! `history <col> <id>`

use serde_json::json;

use super::{Argument, Command, exactly};
use crate::report::Report;
use crate::shell::{Failure, Shell};

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

/// Milliseconds since 1970 as a date and time. The days are counted as in Howard Hinnant's
/// `civil_from_days`.
pub(super) fn utc(millis: u64) -> String {
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_names() {
        assert_eq!(row("1767225600007_812"), ["1767225600007_812", "812", "2026-01-01 00:00:00.007"]);
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(row("strange"), ["strange", "", ""]);
    }
}
