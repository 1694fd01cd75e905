//! The load generator, on nodes in memory: that it measures, reports and tidies up, not how fast.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use jettra_client::testing::FakeCluster;

#[test]
fn puts_and_gets_are_measured_and_tidied_up() {
    let cluster = FakeCluster::start(2).unwrap();
    cluster.node(0).require_login();
    let urls = cluster.urls().join(",");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    command.args(["bench", "--url", &urls, "--clients", "1,4", "--seconds", "1", "--keys", "20", "--format", "json"]);
    let output = command.args(["--password", "password"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = result["rows"].as_array().unwrap();
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["operation"].as_str().unwrap(), row["clients"].as_u64().unwrap())).collect();
    assert_eq!(kinds, [("put", 1), ("put", 4), ("get", 1), ("get", 4)]);
    for row in rows {
        assert!(row["operations"].as_u64().unwrap() > 0 && row["errors"] == 0, "{row}");
        assert!(
            row["p50Ms"].as_f64() <= row["p99Ms"].as_f64() && row["p99Ms"].as_f64() <= row["maxMs"].as_f64(),
            "{row}"
        );
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("puts, 4 clients, 1 s"));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let collections = runtime.block_on(cluster.client().list_collections("bench")).unwrap();
    assert!(collections.iter().all(|name| name.starts_with('_')), "{collections:?}");
    assert!(cluster.node(1).received().len() > 10, "the second node had its share");
}

#[test]
fn mixed_load_is_reported_by_kind_as_a_table() {
    let cluster = FakeCluster::start(1).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
    command.args(["bench", "--url", &cluster.urls()[0], "--clients", "2", "--seconds", "1", "--mode", "mixed"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("p99 ms") && table.contains("put") && table.contains("get"), "{table}");
}

#[test]
fn a_workload_writes_so_many_documents_and_tells_each_nodes_size() {
    let cluster = FakeCluster::start(2).unwrap();
    let urls = cluster.urls().join(",");
    for workload in ["load", "overwrite"] {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("jettra-shell"));
        command.args([
            "bench",
            "--url",
            &urls,
            "--workload",
            workload,
            "--documents",
            "250",
            "--batch",
            "40",
            "--keep",
        ]);
        command.args(["--keys", "30", "--size", "200", "--clients", "3", "--db", workload, "--format", "json"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let last = result["rows"].as_array().unwrap().last().unwrap();
        assert_eq!((last["documents"].as_u64(), last["errors"].as_u64()), (Some(250), Some(0)), "{result}");
        assert_eq!(last["nodes"].as_array().unwrap().len(), 2);

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = cluster.client();
        let collections = runtime.block_on(client.list_collections(workload)).unwrap();
        let kept = collections.iter().find(|name| name.starts_with("load-")).unwrap();
        let count = runtime.block_on(client.count(workload, kept)).unwrap();
        assert_eq!(count, if workload == "load" { 250 } else { 30 });
    }
}
