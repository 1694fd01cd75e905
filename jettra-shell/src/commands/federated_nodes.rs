//! `federated nodes`

use jettra_client::wire::{FederatedNode, Role};
use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Lists the members.
pub const COMMAND: Command = Command {
    name: "federated nodes",
    aliases: &["federated show"],
    usage: "federated nodes",
    help: "list the members of the cluster (* marks the leader)",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let nodes = shell.client.get_federated_nodes().await?;
    let row = |node: &FederatedNode| {
        let mark = if node.role == Role::Leader { " *" } else { "" };
        vec![node.id.clone(), node.url.clone(), node.status.to_string(), format!("{}{mark}", node.role)]
    };
    Ok(Report::Table {
        header: &["Node ID", "URL", "Status", "Role"],
        rows: nodes.iter().map(row).collect(),
        json: json!(nodes),
    })
}
