//! Cluster time: what commands are stamped with.
//!
//! Outcomes of requests, sessions, tokens and tombstones end by cluster time, which never goes back. So one node whose
//! clock is wrong, once a leader, would end them all. Therefore a leader's clock counts as long as it is within
//! [`BOUND`] of what most voters' clocks say, its own included; else the middle one of theirs does, and the leader hands
//! over. Each node knows the others' clocks: they are told when a session is opened, which a candidate does before it
//! gets a vote, and every two seconds with the samples.
//!
//! With two voters nobody can know which clock is right: the earlier one counts, since what it keeps too long does no harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Cluster;
use crate::clock::now_ms;
use crate::raft::{Consensus, Picture};

/// Clocks of machines that are looked after are never so far apart, in milliseconds.
pub(super) const BOUND: u64 = 10_000;
/// How long handing over may take.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How long a look at the others' clocks counts.
const LOOK: Duration = Duration::from_secs(1);

/// What a node knows of the time.
#[derive(Debug, Default)]
pub struct Time {
    /// A cluster time that was seen, and when.
    seen: Mutex<Option<(u64, Instant)>>,
    /// What the middle one of the voters' clocks said when it was last looked at, if most of them are known.
    looked: Mutex<Option<(u64, Instant)>>,
}

impl Time {
    /// The latest that the time can be, as far as it is known from cluster time, which is at `newest`: what was seen
    /// first, the time since, and the bound. What this node stamps within that does not move it.
    fn at_most(&self, newest: u64) -> u64 {
        let mut seen = self.seen.lock();
        let (time, at) = *seen.get_or_insert((newest, Instant::now()));
        let latest = time.saturating_add(millis(at.elapsed())).saturating_add(BOUND);
        if newest <= latest {
            return latest;
        }
        *seen = Some((newest, Instant::now()));
        newest.saturating_add(BOUND)
    }

    /// What the middle clock says now, where it was looked at lately.
    fn middle(&self) -> Option<u64> {
        let (middle, at) = (*self.looked.lock())?;
        (at.elapsed() < LOOK).then(|| middle.saturating_add(millis(at.elapsed())))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The middle one of the clocks, the earlier of two.
fn middle(mut clocks: Vec<u64>) -> Option<u64> {
    clocks.sort_unstable();
    clocks.get(clocks.len().checked_sub(1)? / 2).copied()
}

/// The middle one of all voters' clocks, where this node's says `own` and those of the `others` that are known this; of
/// fewer than a majority it says nothing.
fn middle_of(own: u64, others: &[u64], voters: usize) -> Option<u64> {
    let is_known = (others.len() + 1) * 2 > voters;
    is_known.then(|| middle(others.iter().copied().chain([own]).collect())).flatten()
}

/// What the time is where this node's clock says `own` and the middle one says so; before that is known it is `at_most`
/// something.
fn time(own: u64, middle: Option<u64>, at_most: impl FnOnce() -> u64) -> u64 {
    match middle {
        Some(middle) if own.abs_diff(middle) > BOUND => middle,
        Some(_) => own,
        None => own.min(at_most()),
    }
}

impl Cluster {
    /// What the other voters' clocks say now, by Raft id.
    fn other_clocks(&self, picture: &Picture) -> Vec<(u64, u64)> {
        let voters = picture.voters();
        let told = self.peers.clocks.now();
        told.into_iter().filter(|(id, _)| *id != picture.id && voters.contains(id)).collect()
    }

    pub(super) fn look_at_clocks(&self, picture: &Picture) -> Option<u64> {
        let others: Vec<u64> = self.other_clocks(picture).into_iter().map(|(_, clock)| clock).collect();
        let own = now_ms();
        let middle = middle_of(own, &others, picture.voters().len());
        let apart = middle.map_or(0.0, |middle| own.abs_diff(middle) as f64 / 1000.0);
        metrics::gauge!("jettra_clock_ahead_seconds").set(if middle > Some(own) { -apart } else { apart });
        *self.time.looked.lock() = middle.map(|middle| (middle, Instant::now()));
        middle
    }

    /// The time in milliseconds since 1970, as most voters' clocks have it.
    pub fn time_ms(&self) -> u64 {
        let Some(consensus) = self.running() else { return now_ms() };
        let middle = self.time.middle().or_else(|| self.look_at_clocks(&consensus.picture()));
        time(now_ms(), middle, || match consensus.state().time_ms() {
            0 => u64::MAX,
            newest => self.time.at_most(newest),
        })
    }

    /// Hands over where this node leads and most clocks say another time than its own, to a voter whose clock agrees with
    /// them. True where it did.
    pub(super) async fn hand_over_for_its_clock(&self, consensus: &Arc<Consensus>, picture: &Picture) -> bool {
        let Some(most) = self.look_at_clocks(picture) else { return false };
        let (own, others) = (now_ms(), self.other_clocks(picture));
        // Of two nobody knows which is right.
        if others.len() < 2 || own.abs_diff(most) <= BOUND {
            return false;
        }
        tracing::warn!(
            apart_ms = own.abs_diff(most),
            "most other clocks agree on another time than this node's: handing over"
        );
        let agrees = |id: u64| others.iter().any(|(other, clock)| *other == id && clock.abs_diff(most) <= BOUND);
        self.hand_over_among(consensus, HAND_OVER, agrees).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const DAY: u64 = 86_400_000;

    fn of(own: u64, others: &[u64], voters: usize) -> u64 {
        time(own, middle_of(own, others, voters), || NOW + 3_000 + BOUND)
    }

    #[test]
    fn a_clock_counts_that_most_others_bear_out() {
        assert_eq!(of(NOW, &[NOW - 300, NOW + 400], 3), NOW);
        assert_eq!(of(NOW + 2 * DAY, &[NOW, NOW + 20], 3), NOW + 20);
        assert_eq!(of(NOW - 2 * DAY, &[NOW, NOW + 20], 3), NOW);
        // One of the others is wrong.
        assert_eq!(of(NOW, &[NOW + 2 * DAY, NOW + 20], 3), NOW);
        // Of three one does not answer, of five one is wrong and one does not.
        assert_eq!(of(NOW + DAY, &[NOW], 3), NOW);
        assert_eq!(of(NOW, &[NOW + DAY], 3), NOW);
        assert_eq!(of(NOW + DAY, &[NOW, NOW + 1, NOW + 2], 5), NOW + 1);
        // Most of them say so: then it is so.
        assert_eq!(of(NOW + DAY, &[NOW, NOW + DAY + 5], 3), NOW + DAY);
    }

    #[test]
    fn who_is_alone_has_his_own_and_who_knows_no_majority_goes_on_from_what_was() {
        assert_eq!(of(NOW + DAY, &[], 1), NOW + DAY);
        assert_eq!(of(NOW + DAY, &[], 3), NOW + 3_000 + BOUND);
        assert_eq!(of(NOW + 2_000, &[], 3), NOW + 2_000);
    }

    #[test]
    fn what_a_node_stamps_itself_does_not_move_the_bound() {
        let known = Time::default();
        let first = known.at_most(NOW);
        assert_eq!(first, NOW + BOUND);
        for _ in 0..10 {
            let latest = known.at_most(known.at_most(NOW));
            assert!(latest < first + 1_000, "{}", latest - first);
        }
        // Another leader knew better.
        assert_eq!(known.at_most(NOW + DAY), NOW + DAY + BOUND);
    }
}
