//! Commands from a terminal: prompt, history, completion.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use crate::commands;
use crate::complete::LineHelper;
use crate::line::{self, Statement};
use crate::report;
use crate::shell::{Failure, Shell};

/// How many lines the history keeps.
const HISTORY: usize = 1000;

/// Whether a person types.
pub fn at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Reads and runs lines until `exit` or Ctrl-D. With `connect`, begins by connecting.
///
/// # Errors
/// If the terminal cannot be read or written.
pub fn run(runtime: &Runtime, mut shell: Shell, connect: bool) -> Result<(), Failure> {
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(HISTORY).map_err(broken)?;
    let mut editor: Editor<LineHelper, DefaultHistory> = Editor::with_config(config.build()).map_err(broken)?;
    editor.set_helper(Some(LineHelper::new(runtime.handle().clone(), shell.client.clone())));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        editor.load_history(file).unwrap_or_default();
    }
    report::greet();
    if connect {
        for statement in &line::read(&format!("connect '{}'", shell.settings.url)).statements {
            step(runtime, &mut shell, statement)?;
        }
    }
    while !shell.finished {
        match editor.readline(&prompt(&shell)) {
            Ok(typed) => {
                if is_worth_keeping(&typed) {
                    editor.add_history_entry(typed.trim()).map_err(broken)?;
                    keep(&mut editor, history.as_deref());
                }
                line(runtime, &mut shell, &typed)?;
                if let Some(helper) = editor.helper_mut() {
                    helper.follow(&shell.client, shell.database.as_deref());
                }
            }
            // Ctrl-C leaves the line, Ctrl-D the shell.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

/// Runs the statements of a line, up to one that fails.
fn line(runtime: &Runtime, shell: &mut Shell, typed: &str) -> Result<(), Failure> {
    for statement in &line::read(typed).statements {
        if shell.finished || !step(runtime, shell, statement)? {
            break;
        }
    }
    Ok(())
}

/// Runs one statement until it is done or Ctrl-C is pressed. Returns whether it succeeded.
fn step(runtime: &Runtime, shell: &mut Shell, statement: &Statement) -> Result<bool, Failure> {
    let format = shell.settings.format;
    let result = runtime.block_on(async {
        tokio::select! {
            // First, since a command may take Ctrl-C for its own end.
            biased;
            result = shell.run(statement) => result,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Err(Failure::Said("cancelled; a write that was under way may have happened".into()))
            }
        }
    });
    match result {
        Ok(report) => {
            report::print(&report, format)?;
            Ok(true)
        }
        Err(failure) => {
            report::complain(&failure, format);
            Ok(false)
        }
    }
}

fn prompt(shell: &Shell) -> String {
    match &shell.database {
        Some(database) => format!("jettra:{database}> "),
        None => "jettra> ".to_owned(),
    }
}

/// Lines with a password stay out of the history.
fn is_worth_keeping(typed: &str) -> bool {
    let with_password = |statement: &Statement| {
        let words: Vec<&str> = statement.iter().map(|word| word.text.as_str()).collect();
        commands::after("login", &words).is_some_and(|arguments| arguments.len() > 1)
    };
    !typed.trim().is_empty() && !line::read(typed).statements.iter().any(with_password)
}

/// Adds what is new to the history file, as far as that can be written.
fn keep(editor: &mut Editor<LineHelper, DefaultHistory>, file: Option<&Path>) {
    if let Some(file) = file {
        // A history that cannot be kept is no reason to fail.
        file.parent().map_or(Ok(()), std::fs::create_dir_all).unwrap_or_default();
        editor.append_history(file).unwrap_or_default();
    }
}

/// `JETTRA_HISTORY`, or a file in the user's state directory (XDG), or none.
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("JETTRA_HISTORY").or_else(|| {
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
        Some(state.join("jettra/history"))
    })
}

fn broken(error: ReadlineError) -> Failure {
    Failure::Said(format!("the terminal cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_the_history() {
        assert!(is_worth_keeping("login admin"));
        assert!(is_worth_keeping("insert logins {\"a\":1}"));
        assert!(!is_worth_keeping("show dbs; LOGIN admin secret"));
        assert!(!is_worth_keeping("  "));
    }
}
