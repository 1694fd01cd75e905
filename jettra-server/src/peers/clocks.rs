//! What the other members' clocks say, as far as it was told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What was told counts for so long: clocks drift by some milliseconds a minute at most, and each is told every two
/// seconds.
const COUNTS: Duration = Duration::from_secs(600);
/// Clocks that are kept; far more than a cluster has members.
const KEPT: usize = 256;

/// Clocks by Raft id. Each is kept with the moment at which it was told, of a clock that nobody sets: so a step of this
/// node's own clock shows at once.
#[derive(Debug, Default)]
pub struct Clocks(Mutex<BTreeMap<u64, (u64, Instant)>>);

impl Clocks {
    /// At `then` the clock of member `raft_id` was at `ms`, milliseconds since 1970.
    pub fn note(&self, raft_id: u64, ms: u64, then: Instant) {
        let mut told = self.0.lock();
        if raft_id != 0 && ms != 0 && (told.len() < KEPT || told.contains_key(&raft_id)) {
            told.insert(raft_id, (ms, then));
        }
    }

    /// What each clock says now, by Raft id.
    pub fn now(&self) -> BTreeMap<u64, u64> {
        let mut told = self.0.lock();
        told.retain(|_, (_, then)| then.elapsed() < COUNTS);
        let on = |then: &Instant| u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX);
        told.iter().map(|(id, (ms, then))| (*id, ms.saturating_add(on(then)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_after_it_was_told() {
        let clocks = Clocks::default();
        let then = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        clocks.note(2, 1_000, then);
        clocks.note(0, 1_000, then);
        let now = clocks.now();
        assert!(now.len() == 1 && (6_000..7_000).contains(&now[&2]), "{now:?}");
        if let Some(long_ago) = Instant::now().checked_sub(COUNTS) {
            clocks.note(2, 1_000, long_ago);
            assert!(clocks.now().is_empty());
        }
    }
}
