//! The scrub in the background: reads everything on this node's disk again, about once a day, and stops the node where
//! it is not what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Stop};
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

/// Runs on every node.
pub(super) async fn run(cluster: Arc<Cluster>, consensus: Arc<Consensus>) {
    let mut stopped = cluster.stopped();
    let mut pause = FIRST;
    let mut began = Instant::now();
    let (mut read, mut documents) = (0_u64, 0_u64);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|s| *s != Stop::Running) => return,
        }
        // An installed snapshot is another state, whose pass begins at its beginning.
        let state = consensus.state();
        if state.is_busy() {
            pause = BUSY;
            continue;
        }
        if read == 0 {
            (began, documents) = (Instant::now(), state.document_count());
        }
        let step = tokio::task::spawn_blocking(move || state.scrub(SCRUB_STEP)).await;
        match step {
            Ok(Ok(Scrubbed::Keys(keys))) => {
                read += keys as u64;
                metrics::counter!("jettra_scrub_keys_total").increment(keys as u64);
                metrics::gauge!("jettra_scrub_progress").set((read as f64 / documents.max(1) as f64).min(1.0));
                pause = Duration::from_secs_f64(keys as f64 / rate(documents));
            }
            Ok(Ok(Scrubbed::Pass)) => {
                let took = began.elapsed();
                tracing::info!(keys = read, took = ?took, "everything on disk was read and is as it was written");
                metrics::counter!("jettra_scrub_passes_total").increment(1);
                metrics::gauge!("jettra_scrub_last_pass_seconds").set(took.as_secs_f64());
                pause = EVERY.saturating_sub(took).max(FIRST);
                read = 0;
            }
            Ok(Err(halt)) => return cluster.fail(damaged(&halt, std::path::Path::new(&cluster.full_data_dir()))),
            Err(e) => return cluster.fail(e.to_string()),
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
