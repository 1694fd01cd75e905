//! SIGSTOP: a process keeps its connections and does nothing, as a machine that hangs; then it goes on as if no time had
//! passed.

use std::time::Instant;

use super::{Aim, Deed, Fault, millis, seconds};

pub struct Freeze;

impl Fault for Freeze {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn weight(&self) -> usize {
        12
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machine = aim.machine_by_chance()?;
        let (world, entry, claimed) = (aim.world.clone(), aim.entry.clone(), aim.claimed());
        let led = aim.leader.as_ref().is_some_and(|leader| leader.place == machine.place);
        let most = if aim.seed.chance(70) { seconds(2) } else { seconds(10) };
        let time = aim.seed.between(millis(100), most);
        Some(Box::pin(async move {
            let node = machine.node.lock().await;
            node.pause();
            let lost = Instant::now();
            entry.note(format!(
                "{}{} for {} ms",
                machine.name,
                if led { ", the leader," } else { "" },
                time.as_millis()
            ));
            if led && time > seconds(2) {
                tokio::join!(world.rest(time), world.failover(machine.place, lost, &claimed, &entry));
            } else {
                world.rest(time).await;
            }
            node.resume();
            entry.note(format!("{} goes on", machine.name));
            Ok(())
        }))
    }
}
