//! One node on its own: nothing that it acknowledged is lost by a power cut, wherever that falls.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::common::{Http, Node, SECOND, send};
use crate::cuts::{self, Findings, Left};
use crate::mount::{Disk, Lies};
use crate::open;
use crate::seed::Seed;
use crate::told::{Clients, Story, Told, known};
use crate::tree::Op;

/// How long a sync takes on the recorded disk: long enough that an answer before its end is seen.
const SYNC: Duration = Duration::from_millis(2);
/// More than a file of the log holds.
const ROTATION_MIB: usize = 34;

/// What was done and what was told.
pub struct Run {
    pub recording: Arc<[Op]>,
    story: Vec<Told>,
}

/// What is recorded.
pub struct Plan {
    /// How often it is started.
    pub lives: usize,
    /// Writes of each of its lives.
    pub writes: usize,
    pub lies: Lies,
    /// Whether it begins a second file of its log.
    pub rotates: bool,
}

/// Records a node that takes writes, makes durable points, purges its log, is killed and goes on.
async fn record(seed: &Seed, plan: Plan) -> Option<Run> {
    record_with(seed, plan, |_| {}).await
}

/// The same with a node that is prepared before it starts.
pub async fn record_with(seed: &Seed, plan: Plan, prepare: impl Fn(&mut Node)) -> Option<Run> {
    let disk = Arc::new(Disk::mount(SYNC)?);
    disk.lie(plan.lies);
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), "alone", settings(&disk.path().join("data")));
    prepare(&mut node);
    let story = Story::default();
    for life in ["a", "b", "c"].into_iter().take(plan.lives) {
        node.start().await;
        let clients = Clients::start(3, life, vec![node.url()], disk.moment(), &story, seed);
        clients.go_on(plan.writes / 2).await;
        if plan.rotates {
            fill_log(&node).await;
        }
        clients.go_on(plan.writes.div_ceil(2)).await;
        // In the middle of writing.
        node.kill();
        clients.stop().await;
    }
    let story = std::mem::take(&mut *story.lock().unwrap());
    Some(Run { recording: disk.recording().into(), story })
}

/// With bounds so small that the log is purged all the time.
fn settings(data: &std::path::Path) -> serde_json::Value {
    json!({ "DataDir": data, "LogRetainEntries": 10, "LogRetainBytes": 1 << 20 })
}

/// Writes that are refused when they are applied take room in the log and none in the state.
async fn fill_log(node: &Node) {
    let http = Http::new(30 * SECOND);
    for n in 0..ROTATION_MIB {
        let url = format!("{}/api/doc?db=power&col=cut", node.url());
        let body = crate::told::body("filling", n as u64, 1 << 20);
        let request = http.request(Method::POST, &url).header("If-Match", "\"1\"").body(body);
        assert_eq!(send(request).await.unwrap().status, 409);
    }
}

impl Run {
    /// Why what was left is not what was told before the cut.
    fn contradiction(&self, left: &Left) -> Result<(), String> {
        let dir = left.store();
        let (data, known) = (dir.path().join("data"), known(&self.story, left.at));
        if !data.is_dir() && known.is_empty() {
            return Ok(());
        }
        // The folder's own name would make each finding another one.
        let opened = open::open(&data).map_err(|why| why.replace(&dir.path().display().to_string(), ""))?;
        for known in known.values() {
            let found = opened.document(&known.last.id)?;
            known.compare(found.as_ref().map(|(rev, text)| (*rev, &text[..])))?;
        }
        Ok(())
    }

    /// The same as the program sees it.
    async fn contradiction_of_program(&self, left: &Left) -> Result<(), String> {
        let dir = left.store();
        let mut node = Node::new(dir.path(), "alone", settings(&dir.path().join("data")));
        let started = tokio::spawn(async move {
            node.start().await;
            node
        });
        let node = started.await.map_err(|_| "the program does not start: its log is above".to_owned())?;
        for known in known(&self.story, left.at).values() {
            let answer = node.get(&format!("/api/doc?db=power&col=cut&id={}", known.last.id)).await;
            known.compare_answer(&answer)?;
        }
        Ok(())
    }

    /// Looks at the states of all `is_chosen` moments, and starts the program on each `nth`.
    pub fn look(&self, seed: &Seed, drawn: usize, nth: usize, is_chosen: impl FnMut(usize) -> bool) -> Findings {
        let mut findings = Findings::new(&self.recording);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            cuts::each(&self.recording, &mut seed.fork("cuts"), drawn, is_chosen, |left| {
                let is_started = findings.states() % nth == nth / 2;
                findings.add(&left, self.contradiction(&left));
                if is_started {
                    findings.add(&left, runtime.block_on(self.contradiction_of_program(&left)));
                }
            });
        });
        findings
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_acknowledged_is_there_after_a_power_cut() {
    let seed = cuts::seed(Some(1));
    let Some(run) = record(&seed, Plan { lives: 2, writes: 60, lies: Lies::None, rotates: false }).await else {
        return;
    };
    let mut chosen = seed.fork("moments");
    let every = run.recording.len() / 25;
    run.look(&seed, 1, 20, |_| chosen.below(every) == 0).none();
}

/// All moments, or each `POWER_EVERY`th:
/// `POWER_SEED=… cargo test --release --test power -- --ignored --nocapture every_point`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes many minutes"]
async fn every_point_of_a_long_run_of_a_node() {
    let seed = cuts::seed(None);
    let Some(run) = record(&seed, Plan { lives: 3, writes: 300, lies: Lies::None, rotates: true }).await else {
        return;
    };
    run.look(&seed, 2, 50, cuts::each_nth()).none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_lies_is_found_out() {
    let seed = cuts::seed(Some(1));
    for lies in [Lies::Files, Lies::Names, Lies::All] {
        let Some(run) = record(&seed, Plan { lives: 1, writes: 10, lies, rotates: false }).await else { return };
        let end = run.recording.len();
        assert!(run.look(&seed, 3, 1000, |at| at == end).count() > 0, "{lies:?}");
    }
}
