//! From a command to its JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;

use super::{Action, By, Command, Condition, NodeChange, Op, RequestKey, Write};
use crate::error::{Error, Result};
use crate::state::json::push_string;

/// What every command starts with; its time comes right after.
const HEAD: &[u8] = b"{\"v\":1,";

/// Gives an unstamped command its time, without reading it. `bad_request` where it is no command of this format.
pub fn stamp(unstamped: &[u8], time_ms: u64) -> Result<Bytes> {
    let rest = unstamped
        .strip_prefix(HEAD)
        .filter(|rest| rest.starts_with(b"\"op\":"))
        .ok_or_else(|| Error::bad_request("the forwarded command is not of format 1; upgrade the older node"))?;
    let mut out = Vec::with_capacity(unstamped.len() + 24);
    push_head(&mut out, Some(time_ms));
    out.extend_from_slice(rest);
    Ok(out.into())
}

fn push_head(out: &mut Vec<u8>, time_ms: Option<u64>) {
    out.extend_from_slice(HEAD);
    if let Some(time_ms) = time_ms {
        out.extend_from_slice(b"\"time\":");
        out.extend_from_slice(time_ms.to_string().as_bytes());
        out.push(b',');
    }
}

pub(super) fn command(command: &Command, time_ms: Option<u64>, by: Option<&By>) -> Bytes {
    let mut out = Vec::with_capacity(256 + documents_bytes(&command.op));
    push_head(&mut out, time_ms);
    // The head has opened the object and put its first fields.
    let mut object = Object { out: &mut out, empty: true };
    object.text("op", op_name(&command.op));
    if let Some(by) = by {
        object.object("by", |object| {
            object.text("user", &by.user);
            object.number("rev", by.rev);
            object.optional_text("token", by.token.as_deref());
        });
    }
    if let Some(request) = &command.request {
        object.object("request", |object| request_key(request, object));
    }
    op_fields(&command.op, &mut object);
    out.push(b'}');
    out.into()
}

fn documents_bytes(op: &Op) -> usize {
    let bytes = |write: &Write| match &write.action {
        Action::Save(document) => document.json.len() + 100,
        Action::Update { patch, .. } => patch.json().len() + 100,
        _ => 100,
    };
    match op {
        Op::Write(write) => bytes(write),
        Op::Batch(writes) => writes.iter().map(bytes).sum(),
        _ => 0,
    }
}

fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Write(write) => action_name(&write.action),
        Op::Batch(_) => "batch",
        Op::CreateDatabase { .. } => "create_db",
        Op::DeleteDatabase { .. } => "delete_db",
        Op::RenameDatabase { .. } => "rename_db",
        Op::CreateCollection { .. } => "create_collection",
        Op::DeleteCollection { .. } => "delete_collection",
        Op::RenameCollection { .. } => "rename_collection",
        Op::ClusterInit { .. } => "cluster_init",
        Op::ClusterRegister { .. } => "cluster_register",
        Op::ClusterDeregister { .. } => "cluster_deregister",
        Op::ClusterStop { .. } => "cluster_stop",
        Op::ClusterUpdateNode { .. } => "cluster_update_node",
        Op::SetUser { .. } => "set_user",
        Op::TokenIssue { .. } => "token_issue",
        Op::TokenRenew { .. } => "token_renew",
        Op::TokenEnd { .. } => "token_end",
        Op::ClusterEvent(_) => "cluster_event",
        Op::DigestCheck => "digest_check",
        Op::SetSettings(_) => "set_settings",
        Op::RaiseFeatureLevel { .. } => "raise_feature_level",
    }
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Save(_) => "save",
        Action::Update { .. } => "update",
        Action::Delete { .. } => "delete",
        Action::RestoreVersion { .. } => "restore_version",
    }
}

fn request_key(request: &RequestKey, object: &mut Object<'_>) {
    match request {
        RequestKey::Key { principal, key, hash } => {
            object.text("principal", principal);
            object.text("key", key);
            object.text("hash", hash);
        }
        RequestKey::Session { principal, session, sequence, acked } => {
            object.text("principal", principal);
            object.text("session", session);
            object.number("sequence", *sequence);
            object.number("acked", *acked);
        }
    }
}

fn op_fields(op: &Op, object: &mut Object<'_>) {
    match op {
        Op::Write(write) => write_fields(write, object),
        Op::Batch(writes) => object.array("ops", writes, |write, object| {
            object.text("op", action_name(&write.action));
            write_fields(write, object);
        }),
        Op::CreateDatabase { name, engine } => {
            object.text("name", name.as_str());
            object.optional_text("engine", engine.as_deref());
        }
        Op::DeleteDatabase { name } => object.text("name", name.as_str()),
        Op::RenameDatabase { from, to } => {
            object.text("from", from.as_str());
            object.text("to", to.as_str());
        }
        Op::CreateCollection { db, name } | Op::DeleteCollection { db, name } => {
            object.text("db", db.as_str());
            object.text("name", name.as_str());
        }
        Op::RenameCollection { db, from, to } => {
            object.text("db", db.as_str());
            object.text("from", from.as_str());
            object.text("to", to.as_str());
        }
        Op::ClusterInit { cluster_id, token_key, settings, feature_level } => {
            object.text("cluster_id", cluster_id);
            object.text("token_key", &BASE64.encode(token_key));
            object.value("settings", settings);
            // The first version knew one level only.
            if *feature_level > 1 {
                object.number("feature_level", *feature_level);
            }
        }
        Op::ClusterRegister { id, url, incarnation, description, replica } => {
            object.text("id", id.as_str());
            object.text("url", url);
            object.text("incarnation", incarnation);
            object.optional_text("description", description.as_deref());
            if *replica {
                object.raw("replica", b"true");
            }
        }
        Op::ClusterDeregister { id } | Op::ClusterStop { id } => object.text("id", id.as_str()),
        Op::ClusterUpdateNode { nodes } => object.array("nodes", nodes, node_change),
        Op::SetUser { user, only_if_no_admin } => {
            object.text("name", &user.name);
            object.text("role", user.role.as_str());
            object.text("password_hash", &user.password_hash);
            object.value("databases", &user.databases);
            if *only_if_no_admin {
                object.raw("only_if_no_admin", b"true");
            }
        }
        Op::TokenIssue { id, user, user_rev, issued_ms, expires_ms } => {
            object.text("id", id);
            object.text("user", user);
            object.number("rev", *user_rev);
            object.number("issued", *issued_ms);
            object.number("expires", *expires_ms);
        }
        Op::TokenRenew { id, user, expires_ms } => {
            object.text("id", id);
            object.text("user", user);
            object.number("expires", *expires_ms);
        }
        Op::TokenEnd { id, user, until_ms } => {
            object.text("id", id);
            object.text("user", user);
            object.number("until", *until_ms);
        }
        Op::ClusterEvent(event) => object.value("event", event),
        Op::DigestCheck => {}
        Op::SetSettings(settings) => object.value("settings", settings),
        Op::RaiseFeatureLevel { level } => object.number("level", *level),
    }
}

fn write_fields(write: &Write, object: &mut Object<'_>) {
    object.text("db", write.db.as_str());
    object.text("col", write.col.as_str());
    object.text("id", write.action.id().as_str());
    match write.condition {
        Some(Condition::Rev(rev)) => object.object("if", |object| object.number("rev", rev)),
        Some(Condition::Absent) => object.object("if", |object| object.raw("absent", b"true")),
        None => {}
    }
    match &write.action {
        Action::Save(document) => object.raw("doc", &document.json),
        Action::Update { patch, .. } => object.raw("patch", patch.json()),
        Action::Delete { .. } => {}
        Action::RestoreVersion { version, .. } => object.text("version", &version.to_string()),
    }
}

fn node_change(change: &NodeChange, object: &mut Object<'_>) {
    object.text("id", change.id.as_str());
    object.optional_text("role", change.role.map(|role| role.as_str()));
    object.optional_text("status", change.status.map(|status| status.as_str()));
    if let Some(paused) = change.paused {
        object.raw("paused", if paused { b"true" } else { b"false" });
    }
    object.optional_text("url", change.url.as_deref());
    object.optional_text("description", change.description.as_deref());
    if let Some(replica) = change.replica {
        object.raw("replica", if replica { b"true" } else { b"false" });
    }
}

/// Writes the fields of a JSON object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        push_string(self.out, key);
        self.out.push(b':');
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        push_string(self.out, text);
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.raw(key, number.to_string().as_bytes());
    }

    fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    fn value(&mut self, key: &str, value: &impl Serialize) {
        // Settings, events and lists of names always have a JSON form.
        let json = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.raw(key, &json);
    }

    fn object(&mut self, key: &str, fields: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        self.nested(fields);
    }

    fn array<T>(&mut self, key: &str, items: &[T], fields: impl Fn(&T, &mut Object<'_>)) {
        self.key(key);
        self.out.push(b'[');
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            self.nested(|object| fields(item, object));
        }
        self.out.push(b']');
    }

    fn nested(&mut self, fields: impl FnOnce(&mut Object<'_>)) {
        self.out.push(b'{');
        fields(&mut Object { out: self.out, empty: true });
        self.out.push(b'}');
    }
}
