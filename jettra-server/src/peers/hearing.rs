//! When this node last heard each member: by a call of it, by an answer to a call, or by the word of a leader.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The members that are known, by Raft id; of others nothing is noted.
#[derive(Debug, Default)]
pub struct Hearing(Mutex<HashMap<u64, Ear>>);

#[derive(Debug, Clone, Copy)]
struct Ear {
    /// When this node learned that there is such a member.
    known: Instant,
    heard: Option<Instant>,
    /// Who answered in its place when it was called last, and when.
    other: Option<(Other, Instant)>,
}

/// Who answers at a member's URL, where it is not the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// A node that belongs to no cluster.
    Empty,
    /// A node that belongs to another cluster, or does not know this one's secret.
    Foreign,
    /// Another member of this cluster, or of another version.
    Else,
}

/// How long it counts who answered in a member's place; it is called more often.
const COUNTS: Duration = Duration::from_secs(10);

impl Other {
    /// For the end of a sentence about the member.
    pub fn said(self) -> &'static str {
        match self {
            Other::Empty => ", and a node answers there that has no data and belongs to no cluster",
            Other::Foreign => ", and a node answers there that belongs to another cluster or has another secret",
            Other::Else => ", and another node answers there",
        }
    }
}

impl Hearing {
    /// These are the members; what was heard of others is forgotten.
    pub fn know(&self, members: &[u64]) {
        let mut ears = self.0.lock();
        ears.retain(|id, _| members.contains(id));
        for id in members {
            ears.entry(*id).or_insert(Ear { known: Instant::now(), heard: None, other: None });
        }
    }

    /// The member `raft_id` is heard now.
    pub fn note(&self, raft_id: u64) {
        if let Some(ear) = self.0.lock().get_mut(&raft_id) {
            (ear.heard, ear.other) = (Some(Instant::now()), None);
        }
    }

    /// Another node answers where the member `raft_id` is called.
    pub fn note_other(&self, raft_id: u64, other: Other) {
        if let Some(ear) = self.0.lock().get_mut(&raft_id) {
            ear.other = Some((other, Instant::now()));
        }
    }

    /// Who answers where the member `raft_id` is called, if another one does.
    pub fn other(&self, raft_id: u64) -> Option<Other> {
        let (other, at) = self.0.lock().get(&raft_id)?.other?;
        (at.elapsed() < COUNTS).then_some(other)
    }

    /// The time since a member was heard.
    pub fn silence(&self, raft_id: u64) -> Option<Duration> {
        self.0.lock().get(&raft_id)?.heard.map(|at| at.elapsed())
    }

    /// The same; of one that was never heard, the time since it is known.
    pub fn silence_or_known(&self, raft_id: u64) -> Duration {
        let ears = self.0.lock();
        ears.get(&raft_id).map_or(Duration::ZERO, |ear| ear.heard.unwrap_or(ear.known).elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_are_heard() {
        let hearing = Hearing::default();
        hearing.note(7);
        hearing.know(&[1, 2]);
        hearing.note(1);
        hearing.note(7);
        assert!(hearing.silence(1).is_some());
        assert_eq!((hearing.silence(2), hearing.silence(7)), (None, None));
        std::thread::sleep(Duration::from_millis(2));
        assert!(hearing.silence_or_known(2) >= Duration::from_millis(2), "it has been silent since it is known");
        hearing.know(&[2]);
        assert_eq!(hearing.silence(1), None);
    }
}
