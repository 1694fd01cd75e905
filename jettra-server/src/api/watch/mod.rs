//! `GET /api/watch`: committed changes as Server-Sent Events, on any node.
//!
//! - `feed`: the newest changes, read once for all that watch
//! - `outbox`: what one watcher still has to take
//! - `memory`: what all of them may hold together
//!
//! A watcher first catches up: it reads the changes after its position from the state, in steps. Then it takes a seat
//! at the feed and costs nothing until something that it watches changes. When it falls behind the feed it catches up
//! again, and when its client takes nothing it is cut off. It pins nothing, locks nothing and holds no state between
//! two steps, so that a snapshot can be installed under it.

mod feed;
mod memory;
mod outbox;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use jettra_client::wire::{ChangeData, ChangeOp, CollectionPath, CompactedData, ErrorCode, Position, ProgressData};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::feed::{Feed, Scope, Seat, Taken};
use self::memory::{Memory, Step};
use self::outbox::Outbox;
use super::answer::Answer;
use super::documents::readable;
use super::request::Request;
use super::{Access, App, Route, route, stream};
use crate::auth::Role;
use crate::cluster::{Cluster, Stop};
use crate::error::{Error, Result};
use crate::limits;
use crate::planted::{self, Bug};
use crate::seldom::Seldom;
use crate::state::names::shown;
use crate::state::{By, Change, Changed, ChangesLimit, CollectionName, State};

/// Where changes are watched.
pub(super) const PATH: &str = "/api/watch";

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/watch", Access::Role(Role::Reader), Read, ["db", "col?", "from?"], "committed changes as Server-Sent Events, in log order; from, or the header Last-Event-ID: after this position (<rev> or <rev>.<n>), from now on without; timeout: for the start", watch),
];

/// A client that has not taken an event within so long is cut off where others wait for the room.
const SLOW: Duration = Duration::from_secs(20);
/// What one watcher reads at once.
const STEP: ChangesLimit = ChangesLimit { records: 1024, bytes: 64 << 10 };

/// The watchers of a node.
pub struct Watches {
    room: Arc<Semaphore>,
    feed: Arc<Feed>,
    memory: Arc<Memory>,
}

/// Watchers that were cut off.
static CUT_OFF: LazyLock<Seldom> = LazyLock::new(Seldom::default);

impl Watches {
    /// Room for watchers on a node with so many connections: half of these stay for other requests.
    pub fn new(max_connections: usize) -> Self {
        let room = Arc::new(Semaphore::new((max_connections / 2).clamp(1, limits::WATCHERS)));
        let memory = Arc::new(Memory::default());
        Watches { room, feed: Arc::new(Feed::new(memory.clone())), memory }
    }
}

async fn watch(app: &Arc<App>, request: Request) -> Result<Answer> {
    let db = request.query.database()?;
    let col = request.query.get("col").map(CollectionName::parse).transpose()?;
    let wanted = position(&request)?;
    readable(&request.principal, &db)?;
    let guest = Guest(request.principal.by());
    let room = app.watches.room.clone().try_acquire_owned();
    let room =
        room.map_err(|_| Error::busy("too many watch this node already: ask another one, or raise MaxConnections"))?;

    let index = request.ready_to_read(app).await?;
    let state = app.cluster.state()?;
    let now = state.applied().rev;
    let position = wanted.map_or(Position::after(now), |(_, position)| position);
    if let Some((name, position)) = wanted {
        // A node that answers for itself may learn of that position yet.
        if position.rev > now && request.query.get("consistency") != Some("local") {
            return Err(Error::bad_request(format!(
                "{name}: {position} lies ahead of the newest revision, {now}: was it given by another cluster?"
            )));
        }
        if let Some(oldest) = state.oldest_change_position().filter(|oldest| position < Position::after(*oldest)) {
            let message =
                format!("{name}: what follows {position} is no longer kept: read anew, then watch from there");
            return Err(Error::new(ErrorCode::Compacted, message).with("oldest", oldest));
        }
    }
    let scope = Scope { db: db.to_string(), col: col.map(|col| col.to_string()) };
    let outbox = Arc::new(Outbox::default());
    let watcher = Watcher {
        cluster: app.cluster.clone(),
        feed: app.watches.feed.clone(),
        memory: app.watches.memory.clone(),
        scope,
        guest,
        position,
        told: None,
        outbox: outbox.clone(),
        _room: room,
    };
    tokio::spawn(watcher.run());
    let pieces = futures_util::stream::unfold(outbox::Reader::new(outbox), |reader| async move {
        Some((reader.take().await, reader))
    });
    Ok(Answer::events(stream::body(pieces)).index(index).header("cache-control", "no-cache"))
}

/// The position after which the client wants to know everything, and where it said so.
fn position(request: &Request) -> Result<Option<(&'static str, Position)>> {
    let said = match request.header("last-event-id")? {
        Some(text) => Some(("Last-Event-ID", text)),
        None => request.query.get("from").map(|text| ("from", text)),
    };
    said.map(|(name, text)| {
        let wrong = |e| Error::bad_request(format!("{name}: {} is no position: {e}", shown(text)));
        Ok((name, text.parse().map_err(wrong)?))
    })
    .transpose()
}

/// By which right somebody watches.
struct Guest(Option<By>);

impl Guest {
    fn name(&self) -> &str {
        self.0.as_ref().map_or("", |by| &by.user)
    }

    /// Whether user, password, role and token are still those that were checked at the start.
    fn may_stay(&self, state: &State) -> bool {
        self.0.as_ref().is_none_or(|by| matches!(state.may(by), Ok(Ok(()))))
    }
}

/// One client's watch, at work.
struct Watcher {
    cluster: Arc<Cluster>,
    feed: Arc<Feed>,
    memory: Arc<Memory>,
    scope: Scope,
    guest: Guest,
    /// Everything up to here has been told.
    position: Position,
    /// When something was last told; nothing yet, where it is none.
    told: Option<Instant>,
    outbox: Arc<Outbox>,
    _room: OwnedSemaphorePermit,
}

/// Why a watch ends.
enum End {
    /// The client takes nothing, or too little of what others wait for.
    Lagging,
    /// What follows the position is no longer kept.
    Compacted { oldest: u64 },
    /// The node stops, was removed or failed; the client went away, or may no longer watch. The client learns more
    /// when it asks again.
    Closed,
    /// The changes could not be read.
    Broken,
}

/// Breaks the events off once their watcher is gone, unless they have ended: also where it panicked.
struct Ending(Arc<Outbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.break_off();
        metrics::gauge!("jettra_watchers").decrement(1.0);
    }
}

impl From<Error> for End {
    fn from(_: Error) -> Self {
        End::Closed
    }
}

impl Watcher {
    async fn run(mut self) {
        metrics::gauge!("jettra_watchers").increment(1.0);
        let _ending = Ending(self.outbox.clone());
        let (outbox, memory) = (self.outbox.clone(), self.memory.clone());
        let mut stop = self.cluster.stopped();
        let end = tokio::select! {
            end = self.tell_everything() => end,
            // The sender goes with the node.
            _ = stop.wait_for(|stop| *stop != Stop::Running) => End::Closed,
            () = outbox.abandoned() => End::Closed,
            () = in_the_way(&outbox, &memory) => End::Lagging,
        };
        match end {
            End::Lagging => {
                let (user, position) = (self.guest.name().to_owned(), self.position.to_string());
                // It may come back at once, and do so again.
                CUT_OFF.tell(move |times| {
                    tracing::info!(times, user, position, "a watcher takes nothing, or too little: cut off");
                });
                outbox.cut(Bytes::from_static(b"event: lagging\ndata: {}\n\n"));
            }
            End::Compacted { oldest } => outbox.end(event("compacted", None, &CompactedData { oldest })),
            End::Closed => outbox.end(Bytes::new()),
            End::Broken => outbox.break_off(),
        }
    }

    async fn tell_everything(&mut self) -> End {
        loop {
            // Up to now without a seat, where the way may be long; then to where the feed begins.
            let near = async {
                let now = self.state()?.applied().rev;
                self.catch_up(now).await?;
                let (seat, begins) = self.feed.join(&self.cluster, self.scope.clone())?;
                if planted::has(Bug::SkipAChange) {
                    self.position = self.position.max(Position::after(begins));
                }
                self.catch_up(begins).await?;
                Ok(seat)
            };
            let followed = match near.await {
                Ok(seat) => self.follow(&seat).await,
                Err(end) => Err(end),
            };
            if let Err(end) = followed {
                return end;
            }
        }
    }

    /// The state in use, if this node and the user still may show it.
    fn state(&self) -> Result<State, End> {
        let state = self.cluster.state()?;
        if self.guest.may_stay(&state) { Ok(state) } else { Err(End::Closed) }
    }

    /// Tells what is in the state up to `upto`.
    async fn catch_up(&mut self, upto: u64) -> Result<(), End> {
        while self.position < Position::after(upto) {
            if self.told.is_none_or(|at| at.elapsed() >= limits::WATCH_PROGRESS) {
                self.tell_progress().await?;
            }
            let memory = self.memory.clone();
            let turn = self.telling_progress(memory.turn()).await?;
            let (state, scope, after) = (self.state()?, self.scope.clone(), self.position);
            let wanted = move |db: &str, col: &str| scope.covers(db, col);
            let read = match turn {
                Ok(turn) => self.telling_progress(turn.read(move || state.changes(after, upto, wanted, STEP))).await?,
                Err(e) => Err(e),
            };
            match read {
                Ok(Step::Run { events, through }) => {
                    for (changed, text) in events {
                        self.tell(text).await?;
                        self.position = changed.position;
                    }
                    self.position = through;
                }
                Ok(Step::Compacted { oldest }) => return Err(End::Compacted { oldest }),
                Err(e) => {
                    tracing::error!(error = e, "a watch broke off");
                    return Err(End::Broken);
                }
            }
        }
        Ok(())
    }

    /// Tells what the feed brings, until this watcher has fallen behind it.
    async fn follow(&mut self, seat: &Seat) -> Result<(), End> {
        loop {
            match seat.take() {
                Taken::Changes(changes) => {
                    self.state()?;
                    for changed in changes {
                        if changed.position > self.position {
                            self.tell(changed.text).await?;
                            self.position = changed.position;
                        }
                    }
                }
                Taken::Nothing { through } => {
                    self.position = self.position.max(Position::after(through));
                    let due = self.told.map_or_else(Instant::now, |at| at + limits::WATCH_PROGRESS);
                    if tokio::time::timeout_at(due, seat.wake()).await.is_err() {
                        self.state()?;
                        self.tell_progress().await?;
                    }
                }
                Taken::Behind => return Ok(()),
                Taken::Closed => return Err(End::Closed),
            }
        }
    }

    /// Waits, and tells the client meanwhile that this node is there.
    async fn telling_progress<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(wait);
        loop {
            match tokio::time::timeout(limits::WATCH_PROGRESS, &mut wait).await {
                Ok(came) => return Ok(came),
                Err(_) => self.tell_progress().await?,
            }
        }
    }

    async fn tell_progress(&mut self) -> Result<(), End> {
        let applied = self.state()?.applied();
        let base = applied.rev - applied.index.unwrap_or(applied.rev);
        let data = ProgressData { index: self.position.rev.saturating_sub(base) };
        self.tell(event("progress", Some(self.position), &data)).await
    }

    async fn tell(&mut self, text: Bytes) -> Result<(), End> {
        if !self.outbox.put(text, limits::WATCH_IDLE).await {
            return Err(End::Lagging);
        }
        self.told = Some(Instant::now());
        Ok(())
    }
}

/// Returns when others wait for room while this client has not taken an event for long.
async fn in_the_way(outbox: &Outbox, memory: &Memory) {
    while !memory.is_pressed() || outbox.waits_for() < SLOW {
        tokio::time::sleep(limits::WATCH_PROGRESS).await;
    }
}

/// A change as an event.
fn told(changed: &Changed) -> Bytes {
    let (op, id, to) = match &changed.change {
        Change::Saved { id } => (ChangeOp::Save, Some(id.clone()), None),
        Change::Deleted { id } => (ChangeOp::Delete, Some(id.clone()), None),
        Change::Dropped => (ChangeOp::DeleteCollection, None, None),
        Change::Renamed { db, col } => {
            (ChangeOp::RenameCollection, None, Some(CollectionPath { db: db.clone(), col: col.clone() }))
        }
    };
    let rev = changed.position.rev;
    let data = ChangeData { op, db: changed.db.clone(), col: changed.col.clone(), id, rev, to, doc: None };
    let fields = json(&data);
    let mut out = Vec::with_capacity(fields.len() + changed.doc.as_ref().map_or(0, Bytes::len) + 64);
    out.extend_from_slice(format!("id: {}\ndata: ", changed.position).as_bytes());
    out.extend_from_slice(&fields);
    if let Some(doc) = &changed.doc {
        // Documents are JSON without blanks between tokens, so there is no line end in them.
        out.pop();
        out.extend_from_slice(b",\"doc\":");
        out.extend_from_slice(doc);
        out.push(b'}');
    }
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// An event of another kind than a change.
fn event(kind: &str, id: Option<Position>, data: &impl Serialize) -> Bytes {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    let data = String::from_utf8(json(data)).unwrap_or_default();
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
}

/// These types are always JSON.
fn json(data: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_their_fields_in_the_contracts_order() {
        let changed = |change: Change, doc: Option<&'static str>| Changed {
            position: Position { rev: 812, n: 3 },
            db: "shop".to_owned(),
            col: "users".to_owned(),
            change,
            doc: doc.map(|doc| Bytes::from_static(doc.as_bytes())),
        };
        let id = || "a\"\n".to_owned();
        let shown = |changed| String::from_utf8(told(&changed).to_vec()).unwrap();
        assert_eq!(
            shown(changed(Change::Saved { id: id() }, Some(r#"{"_id":"a\"\n","n":1}"#))),
            "id: 812.3\ndata: {\"op\":\"save\",\"db\":\"shop\",\"col\":\"users\",\"id\":\"a\\\"\\n\",\"rev\":812,\
             \"doc\":{\"_id\":\"a\\\"\\n\",\"n\":1}}\n\n"
        );
        assert!(shown(changed(Change::Saved { id: id() }, None)).ends_with("\"rev\":812}\n\n"));
        assert!(shown(changed(Change::Deleted { id: id() }, None)).contains(r#"{"op":"delete","db":"shop""#));
        assert_eq!(
            shown(changed(Change::Dropped, None)),
            "id: 812.3\ndata: {\"op\":\"delete_collection\",\"db\":\"shop\",\"col\":\"users\",\"rev\":812}\n\n"
        );
        let renamed = Change::Renamed { db: "shop".to_owned(), col: "people".to_owned() };
        assert!(
            shown(changed(renamed, None)).ends_with("\"rev\":812,\"to\":{\"db\":\"shop\",\"col\":\"people\"}}\n\n")
        );
        assert_eq!(
            event("progress", Some(Position::after(7)), &ProgressData { index: 7 }),
            "id: 7\nevent: progress\ndata: {\"index\":7}\n\n"
        );
    }
}
