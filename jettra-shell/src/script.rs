//! Commands from an argument or from a pipe.

use std::io::BufRead;

use crate::line::{self, Statement};
use crate::report::{self, Report};
use crate::shell::{Failure, Shell};

/// The longest statement to read, bytes: larger than any document a node takes.
const LONGEST: usize = 32 * 1024 * 1024;

/// Runs every statement of `input`, as soon as it is whole. Returns whether all of them succeeded. After
/// one that failed the rest is not run, unless `keep_going`.
///
/// # Errors
/// If the input cannot be read or the output cannot be written.
pub async fn run(shell: &mut Shell, mut input: impl BufRead, keep_going: bool) -> Result<bool, Failure> {
    let mut succeeded = true;
    let mut pending = String::new();
    loop {
        let ended = input.read_line(&mut pending)? == 0;
        let read = line::read(&pending);
        if let Some(open) = read.open {
            if !ended && pending.len() <= LONGEST {
                continue;
            }
            let said = format!("the input ends inside of {open}, which is not closed");
            report::complain(&Failure::Said(said), shell.settings.format);
            return Ok(false);
        }
        pending.clear();
        for statement in &read.statements {
            succeeded &= step(shell, statement).await?;
            if shell.finished || !(succeeded || keep_going) {
                return Ok(succeeded);
            }
        }
        if ended {
            return Ok(succeeded);
        }
    }
}

/// Runs one statement and prints what comes of it. Returns whether it succeeded.
async fn step(shell: &mut Shell, statement: &Statement) -> Result<bool, Failure> {
    match shell.run(statement).await {
        Ok(report) => {
            report::print(&report, shell.settings.format)?;
            Ok(!matches!(report, Report::Alarming(..)))
        }
        Err(failure) => {
            report::complain(&failure, shell.settings.format);
            Ok(false)
        }
    }
}
