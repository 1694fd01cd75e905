//! Commands from an argument or from a pipe.

use std::io::{BufRead, Read};

use crate::failure::Failure;
use crate::line::{Reader, Statement};
use crate::report::{self, Report};
use crate::shell::Shell;

/// The longest line, and the longest statement, to read, bytes: larger than any document a node takes.
const LONGEST: usize = 32 * 1024 * 1024;

/// Runs every statement of `input`, as soon as it is whole. Returns whether all of them succeeded. After
/// one that failed the rest is not run, unless `keep_going`.
///
/// # Errors
/// If the input cannot be read or the output cannot be written.
pub async fn run(shell: &mut Shell, input: impl BufRead, keep_going: bool) -> Result<bool, Failure> {
    let mut succeeded = true;
    let mut lines = Lines { input, number: 0, bytes: Vec::new() };
    let mut reader = Reader::default();
    while let Some(line) = lines.next()? {
        reader.push(line);
        if reader.pending() > LONGEST {
            return Err(lines.wrong(&format!("a statement is longer than {LONGEST} bytes, or not closed")));
        }
        for statement in &reader.whole() {
            succeeded &= step(shell, statement).await?;
            if shell.finished || !(succeeded || keep_going) {
                return Ok(succeeded);
            }
        }
    }
    let read = reader.end();
    if let Some(open) = read.open {
        return Err(Failure::Said(format!("the input ends inside of {open}, which is not closed")));
    }
    for statement in &read.statements {
        succeeded &= step(shell, statement).await?;
    }
    Ok(succeeded)
}

/// Runs one statement and prints what comes of it. Returns whether it succeeded.
async fn step(shell: &mut Shell, statement: &Statement) -> Result<bool, Failure> {
    let format = shell.settings.format;
    let result = match shell.run(statement).await {
        Ok(report) => report::print(&report, format).map(|()| !matches!(report, Report::Alarming(..))),
        Err(failure) => Err(failure),
    };
    match result {
        // Nobody is left to tell of what comes next.
        Err(Failure::Output(error)) => Err(Failure::Output(error)),
        Err(failure) => {
            report::complain(&failure, format);
            Ok(false)
        }
        Ok(succeeded) => Ok(succeeded),
    }
}

/// The lines of an input, each with its end.
struct Lines<I> {
    input: I,
    /// That of the last line, from 1.
    number: u64,
    bytes: Vec<u8>,
}

impl<I: BufRead> Lines<I> {
    /// The next line. A byte order mark, which editors put before the first, is left out.
    fn next(&mut self) -> Result<Option<&str>, Failure> {
        self.bytes.clear();
        self.number += 1;
        let read = self.input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut self.bytes);
        if read.map_err(|error| Failure::Said(format!("the commands cannot be read: {error}")))? == 0 {
            return Ok(None);
        }
        if self.bytes.len() > LONGEST {
            return Err(self.wrong(&format!("it is longer than {LONGEST} bytes")));
        }
        match std::str::from_utf8(&self.bytes) {
            Ok(line) if self.number == 1 => Ok(Some(line.strip_prefix('\u{feff}').unwrap_or(line))),
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(self.not_text(error.valid_up_to())),
        }
    }

    /// What to say of a byte that is no UTF-8.
    fn not_text(&self, at: usize) -> Failure {
        let byte = self.bytes.get(at).copied().unwrap_or_default();
        let column = String::from_utf8_lossy(&self.bytes[..at]).chars().count() + 1;
        let utf_16 = self.number == 1 && (self.bytes.starts_with(b"\xff\xfe") || self.bytes.starts_with(b"\xfe\xff"));
        let seems = if utf_16 { " (it seems to be UTF-16)" } else { "" };
        self.wrong(&format!("the byte 0x{byte:02X} in column {column} is not UTF-8{seems}; save the commands as UTF-8"))
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::Said(format!("line {}: {what}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Result<Vec<String>, String> {
        let mut lines = Lines { input, number: 0, bytes: Vec::new() };
        let mut all = Vec::new();
        while let Some(line) = lines.next().map_err(|failure| failure.to_string())? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn lines_are_read_as_editors_write_them() {
        assert_eq!(lines(b"\xef\xbb\xbfuse a\r\nuse b").unwrap(), ["use a\r\n", "use b"]);
        let wrong = lines("use a\nuse é".as_bytes().split_last().unwrap().1).unwrap_err();
        assert!(wrong.starts_with("line 2: the byte 0xC3 in column 5 is not UTF-8"), "{wrong}");
        assert!(lines(b"\xff\xfeu\0s\0").unwrap_err().contains("UTF-16"));
    }
}
