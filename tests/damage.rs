//! A bit flips in a file of a node that does not run: it is found before anything wrong is served, and the command in
//! the message mends it, or names the commands that do.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Acknowledged, Cluster, LIMIT, Node, SECOND, Writers, eventually, run_to_end};
use serde_json::{Value, json};

/// The member whose files are damaged. It does not lead.
const VICTIM: usize = 2;

/// What came of a start on damaged files.
#[derive(Debug)]
enum Start {
    /// The node ended and said why, in one line.
    Refused(String),
    /// It serves everything that the others have.
    Serves,
}

/// Three members with documents of all sizes, of which some were changed and deleted.
async fn members_with_data() -> Cluster {
    let cluster = Cluster::start_with(3, json!({})).await;
    write_some(&cluster, "first").await;
    cluster.settled().await;
    cluster
}

async fn write_some(cluster: &Cluster, run: &str) {
    let node = &cluster.nodes[0];
    for number in 0..40 {
        let document = json!({"_id": format!("{run}-{number}"), "text": "some words ".repeat(number * number)});
        node.post("/api/doc?db=shop&col=things", &document).await.ok();
    }
    for number in 0..10 {
        let path = format!("/api/doc?db=shop&col=things&id={run}-{number}");
        node.patch(&path, json!({"changed": number})).await.ok();
    }
    node.delete(&format!("/api/doc?db=shop&col=things&id={run}-3")).await.ok();
}

/// Everything that the node has, read from its own state.
async fn documents(node: &Node, consistency: &str) -> Result<Value, String> {
    node.try_get(&format!("/api/query?db=shop&col=things&limit=0{consistency}")).await?.success()
}

/// Starts the node at `place` and reads everything from it, until it has what the others have or has ended.
async fn start(cluster: &mut Cluster, place: usize) -> Start {
    let expected = match cluster.nodes.len() {
        1 => None,
        _ => Some(documents(&cluster.nodes[0], "").await.unwrap()),
    };
    let before = cluster.nodes[place].log().len();
    cluster.nodes[place].launch();
    let limit = Instant::now() + LIMIT;
    loop {
        let node = &mut cluster.nodes[place];
        if node.has_ended() {
            let log = node.log();
            let said: Vec<&str> = log[before..].lines().filter(|line| line.starts_with("jettra-server: ")).collect();
            assert!(!log[before..].contains("panicked at") || !said.is_empty(), "{}", node.log_tail(30));
            assert_eq!(said.len(), 1, "one line says why: {}", node.log_tail(30));
            return Start::Refused(said[0].to_owned());
        }
        let has = documents(node, "").await;
        match (&has, &expected) {
            (Ok(has), Some(expected)) => {
                assert_eq!(has, expected, "{} serves something else", node.id);
                // A document is read by its id on another path than a query's.
                for document in expected.as_array().unwrap() {
                    let id = document["_id"].as_str().unwrap();
                    let one = node.get(&format!("/api/doc?db=shop&col=things&id={id}")).await;
                    assert_eq!(&one.ok(), document);
                }
                return Start::Serves;
            }
            (Ok(_), None) => return Start::Serves,
            (Err(seen), _) => assert!(Instant::now() < limit, "neither served nor refused: {seen}"),
        }
        tokio::time::sleep(SECOND / 50).await;
    }
}

/// Flips one bit of the file and gives what flips it back.
fn flip(path: &Path, at: usize, bit: u8) -> Vec<u8> {
    let whole = std::fs::read(path).unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 1 << bit;
    std::fs::write(path, flipped).unwrap();
    whole
}

fn data(node: &Node) -> PathBuf {
    node.dir().join("data")
}

/// Checks that the line names `path` and the command, and gives the command's arguments.
#[track_caller]
fn command_of(said: &str, path: &str) -> Vec<String> {
    assert!(said.contains(path), "{path} is not named: {said}");
    let command = said.split("jettra-server ").last().unwrap();
    assert!(command.starts_with("repair --data-dir "), "no command: {said}");
    command.split_whitespace().map(str::to_owned).collect()
}

/// Runs the command that the node named; gives its exit code and what it printed.
async fn run_named(node: &Node, command: &[String]) -> (i32, String) {
    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = run_to_end(node.dir(), &arguments).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), printed)
}

/// Start, middle and end.
fn places(path: &Path) -> [usize; 3] {
    let bytes = std::fs::metadata(path).unwrap().len() as usize;
    [0, bytes / 2, bytes - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_small_file_is_found_and_put_back() {
    let mut cluster = members_with_data().await;
    let dir = data(&cluster.nodes[VICTIM]);
    eventually(LIMIT, "the members are written down", async || {
        if dir.join("members.json").exists() { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    cluster.nodes[VICTIM].stop_gracefully().await;
    let durable = in_use(&dir).join("durable");
    for path in [dir.join("node.json"), dir.join("secret"), dir.join("state/CURRENT"), durable] {
        for n in 0..3 {
            let at = places(&path)[n];
            let whole = flip(&path, at, n as u8);
            let Start::Refused(said) = start(&mut cluster, VICTIM).await else {
                panic!("{path:?} at {at} went unnoticed")
            };
            let command = command_of(&said, &path.file_name().unwrap().to_string_lossy());
            let (code, printed) = run_named(&cluster.nodes[VICTIM], &command).await;
            assert_eq!(code, 0, "{printed}");
            assert!(printed.contains("put back"), "{printed}");
            // The store's own mark moves on when the repair reads the store.
            if !path.ends_with("durable") {
                assert_eq!(std::fs::read(&path).unwrap(), whole, "{path:?} is as it was");
            }
        }
        assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves));
        cluster.nodes[VICTIM].kill();
    }
    // The mark has two slots and the addresses are written anew: a node goes on without them.
    for path in [dir.join("log.acked"), dir.join("members.json")] {
        for n in 0..3 {
            flip(&path, places(&path)[n], 2);
            assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves), "{path:?}");
            cluster.nodes[VICTIM].stop_gracefully().await;
        }
    }
    let (code, printed) =
        run_named(&cluster.nodes[VICTIM], &["repair".into(), "--data-dir".into(), "data".into()]).await;
    assert!(code == 0 && !printed.contains("DAMAGED"), "{printed}");
}

/// The directory of the state in use.
fn in_use(dir: &Path) -> PathBuf {
    let current = std::fs::read_to_string(dir.join("state/CURRENT")).unwrap();
    dir.join("state").join(current.split(' ').next().unwrap())
}

/// The files of the store, those of the metadata first; empty ones have no bit to flip.
fn store_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![in_use(dir).join("format")];
    for below in ["tree/metadata", "tree", "tree/slabs"] {
        let mut found: Vec<PathBuf> = std::fs::read_dir(in_use(dir).join(below))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.metadata().unwrap().len() > 0)
            .collect();
        // Of the leaves' files the smallest and the largest two: the others are like them.
        found.sort_by_key(|path| path.metadata().unwrap().len());
        if below == "tree/slabs" && found.len() > 3 {
            found.drain(1..found.len() - 2);
        }
        files.extend(found);
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_state_is_found_and_the_state_is_built_again() {
    let mut cluster = members_with_data().await;
    let mut found = 0;
    let mut kinds = std::collections::BTreeSet::new();
    for round in 0.. {
        // Every second time it is killed: then the last durable point lies further back.
        write_some(&cluster, &format!("round-{}", round % 4)).await;
        cluster.settled().await;
        let victim = &mut cluster.nodes[VICTIM];
        victim.stop_gracefully().await;
        if round % 2 == 1 {
            assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves));
            cluster.nodes[VICTIM].kill();
        }
        let dir = data(&cluster.nodes[VICTIM]);
        let files = store_files(&dir);
        let Some(path) = files.get(round) else { break };
        for (n, at) in places(path).into_iter().enumerate() {
            if !path.exists() {
                break; // the state was set aside, and the new one has other files
            }
            flip(path, at, n as u8 + 1);
            let (said, command) = match start(&mut cluster, VICTIM).await {
                Start::Refused(said) => {
                    let command = command_of(&said, "state");
                    (said, command)
                }
                Start::Serves => {
                    // A slot that nobody uses, or one that no reader has come to yet: the check reads all.
                    assert!(path.to_string_lossy().contains("slabs"), "{path:?} at {at} went unnoticed");
                    cluster.nodes[VICTIM].stop_gracefully().await;
                    ("nothing".to_owned(), ["repair", "--data-dir", "data"].map(str::to_owned).to_vec())
                }
            };
            let (code, printed) = run_named(&cluster.nodes[VICTIM], &command).await;
            assert_eq!(code, 0, "{said}\n{printed}");
            if said == "nothing" && !printed.contains("DAMAGED") {
                continue;
            }
            found += 1;
            kinds.insert(path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned());
            assert!(printed.contains("set aside"), "{said}\n{printed}");
            assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves), "after {said}");
            cluster.nodes[VICTIM].stop_gracefully().await;
            break;
        }
        assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves));
    }
    assert!(found >= 4 && kinds.len() >= 3, "{found} flips were found in {kinds:?}");
    let aside = std::fs::read_dir(data(&cluster.nodes[VICTIM])).unwrap();
    let aside =
        aside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("state.damaged-"));
    assert_eq!(aside.count(), found, "nothing was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_log_does_not_reach_back_fetches_its_state_from_another_one() {
    let mut cluster = Cluster::start_with(3, json!({"LogRetainEntries": 20, "LogRetainBytes": 1 << 20})).await;
    for run in 0..4 {
        write_some(&cluster, &format!("run-{run}")).await;
    }
    cluster.settled().await;
    let dir = data(&cluster.nodes[VICTIM]);
    eventually(2 * LIMIT, "the log has let go of its beginning, and the members are written down", async || {
        write_some(&cluster, "more").await;
        let metrics = cluster.nodes[VICTIM].try_get("/metrics").await?.body;
        let first = metrics.lines().find_map(|line| line.strip_prefix("jettra_log_first_index ")).unwrap_or("0");
        match first.parse::<u64>() {
            Ok(1..) if dir.join("members.json").exists() => Ok(()),
            _ => Err(format!("the first index is {first}")),
        }
    })
    .await;
    cluster.settled().await;
    cluster.nodes[VICTIM].kill();
    let metadata = std::fs::read_dir(in_use(&dir).join("tree/metadata")).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = metadata.into_iter().find(|path| path.to_string_lossy().contains("snapshot_")).unwrap();
    let middle = places(&snapshot)[1];
    flip(&snapshot, middle, 6);
    let Start::Refused(said) = start(&mut cluster, VICTIM).await else { panic!("unnoticed") };
    let (code, printed) = run_named(&cluster.nodes[VICTIM], &command_of(&said, "snapshot_")).await;
    assert!(code == 0 && printed.contains("fetches it from another member"), "{printed}");

    // The others go on writing meanwhile. It is killed while it fetches, and begins again.
    let writers = Writers::start(&cluster, 4, "meanwhile");
    let before = cluster.nodes[VICTIM].log().len();
    cluster.nodes[VICTIM].launch();
    eventually(LIMIT, "it asks for the state", async || {
        let log = cluster.nodes[VICTIM].log();
        if log[before..].contains("fetching it from another member") { Ok(()) } else { Err(log) }
    })
    .await;
    cluster.nodes[VICTIM].kill();
    assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves));
    assert!(cluster.nodes[VICTIM].log().contains("the state was fetched"));
    let acknowledged = writers.stop().await;
    cluster.settled().await;
    Acknowledged::all_on_every_node(&acknowledged, &cluster).await;

    // It votes and leads as before: with one of the others gone it is part of the majority.
    let other = (VICTIM + 1) % 3;
    cluster.nodes[other].kill();
    eventually(LIMIT, "two of three write", async || {
        cluster.nodes[VICTIM].try_post("/api/doc?db=shop&col=things", json!({"_id": "two"})).await?.success()
    })
    .await;
}

/// Where the bytes of `needle` are for the last time.
#[track_caller]
fn last_place_of(bytes: &[u8], needle: &[u8]) -> usize {
    (0..bytes.len() - needle.len())
        .rev()
        .find(|at| bytes[*at..].starts_with(needle))
        .unwrap_or_else(|| panic!("{:?} is not in {} bytes", std::str::from_utf8(needle), bytes.len()))
}

fn newest_chunk(node: &Node) -> PathBuf {
    let chunks = std::fs::read_dir(data(node).join("log")).unwrap().map(|entry| entry.unwrap().path());
    chunks.filter(|path| path.extension().is_some_and(|ext| ext == "wal")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_log_is_found_and_the_node_comes_back_as_a_new_member() {
    let mut cluster = members_with_data().await;
    for gently in [true, false] {
        write_some(&cluster, if gently { "gently" } else { "killed" }).await;
        cluster.nodes[0].post("/api/doc?db=shop&col=things", json!({"_id": "needle", "n": gently})).await.ok();
        cluster.settled().await;
        let victim = &mut cluster.nodes[VICTIM];
        if gently {
            victim.stop_gracefully().await;
        } else {
            victim.kill();
        }
        let chunk = newest_chunk(victim);
        let bytes = std::fs::read(&chunk).unwrap();
        let needle = last_place_of(&bytes, b"needle");
        let command = last_place_of(&bytes[..needle], b"{\"v\"");
        let flips = [
            (3, 2),               // the first record's kind: it reads as an entry of enormous length
            (3, 0),               // its kind again
            (bytes.len() / 2, 5), // somewhere in the middle
            (needle + 2, 1),      // the content of an entry that was acknowledged
            (command - 4, 6),     // its length: enormous
            (command - 1, 0),     // its length: a byte off
            (bytes.len() - 1, 7), // the last byte
        ];
        for (at, bit) in flips {
            flip(&chunk, at, bit);
            let flipped = std::fs::read(&chunk).unwrap();
            let Start::Refused(said) = start(&mut cluster, VICTIM).await else {
                panic!("byte {at} of {} went unnoticed", bytes.len())
            };
            command_of(&said, chunk.to_str().unwrap().split("data/").last().unwrap());
            assert!(chunk.exists(), "{said}");
            assert_eq!(std::fs::read(&chunk).unwrap(), flipped, "a damaged log is left as it is");
            std::fs::write(&chunk, &bytes).unwrap();
        }
        // Whole again, it serves; a tail of zeros was promised to nobody and goes.
        std::fs::write(&chunk, [&bytes[..], &[0; 500]].concat()).unwrap();
        assert!(matches!(start(&mut cluster, VICTIM).await, Start::Serves));
    }
    cluster.nodes[VICTIM].stop_gracefully().await;

    // The commands that the repair names, as they stand there.
    let chunk = newest_chunk(&cluster.nodes[VICTIM]);
    flip(&chunk, 20, 3);
    let Start::Refused(said) = start(&mut cluster, VICTIM).await else { panic!("unnoticed") };
    let (code, printed) = run_named(&cluster.nodes[VICTIM], &command_of(&said, "log")).await;
    assert_eq!(code, 1, "{printed}");
    let commands = printed.split("Run: ").last().unwrap().trim();
    let (first, second) = commands.split_once("; then start the node and run: ").unwrap();
    shell(cluster.nodes[VICTIM].dir(), first).await;
    cluster.nodes[VICTIM].start().await;
    shell(cluster.nodes[VICTIM].dir(), second).await;
    cluster.settled().await;
    assert_eq!(documents(&cluster.nodes[VICTIM], "").await, documents(&cluster.nodes[0], "").await);
}

/// Runs a line as a person would who pastes it.
async fn shell(dir: &Path, line: &str) {
    let output = tokio::process::Command::new("sh").args(["-c", line]).current_dir(dir).output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !printed.contains("\"error\""), "{line}: {printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_refuses_what_is_no_stopped_node() {
    let node = Node::standalone(json!({})).await;
    let repair = |dir: &str| ["repair".to_owned(), "--data-dir".to_owned(), dir.to_owned()];
    for (dir, why) in [("data", "in use"), ("nowhere", "no directory"), (".", "no data directory")] {
        let (code, printed) = run_named(&node, &repair(dir)).await;
        assert!(code == 2 && printed.contains(why) && printed.lines().count() == 1, "{dir}: {code} {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_gone_is_not_started_and_not_begun_anew() {
    let mut node = Node::standalone(json!({})).await;
    node.post("/api/doc?db=shop&col=things", json!({"_id": "kept"})).await.ok();
    node.stop_gracefully().await;
    let dir = data(&node);
    // One after the other goes; from the second on nothing but node.json tells that there was anything.
    for gone in [&["log"][..], &["log", "log.acked"], &["log", "log.acked", "state"]] {
        for name in gone {
            std::fs::rename(dir.join(name), dir.join(format!("{name}.away"))).unwrap();
        }
        let repair = ["repair".to_owned(), "--data-dir".to_owned(), "data".to_owned()];
        for started in [false, true] {
            if started {
                node.launch();
                assert_eq!(node.ended(LIMIT).await.code(), Some(2), "without {gone:?}: {}", node.log_tail(3));
                command_of(&node.log_tail(1), "log");
            }
            let (code, printed) = run_named(&node, &repair).await;
            assert!(code == 1 && printed.contains("what this node promised"), "without {gone:?}: {code} {printed}");
            assert!(!printed.contains("can be started") && !printed.contains("set aside"), "{printed}");
        }
        for name in gone {
            let place = dir.join(name);
            if place.is_dir() {
                std::fs::remove_dir_all(&place).unwrap();
            }
            std::fs::rename(dir.join(format!("{name}.away")), &place).unwrap();
        }
    }
    // What can be read of it goes on as a new cluster.
    std::fs::remove_dir_all(dir.join("log")).unwrap();
    let recover = ["recover", "--accept-loss", "--apply", "data"].map(str::to_owned);
    let (code, printed) = run_named(&node, &recover).await;
    assert_eq!(code, 0, "{printed}");
    node.start().await;
    let has =
        eventually(LIMIT, "it serves", async || node.try_get("/api/doc?db=shop&col=things&id=kept").await?.success());
    assert_eq!(has.await["_id"], "kept");
}
