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
}

impl Hearing {
    /// These are the members; what was heard of others is forgotten.
    pub fn know(&self, members: &[u64]) {
        let mut ears = self.0.lock();
        ears.retain(|id, _| members.contains(id));
        for id in members {
            ears.entry(*id).or_insert(Ear { known: Instant::now(), heard: None });
        }
    }

    /// The member `raft_id` is heard now.
    pub fn note(&self, raft_id: u64) {
        if let Some(ear) = self.0.lock().get_mut(&raft_id) {
            ear.heard = Some(Instant::now());
        }
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
