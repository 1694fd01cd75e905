//! What a node does each second for its own log and store, and what ends it when one of them fails.

use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, Stop};
use crate::raft::Consensus;
use crate::remedy::Fault;

/// Superseded keys deleted each second while nobody writes, at most.
const RECLAIM_KEYS: usize = 10_000;

/// Bytes of the log behind which a durable point is made, at most: a node that died replays what came since the last
/// one, and what comes while one is being made. After a load of a million documents on a busy machine nodes were ready in
/// 1.7 s with half as many, 2.1 s with these, 3.5 s with twice as many, in one run each; the loads took about as long.
const POINT_BYTES: u64 = 32 << 20;

impl Cluster {
    /// Each second: the log's mark, durable points by bytes and time, and a look whether Raft lives.
    pub(super) async fn keep_house(self: Arc<Self>, consensus: Arc<Consensus>) {
        const EVERY: Duration = Duration::from_secs(30);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut last_point = std::time::Instant::now();
        let (mut stop, mut disk_then) = (self.stop.subscribe(), consensus.log().disk_bytes());
        // What was replayed at the start is not on disk yet.
        let mut index_then = consensus.picture().snapshot;
        let mut replayed = consensus.picture().applied > index_then;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                // At once: until this ends every write is refused.
                () = consensus.log().failed() => {}
                () = consensus.store().failed() => {}
                _ = stop.wait_for(|s| *s != Stop::Running) => return,
            }
            if let Some(fault) = consensus.failure() {
                return self.halt(&fault);
            }
            let (log, store) = (consensus.log().clone(), consensus.store().clone());
            let marks = move || log.write_mark().and_then(|()| store.settle(log.bounds().0));
            match tokio::task::spawn_blocking(marks).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return self.halt(&Fault::io("the marks of log and state could not be written", &e)),
                Err(e) => return self.fail(e.to_string()),
            }
            if !consensus.log().is_pristine()
                && let Err(e) = self.keep_promised().await
            {
                return self.fail(e);
            }
            let picture = consensus.picture();
            if let Some(fault) = picture.halted.or_else(|| consensus.log().fault()) {
                return self.halt(&fault);
            }
            self.look_at_disk().await;
            // What was superseded while nobody writes goes as well.
            let state = consensus.state();
            match tokio::task::spawn_blocking(move || state.reclaim(RECLAIM_KEYS)).await {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return self.halt(&e.fault()),
                Err(e) => return self.fail(e.to_string()),
            }
            let disk = consensus.log().disk_bytes();
            consensus.bound_log(disk, self.options.retain_bytes).await;
            disk_then = disk_then.min(disk);
            let grown = disk.saturating_sub(disk_then) >= POINT_BYTES.min(self.options.retain_bytes / 4)
                || picture.applied.saturating_sub(index_then) >= self.options.raft.retain_entries
                || std::mem::take(&mut replayed);
            // One that is asked for while another is under way would not be made.
            let due = (grown && picture.snapshot >= index_then) || last_point.elapsed() >= EVERY;
            if picture.applied > index_then && due {
                consensus.durable_point().await;
                (last_point, disk_then, index_then) = (std::time::Instant::now(), disk, picture.applied);
            }
        }
    }
}
