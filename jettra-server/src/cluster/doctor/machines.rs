//! What the machines have to do with it: disks, clocks, versions.

use super::diagnose::{Patient, Sight, gib, said, shell};
use super::memory::Found;
use crate::cluster::report::Report;
use crate::cluster::time;

/// Clocks may differ by so many milliseconds.
const CLOCKS_MS: i64 = 500;
/// An fsync that takes longer, at the ninety-ninth of a hundred, holds up every write.
const SLOW_FSYNC_US: u64 = 100_000;
/// Fewer fsyncs than this in a minute say nothing.
const FSYNCS: u64 = 50;
/// Less free than so many times the reserve is almost full.
const ALMOST: u64 = 4;

pub(super) fn disks(sight: &Sight, found: &mut Vec<Found>) {
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

pub(super) fn fsyncs(sight: &Sight, found: &mut Vec<Found>) {
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

pub(super) fn clocks(sight: &Sight, found: &mut Vec<Found>) {
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

pub(super) fn versions(sight: &Sight, found: &mut Vec<Found>) {
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
