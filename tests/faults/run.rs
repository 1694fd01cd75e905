//! A run: a cluster, clients, faults from a seed, and what must hold in the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use jettra_server::planted::Bug;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::checks::{self, check};
use crate::common::{LIMIT, Node, eventually};
use crate::ending::Final;
use crate::faults::{self, Aim, Fault};
use crate::machines::Machines;
use crate::network::Network;
use crate::places::Places;
use crate::report::Verdict;
use crate::resources::{self, Usage};
use crate::seed::Seed;
use crate::timeline::Timeline;
use crate::workload::{self, Workload};
use crate::world::{Claim, World};
use crate::{apart, liveness};

/// How a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub nodes: usize,
    /// How long faults happen; beginning and end come on top.
    pub length: Duration,
    /// Whether it tells each few seconds how far it is, and the nodes become the next version on the way.
    pub long: bool,
    /// The only kinds of faults; none: all.
    pub only: Vec<String>,
    /// The nodes' longest election time-out.
    pub election: Duration,
    /// What is wrong with the nodes on purpose.
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        let (only, election) = (Vec::new(), Duration::from_millis(400));
        Options { seed: 1, nodes: 3, length: Duration::from_secs(35), long: false, only, election, bug: None }
    }
}

/// How long a cluster is left alone before the first fault.
const QUIET: Duration = Duration::from_secs(4);

/// How long putting right may take: starts, members that come back.
const PUT_RIGHT: Duration = Duration::from_secs(120);

/// What makes snapshots large: bytes of a document, and how many.
const LARGE: usize = 512 << 10;
const LARGE_COUNT: usize = 8;

struct Run {
    world: Arc<World>,
    timeline: Timeline,
    kinds: Vec<Box<dyn Fault>>,
    seed: Seed,
    /// What goes on, with what it has claimed.
    deeds: JoinSet<Ended>,
    names: BTreeMap<usize, &'static str>,
    verdict: Verdict,
    clients: Option<workload::Running>,
    long: bool,
}

/// A fault that is over.
struct Ended {
    number: usize,
    claimed: Vec<Claim>,
    outcome: Result<(), String>,
}

/// Does a whole run. What does not hold is in the verdict; only what the harness itself cannot do panics.
pub async fn run(options: &Options) -> Verdict {
    let dir = tempfile::Builder::new().prefix("jettra-faults-").tempdir().unwrap();
    let mut run = Run::begin(options, &dir).await;
    run.go(options.length).await;
    let mut verdict = run.end().await;
    if !verdict.holds() || std::env::var_os("FAULTS_KEEP").is_some() {
        std::fs::write(dir.path().join("timeline"), &verdict.timeline).unwrap();
        verdict.kept = Some(dir.keep());
    }
    verdict
}

impl Run {
    async fn begin(options: &Options, dir: &TempDir) -> Run {
        let seed = Seed::new(options.seed);
        let mut untried = Vec::new();
        let network = if apart::is_apart() {
            Network::new(u8::try_from(options.nodes).unwrap(), &seed)
                .map_err(|error| untried.push(format!("faults of the network: {error}")))
                .ok()
        } else {
            untried.push("faults of the network: no namespaces of its own here".to_owned());
            None
        };
        let timeline = Timeline::new();
        // Followers that were away for a while need snapshots.
        let longest = u64::try_from(options.election.as_millis()).unwrap();
        let settings = json!({
            "ElectionMinMs": longest / 2, "ElectionMaxMs": longest,
            "LogRetainEntries": 200, "LogRetainBytes": 1 << 20, "DiskReserveBytes": 8 << 20,
        });
        let mut places = Places::choose(options.nodes, &seed);
        let prepare = |place, node: &mut Node| {
            places.prepare(place, node);
            if let Some(bug) = options.bug {
                node.set_env("JETTRA_PLANTED_BUG", bug.name());
            }
        };
        let machines = Machines::start(dir.path(), options.nodes, network.as_ref(), settings, prepare).await;
        let mut world = World::new(machines, network);
        world.election = options.election;
        (world.small_disk, world.clock) = (places.small_disk, places.clock);
        untried.extend(places.untried);
        if options.long {
            world.next_version = next_version();
            if world.next_version.is_none() {
                untried.push("an upgrade: cargo build -p jettra-server --examples".to_owned());
            }
        }
        load(&world).await;
        let world = Arc::new(world);
        let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
        let possible = |kind: &dyn Fault| wanted(kind.name()) && kind.needs().iter().all(|need| world.has(*need));
        let kinds: Vec<_> = faults::all().into_iter().filter(|kind| possible(&**kind)).collect();
        assert!(!kinds.is_empty(), "none of these faults is possible here: {:?}", options.only);
        let clients = Workload::start(&world.machines.directory, &seed.fork("workload"), workload::Options::default());
        let verdict = Verdict {
            seed: options.seed,
            nodes: options.nodes,
            length: options.length,
            failures: Vec::new(),
            faults: BTreeMap::new(),
            untried,
            clients: String::new(),
            failovers: Vec::new(),
            healings: Vec::new(),
            beginning: Usage::default(),
            most: Usage::default(),
            end: Usage::default(),
            timeline: String::new(),
            kept: None,
        };
        Run {
            world,
            timeline,
            kinds,
            seed: seed.fork("faults"),
            deeds: JoinSet::new(),
            names: BTreeMap::new(),
            verdict,
            clients: Some(clients),
            long: options.long,
        }
    }

    /// A quiet time, then rounds: faults for a while, then everything is put right and must work.
    async fn go(&mut self, length: Duration) {
        if let Err(failure) = liveness::leader_stays(&self.world, QUIET).await {
            self.verdict.failures.push(failure);
        }
        self.verdict.beginning = resources::most(&self.world).await;
        let end = Instant::now() + length;
        while Instant::now() < end && self.verdict.holds() {
            let round = self.seed.between(Duration::from_secs(8), Duration::from_secs(25));
            // Some rounds leave the cluster time to work between two faults, some hardly any.
            let (at_once, pause) = *self.seed.pick(&[(1, 2_500), (1, 800), (2, 2_500), (2, 1_200), (3, 1_200)]);
            self.faults_until(end.min(Instant::now() + round), at_once, Duration::from_millis(pause)).await;
            self.put_right().await;
        }
    }

    /// Up to `at_once` faults overlap; up to `pause` is between the beginnings of two.
    async fn faults_until(&mut self, end: Instant, at_once: usize, pause: Duration) {
        self.world.heal(false);
        let mut told = Instant::now();
        while Instant::now() < end && self.verdict.holds() {
            if self.deeds.len() < at_once {
                self.begin_one().await;
            }
            let pause = self.seed.between(Duration::from_millis(50), pause);
            let until = end.min(Instant::now() + pause);
            while let Ok(Some(ended)) = tokio::time::timeout_at(until.into(), self.deeds.join_next()).await {
                self.ended(ended);
            }
            tokio::time::sleep_until(until.into()).await;
            self.verdict.most = self.verdict.most.max(resources::most(&self.world).await);
            self.all_run().await;
            if self.long && told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                self.tell();
            }
        }
    }

    /// Nodes that no fault has must not have ended. Only this task lets faults have them.
    async fn all_run(&mut self) {
        for machine in &self.world.machines.all {
            if self.world.is_free(Claim::Machine(machine.place))
                && let Ok(mut node) = machine.node.try_lock()
                && node.has_ended()
            {
                self.verdict.failures.push(format!("{} has ended by itself\n{}", machine.name, node.log_tail(10)));
            }
        }
    }

    /// Begins a fault that is possible now, if there is one.
    async fn begin_one(&mut self) {
        let leader = self.world.leader().await;
        // What others have is not to be had: then another one is drawn.
        for _ in 0..5 {
            let kind = drawn(&self.kinds, &mut self.seed);
            let number = self.verdict.fault_count() + 1;
            let entry = self.timeline.entry(number, kind.name());
            let mut aim = Aim::new(self.world.clone(), leader.clone(), self.seed.fork(&number.to_string()), entry);
            let deed = kind.aim(&mut aim);
            let claimed = aim.claimed();
            let Some(deed) = deed else {
                self.world.give_back(&claimed);
                continue;
            };
            let name = kind.name();
            *self.verdict.faults.entry(name).or_default() += 1;
            self.names.insert(number, name);
            self.deeds.spawn(async move {
                let outcome = std::panic::AssertUnwindSafe(deed).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|panic| Err(said(&*panic)));
                Ended { number, claimed, outcome: outcome.map_err(|error| format!("{name}: {error}")) }
            });
            return;
        }
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let ended = ended.expect("a panic of a fault was caught");
        self.names.remove(&ended.number);
        self.world.give_back(&ended.claimed);
        self.verdict.failures.extend(ended.outcome.err());
    }

    /// Ends what goes on; then every node must take a write.
    async fn put_right(&mut self) {
        let entry = self.timeline.entry(0, "all");
        self.world.heal(true);
        entry.note("is put right");
        if !self.verdict.holds() {
            // Whoever is dead may never come back.
            self.deeds.shutdown().await;
            return;
        }
        let limit = Instant::now() + PUT_RIGHT.mul_f64(self.world.starvation.factor());
        while !self.deeds.is_empty() {
            let Ok(Some(ended)) = tokio::time::timeout_at(limit.into(), self.deeds.join_next()).await else {
                let names: Vec<&str> = self.names.values().copied().collect();
                self.verdict.failures.push(format!("not put right in time: {}", names.join(", ")));
                self.deeds.shutdown().await;
                return;
            };
            self.ended(ended);
        }
        entry.note("was put right");
        match liveness::check(&self.world, &entry).await {
            Ok(took) => {
                entry.note(format!("works again, after {} ms", took.as_millis()));
                self.verdict.healings.push(took);
            }
            Err(failure) => self.verdict.failures.push(failure),
        }
    }

    fn tell(&self) {
        let operations = self.clients.as_ref().map_or(0, |clients| clients.counts().operations);
        let names: Vec<&str> = self.names.values().copied().collect();
        println!(
            "{:>5} s  {operations:>8} operations  {:>5} faults  now: {}",
            self.timeline.elapsed().as_secs(),
            self.verdict.fault_count(),
            names.join(", ")
        );
    }

    /// After a failure, what clients saw is of interest still: that needs nodes.
    async fn start_again(&mut self) {
        for machine in &self.world.machines.all {
            let starts = async {
                let mut node = machine.node.lock().await;
                if node.has_ended() {
                    node.start().await;
                }
            };
            if let Err(panic) = std::panic::AssertUnwindSafe(starts).catch_unwind().await {
                self.verdict.failures.push(said(&*panic));
            }
        }
    }

    /// What clients saw.
    async fn found(&self, clients: workload::Running) -> checks::Report {
        let history = clients.stop().await;
        let end = Final::gather(&self.world.machines.directory, &history).await;
        check(&history, &end)
    }

    fn judge(&mut self, report: &checks::Report) {
        self.verdict.clients = report.to_string();
        for (name, verdict) in &report.checks {
            if let checks::Verdict::False(_) = verdict {
                self.verdict.failures.push(format!("{name}: see above"));
            }
        }
    }

    async fn end(mut self) -> Verdict {
        self.start_again().await;
        if let Some(clients) = self.clients.take() {
            let found = std::panic::AssertUnwindSafe(self.found(clients)).catch_unwind().await;
            match found {
                Ok(report) => self.judge(&report),
                Err(panic) => self.verdict.failures.push(said(&*panic)),
            }
        }
        if self.verdict.holds() {
            match resources::are_back(&self.world, self.verdict.beginning).await {
                Ok(end) => self.verdict.end = end,
                Err(failure) => self.verdict.failures.push(failure),
            }
        }
        self.verdict.failovers = std::mem::take(&mut self.world.failovers.lock().unwrap());
        self.verdict.timeline = self.timeline.all();
        self.verdict
    }
}

/// The program as a version would be that supports one feature level more; only if it was built together with the
/// program under test, which `cargo test --test faults` alone does not do.
fn next_version() -> Option<PathBuf> {
    let built = std::env::current_exe().unwrap().ancestors().nth(2)?.to_owned();
    let (program, next) = (built.join("jettra-server"), built.join("examples/next_level"));
    let made = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let together = Duration::from_secs(600);
    (made(&next)? + together >= made(&program)?).then_some(next)
}

/// Documents that make snapshots take a while.
async fn load(world: &World) {
    let text = "x".repeat(LARGE);
    for n in 0..LARGE_COUNT {
        eventually(LIMIT, "a large document is written", async || {
            let body = json!({ "_id": format!("large-{n}"), "text": text });
            world.machine(0).post("/api/doc?db=harness&col=large", body, LIMIT).await?.success()
        })
        .await;
    }
}

/// One kind, by weight.
fn drawn<'a>(kinds: &'a [Box<dyn Fault>], seed: &mut Seed) -> &'a dyn Fault {
    let all: usize = kinds.iter().map(|kind| kind.weight()).sum();
    let mut at = seed.below(all);
    for kind in kinds {
        match at.checked_sub(kind.weight()) {
            None => return &**kind,
            Some(rest) => at = rest,
        }
    }
    unreachable!("a number below the sum of weights")
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").to_owned()
}
