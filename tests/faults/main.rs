//! Does a cluster lose, double or show stale data, whatever happens to it?
//!
//! Real processes on real disks, from a seed and a number of minutes: clients write and read and remember what they
//! were told, faults happen to machines, network, disks and clocks, and in the end checks read what was remembered.
//! `docs/testing.md` is the guide.
//!
//! # Layout
//!
//! - `seed`: everything that is left to chance, from one number
//! - `directory`: what clients know of the nodes
//! - `apart`: the harness in namespaces of its own
//! - `network`: the network between nodes, which does what it is told
//! - `machines`: the nodes of a run; `places`: what single ones have for themselves
//! - `world`: what faults are done to, and who has what
//! - `faults`: what can happen, each kind a file or a row
//! - `timeline`: what was done, and when
//! - `starvation`: how busy the machine is with other things
//! - `liveness`, `resources`: what must hold of the nodes
//! - `run`: a cluster, clients, faults from a seed, and what must hold in the end
//! - `report`: what a run says
//! - `planted`: bugs on purpose, which must be found
//! - `history`: what was asked and answered, and what watchers were told
//! - `clients`: who asks, one kind a file; `watchers`: who is told changes; `workload`: all of them at work
//! - `ending`: what all nodes hold in the end
//! - `checks`: what must hold of a history, one check a file
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod checks;
mod clients;
mod directory;
mod ending;
mod faults;
mod history;
mod liveness;
mod machines;
mod network;
mod places;
#[cfg(feature = "planted-bugs")]
mod planted;
mod report;
mod resources;
mod run;
mod seed;
mod small;
mod starvation;
mod timeline;
mod watchers;
mod workload;
mod world;

use std::time::Duration;

use run::Options;

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let Ok(value) = std::env::var(name) else { return default };
    value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, which is no number"))
}

/// A number that nobody has chosen.
fn fresh_seed() -> u64 {
    u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()) ^ u64::from(std::process::id())
}

async fn holds(options: Options) {
    println!("seed {}: {} nodes, {} s of faults", options.seed, options.nodes, options.length.as_secs());
    let verdict = run::run(&options).await;
    println!("{verdict}");
    assert!(verdict.holds(), "seed {}: {}", verdict.seed, verdict.failures.join("; "));
}

/// The faults of some seeds that are always the same, and of one that is new each time.
#[test]
fn short_run() {
    apart::run("short_run", async || {
        for seed in [1, fresh_seed()] {
            holds(Options { seed, ..Options::default() }).await;
        }
    });
}

/// For as long as is wanted: `FAULTS_MINUTES`, `FAULTS_SEED`, `FAULTS_NODES`. `FAULTS_ONLY` names the only kinds of
/// faults, with commas between them, `FAULTS_KEEP` keeps what nodes leave, and `FAULTS_TIMELINE` prints what was done,
/// also where nothing is wrong.
#[test]
#[ignore = "takes as long as FAULTS_MINUTES says"]
fn long_run() {
    apart::run("long_run", async || {
        let minutes: f64 = setting("FAULTS_MINUTES", 5.0);
        let (seed, nodes) = (setting("FAULTS_SEED", fresh_seed()), setting("FAULTS_NODES", 3));
        let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
        let only = only.split(',').map(|only| only.trim().to_owned()).filter(|only| !only.is_empty()).collect();
        let length = Duration::from_secs_f64(minutes * 60.0);
        holds(Options { seed, nodes, length, long: true, only, ..Options::default() }).await;
    });
}
