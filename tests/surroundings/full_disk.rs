//! A disk that is full, nearly or to the last byte.

use std::path::Path;

use serde_json::json;

use crate::common::{LIMIT, Node, eventually};

/// A small disk of its own, where this user may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", dir.path().to_str().unwrap()])
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(dir)),
            why => {
                let text = format!("SKIPPED: a full disk was not tried, since none can be mounted here: {why:?}\n");
                std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
                None
            }
        }
    }

    /// Takes room away until `left` KiB are free.
    fn fill(&self, left: u64) {
        let disk = nix::sys::statvfs::statvfs(self.0.path()).unwrap();
        let free = disk.blocks_available() * disk.fragment_size();
        let filler = vec![0; usize::try_from(free.saturating_sub(left << 10)).unwrap()];
        std::fs::write(self.0.path().join("filler"), filler).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node that is being killed may still have files open on it.
        drop(std::process::Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

/// No word of damage where there is none, nor of how a library prints its errors.
#[track_caller]
fn tells_of_the_disk(said: &str, dir: &Path) {
    assert!(
        said.contains("is full") && said.contains(&dir.display().to_string()) && said.contains("make room"),
        "{said}"
    );
    assert!(
        !said.contains("repair") && !said.contains("damage") && !said.contains("LogId") && !said.contains('{'),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_to_the_last_byte_ends_the_node_with_its_name_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(96) else { return };
    let data = disk.0.path().join("data");
    let root = tempfile::tempdir().unwrap();
    // What is short first, the log or the state, is left to chance: both are tried.
    for (round, left) in [64, 700, 3_000].into_iter().enumerate() {
        let settings = json!({"DataDir": data, "DiskReserveBytes": 0, "LogRetainBytes": 1 << 20});
        let mut node = Node::new(root.path(), &format!("round-{round}"), settings);
        node.configure("NodeID", "alone");
        node.start().await;
        disk.fill(left);
        let text = "x".repeat(20_000);
        let mut acknowledged = Vec::new();
        let mut answers = Vec::new();
        for n in 0..2_000 {
            let id = format!("{round}-{n}");
            match node.try_post("/api/doc?db=shop&col=things&timeout=3", json!({"_id": id, "text": text})).await {
                Ok(answer) if answer.status == 200 => acknowledged.push(id),
                Ok(answer) => answers.push(answer.body),
                Err(_) => break,
            }
        }
        assert_eq!(node.ended(LIMIT).await.code(), Some(1), "{}", node.log_tail(5));
        for answer in &answers {
            let message: serde_json::Value = serde_json::from_str(answer).unwrap();
            let message = message["error"]["message"].as_str().unwrap();
            assert!(!message.contains(['{', '(']) || message.contains("may or may not"), "{message}");
            assert!(!message.contains("LogId") && !message.contains("leader_id"), "{message}");
        }
        tells_of_the_disk(node.log().trim_end().lines().last().unwrap(), &data);
        assert!(!node.log().contains("LogId"), "{}", node.log_tail(20));
        // It is still full: a start says so too, or serves.
        node.launch();
        let started = eventually(LIMIT, "it starts or says why not", async || {
            if node.has_ended() {
                return Ok(false);
            }
            node.try_get("/livez").await.map(|_| true)
        });
        if !started.await {
            tells_of_the_disk(node.log().trim_end().lines().last().unwrap(), &data);
        }
        node.kill();
        disk.empty();
        node.start().await;
        for id in &acknowledged {
            node.get(&format!("/api/doc?db=shop&col=things&id={id}")).await.ok();
        }
        node.post("/api/doc?db=shop&col=things", json!({"_id": "goes on"})).await.ok();
        node.delete("/api/cols?database=shop&collection=things").await.ok();
        node.stop_gracefully().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_can_be_emptied() {
    let mut node = Node::standalone(json!({})).await;
    for id in ["a", "b"] {
        node.post("/api/doc?db=shop&col=things", json!({"_id": id})).await.ok();
    }
    // More than any disk has.
    node.configure("DiskReserveBytes", 1u64 << 40);
    node.restart().await;
    let refused = eventually(LIMIT, "the disk counts as full", async || {
        match node.try_post("/api/doc?db=shop&col=things", json!({"_id": "c"})).await? {
            answer if answer.status == 507 => Ok(answer),
            answer => Err(answer.shown()),
        }
    })
    .await;
    let message = refused.error("storage_full")["message"].as_str().unwrap().to_owned();
    let data = node.dir().join("data").display().to_string();
    assert!(
        message.contains(&data) && message.contains("bytes free") && message.contains("1099511627776"),
        "{message}"
    );
    assert_eq!(node.put("/api/doc?db=shop&col=things&id=a", json!({"_id": "a"})).await.status, 507);
    assert_eq!(node.post("/api/dbs", json!({"name": "other"})).await.status, 507);
    // All that makes room, and what people need for it.
    node.put("/api/cluster/settings", json!({"maxVersions": 5})).await.ok();
    node.delete("/api/doc?db=shop&col=things&id=a").await.ok();
    node.delete("/api/cols?database=shop&collection=things").await.ok();
    node.post("/api/change-password", json!({"newPassword": "correct horse"})).await.ok();
    let login = json!({"username": "admin", "password": "correct horse"});
    let token = node.post("/api/login", login).await.ok()["token"].as_str().unwrap().to_owned();
    node.authorize(token);
    node.delete("/api/dbs?name=shop").await.ok();
    let what = node.get("/api/cluster/doctor").await.ok()["findings"][0]["what"].to_string();
    assert!(what.contains("disk"), "{what}");
}
