//! The shell as programs use it: arguments, pipes, exit codes.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use jettra_client::testing::{FakeCluster, FakeNode};

fn shell(url: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    command.arg(url).env_remove("JETTRA_USER").env_remove("JETTRA_PASSWORD");
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn commands_from_an_argument() {
    let node = FakeNode::start().unwrap();
    let commands = r#"use shop; insert users {"_id":"ada","note":"a; b"}; count users; get users ada"#;
    let (code, out, err) = run(shell(&node.url()).args(["-c", commands]));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(lines[..3], ["Using shop", "Saved ada at revision 2", "1 document"]);
    assert_eq!(lines[3..].join("\n"), "{\n  \"_id\": \"ada\",\n  \"note\": \"a; b\"\n}");
}

#[test]
fn commands_from_a_pipe() {
    let node = FakeNode::start().unwrap();
    let input = "# fill\nuse shop\ninsert users {\n  \"_id\": \"ada\"\n}\ncount users";
    let (code, out, err) = run(shell(&node.url()).write_stdin(input));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("1 document\n"), "{out}");
}

#[test]
fn the_exit_code_tells_whether_all_succeeded() {
    let node = FakeNode::start().unwrap();
    let (code, out, err) = run(shell(&node.url()).write_stdin("use shop\nget users nobody\ncount users\n"));
    assert_eq!(code, 1);
    assert_eq!(out, "Using shop\n", "what comes after a failure is not run");
    assert_eq!(err, "error: users has no document \"nobody\"; list them with: find users\n");

    let keep_going = "use shop; get users nobody; count users";
    let (code, out, _) = run(shell(&node.url()).args(["--keep-going", "-c", keep_going]));
    assert_eq!((code, out.as_str()), (1, "Using shop\n0 documents\n"));

    let (code, _, err) = run(shell(&node.url()).args(["-c", "insert users {\"a\": 1"]));
    assert_eq!(code, 1);
    assert!(err.contains("not closed"), "{err}");
}

#[test]
fn an_unknown_command_is_named_with_the_nearest() {
    let (code, _, err) = run(shell("http://localhost:1").args(["-c", "fedrated nodes"]));
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "error: there is no command \"fedrated nodes\"; did you mean \"federated nodes\"? all are listed by: help\n"
    );
}

#[test]
fn what_cannot_be_reached_is_told() {
    let node = FakeNode::start().unwrap();
    node.stop();
    let (code, out, err) = run(shell(&node.url()).args(["--timeout", "0.3", "-c", "show dbs"]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: no node can be reached") && err.contains(&node.url()), "{err}");
    let (code, _, _) = run(shell(&node.url()).args(["-c", &format!("connect {}", node.url())]));
    assert_eq!(code, 1);
}

#[test]
fn results_as_json() {
    let cluster = FakeCluster::start(2).unwrap();
    let url = cluster.node(0).url();
    let json = |commands: &str| {
        let (code, out, err) = run(shell(&url).args(["--format", "json", "-c", commands]));
        assert_eq!((code, err.as_str()), (0, ""), "{commands}");
        out.lines().last().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).unwrap()
    };
    assert_eq!(json("federated nodes")[1]["id"], "node2");
    assert_eq!(json("federated leader")["id"], "node1");
    assert_eq!(json("use shop; insert users {\"_id\":\"a\",\"n\":1.50}")["id"], "a");
    assert_eq!(json("use shop; find users")[0]["_id"], "a");
    assert_eq!(json("use shop; count users")["count"], 1);
    assert_eq!(json("cluster stop node2 --dry-run")["allowed"], true);

    let (code, _, err) = run(shell(&url).args(["--format", "json", "-c", "use shop; patch users b {}"]));
    let error: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, error["error"]["code"].as_str()), (1, Some("not_found")));
}

#[test]
fn the_life_of_a_document() {
    let node = FakeNode::start().unwrap();
    let commands = "use shop; insert t {\"_id\":\"a\",\"n\":1}; update t a {\"n\":2}; patch t a {\"m\":3}; \
        history t a; show version t a 1767225600000_2; revert t a 1767225600000_2; find t; delete t a; count t";
    let (code, out, err) = run(shell(&node.url()).args(["-c", commands]));
    assert_eq!((code, err.as_str()), (0, ""));
    for wanted in [
        "1767225600000_3",
        "2026-01-01 00:00:00.000",
        "Restored a",
        "{\"_id\":\"a\",\"n\":1}\n(1 document)",
        "Deleted a\n0 documents",
    ] {
        assert!(out.contains(wanted), "{wanted:?} is not in\n{out}");
    }
}

#[test]
fn catalog_and_cluster_commands() {
    let cluster = FakeCluster::start(3).unwrap();
    let url = cluster.node(0).url();
    let commands = "create db shop; use shop; create col users; rename col users people; show collections; \
        rename db shop store; show dbs; drop col people; drop db store; cluster status; \
        cluster register localhost:7777; cluster add localhost:7777; cluster transfer node2; cluster stop node3; \
        cluster pause node2; cluster resume node2; cluster deregister node3; federated leader; help cluster";
    let (code, out, err) = run(shell(&url).args(["-c", commands]));
    assert_eq!((code, err.as_str()), (0, ""));
    for wanted in [
        "people",
        "Renamed to store",
        "term 1",
        "Registered node4",
        "node2 leads now",
        "node3 was told to stop",
        "Deregistered node3",
        "cluster transfer <node id or url>",
    ] {
        assert!(out.contains(wanted), "{wanted:?} is not in\n{out}");
    }
}

#[test]
fn names_from_data_cannot_drive_the_terminal() {
    let node = FakeNode::start().unwrap();
    let commands = "use shop; insert t {\"_id\":\"\\u001b[31mred\",\"x\":\"\u{9b}\"}; find t";
    let (_, out, _) = run(shell(&node.url()).args(["-c", commands]));
    assert!(!out.contains(['\u{1b}', '\u{9b}']), "{out:?}");
    assert!(out.contains("Saved \\u{1b}[31mred") && out.contains("\\u009b"), "{out}");
}

#[test]
fn credentials_are_taken_from_arguments_and_environment() {
    let node = FakeNode::start().unwrap();
    node.require_login();
    let (code, _, err) = run(shell(&node.url()).args(["-c", "show dbs"]));
    assert_eq!(code, 1);
    assert!(err.contains("(unauthorized)"), "{err}");
    let environment = [("JETTRA_USER", "admin"), ("JETTRA_PASSWORD", "password")];
    assert_eq!(run(shell(&node.url()).args(["-c", "show dbs"]).envs(environment)).0, 0);
    assert_eq!(run(shell(&node.url()).args(["--password", "password", "-c", "login; show dbs"])).0, 0);
    let (code, out, err) = run(shell(&node.url()).args(["--password", "password", "-c", "login; logout; show dbs"]));
    assert!(code == 1 && out.ends_with("Logged out\n") && err.contains("(unauthorized)"), "{out}{err}");
    let (code, out, err) = run(shell(&node.url()).args(["--password", "password", "-c", "login; tokens"]));
    assert!(code == 0 && out.contains("admin") && !out.contains("Bearer"), "{out}{err}");
    let (code, out, err) = run(shell(&node.url()).args(["--password", "password", "-c", "end token nobodys"]));
    assert!(code == 1 && err.contains("(not_found)"), "{out}{err}");
    let (code, out, err) = run(shell(&node.url()).args(["-c", &format!("connect {}", node.url())]));
    assert_eq!((code, out), (0, format!("Connected to {}\n", node.url())), "it is a node, though it asks who is there");
    assert!(err.starts_with("note: "), "{err}");
}

#[test]
fn a_password_is_shown_to_the_cluster_that_it_belongs_to_and_to_nobody_else() {
    let cluster = FakeCluster::start(2).unwrap();
    let elsewhere = FakeNode::start().unwrap();
    let environment = [("JETTRA_USER", "admin"), ("JETTRA_PASSWORD", "password")];
    let connect = |url: &str| format!("connect {url}; show dbs");
    let (_, _, err) = run(shell(&cluster.node(0).url()).args(["-c", &connect(&elsewhere.url())]).envs(environment));
    assert!(err.contains("user and password were left out"), "{err}");
    assert!(elsewhere.received().iter().all(|call| call.authorization.is_none()), "{:?}", elsewhere.received());
    assert!(!elsewhere.received().is_empty());
    // A member of the same cluster is another matter.
    let known = run(shell(&cluster.node(0).url()).args(["-c", &connect(&cluster.node(1).url())]).envs(environment));
    assert!(cluster.node(1).received().iter().any(|call| call.authorization.is_some()), "{known:?}");
    // What stands before @ is in no message.
    let (code, out, err) = run(shell(&elsewhere.url()).args(["-c", "connect http://admin:TOPSECRET@localhost:1"]));
    assert!(code == 1 && !out.contains("TOPSECRET") && !err.contains("TOPSECRET"), "{out}{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_password_on_the_command_line_does_not_stay_there() {
    let node = FakeNode::start().unwrap();
    node.next(jettra_client::testing::Mishap::Silence);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    command.arg(node.url()).env_remove("JETTRA_USER").env_remove("JETTRA_PASSWORD");
    command.args(["-u", "admin", "-p", "TOPSECRET", "--timeout", "3600", "-c", "show dbs"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    // It waits for an answer by now, so it is what it is going to be.
    while node.received().is_empty() {
        std::thread::yield_now();
    }
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("admin") && !line.contains("TOPSECRET"), "{line:?}");
    let authorization = node.received()[0].authorization.clone().unwrap();
    assert_eq!(authorization, "Basic YWRtaW46VE9QU0VDUkVU");
}

#[test]
fn who_reads_no_further_ends_the_shell_quietly() {
    let node = FakeNode::start().unwrap();
    let many: String =
        (0..2_000).map(|n| format!("insert c {{\"_id\":\"{n}\",\"text\":\"{}\"}}\n", "x".repeat(200))).collect();
    assert_eq!(run(shell(&node.url()).write_stdin(format!("use t\n{many}"))).0, 0);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    command.args([&node.url(), "-c", "use t; find c limit 0; find c limit 0"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = [0; 16];
    let mut out = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut out, &mut first).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(141), "as a program that SIGPIPE ends");
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_document_over_very_many_lines_takes_no_longer_than_its_bytes() {
    let node = FakeNode::start().unwrap();
    let fields: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\": \"vvvvvvvvvvvvvvvvvvvv\"")).collect();
    let script = format!("use t\ninsert c {{\n\"_id\": \"long\",\n{}\n}}\n", fields.join(",\n"));
    // Looking at all lines again after each one would take minutes.
    let (code, out, err) = run(shell(&node.url()).write_stdin(script).timeout(std::time::Duration::from_secs(60)));
    assert_eq!(code, 0, "{out}{err}");
    let (_, found, _) = run(shell(&node.url()).args(["-c", "use t; count c"]));
    assert!(found.contains('1'), "{found}");
}

#[test]
fn help_and_version() {
    let bare = || Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    assert!(run(bare().arg("--version")).1.starts_with("jettra-shell "));
    assert!(run(bare().arg("--help")).1.contains("--keep-going"));
    let (code, out, _) = run(bare().write_stdin("help"));
    assert_eq!(code, 0);
    assert!(out.contains("federated nodes"));
}

#[test]
fn the_doctor_tells_scripts_by_the_exit_code() {
    let cluster = FakeCluster::start(3).unwrap();
    let (code, out, _) = run(shell(&cluster.urls()[0]).args(["-c", "cluster doctor"]));
    assert_eq!((code, out.as_str()), (0, "Healthy: nothing was found\n"));
    let (code, _, _) = run(shell(&cluster.urls()[0]).args(["-c", "cluster stop node3"]));
    assert_eq!(code, 0);
    let (code, out, err) = run(shell(&cluster.urls()[0]).args(["-c", "cluster doctor"]));
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.contains("node3, a voter") && out.ends_with("Not healthy: 1 finding\n"), "{out}");
    let (code, out, _) = run(shell(&cluster.urls()[0]).args(["--format", "json", "-c", "cluster doctor"]));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["healthy"]), (1, &serde_json::Value::Bool(false)));
}

#[test]
fn the_journal_is_a_table() {
    let cluster = FakeCluster::start(3).unwrap();
    let (code, out, _) = run(shell(&cluster.urls()[0]).args(["-c", "cluster events --limit 2"]));
    assert_eq!(code, 0);
    assert!(!out.contains("elected") && out.contains("node3 joined the cluster"), "{out}");
    assert!(out.find("node2") < out.find("node3"), "oldest first: {out}");
    let (code, _, err) = run(shell(&cluster.urls()[0]).args(["-c", "cluster events --limit few"]));
    assert!(code == 1 && err.contains("no number of events"), "{err}");
}
