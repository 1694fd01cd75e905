//! `cluster status`

use jettra_client::wire::{NodeView, Role};
use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::{Report, table};
use crate::shell::Shell;
use crate::text;

/// Shows the cluster.
pub const COMMAND: Command = Command {
    name: "cluster status",
    aliases: &[],
    usage: "cluster status",
    help: "show term, indexes and every member of the cluster, as the asked node sees them",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let view = shell.client.get_cluster().await?;
    if !view.enabled {
        return Ok(Report::Said("This node is not distributed: it is a cluster of one".into(), json!(view)));
    }
    let row = |node: &NodeView| {
        let mark = if node.role == Role::Leader { " *" } else { "" };
        vec![
            node.id.clone(),
            node.url.clone(),
            node.status.to_string(),
            format!("{}{mark}", node.role),
            match node.joining {
                Some(progress) => format!("has {} of {} entries", progress.entries, progress.of),
                None => if node.voter { "yes" } else { "no" }.to_owned(),
            },
            known(node.matched_index),
            known(node.lag_entries),
            known(node.last_contact_ms),
        ]
    };
    // What Raft calls a learner may be a read replica.
    let own = view.nodes.iter().find(|node| Some(&node.id) == view.node_id.as_ref());
    let state = own.map(|node| node.role).filter(|role| *role == Role::Replica).or(view.state);
    let summary = format!(
        "Asked {} ({}), leader {}, term {}, applied {}, committed {}, may lose {} more",
        text::plain(view.node_id.as_deref().unwrap_or("?")),
        state.map_or("waiting to be registered", Role::as_str),
        text::plain(view.leader_id.as_deref().unwrap_or("none")),
        known(view.term),
        known(view.applied_index),
        known(view.commit_index),
        known(view.failure_tolerance),
    );
    let header = ["Node ID", "URL", "Status", "Role", "Votes", "Matched", "Lag", "Heard ms ago"];
    let rows: Vec<Vec<String>> = view.nodes.iter().map(row).collect();
    Ok(Report::Said(format!("{}\n{summary}", table(&header, &rows)), json!(view)))
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
