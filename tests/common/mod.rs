//! Real nodes for the whole-system tests: processes of their own, with files, ports and HTTP.
//!
//! # Layout
//!
//! - `wait`: [`eventually`]: wait for a condition, never for a time
//! - `http`: requests and answers, and what the contract says of every answer
//! - `node`: one `jettra-server` process: start, kill, stop, freeze, restart
//! - `cluster`: several of them, registered with one another
//! - `writers`: clients that write without pause and remember what was acknowledged
//!
//! A test that fails prints the end of each node's log. No process outlives its test, however that
//! ends: nodes watch a pipe to the test's process.

// Each test file uses a part of this.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod http;
mod node;
mod wait;
mod writers;

pub use cluster::{Cluster, LIMIT};
pub use http::{Answer, Http, send};
pub use node::{Node, free_ports, member_config, run_to_end, signal};
pub use wait::{SECOND, eventually};
pub use writers::{Acknowledged, Writers};

/// Fails unless `path` and all below it is closed to all users but its own. A running node makes and removes files
/// meanwhile: what is gone before it could be looked at is open to nobody.
pub fn assert_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let Ok(found) = entry.metadata() else { continue };
            let mode = found.permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", entry.path().display());
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

/// Runs the real `curl` with these arguments, quietly, and gives what it prints.
pub async fn curl(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments).output().await;
    let output = output.expect("curl is needed for this test: install it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("an answer in UTF-8")
}
