//! The newest changes: read and written as events once, given to all that watch them.
//!
//! One task reads, while there are watchers, whatever was applied, and looks into the documents of what is watched
//! only. A watcher has a seat: a bounded queue of events that it shares with the others. Who does not empty it in time
//! loses it, and reads for itself until it has caught up.
//!
//! What makes the way from reading for oneself to the feed free of gaps: a seat is taken under the same lock under
//! which the task notes up to where it is about to read (`claimed`) and for whom. Whoever sits down afterwards reads up
//! to there for itself; everything later the feed brings.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jettra_client::wire::Position;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::memory::{Memory, Step};
use crate::cluster::{Cluster, Stop};
use crate::error::Result;
use crate::lasting::Unless;
use crate::state::{Change, Changed, ChangesLimit};

/// Events that wait at a seat, at most.
const QUEUED: usize = 1024;
/// Bytes of them, which the seats share; a single event may be larger.
const QUEUED_BYTES: usize = 1 << 20;

/// What is read at once.
const STEP: ChangesLimit = ChangesLimit { records: 1024, bytes: 1 << 20 };

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    /// A database.
    pub db: String,
    /// One of its collections, or all.
    pub col: Option<String>,
}

impl Scope {
    /// Whether a change of this collection is told.
    pub fn covers(&self, db: &str, col: &str) -> bool {
        self.db == db && self.col.as_deref().is_none_or(|own| own == col)
    }
}

/// What any of several scopes covers.
#[derive(Debug, Default)]
struct Interest(BTreeMap<String, Collections>);

/// Collections of one database that are watched.
#[derive(Debug, Default)]
struct Collections {
    all: bool,
    names: BTreeSet<String>,
}

impl Interest {
    fn covers(&self, db: &str, col: &str) -> bool {
        self.0.get(db).is_some_and(|cols| cols.all || cols.names.contains(col))
    }
}

/// A change, ready to be sent. A clone shares the text.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub position: Position,
    pub text: Bytes,
}

/// What was in a seat's queue.
pub(super) enum Taken {
    /// These, in order.
    Changes(VecDeque<Event>),
    /// Nothing that is watched has changed up to this revision.
    Nothing {
        /// The revision.
        through: u64,
    },
    /// The queue ran over: read from the state.
    Behind,
    /// The node stops.
    Closed,
}

/// The newest changes, for all watchers of a node.
pub(super) struct Feed {
    inner: Mutex<Inner>,
    memory: Arc<Memory>,
}

#[derive(Default)]
struct Inner {
    /// Whether the task runs: it does while there are seats.
    running: bool,
    /// Up to this revision the task reads now, for those who sat here when it began.
    claimed: u64,
    /// Everything up to this revision is in the queues.
    published: u64,
    seats: BTreeMap<Scope, BTreeMap<u64, Queue>>,
    /// What any seat watches, for the task to look into beside the lock.
    interest: Arc<Interest>,
    /// The number of the last seat.
    last: u64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    behind: bool,
    wake: Arc<Notify>,
}

/// A place at the feed, until it is dropped.
pub(super) struct Seat {
    feed: Arc<Feed>,
    scope: Scope,
    number: u64,
    wake: Arc<Notify>,
}

impl Feed {
    /// One without seats.
    pub fn new(memory: Arc<Memory>) -> Self {
        Feed { inner: Mutex::default(), memory }
    }

    /// A seat, and the revision up to which its owner has to read for itself.
    ///
    /// # Errors
    /// As [`Cluster::state`].
    pub fn join(self: &Arc<Self>, cluster: &Arc<Cluster>, scope: Scope) -> Result<(Seat, u64)> {
        let now = cluster.state()?.applied().rev;
        let mut inner = self.inner.lock();
        if !inner.running {
            inner.running = true;
            (inner.claimed, inner.published) = (now, now);
            tokio::spawn(run(self.clone(), cluster.clone(), now));
        }
        inner.last += 1;
        let (number, queue) = (inner.last, Queue::default());
        let wake = queue.wake.clone();
        let seats = inner.seats.entry(scope.clone()).or_default();
        seats.insert(number, queue);
        if seats.len() == 1 {
            inner.note_interest();
        }
        Ok((Seat { feed: self.clone(), scope, number, wake }, inner.claimed))
    }

    /// Gives the events to those who watch them; everything through the position has been read.
    fn publish(&self, changes: &[(Changed, Bytes)], through: Position) {
        let mut inner = self.inner.lock();
        for (changed, text) in changes {
            let event = Event { position: changed.position, text: text.clone() };
            let then = (changed.db.as_str(), changed.col.as_str());
            let later = match &changed.change {
                Change::Renamed { db, col } => Some((db.as_str(), col.as_str())),
                _ => None,
            };
            let mut scopes = BTreeSet::new();
            for (db, col) in std::iter::once(then).chain(later) {
                scopes.extend([None, Some(col.to_owned())].map(|col| Scope { db: db.to_owned(), col }));
            }
            for scope in &scopes {
                for queue in inner.seats.get_mut(scope).into_iter().flat_map(BTreeMap::values_mut) {
                    queue.push(event.clone());
                }
            }
        }
        // Of a revision that was read in part, nothing can be said yet.
        inner.published = if through.n == u32::MAX { through.rev } else { through.rev.saturating_sub(1) };
    }

    /// The changes up to `rev` cannot be read here: everybody has to see for itself.
    fn skip_to(&self, rev: u64) {
        let mut inner = self.inner.lock();
        (inner.claimed, inner.published) = (rev, rev);
        inner.seats.values_mut().flat_map(BTreeMap::values_mut).for_each(Queue::fall_behind);
    }

    /// Takes all seats away.
    fn close(&self) {
        let mut inner = self.inner.lock();
        inner.running = false;
        let seats = std::mem::take(&mut inner.seats);
        inner.note_interest();
        seats.values().flat_map(BTreeMap::values).for_each(|queue| queue.wake.notify_one());
    }

    /// Takes all seats away at its end, unless that was a good one.
    fn closed_unless_done(self: Arc<Self>) -> Unless<impl FnOnce()> {
        Unless::new(move || self.close())
    }

    /// For whom to read, after noting that it is done up to `upto`; none where nobody is left, and the task ends.
    fn claim(&self, upto: u64) -> Option<Arc<Interest>> {
        let mut inner = self.inner.lock();
        if inner.seats.is_empty() {
            inner.running = false;
            return None;
        }
        inner.claimed = inner.claimed.max(upto);
        Some(inner.interest.clone())
    }
}

impl Inner {
    fn note_interest(&mut self) {
        let mut interest = Interest::default();
        for scope in self.seats.keys() {
            let watched = interest.0.entry(scope.db.clone()).or_default();
            watched.all |= scope.col.is_none();
            watched.names.extend(scope.col.clone());
        }
        self.interest = Arc::new(interest);
    }
}

impl Queue {
    fn push(&mut self, event: Event) {
        if self.behind {
            return;
        }
        self.bytes += event.text.len();
        self.events.push_back(event);
        if self.events.len() > QUEUED || (self.bytes > QUEUED_BYTES && self.events.len() > 1) {
            self.fall_behind();
        }
        self.wake.notify_one();
    }

    fn fall_behind(&mut self) {
        self.events = VecDeque::new();
        (self.bytes, self.behind) = (0, true);
        self.wake.notify_one();
    }
}

impl Seat {
    /// What is in the queue.
    pub fn take(&self) -> Taken {
        let mut inner = self.feed.inner.lock();
        let through = inner.published;
        match inner.seats.get_mut(&self.scope).and_then(|seats| seats.get_mut(&self.number)) {
            None => Taken::Closed,
            Some(queue) if queue.behind => Taken::Behind,
            Some(queue) if queue.events.is_empty() => Taken::Nothing { through },
            Some(queue) => {
                queue.bytes = 0;
                Taken::Changes(std::mem::take(&mut queue.events))
            }
        }
    }

    /// Returns when there may be something in the queue.
    pub async fn wake(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.feed.inner.lock();
        if let Some(seats) = inner.seats.get_mut(&self.scope) {
            seats.remove(&self.number);
            if seats.is_empty() {
                inner.seats.remove(&self.scope);
                inner.note_interest();
            }
        }
    }
}

/// Reads what was applied after revision `from`, as long as somebody sits here and the node runs.
async fn run(feed: Arc<Feed>, cluster: Arc<Cluster>, from: u64) {
    // Where it dies, those who sit here must not wait for it.
    let ended = feed.clone().closed_unless_done();
    follow(feed, cluster, from).await;
    ended.done();
}

async fn follow(feed: Arc<Feed>, cluster: Arc<Cluster>, from: u64) {
    let mut after = Position::after(from);
    let mut stop = cluster.stopped();
    let Some(mut applied) = cluster.running().map(|consensus| consensus.applied()) else { return feed.close() };
    loop {
        let turn = tokio::select! {
            turn = feed.memory.turn() => turn,
            _ = stop.wait_for(|stop| *stop != Stop::Running) => return feed.close(),
        };
        applied.mark_unchanged();
        let Ok(state) = cluster.state() else { return feed.close() };
        let upto = state.applied().rev;
        let Some(interest) = feed.claim(upto) else { return };
        let is_watched = move |db: &str, col: &str| interest.covers(db, col);
        let read = async { turn?.read(move || state.changes(after, upto, is_watched, STEP)).await };
        let read = tokio::select! {
            read = read => read,
            _ = stop.wait_for(|stop| *stop != Stop::Running) => return feed.close(),
        };
        match read {
            Ok(Step::Run { events, through }) => {
                feed.publish(&events, through);
                after = through;
            }
            Ok(Step::Compacted { .. }) => {
                feed.skip_to(upto);
                after = Position::after(upto);
            }
            Err(e) => {
                tracing::error!(error = e, "the changes cannot be read");
                return feed.close();
            }
        }
        if after >= Position::after(upto) {
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return feed.close() },
                _ = stop.wait_for(|stop| *stop != Stop::Running) => return feed.close(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_watches_what_dies_is_told_and_the_next_one_begins_anew() {
        let feed = Arc::new(Feed::new(Arc::default()));
        let scope = Scope { db: "shop".to_owned(), col: None };
        let queue = Queue::default();
        let wake = queue.wake.clone();
        {
            let mut inner = feed.inner.lock();
            inner.running = true;
            inner.seats.entry(scope.clone()).or_default().insert(1, queue);
        }
        let seat = Seat { feed: feed.clone(), scope, number: 1, wake };
        let own = feed.clone();
        let dies = tokio::spawn(async move {
            let _ended = own.closed_unless_done();
            tokio::task::yield_now().await;
            panic!("a bug");
        });
        seat.wake().await;
        assert!(matches!(seat.take(), Taken::Closed));
        assert!(dies.await.is_err());
        assert!(!feed.inner.lock().running);
    }
}
