//! How much of the log is kept.

use super::Consensus;
use crate::descriptors;

/// Entries that are purged at once, at least.
const PURGE_BATCH: u64 = 1024;

/// While a snapshot is being sent, the log may have so many times the entries and bytes that are retained else.
const HELD: u64 = 4;

fn thousandths(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

impl Consensus {
    /// Purges what a durable point covers of the log, which takes `disk` bytes, where it has more entries than are
    /// retained or takes more than `most` bytes. While a snapshot is being sent, what comes behind it is held for its
    /// receiver, up to four times as much.
    pub async fn bound_log(&self, disk: u64, most: u64) {
        let (first, next) = self.log.bounds();
        let entries = next - first;
        let (mut most_bytes, mut most_entries) = (most, self.retain_entries);
        if self.sending.is_under_way() {
            (most_bytes, most_entries) = (most.saturating_mul(HELD), self.retain_entries.saturating_mul(HELD));
            let fuller = thousandths(disk, most_bytes).max(thousandths(entries, most_entries));
            self.sending.set_held(fuller);
        }
        let covered = self.picture().snapshot;
        let by_entries = covered.saturating_sub(most_entries);
        let by_entries = if by_entries >= first + PURGE_BATCH { by_entries } else { first };
        // Entries are taken to be of one size; whole chunks are freed, so it may stay a chunk above.
        let surplus = u128::from(entries) * u128::from(disk.saturating_sub(most_bytes)) / u128::from(disk.max(1));
        let by_bytes = first + u64::try_from(surplus).unwrap_or(0);
        let upto = by_bytes.max(by_entries).min(covered);
        if upto <= first {
            return;
        }
        // Raft stands still while the log waits for a file that it needs for that: it has time until the next second.
        if descriptors::are_short() {
            return;
        }
        // Where a follower is reading there, openraft puts it off until that one has answered.
        if let Err(e) = self.raft.trigger().purge_log(upto).await {
            tracing::warn!(error = %e, "the log was not purged: raft has stopped");
        }
    }

    /// Makes a durable point, up to which the log may be purged.
    pub async fn durable_point(&self) {
        if let Err(e) = self.raft.trigger().snapshot().await {
            tracing::warn!(error = %e, "no durable point: raft has stopped");
        }
    }
}
