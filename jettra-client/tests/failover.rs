//! What the client does when nodes do not do what they should.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use jettra_client::testing::{FakeCluster, FakeNode, Mishap, Received};
use jettra_client::{Error, ErrorCode, JettraClient};

/// A client of these URLs that asks only them.
fn client_of<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> JettraClient {
    JettraClient::builder().urls(urls).credentials("admin", "password").discover(false).build().unwrap()
}

/// The URL of a node that is gone.
fn dead_url() -> String {
    let node = FakeNode::start().unwrap();
    node.stop();
    node.url()
}

/// The session and number of a request, without the mark.
fn number(request: &Received) -> &str {
    request.session.as_deref().unwrap().rsplit_once(';').unwrap().0
}

#[tokio::test]
async fn a_dead_node_is_passed_by() {
    let node = FakeNode::start().unwrap();
    let client = client_of([dead_url(), node.url()]);
    client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();
    assert_eq!(client.count("shop", "users").await.unwrap(), 1);
}

#[tokio::test]
async fn a_cluster_without_leader_is_asked_again_under_the_same_number() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    node.next(Mishap::Refuse(ErrorCode::NoLeader));
    node.next(Mishap::Refuse(ErrorCode::Unavailable));
    client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();

    let received = node.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|request| number(request) == number(&received[0])), "{received:?}");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done_once_and_answered_by_another_node() {
    let cluster = FakeCluster::start(2).unwrap();
    let client = client_of(cluster.urls());
    cluster.node(0).next(Mishap::LoseAnswer);
    let saved = client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();

    let (first, second) = (cluster.node(0).received(), cluster.node(1).received());
    assert_eq!(first[0].session, second[0].session);
    assert!(client.versions("shop", "users", "ada").await.unwrap().is_empty(), "it was written once");
    assert_eq!(client.get_document("shop", "users", "ada").await.unwrap().unwrap().rev(), Some(saved.rev));
}

#[tokio::test]
async fn a_node_that_hangs_is_left_for_another() {
    let cluster = FakeCluster::start(2).unwrap();
    let client = JettraClient::builder()
        .urls(cluster.urls())
        .attempt_timeout(Duration::from_millis(200))
        .discover(false)
        .build()
        .unwrap();
    cluster.node(0).next(Mishap::Silence);
    client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();
    assert_eq!(cluster.node(0).received()[0].session, cluster.node(1).received()[0].session);
}

#[tokio::test]
async fn the_leader_is_followed_for_writes_and_reads_stay() {
    let cluster = FakeCluster::start(3).unwrap();
    let client = client_of([cluster.node(1).url()]);
    let leader = client.get_node_leader().await.unwrap().unwrap();
    assert_eq!(leader.url, cluster.node(0).url());

    client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();
    client.count("shop", "users").await.unwrap();
    assert_eq!(cluster.node(0).received().iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), ["POST"]);
    assert!(cluster.node(1).received().iter().all(|request| request.method == "GET"));

    cluster.node(0).stop();
    client.save_document("shop", "users", r#"{"_id":"ida"}"#).await.unwrap();
    assert_eq!(client.count("shop", "users").await.unwrap(), 2, "the follower took the write");
}

#[tokio::test]
async fn a_node_that_does_not_lead_names_the_one_that_does() {
    let cluster = FakeCluster::start(2).unwrap();
    let client = client_of([cluster.node(1).url()]);
    cluster.node(1).next(Mishap::LeaderIsAt(cluster.node(0).url()));
    client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap();
    assert_eq!(number(&cluster.node(1).received()[0]), number(&cluster.node(0).received()[0]));
}

#[tokio::test]
async fn members_are_learned_and_fallen_back_on() {
    let cluster = FakeCluster::start(3).unwrap();
    let client = JettraClient::builder().url(cluster.node(0).url()).build().unwrap();
    client.list_databases().await.unwrap();
    while client.urls().len() < 3 {
        tokio::task::yield_now().await;
    }
    cluster.node(0).stop();
    cluster.node(1).stop();
    client.list_databases().await.unwrap();
}

#[tokio::test]
async fn back_pressure_waits_as_told_and_does_not_wait_past_the_deadline() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    node.next(Mishap::RefuseFor(ErrorCode::Busy, 1));
    let began = Instant::now();
    client.save_document("shop", "users", "{}").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    node.next(Mishap::RefuseFor(ErrorCode::Busy, 3600));
    let error = client.save_document("shop", "users", "{}").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Busy));
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn the_end_of_time_tells_whether_the_write_is_in_doubt() {
    let node = FakeNode::start().unwrap();
    let client = |url: String| {
        JettraClient::builder().url(url).deadline(Duration::from_millis(300)).discover(false).build().unwrap()
    };

    let error = client(dead_url()).save_document("shop", "users", "{}").await.unwrap_err();
    assert!(matches!(&error, Error::Connect { .. }) && !error.outcome_unknown(), "{error:?}");

    node.next(Mishap::Silence);
    let error = client(node.url()).save_document("shop", "users", "{}").await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { outcome_unknown: true, .. }), "{error:?}");

    node.next(Mishap::Silence);
    let error = client(node.url()).count("shop", "users").await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { outcome_unknown: false, .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_at_the_door_does_not_clear_an_earlier_doubt() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    node.next(Mishap::LoseAnswer);
    node.next(Mishap::Refuse(ErrorCode::Forbidden));
    let error = client.save_document("shop", "users", "{}").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Forbidden));
    assert!(error.outcome_unknown(), "the first attempt did write");
}

#[tokio::test]
async fn stop_and_transfer_are_not_repeated_and_register_is() {
    let cluster = FakeCluster::start(2).unwrap();
    let node = cluster.node(0);
    let client = client_of([node.url()]);
    node.next(Mishap::LoseAnswer);
    assert!(matches!(client.stop("node2").await, Err(Error::Disconnected { .. })));
    assert_eq!(client.stop("node2").await.unwrap().status, "stopped_already");

    node.next(Mishap::LoseRequest);
    let error = client.transfer("node2").await.unwrap_err();
    assert!(error.outcome_unknown());

    node.next(Mishap::LoseAnswer);
    client.register("http://localhost:1").await.unwrap();
    assert_eq!(client.get_federated_nodes().await.unwrap().len(), 3);

    node.next(Mishap::LoseAnswer);
    client.deregister("http://localhost:1").await.unwrap();
    assert_eq!(client.get_federated_nodes().await.unwrap().len(), 2);
}

#[tokio::test]
async fn parameters_arrive_as_they_were_meant() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    let id = "a b&c=d/é+%2F?#";
    client.update("shop", "users", id, r#"{"n":1}"#).await.unwrap();
    let document = client.get_document("shop", "users", id).await.unwrap().unwrap();
    assert_eq!(document.id(), Some(id));
    let query = &node.received()[0].query;
    assert!(query.starts_with("db=shop&col=users&id=a%20b%26c%3Dd%2F%C3%A9%2B%252F%3F%23&timeout="), "{query}");
}

#[tokio::test]
async fn a_nodes_error_arrives_with_code_status_message_and_details() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    let error = client.patch("shop", "users", "nobody", "{}").await.unwrap_err();
    let Error::Server { code, status, message, outcome_unknown, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*code, *status, *outcome_unknown), (ErrorCode::NotFound, 404, false));
    assert_eq!(message, "there is no such document");

    let error = client.save_document("shop", "users", "[]").await.unwrap_err();
    assert_eq!(error.to_string(), "the body is no JSON object (bad_request)");
}

#[tokio::test]
async fn an_ended_token_gives_way_to_the_password() {
    let node = FakeNode::start().unwrap();
    node.require_login();
    let client = client_of([node.url()]);
    client.login().await.unwrap();
    client.list_databases().await.unwrap();
    node.expire_tokens();
    client.save_document("shop", "users", "{}").await.unwrap();

    let how = |request: Received| request.authorization.map(|value| value.split(' ').next().unwrap().to_owned());
    let how: Vec<_> = node.received().into_iter().map(how).collect();
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(how, [None, some("Bearer"), some("Bearer"), some("Basic")]);
}

#[tokio::test]
async fn numbers_rise_and_what_was_answered_is_acknowledged() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    for _ in 0..3 {
        client.save_document("shop", "users", "{}").await.unwrap();
    }
    let sessions: Vec<String> = node.received().into_iter().filter_map(|request| request.session).collect();
    let (id, _) = sessions[0].split_once(';').unwrap();
    assert_eq!(sessions, [format!("{id};1;0"), format!("{id};2;1"), format!("{id};3;2")]);

    client_of([node.url()]).save_document("shop", "users", "{}").await.unwrap();
    let other = node.received().pop().unwrap().session.unwrap();
    assert!(other.ends_with(";1;0") && !other.starts_with(id), "each client has a session of its own");
}

#[tokio::test]
async fn many_writes_at_once_stay_in_the_window() {
    let node = FakeNode::start().unwrap();
    let client = client_of([node.url()]);
    let writes: Vec<_> = (0..400)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.save("shop", "users", &serde_json::json!({"_id": n.to_string()})).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(client.count("shop", "users").await.unwrap(), 400);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_refused() {
    let node = FakeNode::start().unwrap();
    let client = JettraClient::builder().url(node.url()).max_response_bytes(1000).discover(false).build().unwrap();
    let large = format!(r#"{{"_id":"large","x":"{}"}}"#, "x".repeat(2000));
    client.save_document("shop", "users", large).await.unwrap();
    let error = client.get_document("shop", "users", "large").await.unwrap_err();
    assert!(matches!(error, Error::AnswerTooLarge { limit: 1000 }));
}

#[tokio::test]
async fn what_makes_no_client_is_told_at_the_first_call() {
    let client = JettraClient::new("no host", 8080, "admin", "password");
    let error = client.list_databases().await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    assert!(JettraClient::builder().build().is_err());

    let node = FakeNode::start().unwrap();
    let client = JettraClient::builder().url(node.url()).token("two\nlines").build().unwrap();
    let error = client.list_databases().await.unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
}
