use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Acknowledged, Answer, Cluster, LIMIT, Node, SECOND, Writers, eventually, member_config};

/// After a change, all nodes show what is true within six seconds; more where the machine has far more to do than it
/// can, with other things than this test.
pub fn within() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    (6 * SECOND).mul_f64((load / cores / 4.0).clamp(1.0, 5.0))
}

/// A cluster under clients that write without pause and remember what was acknowledged.
pub struct Story {
    pub cluster: Cluster,
    pub writers: Writers,
}

impl Story {
    /// A cluster of the members `node1` … `node<size>`.
    pub async fn of(size: usize) -> Self {
        let mut cluster = Cluster::unregistered_in_company(|number| {
            (number <= size).then(|| member_config(&format!("node{number}"), number == 1))
        })
        .await;
        for node in &mut cluster.nodes {
            node.start().await;
        }
        for place in 1..size {
            cluster.register(place).await;
        }
        cluster.settled().await;
        let writers = Writers::start(&cluster, 2, "row");
        writers.go_on(1).await;
        Story { cluster, writers }
    }

    /// The node of this name.
    pub fn node(&self, id: &str) -> &Node {
        self.cluster.nodes.iter().find(|node| node.id == id).expect("a node of this name")
    }

    /// The node of this name, to start, kill or configure.
    pub fn node_mut(&mut self, id: &str) -> &mut Node {
        self.cluster.named(id)
    }

    /// Starts a node that belongs to nothing yet.
    pub async fn newcomer(&mut self, id: &str) -> &Node {
        self.newcomer_with(id, json!({})).await
    }

    /// The same with further settings.
    pub async fn newcomer_with(&mut self, id: &str, settings: Value) -> &Node {
        let mut config = member_config(id, false);
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        self.cluster.add(id, config).start().await;
        self.writers.know(&self.cluster);
        self.node(id)
    }

    /// Makes a registered member of a newcomer.
    pub async fn newcomer_joins(&mut self, id: &str) {
        self.newcomer(id).await;
        let answer = act(self.leader().await, "register", json!({ "url": self.node(id).url() })).await.ok();
        assert_eq!(answer["status"], "registered", "{answer}");
    }

    /// Forgets a node that is in use no more.
    pub fn forget(&mut self, id: &str) {
        self.cluster.nodes.retain(|node| node.id != id);
        self.writers.know(&self.cluster);
    }

    /// The node that leads.
    pub async fn leader(&self) -> &Node {
        &self.cluster.nodes[self.cluster.leader().await]
    }

    /// A running member that does not lead.
    pub async fn follower(&self) -> &Node {
        &self.cluster.nodes[self.cluster.followers().await[0]]
    }

    /// The name of a running member that does not lead, other than this one.
    pub async fn follower_but(&self, id: &str) -> String {
        let followers = self.cluster.followers().await;
        let mut names = followers.into_iter().map(|place| self.cluster.nodes[place].id.clone());
        names.find(|name| name != id).expect("another one")
    }

    /// Waits until every running node among these members shows exactly them, alike: `node1 ACTIVE`, `node2 PAUSED`,
    /// `node3 ACTIVE joining`, `node4 ACTIVE replica`; one of them leads, whom all name. Writing goes on then.
    pub async fn stands(&self, members: &[&str]) {
        self.stands_besides(members, &[]).await;
    }

    /// The same, where some of the running nodes are known not to be members in fact.
    pub async fn stands_besides(&self, members: &[impl AsRef<str> + std::fmt::Debug], apart: &[&str]) {
        let members: Vec<&str> = members.iter().map(AsRef::as_ref).collect();
        let names: Vec<&str> = members
            .iter()
            .map(|member| member.split(' ').next().unwrap())
            .filter(|name| !apart.contains(name))
            .collect();
        let members = format!("{members:?}");
        eventually(within(), &format!("every member shows {members}"), async || {
            let mut first: Option<Vec<Value>> = None;
            for node in names.iter().map(|name| self.node(name)).filter(|node| node.is_running()) {
                let shown = documents(node).await?;
                let seen = format!("{:?}", shown.iter().map(in_short).collect::<Vec<_>>());
                if seen != members {
                    return Err(format!("{} shows {seen}", node.id));
                }
                if first.as_ref().is_some_and(|first| *first != shown) {
                    return Err(format!("{} differs: {shown:?} and {first:?}", node.id));
                }
                let leaders: Vec<_> = shown.iter().filter(|doc| doc["role"] == "LEADER").collect();
                let view = node.try_get("/api/cluster").await?.success()?;
                let [leader] = &leaders[..] else { return Err(format!("{} shows leaders {leaders:?}", node.id)) };
                if view["leaderId"] != leader["_id"] {
                    return Err(format!("{} shows {leader} leading, and {view}", node.id));
                }
                // What Raft's membership says of the leader.
                let ready = node.try_get("/readyz").await?.body;
                let (id, url) = (leader["_id"].as_str().unwrap(), leader["url"].as_str().unwrap());
                if !ready.contains(&format!("leader: {id} at {url}\n")) {
                    return Err(format!("{} says {ready:?}, {id} leads at {url}", node.id));
                }
                first = Some(shown);
            }
            Ok(())
        })
        .await;
        self.writers.go_on(10).await;
    }

    /// Whether a node is named in the members' documents as this node has them.
    pub async fn knows(&self, at: &str, id: &str) -> bool {
        documents(self.node(at)).await.is_ok_and(|docs| docs.iter().any(|doc| doc["_id"] == id))
    }

    /// Stops writing: whatever was acknowledged is on every running node of the cluster, once.
    pub async fn ends(self) {
        let Story { cluster, writers } = self;
        let all = writers.stop().await;
        assert!(!all.is_empty(), "nothing was written");
        for node in cluster.nodes.iter().filter(|node| node.is_running()) {
            Acknowledged::all_on(&all, node).await;
        }
    }
}

/// `_clusternodes` as a node has it, without asking others.
pub async fn documents(node: &Node) -> Result<Vec<Value>, String> {
    let answer = node.try_get("/api/query?db=_system&col=_clusternodes&consistency=local").await?.success()?;
    Ok(answer.as_array().expect("an array").clone())
}

/// The document of one member as a node has it.
pub async fn document(node: &Node, id: &str) -> Result<Value, String> {
    let found = documents(node).await?.into_iter().find(|doc| doc["_id"] == id);
    found.ok_or_else(|| format!("{} has no document of {id}", node.id))
}

/// A member's document in a few words.
fn in_short(doc: &Value) -> String {
    let part = match doc["voter"].as_bool() {
        Some(true) => "",
        Some(false) if doc["replica"] == true => " replica",
        Some(false) => " learner",
        None => " joining",
    };
    format!("{} {}{part}", doc["_id"].as_str().unwrap(), doc["status"].as_str().unwrap())
}

/// Asks what a cluster call would do, then does it: the two must agree. Gives the deed's answer.
pub async fn act(at: &Node, call: &str, body: Value) -> Answer {
    let plan = at.post(&format!("/api/cluster/{call}?dry_run=true"), &body).await;
    let deed = at.post(&format!("/api/cluster/{call}"), &body).await;
    agree(call, &plan, &deed);
    deed
}

#[track_caller]
fn agree(call: &str, plan: &Answer, deed: &Answer) {
    let both = format!("{call}: planned {}, then answered {}", plan.shown(), deed.shown());
    if plan.status != 200 {
        let code = |answer: &Answer| answer.error_code();
        assert_eq!(code(plan), code(deed), "{both}");
        return;
    }
    let plan = plan.ok();
    for key in ["voters", "active", "majority", "failureTolerance"] {
        assert!(plan["before"][key].is_u64() && plan["after"][key].is_u64(), "{both}");
    }
    if plan["allowed"] == true {
        assert_eq!(deed.status, 200, "{both}");
        return;
    }
    assert_ne!(deed.status, 200, "{both}");
    let error = deed.error(&deed.error_code());
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(plan["reason"].as_str().unwrap()), "{both}");
    for key in ["before", "after", "next"] {
        assert!(error[key].is_null() || timeless(&error[key]) == timeless(&plan[key]), "{key} of {both}");
    }
}

/// A sentence without how long somebody has been silent: time passes between a plan and its deed.
fn timeless(said: &Value) -> Value {
    let Some(text) = said.as_str() else { return said.clone() };
    let mut parts = text.split("silent for ");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.fold(first, |text, rest| text + "silent for …" + rest).into()
}

/// The command in a message or a next step, from `curl` to its closing quote.
#[track_caller]
pub fn command_in(text: &str) -> &str {
    let from = text.find("curl ").unwrap_or_else(|| panic!("no command in {text:?}"));
    let command = &text[from..];
    command.rfind("}'").map_or(command, |end| &command[..end + 2])
}

/// Pastes a command into a shell and gives what it prints, as JSON.
pub async fn paste(command: &str) -> Value {
    let output = tokio::process::Command::new("sh").args(["-c", command]).output().await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{command} printed {}", String::from_utf8_lossy(&output.stdout)))
}

/// Waits until the newcomer waits to be registered.
pub async fn waits(node: &Node) {
    eventually(LIMIT, "the node waits to be registered", async || {
        let ready = node.try_get("/readyz").await?;
        if ready.body.contains("waits to be registered") { Ok(()) } else { Err(ready.shown()) }
    })
    .await;
}

/// Waits until a node says that it is a member no more.
pub async fn says_removed(node: &Node) {
    eventually(within(), "the node says that it was removed", async || {
        let (ready, read) = (node.try_get("/readyz").await?, node.try_get("/api/query?db=proof&col=writes").await?);
        let says = ready.status == 503 && ready.body.contains("removed") && read.body.contains("was removed");
        if says { Ok(()) } else { Err(format!("{}; {}", ready.shown(), read.shown())) }
    })
    .await;
}

/// Waits until a stopped process has ended by itself, with success.
pub async fn ends_well(node: &mut Node) {
    let status = node.ended(10 * SECOND).await;
    assert_eq!(status.code(), Some(0), "{} ended with {status}", node.id);
}
