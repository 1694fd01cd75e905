//! Killed in the middle of something: a node is watched until it is at it.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{Aim, Deed, Fault, Which, millis, seconds, start};
use crate::machines::Machine;
use crate::world::World;

/// How long something may take to begin; then the fault is none.
const BEGINS: Duration = seconds(15);

pub fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(Snapshot { name: "killed receiving", step: Step::Receiving, later: millis(600) }),
        Box::new(Snapshot { name: "killed installing", step: Step::Installing, later: millis(40) }),
        Box::new(Snapshot { name: "killed sending", step: Step::Sending, later: millis(600) }),
        Box::new(Purging),
    ]
}

/// A follower is away for so long that it needs a snapshot; then one of the two is killed.
struct Snapshot {
    name: &'static str,
    step: Step,
    /// How long after it has begun at most.
    later: Duration,
}

/// What somebody is killed in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The leader sends.
    Sending,
    /// The follower receives.
    Receiving,
    /// The follower puts what it has received in the place of what it had.
    Installing,
}

impl Fault for Snapshot {
    fn name(&self) -> &'static str {
        self.name
    }

    fn weight(&self) -> usize {
        4
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let leader = aim.machine(Which::Leader)?;
        let follower = aim.machine(Which::Follower)?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let victim = if self.step == Step::Sending { leader.clone() } else { follower.clone() };
        let (step, later) = (self.step, seed.between(Duration::ZERO, self.later));
        Some(Box::pin(async move {
            let last = metric(&leader, "jettra_raft_last_index").await.unwrap_or(0.0);
            follower.node.lock().await.kill();
            entry.note(format!("{} is away until {} has purged behind it", follower.name, leader.name));
            let purged = write_until_purged(&world, &leader, last).await;
            let from = victim.log_length();
            if purged {
                follower.node.lock().await.launch();
            } else {
                entry.note("nothing was purged in time");
            }
            if purged && begins(&victim, from, step).await {
                tokio::time::sleep(later).await;
                victim.node.lock().await.kill();
                entry.note(format!("{} is killed, {} ms after {step:?} has begun", victim.name, later.as_millis()));
                world.rest(seed.between(Duration::ZERO, seconds(1))).await;
            }
            for machine in [&follower, &leader] {
                if !machine.node.lock().await.is_running() {
                    start(machine, &entry).await;
                }
            }
            answers(&follower, &world).await
        }))
    }
}

/// Waits until a node that was launched answers.
async fn answers(machine: &Machine, world: &World) -> Result<(), String> {
    let end = Instant::now() + seconds(30).mul_f64(world.starvation.factor());
    while machine.get("/livez", seconds(1)).await.is_err() {
        if machine.node.lock().await.has_ended() {
            return Err(format!("{} has ended by itself\n{}", machine.name, machine.node.lock().await.log_tail(20)));
        }
        if Instant::now() > end {
            return Err(format!("{} does not answer\n{}", machine.name, machine.node.lock().await.log_tail(20)));
        }
        tokio::time::sleep(millis(20)).await;
    }
    Ok(())
}

/// A number of Prometheus.
async fn metric(machine: &Machine, name: &str) -> Option<f64> {
    let text = machine.get("/metrics", seconds(1)).await.ok()?.body;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Writes at the leader until its log begins behind `last`.
async fn write_until_purged(world: &World, leader: &Machine, last: f64) -> bool {
    let end = Instant::now() + BEGINS;
    while Instant::now() < end && !world.is_healing() {
        let writes = (0..16).map(|n| {
            let body = json!({ "_id": format!("purged-{n}") });
            leader.post("/api/doc?db=harness&col=probes", body, seconds(1))
        });
        futures_util::future::join_all(writes).await;
        if metric(leader, "jettra_log_first_index").await.is_some_and(|first| first > last) {
            return true;
        }
    }
    false
}

/// Waits until a node, whose log had `from` bytes before, is at it.
async fn begins(machine: &Machine, from: u64, step: Step) -> bool {
    let (end, line) = (Instant::now() + BEGINS, if step == Step::Sending { "sending" } else { "receiving" });
    while !machine.log_since(from).contains(&format!("{line} a snapshot")) {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(millis(3)).await;
    }
    let before = pointers(machine);
    while step == Step::Installing && pointers(machine) == before {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(millis(1)).await;
    }
    true
}

/// The files beside a node's states that say which of them is in use, and when each was written.
fn pointers(machine: &Machine) -> Vec<(OsString, Option<SystemTime>)> {
    let entries = std::fs::read_dir(machine.dir().join("data/state")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| (entry.file_name(), entry.metadata().and_then(|found| found.modified()).ok()))
        .collect();
    files.sort();
    files
}

/// A node is killed right when its log has lost its beginning.
struct Purging;

impl Fault for Purging {
    fn name(&self) -> &'static str {
        "killed purging"
    }

    fn weight(&self) -> usize {
        3
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machine: Arc<Machine> = aim.machine_by_chance()?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let later = seed.between(Duration::ZERO, millis(20));
        Some(Box::pin(async move {
            let first = async || metric(&machine, "jettra_log_first_index").await;
            let (before, end) = (first().await, Instant::now() + BEGINS);
            while first().await == before && Instant::now() < end && !world.is_healing() {
                machine.writes(millis(500)).await.ok();
            }
            tokio::time::sleep(later).await;
            machine.node.lock().await.kill();
            entry.note(format!("{} is killed while it purges", machine.name));
            world.rest(seed.between(Duration::ZERO, seconds(2))).await;
            start(&machine, &entry).await;
            Ok(())
        }))
    }
}
