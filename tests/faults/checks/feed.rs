//! The change feed is the history: in order, without gap or repeat, on every node the same, across reconnects and deaths.
//! Each acknowledged write is in it, and nothing that was refused or that nobody wrote.

use std::collections::{BTreeMap, HashMap};

use jettra_client::wire::Position;

use super::Verdict;
use super::timeline::{Timeline, may_be, may_have_happened};
use crate::history::{Call, Change, Event, Feed, History, Key, Outcome, Told};

/// Of what each watcher was told, in itself and beside the others.
pub fn alike(history: &History, timeline: &Timeline) -> Verdict {
    let mut unknown = None;
    for feed in &history.feeds {
        if let Err(why) = ordered(feed) {
            return Verdict::False(format!("the watcher of {}: {why}", feed.node));
        }
        let told_to = told_to(feed);
        let is_compacted = feed.events.contains(&Event::Compacted);
        if is_compacted {
            unknown = Some(format!("for the watcher of {} a part was compacted", feed.node));
        } else if let Some(why) = missing(history, feed, timeline, told_to) {
            return Verdict::False(why);
        }
        match history.last {
            None => unknown = Some("no write succeeded in the end".to_owned()),
            Some(last) if told_to.rev < last && !feed.is_gone => {
                return Verdict::False(format!(
                    "the watcher of {} was told everything up to {told_to} and not up to {last}, a minute after the end",
                    feed.node
                ));
            }
            Some(_) => {}
        }
    }
    unknown.map_or(Verdict::True, Verdict::Unknown)
}

fn told_to(feed: &Feed) -> Position {
    let positions = feed.events.iter().filter_map(|event| match event {
        Event::Change(change) => Some(change.position),
        Event::Progress(position) => Some(*position),
        _ => None,
    });
    positions.max().unwrap_or(Position::after(0))
}

/// Each position once, and upwards.
fn ordered(feed: &Feed) -> Result<(), String> {
    let mut position = Position::after(0);
    for event in &feed.events {
        match event {
            Event::Change(change) if change.position <= position => {
                return Err(format!("{} was told after {position}: out of order, or twice", change.position));
            }
            Event::Change(change) => position = change.position,
            Event::Progress(to) if *to < position => return Err(format!("progress {to} after {position}")),
            Event::Progress(to) => position = *to,
            Event::Wrong(what) => return Err(what.clone()),
            Event::Opened { .. } | Event::Compacted => {}
        }
    }
    Ok(())
}

/// What this one should have been told, or was told otherwise than others.
fn missing(history: &History, feed: &Feed, timeline: &Timeline, told_to: Position) -> Option<String> {
    let own: BTreeMap<Position, Change> = feed
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Change(change) => Some((change.position, *change)),
            _ => None,
        })
        .collect();
    for (position, change) in timeline.changes.range(..=told_to) {
        let is_same = match own.get(position) {
            Some(own) if own == change => true,
            Some(own) => {
                own.key == change.key
                    && own.member == change.member
                    && own.what == Told::SavedUnseen
                    && change.what != Told::Deleted
            }
            None => false,
        };
        if !is_same {
            let others = history.feeds.iter().filter(|other| other.events.contains(&Event::Change(*change)));
            let others: Vec<&str> = others.map(|other| &*other.node).collect();
            let around = around(feed, *position);
            return Some(format!(
                "the watcher of {} was not told what that of {} was:\n  {}\nbut around it:\n{around}",
                feed.node,
                others.join(", "),
                shown(history, change),
            ));
        }
    }
    None
}

/// What came to a watcher near this position.
fn around(feed: &Feed, position: Position) -> String {
    let at = feed.events.iter().position(|event| match event {
        Event::Change(change) => change.position >= position,
        Event::Progress(to) => *to >= position,
        _ => false,
    });
    let at = at.unwrap_or(feed.events.len());
    let events = &feed.events[at.saturating_sub(4)..(at + 4).min(feed.events.len())];
    events.iter().map(|event| format!("  {event:?}\n")).collect()
}

pub fn shown(history: &History, change: &Change) -> String {
    let name = history.names.get(change.key as usize).map(ToString::to_string).unwrap_or_default();
    format!("{} {name} ({}) {:?}", change.position, change.member, change.what)
}

/// Each acknowledged write is in the feed at its revision, and everything in it is a write that may have happened.
pub fn equals(history: &History, timeline: &Timeline) -> Verdict {
    let Some(complete_to) = timeline.complete_to else {
        return Verdict::Unknown("no watcher was told everything".to_owned());
    };
    let members: HashMap<Key, u8> = (0..).zip(&history.names).map(|(key, name)| (key, name.members.max(1))).collect();
    let mut at: HashMap<(u64, Key), Vec<&Change>> = HashMap::new();
    for change in timeline.changes.values() {
        at.entry((change.position.rev, change.key)).or_default().push(change);
    }
    for call in &history.calls {
        let Outcome::Written { rev: Some(rev), .. } = call.outcome else { continue };
        if rev > complete_to {
            continue;
        }
        let changes = at.get(&(rev, call.key)).map_or(&[][..], Vec::as_slice);
        // A delete of what is not there changes nothing.
        let is_nothing =
            changes.is_empty() && !timeline.at(call.key, rev).is_some_and(|(_, told)| told != Told::Deleted);
        if is_nothing && may_be(call, Told::Deleted) {
            continue;
        }
        let whole = changes.len() == usize::from(members[&call.key]);
        if !whole || !changes.iter().all(|change| may_be(call, change.what)) {
            let told: Vec<String> = changes.iter().map(|change| format!("  {}\n", shown(history, change))).collect();
            return Verdict::False(format!(
                "an acknowledged write is not in the feed as it was made:\n{}the feed has at {rev}:\n{}",
                history.table([call]),
                if told.is_empty() { "  nothing\n".to_owned() } else { told.concat() }
            ));
        }
    }
    let writers = Writers::of(history);
    for change in timeline.changes.values() {
        let calls = writers.of_change(change);
        let fits = |call: &&&Call| {
            let rev = match call.outcome {
                Outcome::Written { rev, .. } => rev,
                _ => None,
            };
            may_be(call, change.what) && rev.is_none_or(|rev| rev == change.position.rev)
        };
        if !calls.iter().any(|call| fits(&call) && may_have_happened(call)) {
            let refused: Vec<&Call> = calls.iter().filter(fits).copied().collect();
            let why = if refused.is_empty() { "nobody wrote" } else { "surely not done, by its answer, but" };
            return Verdict::False(format!(
                "{why} in the feed:\n  {}\n{}",
                shown(history, change),
                history.table(refused)
            ));
        }
    }
    Verdict::True
}

/// Who may have made a change.
struct Writers<'a> {
    by_tag: HashMap<u64, &'a Call>,
    /// Deletes and restores have no number of their own.
    others: HashMap<Key, Vec<&'a Call>>,
}

impl<'a> Writers<'a> {
    fn of(history: &'a History) -> Self {
        let mut writers = Writers { by_tag: HashMap::new(), others: HashMap::new() };
        for call in history.calls.iter().filter(|call| call.op.is_write()) {
            match call.op.tag() {
                Some(tag) => drop(writers.by_tag.insert(tag, call)),
                None => writers.others.entry(call.key).or_default().push(call),
            }
        }
        writers
    }

    fn of_change(&self, change: &Change) -> Vec<&'a Call> {
        let others = self.others.get(&change.key).map_or(&[][..], Vec::as_slice);
        let by_tag = |tag: u64| self.by_tag.get(&tag).filter(|call| call.key == change.key).copied();
        match change.what {
            Told::Saved(content) => {
                let own = if content.patched > 0 { content.patched } else { content.saved };
                by_tag(own).into_iter().chain(others.iter().copied()).collect()
            }
            Told::Deleted => others.to_vec(),
            Told::SavedUnseen => {
                others.iter().chain(self.by_tag.values().filter(|call| call.key == change.key)).copied().collect()
            }
        }
    }
}
