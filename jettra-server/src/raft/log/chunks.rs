//! A new chunk of the log where no more files can be opened.
//!
//! What the crate's source says (raft-log 0.4.6, chunked-wal 0.2.3), and what follows from it here:
//!
//! - The next chunk is opened at the end of the call that wrote the record by which the one in use became full. Where it
//!   cannot be opened that call fails, but the record is written, and the full chunk stays in use: the next record makes
//!   the next attempt. So nothing is lost, and it may be waited for.
//! - Two files are opened: the chunk, then its directory. Where only the first could be, an empty chunk is left that no
//!   record will be in, and later ones would not fit it: it has to go.
//! - Each attempt asks its writer for another fsync. So there is one attempt a record, and a wait before each.
//! - Chunks are removed by its writer thread, which opens the directory and dies where it cannot: see
//!   [`Chunks::ready_for_removal`].

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_log::{ChunkId, RaftLog, Segment};

use super::LogTypes;
use crate::descriptors;

/// Files that a new chunk takes while it is made.
const FILES: usize = 2;

/// Whether the log waits for a new chunk.
#[derive(Default)]
pub struct Chunks {
    /// The chunk in use is full and the next one could not be opened.
    awaited: AtomicBool,
}

impl Chunks {
    /// Writes one record. It counts as written though no next chunk could be opened behind it.
    ///
    /// # Errors
    /// What the log says.
    pub fn write(
        &self,
        log: &mut RaftLog<LogTypes>,
        record: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<Segment>,
    ) -> io::Result<()> {
        let Err(e) = record(log) else { return Ok(()) };
        if descriptors::shortage(&e).is_none() {
            return Err(e);
        }
        remove_empty(log)?;
        if !self.awaited.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %e,
                limit = ?descriptors::PATIENCE,
                "the log needs a new file and none can be opened: the next write waits for it, and the node ends if none comes in that time"
            );
        }
        Ok(())
    }

    /// Whether the next record has to wait, by [`Chunks::ready`].
    pub fn are_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Waits until the next chunk can be opened, where the log needs one, for 10 s at most.
    ///
    /// # Errors
    /// It cannot: what the system says.
    pub async fn ready(&self, dir: &Path) -> io::Result<()> {
        if !self.are_awaited() {
            return Ok(());
        }
        wait_for(FILES).await?;
        // An empty chunk may have been removed. A power cut must not bring it back behind records that are written now:
        // the log would seem to have a gap.
        let dir = dir.to_owned();
        let synced = tokio::task::spawn_blocking(move || descriptors::patiently(|| File::open(&dir))?.sync_all());
        synced.await.map_err(io::Error::other)??;
        self.awaited.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the writer can remove chunks, for 10 s at most.
    ///
    /// # Errors
    /// It cannot: what the system says.
    pub async fn ready_for_removal(&self, dir: &Path) -> io::Result<()> {
        self.ready(dir).await?;
        wait_for(1).await
    }
}

async fn wait_for(files: usize) -> io::Result<()> {
    tokio::task::spawn_blocking(move || descriptors::wait_for(files)).await.map_err(io::Error::other)?
}

/// Removes the chunk behind the one in use where one was made and nothing is in it.
fn remove_empty(log: &RaftLog<LogTypes>) -> io::Result<()> {
    let next = ChunkId(log.stat().open_chunk.global_end);
    let path = log.config().wal.chunk_path(next);
    match std::fs::metadata(&path) {
        Ok(found) if found.len() == 0 => std::fs::remove_file(&path),
        Ok(_) => Err(io::Error::other(format!("{path} should be empty and is not"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
