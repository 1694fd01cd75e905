//! What clients asked and what they were told: the material of all checks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::Position;

/// A document, or a group of documents that are written together; its place in [`History::names`].
pub type Key = u32;

/// What stands in a document that tells who wrote it: each write has a number of its own, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// The number of the write that saved it.
    pub saved: u64,
    /// The number of the patch that was merged into it last; 0: none.
    pub patched: u64,
}

/// How new a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fresh {
    Linearizable,
    Lease,
    Local,
}

/// How a write goes to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One HTTP request.
    Plain,
    /// With an `Idempotency-Key`, repeated until there is a definite answer.
    Keyed,
    /// Through `jettra-client`, numbered in its session.
    Session,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Replace or create; of a group: all its documents in one request.
    Save {
        tag: u64,
    },
    /// `If-None-Match: *`.
    Create {
        tag: u64,
    },
    /// Replace with `If-Match`.
    Swap {
        tag: u64,
        rev: u64,
    },
    /// Merge a patch.
    Patch {
        tag: u64,
    },
    Delete,
    /// Make the version of this revision, which held this, the newest state.
    Restore {
        content: Content,
        rev: u64,
    },
    /// A superseded state, by its revision.
    Version {
        rev: u64,
    },
    /// The newest state; of a group: all documents by one query.
    Read {
        fresh: Fresh,
        min_index: Option<u64>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged. `rev` is its revision where the answer says it exactly; `index` a log index that is not below it.
    Written { rev: Option<u64>, index: Option<u64> },
    /// What a read showed: `None` for "not there". `rev` is the document's; `index` what the answer reflects at least,
    /// and exactly, where a group was queried.
    Seen { content: Option<Content>, rev: Option<u64>, index: Option<u64> },
    /// The condition did not hold: the document has this revision, 0 where it is not there.
    Conflict { rev: u64 },
    /// A patch of a document that is not there.
    Missing,
    /// Surely not done, for a reason that says nothing of the document.
    Refused(String),
    /// Nobody knows: it may happen at any time after its start, or never.
    Unknown(String),
    /// An answer that there must not be.
    Wrong(String),
}

/// One call of one client.
#[derive(Debug, Clone)]
pub struct Call {
    pub client: u32,
    pub key: Key,
    /// The node that answered, or was asked last.
    pub node: Arc<str>,
    pub way: Way,
    /// The connection, where the client has one of its own to one node; else 0.
    pub connection: u32,
    pub op: Op,
    /// Microseconds since the history began.
    pub start: u64,
    /// The same; for an unknown outcome, when the client gave up.
    pub end: u64,
    pub outcome: Outcome,
}

/// The same request again after its answer had come.
#[derive(Debug, Clone)]
pub struct Repeat {
    pub call: Call,
    pub first: String,
    pub again: String,
}

/// A change that a watcher was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub position: Position,
    pub key: Key,
    /// Which document of a group.
    pub member: u8,
    pub what: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Saved(Content),
    /// Saved, and what was written is no longer kept.
    SavedUnseen,
    Deleted,
}

/// What came to a watcher, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new connection, that goes on behind this position.
    Opened {
        from: Position,
    },
    Change(Change),
    /// Everything up to here was told.
    Progress(Position),
    /// What follows its position is no longer kept.
    Compacted,
    /// What there must not be.
    Wrong(String),
}

/// All that one watcher of one node was told.
#[derive(Debug, Clone)]
pub struct Feed {
    pub node: Arc<str>,
    pub events: Vec<Event>,
    /// Whether the node was no more among those that clients know in the end.
    pub is_gone: bool,
}

/// Which document or group a key is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub collection: String,
    /// The document's id; of a group, what the ids of its documents begin with.
    pub id: String,
    /// How many documents; 0 for a single one, which is no group.
    pub members: u8,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)?;
        if self.members > 0 { write!(f, "-0…{}", self.members - 1) } else { Ok(()) }
    }
}

/// Everything that was remembered.
#[derive(Debug, Clone)]
pub struct History {
    pub database: String,
    pub names: Vec<Name>,
    /// Sorted by start.
    pub calls: Vec<Call>,
    pub repeats: Vec<Repeat>,
    pub feeds: Vec<Feed>,
    /// The revision after all writes: every watcher should have been told everything up to it. `None` where no write
    /// succeeded in the end.
    pub last: Option<u64>,
    /// From when until when a lease proves nothing, in microseconds.
    pub dishonest: Vec<(u64, u64)>,
}

impl History {
    pub fn empty() -> Self {
        History {
            database: "faults".to_owned(),
            names: Vec::new(),
            calls: Vec::new(),
            repeats: Vec::new(),
            feeds: Vec::new(),
            last: None,
            dishonest: Vec::new(),
        }
    }

    /// Whether clocks ran alike during the call.
    pub fn is_honest(&self, call: &Call) -> bool {
        self.dishonest.iter().all(|(from, until)| call.end < *from || *until < call.start)
    }

    /// The calls on each key, in the order of their starts.
    pub fn by_key(&self) -> HashMap<Key, Vec<&Call>> {
        let mut by_key: HashMap<Key, Vec<&Call>> = HashMap::new();
        for call in &self.calls {
            by_key.entry(call.key).or_default().push(call);
        }
        by_key
    }

    /// Calls as lines of a table.
    pub fn table<'a>(&self, calls: impl IntoIterator<Item = &'a Call>) -> String {
        let head = format!(
            "{:>10} {:>10}  {:<9} {:<8} {:<24} {:<34} result\n",
            "from s", "to s", "client", "node", "on", "call"
        );
        let lines = calls.into_iter().map(|call| {
            let second = |micros: u64| Duration::from_micros(micros).as_secs_f64();
            let name = self.names.get(call.key as usize).map(Name::to_string).unwrap_or_default();
            let way = match call.way {
                Way::Plain => "",
                Way::Keyed => "k",
                Way::Session => "s",
            };
            let connection = if call.connection > 0 { format!("/{}", call.connection) } else { String::new() };
            let end = if matches!(call.outcome, Outcome::Unknown(_)) {
                "?".to_owned()
            } else {
                format!("{:.6}", second(call.end))
            };
            format!(
                "{:>10.6} {end:>10}  {:<9} {:<8} {name:<24} {:<34} {}\n",
                second(call.start),
                format!("{}{way}", call.client),
                format!("{}{connection}", call.node),
                call.op.to_string(),
                call.outcome
            )
        });
        std::iter::once(head).chain(lines).collect()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.saved)?;
        if self.patched > 0 { write!(f, "+p{}", self.patched) } else { Ok(()) }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Save { tag } => write!(f, "save v{tag}"),
            Op::Create { tag } => write!(f, "create v{tag}"),
            Op::Swap { tag, rev } => write!(f, "save v{tag} if rev {rev}"),
            Op::Patch { tag } => write!(f, "patch p{tag}"),
            Op::Delete => f.write_str("delete"),
            Op::Restore { content, rev } => write!(f, "restore {content} of rev {rev}"),
            Op::Version { rev } => write!(f, "read version of rev {rev}"),
            Op::Read { fresh, min_index } => {
                let fresh = match fresh {
                    Fresh::Linearizable => "read",
                    Fresh::Lease => "read by lease",
                    Fresh::Local => "read local",
                };
                f.write_str(fresh)?;
                min_index.map_or(Ok(()), |index| write!(f, " min_index {index}"))
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, rev: &Option<u64>, index: &Option<u64>| {
            rev.map_or(Ok(()), |rev| write!(f, ", rev {rev}"))?;
            index.map_or(Ok(()), |index| write!(f, ", index {index}"))
        };
        match self {
            Outcome::Written { rev, index } => f.write_str("written").and_then(|()| at(f, rev, index)),
            Outcome::Seen { content: Some(content), rev, index } => {
                write!(f, "{content}").and_then(|()| at(f, rev, index))
            }
            Outcome::Seen { content: None, rev, index } => f.write_str("not there").and_then(|()| at(f, rev, index)),
            Outcome::Conflict { rev: 0 } => f.write_str("conflict: not there"),
            Outcome::Conflict { rev } => write!(f, "conflict: rev {rev}"),
            Outcome::Missing => f.write_str("not there"),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Unknown(why) => write!(f, "unknown: {}", why.chars().take(80).collect::<String>()),
            Outcome::Wrong(what) => write!(f, "WRONG: {what}"),
        }
    }
}

impl Op {
    /// The number that this write puts into the document.
    pub fn tag(&self) -> Option<u64> {
        match self {
            Op::Save { tag } | Op::Create { tag } | Op::Swap { tag, .. } | Op::Patch { tag } => Some(*tag),
            Op::Delete | Op::Restore { .. } | Op::Version { .. } | Op::Read { .. } => None,
        }
    }

    pub fn is_write(&self) -> bool {
        !matches!(self, Op::Version { .. } | Op::Read { .. })
    }
}
