//! The calls of Raft between nodes, as JSON that a person can read.
//!
//! Every call names cluster, sender and target. Documents stand in an append as they stand in the
//! log: raw JSON, spliced in and sliced out without a copy.

use std::io::Write as _;

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use openraft::{EntryPayload, Membership};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::log::{Entry, LogId, Member, Proposal, Vote};
use super::types::TypeConfig;

/// A call: who, to whom, and what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The cluster that both belong to.
    pub cluster: String,
    /// The sender's Raft id.
    pub from: u64,
    /// The target's Raft id.
    pub to: u64,
    /// The call's own content.
    pub body: T,
}

#[derive(Serialize, Deserialize)]
struct Append<'a> {
    vote: Vote,
    prev: Option<LogId>,
    commit: Option<LogId>,
    #[serde(borrow)]
    entries: Vec<AppendEntry<'a>>,
}

#[derive(Serialize, Deserialize)]
struct AppendEntry<'a> {
    term: u64,
    index: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    command: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    membership: Option<Membership<u64, Member>>,
}

/// Writes an append call. Commands are spliced in as they are.
pub fn encode_append(
    cluster: &str,
    from: u64,
    to: u64,
    rpc: &AppendEntriesRequest<TypeConfig>,
) -> std::io::Result<Bytes> {
    let commands = rpc.entries.iter().map(|e| match &e.payload {
        EntryPayload::Normal(p) => p.0.len() + 40,
        _ => 256,
    });
    let mut out = Vec::with_capacity(512 + commands.sum::<usize>());
    write!(out, r#"{{"cluster":{},"from":{from},"to":{to},"body":{{"vote":"#, serde_json::to_string(cluster)?)?;
    serde_json::to_writer(&mut out, &rpc.vote)?;
    out.extend_from_slice(br#","prev":"#);
    serde_json::to_writer(&mut out, &rpc.prev_log_id)?;
    out.extend_from_slice(br#","commit":"#);
    serde_json::to_writer(&mut out, &rpc.leader_commit)?;
    out.extend_from_slice(br#","entries":["#);
    for (i, entry) in rpc.entries.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let id = entry.log_id;
        write!(out, r#"{comma}{{"term":{},"index":{}"#, id.committed_leader_id().term, id.index)?;
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(p) => {
                out.extend_from_slice(br#","command":"#);
                out.extend_from_slice(&p.0);
            }
            EntryPayload::Membership(m) => {
                out.extend_from_slice(br#","membership":"#);
                serde_json::to_writer(&mut out, m)?;
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}");
    Ok(out.into())
}

/// Reads an append call; its commands are slices of `bytes`.
pub fn decode_append(bytes: &Bytes) -> serde_json::Result<Envelope<AppendEntriesRequest<TypeConfig>>> {
    let call: Envelope<Append<'_>> = serde_json::from_slice(bytes)?;
    let entries = call.body.entries.into_iter().map(|e| {
        let payload = match (e.command, e.membership) {
            (Some(command), _) => EntryPayload::Normal(Proposal(bytes.slice_ref(command.get().as_bytes()))),
            (None, Some(membership)) => EntryPayload::Membership(membership),
            (None, None) => EntryPayload::Blank,
        };
        Entry { log_id: LogId::new_term_index(e.term, e.index), payload }
    });
    let body = AppendEntriesRequest {
        vote: call.body.vote,
        prev_log_id: call.body.prev,
        leader_commit: call.body.commit,
        entries: entries.collect(),
    };
    Ok(Envelope { cluster: call.cluster, from: call.from, to: call.to, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_travels_unchanged() {
        let command = br#"{"op":"save","doc":{"_id":"1","n":12345678901234567890.10}}"#;
        let membership = Membership::new(
            vec![[1].into()],
            std::collections::BTreeMap::from([(1, Member { name: "node1".into(), ..Member::default() })]),
        )
        .unwrap();
        let rpc = AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(LogId::new_term_index(2, 4)),
            leader_commit: None,
            entries: vec![
                Entry { log_id: LogId::new_term_index(3, 5), payload: EntryPayload::Blank },
                Entry {
                    log_id: LogId::new_term_index(3, 6),
                    payload: EntryPayload::Normal(Proposal(Bytes::from_static(command))),
                },
                Entry { log_id: LogId::new_term_index(3, 7), payload: EntryPayload::Membership(membership) },
            ],
        };
        let bytes = encode_append("c\"1", 1, 2, &rpc).unwrap();
        let call = decode_append(&bytes).unwrap();
        assert_eq!((call.cluster.as_str(), call.from, call.to), ("c\"1", 1, 2));
        assert_eq!(call.body.vote, rpc.vote);
        assert_eq!(call.body.prev_log_id, rpc.prev_log_id);
        assert_eq!(call.body.entries, rpc.entries);
    }
}
