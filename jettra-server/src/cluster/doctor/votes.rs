//! Who leads, who is silent, and how many more may be.

use super::diagnose::{Patient, Sight, is_headless, lasting, quorum, said, shell};
use super::memory::Found;
use super::second;
use crate::peers::Other;

pub(super) fn leaderless(sight: &Sight, found: &mut Vec<Found>) {
    let quorum = quorum(sight);
    if !is_headless(sight) {
        return;
    }
    let silent: Vec<&Patient> = sight.members.iter().filter(|m| m.voter && !m.heard).collect();
    let who: Vec<String> =
        silent.iter().map(|m| format!("{} at {}{}", m.id, m.url, lasting(sight, m.silent_since))).collect();
    let since = sight.leaderless_since.or_else(|| silent.iter().filter_map(|m| m.silent_since).max());
    let lasts = lasting(sight, since);
    let reads = "reads with consistency=local, on each node from its own state".to_owned();
    found.push(if quorum.holds() {
        Found {
            key: "leader".to_owned(),
            since,
            what: format!("there is no leader{lasts}, though {} of {} voters answer {}", quorum.active, quorum.voters, sight.asked),
            works: reads,
            at_risk: "writes and linearizable reads wait; an election usually takes less than a second".to_owned(),
            next: "wait two seconds and ask again: jettra-shell -c \"cluster doctor\"; if it stays so, look whether the voters reach one another".to_owned(),
        }
    } else {
        Found {
            key: "majority".to_owned(),
            since,
            what: format!(
                "there is no majority{lasts}: {} hears {} of {} voters and {} are needed; silent: {}",
                sight.asked,
                quorum.active,
                quorum.voters,
                quorum.majority,
                said(&who)
            ),
            works: reads,
            at_risk: "writes and linearizable reads are refused; nothing that was acknowledged is lost on the silent nodes' disks".to_owned(),
            next: format!(
                "start {} again on its machine: jettra-server --config config.json; if the disks of most voters are lost for ever: jettra-server recover --plan DIR, with the data directories that are left",
                silent.first().map_or("a voter", |m| m.id.as_str())
            ),
        }
    });
}

pub(super) fn silent(sight: &Sight, found: &mut Vec<Found>) {
    // They are part of that finding then.
    if is_headless(sight) {
        return;
    }
    let quorum = quorum(sight);
    for member in sight.members.iter().filter(|m| m.is_member && !m.heard) {
        let what = match (member.voter, member.replica) {
            (true, _) => "a voter",
            (false, true) => "a read replica",
            (false, false) => "which does not vote",
        };
        let answers = member.other.map_or("", Other::said);
        let next = match member.other {
            Some(_) => second::of_other(sight, &member.url),
            None => format!(
                "start {} again on its machine: jettra-server --config config.json; if it is gone for good: {}",
                member.id,
                shell(sight, &format!("cluster deregister {}", member.id))
            ),
        };
        found.push(Found {
            key: format!("silent {}", member.id),
            since: member.silent_since,
            what: format!(
                "{}, {what}, at {} is silent{}{answers}",
                member.id,
                member.url,
                lasting(sight, member.silent_since)
            ),
            works: "writes and reads go on".to_owned(),
            at_risk: if member.voter && quorum.failure_tolerance == 0 {
                format!("writing stops when one more of the {} voters fails", quorum.voters)
            } else if member.voter {
                format!("{} more of {} voters may fail before writing stops", quorum.failure_tolerance, quorum.voters)
            } else if member.replica {
                "reads that it would serve; no vote is lost".to_owned()
            } else {
                "no votes; it falls behind".to_owned()
            },
            next,
        });
    }
}

/// Registered, and never in the Raft membership: neither silent nor a learner.
pub(super) fn absent(sight: &Sight, found: &mut Vec<Found>) {
    for member in sight.members.iter().filter(|m| !m.is_member && m.inactive && !m.heard) {
        found.push(Found {
            key: format!("absent {}", member.id),
            since: None,
            what: format!("{} at {} is registered and never came", member.id, member.url),
            works: "everything; it is not counted on".to_owned(),
            at_risk: "it adds no safety, and its name and URL are taken".to_owned(),
            next: format!(
                "start it on its machine: jettra-server --config config.json, and look whether the leader reaches {}; if it is not to come: {}",
                member.url,
                shell(sight, &format!("cluster deregister {}", member.id))
            ),
        });
    }
}

pub(super) fn tolerance(sight: &Sight, found: &mut Vec<Found>) {
    let quorum = quorum(sight);
    // One voter is a choice; two are a trap.
    if is_headless(sight) || quorum.voters < 2 || quorum.failure_tolerance > 0 {
        return;
    }
    let silent: Vec<&Patient> = sight.members.iter().filter(|m| m.voter && !m.heard).collect();
    let since = silent.iter().filter_map(|m| m.silent_since).max();
    let next = match silent.first() {
        Some(member) => {
            format!("bring {} back: start it on its machine with jettra-server --config config.json", member.id)
        }
        None => format!("register one more node: {}", shell(sight, "cluster register http://<its host>:8080")),
    };
    found.push(Found {
        key: "tolerance".to_owned(),
        since,
        what: format!(
            "no tolerance left: {} of {} voters are heard and {} are a majority",
            quorum.active, quorum.voters, quorum.majority
        ),
        works: "writes and reads go on".to_owned(),
        at_risk: "if one more voter fails, writing stops; do not stop or restart any of them now".to_owned(),
        next,
    });
}

pub(super) fn paused(sight: &Sight, found: &mut Vec<Found>) {
    for member in sight.members.iter().filter(|m| m.paused) {
        found.push(Found {
            key: format!("paused {}", member.id),
            since: None,
            what: if member.voter {
                format!("{} is paused: it votes and is not elected", member.id)
            } else {
                format!("{} is paused", member.id)
            },
            works: "everything".to_owned(),
            at_risk: if member.voter { "one node less that can take over" } else { "nothing: it does not vote" }
                .to_owned(),
            next: format!("when its maintenance is done: {}", shell(sight, &format!("cluster resume {}", member.id))),
        });
    }
}
