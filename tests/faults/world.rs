//! What faults are done to, and who has what at the moment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::machines::{Leader, Machine, Machines};
use crate::network::Network;
use crate::starvation::Starvation;
use crate::timeline::Entry;

/// Something that only one fault may have at a time. So what one fault does, another does not undo, and in the end the
/// cluster can come back: whoever has a machine gives it back running, whoever has the membership gives it back as it
/// was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    Machine(usize),
    /// Which links are cut.
    Cuts,
    /// How bad links are.
    Weather,
    /// Who belongs to the cluster, and as what.
    Membership,
    /// The clock that can be set.
    Clock,
}

/// What the machine can do for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A network that does what it is told.
    Network,
    /// A node on a disk that can be filled, at this place.
    SmallDisk,
    /// A node whose clock can be set.
    Clock,
    /// A long run in which the nodes may end at a higher feature level.
    Upgrade,
}

pub struct World {
    pub machines: Machines,
    pub network: Option<Network>,
    pub starvation: Starvation,
    /// The place of the node on a small disk, and the disk.
    pub small_disk: Option<(usize, PathBuf)>,
    /// The place of the node with a clock of its own, and the file that sets it.
    pub clock: Option<(usize, PathBuf)>,
    /// The nodes' longest election time-out.
    pub election: Duration,
    /// The program of the next version.
    pub next_version: Option<PathBuf>,
    /// Whether the nodes have become, or are becoming, the next version.
    pub upgraded: AtomicBool,
    claims: Mutex<BTreeSet<Claim>>,
    healing: watch::Sender<bool>,
    /// How long it took after leaders were lost until something was written again.
    pub failovers: Mutex<Vec<Duration>>,
}

impl World {
    pub fn new(machines: Machines, network: Option<Network>) -> Self {
        World {
            machines,
            network,
            starvation: Starvation::watch(),
            small_disk: None,
            clock: None,
            election: Duration::from_millis(400),
            next_version: None,
            upgraded: AtomicBool::new(false),
            claims: Mutex::default(),
            healing: watch::Sender::new(false),
            failovers: Mutex::default(),
        }
    }

    pub fn has(&self, need: Need) -> bool {
        match need {
            Need::Network => self.network.is_some(),
            Need::SmallDisk => self.small_disk.is_some(),
            Need::Clock => self.clock.is_some(),
            Need::Upgrade => self.next_version.is_some(),
        }
    }

    pub fn size(&self) -> usize {
        self.machines.all.len()
    }

    pub fn machine(&self, place: usize) -> &Arc<Machine> {
        &self.machines.all[place]
    }

    /// Whether nobody has this.
    pub fn is_free(&self, claim: Claim) -> bool {
        !self.claims.lock().unwrap().contains(&claim)
    }

    /// Takes all of these, or none where somebody has one.
    pub fn claim(&self, wanted: &[Claim]) -> bool {
        let mut claims = self.claims.lock().unwrap();
        let free = wanted.iter().all(|claim| !claims.contains(claim));
        if free {
            claims.extend(wanted);
        }
        free
    }

    pub fn give_back(&self, claimed: &[Claim]) {
        let mut claims = self.claims.lock().unwrap();
        claims.retain(|claim| !claimed.contains(claim));
    }

    /// Begins or ends the time in which faults end as soon as they can.
    pub fn heal(&self, healing: bool) {
        self.healing.send_replace(healing);
    }

    pub fn is_healing(&self) -> bool {
        *self.healing.borrow()
    }

    /// Waits for this time, or until it is time to heal.
    pub async fn rest(&self, time: Duration) {
        let mut healing = self.healing.subscribe();
        drop(tokio::time::timeout(time, healing.wait_for(|healing| *healing)).await);
    }

    /// Whether the fault that holds these is the only one.
    pub fn is_alone(&self, claimed: &[Claim]) -> bool {
        self.claims.lock().unwrap().iter().all(|claim| claimed.contains(claim))
    }

    /// Measures how long it takes from `lost`, when the leader at `place` was lost, until something is written on another
    /// node. Only where nothing else goes on: `claimed` is all that the fault has.
    pub async fn failover(&self, place: usize, lost: Instant, claimed: &[Claim], entry: &Entry) {
        if !self.is_alone(claimed) {
            return;
        }
        let limit = Duration::from_secs(10);
        let attempts = self.machines.all.iter().filter(|machine| machine.place != place).map(|machine| {
            Box::pin(async {
                while lost.elapsed() < limit {
                    if machine.writes(Duration::from_millis(500)).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        futures_util::future::select_all(attempts).await;
        let took = lost.elapsed();
        entry.note(format!("written again after {} ms", took.as_millis()));
        // Others may have begun meanwhile.
        if self.is_alone(claimed) {
            self.failovers.lock().unwrap().push(took);
        }
    }

    pub async fn leader(&self) -> Option<Leader> {
        self.machines.leader().await
    }
}
