//! The scrub in the background: reads everything on this node's disk again, about once a day, and stops the node where
//! it is not what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Due, Duty};
use crate::raft::Consensus;
use crate::state::{Halt, SCRUB_STEP, Scrubbed};

/// A node that has just started has better things to do.
const FIRST: Duration = Duration::from_secs(60);
/// From the beginning of one pass to that of the next.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that a second of a pass reads, at least and at most.
const RATE: (f64, f64) = (200.0, 20_000.0);
/// Between two looks at an engine that is busy with something long.
const BUSY: Duration = Duration::from_millis(500);

/// Keys a second, so that a pass over `documents` and their earlier states takes half a day.
fn rate(documents: u64) -> f64 {
    (documents as f64 * 2.0 / (EVERY.as_secs_f64() / 2.0)).clamp(RATE.0, RATE.1)
}

/// How far the pass that is under way has come.
pub(super) struct Passes {
    /// Before the next step.
    pause: Duration,
    began: Instant,
    /// Keys that were read.
    read: u64,
    /// Documents there were when it began.
    documents: u64,
}

impl Default for Passes {
    fn default() -> Self {
        Passes { pause: FIRST, began: Instant::now(), read: 0, documents: 0 }
    }
}

impl Duty for Passes {
    const NAME: &'static str = "the scrub";

    fn due(&self) -> Due {
        Due::After(self.pause)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        // An installed snapshot is another state, whose pass begins at its beginning.
        let state = consensus.state();
        if state.is_busy() {
            self.pause = BUSY;
            return;
        }
        if self.read == 0 {
            (self.began, self.documents) = (Instant::now(), state.document_count());
        }
        let step = tokio::task::spawn_blocking(move || state.scrub(SCRUB_STEP)).await;
        match step {
            Ok(Ok(Scrubbed::Keys(keys))) => {
                self.read += keys as u64;
                metrics::counter!("jettra_scrub_keys_total").increment(keys as u64);
                metrics::gauge!("jettra_scrub_progress")
                    .set((self.read as f64 / self.documents.max(1) as f64).min(1.0));
                self.pause = Duration::from_secs_f64(keys as f64 / rate(self.documents));
            }
            Ok(Ok(Scrubbed::Pass)) => {
                let took = self.began.elapsed();
                tracing::info!(keys = self.read, took = ?took, "everything on disk was read and is as it was written");
                metrics::counter!("jettra_scrub_passes_total").increment(1);
                metrics::gauge!("jettra_scrub_last_pass_seconds").set(took.as_secs_f64());
                self.pause = EVERY.saturating_sub(took).max(FIRST);
                self.read = 0;
            }
            Ok(Err(halt)) => node.fail(damaged(&halt, std::path::Path::new(&node.full_data_dir()))),
            Err(e) => node.fail(e.to_string()),
        }
    }
}

/// What to tell of damage, with the command that mends it.
fn damaged(halt: &Halt, data_dir: &std::path::Path) -> String {
    format!(
        "the scrub found damage in {}: {halt}. The node stops, so that it serves nothing wrong; look at it and mend it \
         with: {}",
        data_dir.join("state").display(),
        crate::remedy::repair_command(data_dir)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_a_day_at_most_where_it_can_and_costs_little() {
        assert_eq!(rate(0), 200.0);
        for documents in [1_000_000, 100_000_000] {
            assert!(documents as f64 * 2.0 / rate(documents) < 24.0 * 3600.0);
        }
        assert_eq!(rate(u64::MAX), 20_000.0);
    }

    #[test]
    fn damage_names_the_place_and_the_command() {
        let halt = Halt::Damage { what: "db/c".to_owned() };
        let said = damaged(&halt, std::path::Path::new("/var/lib/jettra"));
        assert!(said.contains("/var/lib/jettra/state") && said.contains("repair --data-dir /var/lib/jettra"), "{said}");
        assert!(damaged(&halt, std::path::Path::new("/a b")).ends_with("repair --data-dir '/a b'"));
    }
}
