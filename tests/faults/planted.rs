//! Bugs that are put in on purpose, one at a time: a check that finds none of them is no check.
//!
//! Only in a build with the feature `planted-bugs` of the server. Those that only a power cut shows are tried by the test
//! `power`.

use std::time::{Duration, Instant};

use jettra_server::planted::Bug;

use crate::run::{self, Options};
use crate::{apart, setting};

/// A bug is looked for in runs of this length, each from the next seed …
const RUN: Duration = Duration::from_secs(60);
/// … as many times as this.
const RUNS: u64 = 10;

/// What kill -9 forgives, since what was written is in the page cache: the test `power` finds these.
const BELOW: [Bug; 1] = [Bug::UnsyncedEntry];

/// How a run is to be that shall find `bug`.
fn options(bug: Bug, seed: u64) -> Options {
    let mut options = Options { seed, bug: Some(bug), length: RUN, ..Options::default() };
    // Those that need something special get nothing else: as a scenario is written for a fault report.
    match bug {
        Bug::VoteTooEarly => {
            options.only = vec!["forgetful voters".to_owned()];
            options.election = Duration::from_secs(3);
        }
        Bug::ForgetAVote => options.election = Duration::from_millis(300),
        _ => {}
    }
    options
}

/// Runs each bug until a check finds it, and prints the table of `docs/testing.md`. `FAULTS_BUG` names one;
/// `FAULTS_SEED` is the first seed.
#[test]
#[ignore = "takes half an hour"]
fn every_planted_bug_is_found() {
    apart::run("planted::every_planted_bug_is_found", async || {
        let chosen = std::env::var("FAULTS_BUG").ok();
        let bugs = Bug::ALL.into_iter().filter(|bug| !BELOW.contains(bug));
        let bugs = bugs.filter(|bug| chosen.as_ref().is_none_or(|name| bug.name() == name));
        let mut missed = Vec::new();
        for bug in bugs {
            let began = Instant::now();
            let Some((seed, found)) = find(bug).await else {
                println!("| {} | not found | | {} |", bug.name(), began.elapsed().as_secs());
                missed.push(bug.name());
                continue;
            };
            println!("| {} | {found} | {seed} | {} |", bug.name(), began.elapsed().as_secs());
        }
        assert!(missed.is_empty(), "not found: {missed:?}");
    });
}

async fn find(bug: Bug) -> Option<(u64, String)> {
    let first: u64 = setting("FAULTS_SEED", 1);
    for seed in first..first + RUNS {
        let verdict = run::run(&options(bug, seed)).await;
        if !verdict.holds() {
            let found: Vec<String> = verdict.failures.iter().map(|failure| headline(failure)).collect();
            if std::env::var_os("FAULTS_TIMELINE").is_some() {
                println!("{verdict}");
            }
            return Some((seed, found.join("; ")));
        }
        println!("{}: seed {seed}: nothing after {} faults", bug.name(), verdict.fault_count());
    }
    None
}

/// A failure's first line, not longer than a row can be.
fn headline(failure: &str) -> String {
    failure.lines().next().unwrap_or_default().chars().take(160).collect()
}
