//! The journal tells what happened to the cluster, once, and does not grow for ever.

use jettra_client::wire::{ClusterEvent, EventKind, Status};

use super::*;
use crate::storage::Order;

fn event(text: &str) -> Op {
    Op::ClusterEvent(NewEvent::new(EventKind::Alarm, text).with("alarm", "test"))
}

fn journal(replica: &Replica) -> Vec<ClusterEvent> {
    replica.state.newest_events(1000).unwrap()
}

fn kinds(replica: &Replica) -> Vec<(EventKind, Option<String>)> {
    journal(replica).into_iter().map(|event| (event.kind, event.node)).collect()
}

fn follow(replica: &mut Replica, members: Vec<MemberInfo>) {
    replica.index += 1;
    let payload = Payload::Membership { members, raw: b"raw" };
    replica.state.apply(&[LogEntry { index: replica.index, position: b"position", payload }]).unwrap();
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn member(raft_id: u64, id: &str, voter: bool) -> MemberInfo {
    let (url, incarnation) = (format!("http://{id}"), format!("incarnation of {id}"));
    MemberInfo { raft_id, name: name(id), url, incarnation, voter }
}

fn register(replica: &mut Replica, id: &str) -> u64 {
    let (url, incarnation) = (format!("http://{id}"), format!("incarnation of {id}"));
    match replica.run(Op::ClusterRegister { id: name(id), url, incarnation, description: None, replica: false }) {
        Ok(Answer::Member { raft_id, .. }) => raft_id,
        other => panic!("{other:?}"),
    }
}

fn status(replica: &mut Replica, id: &str, status: Status) {
    let change = NodeChange { status: Some(status), ..NodeChange::of(name(id)) };
    replica.run(Op::ClusterUpdateNode { nodes: vec![change] }).unwrap();
}

#[test]
fn a_members_life_is_journalled_by_the_entries_themselves_each_step_once() {
    let mut replica = Replica::new();
    follow(&mut replica, vec![member(1, "one", true)]);
    let init = Op::ClusterInit {
        cluster_id: "c1".into(),
        token_key: vec![1],
        settings: Settings::default(),
        feature_level: 1,
    };
    for _ in 0..2 {
        replica.run(init.clone()).unwrap();
    }
    let two = register(&mut replica, "two");
    assert_eq!(register(&mut replica, "two"), two);
    for voter in [false, false, true, true] {
        follow(&mut replica, vec![member(1, "one", true), member(two, "two", voter)]);
    }
    for _ in 0..2 {
        status(&mut replica, "two", Status::Inactive);
    }
    status(&mut replica, "two", Status::Active);
    for _ in 0..2 {
        replica.run(Op::ClusterStop { id: name("two") }).unwrap();
    }
    status(&mut replica, "two", Status::Active);
    follow(&mut replica, vec![member(1, "one", true)]);
    replica.run(Op::ClusterDeregister { id: name("two") }).unwrap();

    let two = || Some("two".to_owned());
    assert_eq!(
        kinds(&replica),
        [
            (EventKind::Created, None),
            (EventKind::Registered, two()),
            (EventKind::Joined, two()),
            (EventKind::Promoted, two()),
            (EventKind::Silent, two()),
            (EventKind::Returned, two()),
            (EventKind::Stopped, two()),
            (EventKind::Returned, two()),
            (EventKind::Removed, two()),
        ]
    );
    let journal = journal(&replica);
    assert!(journal.windows(2).all(|pair| pair[0].rev < pair[1].rev));
    assert!(journal.iter().all(|event| event.time == replica.now_ms && !event.message.is_empty()));
}

#[test]
fn a_command_brings_what_only_the_leader_knows_and_no_field_of_the_events_own() {
    let mut replica = Replica::new();
    replica.now_ms = 17;
    replica.run(event("the disk is full")).unwrap();
    let bodies = replica.state.events(0, Order::Ascending, 0, 10).unwrap();
    let want = r#"{"rev":1,"time":17,"kind":"alarm","message":"the disk is full","alarm":"test"}"#;
    assert_eq!(bodies, [want]);
    for wrong in
        [NewEvent::new(EventKind::Asked, "x").with("rev", 7), NewEvent::new(EventKind::Asked, "x".repeat(17 << 10))]
    {
        assert!(replica.run(Op::ClusterEvent(wrong)).is_err());
    }
    assert_eq!(journal(&replica).len(), 1);
}

#[test]
fn settings_that_changed_are_named() {
    let mut replica = Replica::new();
    replica.run(Op::SetSettings(Settings { max_versions: 7, ..Settings::default() }.to_map())).unwrap();
    let events = journal(&replica);
    assert_eq!(events[0].details["changed"].to_string(), r#"{"maxVersions":7}"#);
    assert_eq!(events.len(), 1);
}

#[test]
fn the_journal_is_read_from_both_ends_and_from_the_middle() {
    let mut replica = Replica::new();
    let all: Vec<Command> = (0..20).map(|n| Command::new(event(&format!("{n}")))).collect();
    replica.apply_all(&all);
    let revs = |after, order, offset, limit| -> Vec<u64> {
        let bodies = replica.state.events(after, order, offset, limit).unwrap();
        bodies.iter().map(|body| serde_json::from_slice::<ClusterEvent>(body).unwrap().rev).collect()
    };
    assert_eq!(revs(0, Order::Ascending, 2, 3), [3, 4, 5]);
    assert_eq!(revs(0, Order::Descending, 1, 2), [19, 18]);
    assert_eq!(revs(18, Order::Ascending, 0, 10), [19, 20]);
    assert_eq!(revs(20, Order::Ascending, 0, 10), [0; 0]);
    assert_eq!(revs(u64::MAX, Order::Ascending, 0, 10), [0; 0]);
}

#[test]
fn the_oldest_events_go_by_number_bytes_and_time_also_while_a_view_is_pinned() {
    let mut replica = Replica::new();
    let bounded = |settings: Settings| Op::SetSettings(settings.to_map());
    replica.run(bounded(Settings { max_events: 5, ..Settings::default() })).unwrap();
    let pin = replica.state.pin();
    for run in 0..4 {
        let all: Vec<Command> = (0..10).map(|n| Command::new(event(&format!("{run} {n}")))).collect();
        replica.apply_all(&all);
        assert_eq!(journal(&replica).len(), 5, "run {run}");
    }
    let last: Vec<String> = journal(&replica).into_iter().map(|event| event.message).collect();
    assert_eq!(last, ["3 5", "3 6", "3 7", "3 8", "3 9"]);
    drop(pin);

    replica.run(bounded(Settings { max_event_bytes: 300, ..Settings::default() })).unwrap();
    replica.run(event("fits with few others")).unwrap();
    let bytes: usize = replica.state.events(0, Order::Ascending, 0, 99).unwrap().iter().map(|body| body.len()).sum();
    assert!((1..=300).contains(&bytes), "{bytes}");

    replica.run(bounded(Settings { event_ms: 1000, ..Settings::default() })).unwrap();
    replica.now_ms += 1000;
    replica.run(event("the only young one")).unwrap();
    assert_eq!(kinds(&replica), [(EventKind::Alarm, None)]);
}

#[test]
fn the_journal_is_in_no_list_and_told_to_no_watch() {
    let mut replica = Replica::new();
    replica.run(event("quiet")).unwrap();
    let names = replica.state.list_collections(&database("_system"));
    assert_eq!(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["_clusternodes"]);
    let told = dump(&**replica.state.engine()).iter().any(|(key, _)| key[0] == crate::storage::keys::CHANGES);
    assert!(!told);
}

#[test]
fn a_replica_is_one_by_its_document_and_said_so() {
    let mut replica = Replica::new();
    follow(&mut replica, vec![member(1, "one", true)]);
    replica.run(Op::RaiseFeatureLevel { level: crate::feature::REPLICAS }).unwrap();
    let url = "http://two".to_owned();
    let op = Op::ClusterRegister {
        id: name("two"),
        url,
        incarnation: "incarnation of two".into(),
        description: None,
        replica: true,
    };
    assert_eq!(op.feature_level(), crate::feature::REPLICAS);
    let Ok(Answer::Member { raft_id, .. }) = replica.run(op) else { panic!("not registered") };
    let doc = |replica: &Replica| replica.state.members().into_iter().find(|doc| doc.id == "two").unwrap();
    follow(&mut replica, vec![member(1, "one", true), member(raft_id, "two", false)]);
    assert_eq!((doc(&replica).voter, doc(&replica).replica), (Some(false), true));
    // Registered again, whatever is said, it stays what it is.
    register(&mut replica, "two");
    assert!(doc(&replica).replica);
    let change =
        |wish| Op::ClusterUpdateNode { nodes: vec![NodeChange { replica: Some(wish), ..NodeChange::of(name("two")) }] };
    assert_eq!(change(true).feature_level(), crate::feature::REPLICAS);
    replica.run(change(false)).unwrap();
    follow(&mut replica, vec![member(1, "one", true), member(raft_id, "two", true)]);
    assert_eq!((doc(&replica).voter, doc(&replica).replica), (Some(true), false));
    replica.run(change(true)).unwrap();
    follow(&mut replica, vec![member(1, "one", true), member(raft_id, "two", false)]);
    let told: Vec<String> = replica.state.newest_events(100).unwrap().into_iter().map(|event| event.message).collect();
    for said in ["two joined the cluster as a read replica", "two votes no more: it is a read replica from now on"] {
        assert!(told.iter().any(|message| message == said), "{said}: {told:?}");
    }
    // What is stored of one that is none has the form of the first level.
    replica.run(change(false)).unwrap();
    assert!(!replica.body("_system", "_clusternodes", "two").unwrap().contains("replica"));
}
