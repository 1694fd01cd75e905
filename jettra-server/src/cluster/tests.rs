//! A node's own work.
#![allow(clippy::unwrap_used)]

use super::*;

/// A node that belongs to nothing and has opened nothing.
fn alone(dir: &std::path::Path) -> Arc<Cluster> {
    let raft = Settings {
        heartbeat: Duration::from_millis(50),
        election_min: Duration::from_millis(200),
        election_max: Duration::from_millis(400),
        retain_entries: 100,
        in_flight_bytes: 1 << 20,
    };
    let options = Options {
        data_dir: dir.to_owned(),
        url: "http://localhost:8080".to_owned(),
        port: 8080,
        allowed_hosts: Vec::new(),
        distributed: true,
        inactive_after: Duration::from_secs(3),
        raft,
        cache_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        retain_bytes: 1 << 20,
        peers: Vec::new(),
    };
    let identity = Identity::load_or_create(dir, Some("node1")).unwrap();
    Cluster::new(options, identity, None, true, Arc::new(Machine::new(dir))).unwrap()
}

#[tokio::test]
async fn work_that_dies_ends_the_node_with_its_name_and_work_that_is_done_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = alone(dir.path());
    let mut stop = node.stopped();
    node.keep("the doctor", async {});
    node.keep("the sampler", async {
        tokio::task::yield_now().await;
        panic!("no figures")
    });
    let stopped = stop.wait_for(|stop| *stop != Stop::Running);
    let stopped = tokio::time::timeout(Duration::from_secs(20), stopped).await.unwrap().unwrap().clone();
    let Stop::Failed(why) = stopped else { panic!("{stopped:?}") };
    assert!(why.starts_with("the sampler ended by a bug") && why.ends_with("no figures"), "{why}");
}
