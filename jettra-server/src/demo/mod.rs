//! A cluster on one machine to try things out: `jettra-server demo`.
//!
//! Each node is a process of its own, with a directory of its own that holds its `config.json`, its
//! data and its log. A node's standard input is a pipe from here: it stops when the pipe closes, so
//! no node outlives the demo, however that ends.

mod registration;
mod site;

use std::fmt::Write as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use futures_util::{FutureExt, future::join_all};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::cli::DemoArgs;
use crate::output;
use crate::signals::Signals;
use registration::MemberInfo;
use site::{NodeSite, Site};

/// How long nodes may take to answer, and then to become members.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long nodes may take to stop: more than the 5 s that they promise.
const STOP_LIMIT: Duration = Duration::from_secs(6);

/// How often something is looked at again while waiting for it.
const POLL: Duration = Duration::from_millis(50);

/// Why the demo did not start or go on. Displays as a line with what to do.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// It cannot start as told.
    #[error("{0}")]
    Refused(String),
    /// It started and failed.
    #[error("{0}")]
    Failed(String),
    /// A signal came before everything was up.
    #[error("stopped before every node was up")]
    Interrupted,
}

/// A node of the demo that was started.
struct RunningNode {
    site: NodeSite,
    child: Child,
    /// The pipe whose end asks the node to stop. Not left in `child`: waiting for a child closes it.
    pipe: Option<ChildStdin>,
}

/// Runs the demo until Ctrl-C, SIGTERM, or the end of its last node; returns the exit code.
pub async fn run(args: DemoArgs) -> u8 {
    match start_and_watch(args).await {
        Ok(code) => code,
        Err(error) => {
            output::complain(format_args!("jettra-server demo: {error}"));
            match error {
                DemoError::Refused(_) => 2,
                DemoError::Failed(_) => 1,
                DemoError::Interrupted => 0,
            }
        }
    }
}

async fn start_and_watch(args: DemoArgs) -> Result<u8, DemoError> {
    let mut signals =
        Signals::listen().map_err(|error| DemoError::Failed(format!("cannot listen for signals: {error}")))?;
    // Dropped last: a temporary directory goes when all nodes are gone.
    let site = Site::prepare(&args)?;
    let mut nodes = Vec::new();
    for node in &site.nodes {
        let mut child = spawn(node)?;
        nodes.push(RunningNode { site: node.clone(), pipe: child.stdin.take(), child });
    }

    let up = tokio::select! {
        up = bring_up(&mut nodes) => up,
        _ = signals.next() => Err(DemoError::Interrupted),
    };
    let outcome = match up {
        Ok(members) => {
            crate::output::say!("{}", welcome(&site, &members));
            Ok(watch(&mut nodes, &mut signals).await)
        }
        Err(error) => Err(error),
    };
    stop(nodes, &mut signals).await;
    outcome
}

/// Starts one node's process. It gets a process group of its own, so that a Ctrl-C at the terminal
/// reaches it through us only, once.
fn spawn(site: &NodeSite) -> Result<Child, DemoError> {
    let failed =
        |what: &str, error: std::io::Error| DemoError::Failed(format!("cannot {what} for {}: {error}", site.id));
    let program = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    let log = site.open_log().map_err(|error| failed("write the log", error))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(site.config_path()).arg("--exit-with-stdin");
    // What is the same for all nodes may come from our environment; what tells them apart may not.
    for name in site::PER_NODE_ENV {
        command.env_remove(name);
    }
    command
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(|error| failed("write the log", error))?)
        .stderr(log)
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(|error| failed("start a process", error))
}

/// Waits until every node answers and is a member.
async fn bring_up(nodes: &mut [RunningNode]) -> Result<Vec<MemberInfo>, DemoError> {
    let sites: Vec<NodeSite> = nodes.iter().map(|node| node.site.clone()).collect();
    tokio::select! {
        members = registration::join_all(&sites, Instant::now() + START_LIMIT) => members,
        (place, status) = first_to_end(nodes) => {
            let site = &nodes[place].site;
            Err(DemoError::Failed(format!(
                "{} ended while starting ({status}); the end of its log {}:\n{}",
                site.id, site.log_path().display(), site.log_tail(5)
            )))
        }
    }
}

/// Reports nodes that end, until a signal comes or none is left.
async fn watch(nodes: &mut Vec<RunningNode>, signals: &mut Signals) -> u8 {
    let mut code = 0;
    let started = nodes.len();
    while !nodes.is_empty() {
        let (place, status) = tokio::select! {
            signal = signals.next() => {
                output::complain(format_args!("{signal}: stopping {} nodes; once more stops them at once", nodes.len()));
                return 0;
            }
            ended = first_to_end(nodes) => ended,
        };
        let RunningNode { site, .. } = nodes.remove(place);
        let left = format!("{} of {started} nodes are left", nodes.len());
        if status.success() {
            output::complain(format_args!("{} ({}) has stopped; {left}", site.id, site.url));
        } else {
            code = 1;
            let log = site.log_path();
            output::complain(format_args!(
                "{} ({}) has died ({status}), see {}; {left}",
                site.id,
                site.url,
                log.display()
            ));
        }
    }
    output::complain("no node is left: the demo ends");
    code
}

async fn first_to_end(nodes: &mut [RunningNode]) -> (usize, ExitStatus) {
    let waits = nodes.iter_mut().map(|node| node.child.wait().boxed());
    match select_all(waits).await {
        (Ok(status), place, _) => (place, status),
        // A child that we started can always be waited for; what cannot is as good as dead.
        (Err(_), place, _) => (place, ExitStatus::default()),
    }
}

/// Closes the pipe to every node, which asks it to stop, and kills those that do not in time.
async fn stop(mut nodes: Vec<RunningNode>, signals: &mut Signals) {
    for node in &mut nodes {
        node.pipe.take();
    }
    let all_stopped = timeout(STOP_LIMIT, join_all(nodes.iter_mut().map(|node| node.child.wait())));
    let in_time = tokio::select! {
        stopped = all_stopped => stopped.is_ok(),
        _ = signals.next() => false,
    };
    if !in_time {
        for node in &mut nodes {
            if let Err(error) = node.child.kill().await {
                output::complain(format_args!("cannot end {}: {error}", node.site.id));
            }
        }
    }
}

/// What a person needs to go on.
fn welcome(site: &Site, members: &[MemberInfo]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(["id", "URL", "role", "log"]);
    for node in &site.nodes {
        let role = members.iter().find(|member| member.id == node.id).map_or("", |member| &member.role);
        table.add_row([&*node.id, node.url.as_str(), role, &node.log_path().display().to_string()]);
    }
    let first = &site.nodes[0].url;
    let mut text = format!("{table}\n\nUI      {first}/\nshell   jettra-shell {first} -c \"federated nodes\"\n");
    // Writing to a string cannot fail.
    match site.is_temporary() {
        true => text.push_str("data    in a temporary folder, removed at the end; keep it with --dir DIR\n"),
        false => writeln!(text, "data    in {}, kept", site.dir().display()).unwrap_or_default(),
    }
    text.push_str("\nCtrl-C stops all nodes.");
    text
}
