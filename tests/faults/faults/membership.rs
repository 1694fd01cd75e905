//! Who belongs to the cluster, and as what, changes while everything else happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Aim, Deed, Fault, Which, millis, seconds, start};
use crate::machines::Machine;
use crate::seed::Seed;
use crate::timeline::Entry;
use crate::world::{Claim, World};

/// How long it may take until the cluster does what it is told, while other faults go on and end.
const PATIENCE: Duration = seconds(60);

pub fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Replace), Box::new(Pause), Box::new(Transfer), Box::new(Demote)]
}

/// Tells the cluster to do something until a node says that it is done. Each node is asked in turn.
pub async fn told(
    world: &World,
    seed: &mut Seed,
    call: &str,
    body: Value,
    done: impl Fn(u16) -> bool,
) -> Result<(), String> {
    let end = Instant::now() + PATIENCE.mul_f64(world.starvation.factor());
    loop {
        let machine = seed.pick(&world.machines.all);
        let seen = match machine.post(&format!("/api/cluster/{call}"), body.clone(), seconds(35)).await {
            Ok(answer) if done(answer.status) => return Ok(()),
            Ok(answer) => format!("{}: {}", machine.name, answer.shown()),
            Err(error) => error,
        };
        if Instant::now() > end {
            return Err(format!("{call} {body} was not done in time: {seen}"));
        }
        tokio::time::sleep(millis(100)).await;
    }
}

/// A member is removed, loses all that it has, and is added as a new one.
struct Replace;

impl Fault for Replace {
    fn name(&self) -> &'static str {
        "remove and add"
    }

    fn weight(&self) -> usize {
        5
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Membership)?;
        let machine = aim.machine_by_chance()?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let (dead, as_replica) = (seed.chance(30), seed.chance(30));
        let apart = seed.between(Duration::ZERO, seconds(3));
        Some(Box::pin(async move {
            if dead {
                machine.node.lock().await.kill();
            }
            entry.note(format!("{}{} is removed", machine.name, if dead { ", which is dead," } else { "" }));
            remove(&world, &machine, &mut seed).await?;
            world.rest(apart).await;
            add(&world, &machine, as_replica, &mut seed, &entry).await
        }))
    }
}

/// Removes a member; when this returns, nobody counts on what it has.
pub async fn remove(world: &World, machine: &Machine, seed: &mut Seed) -> Result<(), String> {
    // Not there: an answer before this one did not come.
    told(world, seed, "deregister", json!({ "node": machine.name }), |status| matches!(status, 200 | 404)).await
}

/// Adds a machine whose node was removed, with an empty disk.
pub async fn add(
    world: &World,
    machine: &Machine,
    as_replica: bool,
    seed: &mut Seed,
    entry: &Entry,
) -> Result<(), String> {
    {
        let mut node = machine.node.lock().await;
        node.kill();
        // With these it would register itself, as a voter.
        node.configure("Peers", json!([]));
    }
    machine.wipe();
    start(machine, entry).await;
    told(world, seed, "register", json!({ "url": machine.url(), "voter": !as_replica }), |status| status == 200)
        .await?;
    entry.note(format!("{} is added{}", machine.name, if as_replica { " as a read replica" } else { "" }));
    if as_replica {
        world.rest(seed.between(Duration::ZERO, seconds(2))).await;
        promote(world, &machine.name, seed, entry).await?;
    }
    Ok(())
}

/// Makes a voter of a member, whatever it is.
async fn promote(world: &World, name: &str, seed: &mut Seed, entry: &Entry) -> Result<(), String> {
    told(world, seed, "promote", json!({ "node": name }), |status| status == 200).await?;
    entry.note(format!("{name} is promoted"));
    Ok(())
}

/// Asks once; what is refused is refused.
async fn asked(machine: &Machine, call: &str, body: Value, entry: &Entry) {
    match machine.post(&format!("/api/cluster/{call}"), body.clone(), seconds(15)).await {
        Ok(answer) if answer.status == 200 => entry.note(format!("{call} {body}, asked of {}", machine.name)),
        Ok(answer) => entry.note(format!("{call} {body}, asked of {}: {}", machine.name, answer.error_code())),
        Err(_) => entry.note(format!("{call} {body}, asked of {}: no answer", machine.name)),
    }
}

/// Two members, which nobody takes for the fault: what happens to them is the others' doing.
fn two(aim: &mut Aim) -> (Arc<Machine>, Arc<Machine>) {
    let (one, other) = (aim.seed.below(aim.world.size()), aim.seed.below(aim.world.size()));
    (aim.world.machine(one).clone(), aim.world.machine(other).clone())
}

struct Pause;

impl Fault for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn weight(&self) -> usize {
        4
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Membership)?;
        let (machine, asked_of) = two(aim);
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let time = seed.between(millis(500), seconds(8));
        Some(Box::pin(async move {
            let body = json!({ "node": machine.name });
            asked(&asked_of, "pause", body.clone(), &entry).await;
            world.rest(time).await;
            told(&world, &mut seed, "resume", body, |status| status == 200).await?;
            entry.note(format!("{} is resumed", machine.name));
            Ok(())
        }))
    }
}

struct Transfer;

impl Fault for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn weight(&self) -> usize {
        5
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let (machine, asked_of) = two(aim);
        let entry = aim.entry.clone();
        Some(Box::pin(async move {
            asked(&asked_of, "transfer", json!({ "node": machine.name }), &entry).await;
            Ok(())
        }))
    }
}

/// A voter becomes a read replica for a while.
struct Demote;

impl Fault for Demote {
    fn name(&self) -> &'static str {
        "demote"
    }

    fn weight(&self) -> usize {
        4
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Membership)?;
        let (machine, asked_of) = two(aim);
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let time = seed.between(Duration::ZERO, seconds(6));
        Some(Box::pin(async move {
            asked(&asked_of, "demote", json!({ "node": machine.name }), &entry).await;
            world.rest(time).await;
            promote(&world, &machine.name, &mut seed, &entry).await
        }))
    }
}

/// A joiner or the leader is killed between the steps of a registration.
pub struct KilledWhilePromoting;

impl Fault for KilledWhilePromoting {
    fn name(&self) -> &'static str {
        "killed promoting"
    }

    fn weight(&self) -> usize {
        4
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Membership)?;
        let leader = aim.machine(Which::Leader)?;
        let joiner = aim.machine(Which::Follower)?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let victim = if seed.chance(50) { leader.clone() } else { joiner.clone() };
        let later = seed.between(Duration::ZERO, millis(400));
        Some(Box::pin(async move {
            remove(&world, &joiner, &mut seed).await?;
            joiner.node.lock().await.kill();
            joiner.wipe();
            start(&joiner, &entry).await;
            let (asked_of, body) = (leader.clone(), json!({ "url": joiner.url() }));
            let registers =
                tokio::spawn(async move { asked_of.post("/api/cluster/register", body, seconds(35)).await.map(drop) });
            // Until it is named as what does not vote yet, or is through already.
            let limit = Instant::now() + seconds(10);
            while Instant::now() < limit && !registers.is_finished() && !is_named(&leader, &joiner.name).await {}
            tokio::time::sleep(later).await;
            victim.node.lock().await.kill();
            entry.note(format!("{} joins by {}; {} is killed", joiner.name, leader.name, victim.name));
            registers.abort();
            world.rest(seed.between(Duration::ZERO, seconds(2))).await;
            start(&victim, &entry).await;
            let registered = |status| status == 200;
            told(&world, &mut seed, "register", json!({ "url": joiner.url() }), registered).await
        }))
    }
}

async fn is_named(at: &Machine, name: &str) -> bool {
    let path = "/api/query?db=_system&col=_clusternodes&consistency=local";
    let Ok(Ok(docs)) = at.get(path, millis(500)).await.map(|answer| answer.success()) else { return false };
    docs.as_array().is_some_and(|docs| docs.iter().any(|doc| doc["_id"] == name))
}
