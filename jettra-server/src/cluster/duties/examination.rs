//! The doctor's look at the cluster every few seconds: for the metrics, and so that it knows since when each thing is so.

use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, Due, Duty};
use crate::raft::{Consensus, ServerState};

/// Between two looks of its own, so that it knows since when something is so.
const EVERY: Duration = Duration::from_secs(5);

/// Looks where this node leads, and where nobody does.
pub(super) struct Examination;

impl Duty for Examination {
    const NAME: &'static str = "the doctor";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let (state, leader) = consensus.standing();
        if state == ServerState::Leader || leader.is_none() {
            for finding in node.examine().await.findings {
                tracing::debug!(what = finding.what, "the doctor found something");
            }
        } else {
            // The leader tells.
            metrics::gauge!("jettra_doctor_findings").set(0.0);
        }
    }
}
