//! All nodes are stopped and started at other ports.

use std::time::Duration;

use serde_json::json;

use super::kill::everyone;
use super::{Aim, Deed, Fault, millis, start};
use crate::world::Claim;

pub struct Moves;

impl Fault for Moves {
    fn name(&self) -> &'static str {
        "other ports"
    }

    fn weight(&self) -> usize {
        2
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        // A registration under way names an address that is nobody's any more.
        aim.take(Claim::Membership)?;
        let machines = everyone(aim)?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        Some(Box::pin(async move {
            for machine in &machines {
                let mut node = machine.node.lock().await;
                node.kill();
                node.move_port();
                machine.has_moved(&node);
            }
            world.machines.tell();
            let peers: Vec<String> = machines.iter().map(|machine| machine.url()).collect();
            entry.note(format!("all, now at {}", peers.join(" ")));
            let away: Vec<Duration> = machines.iter().map(|_| seed.between(millis(0), millis(800))).collect();
            let (entry, peers) = (&entry, &peers);
            let back = machines.iter().zip(away).map(|(machine, away)| async move {
                tokio::time::sleep(away).await;
                machine.node.lock().await.configure("Peers", json!(peers));
                start(machine, entry).await;
            });
            futures_util::future::join_all(back).await;
            Ok(())
        }))
    }
}
