//! How a node starts, refuses to start, and stops; and the demo.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::Instant;

use common::{Node, SECOND, eventually, free_ports, run_to_end, signal};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

fn folder(config: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    dir
}

/// The one line on standard error of a start that was refused with exit code 2.
#[track_caller]
fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "one line: {text}");
    text
}

#[tokio::test]
async fn data_of_the_old_product_are_recognised_and_left_alone() {
    let dir = folder(r#"{"Port":1,"DataDir":"old","Role":"admin","SessionTimeout":30,"system_x":1}"#);
    let document = dir.path().join("old/shop/users/7.jdb");
    std::fs::create_dir_all(document.parent().unwrap()).unwrap();
    std::fs::write(&document, [0, 0, 8, 0]).unwrap();
    let line = refusal(&run_to_end(dir.path(), &[]).await);
    for said in ["shop/users/7.jdb", "docs/from-jettradbvm.md", "--data-dir", "--new"] {
        assert!(line.contains(said), "{said} is missing: {line}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("old")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["shop"], "nothing was touched");

    // As said, an empty database beside it, once nobody else can enter; the next start needs no word.
    std::fs::set_permissions(dir.path().join("old"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut node = Node::new(dir.path(), "node", json!({ "DataDir": "../old" }));
    node.arguments(&["--new"]);
    node.start().await;
    node.post("/api/doc?db=shop&col=users", r#"{"_id":"8"}"#).await.ok();
    node.stop_gracefully().await;
    node.arguments(&[]);
    node.start().await;
    assert_eq!(node.get("/api/count?db=shop&col=users").await.ok()["count"], 1);
    assert!(document.exists());
}

#[tokio::test]
async fn keys_of_the_old_product_are_known() {
    let dir = folder(r#"{"FederatedServers":["http://localhost:8081"]}"#);
    let line = refusal(&run_to_end(dir.path(), &[]).await);
    for said in ["FederatedServers", "distributed", "Bootstrap", "Peers"] {
        assert!(line.contains(said), "{said} is missing: {line}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was touched");
    let config = json!({ "FederatedServers": [], "Role": "admin", "SessionTimeout": 30, "system_db": "x" });
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), "node", config);
    node.start().await;
    let log = node.log_tail(100);
    assert!(log.contains("Role, SessionTimeout, system_db") && log.contains("no meaning any more"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn a_configuration_may_be_named_by_its_path_alone() {
    let dir = folder("{}");
    std::fs::write(dir.path().join("other.json"), r#"{"Port":0}"#).unwrap();
    let line = refusal(&run_to_end(dir.path(), &["./other.json"]).await);
    assert!(line.contains("other.json") && line.contains("Port"), "{line}");
    let output = run_to_end(dir.path(), &["demmo"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("neither run, demo"), "{said}");
}

#[tokio::test]
async fn nobody_else_answers_for_localhost() {
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else {
        println!("skipped: this machine has no ::1");
        return;
    };
    for host in ["0.0.0.0", "127.0.0.1", "localhost", "::"] {
        let port = free_ports(1);
        let dir = folder(&json!({ "Port": port, "Host": host }).to_string());
        let squatter = std::net::TcpListener::bind(("::1", port)).unwrap();
        let output = run_to_end(dir.path(), &[]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "with Host {host}: {said}");
        let whose = format!("the user with id {} listens on [::1]:{port}", nix::unistd::getuid());
        assert!(said.contains(&whose), "with Host {host}: {said}");
        drop(squatter);

        let mut node = Node::new(dir.path(), "node", json!({ "Host": host }));
        node.start().await;
        let taken = std::net::TcpListener::bind(("::1", node.port)).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "with Host {host}");
        let through = reqwest::get(format!("http://[::1]:{}/livez", node.port)).await.unwrap();
        assert_eq!(through.status(), 200, "with Host {host}");
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_named() {
    for (config, key) in
        [(r#"{"Port":"eighty"}"#, "Port"), (r#"{"distributed":1}"#, "distributed"), (r#"{"Peers":{}}"#, "Peers")]
    {
        let dir = folder(config);
        let line = refusal(&run_to_end(dir.path(), &[]).await);
        assert!(line.contains(key) && line.contains("config.json") && line.contains("must be"), "{line}");
        assert!(!dir.path().join("data").exists(), "nothing was touched");
    }
    let dir = folder("{\"Port\": 8080");
    assert!(refusal(&run_to_end(dir.path(), &[]).await).contains("line 1"));
    assert!(refusal(&run_to_end(dir.path(), &["--config", "missing.json"]).await).contains("missing.json"));
}

#[tokio::test]
async fn an_unknown_key_is_a_warning_that_names_it() {
    let dir = folder(r#"{"port": 9999, "Port": 8099}"#);
    let output = run_to_end(dir.path(), &["--print-config"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains(r#"unknown key "port""#), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["Port"], 8099);

    let node = Node::standalone(json!({ "Colour": "red" })).await;
    assert!(node.log().contains("Colour"), "{}", node.log());
}

#[tokio::test]
async fn the_printed_configuration_shows_no_secret() {
    let dir = folder(r#"{"AdminPassword": "open sesame", "ClusterSecret": "a long and random one", "NodeID": "n1"}"#);
    let output = run_to_end(dir.path(), &["--print-config", "--port", "9123"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("sesame") && !text.contains("random"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["NodeID"], &shown["Port"]), (&json!("n1"), &json!(9123)));
    assert_eq!(shown["AdvertiseUrl"], "http://localhost:9123");
    assert!(!dir.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let dir = folder(r#"{"Host": "127.0.0.1", "LogLevel": "off"}"#);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = refusal(&run_to_end(dir.path(), &["--port", &port]).await);
    assert!(line.contains(&port) && line.contains("in use"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_process() {
    let node = Node::standalone(json!({})).await;
    let port = free_ports(1).to_string();
    let line = refusal(&run_to_end(node.dir(), &["--port", &port, "--log-level", "off"]).await);
    assert!(line.contains("data") && line.contains("another"), "{line}");
    node.get("/api/dbs").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_written_is_named() {
    // Below a file nobody can make a directory, not even root.
    let dir = folder(r#"{"DataDir": "config.json/data", "LogLevel": "off"}"#);
    let port = free_ports(1).to_string();
    let line = refusal(&run_to_end(dir.path(), &["--port", &port]).await);
    assert!(line.contains("config.json/data"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_configured_is_a_standalone_node_that_keeps_its_data() {
    let mut node = Node::standalone(json!({})).await;
    node.post("/api/doc?db=db1&col=things", r#"{"_id":"kept"}"#).await.ok();
    assert!(node.dir().join("data").is_dir());
    let (status, took) = node.stop_gracefully().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < 5 * SECOND, "took {took:?}");
    node.start().await;
    assert_eq!(node.get("/api/doc?db=db1&col=things&id=kept").await.ok()["_id"], "kept");
    node.restart().await;
    assert_eq!(node.get("/api/doc?db=db1&col=things&id=kept").await.ok()["_id"], "kept", "after kill -9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_id_is_made_once_and_kept() {
    let mut node = Node::standalone(json!({ "distributed": true, "Bootstrap": true })).await;
    let id = async |node: &Node| {
        eventually(10 * SECOND, "the node tells its id", async || {
            let view = node.try_get("/api/cluster").await?.success()?;
            view["nodeId"].as_str().map(str::to_owned).ok_or_else(|| view.to_string())
        })
        .await
    };
    let first = id(&node).await;
    assert!(!first.is_empty());
    node.restart().await;
    assert_eq!(id(&node).await, first);
}

/// A running demo and what it prints.
struct Demo {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it may make its temporary folder; also the parent of its files.
    folder: TempDir,
    port: u16,
}

impl Demo {
    fn launch(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(3);
        let mut command = Command::new(env!("CARGO_BIN_EXE_jettra-server"));
        command.args(["demo", "--port", &port.to_string()]).args(arguments);
        command.current_dir(folder.path()).env("TMPDIR", folder.path()).kill_on_drop(true);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Demo { process, output, folder, port }
    }

    /// Everything it prints until it is ready.
    async fn welcome(&mut self) -> String {
        let mut text = String::new();
        let reading = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                text += &line;
                text += "\n";
                if line.contains("Ctrl-C") {
                    break;
                }
            }
        };
        tokio::time::timeout(90 * SECOND, reading).await.ok();
        if !text.contains("Ctrl-C") {
            self.process.start_kill().unwrap();
            let mut errors = String::new();
            self.process.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
            panic!("the demo is not ready; it printed: {text}{errors}");
        }
        text
    }

    async fn stop(self) -> (Option<i32>, String, TempDir) {
        signal(self.process.id().unwrap(), Signal::SIGINT);
        let output = tokio::time::timeout(15 * SECOND, self.process.wait_with_output()).await;
        let output = output.expect("the demo ends").unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), self.folder)
    }

    /// The process of a node of this demo, found by its configuration file.
    fn pid_of(&self, id: &str) -> u32 {
        let wanted = format!("{id}/config.json");
        let root = self.folder.path().to_str().unwrap();
        let is_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(root) && line.contains(&wanted)
        };
        let pids =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.into_iter().find(is_it).expect("a process of the demo")
    }

    async fn nobody_listens(port: u16) {
        eventually(10 * SECOND, "all nodes are gone", async || {
            match (port..port + 3).find(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                None => Ok(()),
                Some(port) => Err(format!("{port} is open")),
            }
        })
        .await;
    }
}

async fn get(url: &str) -> Result<Value, String> {
    let response = reqwest::get(url).await.map_err(|error| error.to_string())?;
    let text = response.text().await.map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_starts_three_nodes_and_leaves_nothing_behind() {
    let mut demo = Demo::launch(&[]);
    let welcome = demo.welcome().await;
    for place in 0..3 {
        assert!(welcome.contains(&format!("node{}", place + 1)), "{welcome}");
        assert!(welcome.contains(&format!("http://localhost:{}", demo.port + place)), "{welcome}");
    }
    for said in ["LEADER", "FOLLOWER", "jettra-shell http://localhost:", "federated nodes", "node1/log"] {
        assert!(welcome.contains(said), "{said} is missing: {welcome}");
    }
    let view = get(&format!("http://localhost:{}/api/cluster", demo.port + 1)).await.unwrap();
    let voters = view["nodes"].as_array().unwrap().iter().filter(|node| node["voter"] == true).count();
    assert_eq!(voters, 3, "{view}");

    let port = demo.port;
    let (code, errors, folder) = demo.stop().await;
    assert_eq!(code, Some(0), "{errors}");
    Demo::nobody_listens(port).await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_reports_a_node_that_dies_and_keeps_what_dir_holds() {
    let mut demo = Demo::launch(&["--dir", "kept"]);
    demo.welcome().await;
    let document = format!("http://localhost:{}/api/doc?db=db1&col=things&id=kept", demo.port);
    reqwest::Client::new().put(&document).body("{}").send().await.unwrap().error_for_status().unwrap();

    signal(demo.pid_of("node2"), Signal::SIGKILL);
    let mut errors = BufReader::new(demo.process.stderr.take().unwrap()).lines();
    let reported = tokio::time::timeout(10 * SECOND, errors.next_line()).await.expect("a report").unwrap().unwrap();
    assert!(reported.contains("node2") && reported.contains("died") && reported.contains("log"), "{reported}");
    get(&document).await.unwrap();

    let port = demo.port;
    let (_, _, folder) = demo.stop().await;
    Demo::nobody_listens(port).await;
    assert!(folder.path().join("kept/node2/data").is_dir());

    // Taken up again, with what it had.
    let mut again = Command::new(env!("CARGO_BIN_EXE_jettra-server"));
    again.args(["demo", "--dir", "kept", "--port", &port.to_string()]).current_dir(folder.path()).kill_on_drop(true);
    let again = again.stdout(Stdio::null()).spawn().unwrap();
    eventually(60 * SECOND, "the document is there again", async || match get(&document).await? {
        document if document["_id"] == "kept" => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    signal(again.id().unwrap(), Signal::SIGTERM);
    tokio::time::timeout(15 * SECOND, again.wait_with_output()).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_outlives_its_demo() {
    let mut demo = Demo::launch(&[]);
    demo.welcome().await;
    let began = Instant::now();
    demo.process.kill().await.unwrap();
    Demo::nobody_listens(demo.port).await;
    println!("all nodes gone after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_which_port_is_in_use() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let line = refusal(&run_to_end(dir.path(), &["demo", "--nodes", "1", "--port", &port]).await);
    assert!(line.contains(&port) && line.contains("--port"), "{line}");
}
