//! `GET /api/cluster/stream`: the cluster's picture as Server-Sent Events, for the management page.
//!
//! One task a node looks, and only while somebody reads; what it sees stands in cells that hold the newest state and no
//! more. A reader that is slow misses states in between, never the newest; one that takes nothing is cut off.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use jettra_client::wire::ClusterView;
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::cluster::{Cluster, Stop};
use crate::error::{Error, Result};

/// Where the stream is.
pub(super) const PATH: &str = "/api/cluster/stream";

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/cluster/stream", Access::Role(Role::Reader), [], "the cluster as Server-Sent Events: cluster (the body of GET /api/cluster) when it changes, samples (15 minutes of figures) at the start and sample every 2 s, events and doctor when they change", stream),
];

/// Readers of one node at once, at most.
const READERS: usize = 64;
/// Between two looks at the cluster, when nothing calls for one earlier.
const LOOK: Duration = Duration::from_millis(250);
/// And never sooner than this after the last one.
const REST: Duration = Duration::from_millis(50);
/// What moves all the time, such as indexes and the machines' figures, is told so often.
const FIGURES: Duration = Duration::from_millis(750);
/// A reader that takes nothing for so long is cut off.
const IDLE: Duration = Duration::from_secs(10);
/// So often it is looked whether the user still may read.
const RIGHTS: Duration = Duration::from_secs(1);

/// What all readers of a node share.
pub struct Live {
    room: Arc<Semaphore>,
    wanted: Notify,
    /// The event `cluster`, written out; empty before the first look.
    cluster: watch::Sender<Bytes>,
}

impl Default for Live {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(READERS));
        Live { room, wanted: Notify::new(), cluster: watch::Sender::new(Bytes::new()) }
    }
}

impl Live {
    /// Looks at the cluster while somebody reads, until the node stops.
    pub async fn run(self: Arc<Self>, cluster: Arc<Cluster>) {
        let mut stop = cluster.stopped();
        let look = async {
            let mut last: Option<(ClusterView, Instant)> = None;
            loop {
                if self.cluster.receiver_count() == 0 {
                    // What was seen is old by the time that somebody comes.
                    self.cluster.send_replace(Bytes::new());
                    last = None;
                    self.wanted.notified().await;
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
        };
        tokio::select! {
            () = look => {}
            _ = stop.wait_for(|stop| *stop != Stop::Running) => {}
        }
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
    let (out, pieces) = mpsc::channel(1);
    let reader = Reader {
        user: request.principal.name,
        app: app.clone(),
        cluster: app.live.cluster.subscribe(),
        samples: app.cluster.samples.subscribe(),
        out,
        _room: room,
    };
    app.live.wanted.notify_one();
    tokio::spawn(reader.run());
    let pieces = futures_util::stream::unfold(pieces, |mut pieces: mpsc::Receiver<Bytes>| async move {
        Some((Ok::<_, std::io::Error>(pieces.recv().await?), pieces))
    });
    Ok(Answer::events(Body::from_stream(pieces)).header("cache-control", "no-cache"))
}

/// One client's stream, at work.
struct Reader {
    app: Arc<App>,
    user: String,
    cluster: watch::Receiver<Bytes>,
    samples: watch::Receiver<u64>,
    out: mpsc::Sender<Bytes>,
    _room: OwnedSemaphorePermit,
}

/// The stream ends; the client learns why when it asks again.
struct End;

impl Reader {
    async fn run(mut self) {
        let mut stop = self.app.cluster.stopped();
        let out = self.out.clone();
        tokio::select! {
            End = self.tell_everything() => {}
            // The sender goes with the node.
            _ = stop.wait_for(|stop| *stop != Stop::Running) => {}
            () = out.closed() => {}
        }
    }

    async fn tell_everything(&mut self) -> End {
        let rights = self.rights();
        let samples = self.app.cluster.samples.after(0);
        let mut sampled = samples.last().map_or(0, |sample| sample.time);
        if self.put(event("samples", &samples)).await.is_err() {
            return End;
        }
        self.cluster.mark_changed();
        let mut check = tokio::time::interval(RIGHTS);
        loop {
            let told = tokio::select! {
                Ok(()) = self.cluster.changed() => {
                    let picture = self.cluster.borrow_and_update().clone();
                    if picture.is_empty() { Ok(()) } else { self.put(picture).await }
                }
                Ok(()) = self.samples.changed() => {
                    let mut told = Ok(());
                    for sample in self.app.cluster.samples.after(sampled) {
                        sampled = sample.time;
                        told = self.put(event("sample", &sample)).await;
                        if told.is_err() {
                            break;
                        }
                    }
                    told
                }
                _ = check.tick() => if self.rights() == rights { Ok(()) } else { Err(End) },
                else => Err(End),
            };
            if told.is_err() {
                return End;
            }
        }
    }

    /// The revision of the user's last change: a new password, another role or a first administrator end the stream.
    fn rights(&self) -> Option<u64> {
        self.app.cluster.running()?.state().user(&self.user).map(|user| user.rev)
    }

    async fn put(&self, text: Bytes) -> std::result::Result<(), End> {
        match tokio::time::timeout(IDLE, self.out.send(text)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End),
        }
    }
}

/// One event. These types are always JSON, without line ends.
fn event(kind: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n").into()
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
}
