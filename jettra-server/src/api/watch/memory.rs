//! What all watchers of a node may hold of the changes, together.
//!
//! Few read at a time, and the text of a large event counts until its last reader has let go of it. Small ones do not
//! count: of them a watcher holds a step and an outbox at most. Who waits for its turn for long presses: then those
//! are cut off that have kept theirs for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jettra_client::wire::Position;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::told;
use crate::state::{Changed, Changes, Halt};

/// Steps that are read at a time. Each holds its documents twice for a moment.
const READERS: usize = 2;
/// Bytes of large events, or a single larger one.
const HELD: u32 = 64 << 20;
/// An event beyond is large.
const LARGE: usize = 16 << 10;
/// Waiting beyond presses.
const PATIENCE: Duration = Duration::from_secs(5);

/// The room that a node's watchers share.
#[derive(Debug)]
pub(super) struct Memory {
    readers: Arc<Semaphore>,
    held: Arc<Semaphore>,
    room: u32,
    patience: Duration,
    pressing: AtomicUsize,
}

/// Changes as events.
pub(super) enum Step {
    /// What was wanted of what follows the position.
    Run {
        /// The changes, without their documents, and their texts.
        events: Vec<(Changed, Bytes)>,
        /// There is nothing else up to here.
        through: Position,
    },
    /// As [`Changes::Compacted`].
    Compacted { oldest: u64 },
}

/// The right to read one step.
pub(super) struct Turn {
    memory: Arc<Memory>,
    _reads: OwnedSemaphorePermit,
}

/// A text that counts as long as there is something of it.
struct Held {
    text: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// One that has waited for long.
struct Pressing<'a>(&'a AtomicUsize);

impl<'a> Pressing<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Pressing(count)
    }
}

impl Drop for Pressing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new(HELD, PATIENCE)
    }
}

impl Memory {
    fn new(room: u32, patience: Duration) -> Self {
        let held = Arc::new(Semaphore::new(room as usize));
        Memory { readers: Arc::new(Semaphore::new(READERS)), held, room, patience, pressing: AtomicUsize::new(0) }
    }

    /// Whether somebody waits for long.
    pub fn is_pressed(&self) -> bool {
        self.pressing.load(Ordering::Relaxed) > 0
    }

    /// The next turn; as they ask for it.
    pub async fn turn(self: &Arc<Self>) -> Result<Turn, String> {
        let reads = self.wait(self.readers.clone().acquire_owned()).await.map_err(|e| e.to_string())?;
        Ok(Turn { memory: self.clone(), _reads: reads })
    }

    /// Counts the large ones of these, once there is room for them.
    async fn count(&self, events: &mut [(Changed, Bytes)]) -> Result<(), String> {
        let large = |text: &Bytes| if text.len() > LARGE { u32::try_from(text.len()).unwrap_or(u32::MAX) } else { 0 };
        let all = events.iter().map(|(_, text)| large(text)).fold(0, u32::saturating_add).min(self.room);
        if all == 0 {
            return Ok(());
        }
        let room = self.wait(self.held.clone().acquire_many_owned(all)).await;
        let mut room = room.map_err(|e| e.to_string())?;
        for (_, text) in events {
            let part = (large(text) as usize).min(room.num_permits());
            if let Some(part) = room.split(part).filter(|_| part > 0) {
                *text = Bytes::from_owner(Held { text: std::mem::take(text), _room: part });
            }
        }
        Ok(())
    }

    async fn wait<T>(&self, turn: impl Future<Output = T>) -> T {
        tokio::pin!(turn);
        match tokio::time::timeout(self.patience, &mut turn).await {
            Ok(came) => came,
            Err(_) => {
                let _pressing = Pressing::new(&self.pressing);
                turn.await
            }
        }
    }
}

impl Turn {
    /// Reads beside the async threads, and keeps what was read as texts.
    pub async fn read(self, read: impl FnOnce() -> Result<Changes, Halt> + Send + 'static) -> Result<Step, String> {
        // The turn goes along, so that it is not over before the reading is.
        let written = tokio::task::spawn_blocking(move || {
            let step = read().map(|changes| match changes {
                Changes::Run { changes, through } => {
                    Step::Run { events: changes.into_iter().map(write).collect(), through }
                }
                Changes::Compacted { oldest } => Step::Compacted { oldest },
            });
            (step, self)
        });
        let (step, turn) = written.await.map_err(|e| e.to_string())?;
        let mut step = step.map_err(|e| e.to_string())?;
        if let Step::Run { events, .. } = &mut step {
            turn.memory.count(events).await?;
        }
        Ok(step)
    }
}

fn write(mut changed: Changed) -> (Changed, Bytes) {
    let text = told(&changed);
    changed.doc = None;
    (changed, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;
    use crate::state::Change;

    const SHORT: Duration = Duration::from_millis(100);

    /// Changes of documents so large.
    fn changes(sizes: &[usize]) -> Changes {
        let changed = |(n, size): (usize, &usize)| Changed {
            position: Position { rev: 1, n: n as u32 },
            db: "shop".to_owned(),
            col: "users".to_owned(),
            change: Change::Saved { id: n.to_string() },
            doc: Some(vec![b'x'; *size].into()),
        };
        Changes::Run { changes: sizes.iter().enumerate().map(changed).collect(), through: Position::after(1) }
    }

    async fn read(memory: &Arc<Memory>, sizes: &[usize]) -> Vec<Bytes> {
        let changes = changes(sizes);
        let Step::Run { events, .. } = memory.turn().await.unwrap().read(|| Ok(changes)).await.unwrap() else {
            unreachable!()
        };
        assert!(events.iter().all(|(changed, _)| changed.doc.is_none()), "documents are not kept beside their texts");
        events.into_iter().map(|(_, text)| text).collect()
    }

    #[tokio::test]
    async fn large_events_count_until_the_last_piece_of_them_is_let_go() {
        let memory = Arc::new(Memory::new(1 << 20, SHORT));
        let mut slow = read(&memory, &[600_000, 10]).await;
        assert!(memory.held.available_permits() < 500_000);
        let mut next = tokio::spawn({
            let memory = memory.clone();
            async move { read(&memory, &[600_000]).await }
        });
        // Small ones are read meanwhile.
        assert_eq!(read(&memory, &[10, 1000]).await.len(), 2);
        assert!(!memory.is_pressed());
        assert!(tokio::time::timeout(SHORT * 3, &mut next).await.is_err(), "there is no room for it");
        assert!(memory.is_pressed());

        let rest = slow[0].split_off(500_000);
        slow.clear();
        assert!(tokio::time::timeout(SHORT, &mut next).await.is_err(), "a piece of it is still there");
        drop(rest);
        let got = next.await.unwrap();
        assert!(!memory.is_pressed());
        drop(got);
        assert_eq!(memory.held.available_permits(), 1 << 20);
        // A larger one than all the room takes all of it.
        let larger = read(&memory, &[3 << 20]).await;
        assert_eq!(memory.held.available_permits(), 0);
        drop(larger);
        assert_eq!(memory.held.available_permits(), 1 << 20);
    }

    #[tokio::test]
    async fn few_read_at_a_time() {
        let memory = Arc::new(Memory::default());
        let mut turns = Vec::new();
        for _ in 0..READERS {
            turns.push(memory.turn().await.unwrap());
        }
        assert!(poll_immediate(std::pin::pin!(memory.turn())).await.is_none());
        turns.pop();
        memory.turn().await.unwrap();
    }
}
