//! What all nodes hold in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::clients::{Http, Sent, send};
use crate::directory::{Directory, Target};
use crate::history::History;

/// How long each node has to catch up and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Documents whose versions are compared.
const VERSIONS: usize = 40;

/// What all nodes hold in the end.
#[derive(Debug, Clone, Default)]
pub struct Final {
    pub nodes: Vec<Held>,
    /// Whether the digests of all are the same; `Err` where that is not known.
    pub digests: Option<Result<(), String>>,
}

/// What one node holds, by its own account (`local` with the newest index).
#[derive(Debug, Clone)]
pub struct Held {
    pub node: String,
    /// By collection and id, as they were sent; or why it did not answer.
    pub documents: Result<BTreeMap<(String, String), String>, String>,
    /// Superseded states of some documents, by collection and id.
    pub versions: BTreeMap<(String, String), Vec<String>>,
}

impl Final {
    /// Asks every node of the directory.
    pub async fn gather(directory: &Directory, history: &History) -> Final {
        let http = Http::new();
        let mut end = Final::default();
        for target in directory.targets() {
            let asker = Asker { http: &http, directory, target: &target, history };
            end.nodes.push(asker.held().await);
        }
        end.digests = digests(&http, directory).await;
        end
    }
}

struct Asker<'a> {
    http: &'a Http,
    directory: &'a Directory,
    target: &'a Target,
    history: &'a History,
}

impl Asker<'_> {
    async fn held(&self) -> Held {
        let history = self.history;
        let collections: BTreeSet<&str> = history.names.iter().map(|name| name.collection.as_str()).collect();
        let mut documents = Ok(BTreeMap::new());
        for collection in collections {
            match self.collection(collection).await {
                Ok(found) => drop(documents.as_mut().map(|documents| documents.extend(found))),
                Err(why) => {
                    documents = Err(why);
                    break;
                }
            }
        }
        let mut versions = BTreeMap::new();
        if documents.is_ok() {
            let singles: Vec<_> = history.names.iter().filter(|name| name.members == 0).collect();
            for name in singles.iter().step_by(singles.len().div_ceil(VERSIONS).max(1)) {
                let path = format!("/api/versions?db={}&col={}&id={}&", history.database, name.collection, name.id);
                if let Ok(Value::Array(found)) = self.get(&path).await {
                    let found = found.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                    versions.insert((name.collection.clone(), name.id.clone()), found);
                }
            }
        }
        Held { node: self.target.name.clone(), documents, versions }
    }

    /// All documents of a collection, page by page: they no longer change.
    async fn collection(&self, collection: &str) -> Result<Vec<((String, String), String)>, String> {
        let mut all: Vec<((String, String), String)> = Vec::new();
        loop {
            let after = all.last().map(|((_, id), _)| id.clone()).unwrap_or_default();
            let path = format!("/api/query?db={}&col={collection}&limit=500&after={after}&", self.history.database);
            let found = self.get(&path).await?;
            let found = found.as_array().cloned().unwrap_or_default();
            if found.is_empty() {
                return Ok(all);
            }
            for document in found {
                let id = document["_id"].as_str().unwrap_or_default().to_owned();
                all.push(((collection.to_owned(), id), document.to_string()));
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let index = self.history.last.unwrap_or_default();
        let url = format!("{}{path}consistency=local&min_index={index}&timeout=4s", self.target.url);
        let end = Instant::now() + PATIENCE;
        loop {
            let why = match send(self.http.request(self.directory, Method::GET, &url)).await {
                Sent::Answer(answer) => match answer.success() {
                    Ok(value) => return Ok(value),
                    Err(why) => why,
                },
                Sent::Never(why) | Sent::Lost(why) => why,
            };
            if Instant::now() > end {
                return Err(why);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Has the cluster compare digests now, and looks what came of it. `None` where there is nobody to compare with.
async fn digests(http: &Http, directory: &Directory) -> Option<Result<(), String>> {
    let targets = directory.targets();
    if targets.len() < 2 {
        return None;
    }
    let metrics = async || {
        let mut texts = Vec::new();
        for target in &targets {
            let url = format!("{}/metrics", target.url);
            if let Sent::Answer(answer) = send(http.request(directory, Method::GET, &url)).await {
                texts.push((target.name.clone(), answer.body));
            }
        }
        texts
    };
    let highest = |texts: &[(String, String)], name: &str| {
        let values = texts
            .iter()
            .filter_map(|(_, text)| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()));
        values.fold(0.0, f64::max)
    };
    let before = highest(&metrics().await, "jettra_digest_check_index ");
    set_pace(http, directory, &targets, 1_000).await;
    let end = Instant::now() + PATIENCE;
    let mut seen = Err("no digests were compared in time".to_owned());
    while Instant::now() < end {
        let texts = metrics().await;
        let differs = texts.iter().find_map(|(node, text)| {
            let line = text.lines().find(|line| line.starts_with("jettra_digest_mismatch{") && line.ends_with(" 1"))?;
            Some(format!("{node} says {line}"))
        });
        if let Some(differs) = differs {
            return Some(Err(format!("DIFFERENT: {differs}")));
        }
        let compared = highest(&texts, "jettra_digest_compared_nodes ");
        if highest(&texts, "jettra_digest_check_index ") > before && compared >= targets.len() as f64 {
            seen = Ok(());
            break;
        }
        seen = Err(format!("digests of {compared} of {} nodes were compared", targets.len()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    set_pace(http, directory, &targets, 300_000).await;
    Some(seen)
}

async fn set_pace(http: &Http, directory: &Directory, targets: &[Target], ms: u64) {
    for target in targets {
        let url = format!("{}/api/cluster/settings", target.url);
        let request = http.request(directory, Method::PUT, &url).body(json!({ "digestCheckMs": ms }).to_string());
        if let Sent::Answer(answer) = send(request).await
            && answer.status == 200
        {
            return;
        }
    }
}
