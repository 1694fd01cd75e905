//! The shell against real nodes: at a terminal, with `-c`, from a pipe.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Cluster, Node, SECOND, eventually};
use expectrl::{ControlCode, Eof, Expect, Session};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a run of the shell came to.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// Its output, after checking that all commands succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_jettra-shell")
}

/// Runs the shell with these arguments and this input until it ends.
async fn shell(arguments: &[&str], input: &str) -> Run {
    let mut command = Command::new(program());
    command.args(arguments).env_remove("JETTRA_USER").env_remove("JETTRA_PASSWORD").kill_on_drop(true);
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the shell");
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(60 * SECOND, process.wait_with_output()).await.expect("the shell ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// `jettra-shell <url of node> -c <commands>`.
async fn commands(node: &Node, commands: &str) -> Run {
    shell(&[&node.url(), "-c", commands], "").await
}

/// The same with `--format json`: the last line, which is the last command's result.
async fn as_json(node: &Node, commands: &str) -> Value {
    let out = shell(&[&node.url(), "--format", "json", "-c", commands], "").await.ok();
    serde_json::from_str(out.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The cells of the table's row that begins with `first`.
fn row(table: &str, first: &str) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches(['│', ' ']).split(['│', '┆']).map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = table.lines().map(cells).filter(|row| row[0] == first);
    rows.next().unwrap_or_else(|| panic!("no row for {first}:\n{table}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_session_at_a_terminal() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.nodes[cluster.leader().await].id.clone();
    let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
    let talk = move || {
        let home = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(program());
        command.env("TERM", "xterm").env("JETTRA_HISTORY", home.path().join("history"));
        command.env_remove("JETTRA_USER").env_remove("JETTRA_PASSWORD");
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        session.expect("jettra> ").unwrap();
        // Any node will do.
        session.send(format!("connect {}\r", urls[1])).unwrap();
        session.expect(format!("Connected to {}\r\n", urls[1])).unwrap();
        session.send("federated nodes\r").unwrap();
        session.expect("Node ID").unwrap();
        for (id, url) in ["node1", "node2", "node3"].iter().zip(&urls) {
            session.expect(*id).unwrap();
            session.expect(url.as_str()).unwrap();
            session.expect("ACTIVE").unwrap();
            session.expect(if *id == leader { "LEADER *" } else { "FOLLOWER" }).unwrap();
        }
        session.expect("jettra> ").unwrap();
        session.send("federated leader\r").unwrap();
        session.expect(leader.as_str()).unwrap();
        session.expect("jettra> ").unwrap();
        session.send(ControlCode::EndOfTransmission).unwrap();
        session.expect(Eof).unwrap();
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_session_through_a_pipe() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for node in &cluster.nodes {
        let input = format!("connect {}\nfederated nodes\n", node.url());
        let out = shell(&[], &input).await.ok();
        assert!(out.starts_with(&format!("Connected to {}\n", node.url())), "{out}");
        for (place, member) in cluster.nodes.iter().enumerate() {
            let role = if place == leader { "LEADER *" } else { "FOLLOWER" };
            assert_eq!(row(&out, &member.id), [member.id.as_str(), &member.url(), "ACTIVE", role]);
        }
    }

    // The mark moves with leadership, and the dead are shown as such.
    cluster.nodes[leader].kill();
    let new = cluster.leader_other_than(leader).await;
    let (dead, alive) = (cluster.nodes[leader].id.clone(), &cluster.nodes[new]);
    eventually(20 * SECOND, "the table shows it", async || {
        let out = commands(alive, "federated nodes").await.ok();
        let shown = (row(&out, &dead)[2..].to_vec(), row(&out, &alive.id)[3].clone());
        if shown.0[0] == "INACTIVE" && shown.1 == "LEADER *" { Ok(()) } else { Err(out) }
    })
    .await;
    let gone = commands(&cluster.nodes[leader], "federated nodes").await;
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    assert!(gone.err.contains("no node can be reached"), "{}", gone.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_document() {
    let cluster = Cluster::start(3).await;
    let [one, two, three] = &cluster.nodes[..] else { unreachable!() };
    let out = commands(
        one,
        r#"create db shop; use shop; create col users; insert users {"_id":"ada","born":1815,"n":1.50};
           update users ada {"born":1816}; patch users ada {"tags":["a","b"]}; count users"#,
    )
    .await
    .ok();
    assert!(out.contains("Saved ada at revision ") && out.ends_with("1 document\n"), "{out}");

    // Another node shows it, indented or as it is stored.
    let out = commands(two, "use shop; get users ada; find users").await.ok();
    assert!(out.contains("{\n  \"_id\": \"ada\",\n  \"born\": 1816,\n  \"tags\": [\n"), "{out}");
    assert!(out.ends_with("{\"_id\":\"ada\",\"born\":1816,\"tags\":[\"a\",\"b\"]}\n(1 document)\n"), "{out}");

    let versions = as_json(three, "use shop; history users ada").await;
    let versions: Vec<&str> = versions.as_array().unwrap().iter().map(|version| version.as_str().unwrap()).collect();
    assert_eq!(versions.len(), 2, "{versions:?}");
    let table = commands(three, "use shop; history users ada").await.ok();
    for version in &versions {
        let (_, rev) = version.split_once('_').unwrap();
        assert_eq!(row(&table, version)[1], rev, "{table}");
    }
    let oldest = versions[1];
    let first = as_json(two, &format!("use shop; show version users ada {oldest}")).await;
    assert_eq!(first.to_string(), r#"{"_id":"ada","born":1815,"n":1.50}"#.replace("1.50", "1.5"));
    let text =
        shell(&[&two.url(), "-f", "json", "-c", &format!("use shop; show version users ada {oldest}")], "").await;
    assert!(text.ok().ends_with("{\"_id\":\"ada\",\"born\":1815,\"n\":1.50}\n"), "numbers stay as they were written");

    let out = commands(one, &format!("use shop; delete users ada; count users; revert users ada {oldest}")).await.ok();
    assert!(out.ends_with("Deleted ada\n0 documents\nRestored ada\n"), "{out}");
    assert_eq!(as_json(three, "use shop; get users ada").await["born"], 1815);
    assert_eq!(as_json(three, "use shop; count users").await, json!({ "count": 1 }));
    assert_eq!(as_json(two, "show dbs").await.as_array().unwrap().iter().filter(|db| db["name"] == "shop").count(), 1);
    let out = commands(two, "use shop; rename col users people; show collections; drop col people; drop db shop").await;
    assert!(out.ok().contains("people"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_whether_all_succeeded() {
    let node = Node::standalone(json!({})).await;
    for (given, wanted) in [
        ("use shop; get users nobody", "\"nobody\""),
        ("use shop; patch users nobody {}", "(not_found)"),
        ("use shop; insert users [1]", "(bad_request)"),
        ("use shop; insert .users {}", "(invalid_name)"),
        ("use shop; revert users nobody 1_1", "(not_found)"),
        ("use shop; show version users nobody 1_1", "\"1_1\""),
        ("fedrated nodes", "\"federated nodes\""),
        ("count users", "use"),
        ("cluster register localhost:1", "(conflict)"),
    ] {
        let run = commands(&node, &format!("{given}; show dbs")).await;
        assert_eq!(run.code, 1, "{given}: {}", run.out);
        assert!(run.err.starts_with("error: ") && run.err.contains(wanted), "{given}: {}", run.err);
        assert!(!run.out.contains("_system"), "what comes after a failure is not run: {}", run.out);
    }
    let run = shell(&[&node.url(), "--keep-going", "-c", "use shop; get users nobody; count users"], "").await;
    assert_eq!((run.code, run.out.as_str()), (1, "Using shop\n0 documents\n"));
    let run = shell(&[&node.url(), "--format", "json"], "use shop\npatch users nobody {}\n").await;
    let error: Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!((run.code, &error["error"]["code"]), (1, &json!("not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn input_from_a_pipe_may_go_over_lines_and_hold_many_documents() {
    let cluster = Cluster::start(3).await;
    let mut input = "# fill\nuse shop\n".to_owned();
    for number in 0..40 {
        input += &format!("insert users {{\n  \"_id\": \"{number:02}\",\n  \"text\": \"a; b # {number}\"\n}}\n");
    }
    input += "count users\nfind users limit 2 offset 38";
    let out = shell(&[&cluster.nodes[2].url()], &input).await.ok();
    assert_eq!(out.matches("Saved ").count(), 40, "{out}");
    let last = "{\"_id\":\"38\",\"text\":\"a; b # 38\"}\n{\"_id\":\"39\",\"text\":\"a; b # 39\"}\n(2 documents)\n";
    assert!(out.contains("40 documents\n") && out.ends_with(last), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_shown_and_changed() {
    let mut cluster = Cluster::unregistered(|number| {
        let id = format!("node{number}");
        let config = json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": number == 1 });
        (number <= 3).then_some(config)
    })
    .await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    let waiting = commands(&cluster.nodes[1], &format!("connect {}; show dbs", cluster.nodes[1].url())).await;
    assert!(waiting.out.starts_with("Connected to ") && waiting.code == 1, "{}", waiting.out);
    assert!(waiting.err.contains("registered"), "it says what to do: {}", waiting.err);

    let (second, third) = (cluster.nodes[1].url(), cluster.nodes[2].url());
    let bare = third.trim_start_matches("http://");
    let out = commands(&cluster.nodes[0], &format!("cluster register {second}; cluster add {bare}")).await.ok();
    assert!(out.contains("Registered node2") && out.contains("Registered node3"), "{out}");
    cluster.settled().await;

    let out = commands(&cluster.nodes[2], "cluster status").await.ok();
    assert!(out.contains("Asked node3 (FOLLOWER), leader node1, term "), "{out}");
    assert!(out.contains("may lose 1 more"), "{out}");
    assert_eq!(row(&out, "node1")[2..5], ["ACTIVE", "LEADER *", "yes"], "{out}");
    assert_eq!(row(&out, "node3")[2..5], ["ACTIVE", "FOLLOWER", "yes"], "{out}");
    let view = as_json(&cluster.nodes[0], "cluster status").await;
    assert_eq!((&view["leaderId"], view["nodes"].as_array().unwrap().len()), (&json!("node1"), 3));

    let out =
        commands(&cluster.nodes[0], "cluster stop node3 --dry-run; cluster deregister node3 --dry-run").await.ok();
    assert_eq!(out.matches("Allowed: nothing was changed").count(), 2, "{out}");
    assert!(out.contains("3 voters, 3 active, majority 2, may lose 1"), "{out}");
    cluster.settled().await;

    assert_eq!(commands(&cluster.nodes[2], "cluster transfer node2").await.ok(), "node2 leads now\n");
    assert_eq!(as_json(&cluster.nodes[0], "federated leader").await["id"], "node2");
    let out = commands(&cluster.nodes[0], "cluster stop node3").await.ok();
    assert_eq!(out, "node3 was told to stop\n");
    assert_eq!(cluster.nodes[2].ended(20 * SECOND).await.code(), Some(0));
    assert_eq!(commands(&cluster.nodes[0], "cluster stop node3").await.ok(), "node3 had stopped already\n");
    let refused = commands(&cluster.nodes[0], "cluster stop node1").await;
    assert!(refused.code == 1 && refused.err.contains("(quorum_at_risk)"), "{}", refused.err);
    assert_eq!(commands(&cluster.nodes[0], "cluster deregister node3").await.ok(), "Deregistered node3\n");
    assert_eq!(as_json(&cluster.nodes[0], "federated nodes").await.as_array().unwrap().len(), 2);

    // A read replica, and back.
    let fourth = cluster.add("node4", json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": "node4" }));
    fourth.start().await;
    let url = fourth.url();
    let plan = commands(&cluster.nodes[0], &format!("cluster register {url} --replica --dry-run")).await.ok();
    assert!(plan.contains("Allowed: nothing was changed"), "{plan}");
    let out = commands(&cluster.nodes[0], &format!("federated register {url} --replica")).await.ok();
    assert_eq!(out, "Registered node4\n");
    let out = commands(&cluster.nodes[0], "cluster status").await.ok();
    assert_eq!(row(&out, "node4")[2..5], ["ACTIVE", "REPLICA", "no"], "{out}");
    let asked = commands(cluster.nodes.last().unwrap(), "cluster status").await.ok();
    assert!(asked.contains("Asked node4 (REPLICA), leader "), "{asked}");
    let out = commands(&cluster.nodes[0], "cluster promote node4 --dry-run; cluster promote node4").await.ok();
    assert!(out.contains("3 voters, 3 active, majority 2, may lose 1") && out.ends_with("Promoted node4\n"), "{out}");
    let out = commands(&cluster.nodes[0], "cluster demote node4 --dry-run; federated demote node4").await.ok();
    assert!(out.contains("2 voters, 2 active, majority 2, may lose 0") && out.ends_with("Demoted node4\n"), "{out}");

    let alone = Node::standalone(json!({})).await;
    let out = commands(&alone, "cluster status").await.ok();
    assert!(out.contains("not distributed"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_given() {
    let node = Node::standalone(json!({})).await;
    node.post("/api/change-password", r#"{"newPassword":"open sesame"}"#).await.ok();
    let run = commands(&node, "show dbs").await;
    assert!(run.code == 1 && run.err.contains("(unauthorized)"), "{}", run.err);
    let run = shell(&[&node.url(), "-u", "admin", "-p", "guess", "-c", "show dbs"], "").await;
    assert!(run.code == 1 && run.err.contains("(unauthorized)"), "{}", run.err);
    for given in ["show dbs", "login; show dbs", "login admin \"open sesame\"; show dbs"] {
        let run = shell(&[&node.url(), "-u", "admin", "-p", "open sesame", "-c", given], "").await;
        assert!(run.ok().contains("_system"), "{given}");
    }
}

/// The page starts the shell under the name it had before. Where cargo builds elsewhere than in `target`,
/// the script would build it again, which is no matter for a test.
#[test]
fn the_shell_answers_to_its_old_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !std::path::Path::new(program()).starts_with(root.join("target")) {
        println!("skipped: the program is not in {}", root.join("target").display());
        return;
    }
    let version = |program: &std::path::Path| {
        let run = std::process::Command::new(program).arg("--version").output().unwrap();
        (run.status.success(), String::from_utf8(run.stdout).unwrap())
    };
    let old_name = root.join("jettra-shell/target/jettraDBVMShell.jar");
    assert_eq!(version(&old_name), version(std::path::Path::new(program())));
}
