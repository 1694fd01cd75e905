//! What the state promises, as short stories.

use jettra_client::wire::{ErrorCode, Role, Status};

use super::*;

#[test]
fn a_save_creates_database_and_collection_and_keeps_the_old_state() {
    let mut replica = Replica::new();
    let first = replica.save("db", "c", "x", r#"{"n":1}"#);
    let second = replica.save("db", "c", "x", r#"{"n":2}"#);
    assert_eq!(replica.body("db", "c", "x").unwrap(), r#"{"_id":"x","n":2}"#);
    assert_eq!(replica.versions("x"), [first]);
    assert_eq!(replica.state.count(&database("db"), &collection("c")), 1);
    let names: Vec<String> =
        replica.state.list_collections(&database("db")).iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["_engine", "_info", "_rules", "c"]);
    let databases: Vec<String> = replica.state.list_databases().into_iter().map(|db| db.name).collect();
    assert_eq!(databases, ["_system", "db"]);
    let version = replica.state.versions(&database("db"), &collection("c"), &doc_id("x")).unwrap()[0];
    let old = replica.state.version(&database("db"), &collection("c"), &doc_id("x"), version).unwrap().unwrap();
    assert_eq!((old.rev, &*old.body), (first, &br#"{"_id":"x","n":1}"#[..]));
    assert_eq!(second, replica.state.applied().rev);
}

#[test]
fn preconditions_answer_conflict_with_the_actual_revision() {
    let mut replica = Replica::new();
    let rev = replica.save("db", "c", "x", "{}");
    for (condition, id, fine) in [
        (Condition::Rev(rev + 7), "x", false),
        (Condition::Absent, "x", false),
        (Condition::Rev(rev), "y", false),
        (Condition::Absent, "y", true),
        (Condition::Rev(rev), "x", true),
    ] {
        let result = replica.run(Op::Write(write_if(condition, write("db", "c", save(id, "{}")))));
        assert_eq!(result.is_ok(), fine, "{condition:?} {id}");
        if let Err(error) = result {
            assert_eq!(error.code(), ErrorCode::Conflict);
            assert_eq!(error.detail("rev").unwrap().as_u64(), Some(if id == "x" { rev } else { 0 }));
        }
    }
}

#[test]
fn a_batch_is_carried_out_whole_or_not_at_all() {
    let mut replica = Replica::new();
    replica.save("db", "c", "x", r#"{"n":1}"#);
    let before = dump(&**replica.state.engine()).len();
    let error = replica
        .run(Op::Batch(vec![
            write("other", "c", save("y", "{}")),
            write("db", "c", update("x", r#"{"n":2}"#)),
            write("db", "c", delete("x")),
            write("db", "c", update("absent", "{}")),
        ]))
        .unwrap_err();
    assert_eq!((error.code(), error.detail("operation").unwrap().as_u64()), (ErrorCode::NotFound, Some(3)));
    assert_eq!(dump(&**replica.state.engine()).len(), before);
    assert!(!replica.state.has_database(&database("other")));
    assert_eq!(replica.body("db", "c", "x").unwrap(), r#"{"_id":"x","n":1}"#);

    let answer = replica.run(Op::Batch(vec![
        write("db", "c", save("y", "{}")),
        write("db", "c", update("y", r#"{"n":2}"#)),
        write("db", "c", delete("x")),
    ]));
    let Ok(Answer::Written(results)) = answer else { panic!("{answer:?}") };
    assert_eq!(results.iter().map(|result| result.existed).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(replica.body("db", "c", "y").unwrap(), r#"{"_id":"y","n":2}"#);
    assert_eq!(replica.versions("y"), [0; 0], "what one entry wrote over is no version");
}

#[test]
fn a_deleted_document_can_be_restored_until_its_tombstone_expires() {
    let mut replica = Replica::new();
    let rev = replica.save("db", "c", "x", r#"{"n":1}"#);
    replica.run(Op::Write(write("db", "c", delete("x")))).unwrap();
    assert_eq!(replica.body("db", "c", "x"), None);
    assert_eq!(replica.state.count(&database("db"), &collection("c")), 0);
    let again = replica.run(Op::Write(write("db", "c", delete("x")))).unwrap();
    assert_eq!(again, Answer::Written(vec![WriteResult { id: "x".into(), rev: 2, existed: false }]));
    let version = Version { time_ms: replica.now_ms, rev };
    replica.run(Op::Write(write("db", "c", restore("x", version)))).unwrap();
    assert_eq!(replica.body("db", "c", "x").unwrap(), r#"{"_id":"x","n":1}"#);
    replica.run(Op::Write(write("db", "c", delete("x")))).unwrap();

    replica.now_ms += Settings::default().tombstone_ms;
    let error = replica.run(Op::Write(write("db", "c", restore("x", version)))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    while replica.state.reclaim(2).unwrap() > 0 {}
    let left = dump(&**replica.state.engine());
    assert!(!left.iter().any(|(key, _)| key.ends_with(b"x") && key[0] == crate::storage::keys::CURRENT));
    assert!(!left.iter().any(|(key, _)| key[0] == crate::storage::keys::HISTORY));
}

#[test]
fn the_oldest_versions_go_when_there_are_too_many() {
    let mut replica = Replica::new();
    replica.run(Op::SetSettings(Settings { max_versions: 3, ..Settings::default() }.to_map())).unwrap();
    let revs: Vec<u64> = (0..10).map(|n| replica.save("db", "c", "x", &format!("{{\"n\":{n}}}"))).collect();
    assert_eq!(replica.versions("x"), [revs[8], revs[7], revs[6]]);
    assert!(replica.state.reclaim(1000).unwrap() > 0);
    assert_eq!(replica.state.reclaim(1000).unwrap(), 0);
    let history = dump(&**replica.state.engine()).iter().filter(|(key, _)| key[0] == 3).count();
    assert_eq!(history, 3);
    assert_eq!(replica.versions("x"), [revs[8], revs[7], revs[6]]);
    replica.run(Op::SetSettings(Settings { max_version_bytes: 20, ..Settings::default() }.to_map())).unwrap();
    replica.save("db", "c", "x", "{}");
    assert_eq!(replica.versions("x"), [revs[9]]);
}

#[test]
fn a_pinned_view_shows_its_revision_whatever_happens_after() {
    let mut replica = Replica::new();
    replica.save("db", "c", "a", r#"{"n":1}"#);
    replica.save("db", "c", "b", r#"{"n":1}"#);
    replica.run(Op::Write(write("db", "c", delete("b")))).unwrap();
    replica.save("db", "c", "d", r#"{"n":1}"#);
    let pin = replica.state.pin();
    replica.save("db", "c", "a", r#"{"n":2}"#);
    replica.save("db", "c", "b", r#"{"n":2}"#);
    replica.save("db", "c", "c", r#"{"n":2}"#);
    replica.run(Op::Write(write("db", "c", delete("d")))).unwrap();
    replica.run(Op::RenameCollection { db: database("db"), from: collection("c"), to: collection("e") }).unwrap();
    replica.run(Op::DeleteDatabase { name: database("db") }).unwrap();
    replica.now_ms += 2 * Settings::default().tombstone_ms;
    replica.save("db", "c", "z", "{}");
    while replica.state.reclaim(100).unwrap() > 0 {}
    let seen = |pin: &Pin, after: Option<&str>| -> Vec<(String, u64)> {
        let after = after.map(doc_id);
        let scan = replica.state.scan(&database("db"), &collection("c"), after.as_ref(), pin);
        scan.map(|doc| doc.unwrap()).map(|doc| (doc.id.to_string(), doc.rev)).collect()
    };
    assert_eq!(seen(&pin, None), [("a".to_owned(), 1), ("d".to_owned(), 4)]);
    assert_eq!(seen(&pin, Some("a")), [("d".to_owned(), 4)]);
    drop(pin);
    while replica.state.reclaim(3).unwrap() > 0 {}
    assert_eq!(seen(&replica.state.pin(), None), [("z".to_owned(), 11)]);
    let documents = dump(&**replica.state.engine()).iter().filter(|(key, _)| key[0] == 2 && key[6] != 0).count();
    assert_eq!(documents, 1, "what was dropped is gone from the store");
}

#[test]
fn creating_deleting_and_renaming_follow_the_contract() {
    let mut replica = Replica::new();
    let created = |changed| Ok(Answer::Done { changed });
    let db = |name: &str| database(name);
    assert_eq!(replica.run(Op::CreateDatabase { name: db("a"), engine: None }), created(true));
    assert_eq!(replica.run(Op::CreateDatabase { name: db("a"), engine: None }), created(false));
    assert_eq!(
        replica.run(Op::CreateDatabase { name: db("b"), engine: Some("JettraEngineStore".into()) }),
        created(true)
    );
    let code = |result: Result<Answer, Error>| result.unwrap_err().code();
    assert_eq!(code(replica.run(Op::RenameDatabase { from: db("a"), to: db("b") })), ErrorCode::Conflict);
    assert_eq!(code(replica.run(Op::RenameDatabase { from: db("x"), to: db("y") })), ErrorCode::NotFound);
    assert_eq!(code(replica.run(Op::CreateDatabase { name: db("_a"), engine: None })), ErrorCode::InvalidName);
    {
        let name = "_system";
        assert_eq!(code(replica.run(Op::DeleteDatabase { name: db(name) })), ErrorCode::InvalidName);
        assert_eq!(code(replica.run(Op::RenameDatabase { from: db(name), to: db("y") })), ErrorCode::InvalidName);
        let write = write(name, "_clusternodes", save("x", "{}"));
        assert_eq!(code(replica.run(Op::Write(write))), ErrorCode::Forbidden);
    }
    let (c, d) = (collection("c"), collection("d"));
    assert_eq!(replica.run(Op::CreateCollection { db: db("new"), name: c.clone() }), created(true));
    assert_eq!(replica.run(Op::CreateCollection { db: db("new"), name: c.clone() }), created(false));
    assert_eq!(
        code(replica.run(Op::CreateCollection { db: db("new"), name: collection("_users") })),
        ErrorCode::InvalidName
    );
    replica.save("new", "c", "x", "{}");
    assert_eq!(replica.run(Op::RenameCollection { db: db("new"), from: c.clone(), to: d.clone() }), created(true));
    assert_eq!(
        code(replica.run(Op::RenameCollection { db: db("new"), from: c.clone(), to: d.clone() })),
        ErrorCode::NotFound
    );
    assert!(replica.body("new", "d", "x").is_some() && replica.body("new", "c", "x").is_none());
    assert_eq!(replica.run(Op::RenameDatabase { from: db("new"), to: db("newer") }), created(true));
    assert!(replica.body("newer", "d", "x").is_some());
    assert_eq!(replica.run(Op::DeleteCollection { db: db("newer"), name: d.clone() }), created(true));
    assert_eq!(replica.run(Op::DeleteCollection { db: db("newer"), name: d.clone() }), created(false));
    assert_eq!(replica.run(Op::DeleteDatabase { name: db("newer") }), created(true));
    assert_eq!(replica.run(Op::DeleteDatabase { name: db("newer") }), created(false));
    let reopened = Replica::on(Arc::clone(replica.state.engine()));
    assert_eq!(reopened.state.list_databases(), replica.state.list_databases());
    let settings = Settings { max_databases: 2, max_collections: 7, ..Settings::default() };
    replica.run(Op::SetSettings(settings.to_map())).unwrap();
    assert_eq!(code(replica.run(Op::CreateDatabase { name: db("z"), engine: None })), ErrorCode::TooLarge);
    replica.save("a", "c", "x", "{}");
    assert_eq!(code(replica.run(Op::Write(write("a", "d", save("x", "{}"))))), ErrorCode::TooLarge);
}

fn key(key: &str, hash: &str) -> Option<RequestKey> {
    Some(RequestKey::Key { principal: "ann".into(), key: key.into(), hash: hash.into() })
}

#[test]
fn a_request_with_a_key_is_carried_out_once() {
    let mut replica = Replica::new();
    let op = Op::Write(write_if(Condition::Absent, write("db", "c", save("x", "{}"))));
    let command = Command { request: key("k", "h"), op };
    let first = replica.apply(&command);
    let repeat = replica.apply(&command);
    assert_eq!(repeat, Outcome { replayed: true, ..first.clone() });
    assert_eq!(first.rev, 1);
    let other = replica.apply(&Command { request: key("k", "h2"), ..command.clone() });
    assert_eq!(other.result.unwrap_err().code(), ErrorCode::Conflict);
    // An error is an outcome too: the repeat of a failed request does not succeed later.
    let failing = Command { request: key("k3", "h"), ..command.clone() };
    let failed = replica.apply(&failing);
    assert_eq!(failed.result.clone().unwrap_err().code(), ErrorCode::Conflict);
    replica.run(Op::Write(write("db", "c", delete("x")))).unwrap();
    assert_eq!(replica.apply(&failing), Outcome { replayed: true, ..failed });
    // After a day it is a new request, and the old records go.
    replica.now_ms += Settings::default().request_ms;
    assert!(!replica.apply(&command).replayed);
    assert!(replica.body("db", "c", "x").is_some());
    let kept = replica.state.digests().iter().find(|of| of.collection == system::REQUESTS).unwrap().stats.count;
    assert_eq!(kept, 1);
}

#[test]
fn the_oldest_requests_are_let_go_beyond_the_bound() {
    let mut replica = Replica::new();
    replica.run(Op::SetSettings(Settings { max_requests: 3, ..Settings::default() }.to_map())).unwrap();
    let command =
        |n: u32| Command { request: key(&format!("k{n}"), "h"), op: Op::Write(write("db", "c", save("x", "{}"))) };
    for n in 0..5 {
        assert!(!replica.apply(&command(n)).replayed);
    }
    assert_eq!([4, 3, 2].map(|n| replica.apply(&command(n)).replayed), [true; 3]);
    assert!(!replica.apply(&command(1)).replayed);
}

#[test]
fn a_session_costs_one_record() {
    let mut replica = Replica::new();
    let command = |sequence, acked| Command {
        request: Some(RequestKey::Session { principal: "ann".into(), session: "s".into(), sequence, acked }),
        op: Op::Write(write("db", "c", save(&format!("d{sequence}"), "{}"))),
    };
    let first = replica.apply(&command(1, 0));
    // Requests may come out of order, and repeated.
    let third = replica.apply(&command(3, 0));
    let second = replica.apply(&command(2, 0));
    assert_eq!(replica.apply(&command(1, 0)), Outcome { replayed: true, ..first });
    assert_eq!(replica.apply(&command(3, 0)), Outcome { replayed: true, ..third });
    assert_eq!(replica.apply(&command(2, 1)), Outcome { replayed: true, ..second });
    assert!(replica.apply(&command(4, 3)).result.is_ok());
    assert_eq!(replica.apply(&command(2, 1)).result.unwrap_err().code(), ErrorCode::BadRequest);
    assert_eq!(replica.apply(&command(5, 5)).result.unwrap_err().code(), ErrorCode::BadRequest);
    for n in 5..260 {
        assert!(replica.apply(&command(n, 3)).result.is_ok(), "{n}");
    }
    assert_eq!(replica.apply(&command(260, 3)).result.unwrap_err().code(), ErrorCode::BadRequest);
    assert!(replica.apply(&command(261, 100)).result.is_ok());
    let digests = replica.state.digests();
    let count = |id| digests.iter().find(|of| of.collection == id).unwrap().stats.count;
    assert_eq!((count(system::SESSIONS), count(system::SESSION_ORDER)), (1, 1));
}

fn member(raft_id: u64, voter: bool) -> MemberInfo {
    let name = NodeName::parse(&format!("node{raft_id}")).unwrap();
    MemberInfo { raft_id, name, url: format!("http://n{raft_id}"), incarnation: format!("i{raft_id}"), voter }
}

#[test]
fn the_members_follow_the_membership_and_the_leaders_commands() {
    let mut replica = Replica::new();
    let follow = |replica: &mut Replica, members: Vec<MemberInfo>| {
        replica.index += 1;
        let payload = Payload::Membership { members, raw: b"raw" };
        replica.state.apply(&[LogEntry { index: replica.index, position: b"p", payload }]).unwrap();
    };
    follow(&mut replica, vec![member(1, true)]);
    assert_eq!(
        replica.body("_system", "_clusternodes", "node1").unwrap(),
        r#"{"_id":"node1","url":"http://n1","role":"LEADER","status":"ACTIVE","voter":true,"raftId":1,"incarnation":"i1"}"#
    );
    assert_eq!(replica.state.applied().membership.unwrap(), "raw");
    let register = |name: &str, url: &str, incarnation: &str| Op::ClusterRegister {
        id: NodeName::parse(name).unwrap(),
        url: url.into(),
        incarnation: incarnation.into(),
        description: Some("rack 2".into()),
        replica: false,
    };
    let answer = replica.run(register("two", "http://n2", "i2"));
    let raft_id = replica.index;
    assert_eq!(answer, Ok(Answer::Member { raft_id, existed: false }));
    assert_eq!(replica.run(register("two", "http://n2b", "i2")), Ok(Answer::Member { raft_id, existed: true }));
    for (name, url, incarnation) in [("two", "http://n2", "i9"), ("three", "http://n1", "i3")] {
        assert_eq!(replica.run(register(name, url, incarnation)).unwrap_err().code(), ErrorCode::Conflict);
    }
    let two = MemberInfo { raft_id, name: NodeName::parse("two").unwrap(), ..member(2, false) };
    follow(&mut replica, vec![member(1, true), two.clone()]);
    follow(&mut replica, vec![member(1, true), MemberInfo { voter: true, ..two }]);
    let id = || NodeName::parse("two").unwrap();
    let change = NodeChange { role: Some(Role::Leader), ..NodeChange::of(id()) };
    assert_eq!(replica.run(Op::ClusterUpdateNode { nodes: vec![change.clone()] }), Ok(Answer::Done { changed: true }));
    assert_eq!(replica.run(Op::ClusterUpdateNode { nodes: vec![change] }), Ok(Answer::Done { changed: false }));
    assert_eq!(replica.run(Op::ClusterStop { id: id() }), Ok(Answer::Done { changed: true }));
    let members = replica.state.members();
    let two = members.iter().find(|member| member.id == "two").unwrap();
    assert_eq!(
        (two.role, two.status, two.voter, two.url.as_str()),
        (Role::Leader, Status::Inactive, Some(true), "http://n2b")
    );
    let reopened = Replica::on(Arc::clone(replica.state.engine()));
    assert_eq!(reopened.state.members(), members);
    follow(&mut replica, vec![member(1, true)]);
    assert_eq!(replica.state.members().len(), 1);
    assert_eq!(replica.run(Op::ClusterDeregister { id: id() }), Ok(Answer::Done { changed: false }));
}

#[test]
fn what_is_asked_by_a_right_that_has_ended_changes_nothing() {
    let mut replica = Replica::new();
    let set = |name: &str| {
        let user = NewUser {
            name: name.into(),
            role: UserRole::Admin,
            password_hash: "x".into(),
            databases: vec!["*".into()],
        };
        Op::SetUser { user, only_if_no_admin: false }
    };
    let by = |user: &str, rev, token: Option<&str>| By { user: user.into(), rev, token: token.map(str::to_owned) };
    let ask = |replica: &mut Replica, id: &str, by: &By| {
        let command = Command::new(Op::Write(write("db", "c", save(id, "{}"))));
        let stamped = stamp(&command.encode_unstamped(Some(by)), replica.now_ms).unwrap();
        let allowed = replica.state.may(by).unwrap().is_ok();
        replica.index += 1;
        let entry = LogEntry { index: replica.index, position: b"position", payload: Payload::Command(&stamped) };
        let outcome = replica.state.apply(&[entry]).unwrap().remove(0);
        let written = replica.body("db", "c", id).is_some();
        assert_eq!((allowed, allowed), (written, outcome.result.is_ok()), "{outcome:?}");
        let refused = outcome.result.err();
        assert!(refused.is_none_or(|e| e.code() == ErrorCode::Unauthorized && e.detail(CHANGED).is_some()));
        written
    };
    // Protected mode, until there is an administrator, of whatever name.
    assert!(ask(&mut replica, "a", &by("admin", 0, None)));
    replica.run(set("root")).unwrap();
    assert!(!ask(&mut replica, "b", &by("admin", 0, None)));
    let rev = replica.state.user("root").unwrap().rev;
    assert!(ask(&mut replica, "b", &by("root", rev, Some("t1"))));
    assert!(!ask(&mut replica, "c", &by("root", rev + 1, None)) && !ask(&mut replica, "c", &by("eve", rev, None)));
    replica.run(set("root")).unwrap();
    assert!(!ask(&mut replica, "c", &by("root", rev, None)), "the password was changed");
    let rev = replica.state.user("root").unwrap().rev;
    assert!(ask(&mut replica, "c", &by("root", rev, Some("t1"))));
    let until_ms = replica.now_ms + 1000;
    replica.run(Op::TokenEnd { id: "t1".into(), user: "root".into(), until_ms }).unwrap();
    assert!(!ask(&mut replica, "d", &by("root", rev, Some("t1"))), "the token was ended");
    assert!(ask(&mut replica, "d", &by("root", rev, Some("t2"))) && ask(&mut replica, "e", &by("root", rev, None)));

    // A repeat of what was done gets its answer, though the right has ended since; nothing new is done by it.
    let once = |replica: &mut Replica, key: &str, id: &str| {
        let request = RequestKey::Key { principal: "root".into(), key: key.into(), hash: "h".into() };
        let command = Command { request: Some(request), op: Op::Write(write("db", "c", save(id, "{}"))) };
        let stamped = stamp(&command.encode_unstamped(Some(&by("root", rev, None))), replica.now_ms).unwrap();
        replica.index += 1;
        let entry = LogEntry { index: replica.index, position: b"position", payload: Payload::Command(&stamped) };
        replica.state.apply(&[entry]).unwrap().remove(0)
    };
    let first = once(&mut replica, "k1", "f");
    replica.run(set("root")).unwrap();
    let again = once(&mut replica, "k1", "f");
    assert!(again.replayed && again.result == first.result, "{again:?}");
    assert!(once(&mut replica, "k2", "g").result.is_err() && replica.body("db", "c", "g").is_none());
}

#[test]
fn users_tokens_and_the_clusters_identity_are_in_no_answer() {
    let mut replica = Replica::new();
    let init = |id: &str| Op::ClusterInit {
        cluster_id: id.into(),
        token_key: vec![7; 32],
        settings: Settings::default(),
        feature_level: 1,
    };
    assert_eq!(replica.run(init("c1")), Ok(Answer::Done { changed: true }));
    assert_eq!(replica.run(init("c1")), Ok(Answer::Done { changed: false }));
    assert_eq!(replica.run(init("c2")).unwrap_err().code(), ErrorCode::Conflict);
    let user = |name: &str| NewUser {
        name: name.into(),
        role: UserRole::Admin,
        password_hash: "$argon2id$x".into(),
        databases: vec!["*".into()],
    };
    let set = |name: &str, only_if_no_admin| Op::SetUser { user: user(name), only_if_no_admin };
    assert!(!replica.state.has_admin());
    assert!(replica.run(set("ann", true)).is_ok());
    assert_eq!(replica.run(set("bob", true)).unwrap_err().code(), ErrorCode::Conflict);
    let renew = |id: &str, user: &str, expires_ms| Op::TokenRenew { id: id.into(), user: user.into(), expires_ms };
    let now_ms = replica.now_ms;
    assert_eq!(replica.run(renew("t1", "eve", now_ms)).unwrap_err().code(), ErrorCode::NotFound);
    replica.run(renew("t1", "ann", now_ms + 10)).unwrap();
    let state = replica.state.clone();
    let token = |id: &str| state.token(id).unwrap().map(|token| (token.expires_ms, token.ended));
    assert_eq!(token("t1"), Some((now_ms + 10, false)));
    replica.now_ms += 20;
    replica.run(renew("t2", "ann", now_ms + 1000)).unwrap();
    assert_eq!(token("t1"), None, "it has ended");
    let end = |until_ms| Op::TokenEnd { id: "t3".into(), user: "ann".into(), until_ms };
    replica.run(end(now_ms + 1000)).unwrap();
    assert_eq!(token("t3"), Some((now_ms + 1000, true)));
    assert_eq!(replica.run(renew("t3", "ann", now_ms + 2000)).unwrap_err().code(), ErrorCode::Conflict);
    replica.now_ms += 2000;
    replica.run(renew("t4", "ann", now_ms + 9000)).unwrap();
    assert_eq!(token("t3"), None, "it is kept as long as it could be taken for good");
    let reopened = Replica::on(Arc::clone(replica.state.engine())).state;
    assert_eq!((reopened.cluster_id(), reopened.token_key()), (Some("c1".into()), Some(vec![7; 32])));
    assert_eq!(reopened.user("ann"), replica.state.user("ann"));
    let names = reopened.list_collections(&database("_system"));
    assert_eq!(names, [collection("_clusternodes")]);
    for hidden in ["_users", "_settings", "_tokens", "_catalog"] {
        assert_eq!(reopened.get(&database("_system"), &collection(hidden), &doc_id("ann")).unwrap(), None);
    }
    let changes = dump(&**reopened.engine()).iter().filter(|(key, _)| key[0] == 4).count();
    assert_eq!(changes, 0, "the watch never sees them");
}

#[test]
fn what_cannot_be_applied_halts_and_leaves_the_state_alone() {
    let mut replica = Replica::new();
    replica.save("db", "c", "x", "{}");
    let before = dump(&**replica.state.engine());
    let fine = Command::new(Op::Write(write("db", "c", save("y", "{}")))).encode(1);
    let unknown = Bytes::from_static(br#"{"v":1,"time":5,"op":"frobnicate"}"#);
    let entry = |index, bytes| LogEntry { index, position: b"p", payload: Payload::Command(bytes) };
    let halt = replica.state.apply(&[entry(2, &fine), entry(3, &unknown)]).unwrap_err();
    assert!(matches!(&halt, Halt::Command { index: 3, what } if what.contains("frobnicate")), "{halt}");
    assert!(matches!(replica.state.apply(&[entry(1, &fine)]), Err(Halt::Misuse { .. })), "an entry twice");
    assert!(matches!(replica.state.apply(&[entry(4, &fine)]), Err(Halt::Misuse { .. })), "a gap");
    assert_eq!(dump(&**replica.state.engine()), before);
}

#[test]
fn outcomes_travel_as_json() {
    let mut replica = Replica::new();
    let saved = replica.apply(&Command::new(Op::Write(write("db", "c", save("x", "{}")))));
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(text, r#"{"rev":1,"result":{"Ok":{"written":[{"id":"x","rev":1,"existed":false}]}}}"#);
    let failed = replica.apply(&Command::new(Op::Write(write("db", "c", update("y", "{}")))));
    for outcome in [saved, failed] {
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome, "{text}");
    }
}
