//! What surrounds a node: other users of the machine, whoever reads its output, its disk, its clock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use common::{Cluster, LIMIT, Node, SECOND, assert_private, eventually, free_ports, run_to_end};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde_json::json;

fn open_to_others(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_node_keeps_can_be_opened_by_other_users() {
    // What a process gets where nobody has said anything.
    umask(Mode::from_bits_truncate(0o022));
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), "alone", json!({}));
    let data = node.dir().join("data");
    // As versions have left it that did not care.
    std::fs::create_dir_all(data.join("before-recovery-1/log")).unwrap();
    std::fs::write(data.join("lock"), "").unwrap();
    std::fs::write(data.join("before-recovery-1/log/chunk"), "secrets").unwrap();
    open_to_others(&data, 0o755);
    node.launch();
    assert_eq!(node.ended(LIMIT).await.code(), Some(2));
    assert!(node.log().contains("chmod 700"), "it holds what was not there before a first start: {}", node.log());
    std::fs::rename(data.join("before-recovery-1"), root.path().join("later")).unwrap();
    node.start().await;
    assert_private(&data);

    // An open copy in it, and the directory opened again, by whoever.
    std::fs::rename(root.path().join("later"), data.join("before-recovery-1")).unwrap();
    node.post("/api/doc?db=shop&col=things", json!({"_id": "a"})).await.ok();
    node.stop_gracefully().await;
    open_to_others(&data, 0o777);
    node.start().await;
    assert_private(&data);
    node.stop_gracefully().await;

    // A repair that sets a damaged state aside, and a recovery.
    let current = data.join("state/CURRENT");
    open_to_others(&data, 0o755);
    std::fs::write(&current, "nonsense").unwrap();
    let repaired = run_to_end(node.dir(), &["repair", "--data-dir", "data"]).await;
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    assert!(data.join("state.damaged-1").exists());
    assert_private(&data);
    node.start().await;
    node.stop_gracefully().await;
    open_to_others(&data, 0o755);
    let recovered = run_to_end(node.dir(), &["recover", "--apply", "data"]).await;
    assert_eq!(recovered.status.code(), Some(0), "{recovered:?}");
    assert!(data.join("before-recovery-2").exists());
    assert_private(&data);
    node.start().await;
    assert_private(&data);
}

#[tokio::test]
async fn a_directory_of_all_users_is_no_data_directory() {
    let root = tempfile::tempdir().unwrap();
    let shared = root.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    open_to_others(&shared, 0o1777);
    let shared = shared.to_str().unwrap();
    let refused = run_to_end(root.path(), &["--port", &free_ports(1).to_string(), "--data-dir", shared]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    let last = said.lines().last().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(last.contains(&format!("--data-dir {shared}/jettra")), "{said}");
}

#[tokio::test]
async fn a_configuration_with_secrets_that_others_can_read_is_warned_of() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("config.json");
    std::fs::write(&file, r#"{"AdminPassword": "correct horse"}"#).unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        open_to_others(&file, mode);
        let output = run_to_end(root.path(), &["--print-config"]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.contains("AdminPassword") && said.contains("chmod 600"), warned, "{mode:o}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_keeps_what_it_has_to_itself() {
    umask(Mode::from_bits_truncate(0o022));
    let root = tempfile::tempdir().unwrap();
    let port = free_ports(1).to_string();
    let dir = root.path().join("demo");
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_jettra-server"));
    demo.args(["demo", "--nodes", "1", "--port", &port, "--dir", dir.to_str().unwrap()]).kill_on_drop(true);
    let mut demo = demo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(LIMIT, "the demo's node has a state", async || {
        if dir.join("node1/data/state/CURRENT").exists() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_private(&dir);
    common::signal(demo.id().unwrap(), Signal::SIGTERM);
    demo.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_and_stops_though_nobody_takes_its_log() {
    let root = tempfile::tempdir().unwrap();
    // A log on a full disk; a reader that has died; one that is there and does not read.
    for case in ["full", "gone", "stuck"] {
        let mut node = Node::new(root.path(), case, json!({"LogLevel": "trace"}));
        let (reader, writer) = std::io::pipe().unwrap();
        let (stderr, reader) = match case {
            "full" => (Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap()), None),
            "gone" => (Stdio::from(writer), None),
            _ => (Stdio::from(writer), Some(reader)),
        };
        node.launch_with_stderr(stderr);
        eventually(LIMIT, "it answers", async || match node.try_get("/livez").await? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.shown()),
        })
        .await;
        // More lines than a pipe holds.
        for n in 0..200 {
            node.post("/api/doc?db=shop&col=things", json!({"_id": format!("{n}")})).await.ok();
        }
        let (status, took) = node.stop_gracefully().await;
        assert!(status.success() && took < 5 * SECOND, "{case}: {status} after {took:?}");
        drop(reader);
    }
}

#[tokio::test]
async fn a_start_that_is_refused_says_its_code_whoever_reads() {
    let root = tempfile::tempdir().unwrap();
    let run = |stdout: Stdio, stderr: Stdio, arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jettra-server"));
        command.args(arguments).current_dir(root.path()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        async move {
            let output = tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
            (output.code(), child)
        }
    };
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let nobody = || Stdio::from(std::io::pipe().unwrap().1);
    let read = |child: tokio::process::Child| async move {
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut child.stderr.unwrap(), &mut text).await.unwrap();
        text
    };
    let (code, child) = run(nobody(), Stdio::piped(), &["--print-config"]).await;
    assert_eq!((code, read(child).await.as_str()), (Some(0), ""), "who reads no more has had enough");
    let (code, child) = run(full(), Stdio::piped(), &["--print-config"]).await;
    let said = read(child).await;
    assert!(code == Some(1) && said.contains("could not be written") && said.lines().count() == 1, "{said}");
    for stderr in [full(), nobody()] {
        assert_eq!(run(Stdio::null(), stderr, &["--config", "missing.json"]).await.0, Some(2));
    }
    for stdout in [full(), nobody()] {
        assert_eq!(run(stdout, Stdio::null(), &["recover", "--plan", "."]).await.0, Some(2));
    }
}

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

/// What the doctor of `node` says of all that it finds.
async fn findings(node: &Node) -> Result<String, String> {
    Ok(node.try_get("/api/cluster/doctor").await?.success()?["findings"].to_string())
}

/// Runs the two commands that a doctor names for a member at `url` that has lost its data.
async fn register_anew(at: &Node, url: &str) {
    for call in ["deregister", "register"] {
        at.post(&format!("/api/cluster/{call}"), json!({ "url": url })).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_node_that_has_lost_its_disk_begins_no_second_cluster() {
    for settings in [json!({}), json!({"ClusterSecret": "a secret of sixteen bytes"})] {
        let mut cluster = Cluster::start_with(3, settings).await;
        cluster.nodes[0].post("/api/doc?db=t&col=c", json!({"_id": "old"})).await.ok();
        cluster.nodes[0].kill();
        cluster.nodes[0].wipe();
        cluster.nodes[0].start().await;
        let [first, second, _] = &cluster.nodes[..] else { panic!("three") };
        let said = eventually(LIMIT, "the first node's doctor says what it is", async || {
            findings(first)
                .await
                .and_then(|said| if said.contains("counts it as its member") { Ok(said) } else { Err(said) })
        })
        .await;
        assert!(said.contains("deregister") && said.contains(&first.url()), "{said}");
        let write = first.post("/api/doc?db=t&col=c&timeout=2", json!({"_id": "new"})).await;
        assert_eq!(write.error_code(), "unavailable", "{}", write.shown());
        assert_eq!(first.log().matches("beginning a new cluster").count(), 1, "{}", first.log());
        eventually(LIMIT, "the others' doctor says who answers there", async || {
            findings(second)
                .await
                .and_then(|said| if said.contains("no data and belongs to no cluster") { Ok(()) } else { Err(said) })
        })
        .await;
        register_anew(second, &first.url()).await;
        cluster.settled().await;
        cluster.nodes[0].get("/api/doc?db=t&col=c&id=old").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cluster_takes_no_writes_once_the_first_one_calls_its_node() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[0].post("/api/doc?db=t&col=c", json!({"_id": "old"})).await.ok();
    for node in &mut cluster.nodes {
        node.kill();
    }
    // Nobody is there to tell it, so it begins one: as far as it knows it is the first node.
    cluster.nodes[0].wipe();
    cluster.nodes[0].start().await;
    eventually(LIMIT, "it takes a write", async || {
        cluster.nodes[0].try_post("/api/doc?db=t&col=c", json!({"_id": "new"})).await?.success()
    })
    .await;
    for place in [1, 2] {
        cluster.nodes[place].start().await;
    }
    let refused = eventually(LIMIT, "it is told", async || {
        let answer = cluster.nodes[0].try_post("/api/doc?db=t&col=c", json!({"_id": "newer"})).await?;
        if answer.status == 503 { Ok(answer) } else { Err(answer.shown()) }
    })
    .await;
    let message = refused.error("unavailable")["message"].as_str().unwrap().to_owned();
    let data = cluster.nodes[0].dir().join("data");
    assert!(message.contains("takes no writes") && message.contains(data.to_str().unwrap()), "{message}");
    let registered = cluster.nodes[0].post("/api/cluster/register", json!({"url": "http://localhost:1"})).await;
    assert_eq!(registered.error_code(), "unavailable", "{}", registered.shown());
    cluster.nodes[0].get("/api/doc?db=t&col=c&id=new").await.ok();
    let said = findings(&cluster.nodes[0]).await.unwrap();
    assert!(said.contains("begun a cluster of its own"), "{said}");
    eventually(LIMIT, "the others' doctor says so too, and they go on", async || {
        let said = findings(&cluster.nodes[1]).await?;
        if !said.contains("belongs to another cluster") {
            return Err(said);
        }
        cluster.nodes[1].try_post("/api/doc?db=t&col=c", json!({"_id": "third"})).await?.success()
    })
    .await;

    // As the message says.
    cluster.nodes[0].stop_gracefully().await;
    cluster.nodes[0].configure("Bootstrap", false);
    std::fs::rename(&data, data.with_extension("second")).unwrap();
    cluster.nodes[0].start().await;
    register_anew(&cluster.nodes[1], &cluster.nodes[0].url()).await;
    cluster.settled().await;
    cluster.nodes[0].get("/api/doc?db=t&col=c&id=old").await.ok();
}

/// The library that gives a process another clock; nothing, with the reason, where this machine has none. CI has it.
fn faketime() -> Option<&'static Path> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu", "faketime", "."]
        .map(|arch| Path::new("/usr/lib").join(arch).join("faketime").join("libfaketimeMT.so.1"));
    let found = places.into_iter().find(|place| place.exists());
    if found.is_none() {
        let what = "a wrong clock was not tried: apt-get install --no-install-recommends libfaketime";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
        std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {what}\n").as_bytes()).unwrap();
    }
    found.map(|path| &*path.leak())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_jumps_ends_nothing_and_hands_over() {
    let Some(faketime) = faketime() else { return };
    let mut cluster = Cluster::start(3).await;
    let place = (cluster.leader().await + 1) % 3;
    let id = cluster.nodes[place].id.clone();
    let clock = cluster.nodes[place].dir().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let node = &mut cluster.nodes[place];
    for (name, value) in [
        ("LD_PRELOAD", faketime.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ] {
        node.set_env(name, value);
    }
    node.restart().await;
    cluster.settled().await;
    let ask = async |header: (&str, &str), place: usize| {
        let request = cluster.nodes[place].request("POST", "/api/doc?db=t&col=c").header(header.0, header.1);
        cluster.nodes[place].send(request.body(r#"{"pay":1}"#)).await.ok()["id"].as_str().unwrap().to_owned()
    };
    let (key, session) = (("Idempotency-Key", "order-1"), ("Jettra-Session", "s1;1;0"));
    let (by_key, by_session) = (ask(key, 0).await, ask(session, 0).await);
    let now = || u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for jump in ["+2d", "-2d"] {
        std::fs::write(&clock, "+0").unwrap();
        // It may hand over at once for what its clock was a moment ago.
        eventually(LIMIT, "it leads", async || {
            cluster.nodes[0].try_post("/api/cluster/transfer", json!({"node": id})).await?.success()?;
            let view = cluster.nodes[place].try_get("/api/cluster").await?.success()?;
            if view["leaderId"] == id.as_str() { Ok(()) } else { Err(view["leaderId"].to_string()) }
        })
        .await;
        std::fs::write(&clock, jump).unwrap();
        // Its first write after that, and some more.
        for n in 0..3 {
            let doc = format!("{jump}{n}");
            cluster.nodes[place].post("/api/doc?db=t&col=c", json!({"_id": doc})).await.ok();
            cluster.nodes[place]
                .put(&format!("/api/doc?db=t&col=c&id={}", doc.replace('+', "%2B")), json!({"_id": doc, "n": 1}))
                .await
                .ok();
            let versions =
                cluster.nodes[0].get(&format!("/api/versions?db=t&col=c&id={}", doc.replace('+', "%2B"))).await.ok();
            let time: u64 = versions
                .to_string()
                .split(['"', '_'])
                .find_map(|part| part.parse().ok().filter(|n| *n > 1 << 40))
                .unwrap();
            assert!(time.abs_diff(now()) < 60_000, "{versions} is {} ms off", time.abs_diff(now()));
        }
        eventually(LIMIT, "it hands over", async || {
            let view = cluster.nodes[0].try_get("/api/cluster").await?.success()?;
            if view["leaderId"].is_string() && view["leaderId"] != id.as_str() {
                Ok(())
            } else {
                Err(view["leaderId"].to_string())
            }
        })
        .await;
        eventually(LIMIT, "the doctor names its clock", async || {
            let said = findings(&cluster.nodes[(place + 1) % 3]).await?;
            if said.contains(&format!("the clock of {id} is wrong")) { Ok(()) } else { Err(said) }
        })
        .await;
    }
    std::fs::write(&clock, "+0").unwrap();
    for place in 0..3 {
        assert_eq!(ask(key, place).await, by_key, "paid twice");
        assert_eq!(ask(session, place).await, by_session, "paid twice");
    }
}
