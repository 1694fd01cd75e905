//! The majority of a cluster is lost for good: what is left of it goes on as a new cluster.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;

use common::{Acknowledged, Cluster, LIMIT, Node, Writers, eventually, run_to_end};
use serde_json::json;

fn data(node: &Node) -> PathBuf {
    node.dir().join("data")
}

/// Runs `jettra-server recover` with these arguments; gives its exit code and what it printed.
async fn recover(node: &Node, arguments: &[&str]) -> (i32, String) {
    let output = run_to_end(node.dir(), &[&["recover"], arguments].concat()).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), printed)
}

/// Three nodes under load, all killed at once; what was acknowledged.
async fn killed_under_load() -> (Cluster, Vec<Acknowledged>) {
    let mut cluster = Cluster::start(3).await;
    let writers = Writers::start(&cluster, 8, "before");
    let enough = async || match cluster.nodes[0].try_get("/api/count?db=proof&col=writes").await?.success()? {
        answer if answer["count"].as_u64() > Some(200) => Ok(()),
        answer => Err(answer.to_string()),
    };
    eventually(LIMIT, "there is something to lose", enough).await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    (cluster, writers.stop().await)
}

/// Every document of the writers with its revision, read at the node's own state.
async fn revisions(node: &Node, acknowledged: &[Acknowledged]) -> Vec<Option<String>> {
    let mut all = Vec::new();
    for one in acknowledged {
        all.push(node.get(&format!("/api/doc?db=proof&col=writes&id={}", one.id)).await.header("etag"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_from_the_best_of_what_is_left() {
    let (mut cluster, acknowledged) = killed_under_load().await;
    let dirs: Vec<String> = cluster.nodes.iter().map(|node| data(node).display().to_string()).collect();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();

    // The plan names the directory whose log ends last, and says what is in doubt; it may be asked again.
    let (code, printed) = recover(&cluster.nodes[0], &dirs).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(recover(&cluster.nodes[0], &[&["--plan"], &dirs[..]].concat()).await, (0, printed.clone()));
    let command = printed.lines().last().unwrap().trim().strip_prefix("jettra-server recover ").unwrap().to_owned();
    let best = dirs.iter().position(|dir| command.starts_with(&format!("--apply {dir} "))).expect(&printed);
    assert!(printed.contains(&format!("the best is {}", dirs[best])), "{printed}");

    // The best one has all that was acknowledged by anybody. Two directories are lost.
    let lost: Vec<PathBuf> = (0..3).filter(|n| *n != best).map(|n| cluster.nodes[n].dir().join("gone")).collect();
    let others: Vec<usize> = (0..3).filter(|n| *n != best).collect();
    for (other, gone) in others.iter().zip(&lost) {
        std::fs::rename(data(&cluster.nodes[*other]), gone).unwrap();
    }
    let (code, printed) = recover(&cluster.nodes[best], &["--apply", dirs[best]]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("before-recovery-1"), "{printed}");

    cluster.nodes[best].start().await;
    let kept = &cluster.nodes[best];
    let highest = acknowledged.iter().map(|one| one.rev).max().unwrap();
    let view = eventually(LIMIT, "the node leads its new cluster", async || {
        let view = kept.try_get("/api/cluster").await?.success()?;
        if view["state"] == "LEADER" { Ok(view) } else { Err(view.to_string()) }
    })
    .await;
    assert_eq!(view["nodes"].as_array().unwrap().len(), 1, "{view}");
    let expected: Vec<Option<String>> = acknowledged.iter().map(|one| Some(format!("\"{}\"", one.rev))).collect();
    assert_eq!(revisions(kept, &acknowledged).await, expected, "every acknowledged write is there");

    // What is written now has revisions that no node of the old cluster can have given.
    let saved = kept.post("/api/doc?db=proof&col=writes", json!({"_id": "after"})).await;
    let rev = saved.ok()["rev"].as_u64().unwrap();
    assert!(rev > highest + (1 << 39), "{rev} after {highest}");
    assert_eq!(saved.number("x-jettra-index"), rev, "one number for revision and index");
    let read = kept.get(&format!("/api/doc?db=proof&col=writes&id=after&consistency=local&min_index={rev}")).await;
    assert_eq!(read.header("etag"), Some(format!("\"{rev}\"")));
    let repeated = kept
        .send(
            kept.request("POST", "/api/doc?db=proof&col=writes")
                .header("Idempotency-Key", &acknowledged[0].id)
                .body(json!({"_id": acknowledged[0].id, "number": 0}).to_string()),
        )
        .await;
    assert_eq!(repeated.ok()["rev"], acknowledged[0].rev, "a repeated request gets its old answer");

    // The others come back with empty directories and get everything.
    for other in &others {
        cluster.nodes[*other].configure("Bootstrap", false);
        cluster.nodes[*other].start().await;
        let body = json!({ "url": cluster.nodes[*other].url() });
        eventually(LIMIT, "a node can be registered", async || {
            cluster.nodes[best].try_post("/api/cluster/register", &body).await?.success()
        })
        .await;
    }
    cluster.settled().await;
    for other in &others {
        assert_eq!(revisions(&cluster.nodes[*other], &acknowledged).await, expected);
    }

    // An old directory that comes back after all belongs to another cluster: it finds no majority and changes nothing.
    let foreign = others[0];
    cluster.nodes[foreign].kill();
    let fresh = cluster.nodes[foreign].dir().join("fresh");
    std::fs::rename(data(&cluster.nodes[foreign]), &fresh).unwrap();
    std::fs::rename(&lost[0], data(&cluster.nodes[foreign])).unwrap();
    cluster.nodes[foreign].start().await;
    let refused = cluster.nodes[foreign].try_post("/api/doc?db=proof&col=writes&timeout_ms=1500", json!({"_id": "no"}));
    assert_ne!(refused.await.unwrap().status, 200);
    eventually(LIMIT, "it does not count as the member that has its URL", async || {
        let members = cluster.nodes[best].try_get("/api/cluster").await?.success()?;
        if members["failureTolerance"] == 0 { Ok(()) } else { Err(members.to_string()) }
    })
    .await;
    let missing = cluster.nodes[best].get("/api/doc?db=proof&col=writes&id=no").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recovered_is_refused_and_left_as_it_is() {
    let mut cluster = Cluster::start(3).await;
    let running = data(&cluster.nodes[0]).display().to_string();
    let node = Node::standalone(json!({})).await;
    for (arguments, why) in [
        (&[running.as_str()][..], "in use"),
        (&["nowhere"], "no directory"),
        (&["."], "no data directory"),
        (&["--apply", &running], "in use"),
        (&["--apply", "nowhere"], "no directory"),
    ] {
        let (code, printed) = recover(&node, arguments).await;
        assert!(code == 2 && printed.contains(why) && printed.lines().count() == 1, "{arguments:?}: {code} {printed}");
    }

    // One node is behind: it is not the best, and taking it needs a clear word.
    cluster.nodes[2].kill();
    cluster.nodes[0].post("/api/doc?db=proof&col=writes", json!({"_id": "late"})).await.ok();
    cluster.nodes.iter_mut().for_each(Node::kill);
    let dirs: Vec<String> = cluster.nodes.iter().map(|node| data(node).display().to_string()).collect();
    let (code, printed) = recover(&node, &["--apply", &dirs[2], &dirs[0], &dirs[1]]).await;
    assert!(code == 2 && printed.contains("not the best") && printed.lines().count() == 1, "{printed}");
    assert!(!data(&cluster.nodes[2]).join("recovering").exists(), "nothing was begun");

    let (code, printed) = recover(&node, &[&dirs[0], &dirs[0]].map(String::as_str)).await;
    assert!(code == 2 && printed.contains("twice"), "{printed}");

    // Directories of different clusters.
    let mut other = Node::standalone(json!({})).await;
    other.post("/api/doc?db=proof&col=writes", json!({"_id": "else"})).await.ok();
    other.kill();
    let (code, printed) = recover(&node, &[&dirs[0], &data(&other).display().to_string()].map(String::as_str)).await;
    assert!(code == 2 && printed.contains("one cluster") && printed.lines().count() == 1, "{printed}");

    // A damaged log: shown, never the best, and refused unless the loss is accepted.
    let chunks = std::fs::read_dir(data(&cluster.nodes[0]).join("log")).unwrap();
    let chunk = chunks.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 4;
    std::fs::write(&chunk, &bytes).unwrap();
    let (code, printed) = recover(&node, &[&dirs[0], &dirs[1]].map(String::as_str)).await;
    assert!(
        code == 0 && printed.contains("NO: ") && printed.contains(&format!("the best is {}", dirs[1])),
        "{printed}"
    );
    let (code, printed) = recover(&node, &["--apply", &dirs[0]]).await;
    assert!(code == 2 && printed.contains("is damaged") && printed.contains("--accept-loss"), "{printed}");
    let (code, printed) = recover(&node, &["--accept-loss", "--apply", &dirs[0]]).await;
    assert_eq!(code, 0, "{printed}");
    cluster.nodes[0].start().await;
    eventually(LIMIT, "it serves", async || cluster.nodes[0].try_get("/api/dbs").await?.success()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_was_cut_off_is_finished_by_the_same_command() {
    let mut node = Node::standalone(json!({})).await;
    node.post("/api/doc?db=proof&col=writes", json!({"_id": "kept"})).await.ok();
    node.kill();
    let dir = data(&node);
    let before = dir.join("../copy");
    copy(&dir, &before);
    let (code, printed) = recover(&node, &["--apply", "data"]).await;
    assert_eq!(code, 0, "{printed}");

    // As it is between two steps of the switch: some names moved, the note still there.
    for moved in [0, 1, 3, 5] {
        let (new, aside) = (dir.join("recovering"), dir.join("before-recovery-9"));
        std::fs::create_dir_all(&new).unwrap();
        std::fs::create_dir_all(&aside).unwrap();
        for (n, name) in ["state", "log", "log.acked", "secret", "members.json", "node.json"].into_iter().enumerate() {
            let old = before.join(name);
            if n < moved {
                if old.exists() {
                    copy(&old, &aside.join(name));
                }
            } else if old.exists() {
                std::fs::rename(dir.join(name), new.join(name)).unwrap();
                // At this name the step was half done: the old is out, the new is not in.
                copy(&old, &if n == moved { aside.join(name) } else { dir.join(name) });
            }
        }
        std::fs::write(dir.join("recovery.json"), note("before-recovery-9")).unwrap();
        node.launch();
        assert_eq!(node.ended(LIMIT).await.code(), Some(2));
        assert!(node.log_tail(1).contains("recover --apply"), "{}", node.log_tail(3));
        let (code, printed) = recover(&node, &["--apply", "data"]).await;
        assert_eq!(code, 0, "{printed}");
        assert!(!dir.join("recovering").exists() && !dir.join("recovery.json").exists());
        node.start().await;
        eventually(LIMIT, "it serves", async || node.try_get("/api/doc?db=proof&col=writes&id=kept").await?.success())
            .await;
        node.stop_gracefully().await;
        std::fs::remove_dir_all(&aside).unwrap();
    }
}

/// The note as the program writes it: sealed JSON.
fn note(aside: &str) -> Vec<u8> {
    jettra_server::sealed::json(&json!({ "aside": aside })).unwrap()
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_replica_is_enough_to_go_on_from() {
    let mut cluster = Cluster::start(1).await;
    let replica = cluster.add("node2", common::member_config("node2", false));
    replica.start().await;
    let body = json!({ "url": replica.url(), "voter": false });
    cluster.nodes[0].post("/api/cluster/register", body).await.ok();
    let saved = cluster.nodes[0].post("/api/doc?db=shop&col=users", json!({ "_id": "ann" })).await.ok();
    let here = format!("/api/doc?db=shop&col=users&id=ann&consistency=local&min_index={}", saved["rev"]);
    cluster.nodes[1].get(&here).await.ok();
    // The only voter is lost with its disk.
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes[0].wipe();
    let dir = data(&cluster.nodes[1]).display().to_string();
    let (code, printed) = recover(&cluster.nodes[1], &["--apply", &dir]).await;
    assert_eq!(code, 0, "{printed}");
    let node = &mut cluster.nodes[1];
    for _ in 0..2 {
        node.restart().await;
        eventually(LIMIT, "the replica leads its new cluster", async || {
            let view = node.try_get("/api/cluster").await?.success()?;
            let well = view["state"] == "LEADER" && view["nodes"][0]["voter"] == true;
            if well { Ok(()) } else { Err(view.to_string()) }
        })
        .await;
        node.post("/api/doc?db=shop&col=users", json!({ "_id": "ann", "n": 2 })).await.ok();
        let docs = node.get("/api/query?db=_system&col=_clusternodes").await.ok();
        assert!(docs[0]["replica"].is_null() && docs.as_array().unwrap().len() == 1, "it votes for good: {docs}");
    }
}
