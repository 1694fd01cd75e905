//! The called side of Raft's calls: checked, then handed to openraft.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use openraft::storage::Snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::consensus::Consensus;
use super::machine::SnapshotData;
use super::snapshot::{Head, Reader};
use super::store::Fresh;
use super::types::TypeConfig;
use super::wire::{Envelope, decode_append};
use crate::error::{Error, Result};
use crate::peers::{Admitted, not_let_in};
use crate::state::{Importer, State};

/// Refuses a call that is not between members of this cluster, before openraft sees it.
///
/// # Errors
/// `conflict` for who is not meant or not who it says, `unavailable` for who was removed. Each is counted, and says that
/// the call was not let in.
pub fn check<T>(consensus: &Consensus, call: &Envelope<T>, proved: u64) -> Result<()> {
    let refuse = |reason: &'static str, message: String| Err(not_let_in(reason, Error::conflict(message)));
    if call.cluster != consensus.cluster() {
        return refuse(
            "cluster",
            format!("this node belongs to cluster {}, not {}", consensus.cluster(), call.cluster),
        );
    }
    if call.to != consensus.id() {
        return refuse("target", format!("this node has raft id {}, not {}", consensus.id(), call.to));
    }
    if call.from != proved || proved == 0 || proved == consensus.id() {
        return refuse("sender", format!("raft id {} was proved, not {}", proved, call.from));
    }
    match removed(consensus, proved) {
        Some(index) => Err(was_removed(proved, index)),
        None => Ok(()),
    }
}

/// The index by which member `raft_id` was removed, if it was: a Raft id is the revision of a registration, so who is not
/// there though that is applied, is no member any more.
pub fn removed(consensus: &Consensus, raft_id: u64) -> Option<u64> {
    let applied = consensus.applied_index();
    let is_gone =
        raft_id != 0 && applied >= raft_id && consensus.state().members().iter().all(|m| m.raft_id != raft_id);
    is_gone.then_some(applied)
}

/// What a removed member is told, so that it can tell its clients.
pub fn was_removed(raft_id: u64, index: u64) -> Error {
    let message = format!("raft id {raft_id} was removed from the cluster, at index {index} at the latest");
    not_let_in("removed", Error::unavailable(message)).with("removed", index).with("removedId", raft_id)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<Envelope<T>> {
    serde_json::from_slice(body).map_err(|e| unreadable(&e))
}

/// The error of a call that this version does not understand.
pub fn unreadable(e: &serde_json::Error) -> Error {
    not_let_in("unreadable", Error::bad_request(format!("not a call of this version: {e}")))
}

fn answer(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal(e.to_string()))
}

fn stopped(e: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("raft has stopped on this node: {e}"))
}

/// Answers `append`, `vote`, `pre-vote` or `transfer` from the node that proved Raft id `proved`.
///
/// # Errors
/// `bad_request`, `conflict`, `unavailable`; `unsupported` for other calls.
pub async fn call(consensus: &Consensus, name: &str, body: &Bytes, proved: u64) -> Result<Vec<u8>> {
    let raft = consensus.raft();
    match name {
        "append" => {
            let call = decode_append(body).map_err(|e| unreadable(&e))?;
            check(consensus, &call, proved)?;
            consensus.contact().heard(proved);
            answer(&raft.append_entries(call.body).await.map_err(stopped)?)
        }
        "vote" => {
            let call = parse::<VoteRequest<TypeConfig>>(body)?;
            check(consensus, &call, proved)?;
            may_vote(consensus, &call.body)?;
            answer(&raft.vote(call.body).await.map_err(stopped)?)
        }
        "pre-vote" => {
            let call = parse::<VoteRequest<TypeConfig>>(body)?;
            check(consensus, &call, proved)?;
            may_vote(consensus, &call.body)?;
            let theirs = call.body.last_log_id;
            let answered = raft.pre_vote(call.body).await.map_err(stopped)?;
            if !answered.vote_granted && answered.last_log_id > theirs {
                consensus.contact().refused_one_behind();
            }
            answer(&answered)
        }
        "transfer" => {
            let call = parse::<TransferLeaderRequest<TypeConfig>>(body)?;
            check(consensus, &call, proved)?;
            if *call.body.to_node_id() == consensus.id() {
                consensus.contact().handed_over(proved);
            }
            answer(&raft.handle_transfer_leader(call.body).await.map_err(stopped)?)
        }
        other => Err(Error::new(
            jettra_client::wire::ErrorCode::Unsupported,
            format!("this version knows no call named {other:?}"),
        )),
    }
}

/// A restarted node may have promised the leader's lease before: it waits one election time-out.
fn may_vote(consensus: &Consensus, request: &VoteRequest<TypeConfig>) -> Result<()> {
    if consensus.is_quiet() && !request.leadership_transfer {
        return Err(Error::unavailable("this node has just started and votes in a moment"));
    }
    Ok(())
}

/// Receives a snapshot: a fresh engine is filled beside the one in use, then openraft installs it.
/// `admit` opens the head as a call.
///
/// # Errors
/// `bad_request` for a stream that breaks off or is damaged; the state in use is untouched then.
pub async fn snapshot<S, E>(
    consensus: &Consensus,
    mut body: S,
    admit: impl FnOnce(Bytes) -> Result<(Admitted, Bytes)>,
) -> Result<Vec<u8>>
where
    S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut reader = Reader::default();
    let head = loop {
        if let Some(head) = reader.head().map_err(Error::bad_request)? {
            break head;
        }
        reader.push(&next(&mut body).await?.ok_or_else(|| Error::bad_request("the snapshot broke off"))?);
    };
    let (Admitted { from: proved, key, sequence }, head) = admit(head)?;
    let call: Envelope<Head> = parse(&head)?;
    check(consensus, &call, proved)?;
    let head = call.body;
    head.check().map_err(Error::bad_request)?;
    tracing::info!(from = proved, at = ?head.meta.last_log_id.map(|id| id.index), "receiving a snapshot");

    let (pieces, mut incoming) = mpsc::channel::<Bytes>(8);
    let store = consensus.store().clone();
    let key = key.stream(sequence);
    let import = tokio::task::spawn_blocking(move || -> std::result::Result<(Fresh, State), String> {
        let fresh = store.fresh().map_err(|e| e.to_string())?;
        let mut importer = Importer::new(fresh.engine().map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        reader.import(&key, &mut importer)?;
        while let Some(piece) = incoming.blocking_recv() {
            reader.push(&piece);
            reader.import(&key, &mut importer)?;
        }
        if !reader.is_complete() {
            return Err("the snapshot broke off".into());
        }
        importer.finish().map_err(|e| e.to_string())?;
        let engine = fresh.engine().map_err(|e| e.to_string())?;
        Ok((fresh, State::open(engine).map_err(|e| e.to_string())?))
    });
    while let Some(piece) = next(&mut body).await? {
        if pieces.send(piece).await.is_err() {
            break; // the importer ended early and says why
        }
    }
    drop(pieces);
    let imported = import.await.map_err(|e| Error::internal(e.to_string()))?;
    let (fresh, state) = imported.map_err(Error::bad_request)?;
    let snapshot = Snapshot { meta: head.meta, snapshot: SnapshotData::Received { fresh, state } };
    let installed = consensus.raft().install_full_snapshot(head.vote, snapshot).await.map_err(stopped)?;
    answer(&installed)
}

async fn next<S, E>(body: &mut S) -> Result<Option<Bytes>>
where
    S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let idle = std::time::Duration::from_secs(30);
    let piece = tokio::time::timeout(idle, body.next()).await;
    let piece = piece.map_err(|_| Error::bad_request("the snapshot stopped for 30 s"))?;
    piece.transpose().map_err(|e| Error::bad_request(format!("the snapshot broke off: {e}")))
}
