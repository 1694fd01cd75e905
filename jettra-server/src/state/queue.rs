//! Records that are let go oldest first: a collection of records, and beside it a collection that keeps their order.
//!
//! Each record has exactly one entry in the order. An entry that comes to the front while its record has been used
//! since goes back to the end: so use costs one write, to the record alone.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::envelope::Envelope;
use super::halt::Halt;
use super::stage::Stage;
use super::view::parse;
use crate::storage::Order;
use crate::storage::keys::{self, CollectionId};

/// Which records, and how many there may be.
pub(super) struct Queue {
    /// The collection of the records.
    pub records: CollectionId,
    /// The collection of their order.
    pub order: CollectionId,
    /// No record ends sooner than this after its entry came into the order.
    pub at_least_ms: u64,
    /// Records that may be.
    pub max_count: u64,
    /// Bytes that they may have.
    pub max_bytes: u64,
}

/// At most so many entries are looked at for one new record.
const STEPS: u32 = 16;

#[derive(Serialize, Deserialize)]
struct OrderDoc {
    #[serde(rename = "_id")]
    id: String,
    of: String,
}

impl Stage<'_> {
    /// Puts a record at the end of the order.
    pub fn enqueue(&mut self, queue: &Queue, record: &str) -> Result<(), Halt> {
        let n = self.next_in_queue();
        let id = format!("{:016x}{n:08x}", self.rev);
        let doc = OrderDoc { id: id.clone(), of: record.to_owned() };
        let body = serde_json::to_vec(&doc).map_err(|error| Halt::damage(error.to_string()))?;
        self.save(queue.order, &id, Bytes::from(body))
    }

    /// Lets go of records from the front: those for which `is_over` holds, and the oldest beyond the bounds.
    pub fn sweep(&mut self, queue: &Queue, is_over: impl Fn(&Envelope, u64) -> bool) -> Result<(), Halt> {
        for step in 1.. {
            let stats = self.stats(queue.records);
            let too_many = stats.count > queue.max_count || stats.bytes > queue.max_bytes;
            if step > STEPS && !too_many {
                break;
            }
            let Some((entry, since_ms, record)) = self.front(queue.order)? else { break };
            if !too_many && since_ms.saturating_add(queue.at_least_ms) > self.now_ms() {
                break;
            }
            self.remove(queue.order, &entry)?;
            self.fronts.insert(queue.order, entry);
            let Some(state) = self.live(queue.records, &record)? else { continue };
            let used_since = state.time_ms > since_ms;
            let keep = if too_many { used_since && step < STEPS } else { !is_over(&state, self.now_ms()) };
            if keep {
                self.enqueue(queue, &record)?;
            } else {
                self.remove(queue.records, &record)?;
            }
        }
        Ok(())
    }

    /// The first entry of an order: its id, cluster time when it came in, and its record's id.
    fn front(&mut self, order: CollectionId) -> Result<Option<(String, u64, String)>, Halt> {
        let end = keys::current_end(order);
        loop {
            let from = keys::current(order, self.fronts.get(&order).map_or("", String::as_str));
            let Some((key, value)) = self.first(&from, &end, Order::Ascending)? else { return Ok(None) };
            let id = keys::current_id(&key).ok_or_else(|| Halt::damage("the key of a queue's entry"))?.to_owned();
            let envelope = Envelope::decode(&value)?;
            match envelope.body() {
                Some(body) => {
                    let doc: OrderDoc = parse(body, "a queue's entry")?;
                    return Ok(Some((id, envelope.time_ms, doc.of)));
                }
                // A tombstone that a pinned view still needs.
                None => self.fronts.insert(order, id),
            };
        }
    }
}
