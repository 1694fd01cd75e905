//! What commands return, printed as tables or as JSON.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use jettra_client::wire::{ChangePlan, Quorum};
use jettra_client::{Document, Error};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::text;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables and sentences, for people.
    #[default]
    Table,
    /// One JSON value a command, for programs.
    Json,
}

/// The result of a command.
#[derive(Debug)]
pub enum Report {
    /// Nothing to say.
    Nothing,
    /// An empty screen.
    ClearScreen,
    /// A sentence, and the same as JSON.
    Said(String, Value),
    /// The same, of something that is wrong: a script takes it for a failure.
    Alarming(String, Value),
    /// Rows under a header, and the same as JSON.
    Table { header: &'static [&'static str], rows: Vec<Vec<String>>, json: Value },
    /// One document.
    Document(Document),
    /// Documents.
    Documents(Vec<Document>),
}

impl Report {
    /// A sentence whose JSON is only a status.
    pub fn status(said: impl Into<String>, status: &str) -> Report {
        Report::Said(said.into(), json!({"status": status}))
    }
}

/// Prints a result to the standard output.
///
/// # Errors
/// [`Failure::Output`] if the output is closed, or full.
pub fn print(report: &Report, format: Format) -> Result<(), Failure> {
    render(report, format).map_or(Ok(()), |text| print_line(&text))
}

/// Prints one line of a result that comes bit by bit.
///
/// # Errors
/// [`Failure::Output`] if the output is closed, or full.
pub fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Tells what failed, on the standard error.
pub fn complain(failure: &Failure, format: Format) {
    let text = match format {
        Format::Table => format!("error: {}", text::plain(&failure.to_string())),
        Format::Json => {
            let code = match failure {
                Failure::Client(Error::Server { code, .. }) => code.as_str(),
                Failure::Client(_) => "client",
                Failure::Usage(_) | Failure::Said(_) | Failure::Output(_) | Failure::Io(_) => "shell",
            };
            json!({"error": {"code": code, "message": failure.to_string()}}).to_string()
        }
    };
    // Nobody is left to tell that this failed.
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// Welcomes a person.
pub fn greet() {
    let version = env!("CARGO_PKG_VERSION");
    // If the terminal is closed, the first prompt will say so.
    writeln!(io::stdout(), "JettraDB shell {version}; help lists the commands").unwrap_or_default();
}

/// Tells something beside the result, on the standard error.
pub fn hint(said: &str) {
    writeln!(io::stderr(), "note: {}", text::plain(&text::without_credentials(said))).unwrap_or_default();
}

/// Tells what is being done, on the standard error.
pub fn progress(said: &str) {
    writeln!(io::stderr(), "{said}").unwrap_or_default();
}

/// What a membership change would do.
pub fn planned(plan: &ChangePlan) -> Report {
    let votes = |votes: Option<Quorum>| match votes {
        Some(Quorum { voters, active, majority, failure_tolerance }) => {
            format!("{voters} voters, {active} active, majority {majority}, may lose {failure_tolerance}")
        }
        None => "not told".into(),
    };
    let mut said = format!(
        "{}: nothing was changed\nbefore: {}\nafter:  {}",
        if plan.allowed { "Allowed" } else { "Refused" },
        votes(plan.before),
        votes(plan.after)
    );
    if let Some(reason) = &plan.reason {
        said = format!("{said}\nreason: {}", text::plain(reason));
    }
    if let Some(next) = &plan.next {
        said = format!("{said}\nnext:   {}", text::plain(next));
    }
    Report::Said(said, json!(plan))
}

fn render(report: &Report, format: Format) -> Option<String> {
    Some(match (report, format) {
        (Report::Nothing, _) => return None,
        // The cursor to the corner, then away with the screen and with what scrolled off it.
        (Report::ClearScreen, _) => "\x1b[H\x1b[2J\x1b[3J".to_owned(),
        (Report::Said(said, _) | Report::Alarming(said, _), Format::Table) => said.clone(),
        (Report::Said(_, json) | Report::Alarming(_, json) | Report::Table { json, .. }, Format::Json) => {
            text::compact(&json.to_string())
        }
        (Report::Table { header, rows, .. }, Format::Table) => table(header, rows),
        (Report::Document(document), Format::Table) => text::indented(document.as_str()),
        (Report::Document(document), Format::Json) => text::compact(document.as_str()),
        (Report::Documents(documents), Format::Table) => {
            let mut lines: Vec<String> = documents.iter().map(|document| text::compact(document.as_str())).collect();
            lines.push(format!("({})", counted(documents.len() as u64, "document")));
            lines.join("\n")
        }
        (Report::Documents(documents), Format::Json) => {
            let documents: Vec<String> = documents.iter().map(|document| text::compact(document.as_str())).collect();
            format!("[{}]", documents.join(","))
        }
    })
}

/// Draws a table. What is in it comes from data, and is made plain.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    // Lines are left to the terminal to break, so that what they hold can be copied and searched.
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| text::plain(cell)));
    }
    table.to_string()
}

/// `1 document`, `2 documents`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_plain() {
        let drawn = table(&["Name"], &[vec!["a\u{1b}[2J".into()]]);
        assert!(drawn.contains("a\\u{1b}[2J") && !drawn.contains('\u{1b}'), "{drawn}");
    }

    #[test]
    fn documents_keep_their_numbers_in_both_formats() {
        let report = Report::Documents(vec![r#"{"_id":"a", "n":1.10}"#.parse().unwrap()]);
        assert_eq!(render(&report, Format::Json).unwrap(), r#"[{"_id":"a","n":1.10}]"#);
        assert_eq!(render(&report, Format::Table).unwrap(), "{\"_id\":\"a\",\"n\":1.10}\n(1 document)");
    }
}
