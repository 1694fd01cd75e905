//! What a [`Sight`] comes to. It knows no clock and no network, so a table can test it.

use jettra_client::wire::{ClusterEvent, Quorum};

use super::memory::Found;
use super::{guesses, machines, own, replication, second, votes};
use crate::cluster::claim::Claim;
use crate::cluster::report::Report;
use crate::peers::Other;

/// What one node sees of the cluster at one moment.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Sight {
    pub now_ms: u64,
    /// Which node sees it.
    pub asked: String,
    pub standing: Standing,
    /// Whether it leads.
    pub leads: bool,
    /// Who leads, where known.
    pub leader: Option<String>,
    /// Since when nobody leads, where that can be known.
    pub leaderless_since: Option<u64>,
    pub members: Vec<Patient>,
    /// Alarms of the journal that are not over.
    pub alarms: Vec<ClusterEvent>,
    /// Another cluster that counts this node as its member.
    pub claim: Option<Claim>,
    /// Where this node keeps its data.
    pub data_dir: String,
}

/// What a node is in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) enum Standing {
    /// A member.
    Member,
    /// Standalone: a cluster of one that is to stay so.
    Alone,
    /// It opens its stores.
    Starts,
    /// It waits to be registered.
    Waits { url: String },
    /// It was removed, at this index at the latest.
    Removed { index: u64, data_dir: String },
}

/// A member, as it is seen.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Patient {
    pub id: String,
    pub url: String,
    pub voter: bool,
    /// Whether it is a read replica, which is not to vote.
    pub replica: bool,
    /// Whether it is in the Raft membership yet.
    pub is_member: bool,
    /// Whether its document says that it is INACTIVE.
    pub inactive: bool,
    pub heard: bool,
    pub silent_since: Option<u64>,
    pub paused: bool,
    /// Entries of the log that it does not have, where known.
    pub lag: Option<u64>,
    pub joined_at: Option<u64>,
    pub report: Option<Report>,
    /// Who answers at its URL instead, where it is another node.
    pub other: Option<Other>,
    /// How far its clock is ahead of the one that looks, in milliseconds.
    pub clock_ahead_ms: i64,
    /// The last entry of the log that is known.
    pub last: u64,
}

/// One kind of finding.
type Finding = fn(&Sight, &mut Vec<Found>);

/// Every kind that a member looks for, the gravest first. A new one is a function in its family's file and a line here.
const FINDINGS: &[Finding] = &[
    votes::leaderless,
    replication::digest_alarms,
    machines::disks,
    votes::silent,
    votes::absent,
    votes::tolerance,
    replication::lagging,
    replication::learners,
    machines::fsyncs,
    machines::clocks,
    machines::versions,
    votes::paused,
    guesses::guesses,
];

/// What is wrong, the gravest first; nothing where all is well.
pub(in crate::cluster) fn diagnose(sight: &Sight) -> Vec<Found> {
    match &sight.standing {
        Standing::Waits { url } => {
            let claimed = sight.claim.as_ref().map(|claim| second::lost(sight, claim));
            return vec![claimed.unwrap_or_else(|| own::waits(sight, url))];
        }
        Standing::Removed { index, data_dir } => return vec![own::removed(sight, *index, data_dir)],
        Standing::Starts => return vec![own::starts(sight)],
        Standing::Member | Standing::Alone => {}
    }
    let mut found = Vec::from_iter(sight.claim.as_ref().map(|claim| second::second(sight, claim)));
    FINDINGS.iter().for_each(|finding| finding(sight, &mut found));
    found
}

/// The start of what is said of something that began at `since`.
pub(super) fn lasting(sight: &Sight, since: Option<u64>) -> String {
    match since.map(|since| sight.now_ms.saturating_sub(since) / 1000) {
        None => String::new(),
        Some(0) => " since just now".to_owned(),
        Some(seconds @ 1..120) => format!(" for {seconds} s"),
        Some(seconds @ 120..7200) => format!(" for {} min", seconds / 60),
        Some(seconds @ 7200..172_800) => format!(" for {} h", seconds / 3600),
        Some(seconds) => format!(" for {} days", seconds / 86_400),
    }
}

pub(super) fn shell(sight: &Sight, command: &str) -> String {
    let via = sight.members.iter().find(|m| Some(&m.id) == sight.leader.as_ref());
    let via = via.or_else(|| sight.members.iter().find(|m| m.heard));
    match via {
        Some(via) => format!("jettra-shell {} -c \"{command}\"", via.url),
        None => format!("jettra-shell -c \"{command}\""),
    }
}

pub(super) fn said(parts: &[String]) -> String {
    match parts {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

pub(super) fn gib(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

pub(super) fn quorum(sight: &Sight) -> Quorum {
    let voters = sight.members.iter().filter(|m| m.voter);
    Quorum::new(voters.clone().count() as u64, voters.filter(|m| m.heard).count() as u64)
}

/// Whether nobody leads, or a leader leads no majority.
pub(super) fn is_headless(sight: &Sight) -> bool {
    sight.leader.is_none() || !quorum(sight).holds()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
