//! Who is behind, and who holds something else.

use serde_json::Value;

use super::diagnose::{Sight, lasting, shell};
use super::memory::Found;
use crate::cluster::duties::digests;
use crate::cluster::plan::CAUGHT_UP;

/// A voter so many entries behind would need long to take over.
const LAGS: u64 = 10_000;
/// A learner has so long to catch up before anybody is told.
const CATCHES_UP_MS: u64 = 60_000;

pub(super) fn digest_alarms(sight: &Sight, found: &mut Vec<Found>) {
    for alarm in &sight.alarms {
        let text = |name: &str| alarm.details.get(name).and_then(Value::as_str);
        if text("alarm") != Some(digests::ALARM) {
            continue;
        }
        let (node, collection) =
            (alarm.node.as_deref().unwrap_or("a member"), text("collection").unwrap_or("a collection"));
        let report = sight.members.iter().find(|m| m.id == node).and_then(|m| m.report.as_ref());
        // A whole state is checked against its own digests: only another one mends it.
        let repair = report.map_or_else(
            || "jettra-server repair --data-dir <its DataDir>".to_owned(),
            |report| crate::remedy::repair_command(std::path::Path::new(&report.data_dir)),
        );
        let certain = alarm.details.get("certain").and_then(Value::as_bool).unwrap_or(true);
        let doubt =
            if certain { "" } else { "; as many hold the one as the other, so it may be right and the leader wrong" };
        found.push(Found {
            key: format!("digest {node} {collection}"),
            since: Some(alarm.time),
            what: format!("{node} holds something else in {collection} than the other members{doubt}"),
            works: "writes go on, and reads on the other members are right".to_owned(),
            at_risk: format!("reads on {node} may be wrong, and everything if it becomes the leader"),
            next: format!(
                "keep it from leading: {}; then stop it, give it another state: {repair} --refetch, and start it",
                shell(sight, &format!("cluster pause {node}"))
            ),
        });
    }
}

pub(super) fn lagging(sight: &Sight, found: &mut Vec<Found>) {
    for member in sight.members.iter().filter(|m| m.heard && (m.voter || m.replica)) {
        let applied = member.report.as_ref().map(|report| member.last.saturating_sub(report.applied));
        let Some(behind) = member.lag.max(applied.filter(|_| sight.leads)).filter(|behind| *behind > LAGS) else {
            continue;
        };
        found.push(Found {
            key: format!("lag {}", member.id),
            since: None,
            what: format!("{} is {behind} log entries behind", member.id),
            works: "writes and reads go on; linearizable reads on it wait until it has caught up".to_owned(),
            at_risk: if member.replica {
                "local reads on it are old, and it may need a whole snapshot"
            } else {
                "it cannot take over leadership soon, and may need a whole snapshot"
            }
            .to_owned(),
            next: format!("look at its load, its disk and the network to it: {}", shell(sight, "cluster status")),
        });
    }
}

pub(super) fn learners(sight: &Sight, found: &mut Vec<Found>) {
    let Some(_) = sight.leader.as_ref().filter(|_| sight.leads) else { return };
    for member in sight.members.iter().filter(|m| m.heard && m.is_member && !m.voter && !m.replica) {
        let joined_for = member.joined_at.map_or(0, |at| sight.now_ms.saturating_sub(at));
        if joined_for < CATCHES_UP_MS || member.lag.is_some_and(|lag| lag <= CAUGHT_UP) {
            continue;
        }
        let behind =
            member.lag.map_or("it has nothing of the log yet".to_owned(), |lag| format!("{lag} entries are missing"));
        found.push(Found {
            key: format!("learner {}", member.id),
            since: member.joined_at,
            what: format!(
                "{} has been joining{} and does not vote yet: {behind}",
                member.id,
                lasting(sight, member.joined_at)
            ),
            works: "everything; it is not counted on".to_owned(),
            at_risk: "it adds no safety until it votes".to_owned(),
            next: format!(
                "watch whether it gains: {}; if not, look at its log and disk, or take it out: {}",
                shell(sight, "cluster status"),
                shell(sight, &format!("cluster deregister {}", member.id))
            ),
        });
    }
}
