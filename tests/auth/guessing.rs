//! Wrong passwords: slowed by user and network, told, and in nobody else's way.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use serde_json::json;

use crate::common::{LIMIT, Node, SECOND, eventually};
use crate::{PASSWORD, ask, basic, login, token};

/// A node with a password.
async fn with_password() -> Node {
    let node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    eventually(20 * SECOND, "the configured password counts", async || {
        let answer = ask(&node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_slowed_and_who_was_right_goes_on() {
    let mut node = with_password().await;
    let token = token(&node).await;
    // The same for a user that there is and one that there is not: it tells nobody who exists.
    for name in ["admin", "nobody"] {
        let mut number = 0;
        let slowed = loop {
            let answer = match number % 2 {
                0 => login(&node, name, "guess").await,
                _ => ask(&node, "GET", "/api/dbs", Some(&basic(name, "guess"))).await,
            };
            if answer.status == 429 {
                break answer;
            }
            assert_eq!(answer.error("unauthorized")["message"], "wrong user name or password");
            number += 1;
            // On a busy machine it takes its time, and then there may be one more.
            assert!(number < 40, "never slowed");
        };
        assert!(number >= 10, "slowed after {number}");
        slowed.error("busy");
        assert!((1..=6).contains(&slowed.number("retry-after")), "{}", slowed.shown());
    }
    // Who was right lately goes on, and so does another user.
    ask(&node, "GET", "/api/dbs", Some(&token)).await.ok();
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
    login(&node, "admin", PASSWORD).await.ok();
    login(&node, "ann", "guess").await.error("unauthorized");
    // It is a pace and no ban.
    eventually(20 * SECOND, "the next guess is looked at", async || {
        let answer = login(&node, "admin", "guess").await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    node.authorize(token);
    node.restart().await;
    node.get("/api/dbs").await.ok();
    login(&node, "admin", PASSWORD).await.ok();
}

/// The status of a request with HTTP Basic from one of this machine's many loopback addresses.
fn status_from(ip: [u8; 4], port: u16, header: &str) -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(20 * SECOND)).unwrap();
    let head = format!("GET /api/dbs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\nConnection: close");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_addresses_at_once_are_few_and_told() {
    let node = with_password().await;
    let port = node.port;
    let guesses = (0..200_u8).map(|number| {
        let header = basic("admin", &format!("guess {number}"));
        tokio::task::spawn_blocking(move || status_from([127, 1, number, 1], port, &header))
    });
    let statuses: Vec<u16> =
        futures_util::future::join_all(guesses).await.into_iter().map(|status| status.unwrap()).collect();
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!((1..=14).contains(&checked), "{checked} guesses were checked");

    let metrics = node.get("/metrics").await.body;
    let count = |result: &str| {
        let line = format!("jettra_logins_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|seen| seen.strip_prefix(&line)).map_or(0, |count| count.parse::<usize>().unwrap())
    };
    let all: usize = ["wrong", "slowed", "busy"].map(count).iter().sum();
    assert_eq!((count("wrong"), all), (checked, 200), "{metrics}");
    // A line at once, and then one a minute, with their number: it is not for strangers to fill the disk.
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("wrong passwords")).collect();
    assert!((1..=2).contains(&lines.len()) && lines[0].contains("this machine"), "{lines:?}");
    assert!(!log.contains("guess"), "{log}");
    let header = basic("admin", PASSWORD);
    eventually(LIMIT, "the right one is let in, and the doctor has found the others", async || {
        let diagnosis = ask(&node, "GET", "/api/cluster/doctor", Some(&header)).await.success()?;
        let found = diagnosis["findings"].to_string();
        if found.contains("wrong passwords were sent to") { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_many_connections_is_no_flood() {
    let node = with_password().await;
    let header = basic("admin", PASSWORD);
    let all = (0..100).map(|_| ask(&node, "GET", "/api/dbs", Some(&header)));
    for answer in futures_util::future::join_all(all).await {
        answer.ok();
    }
}
