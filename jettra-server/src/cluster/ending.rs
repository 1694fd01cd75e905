//! Whether the process is to end, and how it does.

use std::time::Duration;

use tokio::sync::watch;

use super::Cluster;
use crate::remedy::Fault;

/// Why the process should end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It should not.
    Running,
    /// It was asked to.
    Asked,
    /// It cannot go on: what happened.
    Failed(String),
}

impl Cluster {
    /// Whether the process should end, and why.
    pub fn stopped(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Asks the process to end.
    pub fn ask_to_stop(&self) {
        self.stop.send_if_modified(|stop| {
            let running = *stop == Stop::Running;
            if running {
                *stop = Stop::Asked;
            }
            running
        });
    }

    /// Ends the process because of `fault`.
    pub(super) fn halt(&self, fault: &Fault) {
        self.fail(fault.told(&self.options.data_dir));
    }

    /// Ends the process; `why` is for the person who is to mend it.
    pub(super) fn fail(&self, why: String) {
        tracing::error!(why, "this node cannot go on");
        self.stop.send_if_modified(|stop| {
            let running = *stop == Stop::Running;
            if running {
                *stop = Stop::Failed(why);
            }
            running
        });
    }

    /// Hands over leadership where this node leads and someone can take it.
    pub async fn hand_over_before_stop(&self) {
        if let Some(consensus) = self.running() {
            self.hand_over(&consensus, Duration::from_secs(2)).await;
        }
    }

    /// Stops Raft and makes the state durable. The process ends next: the store is left open, since closing
    /// it takes sled a second or two and adds nothing to what is on disk.
    pub async fn close(&self) {
        let Some(consensus) = self.running() else { return };
        consensus.shutdown().await;
        let state = consensus.state();
        std::mem::forget(state.clone());
        match tokio::task::spawn_blocking(move || state.durable_point()).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "no durable point at the end: the log gives again what is missing")
            }
            Err(e) => tracing::warn!(error = %e, "no durable point at the end: the log gives again what is missing"),
        }
        self.consensus.send_replace(None);
    }
}
