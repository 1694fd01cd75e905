//! One node after the other becomes the next version, then the cluster's level is raised. Once in a run: there is no way
//! back.

use std::sync::atomic::Ordering;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::membership::told;
use super::{Aim, Deed, Fault, ended, millis, seconds, start};
use crate::world::{Claim, Need};

pub struct Upgrade;

impl Fault for Upgrade {
    fn name(&self) -> &'static str {
        "upgrade"
    }

    fn weight(&self) -> usize {
        2
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Upgrade]
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Membership)?;
        let program = aim.world.next_version.clone()?;
        if aim.world.upgraded.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        Some(Box::pin(async move {
            for machine in &world.machines.all {
                let claim = [Claim::Machine(machine.place)];
                let limit = Instant::now() + seconds(60);
                while !world.claim(&claim) {
                    if Instant::now() > limit {
                        return Err(format!("{} is not to be had for an upgrade", machine.name));
                    }
                    tokio::time::sleep(millis(20)).await;
                }
                machine.node.lock().await.signal(Signal::SIGTERM);
                ended(machine, &world).await?;
                machine.node.lock().await.run_program(Some(program.clone()));
                start(machine, &entry).await;
                world.give_back(&claim);
                world.rest(seed.between(millis(0), seconds(2))).await;
            }
            told(&world, &mut seed, "upgrade", serde_json::json!({}), |status| status == 200).await?;
            entry.note("the level is raised");
            Ok(())
        }))
    }
}
