//! The program `jettra-server` from its arguments to its exit code. Exit codes: 0 stopped as asked, 1 failed while running, 2 could not
//! start as told, 130 stopped at once by a second signal.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Cli, RunArgs, Task};
use crate::cluster::identity;
use crate::config::{Config, ConfigError, Loaded};
use crate::limits;
use crate::signals::Signals;
use crate::{demo, descriptors, node, old_data, output, planted, private, recover, repair, telemetry};
use clap::Parser;
use tokio::sync::oneshot;

/// How long the end waits for standard error to take the last lines.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The exit code of programs that an interrupt ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the program with this process's arguments; it ends the process itself.
pub fn main() -> ExitCode {
    private::from_now_on();
    output::tell_of_panics();
    // Huge pages make 34 MiB more of an idle node and nothing faster.
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        output::complain(format_args!("jettra-server: warning: huge pages stay on: {error}"));
    }
    if let Err(error) = descriptors::raise() {
        output::complain(format_args!("jettra-server: warning: the limit of open files stays as it is: {error}"));
    }
    let code = match Cli::parse().into_task() {
        Task::Run(args) => run(args),
        Task::Demo(args) => on_runtime(demo::run(args)).unwrap_or_else(|failed| failed),
        Task::Repair(args) => repair::run(&args),
        Task::Recover(args) => recover::run(&args),
    };
    // Not a return: that would wait for threads that still block, such as one reading standard input.
    exit_now(code)
}

fn run(args: RunArgs) -> u8 {
    let loaded = match Config::load(args.config.as_ref().or(args.config_file.as_ref()).map(AsRef::as_ref), &args.flags)
    {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    if args.print_config {
        let complain = |text: &String| output::complain(format_args!("jettra-server: warning: {text}"));
        loaded.warnings.iter().for_each(complain);
        return match output::print(loaded.config.masked_json_pretty()) {
            Ok(()) => 0,
            Err(error) => {
                output::complain(format_args!("jettra-server: the configuration could not be written: {error}"));
                1
            }
        };
    }
    let Loaded { config, warnings, note, file, .. } = loaded;
    if let Some(document) = old_data::example_in(&config.data_dir)
        && !args.new
        && !identity::path(&config.data_dir).exists()
    {
        return refuse(&format!(
            "{0} holds data of JettraDBVM ({1}), which is not read in place; nothing was touched: see \
             docs/from-jettradbvm.md for the way to bring it over; choose another directory with --data-dir, or begin an \
             empty database in this one, beside that data, with --new",
            config.data_dir.display(),
            document.display()
        ));
    }
    if let Err(error) = telemetry::start(config.log_format, &config.log_level) {
        return refuse(&ConfigError::Surroundings(format!("cannot write log lines: {error}")));
    }
    match file {
        Some(path) => tracing::info!(path = %path.display(), "configuration read"),
        None => tracing::info!("no config.json found: using the defaults, the environment and the flags"),
    }
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if let Some(warning) = planted::warning() {
        tracing::warn!("{warning}");
    }
    note.iter().for_each(|note| tracing::info!("{note}"));
    on_runtime(serve(config, args.exit_with_stdin)).unwrap_or_else(|failed| failed)
}

/// Runs the node until it ends by itself or is asked to stop.
async fn serve(config: Config, exit_with_stdin: bool) -> u8 {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}")),
    };
    let stdin_ended = exit_with_stdin.then(stdin_ended);
    let (stop, stopped) = oneshot::channel::<()>();
    let node = node::run(config, async {
        // Stopped by a message or by this function's end: both mean stop.
        stopped.await.ok();
    });
    tokio::pin!(node);

    tokio::select! {
        outcome = &mut node => return exit_code(outcome),
        signal = signals.next() => tracing::info!(signal, "stopping; a second signal stops at once"),
        () = forever_unless(stdin_ended) => tracing::info!("stopping: standard input has ended"),
    }
    drop(stop);
    tokio::select! {
        outcome = &mut node => exit_code(outcome),
        () = tokio::time::sleep(limits::EXIT) => {
            // Acknowledged writes are on disk, so this end is as good as any; only answers are missing.
            tracing::warn!(after = ?limits::EXIT, "stopped without finishing every request");
            exit_now(0)
        }
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once by a second signal");
            exit_now(INTERRUPTED)
        }
    }
}

/// Ends the process without dropping the node, whose stores would take their time over it. A store
/// that is not closed is opened again as after a crash.
fn exit_now(code: u8) -> ! {
    output::flush(LAST_LINES);
    std::process::exit(code.into())
}

fn exit_code(outcome: Result<(), node::StartError>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            output::complain(format_args!("jettra-server: {error}"));
            error.exit_code()
        }
    }
}

fn refuse(error: &dyn std::fmt::Display) -> u8 {
    output::complain(format_args!("jettra-server: {error}"));
    2
}

fn on_runtime(task: impl Future<Output = u8>) -> Result<u8, u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| refuse(&format!("cannot start threads: {error}: raise the limits")))?;
    let code = runtime.block_on(task);
    // What still runs has had its time.
    runtime.shutdown_background();
    Ok(code)
}

/// Ends when standard input does. The thread that reads it is left behind at the exit.
fn stdin_ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        drop(sender);
    });
    receiver
}

async fn forever_unless(ended: Option<oneshot::Receiver<()>>) {
    match ended {
        Some(ended) => {
            ended.await.ok();
        }
        None => std::future::pending().await,
    }
}
