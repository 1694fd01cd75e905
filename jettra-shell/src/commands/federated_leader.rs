//! `federated leader`

use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::Report;
use crate::shell::Shell;

/// Shows the leader.
pub const COMMAND: Command = Command {
    name: "federated leader",
    aliases: &["federated node-leader"],
    usage: "federated leader",
    help: "show which node leads",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let leader = shell.client.get_node_leader().await?;
    let Some(leader) = leader else {
        return Err(Failure::Said("the cluster has no leader now; look at: cluster status".into()));
    };
    Ok(Report::Table {
        header: &["Node ID", "URL", "Status"],
        rows: vec![vec![leader.id.clone(), leader.url.clone(), leader.status.to_string()]],
        json: json!(leader),
    })
}
