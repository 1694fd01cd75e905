//! Whether the leader's disk has room for a write.
//!
//! Two reserves. Below `DiskReserveBytes` writes that bring something in are refused, and what makes room again goes on:
//! deletes, drops, settings, passwords, and all that the cluster does by itself. That costs the log a little, so below a
//! second, smaller reserve only the cluster's own work is left, until somebody makes room outside.

use std::sync::atomic::Ordering;

use jettra_client::wire::ErrorCode;

use super::Cluster;
use crate::error::{Error, Result};

/// What is kept for making room, at most, in bytes: some hundred thousand deletes.
const LAST: u64 = 32 << 20;

/// What is kept for making room, of a reserve of `reserve` bytes.
fn last_of(reserve: u64) -> u64 {
    (reserve / 4).min(LAST)
}

impl Cluster {
    /// Refuses a client's command while the disk is nearly full; `brings_in` says whether it brings something in
    /// ([`Op::brings_in`](crate::state::Op::brings_in)).
    ///
    /// # Errors
    /// `storage_full`, with the place and the bytes.
    pub(super) fn has_room(&self, brings_in: bool) -> Result<()> {
        let (free, reserve) = (self.disk_free.load(Ordering::Relaxed), self.options.disk_reserve_bytes);
        let (needed, what) = match brings_in {
            true => (reserve, "writes"),
            false => (last_of(reserve), "deletes and settings"),
        };
        if free >= needed {
            return Ok(());
        }
        let next = match brings_in {
            true => {
                "delete or drop something, make room on the disk, or lower DiskReserveBytes; reads and deletes go on"
            }
            false => "make room on the disk; reads go on",
        };
        let (node, dir) = (self.member().name, self.full_data_dir());
        let message = format!(
            "the disk of the leader, {node}, that holds {dir} has {free} bytes free, and {what} need {needed}: {next}"
        );
        let error = Error::new(ErrorCode::StorageFull, message);
        Err(error.with("node", node).with("directory", dir).with("free", free).with("needed", needed))
    }

    /// Looks how much room there is, each second.
    pub(super) async fn look_at_disk(&self) {
        let machine = self.machine().await;
        // Where the system does not tell there is nothing to go by.
        let free = if machine.disk_total > 0 { machine.disk_free } else { u64::MAX };
        let was_full = self.is_disk_full();
        self.disk_free.store(free, Ordering::Relaxed);
        let full = self.is_disk_full();
        if full != was_full {
            let reserve = self.options.disk_reserve_bytes;
            tracing::warn!(full, free, reserve, directory = self.full_data_dir(), "the room on the disk");
        }
    }

    /// Whether writes that bring something in are refused for lack of room on the disk.
    pub fn is_disk_full(&self) -> bool {
        self.disk_free.load(Ordering::Relaxed) < self.options.disk_reserve_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_room_has_a_reserve_of_its_own() {
        assert_eq!(last_of(256 << 20), 32 << 20);
        assert_eq!(last_of(1 << 40), 32 << 20);
        assert_eq!(last_of(16 << 20), 4 << 20);
        assert_eq!(last_of(0), 0);
    }
}
