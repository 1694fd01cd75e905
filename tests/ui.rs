//! The page in a real browser: what it shows is the API's, and what it does reaches the cluster.
//!
//! Without chromedriver a developer is told so and the tests in the browser pass unseen; with `CI=true` they fail.
//! `cargo test -p jettra-server --test ui --test ui_data -- --ignored screenshots` makes pictures of each page.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::time::{Duration, Instant};

use browser::Browser;
use common::{Cluster, Http, Node, SECOND, eventually};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

/// A cluster of three in which `extra` further nodes run that nobody has registered.
async fn three_and(extra: usize) -> Cluster {
    let mut cluster = Cluster::unregistered(|number| {
        let id = format!("node{number}");
        (number <= 3 + extra)
            .then(|| json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": number == 1 }))
    })
    .await;
    for node in &mut cluster.nodes[..3] {
        node.start().await;
    }
    cluster.register(1).await;
    cluster.register(2).await;
    cluster.settled().await;
    for node in &mut cluster.nodes[3..] {
        node.start().await;
    }
    cluster
}

async fn no_complaints(browser: &Browser) {
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_with_tags_types_and_a_strict_policy() {
    let node = Node::standalone(json!({ "NodeID": "node-one" })).await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/app.css", "text/css; charset=utf-8"),
        ("/ui/icon.svg", "image/svg+xml"),
        ("/ui/pages/cluster.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = node.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type").as_deref(), Some(content_type), "{path}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-cache"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");

        let tag = answer.header("etag").unwrap();
        let again = node.send(node.request("GET", path).header("If-None-Match", &tag)).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag").as_deref(), Some(tag.as_str()), "{path}");
        let other = node.send(node.request("GET", path).header("If-None-Match", "\"another\"")).await;
        assert_eq!(other.body, answer.body, "{path}");

        let head = node.send(node.request("HEAD", path)).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("etag").as_deref(), Some(tag.as_str()), "{path}");
    }
    for path in ["/ui/nothing.js", "/ui/../Cargo.toml", "/ui/index.html", "/ui/"] {
        node.get(path).await.error("unsupported");
    }
    node.post("/", "{}").await.error("unsupported");
}

/// Reads a stream of events until `wanted` says that it has what it wants.
async fn events_until(node: &Node, mut wanted: impl FnMut(&str, &Value) -> bool) {
    let answer =
        Http::new(30 * SECOND).request(Method::GET, &format!("{}/api/cluster/stream", node.url())).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut pieces = answer.bytes_stream();
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        text.push_str(std::str::from_utf8(&piece.expect("the stream goes on")).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let (kind, data) = event.split_once('\n').unwrap();
            let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            if wanted(kind.strip_prefix("event: ").unwrap(), &data) {
                return;
            }
            text = rest.to_owned();
        }
    }
    panic!("the stream ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_the_cluster_and_its_figures() {
    let node = Node::standalone(json!({ "NodeID": "node-one", "distributed": true, "Bootstrap": true })).await;
    let mut seen = Vec::new();
    events_until(&node, |kind, data| {
        if kind == "samples" {
            assert!(data.as_array().unwrap().iter().all(|sample| sample["time"].is_u64()), "{data}");
        }
        if kind == "cluster" {
            assert_eq!(data["nodeId"], "node-one");
            assert!(data["uptimeMs"].is_u64(), "{data}");
        }
        if kind == "sample" {
            assert!(data["writesPerSecond"].is_number() && data["lag"].is_object(), "{data}");
        }
        seen.push(kind.to_owned());
        ["samples", "cluster", "sample"].iter().all(|kind| seen.iter().any(|seen| seen == kind))
    })
    .await;
    assert_eq!(seen[0], "samples");

    // Readers are bounded: the one too many is told so, and the others are not disturbed.
    let http = Http::new(30 * SECOND);
    let url = format!("{}/api/cluster/stream", node.url());
    let mut readers = Vec::new();
    let refused = loop {
        let answer = http.request(Method::GET, &url).send().await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
        readers.push(answer);
        assert!(readers.len() <= 64);
    };
    assert_eq!(refused.status(), 429);
    drop(readers);
    eventually(20 * SECOND, "places are free again", async || {
        let answer = http.request(Method::GET, &url).send().await.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await;

    // A password ends the streams of those who came without one.
    let open = http.request(Method::GET, &url).send().await.unwrap();
    node.post("/api/change-password", json!({ "newPassword": "a secret" })).await.ok();
    let rest = tokio::time::timeout(10 * SECOND, open.bytes()).await;
    assert!(rest.is_ok(), "the stream goes on without a password");
    node.get("/api/cluster/stream").await.error("unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_tells_the_leaders_figures_the_journal_and_the_doctor() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        let write = async {
            loop {
                cluster.nodes[0].post("/api/doc?db=shop&col=orders", "{}").await.ok();
            }
        };
        let (mut busy, mut elected, mut examined) = (false, false, false);
        let read = events_until(node, |kind, data| {
            match kind {
                "sample" => {
                    let lag = data["lag"].as_object().unwrap().len();
                    busy |=
                        data["writesPerSecond"].as_f64().unwrap() > 1.0 && data["commitMs"]["p99"].is_f64() && lag == 2;
                }
                "events" => elected |= data.as_array().unwrap().iter().any(|event| event["kind"] == "elected"),
                "doctor" => examined |= data["healthy"].is_boolean(),
                _ => {}
            }
            busy && elected && examined
        });
        tokio::select! {
            () = read => {}
            () = write => unreachable!(),
            () = tokio::time::sleep(30 * SECOND) => panic!("{}: {busy} {elected} {examined}", node.id),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_mode_a_password_and_signing_in() {
    let mut node = Node::standalone(json!({ "NodeID": "node-one", "distributed": true, "Bootstrap": true })).await;
    let Some(browser) = Browser::open(&node.url()).await else { return };

    // From another machine: nobody gets in, and the page says how to change that.
    let header = |headers: Value| json!({ "headers": headers });
    browser.devtools("Network.enable", json!({})).await;
    browser.devtools("Network.setExtraHTTPHeaders", header(json!({ "X-Forwarded-For": "192.0.2.1" }))).await;
    browser.goto(&node.url()).await;
    let refusal = browser.shows("main", "lets nobody in from here").await;
    assert!(refusal.contains("api/change-password"), "{refusal}");
    browser.devtools("Network.setExtraHTTPHeaders", header(json!({}))).await;
    browser.press("main", "Try again").await;

    // Nobody has a password: the page says so, says how to set one, and is open.
    browser.shows("#protected", "Protected mode").await;
    browser.shows("#verdict", "1 of 1 voters").await;
    browser.press("#protected", "Set a password").await;
    browser.shows("dialog", "api/change-password").await;
    browser.fill("#new-password", "a \"secret\" é").await;
    browser.fill("#new-password-again", "another").await;
    browser.press("dialog", "Set the password").await;
    browser.shows("dialog .field-error", "differ").await;
    browser.fill("#new-password-again", "a \"secret\" é").await;
    browser.press("dialog", "Set the password").await;
    browser.is_gone("dialog").await;
    browser.is_gone("#protected").await;
    browser.shows("#verdict", "1 of 1 voters").await;
    node.get("/api/cluster").await.error("unauthorized");

    // The session goes with the tab, so it outlives loading the page anew.
    browser.goto(&node.url()).await;
    browser.shows("#self-state", "LEADER").await;
    let token = browser.run("return sessionStorage.getItem('jettra-token')").await.as_str().unwrap().to_owned();
    node.authorize(token);
    node.get("/api/dbs").await.ok();
    browser.press("header", "Sign out").await;
    browser.shows("main", "Password").await;
    eventually(10 * SECOND, "the token has ended, and is not only forgotten", async || {
        let answer = node.try_get("/api/dbs").await?;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    browser.goto(&format!("{}/#/cluster", node.url())).await;
    browser.fill("input[name=password]", "wrong").await;
    browser.press("form", "Sign in").await;
    browser.shows("#sign-in-error", "wrong").await;
    browser.fill("input[name=password]", "a \"secret\" é").await;
    browser.press("form", "Sign in").await;
    browser.shows("#self-id", "node-one").await;

    // A password that is changed elsewhere ends it.
    node.authorize("Basic YWRtaW46YSAic2VjcmV0IiDDqQ==");
    let change = json!({ "oldPassword": "a \"secret\" é", "newPassword": "a new one" });
    node.post("/api/change-password", change).await.ok();
    browser.shows("main", "Sign in").await;
    no_complaints(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_apis_figures_and_turns_with_the_cluster() {
    let mut cluster = three_and(1).await;
    // A description full of markup; names of nodes cannot have any.
    let trap = r#""'><img src=x onerror="window.ran=1"><script>window.ran=2</script>{{node}}"#;
    let body = json!({ "url": cluster.nodes[3].url(), "description": trap });
    cluster.nodes[0].post("/api/cluster/register", body).await.ok();
    cluster.nodes[0].post("/api/cluster/deregister", json!({ "node": "node2" })).await.ok();
    cluster.nodes[1].kill();

    let seen = cluster.followers().await.into_iter().find(|place| cluster.nodes[*place].id == "node3").unwrap();
    let url = cluster.nodes[seen].url();
    let Some(browser) = Browser::open(&url).await else { return };
    eventually(20 * SECOND, "the page shows what the API says", async || {
        let view = cluster.nodes[seen].try_get("/api/cluster").await?.success()?;
        for (field, id) in [("nodeId", "id"), ("state", "state"), ("term", "term"), ("leaderId", "leader")] {
            let told = view[field].as_str().map_or_else(|| view[field].to_string(), str::to_owned);
            let shown = browser.text(&format!("#self-{id}")).await?;
            if shown != told {
                return Err(format!("{id}: {shown} and not {told}"));
            }
        }
        for node in view["nodes"].as_array().unwrap() {
            let row = browser.text(&format!("#peers tr[data-node={}]", node["id"].as_str().unwrap())).await?;
            for field in ["url", "role", "status"] {
                let told = node[field].as_str().unwrap();
                if !row.contains(told) {
                    return Err(format!("{row} has no {told}"));
                }
            }
        }
        let rows = browser.run("return document.querySelectorAll('#peers tbody tr').length").await;
        if rows == view["nodes"].as_array().unwrap().len() { Ok(()) } else { Err(format!("{rows} rows")) }
    })
    .await;
    browser.shows("#verdict", "Healthy: 3 of 3 voters, can lose 1").await;

    // What came as text is shown as text.
    browser.shows(".cluster-card[data-node=node4]", trap).await;
    browser.click("#peers tr[data-node=node4] button[aria-label='Pause node4']").await;
    browser.shows("dialog .cluster-plan", "Allowed").await;
    browser.press("dialog", "Cancel").await;
    browser.press("main", "Add a node").await;
    browser.fill("#add-url", trap).await;
    browser.fill("#add-description", trap).await;
    browser.press("dialog", "Check").await;
    browser.shows("dialog .cluster-plan .callout", "url").await;
    browser.shows("dialog .cluster-commands", "onerror").await;
    browser.press("dialog", "Cancel").await;
    assert_eq!(browser.run("return window.ran ?? null").await, Value::Null);
    assert_eq!(browser.run("return document.querySelectorAll('img:not(.brand img), main script').length").await, 0);

    // A write is on the page in under a second or two, however busy the machine is.
    let index = cluster.nodes[0].post("/api/doc?db=shop&col=orders", "{}").await.number("x-jettra-index");
    eventually(5 * SECOND, "the index is on the page", async || {
        let shown: u64 =
            browser.text("#self-applied").await?.replace('\u{202f}', "").parse().map_err(|e| format!("{e}"))?;
        if shown >= index { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;

    // The leader dies: within two seconds the page names the new one. A busy machine gets three tries.
    let mut turned = Vec::new();
    for _ in 0..3 {
        let old = cluster.leader().await;
        if old == seen {
            let other = cluster.followers().await[0];
            let body = json!({ "node": cluster.nodes[other].id });
            cluster.nodes[old].post("/api/cluster/transfer", body).await.ok();
            continue;
        }
        let name = cluster.nodes[old].id.clone();
        browser.shows("#self-leader", &name).await;
        let killed = Instant::now();
        cluster.nodes[old].kill();
        let new = eventually(20 * SECOND, "the page names a new leader", async || {
            let shown = browser.text("#self-leader").await?;
            if shown.starts_with("node") && shown != name { Ok(shown) } else { Err(shown) }
        })
        .await;
        turned.push(killed.elapsed());
        assert_eq!(cluster.nodes[cluster.leader_other_than(old).await].id, new);
        browser.shows("#verdict", &format!("{name} is silent: 2 of 3 voters, can lose none")).await;
        browser.shows(&format!(".cluster-card[data-node={name}]"), "silent").await;
        if turned.last().is_some_and(|took| *took < 2 * SECOND) {
            break;
        }
        cluster.nodes[old].restart().await;
        browser.shows("#verdict", "Healthy").await;
    }
    println!("after the leader's death the page names the new one in {turned:?}");
    assert!(turned.iter().any(|took| *took < Duration::from_secs(2)), "{turned:?}");
    no_complaints(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nobody_is_shown_to_lead() {
    let mut cluster = Cluster::start(3).await;
    // Of the leader's own page: nobody tells it that it leads no more.
    let leader = cluster.leader().await;
    let name = cluster.nodes[leader].id.clone();
    let Some(browser) = Browser::open(&cluster.nodes[leader].url()).await else { return };
    browser.shows("#verdict", "Healthy: 3 of 3 voters, can lose 1").await;
    browser.shows("#self-state", "LEADER").await;
    let dead: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    dead.iter().for_each(|place| cluster.nodes[*place].kill());
    browser.shows("#verdict", "No leader: 1 of 3 voters, 2 are needed").await;
    browser.shows(".cluster-map-nobody", "no leader").await;
    assert!(!browser.text("#self-leader").await.unwrap().starts_with("node"));
    assert_ne!(browser.text("#self-state").await.unwrap(), "LEADER");
    for place in &dead {
        let id = &cluster.nodes[*place].id;
        browser.shows(&format!(".cluster-card[data-node={id}]"), "silent").await;
        browser.shows(&format!("#peers tr[data-node={id}]"), "INACTIVE").await;
    }
    assert!(!browser.text(&format!("#peers tr[data-node={name}]")).await.unwrap().contains("LEADER"));
    browser.shows("#findings", "there is no majority").await;
    for place in dead {
        cluster.nodes[place].start().await;
    }
    browser.shows("#verdict", "Healthy: 3 of 3 voters, can lose 1").await;
    no_complaints(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_goes_away_and_comes_back() {
    let mut cluster = Cluster::start(2).await;
    let Some(browser) = Browser::open(&cluster.nodes[0].url()).await else { return };
    browser.shows("#verdict", "2 of 2 voters").await;
    cluster.nodes[0].kill();
    browser.shows("#lost", "does not answer").await;
    // The last picture stays, greyed, and leads to the other nodes.
    browser.shows("main.stale #peers", "node2").await;
    let link = browser.run("return document.querySelector('#lost a').href").await;
    assert_eq!(link, format!("{}/", cluster.nodes[1].url()));
    cluster.nodes[0].restart().await;
    browser.is_gone("#lost").await;
    browser.is_gone("main.stale").await;
    browser.shows("#verdict", "2 of 2 voters").await;
    no_complaints(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_replica_is_added_promoted_and_demoted_through_the_page() {
    let cluster = three_and(1).await;
    let Some(browser) = Browser::open(&cluster.nodes[0].url()).await else { return };
    browser.shows("#verdict", "Healthy: 3 of 3 voters, can lose 1").await;
    browser.press("main", "Add a node").await;
    browser.fill("#add-url", &cluster.nodes[3].url()).await;
    browser.click("#add-replica").await;
    browser.shows("dialog .cluster-commands", "--replica").await;
    browser.press("dialog", "Check").await;
    browser.shows("dialog .cluster-plan", "Allowed").await;
    browser.press("dialog", "Add it").await;
    browser.shows("dialog .cluster-outcome", "node4 is a read replica").await;
    browser.press("dialog", "Close").await;
    browser.shows("#peers tr[data-node=node4]", "REPLICA").await;
    browser.shows(".cluster-card[data-node=node4]", "replica").await;
    browser.shows("#verdict", "Healthy: 3 of 3 voters, can lose 1").await;
    for (action, done, votes) in
        [("Promote", "node4 votes", "4 of 4 voters"), ("Demote", "node4 is a read replica", "3 of 3 voters")]
    {
        browser.click(&format!("button[aria-label='{action} node4']")).await;
        browser.shows("dialog .cluster-plan", "Allowed").await;
        browser.press("dialog", &format!("{action} node4")).await;
        browser.shows("dialog .cluster-outcome", done).await;
        browser.press("dialog", "Close").await;
        browser.shows("#verdict", votes).await;
    }
    // Its own page calls it what it is.
    browser.goto(&cluster.nodes[3].url()).await;
    browser.shows("#self-state", "REPLICA").await;
    no_complaints(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_stopped_and_removed_through_the_page() {
    let mut cluster = three_and(1).await;
    let follower = cluster.followers().await[0];
    let Some(browser) = Browser::open(&cluster.nodes[follower].url()).await else { return };
    let voters = async |cluster: &Cluster| {
        let view = cluster.nodes[follower].get("/api/cluster").await.ok();
        view["nodes"].as_array().unwrap().iter().filter(|node| node["voter"] == true).count()
    };

    // Adding: what it costs first, then the deed.
    browser.shows("#verdict", "3 of 3 voters").await;
    browser.press("main", "Add a node").await;
    browser.fill("#add-url", "http://localhost:1").await;
    browser.press("dialog", "Check").await;
    browser.shows("dialog .cluster-plan .bad", "http://localhost:1").await;
    browser.fill("#add-url", &cluster.nodes[3].url()).await;
    browser.fill("#add-description", "rack 4, \"left\"").await;
    browser.press("dialog", "Check").await;
    browser.shows("dialog .cluster-plan", "Allowed").await;
    assert_eq!(voters(&cluster).await, 3);
    browser.shows("dialog .cluster-commands", "jettra-shell").await;
    browser.press("dialog", "Add it").await;
    browser.shows("dialog .cluster-outcome", "node4 votes: 4 voters").await;
    browser.press("dialog", "Close").await;
    browser.shows(".cluster-card[data-node=node4]", "rack 4, \"left\"").await;
    browser.shows("#peers tr[data-node=node4]", "ACTIVE").await;
    assert_eq!(voters(&cluster).await, 4);

    // Removing.
    browser.click("button[aria-label='Remove node4']").await;
    browser.shows("dialog .cluster-plan", "Allowed").await;
    browser.press("dialog", "Remove node4").await;
    browser.shows("dialog .cluster-outcome", "node4 is a member no more").await;
    browser.press("dialog", "Close").await;
    browser.is_gone("#peers tr[data-node=node4]").await;
    assert_eq!(voters(&cluster).await, 3);

    // Pausing and resuming.
    let paused = &cluster.nodes[cluster.followers().await[0]].id.clone();
    browser.click(&format!("button[aria-label='Pause {paused}']")).await;
    browser.press("dialog", &format!("Pause {paused}")).await;
    browser.shows("dialog .cluster-outcome", "is paused").await;
    browser.press("dialog", "Close").await;
    browser.shows("#verdict", &format!("{paused} is paused")).await;
    browser.click(&format!("button[aria-label='Resume {paused}']")).await;
    browser.press("dialog", &format!("Resume {paused}")).await;
    browser.shows("dialog .cluster-outcome", "may be elected").await;
    browser.press("dialog", "Close").await;

    // Stopping one may be done; then no other, and the page says why and what to do.
    let leader = cluster.leader().await;
    let (first, second) = match (0..3).filter(|place| *place != follower).collect::<Vec<_>>()[..] {
        [a, b] if a == leader => (b, a),
        [a, b] => (a, b),
        _ => unreachable!(),
    };
    let (first_id, second_id) = (cluster.nodes[first].id.clone(), cluster.nodes[second].id.clone());
    browser.click(&format!("button[aria-label='Stop {first_id}']")).await;
    browser.press("dialog", &format!("Stop {first_id}")).await;
    browser.shows("dialog .cluster-outcome", "was told to stop").await;
    browser.press("dialog", "Close").await;
    assert!(cluster.nodes[first].ended(10 * SECOND).await.success());
    browser.shows("#verdict", &format!("{first_id} is silent")).await;
    browser.click(&format!("button[aria-label='Stop {second_id}']")).await;
    let refusal = browser.shows("dialog .cluster-plan .bad", "Refused").await;
    assert!(refusal.contains("majority"), "{refusal}");
    let button = "return [...document.querySelectorAll('dialog .dialog-actions button')].at(-1).disabled";
    assert_eq!(browser.run(button).await, true);
    browser.press("dialog", "Cancel").await;
    assert!(cluster.nodes[second].is_running());
    cluster.nodes[second].post("/api/doc?db=shop&col=orders", "{}").await.ok();
    no_complaints(&browser).await;
}

/// Pictures of each page in `target/screenshots`: light and dark, 1280 and 375 wide.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures for people to look at: run it with --ignored"]
async fn screenshots() {
    let mut cluster = three_and(1).await;
    let follower = cluster.followers().await[0];
    let Some(browser) = Browser::open(&cluster.nodes[follower].url()).await else { return };
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
    let pictures = async |name: &str, whole: bool| browser.pictures(name, whole).await;
    browser.shows("#verdict", "Healthy").await;
    pictures("protected-mode", false).await;
    browser.press("#protected", "Set a password").await;
    pictures("set-password", false).await;
    browser.fill("#new-password", "a secret").await;
    browser.fill("#new-password-again", "a secret").await;
    browser.press("dialog", "Set the password").await;
    browser.is_gone("dialog").await;
    for node in &mut cluster.nodes {
        node.authorize("Basic YWRtaW46YSBzZWNyZXQ=");
    }

    // A minute and a half of a shop at work.
    let began = Instant::now();
    let mut number = 0.0f64;
    while began.elapsed() < 95 * SECOND {
        let wave = (began.elapsed().as_secs_f64() / 9.0).sin() + (number / 40.0).cos() / 3.0;
        let order = json!({ "customer": number, "paid": true });
        let writes = (0..2).map(|_| cluster.nodes[0].post("/api/doc?db=shop&col=orders", &order));
        futures_util::future::join_all(writes).await;
        tokio::time::sleep(Duration::from_millis((70.0 + 50.0 * wave) as u64)).await;
        number += 1.0;
    }
    browser.shows("#journal", "votes").await;
    pictures("cluster", true).await;
    browser.view(1280, 1230, "light").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    browser.screenshot(&dir.join("readme.png"), false).await;

    browser.press("main", "Add a node").await;
    browser.fill("#add-url", &cluster.nodes[3].url()).await;
    browser.fill("#add-description", "rack 4").await;
    browser.press("dialog", "Check").await;
    browser.shows("dialog .cluster-plan", "Allowed").await;
    pictures("add-node", false).await;
    browser.press("dialog", "Cancel").await;

    let silent = (0..3).find(|place| *place != follower).unwrap();
    cluster.nodes[silent].kill();
    browser.shows("#findings", "silent").await;
    browser.shows(&format!(".cluster-card[data-node={}]", cluster.nodes[silent].id), "silent").await;
    pictures("silent", true).await;
    browser.click(&format!("button[aria-label='Stop {}']", cluster.nodes[follower].id)).await;
    browser.shows("dialog .cluster-plan", "Refused").await;
    pictures("stop-refused", false).await;
    browser.press("dialog", "Cancel").await;

    cluster.nodes[follower].kill();
    browser.shows("#lost", "does not answer").await;
    pictures("lost", false).await;
    cluster.nodes[follower].restart().await;
    browser.is_gone("#lost").await;
    browser.press("header", "Sign out").await;
    browser.shows("main", "Password").await;
    pictures("sign-in", false).await;

    // A node that nobody has registered, and one that stands alone.
    browser.goto(&cluster.nodes[3].url()).await;
    browser.shows("#verdict", "waits to be registered").await;
    pictures("waiting", true).await;
    let alone = Node::standalone(json!({ "NodeID": "alone" })).await;
    browser.goto(&alone.url()).await;
    browser.shows("#verdict", "Standalone").await;
    pictures("standalone", true).await;
    println!("the pictures are in {}", dir.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_is_as_wide_as_it_says() {
    let cluster = Cluster::start(1).await;
    let Some(browser) = Browser::open(&cluster.nodes[0].url()).await else { return };
    browser.shows(".cluster-card .cluster-meter-value", "%").await;
    let measured = "return [...document.querySelectorAll('.cluster-meter')].map((meter) => {
        const wide = (part) => meter.querySelector(part).getBoundingClientRect().width;
        const colour = (part) => getComputedStyle(meter.querySelector(part)).fill;
        const [track, bar] = ['.cluster-meter-track', '.cluster-meter-bar'];
        const says = parseFloat(meter.querySelector('.cluster-meter-value').innerText);
        return { says, is: 100 * wide(bar) / wide(track), track: wide(track), seen: colour(bar) !== colour(track) };
    })";
    eventually(20 * SECOND, "each meter says and shows the same", async || {
        let meters = browser.run(measured).await;
        let off = |meter: &Value| Some((meter["says"].as_f64()? - meter["is"].as_f64()?).abs());
        let fits = |meter: &Value| off(meter).is_some_and(|off| off <= 1.0) && meter["seen"] == true;
        let all = meters.as_array().unwrap();
        let is_wide = |meter: &Value| meter["track"].as_f64().is_some_and(|wide| wide > 50.0);
        if all.len() == 3 && all.iter().all(|meter| fits(meter) && is_wide(meter)) {
            Ok(())
        } else {
            Err(meters.to_string())
        }
    })
    .await;
    let set = format!(
        "document.querySelectorAll('.cluster-meter-bar').forEach((bar) => bar.setAttribute('width', 69)); {measured}"
    );
    for meter in browser.run(&set).await.as_array().unwrap() {
        let is = meter["is"].as_f64().unwrap();
        assert!((68.0..=70.0).contains(&is), "a meter of 69 % is {is} % wide");
    }
}
