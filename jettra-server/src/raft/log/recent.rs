//! The newest entries, in memory: what replication and apply read nearly always.

use std::collections::VecDeque;

use super::codec::StoredPayload;
use super::entry::Entry;

/// Bytes of entries kept, about.
const CAPACITY: usize = 16 << 20;

/// A run of consecutive entries that ends with the log's last one, or nothing.
#[derive(Default)]
pub struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// Adds entries behind the last one.
    pub fn push(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.entries.back().is_some_and(|last| last.log_id.index + 1 != entry.log_id.index) {
                self.clear();
            }
            self.bytes += size(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > CAPACITY && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Drops the entries from index `next` on.
    pub fn cut(&mut self, next: u64) {
        while self.entries.back().is_some_and(|e| e.log_id.index >= next) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size(&entry);
            }
        }
    }

    /// Drops the entries up to index `upto`.
    pub fn forget(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|e| e.log_id.index <= upto) {
            self.pop_front();
        }
    }

    /// Entries from `start` to `end` (not included), at most about `max_bytes` and at least one;
    /// `None` when the first of them is not here.
    pub fn read(&self, start: u64, end: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        if start >= end {
            return Some(Vec::new());
        }
        let first = self.entries.front()?.log_id.index;
        let at = usize::try_from(start.checked_sub(first)?).ok()?;
        if at >= self.entries.len() {
            return None;
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(at..).take_while(|e| e.log_id.index < end) {
            bytes += size(entry);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size(&entry);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

fn size(entry: &Entry) -> usize {
    // The entry itself takes memory too: many small ones must not pass for nothing.
    StoredPayload(entry.payload.clone()).size() + 128
}
