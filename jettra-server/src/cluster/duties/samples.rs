//! A quarter of an hour of the cluster's figures, on every node: the leader takes a sample every two seconds, the others
//! ask it for those that they lack. So each node shows the same, and goes on with it when it comes to lead.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::{Cluster, Due, Duty};
use crate::cluster::facts::lag;
use crate::peers::Target;
use crate::raft::{Consensus, Envelope, Picture};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(2);
/// Samples that are kept: 15 minutes.
const KEPT: usize = 450;
/// How long the leader has to tell its samples.
const ASK: Duration = Duration::from_secs(1);

/// The cluster's figures over two seconds, as its leader measured them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// The end of the two seconds, in milliseconds since 1970. Later samples have later times.
    pub time: u64,
    /// Committed commands a second; a bulk load or a batch is one command.
    pub writes_per_second: f64,
    /// How long commands took from the proposal until they were applied on the leader; null where there were none.
    pub commit_ms: Option<CommitMs>,
    /// Log entries that each other member is behind, by `NodeID`.
    pub lag: BTreeMap<String, u64>,
}

/// Times in milliseconds that half of the commands, and 99 of 100, did not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CommitMs {
    /// Half of them.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// The samples of a node.
pub struct Samples {
    /// When the node started.
    born: Instant,
    kept: Mutex<VecDeque<Arc<Sample>>>,
    /// The time of the newest sample.
    newest: watch::Sender<u64>,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { born: Instant::now(), kept: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Samples {
    /// How long the node has been running.
    pub fn uptime(&self) -> Duration {
        self.born.elapsed()
    }

    /// The samples after `time`, oldest first.
    pub fn after(&self, time: u64) -> Vec<Arc<Sample>> {
        self.kept.lock().iter().filter(|sample| sample.time > time).cloned().collect()
    }

    /// Tells when there are newer samples.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    fn keep(&self, fresh: Vec<Sample>) {
        let mut newest = self.newest();
        let mut kept = self.kept.lock();
        for sample in fresh.into_iter().take(KEPT) {
            if sample.time > newest {
                newest = sample.time;
                kept.push_back(Arc::new(sample));
            }
        }
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
        drop(kept);
        self.newest.send_if_modified(|time| std::mem::replace(time, newest) != newest);
    }
}

/// Takes samples where this node leads, and asks the leader for them elsewhere.
pub(super) struct Sampler {
    /// When commits were last counted.
    last: Instant,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler { last: Instant::now() }
    }
}

impl Duty for Sampler {
    const NAME: &'static str = "the sampler";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let taken = consensus.commits().take();
        let passed = std::mem::replace(&mut self.last, Instant::now()).elapsed().as_secs_f64();
        let picture = consensus.picture();
        // One that no majority follows leads nobody, and the plots show a gap.
        if picture.believed == Some(picture.id) {
            node.hand_over_for_its_clock(consensus, &picture).await;
            let ms = |d: Duration| (d.as_secs_f64() * 1e5).round() / 100.0;
            let sample = Sample {
                time: node.time_ms().max(node.samples.newest() + 1),
                writes_per_second: if passed > 0.1 { (taken.count as f64 / passed * 10.0).round() / 10.0 } else { 0.0 },
                commit_ms: taken.p50_p99.map(|(p50, p99)| CommitMs { p50: ms(p50), p99: ms(p99) }),
                lag: lags(consensus, &picture),
            };
            node.samples.keep(vec![sample]);
            return;
        }
        node.look_at_clocks(&picture);
        if let Some(fresh) = ask(node, consensus, &picture).await {
            node.samples.keep(fresh);
        }
    }
}

fn lags(consensus: &Consensus, picture: &Picture) -> BTreeMap<String, u64> {
    let others = consensus.state().members().into_iter().filter(|doc| doc.raft_id != picture.id);
    others.filter_map(|doc| Some((doc.id, lag(picture, doc.raft_id)?))).collect()
}

/// What the leader tells who asks for its samples.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told<S> {
    samples: Vec<S>,
    /// The leader's clock, in milliseconds since 1970.
    clock: u64,
    /// What the other members' clocks say, by Raft id.
    clocks: BTreeMap<u64, u64>,
}

impl Cluster {
    /// Notes the clock of the member that asks for samples after `after`, and gives it those and all clocks.
    pub fn tell_samples(&self, from: u64, after: u64, clock: u64) -> Told<Arc<Sample>> {
        self.peers.clocks.note(from, clock, Instant::now());
        Told { samples: self.samples.after(after), clock: crate::clock::now_ms(), clocks: self.peers.clocks.now() }
    }
}

/// The leader's samples that this node lacks; what it tells of the clocks is noted.
async fn ask(cluster: &Cluster, consensus: &Consensus, picture: &Picture) -> Option<Vec<Sample>> {
    let (id, member) =
        picture.believed.filter(|id| *id != picture.id).and_then(|id| Some((id, picture.member(id)?)))?;
    let peer = cluster.peers.get(&Target { url: member.url.clone(), raft_id: id });
    let call = Envelope {
        cluster: consensus.cluster().to_owned(),
        from: consensus.id(),
        to: id,
        body: json!({"after": cluster.samples.newest(), "clock": crate::clock::now_ms()}),
    };
    let asked = Instant::now();
    match peer.call_json::<Told<Sample>>("/raft/rpc/samples", &call, ASK).await {
        Ok(told) => {
            // It read the clocks about half way.
            let then = asked + asked.elapsed() / 2;
            cluster.peers.clocks.note(id, told.clock, then);
            let others = told.clocks.into_iter().filter(|(other, _)| *other != id && *other != consensus.id());
            others.for_each(|(other, clock)| cluster.peers.clocks.note(other, clock, then));
            Some(told.samples)
        }
        Err(e) => {
            tracing::debug!(error = %e, "the leader told no samples");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time: u64) -> Sample {
        Sample { time, writes_per_second: 0.0, commit_ms: None, lag: BTreeMap::new() }
    }

    #[test]
    fn the_newest_are_kept_once_and_in_order() {
        let samples = Samples::default();
        samples.keep((1..=KEPT as u64).map(sample).collect());
        samples.keep(vec![sample(450), sample(451), sample(452)]);
        assert_eq!(samples.after(0).len(), KEPT);
        assert_eq!((samples.after(0)[0].time, samples.newest()), (3, 452));
        assert_eq!(samples.after(450).iter().map(|s| s.time).collect::<Vec<_>>(), [451, 452]);
    }

    #[test]
    fn a_sample_has_the_fields_of_the_contract() {
        let one = Sample {
            writes_per_second: 12.5,
            commit_ms: Some(CommitMs { p50: 1.25, p99: 7.0 }),
            lag: BTreeMap::from([("node2".to_owned(), 3)]),
            ..sample(9)
        };
        let text = r#"{"time":9,"writesPerSecond":12.5,"commitMs":{"p50":1.25,"p99":7.0},"lag":{"node2":3}}"#;
        assert_eq!(serde_json::to_string(&one).unwrap_or_default(), text);
    }
}
