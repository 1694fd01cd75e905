//! From JSON to a command. Documents are slices of the entry.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    Action, By, COMMAND_FORMAT, Command, Condition, Head, NewUser, NodeChange, Op, RequestKey, Version, Write,
};
use crate::state::document::IdentifiedDocument;
use crate::state::json::{Fields, JsonError, parse_u64, unquote};
use crate::state::names::{CollectionName, DatabaseName, DocumentId, NodeName};
use crate::state::patch::MergePatch;
use crate::state::role::UserRole;

/// Why an entry is no command of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(String);

impl From<JsonError> for CommandError {
    fn from(error: JsonError) -> Self {
        CommandError(error.to_string())
    }
}

impl From<crate::error::Error> for CommandError {
    fn from(error: crate::error::Error) -> Self {
        CommandError(error.message().to_owned())
    }
}

type Result<T, E = CommandError> = std::result::Result<T, E>;

pub(super) fn command(bytes: &Bytes) -> Result<(Command, Head)> {
    let record = Record::read(bytes, bytes)?;
    match record.number("v")? {
        COMMAND_FORMAT => {}
        other => return Err(CommandError(format!("the command has the format {other}"))),
    }
    let time_ms = record.find("time").map(|_| record.number("time")).transpose()?;
    let request = match record.find("request") {
        Some(value) => Some(request_key(&Record::read(bytes, value)?)?),
        None => None,
    };
    let by = match record.find("by") {
        Some(value) => Some(by(&Record::read(bytes, value)?)?),
        None => None,
    };
    Ok((Command { request, op: op(&record)? }, Head { time_ms, by }))
}

fn user_role(text: &str) -> Result<UserRole> {
    UserRole::parse(text).ok_or_else(|| CommandError(format!("there is no role {text:?}")))
}

fn by(record: &Record<'_>) -> Result<By> {
    let (user, token) = (record.text("user")?.into_owned(), record.optional_text("token")?);
    Ok(By { user, rev: record.number("rev")?, token })
}

fn op(record: &Record<'_>) -> Result<Op> {
    Ok(match &*record.text("op")? {
        "save" | "update" | "delete" | "restore_version" => Op::Write(write(record)?),
        "batch" => Op::Batch(record.array("ops", write)?),
        "create_db" => Op::CreateDatabase { name: record.database("name")?, engine: record.optional_text("engine")? },
        "delete_db" => Op::DeleteDatabase { name: record.database("name")? },
        "rename_db" => Op::RenameDatabase { from: record.database("from")?, to: record.database("to")? },
        "create_collection" => Op::CreateCollection { db: record.database("db")?, name: record.collection("name")? },
        "delete_collection" => Op::DeleteCollection { db: record.database("db")?, name: record.collection("name")? },
        "rename_collection" => Op::RenameCollection {
            db: record.database("db")?,
            from: record.collection("from")?,
            to: record.collection("to")?,
        },
        "cluster_init" => Op::ClusterInit {
            cluster_id: record.text("cluster_id")?.into_owned(),
            token_key: BASE64
                .decode(record.text("token_key")?.as_bytes())
                .map_err(|_| CommandError("its token_key is not base64".to_owned()))?,
            settings: record.value("settings")?,
            feature_level: record.optional_number("feature_level")?.unwrap_or(1),
        },
        "cluster_register" => Op::ClusterRegister {
            id: record.node("id")?,
            url: record.text("url")?.into_owned(),
            incarnation: record.text("incarnation")?.into_owned(),
            description: record.optional_text("description")?,
            replica: record.find("replica") == Some(b"true"),
        },
        "cluster_deregister" => Op::ClusterDeregister { id: record.node("id")? },
        "cluster_stop" => Op::ClusterStop { id: record.node("id")? },
        "cluster_update_node" => Op::ClusterUpdateNode { nodes: record.array("nodes", node_change)? },
        "set_user" => Op::SetUser {
            user: NewUser {
                name: record.text("name")?.into_owned(),
                role: user_role(&record.text("role")?)?,
                password_hash: record.text("password_hash")?.into_owned(),
                databases: record.value("databases")?,
            },
            only_if_no_admin: record.find("only_if_no_admin") == Some(b"true"),
        },
        "token_issue" => Op::TokenIssue {
            id: record.text("id")?.into_owned(),
            user: record.text("user")?.into_owned(),
            user_rev: record.number("rev")?,
            issued_ms: record.number("issued")?,
            expires_ms: record.number("expires")?,
        },
        "token_renew" => Op::TokenRenew {
            id: record.text("id")?.into_owned(),
            user: record.text("user")?.into_owned(),
            expires_ms: record.number("expires")?,
        },
        "token_end" => Op::TokenEnd {
            id: record.text("id")?.into_owned(),
            user: record.text("user")?.into_owned(),
            until_ms: record.number("until")?,
        },
        "cluster_event" => Op::ClusterEvent(record.value("event")?),
        "digest_check" => Op::DigestCheck,
        "set_settings" => Op::SetSettings(record.value("settings")?),
        "raise_feature_level" => Op::RaiseFeatureLevel { level: record.number("level")? },
        unknown => return Err(CommandError(format!("the op {unknown:?} is unknown"))),
    })
}

fn request_key(record: &Record<'_>) -> Result<RequestKey> {
    let principal = record.text("principal")?.into_owned();
    Ok(match record.optional_text("session")? {
        Some(session) => RequestKey::Session {
            principal,
            session,
            sequence: record.number("sequence")?,
            acked: record.number("acked")?,
        },
        None => RequestKey::Key {
            principal,
            key: record.text("key")?.into_owned(),
            hash: record.text("hash")?.into_owned(),
        },
    })
}

fn write(record: &Record<'_>) -> Result<Write> {
    let id = DocumentId::parse(&record.text("id")?)?;
    let action = match &*record.text("op")? {
        "save" => Action::Save(IdentifiedDocument { id, json: record.slice("doc")? }),
        "update" => Action::Update { id, patch: MergePatch::trusted(record.slice("patch")?) },
        "delete" => Action::Delete { id },
        "restore_version" => Action::RestoreVersion { id, version: record.text("version")?.parse::<Version>()? },
        unknown => return Err(CommandError(format!("the op {unknown:?} in a batch is unknown"))),
    };
    let condition = match record.find("if") {
        None => None,
        Some(value) => {
            let condition = Record::read(record.entry, value)?;
            Some(match condition.find("absent") {
                Some(b"true") => Condition::Absent,
                _ => Condition::Rev(condition.number("rev")?),
            })
        }
    };
    Ok(Write { db: record.database("db")?, col: record.collection("col")?, action, condition })
}

fn node_change(record: &Record<'_>) -> Result<NodeChange> {
    Ok(NodeChange {
        id: record.node("id")?,
        role: record.find("role").map(|_| record.value("role")).transpose()?,
        status: record.find("status").map(|_| record.value("status")).transpose()?,
        paused: record.find("paused").map(|_| record.value("paused")).transpose()?,
        url: record.optional_text("url")?,
        description: record.optional_text("description")?,
        replica: record.find("replica").map(|_| record.value("replica")).transpose()?,
    })
}

/// The fields of an object inside an entry.
struct Record<'a> {
    entry: &'a Bytes,
    fields: Vec<(Cow<'a, str>, &'a [u8])>,
}

impl<'a> Record<'a> {
    fn read(entry: &'a Bytes, json: &'a [u8]) -> Result<Self> {
        let mut fields = Vec::with_capacity(10);
        for field in Fields::of_object(json)? {
            let field = field?;
            fields.push((field.key(), field.value));
        }
        Ok(Record { entry, fields })
    }

    fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    fn get(&self, name: &str) -> Result<&'a [u8]> {
        self.find(name).ok_or_else(|| CommandError(format!("its field {name:?} is missing")))
    }

    fn text(&self, name: &str) -> Result<Cow<'a, str>> {
        unquote(self.get(name)?).ok_or_else(|| CommandError(format!("its field {name:?} is no text")))
    }

    fn optional_text(&self, name: &str) -> Result<Option<String>> {
        self.find(name).map(|_| Ok(self.text(name)?.into_owned())).transpose()
    }

    fn number(&self, name: &str) -> Result<u64> {
        parse_u64(self.get(name)?).ok_or_else(|| CommandError(format!("its field {name:?} is no number")))
    }

    fn optional_number(&self, name: &str) -> Result<Option<u64>> {
        self.find(name).map(|_| self.number(name)).transpose()
    }

    fn value<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(self.get(name)?)
            .map_err(|error| CommandError(format!("its field {name:?} cannot be read: {error}")))
    }

    /// A value as a slice of the entry's memory.
    fn slice(&self, name: &str) -> Result<Bytes> {
        Ok(self.entry.slice_ref(self.get(name)?))
    }

    fn array<T>(&self, name: &str, read: impl Fn(&Record<'_>) -> Result<T>) -> Result<Vec<T>> {
        Fields::of_array(self.get(name)?)?.map(|item| read(&Record::read(self.entry, item?.value)?)).collect()
    }

    fn database(&self, name: &str) -> Result<DatabaseName> {
        Ok(DatabaseName::of_the_log(&self.text(name)?)?)
    }

    fn collection(&self, name: &str) -> Result<CollectionName> {
        Ok(CollectionName::of_the_log(&self.text(name)?)?)
    }

    fn node(&self, name: &str) -> Result<NodeName> {
        Ok(NodeName::parse(&self.text(name)?)?)
    }
}
