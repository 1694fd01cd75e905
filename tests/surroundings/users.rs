//! Other users of the machine.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde_json::json;

use crate::common::{LIMIT, Node, assert_private, eventually, free_ports, run_to_end, signal};

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
    signal(demo.id().unwrap(), Signal::SIGTERM);
    demo.wait().await.unwrap();
}
