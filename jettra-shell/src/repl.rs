//! Commands from a terminal: prompt, history, completion.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::task::Poll;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;

use crate::complete::LineHelper;
use crate::failure::Failure;
use crate::history;
use crate::line::{self, Statement};
use crate::report;
use crate::shell::Shell;

/// How many lines the history keeps.
const HISTORY: usize = 1000;

/// What is told of a line that cannot be read.
const NOT_TEXT: &str = "a byte came that is not UTF-8; the line, and what came with it, was not run \
    (set the terminal to UTF-8)";

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
    let history = history::file();
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
                if history::is_worth_keeping(&typed) {
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
            Err(error) if is_not_text(&error) => {
                forget_typed_ahead();
                report::complain(&Failure::Said(NOT_TEXT.into()), shell.settings.format);
            }
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

/// Whether what was typed or pasted is no UTF-8.
fn is_not_text(error: &ReadlineError) -> bool {
    matches!(error, ReadlineError::Io(error) if error.kind() == io::ErrorKind::InvalidData)
}

/// Drops what was pasted after a line that could not be read: half of it must not run as a whole.
#[cfg(unix)]
fn forget_typed_ahead() {
    use nix::sys::termios::{FlushArg, tcflush};
    // What cannot be dropped is read as it came.
    tcflush(io::stdin(), FlushArg::TCIFLUSH).unwrap_or_default();
}

#[cfg(not(unix))]
fn forget_typed_ahead() {}

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
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        // Asked once before the command begins: from then on Ctrl-C ends the command and not the program.
        if std::future::poll_fn(|context| Poll::Ready(interrupted.as_mut().poll(context).is_ready())).await {
            return Err(Failure::Said("cancelled".into()));
        }
        tokio::select! {
            // First, since a command may take Ctrl-C for its own end.
            biased;
            result = shell.run(statement) => result,
            interrupted = &mut interrupted => {
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
        Err(Failure::Output(error)) => Err(Failure::Output(error)),
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

/// Adds what is new to the history file, as far as that can be written.
fn keep(editor: &mut Editor<LineHelper, DefaultHistory>, file: Option<&Path>) {
    if let Some(file) = file {
        // A history that cannot be kept is no reason to fail.
        file.parent().map_or(Ok(()), std::fs::create_dir_all).unwrap_or_default();
        editor.append_history(file).unwrap_or_default();
    }
}

fn broken(error: ReadlineError) -> Failure {
    Failure::Said(format!("the terminal cannot be used: {error}"))
}
