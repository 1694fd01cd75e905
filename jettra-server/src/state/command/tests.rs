use bytes::Bytes;

use super::*;
use crate::state::document::Document;
use jettra_client::wire::EventKind;

const GOLDEN: &str = include_str!("../../../tests/golden/commands.ndjson");
const TIME: u64 = 1_700_000_000_123;

fn write(action: Action, condition: Option<Condition>) -> Write {
    Write { db: "shop".parse().unwrap(), col: "users".parse().unwrap(), action, condition }
}

fn id(text: &str) -> DocumentId {
    DocumentId::parse(text).unwrap()
}

fn save(id: &str) -> Action {
    let body = Bytes::from_static(br#"{"name": "Ann \"A\" Smith", "n": 12345678901234567890123, "x": 1.50}"#);
    Action::Save(Document::parse(&body, 1000).unwrap().with_id(DocumentId::parse(id).unwrap()).unwrap())
}

fn patch(id: &str) -> Action {
    let id = DocumentId::parse(id).unwrap();
    let patch = MergePatch::parse(&Bytes::from_static(br#"{ "n": null }"#), &id).unwrap();
    Action::Update { id, patch }
}

/// One command of each kind, in the order of the golden file.
fn commands() -> Vec<Command> {
    let key = RequestKey::Key { principal: "ann".into(), key: "order-7".into(), hash: "c0ffee".into() };
    let session = RequestKey::Session { principal: "ann".into(), session: "s1".into(), sequence: 9, acked: 7 };
    let version = Version { time_ms: 1_699_999_999_000, rev: 12 };
    let db = || DatabaseName::parse("shop").unwrap();
    let node = || NodeName::parse("node2").unwrap();
    let user = NewUser {
        name: "ann".into(),
        role: UserRole::Owner,
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
        databases: vec!["shop".into()],
    };
    let mut commands = vec![
        Command { request: Some(key), op: Op::Write(write(save("u1"), Some(Condition::Absent))) },
        Command { request: Some(session), op: Op::Write(write(patch("u\"1"), Some(Condition::Rev(812)))) },
    ];
    commands.extend(
        [
            Op::Write(write(Action::Delete { id: id("u1") }, None)),
            Op::Write(write(Action::RestoreVersion { id: id("u1"), version }, None)),
            Op::Batch(vec![write(save("u2"), None), write(Action::Delete { id: id("ü3") }, Some(Condition::Rev(4)))]),
            Op::CreateDatabase { name: db(), engine: Some("JettraEngineStore".into()) },
            Op::CreateDatabase { name: db(), engine: None },
            Op::DeleteDatabase { name: db() },
            Op::RenameDatabase { from: db(), to: "store".parse().unwrap() },
            Op::CreateCollection { db: db(), name: "users".parse().unwrap() },
            Op::DeleteCollection { db: db(), name: "users".parse().unwrap() },
            Op::RenameCollection { db: db(), from: "users".parse().unwrap(), to: "people".parse().unwrap() },
            Op::ClusterInit {
                cluster_id: "c1".into(),
                token_key: vec![1, 2, 255],
                settings: Settings::default(),
                feature_level: 1,
            },
            Op::ClusterRegister {
                id: node(),
                url: "http://localhost:8081".into(),
                incarnation: "i-2".into(),
                description: Some("rack 2".into()),
                replica: false,
            },
            Op::ClusterRegister {
                id: node(),
                url: "http://localhost:8081".into(),
                incarnation: "i-2".into(),
                description: None,
                replica: true,
            },
            Op::ClusterDeregister { id: node() },
            Op::ClusterStop { id: node() },
            Op::ClusterUpdateNode {
                nodes: vec![NodeChange {
                    role: Some(Role::Leader),
                    status: Some(Status::Active),
                    paused: Some(true),
                    ..NodeChange::of(node())
                }],
            },
            Op::ClusterUpdateNode { nodes: vec![NodeChange { replica: Some(false), ..NodeChange::of(node()) }] },
            Op::SetUser { user, only_if_no_admin: true },
            Op::TokenIssue {
                id: "t1".into(),
                user: "ann".into(),
                user_rev: 7,
                issued_ms: 1_700_000_000_000,
                expires_ms: 1_700_000_900_000,
            },
            Op::TokenRenew { id: "t1".into(), user: "ann".into(), expires_ms: 1_700_000_900_000 },
            Op::TokenEnd { id: "t1".into(), user: "ann".into(), until_ms: 1_700_000_900_000 },
            Op::ClusterEvent(
                NewEvent::new(EventKind::Elected, "node2 leads")
                    .node("node2")
                    .by("ann")
                    .with("term", 5)
                    .with("reason", "handed_over"),
            ),
            Op::ClusterEvent(NewEvent::new(EventKind::Alarm, "what \"is\" wrong")),
            Op::DigestCheck,
            Op::SetSettings(Settings { max_versions: 5, ..Settings::default() }.to_map()),
            Op::RaiseFeatureLevel { level: 1 },
        ]
        .map(Command::new),
    );
    commands
}

#[test]
fn the_stored_form_of_each_command_is_the_golden_one() {
    let written: Vec<String> =
        commands().iter().map(|command| String::from_utf8(command.encode(TIME).to_vec()).unwrap()).collect();
    let golden: Vec<&str> = GOLDEN.lines().collect();
    for (n, line) in written.iter().enumerate() {
        assert_eq!(Some(line.as_str()), golden.get(n).copied(), "line {}", n + 1);
    }
    assert_eq!(written.len(), golden.len());
}

#[test]
fn every_command_is_read_back_and_each_line_is_json() {
    for (line, command) in GOLDEN.lines().zip(commands()) {
        let bytes = Bytes::copy_from_slice(line.as_bytes());
        let head = Head { time_ms: Some(TIME), by: None };
        assert_eq!(Command::decode(&bytes).unwrap(), (command.clone(), head), "{line}");
        serde_json::from_str::<serde_json::Value>(line).unwrap();
        let unstamped = command.encode_unstamped(None);
        assert_eq!(Command::decode(&unstamped).unwrap(), (command, Head::default()));
        assert_eq!(stamp(&unstamped, TIME).unwrap(), bytes);
        assert!(stamp(&bytes, TIME).is_err(), "stamped twice");
    }
}

#[test]
fn who_asks_stands_beside_the_command() {
    let drop = || Command::new(Op::DeleteDatabase { name: "shop".parse().unwrap() });
    for (token, line) in [
        (None, r#"{"v":1,"op":"delete_db","by":{"user":"ann","rev":7},"name":"shop"}"#),
        (Some("t1"), r#"{"v":1,"op":"delete_db","by":{"user":"ann","rev":7,"token":"t1"},"name":"shop"}"#),
    ] {
        let by = By { user: "ann".into(), rev: 7, token: token.map(str::to_owned) };
        let written = drop().encode_unstamped(Some(&by));
        assert_eq!(written, line);
        assert_eq!(Command::decode(&written).unwrap(), (drop(), Head { time_ms: None, by: Some(by.clone()) }));
        let stamped = stamp(&written, TIME).unwrap();
        assert_eq!(Command::decode(&stamped).unwrap(), (drop(), Head { time_ms: Some(TIME), by: Some(by) }));
    }
}

#[test]
fn what_this_version_does_not_know_is_refused() {
    for (line, want) in [
        (r#"{"v":2,"time":1,"op":"save"}"#, "format 2"),
        (r#"{"v":1,"time":1,"op":"frobnicate"}"#, "\"frobnicate\" is unknown"),
        (r#"{"v":1,"time":1}"#, "\"op\" is missing"),
        (r#"{"v":1,"time":1,"op":"delete_db","name":"a/b"}"#, "is no database name"),
        (r#"{"v":1,"time":1,"op":"delete_db"#, "expected an object"),
        ("", "expected an object"),
    ] {
        let error = Command::decode(&Bytes::from_static(line.as_bytes())).unwrap_err().to_string();
        assert!(error.contains(want), "{line}: {error}");
    }
}
