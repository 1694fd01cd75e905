//! SIGKILL: processes end between two instructions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Aim, Deed, Fault, Which, millis, seconds, start};
use crate::machines::Machine;
use crate::timeline::Entry;
use crate::world::{Claim, World};

/// One node.
pub struct One;

impl Fault for One {
    fn name(&self) -> &'static str {
        "kill one"
    }

    fn weight(&self) -> usize {
        12
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machine = aim.machine_by_chance()?;
        let (world, entry, claimed) = (aim.world.clone(), aim.entry.clone(), aim.claimed());
        let led = aim.leader.as_ref().is_some_and(|leader| leader.place == machine.place);
        // Away for so long that others may have purged what it has not.
        let away = if aim.seed.chance(70) { away(aim) } else { aim.seed.between(seconds(3), seconds(8)) };
        Some(Box::pin(async move {
            machine.node.lock().await.kill();
            let lost = Instant::now();
            entry.note(format!(
                "{}{} for {} ms",
                machine.name,
                if led { ", the leader," } else { "" },
                away.as_millis()
            ));
            if led {
                tokio::join!(world.rest(away), world.failover(machine.place, lost, &claimed, &entry));
            } else {
                world.rest(away).await;
            }
            start(&machine, &entry).await;
            Ok(())
        }))
    }
}

/// Two at once: of three nodes, the majority.
pub struct Two;

impl Fault for Two {
    fn name(&self) -> &'static str {
        "kill two"
    }

    fn weight(&self) -> usize {
        5
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machines = [aim.machine_by_chance()?, aim.machine(Which::Any)?];
        let (world, entry) = (aim.world.clone(), aim.entry.clone());
        let away = [away(aim), away(aim)];
        Some(Box::pin(async move {
            for machine in &machines {
                machine.node.lock().await.kill();
            }
            entry.note(format!("{} and {}", machines[0].name, machines[1].name));
            come_back(&machines, &away, &world, &entry).await;
            Ok(())
        }))
    }
}

/// All, as when the power fails but for what the page cache keeps.
pub struct All;

impl Fault for All {
    fn name(&self) -> &'static str {
        "kill all"
    }

    fn weight(&self) -> usize {
        3
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machines = everyone(aim)?;
        let (world, entry) = (aim.world.clone(), aim.entry.clone());
        let gap = aim.seed.between(Duration::ZERO, millis(50));
        let away: Vec<Duration> = machines.iter().map(|_| away(aim)).collect();
        Some(Box::pin(async move {
            for machine in &machines {
                machine.node.lock().await.kill();
                tokio::time::sleep(gap).await;
            }
            entry.note(format!("all, {} ms apart", gap.as_millis()));
            come_back(&machines, &away, &world, &entry).await;
            Ok(())
        }))
    }
}

/// All machines, in an order by chance.
pub fn everyone(aim: &mut Aim) -> Option<Vec<Arc<Machine>>> {
    let all: Vec<Claim> = (0..aim.world.size()).map(Claim::Machine).collect();
    if !all.iter().all(|claim| aim.world.is_free(*claim)) {
        return None;
    }
    all.iter().map(|_| aim.machine(Which::Any)).collect()
}

/// Starts each of them again once it was away for its time.
async fn come_back(machines: &[Arc<Machine>], away: &[Duration], world: &World, entry: &Entry) {
    let back = machines.iter().zip(away).map(|(machine, away)| async {
        world.rest(*away).await;
        start(machine, entry).await;
    });
    futures_util::future::join_all(back).await;
}

fn away(aim: &mut Aim) -> Duration {
    aim.seed.between(Duration::ZERO, millis(2_500))
}
