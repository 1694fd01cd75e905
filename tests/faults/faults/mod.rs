//! What can happen, each kind a file or a row.
//!
//! A fault chooses what it is done to ([`Aim`]), and is then a task that does it, waits, and puts everything right again.
//! A new one: implement [`Fault`] and add it to [`all`].

mod aimed;
mod clock;
mod disk;
mod forgetful;
mod freeze;
mod kill;
mod membership;
mod moves;
mod partition;
mod stop;
mod upgrade;
mod weather;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::machines::{Leader, Machine};
use crate::seed::Seed;
use crate::timeline::Entry;
use crate::world::{Claim, Need, World};

/// One kind of fault.
pub trait Fault: Send + Sync {
    fn name(&self) -> &'static str;

    /// How often it is drawn, compared with others.
    fn weight(&self) -> usize;

    /// What it cannot be done without.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// Chooses what it is done to and how; nothing where that is not to be had at the moment.
    fn aim(&self, aim: &mut Aim) -> Option<Deed>;
}

/// Does a fault and undoes it. The error is a failure of the run.
pub type Deed = BoxFuture<'static, Result<(), String>>;

/// What a fault has to choose from.
pub struct Aim {
    pub world: Arc<World>,
    /// Who leads, as far as is known.
    pub leader: Option<Leader>,
    pub seed: Seed,
    pub entry: Entry,
    claimed: Vec<Claim>,
}

/// Which machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Leader,
    Follower,
    Any,
}

impl Aim {
    pub fn new(world: Arc<World>, leader: Option<Leader>, seed: Seed, entry: Entry) -> Self {
        Aim { world, leader, seed, entry, claimed: Vec::new() }
    }

    /// Takes this for the fault; nothing where another has it.
    pub fn take(&mut self, claim: Claim) -> Option<()> {
        self.world.claim(&[claim]).then(|| self.claimed.push(claim))
    }

    /// Takes a machine that no other fault has.
    pub fn machine(&mut self, which: Which) -> Option<Arc<Machine>> {
        let leader = self.leader.as_ref().map(|leader| leader.place);
        let places: Vec<usize> = (0..self.world.size())
            .filter(|place| match which {
                Which::Leader => Some(*place) == leader,
                Which::Follower => leader.is_some() && Some(*place) != leader,
                Which::Any => true,
            })
            .filter(|place| self.world.is_free(Claim::Machine(*place)))
            .collect();
        if places.is_empty() {
            return None;
        }
        let place = *self.seed.pick(&places);
        self.take(Claim::Machine(place))?;
        Some(self.world.machine(place).clone())
    }

    /// Takes the leader in half of all cases, else any machine.
    pub fn machine_by_chance(&mut self) -> Option<Arc<Machine>> {
        let which = if self.seed.chance(50) { Which::Leader } else { Which::Any };
        self.machine(which).or_else(|| self.machine(Which::Any))
    }

    /// All that was taken.
    pub fn claimed(&self) -> Vec<Claim> {
        self.claimed.clone()
    }
}

/// All kinds.
pub fn all() -> Vec<Box<dyn Fault>> {
    let mut all: Vec<Box<dyn Fault>> = vec![Box::new(kill::One), Box::new(kill::Two), Box::new(kill::All)];
    all.push(Box::new(freeze::Freeze));
    all.extend(partition::all());
    all.extend(weather::all());
    all.extend(membership::all());
    all.push(Box::new(forgetful::Forgetful));
    all.extend(aimed::all());
    let others: [Box<dyn Fault>; 7] = [
        Box::new(membership::KilledWhilePromoting),
        Box::new(stop::Stop { by_signal: false }),
        Box::new(stop::Stop { by_signal: true }),
        Box::new(moves::Moves),
        Box::new(disk::Full),
        Box::new(clock::Jumps),
        Box::new(upgrade::Upgrade),
    ];
    all.extend(others);
    all
}

/// Starts a node that was ended, and waits until it answers.
async fn start(machine: &Machine, entry: &Entry) {
    let began = Instant::now();
    machine.node.lock().await.start().await;
    entry.note(format!("{} runs again, after {} ms", machine.name, began.elapsed().as_millis()));
}

/// Waits until a node that was told to stop has ended, and says how long that took.
async fn ended(machine: &Machine, world: &World) -> Result<Duration, String> {
    let asked = Instant::now();
    let mut node = machine.node.lock().await;
    while !node.has_ended() {
        if asked.elapsed() > seconds(20).mul_f64(world.starvation.factor()) {
            return Err(format!("{} was told to stop and runs on\n{}", machine.name, node.log_tail(20)));
        }
        tokio::time::sleep(millis(20)).await;
    }
    Ok(asked.elapsed())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
