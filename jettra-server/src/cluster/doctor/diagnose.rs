//! What a [`Sight`] comes to. It knows no clock and no network, so a table can test it.

use jettra_client::wire::{ClusterEvent, Quorum};
use serde_json::Value;

use super::guesses::guesses;
use super::memory::Found;
use super::second;
use crate::cluster::claim::Claim;
use crate::cluster::digests;
use crate::cluster::plan::CAUGHT_UP;
use crate::cluster::report::Report;
use crate::cluster::time;
use crate::peers::Other;

/// Clocks may differ by so many milliseconds.
const CLOCKS_MS: i64 = 500;
/// An fsync that takes longer, at the ninety-ninth of a hundred, holds up every write.
const SLOW_FSYNC_US: u64 = 100_000;
/// Fewer fsyncs than this in a minute say nothing.
const FSYNCS: u64 = 50;
/// A voter so many entries behind would need long to take over.
const LAGS: u64 = 10_000;
/// A learner has so long to catch up before anybody is told.
const CATCHES_UP_MS: u64 = 60_000;
/// Less free than so many times the reserve is almost full.
const ALMOST: u64 = 4;

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

/// What is wrong, the gravest first; nothing where all is well.
pub(in crate::cluster) fn diagnose(sight: &Sight) -> Vec<Found> {
    let mut found = Vec::new();
    match &sight.standing {
        Standing::Waits { url } => {
            return vec![sight.claim.as_ref().map_or_else(|| waits(sight, url), |claim| second::lost(sight, claim))];
        }
        Standing::Removed { index, data_dir } => return vec![removed(sight, *index, data_dir)],
        Standing::Starts => return vec![starts(sight)],
        Standing::Member | Standing::Alone => {}
    }
    found.extend(sight.claim.as_ref().map(|claim| second::second(sight, claim)));
    leaderless(sight, &mut found);
    digest_alarms(sight, &mut found);
    disks(sight, &mut found);
    silent(sight, &mut found);
    absent(sight, &mut found);
    tolerance(sight, &mut found);
    lagging(sight, &mut found);
    learners(sight, &mut found);
    fsyncs(sight, &mut found);
    clocks(sight, &mut found);
    versions(sight, &mut found);
    paused(sight, &mut found);
    guesses(sight, &mut found);
    found
}

/// The start of what is said of something that began at `since`.
fn lasting(sight: &Sight, since: Option<u64>) -> String {
    match since.map(|since| sight.now_ms.saturating_sub(since) / 1000) {
        None => String::new(),
        Some(0) => " since just now".to_owned(),
        Some(seconds @ 1..120) => format!(" for {seconds} s"),
        Some(seconds @ 120..7200) => format!(" for {} min", seconds / 60),
        Some(seconds @ 7200..172_800) => format!(" for {} h", seconds / 3600),
        Some(seconds) => format!(" for {} days", seconds / 86_400),
    }
}

fn shell(sight: &Sight, command: &str) -> String {
    let via = sight.members.iter().find(|m| Some(&m.id) == sight.leader.as_ref());
    let via = via.or_else(|| sight.members.iter().find(|m| m.heard));
    match via {
        Some(via) => format!("jettra-shell {} -c \"{command}\"", via.url),
        None => format!("jettra-shell -c \"{command}\""),
    }
}

fn said(parts: &[String]) -> String {
    match parts {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn gib(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

fn quorum(sight: &Sight) -> Quorum {
    let voters = sight.members.iter().filter(|m| m.voter);
    Quorum::new(voters.clone().count() as u64, voters.filter(|m| m.heard).count() as u64)
}

/// Whether nobody leads, or a leader leads no majority.
fn is_headless(sight: &Sight) -> bool {
    sight.leader.is_none() || !quorum(sight).holds()
}

fn waits(sight: &Sight, url: &str) -> Found {
    Found {
        key: "waits".to_owned(),
        since: None,
        what: format!("{} at {url} waits to be registered by a member of a cluster", sight.asked),
        works: "probes and the views of the cluster; nothing is stored here yet".to_owned(),
        at_risk: "nothing: no other node counts on this one".to_owned(),
        next: format!(
            "register it at a member, say at http://localhost:8080: curl -X POST http://localhost:8080/api/cluster/register -d '{{\"url\":\"{url}\"}}'"
        ),
    }
}

fn removed(sight: &Sight, index: u64, data_dir: &str) -> Found {
    Found {
        key: "removed".to_owned(),
        since: None,
        what: format!("{} was removed from the cluster, at index {index} at the latest", sight.asked),
        works: "nothing that needs the cluster; the other members go on without this node".to_owned(),
        at_risk: "clients that still know only this node".to_owned(),
        next: format!(
            "stop it for good; or to use it anew: stop it, then: mv {data_dir} {data_dir}.removed, start it and register it"
        ),
    }
}

fn starts(sight: &Sight) -> Found {
    Found {
        key: "starts".to_owned(),
        since: None,
        what: format!("{} is opening its stores, or could not", sight.asked),
        works: "probes".to_owned(),
        at_risk: "the other members have one node less until it is there".to_owned(),
        next:
            "wait a moment; if it stays so, read the node's log and: curl http://localhost:8080/readyz at its own port"
                .to_owned(),
    }
}

fn leaderless(sight: &Sight, found: &mut Vec<Found>) {
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

fn digest_alarms(sight: &Sight, found: &mut Vec<Found>) {
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

fn disks(sight: &Sight, found: &mut Vec<Found>) {
    for member in &sight.members {
        let Some(report) = member.report.as_ref().filter(|report| report.disk_total > 0) else { continue };
        let (free, reserve) = (report.disk_free, report.disk_reserve);
        let leads = Some(&member.id) == sight.leader.as_ref();
        let key = format!("disk {}", member.id);
        let next = format!(
            "free or add space where {} keeps {} (df -h {}); LogRetainBytes bounds its log, maxVersions the versions: {}",
            member.id,
            report.data_dir,
            report.data_dir,
            shell(sight, "cluster settings")
        );
        if free < reserve {
            found.push(Found {
                key,
                since: None,
                what: format!(
                    "the disk of {} is full: {} of {} are free, and {} are kept in reserve",
                    member.id,
                    gib(free),
                    gib(report.disk_total),
                    gib(reserve)
                ),
                works: if leads {
                    "reads, deletes, drops, settings; the cluster's own writes"
                } else {
                    "everything, as long as it does not lead"
                }
                .to_owned(),
                at_risk: if leads {
                    "clients' other writes are refused (storage_full); with no space at all the node stops".to_owned()
                } else {
                    "with no space at all the node stops; if it leads, writes are refused".to_owned()
                },
                next,
            });
        } else if free < reserve.saturating_mul(ALMOST) {
            found.push(Found {
                key,
                since: None,
                what: format!(
                    "the disk of {} is almost full: {} of {} are free",
                    member.id,
                    gib(free),
                    gib(report.disk_total)
                ),
                works: "everything".to_owned(),
                at_risk: format!("below {} the leader refuses writes", gib(reserve)),
                next,
            });
        }
    }
}

fn silent(sight: &Sight, found: &mut Vec<Found>) {
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
fn absent(sight: &Sight, found: &mut Vec<Found>) {
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

fn tolerance(sight: &Sight, found: &mut Vec<Found>) {
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

fn lagging(sight: &Sight, found: &mut Vec<Found>) {
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

fn learners(sight: &Sight, found: &mut Vec<Found>) {
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

fn fsyncs(sight: &Sight, found: &mut Vec<Found>) {
    for member in &sight.members {
        let Some(report) = member.report.as_ref() else { continue };
        if report.fsyncs < FSYNCS || report.fsync_p99_us <= SLOW_FSYNC_US {
            continue;
        }
        found.push(Found {
            key: format!("fsync {}", member.id),
            since: None,
            what: format!("the disk of {} is slow: one fsync in a hundred takes {} ms or more", member.id, report.fsync_p99_us / 1000),
            works: "everything, slowly".to_owned(),
            at_risk: "writes wait for it where it is needed for the majority, and always where it leads".to_owned(),
            next: format!(
                "see what else uses the disk of {} (iostat -x 1), or move {} to a faster one; if it leads, hand over: {}",
                report.data_dir,
                report.data_dir,
                shell(sight, "cluster transfer <another node>")
            ),
        });
    }
}

fn clocks(sight: &Sight, found: &mut Vec<Found>) {
    let told: Vec<&Patient> = sight.members.iter().filter(|m| m.report.is_some()).collect();
    if told.is_empty() {
        return;
    }
    let mut clocks: Vec<i64> = told.iter().map(|m| m.clock_ahead_ms).collect();
    clocks.sort_unstable();
    let most = clocks[(clocks.len() - 1) / 2];
    // Of two nobody knows which is right.
    let wrong = |m: &&&Patient| told.len() > 2 && m.clock_ahead_ms.abs_diff(most) > time::BOUND;
    for member in told.iter().filter(wrong) {
        let by = member.clock_ahead_ms.abs_diff(most) / 1000;
        let way = if member.clock_ahead_ms > most { "ahead of" } else { "behind" };
        found.push(Found {
            key: format!("clock {}", member.id),
            since: None,
            what: format!("the clock of {} is wrong: it is {by} s {way} those of most members", member.id),
            works: "everything: cluster time goes by what most clocks say".to_owned(),
            at_risk: format!(
                "{} hands over when it leads; if more clocks go wrong, tokens and records of requests end early",
                member.id
            ),
            next: format!("set the clock of {} by NTP on its machine: timedatectl set-ntp true", member.id),
        });
    }
    let right = || told.iter().filter(|m| !wrong(m));
    let fastest = right().max_by_key(|m| m.clock_ahead_ms);
    let slowest = right().min_by_key(|m| m.clock_ahead_ms);
    let (Some(fastest), Some(slowest)) = (fastest, slowest) else { return };
    let apart = fastest.clock_ahead_ms - slowest.clock_ahead_ms;
    if apart <= CLOCKS_MS {
        return;
    }
    found.push(Found {
        key: "clocks".to_owned(),
        since: None,
        what: format!("clocks are apart: that of {} is {apart} ms ahead of that of {}", fastest.id, slowest.id),
        works: "everything: no decision about documents rests on the nodes' clocks".to_owned(),
        at_risk: "times in versions and in the journal jump when leadership moves, and tokens end early or late"
            .to_owned(),
        next: format!(
            "set the clocks of {} and {} by NTP on their machines: timedatectl set-ntp true",
            fastest.id, slowest.id
        ),
    });
}

fn versions(sight: &Sight, found: &mut Vec<Found>) {
    let told = || sight.members.iter().filter_map(|m| Some((m, m.report.as_ref()?)));
    let version = |report: &Report| (report.version.clone(), report.feature_level);
    let Some((_, first)) = told().next() else { return };
    if told().all(|(_, report)| version(report) == version(first)) {
        return;
    }
    let who: Vec<String> =
        told().map(|(m, r)| format!("{} {} (feature level {})", m.id, r.version, r.feature_level)).collect();
    found.push(Found {
        key: "versions".to_owned(),
        since: None,
        what: format!("versions differ: {}", said(&who)),
        works: "everything that the oldest of them knows".to_owned(),
        at_risk: "nothing new can be used, and a rolling upgrade that is not finished is forgotten easily".to_owned(),
        next: format!(
            "start the newer version on the remaining nodes, one after the other, then: {}",
            shell(sight, "cluster upgrade")
        ),
    });
}

fn paused(sight: &Sight, found: &mut Vec<Found>) {
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
