//! Three nodes whose power is cut at the same moment: what was acknowledged, voted and joined stays.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::common::{Cluster, LIMIT, Node, SECOND, eventually, member_config};
use crate::cuts::{self, Findings, Left};
use crate::mount::Disk;
use crate::open::{self, Opened};
use crate::peer::{self, Session};
use crate::seed::Seed;
use crate::told::{Clients, Known, Story, Told, known};
use crate::tree::Op;

/// How long a sync takes on the recorded disk.
const SYNC: Duration = Duration::from_millis(1);
/// Nodes of the cluster.
const SIZE: usize = 3;
const MAJORITY: usize = 2;
/// More states than there are.
const NEVER: usize = usize::MAX;

/// What a node said that it must still stand to after a power cut.
#[derive(Debug, Clone)]
enum Promise {
    /// The node at this place is a member, with this Raft id.
    Joined { place: usize, raft_id: u64 },
    /// The node at this place voted in this term.
    Voted { place: usize, term: u64 },
    /// There was a leader in this term: a majority voted.
    Led { term: u64 },
}

/// What was done and what was told.
pub struct Run {
    cluster: Cluster,
    pub recording: Arc<[Op]>,
    story: Vec<Told>,
    /// With the number of operations that the disk had seen by then.
    promises: Vec<(usize, Promise)>,
}

fn config(place: usize, data: &Path) -> Value {
    let mut config = member_config(&name(place), place == 0);
    config["DataDir"] = data.join(name(place)).display().to_string().into();
    config["LogRetainEntries"] = 10.into();
    config["LogRetainBytes"] = (1 << 20).into();
    config
}

pub fn name(place: usize) -> String {
    format!("node{}", place + 1)
}

/// Records a cluster that begins, takes writes, brings a node up by a snapshot, votes and loses its leader, until the
/// power is cut while it acknowledges.
pub async fn record(seed: &Seed, writes: usize, prepare: impl Fn(&mut Node)) -> Option<Run> {
    let disk = Arc::new(Disk::mount(SYNC)?);
    let root = disk.path().to_owned();
    let mut cluster = Cluster::unregistered(|number| (number <= SIZE).then(|| config(number - 1, &root))).await;
    let mut promises = Vec::new();
    for place in 0..SIZE {
        let node = &mut cluster.nodes[place];
        // Where tests look for a node's data.
        std::os::unix::fs::symlink(root.join(name(place)), node.dir().join("data")).unwrap();
        prepare(node);
        cluster.nodes[place].start().await;
        if place > 0 {
            cluster.register(place).await;
        }
    }
    cluster.settled().await;
    for place in 0..SIZE {
        let (_, raft_id) = peer::membership(&cluster.nodes[place]);
        promises.push((disk.position(), Promise::Joined { place, raft_id }));
    }
    let watch = Terms::watch(&cluster, &disk);
    let story = Story::default();
    let urls = cluster.nodes.iter().map(Node::url).collect();
    let clients = Clients::start(3, "c", urls, disk.moment(), &story, seed);
    clients.go_on(writes).await;

    // One that the log does not reach any more is brought up by a snapshot.
    let left_behind = cluster.followers().await[0];
    let seen = cluster.nodes[left_behind].log().matches("receiving a snapshot").count();
    cluster.nodes[left_behind].kill();
    let last = story.lock().unwrap().iter().map(|told| told.rev).max().unwrap();
    let leader = cluster.leader().await;
    eventually(LIMIT, "the log is purged", async || {
        let metrics = cluster.nodes[leader].try_get("/metrics").await?.body;
        let first = metrics.lines().find_map(|line| line.strip_prefix("jettra_log_first_index ")?.parse::<u64>().ok());
        if first.is_some_and(|first| first > last) { Ok(()) } else { Err(format!("{first:?}, not behind {last}")) }
    })
    .await;
    cluster.nodes[left_behind].start().await;
    eventually(LIMIT, "a snapshot arrives", async || {
        let now = cluster.nodes[left_behind].log().matches("receiving a snapshot").count();
        if now > seen { Ok(()) } else { Err("none yet".to_owned()) }
    })
    .await;
    cluster.settled().await;

    // A candidate asks it for its vote, and gets it.
    let term = vote(&cluster, left_behind).await;
    promises.push((disk.position(), Promise::Voted { place: left_behind, term }));
    clients.go_on(writes / 2).await;
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    clients.go_on(writes / 2).await;
    cluster.nodes[leader].start().await;
    clients.go_on(writes).await;
    let recording: Arc<[Op]> = disk.recording().into();
    for node in &mut cluster.nodes {
        node.kill();
    }
    clients.stop().await;
    promises.extend(watch.stop().await);
    promises.sort_by_key(|(at, _)| *at);
    // What came after the cut was told nobody who could still rely on it.
    let end = recording.len();
    promises.retain(|(at, _)| *at <= end);
    let story = std::mem::take(&mut *story.lock().unwrap());
    Some(Run { cluster, recording, story, promises })
}

/// Speaks to the node at `place` as a candidate in a new term, for another member, until it grants its vote. Returns the
/// term.
async fn vote(cluster: &Cluster, place: usize) -> u64 {
    let node = &cluster.nodes[place];
    let (cluster_id, to) = peer::membership(node);
    let (_, from) = peer::membership(&cluster.nodes[(place + 1) % SIZE]);
    eventually(LIMIT, "a vote is granted", async || {
        let session = Session::open(node, &node.secret(), from).await.map_err(|answer| answer.shown())?;
        let view = node.try_get("/api/cluster").await?.success()?;
        let term = view["term"].as_u64().ok_or("no term")? + 1;
        let candidate = json!({
            "cluster": cluster_id, "from": from, "to": to,
            "body": {
                "vote": { "leader_id": { "term": term, "voted_for": from }, "committed": false },
                // As one who has everything, in a hand-over: that needs no silence of the leader.
                "last_log_id": { "leader_id": term - 1, "index": 1_u64 << 40 },
                "leadership_transfer": true,
            },
        });
        let answer = session.call(node, "vote", 1, &candidate.to_string()).await;
        let granted = answer.success()?["vote_granted"] == true;
        if granted { Ok(term) } else { Err(answer.shown()) }
    })
    .await
}

/// Looks for leaders all the time.
struct Terms {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<(usize, Promise)>>,
}

impl Terms {
    fn watch(cluster: &Cluster, disk: &Arc<Disk>) -> Terms {
        let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
        let (stop, disk) = (Arc::new(AtomicBool::new(false)), disk.clone());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let http = crate::common::Http::new(SECOND);
            let (mut seen, mut last) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                for url in &urls {
                    let request = http.request(reqwest::Method::GET, &format!("{url}/api/cluster"));
                    let Ok(view) = crate::common::send(request).await.and_then(|answer| answer.success()) else {
                        continue;
                    };
                    let term = view["term"].as_u64().unwrap_or(0);
                    if view["state"] == "LEADER" && term > last {
                        last = term;
                        seen.push((disk.position(), Promise::Led { term }));
                    }
                }
                tokio::time::sleep(SECOND / 50).await;
            }
            seen
        });
        Terms { stop, task }
    }

    async fn stop(self) -> Vec<(usize, Promise)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Starts all nodes, and reads on each what was acknowledged.
pub async fn compare(cluster: &mut Cluster, known: &BTreeMap<&str, Known<'_>>) -> Result<(), String> {
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.settled().await;
    read(cluster, known).await
}

/// Reads on each node what was acknowledged.
pub async fn read(cluster: &Cluster, known: &BTreeMap<&str, Known<'_>>) -> Result<(), String> {
    for node in &cluster.nodes {
        for known in known.values() {
            let answer = node.get(&format!("/api/doc?db=power&col=cut&id={}", known.last.id)).await;
            known.compare_answer(&answer).map_err(|why| format!("{}: {why}", node.id))?;
        }
    }
    Ok(())
}

impl Run {
    /// Why what was left is not what was told and promised before the cut.
    fn contradiction(&self, left: &Left) -> Result<(), String> {
        let dir = left.store();
        let known = known(&self.story, left.at);
        let open = |place: usize| {
            let data = dir.path().join(name(place));
            if !data.is_dir() {
                return Ok(None);
            }
            let shown =
                |why: String| format!("{}: {}", name(place), why.replace(&dir.path().display().to_string(), ""));
            open::open(&data).map(Some).map_err(shown)
        };
        let nodes: Vec<Option<Opened>> = (0..SIZE).map(open).collect::<Result<_, _>>()?;
        let term = |place: usize| nodes[place].as_ref().map_or(0, |node| node.vote_term);
        for (_, promise) in self.promises.iter().filter(|(at, _)| *at <= left.at) {
            match promise {
                Promise::Joined { place, raft_id } => {
                    let is_member = nodes[*place].as_ref().is_some_and(|node| node.raft_id == Some(*raft_id));
                    is_member.then_some(()).ok_or_else(|| format!("{} forgot that it is a member", name(*place)))?;
                }
                Promise::Voted { place, term: voted } if term(*place) < *voted => {
                    return Err(format!("{} forgot its vote in term {voted}", name(*place)));
                }
                Promise::Led { term: led } if (0..SIZE).filter(|place| term(*place) >= *led).count() < MAJORITY => {
                    return Err(format!("a majority forgot its vote for the leader of term {led}"));
                }
                _ => {}
            }
        }
        for known in known.values() {
            let (mut have, mut why) = (0, String::new());
            for node in nodes.iter().flatten() {
                let found = node.document(&known.last.id)?;
                match known.compare(found.as_ref().map(|(rev, text)| (*rev, &text[..]))) {
                    Ok(()) => have += 1,
                    Err(e) => why = e,
                }
            }
            if have < MAJORITY {
                return Err(format!("{have} nodes have what was acknowledged: {why}"));
            }
        }
        Ok(())
    }

    /// Starts the cluster from what was left, and compares what each node answers.
    async fn restart(&mut self, left: &Left) -> Result<(), String> {
        let dir = left.store();
        for (place, node) in self.cluster.nodes.iter_mut().enumerate() {
            node.configure("DataDir", dir.path().join(name(place)).display().to_string());
        }
        let known = known(&self.story, left.at);
        let compared = AssertUnwindSafe(compare(&mut self.cluster, &known)).catch_unwind().await;
        for node in &mut self.cluster.nodes {
            node.kill();
        }
        compared.unwrap_or_else(|_| Err("the cluster does not start: why is above".to_owned()))
    }

    /// Looks at the states of all `is_chosen` moments, and starts the cluster on each `nth`.
    pub fn look(&mut self, seed: &Seed, drawn: usize, nth: usize, is_chosen: impl FnMut(usize) -> bool) -> Findings {
        let recording = self.recording.clone();
        let mut findings = Findings::new(&recording);
        let runtime = tokio::runtime::Handle::current();
        let is_joined = |(_, promise): &&(usize, Promise)| matches!(promise, Promise::Joined { .. });
        let all_joined = self.promises.iter().filter(is_joined).map(|(at, _)| *at).max().unwrap();
        let mut turn = 0;
        tokio::task::block_in_place(|| {
            cuts::each(&recording, &mut seed.fork("cuts"), drawn, is_chosen, |left| {
                findings.add(&left, self.contradiction(&left));
                if left.at >= all_joined {
                    turn += 1;
                    if turn % nth == nth / 2 {
                        findings.add(&left, runtime.block_on(self.restart(&left)));
                    }
                }
            });
        });
        findings
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_three_nodes_acknowledged_is_there_after_a_power_cut_of_all() {
    let seed = cuts::seed(Some(1));
    let Some(mut run) = record(&seed, 30, |_| {}).await else { return };
    let (mut chosen, end) = (seed.fork("moments"), run.recording.len());
    run.look(&seed, 1, NEVER, |_| chosen.below(end / 10) == 0).none();
    // In the end they were cut off while they acknowledged.
    run.look(&seed, 2, 2, |at| at == end).none();
}

/// All moments, or each `POWER_EVERY`th:
/// `POWER_SEED=… cargo test --release --test power -- --ignored --nocapture every_point`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours"]
async fn every_point_of_a_long_run_of_three_nodes() {
    let seed = cuts::seed(None);
    let Some(mut run) = record(&seed, 100, |_| {}).await else { return };
    run.look(&seed, 2, 50, cuts::each_nth()).none();
}
