//! `cluster doctor`

use jettra_client::wire::Finding;
use serde_json::json;

use super::{Command, exactly};
use crate::failure::Failure;
use crate::report::{Report, counted, table};
use crate::shell::Shell;
use crate::utc::utc;

/// Says what is wrong.
pub const COMMAND: Command = Command {
    name: "cluster doctor",
    aliases: &["doctor"],
    usage: "cluster doctor",
    help: "say what is wrong with the cluster and what to do (in a script, findings count as a failure: exit code 1)",
    arguments: &[],
    run: |shell, arguments| Box::pin(run(shell, arguments)),
};

async fn run(shell: &mut Shell, arguments: &[&str]) -> Result<Report, Failure> {
    let [] = exactly(arguments, &COMMAND)?;
    let diagnosis = shell.client.get_doctor().await?;
    if diagnosis.healthy {
        return Ok(Report::Said("Healthy: nothing was found".into(), json!(diagnosis)));
    }
    let mut said: Vec<String> = diagnosis.findings.iter().map(drawn).collect();
    said.push(format!("Not healthy: {}", counted(diagnosis.findings.len() as u64, "finding")));
    Ok(Report::Alarming(said.join("\n"), json!(diagnosis)))
}

fn drawn(finding: &Finding) -> String {
    let row = |name: &str, text: &str| vec![name.to_owned(), text.to_owned()];
    let rows = [
        row("Since (UTC)", &utc(finding.since)),
        row("Works", &finding.works),
        row("At risk", &finding.at_risk),
        row("Next", &finding.next),
    ];
    table(&["What", &crate::text::plain(&finding.what)], &rows)
}
