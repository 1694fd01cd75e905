//! Voters start anew in the very moment in which their leader is cut off, while one that has not heard that leader for
//! long asks for their votes.
//!
//! What they have promised the leader, its lease, was in their memory only: so for a while after its start a node must
//! not vote. Otherwise there is a new leader while the old one still answers reads by its lease.

use super::{Aim, Deed, Fault, seconds, start};
use crate::world::{Claim, Need};

pub struct Forgetful;

impl Fault for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful voters"
    }

    fn weight(&self) -> usize {
        2
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Network]
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Cuts)?;
        let leader = aim.leader.as_ref()?.place;
        let mut others: Vec<usize> = (0..aim.world.size()).filter(|place| *place != leader).collect();
        let asks = others.remove(aim.seed.below(others.len()));
        let mut voters = Vec::new();
        for place in others {
            aim.take(Claim::Machine(place))?;
            voters.push(aim.world.machine(place).clone());
        }
        let (world, entry) = (aim.world.clone(), aim.entry.clone());
        let both = move |place: usize| [(leader, place), (place, leader)];
        Some(Box::pin(async move {
            let Some(links) = world.network.as_ref().map(|network| network.links()) else { return Ok(()) };
            let apart = links.cut(&both(asks));
            entry.note(format!("{} does not hear its leader {}", world.machine(asks).name, world.machine(leader).name));
            world.rest(world.election * 2).await;
            let alone: Vec<_> = voters.iter().map(|voter| links.cut(&both(voter.place))).collect();
            for voter in &voters {
                voter.node.lock().await.kill();
            }
            entry.note("all others do not hear it either, and start anew");
            futures_util::future::join_all(voters.iter().map(|voter| start(voter, &entry))).await;
            world.rest(world.election.max(seconds(1)) * 2).await;
            drop((apart, alone));
            entry.note("whole again");
            Ok(())
        }))
    }
}
