//! `cluster events [--limit N]`

use jettra_client::EventOptions;
use jettra_client::wire::ClusterEvent;
use serde_json::json;

use super::{Argument, Command};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;
use crate::utc::utc;

/// Shows the journal.
pub const COMMAND: Command = Command {
    name: "cluster events",
    aliases: &["cluster journal"],
    usage: "cluster events [--limit N]",
    help: "show what happened to the cluster and who asked: the newest 20 events, oldest first (--limit 0 means all)",
    arguments: &[Argument::OneOf(&["--limit"])],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

/// Events that are shown unless a limit is given.
const LIMIT: u64 = 20;

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let limit = match arguments {
        [] => LIMIT,
        ["--limit", number] => {
            number.parse().map_err(|_| Failure::Said(format!("{number:?} is no number of events; give 0 or more")))?
        }
        _ => return Err(Failure::Usage(COMMAND.usage)),
    };
    let mut events = shell.client.get_cluster_events(&EventOptions::new().newest_first().limit(limit)).await?;
    events.reverse();
    Ok(Report::Table {
        header: &["Revision", "Time (UTC)", "Kind", "Node", "By", "What"],
        rows: events.iter().map(row).collect(),
        json: json!(events),
    })
}

fn row(event: &ClusterEvent) -> Vec<String> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        event.rev.to_string(),
        utc(event.time),
        event.kind.to_string(),
        known(&event.node),
        known(&event.by),
        event.message.clone(),
    ]
}
