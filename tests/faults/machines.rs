//! The nodes of a run, each on what is for it a machine of its own.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::common::{Answer, Http, LIMIT, Node, eventually, send};
use crate::directory::{Directory, Target};
use crate::network::Network;

const PASSWORD: &str = "correct horse";

/// A node and where it runs.
pub struct Machine {
    /// 0, 1, …: also its place in the network.
    pub place: usize,
    pub name: String,
    /// Whoever starts, ends or changes the node has it. What is asked of it goes past this.
    pub node: Mutex<Node>,
    /// Where it keeps its log of what it does, and its data.
    dir: PathBuf,
    url: RwLock<String>,
    http: Http,
    authorization: String,
}

/// All of them.
pub struct Machines {
    pub all: Vec<Arc<Machine>>,
    pub directory: Directory,
}

/// A node that says that it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub place: usize,
    pub term: u64,
}

impl std::fmt::Display for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node{} of term {}", self.place + 1, self.term)
    }
}

impl Machines {
    /// A cluster of `count` nodes below `root`, all of them voters, with further settings. `prepare` sees each before it
    /// starts.
    pub async fn start(
        root: &Path,
        count: usize,
        network: Option<&Network>,
        settings: Value,
        mut prepare: impl FnMut(usize, &mut Node),
    ) -> Self {
        let authorization = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
        let authorization = format!("Basic {authorization}");
        let directory = Directory::new(Some(authorization.clone()));
        let mut all = Vec::new();
        for place in 0..count {
            let name = format!("node{}", place + 1);
            let host = network.map_or("127.0.0.1".to_owned(), |_| Network::address(place_in(place)).to_string());
            let mut config = json!({
                "Host": host, "distributed": true, "NodeID": name, "Bootstrap": place == 0,
                "AdminPassword": PASSWORD, "ClusterSecret": "a secret of all nodes of this run",
            });
            config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let mut node = Node::new(root, &name, config);
            node.run_at(&host, network.map(|network| network.runner(place_in(place))).unwrap_or_default());
            node.authorize(authorization.clone());
            prepare(place, &mut node);
            node.start().await;
            // What it was told once counts no more: with an empty disk it would begin another cluster.
            node.configure("Bootstrap", false);
            all.push(Arc::new(Machine {
                place,
                name,
                dir: node.dir().to_owned(),
                url: RwLock::new(node.url()),
                node: Mutex::new(node),
                http: Http::new(Duration::from_secs(40)),
                authorization: authorization.clone(),
            }));
        }
        let machines = Machines { all, directory };
        machines.tell();
        for machine in &machines.all[1..] {
            eventually(LIMIT, "a node can be registered", async || {
                machines.all[0].post("/api/cluster/register", json!({ "url": machine.url() }), LIMIT).await?.success()
            })
            .await;
        }
        machines.are_whole(LIMIT).await.unwrap();
        machines
    }

    /// Tells clients where the nodes are now.
    pub fn tell(&self) {
        let targets = self.all.iter().map(|machine| Target { name: machine.name.clone(), url: machine.url() });
        self.directory.set(targets.collect());
    }

    /// The node that leads, if any says so: the one of the highest term.
    pub async fn leader(&self) -> Option<Leader> {
        let asked = self.all.iter().map(|machine| async {
            // Who is frozen or busy does not answer; it must not hold up the others.
            let view = tokio::time::timeout(Duration::from_millis(400), machine.cluster()).await.ok()?.ok()?;
            (view["state"] == "LEADER")
                .then(|| Leader { place: machine.place, term: view["term"].as_u64().unwrap_or(0) })
        });
        let leaders = futures_util::future::join_all(asked).await;
        leaders.into_iter().flatten().max_by_key(|leader| leader.term)
    }

    /// Waits until every node says that all are ACTIVE voters of one leader.
    pub async fn are_whole(&self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let Err(seen) = self.is_whole().await else { return Ok(()) };
            if Instant::now() > end {
                return Err(seen);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_whole(&self) -> Result<(), String> {
        let mut leaders = Vec::new();
        for machine in &self.all {
            let view = machine.cluster().await?;
            let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
            let votes = nodes.iter().filter(|node| node["voter"] == true && node["status"] == "ACTIVE").count();
            if votes != self.all.len() || nodes.len() != self.all.len() || view["leaderId"].is_null() {
                return Err(format!("{} sees {view}", machine.name));
            }
            leaders.push(view["leaderId"].clone());
        }
        leaders.dedup();
        if leaders.len() == 1 { Ok(()) } else { Err(format!("leaders {leaders:?}")) }
    }
}

impl Machine {
    pub fn url(&self) -> String {
        self.url.read().unwrap().clone()
    }

    /// What is asked goes to where the node is from now on.
    pub fn has_moved(&self, node: &Node) {
        *self.url.write().unwrap() = node.url();
    }

    /// Asks the node, however it is; the error says why nothing came.
    pub async fn ask(&self, method: Method, path: &str, body: String, limit: Duration) -> Result<Answer, String> {
        let request = self.http.request(method, &format!("{}{path}", self.url())).body(body);
        let request = request.header("Authorization", &self.authorization).timeout(limit);
        send(request).await.map_err(|error| format!("{}: {error}", self.name))
    }

    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, String> {
        self.ask(Method::GET, path, String::new(), limit).await
    }

    pub async fn post(&self, path: &str, body: Value, limit: Duration) -> Result<Answer, String> {
        self.ask(Method::POST, path, body.to_string(), limit).await
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How much the node has written to its log.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(self.dir.join("log")).map_or(0, |found| found.len())
    }

    /// What it has written there since then.
    pub fn log_since(&self, length: u64) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = std::fs::File::open(self.dir.join("log")) {
            file.seek(SeekFrom::Start(length)).unwrap();
            file.read_to_end(&mut text).unwrap();
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Removes all that the node, which does not run, has stored. Its directory stays: it may be a disk of its own.
    pub fn wipe(&self) {
        for entry in std::fs::read_dir(self.dir.join("data")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
    }

    /// The cluster as the node sees it.
    pub async fn cluster(&self) -> Result<Value, String> {
        self.get("/api/cluster", Duration::from_secs(1)).await?.success()
    }

    /// Writes a document of the harness's own; whether that was acknowledged in time.
    pub async fn writes(&self, limit: Duration) -> Result<(), String> {
        let body = json!({ "_id": self.name, "at": "now" });
        self.post("/api/doc?db=harness&col=probes", body, limit).await?.success().map(drop)
    }
}

fn place_in(place: usize) -> u8 {
    u8::try_from(place).unwrap()
}
