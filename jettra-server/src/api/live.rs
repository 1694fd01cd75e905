//! `GET /api/cluster/stream`: the cluster's picture as Server-Sent Events, for the management page.
//!
//! One task a node looks, and only while somebody reads; what it sees stands in cells that hold the newest state and no
//! more. A reader that is slow misses states in between, never the newest; one that takes nothing is cut off.
//! The figures come from [`crate::cluster::Samples`], which every node keeps at all times.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jettra_client::wire::{ClusterView, Diagnosis};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::answer::Answer;
use super::request::Request;
use super::stream::{Lost, Writer};
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::cluster::{Cluster, EventQuery, Stop};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::By;
use crate::storage::Order;

/// Where the stream is.
pub(super) const PATH: &str = "/api/cluster/stream";

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/cluster/stream", Access::Role(Role::Reader), Plain, [], "the cluster as Server-Sent Events: cluster (the body of GET /api/cluster) when it changes, samples (15 minutes of figures) at the start and sample every 2 s, events and doctor when they change", stream),
];

/// Between two looks at the cluster, when nothing calls for one earlier.
const LOOK: Duration = Duration::from_millis(250);
/// And never sooner than this after the last one.
const REST: Duration = Duration::from_millis(50);
/// What moves all the time, such as indexes and the machines' figures, is told so often.
const FIGURES: Duration = Duration::from_millis(750);
/// Between two looks at the journal.
const READ_JOURNAL: Duration = Duration::from_millis(500);
/// Events of the journal that a reader gets at the start, and that are kept for those who read on.
const JOURNAL: usize = 200;
/// Between two questions to the doctor.
const EXAMINE: Duration = Duration::from_secs(2);
/// A reader that takes nothing for so long is cut off.
const IDLE: Duration = Duration::from_secs(10);
/// So often it is looked whether the user still may read.
const RIGHTS: Duration = Duration::from_secs(1);

/// What all readers of a node share.
pub struct Live {
    room: Arc<Semaphore>,
    /// Counts those who came, so that those who look wake up.
    arrivals: watch::Sender<u64>,
    /// The event `cluster`, written out; empty before the first look.
    cluster: watch::Sender<Bytes>,
    /// The event `doctor`, likewise.
    doctor: watch::Sender<Bytes>,
    /// The newest events of the journal, oldest first, with their revisions.
    journal: watch::Sender<Arc<Vec<(u64, Bytes)>>>,
}

impl Default for Live {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(limits::PAGES));
        let empty = || watch::Sender::new(Bytes::new());
        let (arrivals, journal) = (watch::Sender::new(0), watch::Sender::new(Arc::default()));
        Live { room, arrivals, cluster: empty(), doctor: empty(), journal }
    }
}

impl Live {
    /// Looks at the cluster while somebody reads, until the node stops.
    pub async fn run(self: Arc<Self>, cluster: Arc<Cluster>) {
        let mut stop = cluster.stopped();
        tokio::select! {
            () = self.look(&cluster) => {}
            () = self.read_journal(&cluster) => {}
            () = self.examine(&cluster) => {}
            _ = stop.wait_for(|stop| *stop != Stop::Running) => {}
        }
    }

    /// Whether somebody reads; else forgets what is old by the time that somebody does, waits for that, and says so.
    async fn is_read(&self, arrivals: &mut watch::Receiver<u64>, forget: impl Fn()) -> bool {
        arrivals.mark_unchanged();
        if self.cluster.receiver_count() > 0 {
            return true;
        }
        forget();
        // The sender lives as long as this.
        arrivals.changed().await.ok();
        false
    }

    async fn look(&self, cluster: &Arc<Cluster>) {
        let mut arrivals = self.arrivals.subscribe();
        let mut last: Option<(ClusterView, Instant)> = None;
        loop {
            if !self.is_read(&mut arrivals, || drop(self.cluster.send_replace(Bytes::new()))).await {
                last = None;
            }
            match cluster.view().await {
                Ok(view) => self.tell(view, &mut last),
                Err(e) => tracing::debug!(error = %e, "no picture of the cluster"),
            }
            tokio::time::sleep(REST).await;
            match cluster.running() {
                Some(consensus) => consensus.changed(LOOK - REST).await,
                None => tokio::time::sleep(LOOK - REST).await,
            }
        }
    }

    async fn examine(&self, cluster: &Arc<Cluster>) {
        let mut arrivals = self.arrivals.subscribe();
        let mut last: Option<Diagnosis> = None;
        loop {
            if !self.is_read(&mut arrivals, || drop(self.doctor.send_replace(Bytes::new()))).await {
                last = None;
            }
            let diagnosis = cluster.doctor().await;
            if last.as_ref() != Some(&diagnosis) {
                self.doctor.send_replace(event("doctor", &diagnosis));
                last = Some(diagnosis);
            }
            tokio::time::sleep(EXAMINE).await;
        }
    }

    async fn read_journal(&self, cluster: &Arc<Cluster>) {
        let mut arrivals = self.arrivals.subscribe();
        loop {
            self.is_read(&mut arrivals, || drop(self.journal.send_replace(Arc::default()))).await;
            let after = self.journal.borrow().last().map_or(0, |(rev, _)| *rev);
            let order = if after == 0 { Order::Descending } else { Order::Ascending };
            match cluster.events(EventQuery { after, order, offset: 0, limit: JOURNAL }).await {
                Ok(fresh) if !fresh.is_empty() => self.note(fresh, after == 0),
                Ok(_) => {}
                Err(e) => tracing::debug!(error = %e, "the journal cannot be read"),
            }
            tokio::time::sleep(READ_JOURNAL).await;
        }
    }

    fn note(&self, mut fresh: Vec<Bytes>, newest_first: bool) {
        #[derive(Deserialize)]
        struct Event {
            rev: u64,
        }
        if newest_first {
            fresh.reverse();
        }
        let fresh = fresh.into_iter().filter_map(|text| Some((serde_json::from_slice::<Event>(&text).ok()?.rev, text)));
        self.journal.send_modify(|journal| {
            let all = journal.iter().cloned().chain(fresh).collect::<Vec<_>>();
            *journal = Arc::new(all[all.len().saturating_sub(JOURNAL)..].to_vec());
        });
    }

    fn tell(&self, view: ClusterView, last: &mut Option<(ClusterView, Instant)>) {
        let due = match last {
            None => true,
            Some((before, at)) => *before != view && (at.elapsed() >= FIGURES || outline(before) != outline(&view)),
        };
        if due {
            self.cluster.send_replace(event("cluster", &view));
            *last = Some((view, Instant::now()));
        }
    }
}

/// A picture without what moves all the time.
fn outline(view: &ClusterView) -> ClusterView {
    let mut outline = ClusterView { applied_index: None, commit_index: None, uptime_ms: None, ..view.clone() };
    for node in &mut outline.nodes {
        (node.matched_index, node.lag_entries, node.last_contact_ms) = (None, None, None);
        (node.joining, node.metrics) = (None, None);
    }
    outline
}

async fn stream(app: &Arc<App>, request: Request) -> Result<Answer> {
    let room = app.live.room.clone().try_acquire_owned();
    let room =
        room.map_err(|_| Error::busy("too many pages watch this node already: close some, or open another node's"))?;
    let (out, body) = Writer::new(IDLE, 1, ());
    let reader = Reader {
        by: request.principal.by(),
        app: app.clone(),
        cluster: app.live.cluster.subscribe(),
        samples: app.cluster.samples.subscribe(),
        doctor: app.live.doctor.subscribe(),
        journal: app.live.journal.subscribe(),
        _room: room,
    };
    app.live.arrivals.send_modify(|n| *n += 1);
    tokio::spawn(reader.run(out));
    Ok(Answer::events(body).header("cache-control", "no-cache"))
}

/// One client's stream, at work.
struct Reader {
    app: Arc<App>,
    /// By which right it reads.
    by: Option<By>,
    cluster: watch::Receiver<Bytes>,
    samples: watch::Receiver<u64>,
    doctor: watch::Receiver<Bytes>,
    journal: watch::Receiver<Arc<Vec<(u64, Bytes)>>>,
    _room: OwnedSemaphorePermit,
}

impl Reader {
    /// Tells until the stream ends; the client learns why when it asks again.
    async fn run(mut self, out: Writer) {
        let mut stop = self.app.cluster.stopped();
        let told = tokio::select! {
            told = self.tell_everything(&out) => told,
            // The sender goes with the node.
            _ = stop.wait_for(|stop| *stop != Stop::Running) => Ok(()),
            () = out.lost() => Err(Lost),
        };
        if told.is_ok() && out.end().await.is_err() {
            tracing::debug!("a reader of the cluster's stream has gone before its end");
        }
    }

    /// Tells as long as the user may read.
    async fn tell_everything(&mut self, out: &Writer) -> std::result::Result<(), Lost> {
        let samples = self.app.cluster.samples.after(0);
        let mut sampled = samples.last().map_or(0, |sample| sample.time);
        out.put(event("samples", &samples)).await?;
        self.cluster.mark_changed();
        self.doctor.mark_changed();
        self.journal.mark_changed();
        let mut journalled = 0;
        let mut check = tokio::time::interval(RIGHTS);
        loop {
            tokio::select! {
                Ok(()) = self.cluster.changed() => {
                    let picture = self.cluster.borrow_and_update().clone();
                    if !picture.is_empty() {
                        out.put(picture).await?;
                    }
                }
                Ok(()) = self.samples.changed() => {
                    for sample in self.app.cluster.samples.after(sampled) {
                        sampled = sample.time;
                        out.put(event("sample", &sample)).await?;
                    }
                }
                Ok(()) = self.doctor.changed() => {
                    let diagnosis = self.doctor.borrow_and_update().clone();
                    if !diagnosis.is_empty() {
                        out.put(diagnosis).await?;
                    }
                }
                Ok(()) = self.journal.changed() => {
                    let journal = self.journal.borrow_and_update().clone();
                    let fresh: Vec<_> = journal.iter().filter(|(rev, _)| *rev > journalled).map(|(_, text)| text).collect();
                    journalled = journal.last().map_or(journalled, |(rev, _)| *rev);
                    if !fresh.is_empty() {
                        out.put(events(&fresh)).await?;
                    }
                }
                _ = check.tick() => if !self.may_stay() { return Ok(()) },
                else => return Ok(()),
            }
        }
    }

    /// Whether user, password and token are still those that were checked at the start: a new password, another role, the
    /// end of the token or a first administrator end the stream.
    fn may_stay(&self) -> bool {
        let (Some(by), Some(consensus)) = (&self.by, self.app.cluster.running()) else { return true };
        matches!(consensus.state().may(by), Ok(Ok(())))
    }
}

/// One event. These types are always JSON, without line ends.
fn event(kind: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n").into()
}

/// The event `events`: entries of the journal, which are JSON already.
fn events(entries: &[&Bytes]) -> Bytes {
    let mut out = b"event: events\ndata: [".to_vec();
    for (n, entry) in entries.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(entry);
    }
    out.extend_from_slice(b"]\n\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_wait_and_changes_do_not() {
        let live = Live::default();
        let mut last = None;
        let view = |term, applied| ClusterView {
            enabled: true,
            term: Some(term),
            applied_index: Some(applied),
            ..ClusterView::default()
        };
        let told = |live: &Live| String::from_utf8_lossy(&live.cluster.borrow()).into_owned();
        live.tell(view(1, 1), &mut last);
        assert!(told(&live).starts_with("event: cluster\ndata: {\"enabled\":true,"), "{}", told(&live));
        live.tell(view(1, 2), &mut last);
        assert!(told(&live).contains("\"appliedIndex\":1"), "{}", told(&live));
        live.tell(view(2, 3), &mut last);
        assert!(told(&live).contains("\"appliedIndex\":3"), "{}", told(&live));
        last = last.map(|(view, at)| (view, at - FIGURES));
        live.tell(view(2, 4), &mut last);
        assert!(told(&live).contains("\"appliedIndex\":4"), "{}", told(&live));
    }
    #[test]
    fn the_journal_is_told_in_order_and_bounded() {
        let live = Live::default();
        let entry = |rev: u64| Bytes::from(format!("{{\"rev\":{rev}}}"));
        live.note((1..=3).rev().map(entry).collect(), true);
        live.note((4..=JOURNAL as u64 + 1).map(entry).collect(), false);
        let journal = live.journal.borrow().clone();
        assert_eq!((journal.len(), journal[0].0, journal[JOURNAL - 1].0), (JOURNAL, 2, JOURNAL as u64 + 1));
        assert_eq!(events(&[&entry(1), &entry(2)]), "event: events\ndata: [{\"rev\":1},{\"rev\":2}]\n\n");
    }
}
