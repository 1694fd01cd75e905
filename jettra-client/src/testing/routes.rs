//! The contract, as far as the client needs it.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::Received;
use super::store::{Member, Store, merge, with_id};
use crate::options::Condition;
use crate::wire::{ChangeData, ChangeOp, ErrorCode, Position, Quorum};

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Call {
    method: String,
    path: String,
    params: HashMap<String, String>,
    condition: Option<Condition>,
    session: Option<String>,
    authorization: Option<String>,
    body: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) rev: Option<u64>,
    pub(super) content_type: &'static str,
}

const JSON: &str = "application/json";

impl Reply {
    fn text(body: String, rev: Option<u64>) -> Reply {
        Reply { status: 200, body, rev, content_type: JSON }
    }

    fn json(value: &Value) -> Reply {
        Reply::text(value.to_string(), None)
    }

    fn status(status: &str) -> Reply {
        Reply::json(&json!({"status": status}))
    }

    pub(super) fn error(code: ErrorCode, message: &str) -> Reply {
        Reply::error_with(code, message, json!({}))
    }

    pub(super) fn error_with(code: ErrorCode, message: &str, mut error: Value) -> Reply {
        error["code"] = code.as_str().into();
        error["message"] = message.into();
        Reply { status: code.status(), body: json!({"error": error}).to_string(), rev: None, content_type: JSON }
    }

    fn not_found(what: &str) -> Reply {
        Reply::error(ErrorCode::NotFound, &format!("there is no such {what}"))
    }
}

impl Call {
    pub(super) fn new(received: &Received, if_match: Option<String>, if_none_match: Option<String>) -> Call {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let params = received.query.split('&').filter_map(|pair| pair.split_once('='));
        let rev = if_match.and_then(|rev| rev.trim_matches('"').parse().ok()).map(Condition::Rev);
        Call {
            method: received.method.clone(),
            path: decoded(&received.path),
            params: params.map(|(name, value)| (decoded(name), decoded(value))).collect(),
            condition: rev.or(if_none_match.map(|_| Condition::Absent)),
            session: received.session.clone(),
            authorization: received.authorization.clone(),
            body: received.body.clone(),
        }
    }

    fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.param(name).parse().unwrap_or(default)
    }

    fn place(&self) -> (&str, &str, &str) {
        (self.param("db"), self.param("col"), self.param("id"))
    }

    /// A string of the body's object.
    fn field(&self, name: &str) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body[name].as_str().unwrap_or_default().to_owned()
    }
}

/// Answers a call, on the node at this place among the members.
pub(super) fn answer(store: &mut Store, place: usize, call: &Call) -> Reply {
    if call.path == "/api/login" {
        return login(store, call);
    }
    if !store.knows(call.authorization.as_deref()) {
        return Reply::error(ErrorCode::Unauthorized, "user or password are wrong; log in");
    }
    match call.method.as_str() {
        "GET" => read(store, place, call),
        "PUT" if call.path == "/api/cluster/settings" => {
            Reply::json(&serde_json::from_str::<Value>(&call.body).unwrap_or_default())
        }
        _ if call.path.starts_with("/api/cluster/") => change_members(store, call),
        _ => store.once(call.session.as_deref(), |store| write(store, call)),
    }
}

fn login(store: &mut Store, call: &Call) -> Reply {
    if call.field("username") != "admin" || call.field("password") != store.password {
        return Reply::error(ErrorCode::Unauthorized, "user or password are wrong");
    }
    let token = format!("Bearer {}", uuid::Uuid::new_v4());
    store.tokens.insert(token.clone());
    Reply::json(&json!({"token": token, "role": "admin", "expires": 4_102_444_800_000_u64}))
}

/// A token's id, which does not tell the token.
fn id_of(token: &str) -> &str {
    token.strip_prefix("Bearer ").and_then(|token| token.split('-').next()).unwrap_or_default()
}

fn read(store: &Store, place: usize, call: &Call) -> Reply {
    let (db, col, id) = call.place();
    let count = |matching: usize| Reply::json(&json!({"count": matching}));
    match call.path.as_str() {
        "/api/doc" => match store.document(db, col, id) {
            Some((rev, json)) => Reply::text(json.clone(), Some(*rev)),
            None => Reply::not_found("document"),
        },
        "/api/query" => {
            let limit = Some(call.number("limit", 100)).filter(|limit| *limit > 0).unwrap_or(usize::MAX);
            let chosen: Vec<&str> = matching(store, call).skip(call.number("offset", 0)).take(limit).collect();
            Reply::text(format!("[{}]", chosen.join(",")), None)
        }
        "/api/count" => count(matching(store, call).count()),
        "/api/watch" => watch(store, call),
        "/api/versions" => {
            let names: Vec<String> = store.history(db, col, id).iter().map(|(rev, _)| version_name(*rev)).collect();
            Reply::json(&json!(names))
        }
        "/api/version" => {
            let wanted = call.param("version");
            match store.history(db, col, id).into_iter().find(|(rev, _)| version_name(*rev) == wanted) {
                Some((rev, json)) => Reply::text(json.clone(), Some(*rev)),
                None => Reply::not_found("version"),
            }
        }
        "/api/dbs" => {
            let entry = |(name, engine)| json!({"name": name, "engine": engine});
            Reply::json(&store.engines.iter().map(entry).collect())
        }
        "/api/tokens" => {
            let login = |token: &String| {
                json!({"id": id_of(token), "user": "admin", "role": "admin", "issued": 1_700_000_000_000_u64,
                       "expires": 4_102_444_800_000_u64, "ends": 4_102_444_800_000_u64,
                       "current": call.authorization.as_ref() == Some(token)})
            };
            Reply::json(&store.tokens.iter().map(login).collect())
        }
        "/api/cluster" => cluster(store, place),
        "/api/cluster/settings" => Reply::json(&json!({"maxVersions": 100})),
        "/api/cluster/doctor" => doctor(store),
        "/api/cluster/events" => events(store, call),
        "/api/federated" => federated(store, place),
        "/api/federated/config" => {
            let urls: Vec<&String> = store.members.iter().map(|member| &member.url).collect();
            Reply::json(&json!({"federatedServers": urls}))
        }
        "/api/federated/node-leader" => match store.members.iter().find(|member| member.id == store.leader) {
            Some(leader) => Reply::json(&federated_node(store, leader)),
            None => Reply::not_found("leader"),
        },
        "/api/metrics" => Reply::json(&json!({"availableProcessors": 2, "osName": "Linux"})),
        path => match path.strip_prefix("/api/dbs/").and_then(|rest| rest.strip_suffix("/cols")) {
            Some(database) => Reply::json(&json!(store.collections(database))),
            None => Reply::error(ErrorCode::Unsupported, "there is no such route"),
        },
    }
}

/// What has changed so far; then the stream ends, and a client comes back for more.
fn watch(store: &Store, call: &Call) -> Reply {
    let after = call.param("from").parse().unwrap_or(Position::after(store.index));
    let mut events = format!("id: {after}\nevent: progress\ndata: {{\"index\":{}}}\n\n", after.rev);
    let col = call.param("col");
    for change in store.changes(call.param("db"), after).filter(|change| col.is_empty() || change.path.col == col) {
        let data = ChangeData {
            op: if change.json.is_some() { ChangeOp::Save } else { ChangeOp::Delete },
            db: change.path.db.clone(),
            col: change.path.col.clone(),
            id: Some(change.id.clone()),
            rev: change.rev,
            to: None,
            doc: change.json.clone().and_then(|json| serde_json::value::RawValue::from_string(json).ok()),
        };
        let data = serde_json::to_string(&data).unwrap_or_default();
        events.push_str(&format!("id: {}.0\ndata: {data}\n\n", change.rev));
    }
    Reply { content_type: "text/event-stream", ..Reply::text(events, None) }
}

fn write(store: &mut Store, call: &Call) -> Reply {
    let (db, col, id) = call.place();
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/api/doc") => {
            let Some((id, json)) = with_id(&call.body, uuid::Uuid::now_v7().to_string()) else { return no_object() };
            let rev = store.put((db, col, &id), Some(json), None);
            Reply::json(&json!({"id": id, "rev": rev}))
        }
        ("PUT", "/api/doc") => match with_id(&call.body, id.to_owned()) {
            Some((_, json)) => written(store.put((db, col, id), Some(json), call.condition)),
            None => no_object(),
        },
        ("PATCH", "/api/doc") => {
            let Some((_, json)) = store.document(db, col, id) else { return Reply::not_found("document") };
            let mut document: Value = serde_json::from_str(json).unwrap_or_default();
            let Ok(patch) = serde_json::from_str(&call.body) else { return no_object() };
            merge(&mut document, patch);
            written(store.put((db, col, id), Some(document.to_string()), call.condition))
        }
        ("DELETE", "/api/doc") => match store.put((db, col, id), None, call.condition) {
            Some(_) => Reply::status("deleted"),
            None => mismatch(),
        },
        ("POST", "/api/docs") => bulk(store, call),
        ("POST", "/api/restore-version") => restore(store, call),
        ("POST", "/api/logout") => match call.authorization.as_ref().filter(|token| store.tokens.remove(*token)) {
            Some(_) => Reply::status("Logged out"),
            None => Reply::error(ErrorCode::BadRequest, "only a token can be ended"),
        },
        ("DELETE", "/api/tokens") => {
            match store.tokens.iter().find(|token| id_of(token) == call.param("id")).cloned() {
                Some(token) => {
                    store.tokens.remove(&token);
                    Reply::status("Logged out")
                }
                None => Reply::not_found("login"),
            }
        }
        ("POST", "/api/change-password") => {
            if call.field("oldPassword") != store.password {
                return Reply::error(ErrorCode::Unauthorized, "the old password is wrong");
            }
            store.password = call.field("newPassword");
            store.tokens.clear();
            Reply::status("Password updated")
        }
        _ => write_catalog(store, call),
    }
}

fn write_catalog(store: &mut Store, call: &Call) -> Reply {
    let renamed = |done: bool, what: &str| if done { Reply::status("renamed") } else { Reply::not_found(what) };
    let database = call.field("database");
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/api/dbs") => {
            store.create_database(&call.field("name"), "JettraBasicStore");
            Reply::status("created")
        }
        ("DELETE", "/api/dbs") => {
            store.delete_database(call.param("name"));
            Reply::status("deleted")
        }
        ("POST", "/api/dbs/rename") => {
            renamed(store.rename_database(&call.field("oldName"), &call.field("newName")), "database")
        }
        ("POST", "/api/cols") => {
            store.create_collection(&database, &call.field("collection"));
            Reply::status("created")
        }
        ("DELETE", "/api/cols") => {
            store.delete_collection(call.param("database"), call.param("collection"));
            Reply::status("deleted")
        }
        ("POST", "/api/cols/rename") => {
            let done = store.rename_collection(&database, &call.field("oldName"), &call.field("newName"));
            renamed(done, "collection")
        }
        _ => Reply::error(ErrorCode::Unsupported, "there is no such route"),
    }
}

fn bulk(store: &mut Store, call: &Call) -> Reply {
    let texts: Vec<String> = match serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(&call.body) {
        Ok(array) => array.iter().map(|json| json.get().to_owned()).collect(),
        Err(_) => call.body.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
    };
    let named: Option<Vec<_>> = texts.iter().map(|text| with_id(text, uuid::Uuid::now_v7().to_string())).collect();
    let Some(named) = named else { return no_object() };
    let ids: Vec<String> = named.iter().map(|(id, _)| id.clone()).collect();
    for (id, json) in named {
        store.put((call.param("db"), call.param("col"), &id), Some(json), None);
    }
    Reply::json(&json!({"count": ids.len(), "ids": ids}))
}

fn restore(store: &mut Store, call: &Call) -> Reply {
    let (db, col, id) = (call.field("db"), call.field("col"), call.field("id"));
    let wanted = call.field("version");
    let state = store.history(&db, &col, &id).into_iter().find(|(rev, _)| version_name(*rev) == wanted);
    let Some((_, json)) = state.cloned() else { return Reply::not_found("version") };
    store.put((&db, &col, &id), Some(json), None);
    Reply::status("restored")
}

fn change_members(store: &mut Store, call: &Call) -> Reply {
    let named = Some(call.field("node")).filter(|node| !node.is_empty()).unwrap_or_else(|| call.field("url"));
    let found = store.members.iter().position(|member| member.id == named || member.url == named);
    if call.path == "/api/cluster/register" {
        let at = found.unwrap_or_else(|| {
            let id = format!("node{}", store.members.len() + 1);
            let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
            store.members.push(Member { id, url: named, active: true, replica: body["voter"] == false });
            store.members.len() - 1
        });
        return Reply::json(&json!({"status": "registered", "node": node(store, &store.members[at])}));
    }
    let Some(at) = found else { return Reply::not_found("node") };
    if call.param("dry_run") == "true" {
        let voters = quorum(store).voters;
        let all = |voters: u64| json!(Quorum::new(voters, voters));
        return Reply::json(&json!({"allowed": voters > 1, "before": all(voters), "after": all(voters.max(2) - 1)}));
    }
    match call.path.as_str() {
        "/api/cluster/deregister" => {
            store.members.remove(at);
            Reply::status("deregistered")
        }
        "/api/cluster/stop" => {
            let was_active = std::mem::replace(&mut store.members[at].active, false);
            Reply::status(if was_active { "stop_sent" } else { "stopped_already" })
        }
        "/api/cluster/promote" => {
            store.members[at].replica = false;
            Reply::status("promoted")
        }
        "/api/cluster/demote" => {
            store.members[at].replica = true;
            Reply::status("demoted")
        }
        "/api/cluster/pause" => Reply::status("paused"),
        "/api/cluster/resume" => Reply::status("resumed"),
        "/api/cluster/transfer" => {
            store.leader = store.members[at].id.clone();
            Reply::json(&json!({"status": "transferred", "leaderId": store.leader}))
        }
        _ => Reply::error(ErrorCode::Unsupported, "there is no such route"),
    }
}

fn quorum(store: &Store) -> Quorum {
    let voters = store.members.iter().filter(|member| !member.replica);
    Quorum::new(voters.clone().count() as u64, voters.filter(|member| member.active).count() as u64)
}

fn cluster(store: &Store, place: usize) -> Reply {
    let quorum = quorum(store);
    let id = format!("node{}", place + 1);
    let nodes: Vec<Value> = store.members.iter().map(|member| node(store, member)).collect();
    let leader_url = store.members.iter().find(|member| member.id == store.leader).map(|member| &member.url);
    Reply::json(&json!({
        "enabled": true, "clusterId": "fake", "nodeId": id, "state": role(store, &id),
        "leaderId": store.leader, "leaderUrl": leader_url, "term": 1,
        "appliedIndex": store.index, "commitIndex": store.index,
        "failureTolerance": quorum.failure_tolerance, "quorum": quorum, "nodes": nodes,
    }))
}

/// A member that does not run is the only thing that can be wrong here.
fn doctor(store: &Store) -> Reply {
    let silent = store.members.iter().filter(|member| !member.active);
    let findings: Vec<Value> = silent
        .map(|member| {
            json!({
                "since": 1_767_225_600_000_u64, "what": format!("{}, a voter, at {} is silent", member.id, member.url),
                "works": "writes and reads go on", "at_risk": "one more may not fail", "next": "start it again",
            })
        })
        .collect();
    Reply::json(&json!({"healthy": findings.is_empty(), "findings": findings}))
}

/// The members joined one after the other, and the first one leads.
fn events(store: &Store, call: &Call) -> Reply {
    let event = |rev: usize, kind: &str, node: &str, what: &str| json!({"rev": rev, "time": 1_767_225_600_000_u64, "kind": kind, "node": node, "message": format!("{node} {what}")});
    let mut all = vec![event(1, "elected", &store.leader, "leads")];
    let joined = store.members.iter().skip(1).zip(2..);
    all.extend(joined.map(|(member, rev)| event(rev, "joined", &member.id, "joined the cluster")));
    all.retain(|event| event["rev"].as_u64() > Some(call.number("after", 0) as u64));
    if call.param("order") == "desc" {
        all.reverse();
    }
    let limit = Some(call.number("limit", 100)).filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    Reply::json(&all.into_iter().skip(call.number("offset", 0)).take(limit).collect())
}

fn federated(store: &Store, place: usize) -> Reply {
    let id = format!("node{}", place + 1);
    let nodes: Vec<Value> = store.members.iter().map(|member| federated_node(store, member)).collect();
    let url_of = |id: &str| store.members.iter().find(|member| member.id == id).map(|member| member.url.clone());
    let peers: Vec<&String> = store.members.iter().filter(|member| member.id != id).map(|member| &member.url).collect();
    Reply::json(&json!({
        "leaderId": store.leader, "nodes": nodes, "raftState": role(store, &id), "raftTerm": 1,
        "raftLeaderId": store.leader, "raftLeaderUrl": url_of(&store.leader),
        "raftSelfId": id, "raftSelfUrl": url_of(&id).unwrap_or_default(), "raftPeers": peers,
        "raftQuorum": quorum(store).majority, "raftActivePeers": quorum(store).active,
    }))
}

fn node(store: &Store, member: &Member) -> Value {
    json!({
        "_id": member.id, "id": member.id, "url": member.url, "status": status(member),
        "role": if member.replica { "REPLICA" } else { role(store, &member.id) }, "voter": !member.replica, "matchedIndex": store.index, "lagEntries": 0, "lastContactMs": 4,
    })
}

fn federated_node(store: &Store, member: &Member) -> Value {
    json!({
        "id": member.id, "url": member.url, "status": status(member), "role": role(store, &member.id),
        "lastSeen": 1_767_225_600_000_u64, "metrics": {},
    })
}

fn status(member: &Member) -> &'static str {
    if member.active { "ACTIVE" } else { "INACTIVE" }
}

fn role(store: &Store, id: &str) -> &'static str {
    if store.leader == id { "LEADER" } else { "FOLLOWER" }
}

fn version_name(rev: u64) -> String {
    format!("1767225600000_{rev}")
}

fn written(rev: Option<u64>) -> Reply {
    match rev {
        Some(rev) => Reply::json(&json!({"status": "ok", "rev": rev})),
        None => mismatch(),
    }
}

fn mismatch() -> Reply {
    Reply::error(ErrorCode::Conflict, "the document has another revision; read it again")
}

fn no_object() -> Reply {
    Reply::error(ErrorCode::BadRequest, "the body is no JSON object")
}

/// The documents of a collection that match the call's filter: fields that are equal.
fn matching<'a>(store: &'a Store, call: &Call) -> impl Iterator<Item = &'a str> {
    let filter: serde_json::Map<String, Value> = serde_json::from_str(call.param("filter")).unwrap_or_default();
    store.documents(call.param("db"), call.param("col")).filter(move |json| {
        let document: Value = serde_json::from_str(json).unwrap_or_default();
        filter.iter().all(|(name, value)| &document[name] == value)
    })
}
