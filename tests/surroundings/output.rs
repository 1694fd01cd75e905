//! Whoever reads what a node writes, or does not.

use std::process::Stdio;

use serde_json::json;

use crate::common::{LIMIT, Node, SECOND, eventually};

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
