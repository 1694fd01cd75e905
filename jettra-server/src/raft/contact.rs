//! What a node has heard of leaders, and of those who would be: it says afterwards why the node was elected itself, and
//! whether nobody else can be.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A leader that was asked to hand over is believed to be the reason of an election for so long.
const HANDED_OVER: Duration = Duration::from_secs(5);

/// Whom this node has heard as a leader, and when.
#[derive(Debug, Default)]
pub struct Contact {
    /// Who sent the last append or heartbeat.
    heard: Mutex<Option<(u64, Instant)>>,
    /// Who asked this node last to take over.
    handed: Mutex<Option<(u64, Instant)>>,
    /// Since no leader was heard: when somebody first and last wanted to be elected whose log ends before ours.
    behind: Mutex<Option<(Instant, Instant)>>,
}

/// Why this node was elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The leader with this Raft id asked it to take over.
    HandedOver(u64),
    /// The leader with this Raft id was silent for so long.
    Silent(u64, Duration),
    /// It has heard of no other leader since it started.
    NoneHeard,
}

impl Contact {
    /// The leader `raft_id` was heard.
    pub(super) fn heard(&self, raft_id: u64) {
        *self.heard.lock() = Some((raft_id, Instant::now()));
        *self.behind.lock() = None;
    }

    /// The leader `raft_id` asks this node to take over.
    pub(super) fn handed_over(&self, raft_id: u64) {
        *self.handed.lock() = Some((raft_id, Instant::now()));
    }

    /// Somebody wants to be elected whose log ends before ours.
    pub(super) fn refused_one_behind(&self) {
        let now = Instant::now();
        let mut behind = self.behind.lock();
        *behind = Some((behind.map_or(now, |(first, _)| first), now));
    }

    /// Whether those who stand for election have gone on for `long` with logs that end before ours, and nobody with one
    /// as long as ours was elected: then only this node can be.
    pub(super) fn is_only_choice(&self, long: Duration) -> bool {
        self.behind.lock().is_some_and(|(first, last)| first.elapsed() >= long && last.elapsed() < long)
    }

    /// Why this node leads, asked when it has just been elected.
    pub fn cause(&self) -> Cause {
        match (*self.handed.lock(), *self.heard.lock()) {
            (Some((from, at)), _) if at.elapsed() < HANDED_OVER => Cause::HandedOver(from),
            (_, Some((from, at))) => Cause::Silent(from, at.elapsed()),
            _ => Cause::NoneHeard,
        }
    }

    /// The time since any leader was heard.
    pub fn silence(&self) -> Option<Duration> {
        self.heard.lock().map(|(_, at)| at.elapsed())
    }

    /// The time since `leader` was heard as one; none where another was heard since, or nobody was.
    pub fn silence_of(&self, leader: u64) -> Option<Duration> {
        self.heard.lock().filter(|(id, _)| *id == leader).map(|(_, at)| at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_leader_is_the_cause() {
        let contact = Contact::default();
        assert_eq!(contact.cause(), Cause::NoneHeard);
        contact.heard(1);
        contact.heard(2);
        assert!(matches!(contact.cause(), Cause::Silent(2, _)));
        contact.handed_over(2);
        assert_eq!(contact.cause(), Cause::HandedOver(2));
    }

    #[test]
    fn a_node_is_the_only_choice_until_a_leader_is_heard() {
        let (contact, long) = (Contact::default(), Duration::ZERO);
        assert!(!contact.is_only_choice(long));
        contact.refused_one_behind();
        assert!(!contact.is_only_choice(Duration::from_secs(60)), "others may yet be elected");
        *contact.behind.lock() = Some((Instant::now() - Duration::from_secs(3), Instant::now()));
        assert!(contact.is_only_choice(Duration::from_secs(2)));
        contact.heard(1);
        assert!(!contact.is_only_choice(long));
    }
}
