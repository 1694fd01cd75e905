//! How a request reaches the one who can serve it: here, or at the leader, one hop away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jettra_client::wire::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::Instrument as _;

use super::{Cluster, ClusterCall, ClusterRequest};
use crate::error::{Error, Result};
use crate::feature;
use crate::peers::{PeerError, Target};
use crate::planted::{self, Bug};
use crate::raft::{Committed, Consensus, Envelope, Member, NotLeader};
use crate::state::{By, Command, Op, RequestKey, stamp};

/// The principal of what nodes do by themselves. No user has this name.
pub(super) const OWN: &str = "_node";

/// How long a node that is asked by another one waits until it knows as much of the user as that one.
const KNOWS: Duration = Duration::from_secs(1);

/// What a request may cost and how far it may go.
#[derive(Debug, Clone)]
pub struct Call {
    /// In whose name.
    pub principal: String,
    /// By which right; `None` for what nodes do by themselves.
    pub by: Option<By>,
    /// Until when.
    pub deadline: Instant,
    /// Whether another node may be asked.
    pub forward: bool,
    /// The request's id, for the log; empty for what nodes do by themselves.
    pub id: String,
}

impl Call {
    /// A call of the node itself.
    pub fn internal(limit: Duration) -> Self {
        Call { principal: OWN.to_owned(), by: None, deadline: Instant::now() + limit, forward: true, id: String::new() }
    }

    fn who(&self) -> Who {
        Who { principal: self.principal.clone(), by: self.by.clone() }
    }

    /// How long it may still take.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// In whose name a cluster call is made, and by which right.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub principal: String,
    pub by: Option<By>,
}

/// Work that only the leader does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Propose this unstamped command.
    Command(Box<RawValue>),
    /// Change the membership.
    Cluster(ClusterRequest),
    /// Confirm leadership (by the lease if true) and tell the read index.
    ReadIndex(bool),
}

/// `forward`: work from a node that a client asked, with the client's principal and deadline.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forward {
    /// In whose name.
    pub principal: String,
    /// By which right. From feature level 2 on a command carries it itself, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// The request's id, for the log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Milliseconds that the work may still take.
    pub limit_ms: u64,
    /// The work.
    pub work: Work,
}

/// What became of forwarded work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// A command was applied.
    Committed(Committed),
    /// A cluster call's answer.
    Answer(serde_json::Value),
    /// The index that a read must have applied.
    ReadIndex(u64),
}

/// One attempt: done, or who leads instead.
type Attempt<T> = Result<std::result::Result<T, NotLeader>>;

impl Cluster {
    /// Proposes `command` where the leader is, and waits until it is applied there.
    ///
    /// # Errors
    /// `busy`, `no_leader`, `not_leader` (forwarding forbidden), `timeout` (outcome unknown).
    pub async fn write(self: &Arc<Self>, call: &Call, command: &Command) -> Result<Committed> {
        self.understood_by_all(&command.op)?;
        // A version of a lower level would not look at it; there only the leader does.
        let in_entry = self.state()?.feature_level() >= feature::RIGHTS;
        let unstamped = command.encode_unstamped(call.by.as_ref().filter(|_| in_entry));
        if call.principal != OWN {
            self.is_not_a_second_one()?;
        }
        let own = call.principal == OWN;
        let node = self.clone();
        // A command with a key is applied once, whatever happens to its answers: so it may be sent again.
        let repeatable = command.request.is_some();
        let raw = unstamped.clone();
        let brings_in = command.op.brings_in();
        let here = move |consensus: Arc<Consensus>, limit| {
            let stamped = if own { Ok(()) } else { node.has_room(brings_in) };
            let stamped = stamped.and_then(|()| stamp(&unstamped, node.time_ms()));
            async move { consensus.propose(stamped?, limit).await }
        };
        let text = std::str::from_utf8(&raw).map_err(|e| Error::internal(e.to_string()))?;
        let attempts = AtomicU64::new(0);
        let work = || {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            let text =
                if attempt > 0 && planted::has(Bug::ForwardAnew) { anew(command, attempt)? } else { text.to_owned() };
            Ok(Work::Command(RawValue::from_string(text).map_err(not_json)?))
        };
        match self.at_leader(call, repeatable, here, work).await? {
            Reached::Here(committed) => Ok(committed),
            Reached::There(Forwarded::Committed(committed)) => Ok(committed),
            Reached::There(_) => Err(wrong_answer()),
        }
    }

    /// Refuses what a member of the cluster's feature level could not read. The level only rises, so it may be asked of
    /// this node's state.
    fn understood_by_all(&self, op: &Op) -> Result<()> {
        let needed = op.feature_level();
        if needed == 1 {
            return Ok(());
        }
        let level = self.state()?.feature_level();
        if needed <= level {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "this needs feature level {needed} and the cluster is at {level}: once all members run a version that supports \
             it, raise it: curl -X POST {}/api/cluster/upgrade",
            self.url()
        ))
        .with("featureLevel", level))
    }

    /// Runs a cluster call where the leader is.
    ///
    /// # Errors
    /// As [`Cluster::write`], and what the call says.
    pub async fn cluster_call(self: &Arc<Self>, call: &Call, request: ClusterRequest) -> Result<serde_json::Value> {
        self.is_not_a_second_one()?;
        let (node, who) = (self.clone(), call.who());
        let local = request.clone();
        let here = move |consensus, limit| {
            let (node, who, request) = (node.clone(), who.clone(), local.clone());
            async move { node.run_cluster_call(consensus, request, &who, limit).await }
        };
        let work = || Ok(Work::Cluster(request.clone()));
        let leaving = self.who_leaves(&request)?;
        match self.at_leader(call, true, here, work).await {
            Ok(Reached::Here(answer)) => Ok(answer),
            Ok(Reached::There(Forwarded::Answer(answer))) => Ok(answer),
            Ok(Reached::There(_)) => Err(wrong_answer()),
            Err(e) => match leaving {
                Some(raft_id) if self.has_left(raft_id, &e) => Ok(serde_json::json!({"status": "deregistered"})),
                _ => Err(e),
            },
        }
    }

    /// The Raft id of the member that `request` removes.
    fn who_leaves(&self, request: &ClusterRequest) -> Result<Option<u64>> {
        let ClusterCall::Deregister { node, .. } = &request.call else { return Ok(None) };
        Ok(self.find_member(node)?.filter(|_| !request.dry_run).map(|member| member.raft_id))
    }

    /// Whether a removal that ended with `e` was done all the same: an attempt that lost its leader in the middle is
    /// repeated, and the next one finds the member no more.
    fn has_left(&self, raft_id: u64, e: &Error) -> bool {
        let is_gone = || self.running().is_some_and(|c| c.state().members().iter().all(|m| m.raft_id != raft_id));
        e.code() == ErrorCode::NotFound || is_gone()
    }

    /// Refuses somebody whose right has ended, as far as this node knows.
    ///
    /// # Errors
    /// `unauthorized` with the detail [`CHANGED`](crate::state::CHANGED).
    pub fn check_right(&self, by: Option<&By>) -> Result<()> {
        let Some(by) = by else { return Ok(()) };
        self.state()?.may(by).map_err(|e| Error::internal(e.to_string()))?
    }

    /// The same for a right that another node has let in: it may know more than this one has applied, which must not be
    /// taken for less.
    ///
    /// # Errors
    /// As [`Cluster::check_right`]; `unavailable` where this node does not catch up with the right in time: nothing was done.
    pub(super) async fn check_right_of(&self, consensus: &Consensus, by: Option<&By>, limit: Duration) -> Result<()> {
        let Some(by) = by else { return Ok(()) };
        let applied = consensus.state().applied();
        let base = applied.rev - applied.index.unwrap_or(applied.rev);
        if !consensus.wait_applied(by.rev.saturating_sub(base), limit.min(KNOWS)).await {
            return Err(Error::unavailable(
                "this node does not know the user's last change yet: try again in a moment",
            ));
        }
        self.check_right(Some(by))
    }

    /// Does work that another node forwarded: here, or not at all.
    ///
    /// # Errors
    /// `not_leader`, with the leader's id where known, and what the work says.
    pub async fn do_forwarded(self: &Arc<Self>, forward: Forward) -> Result<Forwarded> {
        let span = match &forward.work {
            Work::ReadIndex(_) => tracing::debug_span!("forwarded", id = forward.id, user = forward.principal),
            _ => tracing::info_span!("forwarded", id = forward.id, user = forward.principal),
        };
        self.work(forward).instrument(span).await
    }

    async fn work(self: &Arc<Self>, forward: Forward) -> Result<Forwarded> {
        let consensus = self.consensus()?;
        let limit = Duration::from_millis(forward.limit_ms.min(600_000));
        let done = match forward.work {
            Work::Command(raw) => {
                // What the log holds every node must be able to apply.
                let unstamped = bytes::Bytes::copy_from_slice(raw.get().as_bytes());
                let decoded = Command::decode(&unstamped);
                let (command, _) = decoded.map_err(|e| Error::bad_request(format!("the forwarded command: {e}")))?;
                if forward.principal != OWN {
                    self.check_right_of(&consensus, forward.by.as_ref(), limit).await?;
                    self.has_room(command.op.brings_in())?;
                }
                let stamped = stamp(raw.get().as_bytes(), self.time_ms())?;
                consensus.propose(stamped, limit).await?.map(Forwarded::Committed)
            }
            Work::Cluster(request) => {
                let who = Who { principal: forward.principal, by: forward.by };
                let done = self.run_cluster_call(consensus, request, &who, limit).await?;
                done.map(Forwarded::Answer)
            }
            Work::ReadIndex(lease) => consensus.read_index(lease).await?.map(Forwarded::ReadIndex),
        };
        done.map_err(|not| not_leader(&not))
    }

    /// Tries `here` until it is done; where this node does not lead, sends `work` to who does.
    pub(super) async fn at_leader<T, F, Fut>(
        self: &Arc<Self>,
        call: &Call,
        repeatable: bool,
        here: F,
        work: impl Fn() -> Result<Work>,
    ) -> Result<Reached<T>>
    where
        F: Fn(Arc<Consensus>, Duration) -> Fut,
        Fut: Future<Output = Attempt<T>>,
    {
        let consensus = self.consensus()?;
        let mut last: Option<String> = None;
        // Whether an earlier attempt may have been carried out: then no error may say that nothing was.
        let mut doubt = false;
        loop {
            let left = call.left();
            if left.is_zero() {
                let why = last.unwrap_or_else(|| "no leader is known".to_owned());
                return Err(if doubt { Error::in_doubt(&why) } else { Error::no_leader_in_time(&why) });
            }
            let not = match here(consensus.clone(), left).await {
                Ok(Ok(done)) => return Ok(Reached::Here(done)),
                Ok(Err(not)) => not,
                Err(e) if repeatable && may_repeat(&e) => {
                    doubt |= e.code() == ErrorCode::Timeout;
                    last = Some(e.message().to_owned());
                    consensus.changed(Duration::from_millis(20)).await;
                    continue;
                }
                Err(e) if doubt => return Err(Error::in_doubt(e.message())),
                Err(e) => return Err(e),
            };
            if !call.forward {
                // Raft remembers a leader that is dead: nobody is sent there.
                let nobody = || Error::no_leader("no leader is known to this node now: try again, or ask another node");
                return Err(if consensus.standing().1.is_some() { not_leader(&not) } else { nobody() });
            }
            match not.leader {
                Some((id, member)) if id != consensus.id() => {
                    match self.send(&consensus, id, &member, call, work()?).await {
                        Ok(done) => return Ok(Reached::There(done)),
                        Err(PeerError::Refused(e)) if !never_begun(&e) && (!repeatable || !may_repeat(&e)) => {
                            return Err(if doubt { Error::in_doubt(e.message()) } else { e });
                        }
                        Err(PeerError::NoAnswer { url, why }) if !repeatable => {
                            return Err(Error::in_doubt(&format!("no answer from the leader at {url}: {why}")));
                        }
                        Err(e) => {
                            doubt |= match &e {
                                PeerError::NoAnswer { .. } => true,
                                PeerError::Refused(e) => e.code() == ErrorCode::Timeout,
                                _ => false,
                            };
                            if matches!(e, PeerError::NotLetIn(_) | PeerError::Unproved(_)) {
                                self.note_distrust(&member, &e);
                            }
                            last = Some(e.outside());
                        }
                    }
                }
                _ => last = Some("no leader is known".to_owned()),
            }
            consensus.changed(Duration::from_millis(20).min(call.left())).await;
        }
    }

    /// Clients are told little of what nodes say to each other about who they are: so it stands in the log.
    fn note_distrust(&self, member: &Member, e: &PeerError) {
        let (url, why) = (member.url.clone(), e.to_string());
        self.distrust.tell(move |times| tracing::warn!(url, why, times, "the leader does not let this node in"));
    }

    async fn send(
        &self,
        consensus: &Consensus,
        id: u64,
        member: &Member,
        call: &Call,
        work: Work,
    ) -> std::result::Result<Forwarded, PeerError> {
        let peer = self.peers.get(&Target { url: member.url.clone(), raft_id: id });
        let limit = call.left();
        let path = if matches!(work, Work::ReadIndex(_)) { "/raft/rpc/read-index" } else { "/raft/rpc/forward" };
        let envelope = Envelope {
            cluster: consensus.cluster().to_owned(),
            from: consensus.id(),
            to: id,
            body: Forward {
                principal: call.principal.clone(),
                by: call.by.clone(),
                id: call.id.clone(),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                work,
            },
        };
        // A read's round is repeated anyway: it must not hang on a leader that has just gone.
        let limit = if path == "/raft/rpc/read-index" { limit.min(Duration::from_secs(1)) } else { limit };
        peer.call_json(path, &envelope, limit).await
    }
}

pub(super) enum Reached<T> {
    Here(T),
    There(Forwarded),
}

/// What [`Bug::ForwardAnew`] sends instead of the same request.
fn anew(command: &Command, attempt: u64) -> Result<String> {
    let mut command = command.clone();
    match &mut command.request {
        Some(RequestKey::Key { key, .. }) => key.push_str(&format!("+{attempt}")),
        Some(RequestKey::Session { sequence, .. }) => *sequence += attempt,
        None => {}
    }
    String::from_utf8(command.encode_unstamped(None).to_vec()).map_err(|e| Error::internal(e.to_string()))
}

/// Errors after which a repeatable request is simply tried again.
fn may_repeat(e: &Error) -> bool {
    matches!(e.code(), ErrorCode::Timeout | ErrorCode::NoLeader | ErrorCode::NotLeader | ErrorCode::Unavailable)
}

/// Errors that say that nothing was done.
fn never_begun(e: &Error) -> bool {
    matches!(e.code(), ErrorCode::NotLeader | ErrorCode::Unavailable)
}

fn not_leader(not: &NotLeader) -> Error {
    let error = Error::new(ErrorCode::NotLeader, "this node does not lead: send the request to the leader");
    match &not.leader {
        Some((_, member)) => error.with("leader", member.name.clone()).with("leaderUrl", member.url.clone()),
        None => error,
    }
}

fn not_json(e: serde_json::Error) -> Error {
    Error::internal(format!("a command that is no JSON: {e}"))
}

pub(super) fn wrong_answer() -> Error {
    Error::internal("the leader answered with something else than was asked")
}
