//! What all watchers together were told: the state of each document at each revision.

use std::collections::{BTreeMap, HashMap};

use jettra_client::wire::Position;

use crate::history::{Call, Change, Content, Event, History, Key, Op, Outcome, Told};

/// The changes of all, by their position.
pub struct Timeline {
    pub changes: BTreeMap<Position, Change>,
    /// Of each document (of a group the first one), the revisions that changed it and what they made of it.
    by_key: HashMap<Key, Vec<(u64, Told)>>,
    /// Everything up to this revision is known; `None` where somebody should know but does not.
    pub complete_to: Option<u64>,
}

impl Timeline {
    pub fn of(history: &History) -> Timeline {
        let mut changes: BTreeMap<Position, Change> = BTreeMap::new();
        let mut complete_to = None;
        for feed in &history.feeds {
            let (mut told, mut is_whole) = (0, true);
            for event in &feed.events {
                match event {
                    Event::Change(change) => {
                        told = told.max(change.position.rev.saturating_sub(1));
                        let known = changes.entry(change.position).or_insert(*change);
                        if known.what == Told::SavedUnseen {
                            *known = *change;
                        }
                    }
                    Event::Progress(position) => {
                        let through =
                            if position.n == u32::MAX { position.rev } else { position.rev.saturating_sub(1) };
                        told = told.max(through);
                    }
                    Event::Compacted | Event::Wrong(_) => is_whole = false,
                    Event::Opened { .. } => {}
                }
            }
            if is_whole {
                complete_to = complete_to.max(Some(told));
            }
        }
        let mut by_key: HashMap<Key, Vec<(u64, Told)>> = HashMap::new();
        for change in changes.values().filter(|change| change.member == 0) {
            by_key.entry(change.key).or_default().push((change.position.rev, change.what));
        }
        Timeline { changes, by_key, complete_to }
    }

    /// What changed a document, in order.
    pub fn changes_of(&self, key: Key) -> &[(u64, Told)] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The newest change of a document up to an index.
    pub fn at(&self, key: Key, index: u64) -> Option<(u64, Told)> {
        let changes = self.changes_of(key);
        changes[..changes.partition_point(|(rev, _)| *rev <= index)].last().copied()
    }

    /// The change that a revision made of a document.
    pub fn by(&self, key: Key, rev: u64) -> Option<Told> {
        self.at(key, rev).filter(|(at, _)| *at == rev).map(|(_, told)| told)
    }

    /// The first change of a document after a revision.
    pub fn after(&self, key: Key, rev: u64) -> Option<(u64, Told)> {
        let changes = self.changes_of(key);
        changes.get(changes.partition_point(|(at, _)| *at <= rev)).copied()
    }
}

/// Whether a change left this behind, as far as it tells.
pub fn is_content(told: Told, content: Option<Content>) -> bool {
    match (told, content) {
        (Told::Saved(told), Some(content)) => told == content,
        (Told::SavedUnseen, content) => content.is_some(),
        (Told::Deleted, content) => content.is_none(),
        (Told::Saved(_), None) => false,
    }
}

/// What a write, acknowledged or not, would leave behind: whether a change may be its.
pub fn may_be(call: &Call, told: Told) -> bool {
    match (told, call.op) {
        (Told::SavedUnseen, op) => op.is_write() && op != Op::Delete,
        (Told::Deleted, op) => op == Op::Delete,
        (Told::Saved(content), Op::Save { tag } | Op::Create { tag } | Op::Swap { tag, .. }) => {
            content == Content { saved: tag, patched: 0 }
        }
        (Told::Saved(content), Op::Patch { tag }) => content.patched == tag,
        (Told::Saved(content), Op::Restore { content: restored, .. }) => content == restored,
        (Told::Saved(_), _) => false,
    }
}

/// Whether a call may have changed something.
pub fn may_have_happened(call: &Call) -> bool {
    call.op.is_write() && matches!(call.outcome, Outcome::Written { .. } | Outcome::Unknown(_))
}
