//! A clock that is wrong.

use std::path::Path;

use serde_json::json;

use crate::common::{Cluster, LIMIT, eventually};
use crate::lost_disk::findings;

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
    for asked in 0..3 {
        assert_eq!(ask(key, asked).await, by_key, "paid twice");
        assert_eq!(ask(session, asked).await, by_session, "paid twice");
    }
    // Killed, it would leave in shared memory what the library keeps there.
    cluster.nodes[place].stop_gracefully().await;
}
