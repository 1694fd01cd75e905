//! Each check finds what it is for, and only that.

mod linear;
mod others;
mod simulation;

use jettra_client::wire::Position;

use super::{Report, Verdict, check};
use crate::ending::Final;
use crate::history::{Call, Change, Content, Event, Feed, Fresh, History, Name, Op, Outcome, Told, Way};

/// The one document of most stories.
const DOCUMENT: u32 = 0;
/// A group of two documents.
const GROUP: u32 = 1;

/// A history that is written by hand: times in milliseconds.
struct Story(History);

impl Story {
    fn new() -> Self {
        let mut history = History::empty();
        history.names = vec![
            Name { collection: "documents".to_owned(), id: "a".to_owned(), members: 0 },
            Name { collection: "groups-0".to_owned(), id: "g".to_owned(), members: 2 },
        ];
        Story(history)
    }

    fn on(mut self, key: u32, at: (u64, u64), op: Op, outcome: Outcome) -> Self {
        let client = u32::try_from(self.0.calls.len() + 1).unwrap();
        let (start, end) = (at.0 * 1_000, at.1 * 1_000);
        let node = "node1".into();
        let call = Call { client, key, node, way: Way::Plain, connection: 0, op, start, end, outcome };
        self.0.calls.push(call);
        self.0.calls.sort_by_key(|call| call.start);
        self
    }

    fn call(self, at: (u64, u64), op: Op, outcome: Outcome) -> Self {
        self.on(DOCUMENT, at, op, outcome)
    }

    /// The last one went over a connection of its own.
    fn over(mut self, connection: u32) -> Self {
        self.0.calls.last_mut().unwrap().connection = connection;
        self
    }

    /// What the watcher of a node was told.
    fn told(mut self, node: &str, events: &[Event]) -> Self {
        self.0.feeds.push(Feed { node: node.into(), events: events.to_vec(), is_gone: false });
        self
    }

    fn last(mut self, rev: u64) -> Self {
        self.0.last = Some(rev);
        self
    }

    fn report(&self) -> Report {
        check(&self.0, &Final::default())
    }

    fn verdict(&self, name: &str) -> Verdict {
        let report = self.report();
        let found = report.checks.into_iter().find(|(check, _)| check.starts_with(name));
        found.unwrap_or_else(|| panic!("no check {name}")).1
    }

    #[track_caller]
    fn holds(&self, name: &str) {
        assert_eq!(self.verdict(name), Verdict::True);
    }

    /// The check finds it, and its story says all of this.
    #[track_caller]
    fn refuted(&self, name: &str, says: &[&str]) {
        let Verdict::False(story) = self.verdict(name) else {
            panic!("{name} did not find it: {:?}", self.verdict(name))
        };
        for part in says {
            assert!(story.contains(part), "no {part:?} in\n{story}");
        }
    }
}

fn saved(tag: u64) -> Option<Content> {
    Some(Content { saved: tag, patched: 0 })
}

fn written(rev: u64) -> Outcome {
    Outcome::Written { rev: Some(rev), index: Some(rev) }
}

fn seen(content: Option<Content>, rev: u64) -> Outcome {
    Outcome::Seen { content, rev: content.map(|_| rev), index: Some(rev) }
}

fn unknown() -> Outcome {
    Outcome::Unknown("no answer".to_owned())
}

const READ: Op = Op::Read { fresh: Fresh::Linearizable, min_index: None };
const LEASE: Op = Op::Read { fresh: Fresh::Lease, min_index: None };
const LOCAL: Op = Op::Read { fresh: Fresh::Local, min_index: None };

fn change(rev: u64, what: Told) -> Event {
    Event::Change(Change { position: Position { rev, n: 0 }, key: DOCUMENT, member: 0, what })
}

fn of_group(rev: u64, member: u8, tag: u64) -> Event {
    let position = Position { rev, n: u32::from(member) };
    let what = Told::Saved(Content { saved: tag, patched: 0 });
    Event::Change(Change { position, key: GROUP, member, what })
}

fn told_save(rev: u64, tag: u64) -> Event {
    change(rev, Told::Saved(Content { saved: tag, patched: 0 }))
}

fn progress(rev: u64) -> Event {
    Event::Progress(Position::after(rev))
}
