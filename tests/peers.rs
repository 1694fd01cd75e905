//! Who is not a node: relays, guessers, floods, other users of the machine, and members that were removed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/peer.rs"]
mod peer;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Cluster, Node, SECOND, eventually, member_config};
use peer::{Session, membership, proof, prove, prove_under};
use serde_json::json;

const SECRET: &str = "known to the three of them";

/// Something between two nodes: passes all bytes on, after `delay`, and keeps what it saw.
struct Relay {
    port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    fn to(port: u16, delay: Duration) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Relay { port: listener.local_addr().unwrap().port(), seen: Arc::default(), stop: Arc::default() };
        let (seen, stop) = (relay.seen.clone(), relay.stop.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(node) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&client, &node), (&node, &client)] {
                    from.set_nodelay(true).unwrap();
                    pass_on(from.try_clone().unwrap(), to.try_clone().unwrap(), delay, seen.clone());
                }
            }
        });
        relay
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    fn saw(&self, text: &str) -> bool {
        self.seen.lock().unwrap().windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration, seen: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            std::thread::sleep(delay);
            let mut seen = seen.lock().unwrap();
            if seen.len() < 8 << 20 {
                seen.extend_from_slice(&piece[..length]);
            }
            drop(seen);
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_becomes_nobodys_address_and_sees_nothing() {
    let cluster = Cluster::start(2).await;
    let [one, two] = &cluster.nodes[..] else { panic!("two nodes") };
    let relay = Relay::to(two.port, Duration::ZERO);
    let refused = one.post("/api/cluster/register", json!({ "url": relay.url() })).await;
    let message = refused.error("conflict")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("AdvertiseUrl") && message.contains(&two.port.to_string()), "{message}");
    one.post("/api/doc?db=shop&col=users", r#"{"_id":"told-to-nobody"}"#).await.ok();
    cluster.settled().await;
    for path in ["/api/cluster", "/api/federated", "/raft/rpc/status"] {
        assert!(!one.get(path).await.body.contains(&relay.port.to_string()), "{path}");
    }
    assert!(relay.saw("identity") && !relay.saw("told-to-nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_relay_that_is_trusted_nothing_can_be_read() {
    // Its URL is the one that the node was told to have: as where somebody else got the node's address.
    let mut cluster = Cluster::unregistered(|number| {
        let mut config = member_config(&format!("node{number}"), number == 1);
        config["ClusterSecret"] = SECRET.into();
        (number <= 2).then_some(config)
    })
    .await;
    let relay = Relay::to(cluster.nodes[1].port, Duration::ZERO);
    cluster.nodes[1].configure("AdvertiseUrl", relay.url());
    for node in &mut cluster.nodes {
        node.start().await;
    }
    let register = json!({ "url": relay.url() });
    eventually(20 * SECOND, "the node is registered", async || {
        cluster.nodes[0].try_post("/api/cluster/register", &register).await?.success()
    })
    .await;
    let password = json!({ "newPassword": "correct horse battery" });
    for body in [r#"{"_id":"for-members-only"}"#, r#"{"_id":"and-another-one"}"#] {
        cluster.nodes[0].post("/api/doc?db=shop&col=users", body).await.ok();
    }
    cluster.nodes[1].get("/api/doc?db=shop&col=users&id=for-members-only").await.ok();
    cluster.nodes[0].post("/api/change-password", password).await.ok();
    assert!(relay.saw("/raft/rpc/append"), "the calls went through it");
    for secret in ["for-members-only", "and-another-one", "argon2", "token_key", SECRET] {
        assert!(!relay.saw(secret), "{secret} was seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_few_counted_and_told_and_members_get_in() {
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": SECRET })).await;
    let follower = cluster.followers().await[0];
    let (node, other) = (&cluster.nodes[follower], &cluster.nodes[(follower + 1) % 3]);
    let ((_, own), (_, from)) = (membership(node), membership(other));

    // Who proves the secret is let in only as a member that it can be, at a URL of this node, for this cluster.
    let right = || proof(node, SECRET, from);
    for (reason, change) in [
        ("target", json!({ "to": 987_654 })),
        ("cluster", json!({ "cluster": "another" })),
        ("sender", json!({ "from": own })),
        ("url", json!({ "url": format!("http://localhost:{}", other.port) })),
        ("url", json!({ "url": format!("https://localhost:{}", node.port) })),
        ("url", json!({ "url": format!("http://192.0.2.1:{}", node.port) })),
    ] {
        let mut request = serde_json::to_value(right().await).unwrap();
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let request = prove_under(SECRET, serde_json::from_value(request).unwrap());
        assert_eq!(prove(node, &request).await.error("conflict")["peer"], reason, "{change}");
    }

    let guessed = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + 4 * SECOND;
    let guess = async || {
        while Instant::now() < until {
            let wrong = prove(node, &proof(node, "a guess of 16 bytes", from).await).await;
            match wrong.status {
                401 => drop(guessed.fetch_add(1, Ordering::Relaxed)),
                429 => {}
                _ => panic!("{}", wrong.shown()),
            }
        }
    };
    let guesses = futures_util::future::join_all((0..16).map(|_| guess()));
    let member = async {
        tokio::time::sleep(SECOND).await;
        Session::open(node, SECRET, from).await.map(drop).map_err(|answer| answer.shown())
    };
    let (_, member) = tokio::join!(guesses, member);
    member.unwrap();
    let guessed = guessed.load(Ordering::Relaxed);
    assert!((20..600).contains(&guessed), "{guessed} guesses in 4 s");
    let metrics = node.get("/metrics").await.body;
    let counted =
        metrics.lines().find_map(|line| line.strip_prefix(r#"jettra_rpc_refused_total{reason="bad_proof"} "#));
    assert!(counted.unwrap().parse::<usize>().unwrap() >= guessed, "{metrics}");
    let told = || node.log().lines().filter(|line| line.contains("cluster secret that is not this one")).count();
    assert!((1..=2).contains(&told()), "{}", node.log_tail(20));

    // A member that was removed is nobody any more, whatever it knows.
    let removed = (0..3).find(|place| *place != follower && *place != 0).unwrap_or(0);
    let (_, gone) = membership(&cluster.nodes[removed]);
    let session = Session::open(node, SECRET, gone).await.map_err(|answer| answer.shown()).unwrap();
    let (id, to) = membership(node);
    let body = json!({ "cluster": id, "from": gone, "to": to, "body": {} }).to_string();
    session.call(node, "machine", 1, &body).await.ok();
    let name = cluster.nodes[removed].id.clone();
    node.post("/api/cluster/deregister", json!({ "node": name, "force": true })).await.ok();
    eventually(20 * SECOND, "its session has ended", async || {
        static NUMBER: AtomicUsize = AtomicUsize::new(2);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) as u64;
        let answer = session.call(node, "machine", number, &body).await;
        if answer.status == 200 { Err(answer.shown()) } else { Ok(()) }
    })
    .await;
    let again = Session::open(node, SECRET, gone).await.err().expect("no session for who was removed");
    assert!(again.ok()["removed"].is_number(), "{}", again.shown());
    cluster.nodes[removed].kill();
}

/// Asks who the node is, over one connection, as fast as it answers.
fn flood(port: u16, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let body = format!(r#"{{"nonce":"{}"}}"#, "0".repeat(32));
        let one = format!(
            "POST /raft/rpc/identity HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            stream.set_read_timeout(Some(SECOND)).unwrap();
            let mut answer = [0; 16 << 10];
            while !stop.load(Ordering::Relaxed) && stream.write_all(one.repeat(50).as_bytes()).is_ok() {
                match stream.read(&mut answer) {
                    Ok(length @ 1..) => {
                        asked += String::from_utf8_lossy(&answer[..length]).matches("HTTP/1.1 200").count()
                    }
                    _ => break,
                }
            }
        }
        asked
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_keep_no_node_apart_from_the_others() {
    let mut cluster = Cluster::unregistered(|number| {
        let mut config = member_config(&format!("node{number}"), number == 1);
        config["ClusterSecret"] = SECRET.into();
        config["ElectionMinMs"] = 400.into();
        config["ElectionMaxMs"] = 800.into();
        (number <= 3).then_some(config)
    })
    .await;
    // A network with 20 ms there and back stands before the node that leads.
    let relay = Relay::to(cluster.nodes[2].port, Duration::from_millis(10));
    cluster.nodes[2].configure("AdvertiseUrl", relay.url());
    for node in &mut cluster.nodes {
        node.start().await;
    }
    for url in [cluster.nodes[1].url(), cluster.nodes[2].url()] {
        let url = if url == cluster.nodes[2].url() { relay.url() } else { url };
        eventually(20 * SECOND, "it is registered", async || {
            cluster.nodes[0].try_post("/api/cluster/register", json!({ "url": url })).await?.success()
        })
        .await;
    }
    cluster.settled().await;
    eventually(20 * SECOND, "node3 leads", async || {
        cluster.nodes[1].try_post("/api/cluster/transfer", json!({ "node": "node3" })).await?.success()
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..4).map(|_| flood(cluster.nodes[2].port, &stop)).collect();
    tokio::time::sleep(SECOND).await;
    cluster.nodes[0].restart().await;
    let began = Instant::now();
    eventually(15 * SECOND, "a write goes through", async || {
        let path = "/api/doc?db=shop&col=users&timeout=3";
        cluster.nodes[0].try_post(path, r#"{"n":1}"#).await?.success()
    })
    .await;
    println!("the first write took {:?}", began.elapsed());
    stop.store(true, Ordering::Relaxed);
    let asked: usize = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
    println!("strangers were answered {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_fill_the_log() {
    let node = Node::standalone(json!({})).await;
    let before = node.log().len();
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    stream.set_write_timeout(Some(SECOND)).unwrap();
    for call in ["snapshot", "append", "fetch-state", "register-me", "nothing", "prove"] {
        let one = format!("POST /raft/rpc/{call} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(one.repeat(20).as_bytes()).unwrap();
    }
    eventually(20 * SECOND, "they are counted", async || {
        let metrics = node.try_get("/metrics").await?.body;
        let counted = metrics.lines().filter(|line| line.starts_with("jettra_rpc_refused_total"));
        let counted: usize = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        if counted >= 100 { Ok(()) } else { Err(metrics) }
    })
    .await;
    let log = node.log();
    let told = log[before..].lines().filter(|line| line.contains("strangers")).count();
    assert!((1..=3).contains(&told) && log.len() - before < 4096, "{}", &log[before..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_changed_on_one_node_after_the_other() {
    const NEW: &str = "the new one, of 32 bytes or more";
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": SECRET })).await;
    let mut written = 0;
    for step in 0..2 {
        for place in 0..3 {
            cluster.nodes[place].kill();
            cluster.nodes[place].configure("ClusterSecret", NEW);
            cluster.nodes[place].configure("ClusterSecretBefore", if step == 0 { json!(SECRET) } else { json!(null) });
            cluster.nodes[place].start().await;
            cluster.settled().await;
            written += 1;
            cluster.nodes[place].post("/api/doc?db=shop&col=users", json!({ "n": written })).await.ok();
        }
    }
    let (node, (_, from)) = (&cluster.nodes[0], membership(&cluster.nodes[1]));
    assert!(Session::open(node, SECRET, from).await.is_err(), "the old one opens nothing");
    assert!(Session::open(node, NEW, from).await.is_ok());
    assert_eq!(node.get("/api/count?db=shop&col=users").await.ok()["count"], written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_refuse_each_other_is_never_the_clients_error() {
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": SECRET })).await;
    cluster.nodes[0].post("/api/doc?db=shop&col=users", r#"{"n":0}"#).await.ok();
    // All change places, and are written to before they have found each other.
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    cluster.nodes.iter_mut().for_each(Node::kill);
    for (place, node) in cluster.nodes.iter_mut().enumerate() {
        node.port = ports[(place + 1) % 3];
        node.configure("Port", node.port);
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    let writes = cluster.nodes.iter().map(|node| async move {
        eventually(30 * SECOND, "a write goes through", async || {
            let answer = node.try_post("/api/doc?db=shop&col=users&timeout=2", r#"{"n":1}"#).await?;
            let code = answer.status;
            assert!(matches!(code, 200 | 503 | 504), "{}", answer.shown());
            answer.success()
        })
        .await;
    });
    futures_util::future::join_all(writes).await;
    cluster.settled().await;

    // A node whose secret differs says that it has no leader, and no more.
    let follower = cluster.followers().await[0];
    let node = &mut cluster.nodes[follower];
    node.kill();
    node.configure("ClusterSecret", "not the one of the others");
    node.start().await;
    for (method, path) in
        [("POST", "/api/doc?db=shop&col=users&timeout=1"), ("GET", "/api/count?db=shop&col=users&timeout=1")]
    {
        let answer = node.send(node.request(method, path).body("{}")).await;
        let error = answer.error("no_leader").to_string();
        assert!(!["secret", "session", "raft id", "HMAC"].iter().any(|word| error.contains(word)), "{error}");
    }
}

/// Says that it is a node without a secret, once; then leaves its place and keeps the connection. What comes over that is
/// printed. Run by another user, where the test may choose one.
const SQUATTER: &str = r#"
import socket,json,threading,time,sys
P2=int(sys.argv[1]); l=socket.socket(); l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); l.bind(("127.0.0.1",P2)); l.listen(5)
def serve(c):
    f=c.makefile("rb")
    while line:=f.readline():
        path=line.split()[1].decode(); n=0
        while h:=f.readline().strip():
            if h.lower().startswith(b"content-length"): n=int(h.split(b":")[1])
        body=f.read(n)
        print("ASKED",path,flush=True)
        if path.endswith("identity"): a={"rpcVersion":3,"version":"0.1.0","nonce":"0"*32,"secret":False}
        elif path.endswith("prove"): a={"proof":"","node":{"rpcVersion":3,"version":"0.1.0","name":"node2","incarnation":"ab"*16,"instance":"i",
            "url":"http://localhost:%d"%P2,"clusterId":None,"raftId":None,"distributed":True,"featureLevel":1}}
        else: print("SECRET",body.decode(),flush=True); a={"status":"joined"}
        b=json.dumps(a).encode(); c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"%len(b)+b)
print("LISTENS",flush=True)
def accept():
    while True:
        c,_=l.accept(); threading.Thread(target=serve,args=(c,),daemon=True).start()
threading.Thread(target=accept,daemon=True).start()
time.sleep(40)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_goes_to_no_process_of_another_user() {
    use std::os::unix::{fs::MetadataExt as _, process::CommandExt as _};
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not tried: only root may run a process as another user");
        return;
    }
    let cluster = Cluster::start(1).await;
    // Root's own processes pass bytes on for others: so for a node that root runs, they must be nodes too.
    for user in [65534, 0] {
        let port = common::free_ports(1);
        let mut squatter = std::process::Command::new("python3");
        squatter.args(["-c", SQUATTER, &port.to_string()]).uid(user).gid(user).current_dir("/");
        let mut squatter = squatter.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(squatter.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "LISTENS");
        let register = json!({ "url": format!("http://localhost:{port}") });
        for _ in 0..2 {
            let refused = cluster.nodes[0].post("/api/cluster/register", &register).await;
            let error = refused.error("forbidden");
            assert!(error["message"].as_str().unwrap().contains("same user"), "{error}");
        }
        squatter.kill().unwrap();
        squatter.wait().unwrap();
        let seen: Vec<String> = lines.map_while(Result::ok).collect();
        let secret = cluster.nodes[0].secret();
        assert!(seen.iter().any(|line| line.contains("identity")), "{seen:?}");
        let told = |line: &String| line.contains("SECRET") || line.contains("prove") || line.contains(&secret);
        assert!(!seen.iter().any(told), "{seen:?}");
    }
}
