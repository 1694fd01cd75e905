//! A node is stopped as its operators do it, and started again.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Aim, Deed, Fault, ended, millis, seconds, start};

/// By the API, or by SIGTERM.
pub struct Stop {
    pub by_signal: bool,
}

impl Fault for Stop {
    fn name(&self) -> &'static str {
        if self.by_signal { "sigterm" } else { "stop" }
    }

    fn weight(&self) -> usize {
        4
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let machine = aim.machine_by_chance()?;
        let (world, entry, mut seed) = (aim.world.clone(), aim.entry.clone(), aim.seed.clone());
        let mut by_signal = self.by_signal;
        Some(Box::pin(async move {
            if !by_signal {
                let asked_of = seed.pick(&world.machines.all);
                let answer = asked_of.post("/api/cluster/stop", json!({ "node": machine.name }), seconds(15)).await;
                // Refused, said to be down already, or nobody knows: then it is done otherwise.
                by_signal = !answer.is_ok_and(|answer| answer.body.contains("stop_sent"));
            }
            let mut node = machine.node.lock().await;
            if by_signal && !node.has_ended() {
                node.signal(Signal::SIGTERM);
            }
            entry.note(format!("{} is stopped{}", machine.name, if by_signal { " by a signal" } else { "" }));
            drop(node);
            let took = ended(&machine, &world).await?;
            entry.note(format!("{} has ended, after {} ms", machine.name, took.as_millis()));
            world.rest(seed.between(millis(0), seconds(3))).await;
            start(&machine, &entry).await;
            Ok(())
        }))
    }
}
