//! Each finding from a picture that has just that wrong.

use jettra_client::wire::{ClusterEvent, EventKind};
use serde_json::json;

use super::*;
use crate::cluster::claim::Claim;

const NOW: u64 = 1_700_000_000_000;
const MIB: u64 = 1 << 20;

fn patient(n: u64) -> Patient {
    let report = Report {
        version: "1.0.0".to_owned(),
        feature_level: 1,
        clock_ms: NOW,
        disk_free: 100 << 30,
        disk_total: 200 << 30,
        disk_reserve: 256 * MIB,
        fsyncs: 1000,
        fsync_p99_us: 2_000,
        applied: 5_000,
        uptime_ms: 60_000,
        digest_index: Some(4_000),
        wrong_passwords: 0,
        data_dir: format!("/data/node{n}"),
    };
    Patient {
        id: format!("node{n}"),
        url: format!("http://n{n}:8080"),
        voter: true,
        replica: false,
        is_member: true,
        inactive: false,
        heard: true,
        silent_since: None,
        paused: false,
        lag: Some(0),
        joined_at: Some(NOW - 3_600_000),
        report: Some(report),
        other: None,
        clock_ahead_ms: 3,
        last: 5_000,
    }
}

fn healthy(voters: u64) -> Sight {
    Sight {
        now_ms: NOW,
        asked: "node1".to_owned(),
        standing: Standing::Member,
        leads: true,
        leader: Some("node1".to_owned()),
        leaderless_since: None,
        members: (1..=voters).map(patient).collect(),
        alarms: Vec::new(),
        claim: None,
        data_dir: "/var/lib/jettra".to_owned(),
    }
}

fn claim() -> Claim {
    Claim { cluster: "c-1".to_owned(), raft_id: 1, url: "http://localhost:8080".to_owned() }
}

fn silence(member: &mut Patient) {
    (member.heard, member.silent_since, member.report) = (false, Some(NOW - 12_000), None);
}

fn leaderless(sight: &mut Sight) {
    (sight.leads, sight.leader, sight.leaderless_since) = (false, None, Some(NOW - 30_000));
    sight.members.iter_mut().for_each(|m| m.lag = None);
}

fn report(sight: &mut Sight, n: usize) -> &mut Report {
    sight.members[n].report.as_mut().unwrap()
}

#[test]
fn where_all_is_well_nothing_is_found() {
    for voters in [1, 3, 5] {
        assert_eq!(diagnose(&healthy(voters)), []);
    }
    assert_eq!(diagnose(&Sight { standing: Standing::Alone, ..healthy(1) }), []);
    // What is not worth a word.
    let mut sight = healthy(3);
    sight.members[1].lag = Some(9_000);
    sight.members[1].clock_ahead_ms = -490;
    sight.members.push(Patient { voter: false, lag: None, joined_at: Some(NOW - 59_000), ..patient(4) });
    sight.members.push(Patient { voter: false, is_member: false, heard: false, ..patient(5) });
    (report(&mut sight, 1).fsyncs, report(&mut sight, 1).fsync_p99_us) = (10, 900_000);
    assert_eq!(diagnose(&sight), []);
}

#[test]
fn each_thing_that_is_wrong_is_found_and_told_with_the_next_step() {
    type Case = (&'static str, fn(&mut Sight), &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        (
            "a silent voter, and so no tolerance",
            |s| silence(&mut s.members[2]),
            &[
                ("node3, a voter, at http://n3:8080 is silent for 12 s", "cluster deregister node3"),
                ("no tolerance left: 2 of 3 voters are heard and 2 are a majority", "bring node3 back"),
            ],
        ),
        (
            "a silent voter of five",
            |s| {
                *s = healthy(5);
                silence(&mut s.members[4]);
            },
            &[("node5, a voter", "jettra-server --config config.json")],
        ),
        (
            "a silent learner",
            |s| {
                s.members.push(Patient { voter: false, ..patient(4) });
                silence(&mut s.members[3]);
            },
            &[("node4, which does not vote", "cluster deregister node4")],
        ),
        (
            "a registration that nobody came for",
            |s| {
                s.members.push(Patient { voter: false, is_member: false, inactive: true, lag: None, ..patient(4) });
                silence(&mut s.members[3]);
            },
            &[("node4 at http://n4:8080 is registered and never came", "cluster deregister node4")],
        ),
        ("two voters", |s| *s = healthy(2), &[("no tolerance left: 2 of 2", "cluster register")]),
        (
            "an election",
            leaderless,
            &[("there is no leader for 30 s, though 3 of 3 voters answer node1", "cluster doctor")],
        ),
        (
            "no majority",
            |s| {
                leaderless(s);
                s.members[1..].iter_mut().for_each(silence);
            },
            &[(
                "no majority for 30 s: node1 hears 1 of 3 voters and 2 are needed; silent: node2 at http://n2:8080 for 12 s and node3",
                "start node2 again",
            )],
        ),
        (
            "a leader that has lost its majority",
            |s| s.members[1..].iter_mut().for_each(silence),
            &[("no majority for 12 s: node1 hears 1 of 3 voters and 2 are needed", "start node2 again")],
        ),
        ("a paused member", |s| s.members[1].paused = true, &[("node2 is paused", "cluster resume node2")]),
        (
            "a learner that does not gain",
            |s| s.members.push(Patient { voter: false, lag: Some(70_000), ..patient(4) }),
            &[("node4 has been joining for 60 min and does not vote yet: 70000 entries are missing", "cluster status")],
        ),
        (
            "a lagging follower",
            |s| s.members[1].lag = Some(10_001),
            &[("node2 is 10001 log entries behind", "cluster status")],
        ),
        (
            "a follower that does not apply",
            |s| s.members.iter_mut().for_each(|m| m.last += if m.id == "node3" { 20_000 } else { 0 }),
            &[("node3 is 20000 log entries behind", "cluster status")],
        ),
        (
            "a slow fsync",
            |s| report(s, 1).fsync_p99_us = 180_000,
            &[("the disk of node2 is slow: one fsync in a hundred takes 180 ms", "/data/node2")],
        ),
        (
            "a full disk of the leader",
            |s| report(s, 0).disk_free = 100 * MIB,
            &[("the disk of node1 is full: 100 MiB of 200 GiB are free", "df -h /data/node1")],
        ),
        (
            "an almost full disk",
            |s| report(s, 2).disk_free = 1000 * MIB,
            &[("the disk of node3 is almost full: 1000 MiB of 200 GiB are free", "df -h /data/node3")],
        ),
        (
            "clocks apart",
            |s| {
                s.members[1].clock_ahead_ms = 400;
                s.members[2].clock_ahead_ms = -300;
            },
            &[("that of node2 is 700 ms ahead of that of node3", "timedatectl set-ntp true")],
        ),
        (
            "a wrong clock",
            |s| s.members[1].clock_ahead_ms = -172_800_000,
            &[("the clock of node2 is wrong: it is 172800 s behind those of most members", "set the clock of node2")],
        ),
        (
            "a second cluster begun",
            |s| s.claim = Some(claim()),
            &[(
                "node1 has begun a cluster of its own, and another one (c-1)",
                "mv /var/lib/jettra /var/lib/jettra.second",
            )],
        ),
        (
            "a member's data lost",
            |s| {
                *s = healthy(5);
                silence(&mut s.members[4]);
                s.members[4].other = Some(crate::peers::Other::Empty);
            },
            &[(
                "a node answers there that has no data",
                "curl -X POST http://n1:8080/api/cluster/deregister -d '{\"url\":\"http://n5:8080\"}'",
            )],
        ),
        (
            "mixed versions",
            |s| report(s, 1).version = "1.1.0".to_owned(),
            &[("versions differ: node1 1.0.0 (feature level 1), node2 1.1.0", "cluster upgrade")],
        ),
        (
            "a digest alarm",
            |s| {
                let details = json!({"alarm": "digest_mismatch", "collection": "db/c", "certain": true});
                s.alarms.push(ClusterEvent {
                    rev: 9,
                    time: NOW - 1000,
                    kind: EventKind::Alarm,
                    node: Some("node2".to_owned()),
                    by: None,
                    message: String::new(),
                    details: details.as_object().unwrap().clone(),
                });
            },
            &[("node2 holds something else in db/c", "repair --data-dir /data/node2 --refetch")],
        ),
        (
            "a node that waits",
            |s| s.standing = Standing::Waits { url: "http://n9:8080".to_owned() },
            &[("waits to be registered", r#"api/cluster/register -d '{"url":"http://n9:8080"}'"#)],
        ),
        (
            "a removed node",
            |s| s.standing = Standing::Removed { index: 77, data_dir: "/data/node1".to_owned() },
            &[("was removed from the cluster, at index 77", "mv /data/node1 /data/node1.removed")],
        ),
        (
            "many wrong passwords",
            |s| {
                s.members[0].report.as_mut().unwrap().wrong_passwords = 29;
                s.members[1].report.as_mut().unwrap().wrong_passwords = 450;
            },
            &[("450 wrong passwords were sent to node2", "node2's log")],
        ),
        ("a node that starts", |s| s.standing = Standing::Starts, &[("is opening its stores", "/readyz")]),
    ];
    for (name, change, wanted) in cases {
        let mut sight = healthy(3);
        change(&mut sight);
        let found = diagnose(&sight);
        assert_eq!(found.len(), wanted.len(), "{name}: {found:#?}");
        for (found, (what, next)) in found.iter().zip(*wanted) {
            assert!(found.what.contains(what), "{name}: {}", found.what);
            assert!(found.next.contains(next), "{name}: {}", found.next);
            assert!(!found.works.is_empty() && !found.at_risk.is_empty(), "{name}");
        }
    }
}

#[test]
fn since_is_when_it_began_where_that_is_known() {
    let mut sight = healthy(3);
    silence(&mut sight.members[2]);
    let since: Vec<Option<u64>> = diagnose(&sight).iter().map(|found| found.since).collect();
    assert_eq!(since, [Some(NOW - 12_000), Some(NOW - 12_000)]);
    leaderless(&mut sight);
    assert_eq!(diagnose(&sight)[0].since, Some(NOW - 30_000));
}

#[test]
fn times_are_told_in_units_that_people_use() {
    let sight = healthy(3);
    for (ms, said) in [
        (300, " since just now"),
        (119_000, " for 119 s"),
        (120_000, " for 2 min"),
        (7_200_000, " for 2 h"),
        (1_000_000_000, " for 11 days"),
    ] {
        assert_eq!(lasting(&sight, Some(NOW - ms)), said);
    }
    assert_eq!(lasting(&sight, None), "");
}
