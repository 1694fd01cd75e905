//! The doctor: says in plain sentences what is wrong with the cluster, what works in spite of it, what could happen next
//! and what to do.
//!
//! - `mod`: gathers a [`Sight`]: here, or at the leader, who sees more
//! - `diagnose`: computes the findings, a pure function: one function a kind, one file a family: `own`, `votes`,
//!   `replication`, `machines`, `second`, `guesses`
//! - `memory`: since when each of them is so

mod diagnose;
mod guesses;
mod machines;
mod memory;
mod own;
mod replication;
mod second;
mod votes;

pub(super) use memory::Memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::{ClusterEvent, Diagnosis, EventKind, Status};
use serde_json::json;

use self::diagnose::{Patient, Sight, Standing, diagnose};
use super::Cluster;
use super::duties::digests::concerns;
use super::facts::Fact;
use super::journal::open_alarms;
use crate::clock::now_ms;
use crate::error::Result;
use crate::peers::Target;
use crate::raft::Envelope;

/// How long the leader has to answer.
const ASK: Duration = Duration::from_secs(2);

impl Cluster {
    /// What `GET /api/cluster/doctor` answers: the leader's view, or this node's own where the leader is not in reach.
    pub async fn doctor(self: &Arc<Self>) -> Diagnosis {
        if let Some(consensus) = self.running() {
            let picture = consensus.picture();
            let leader = picture.believed.filter(|id| *id != consensus.id() && self.consensus().is_ok());
            if let Some((id, member)) = leader.and_then(|id| Some((id, picture.member(id)?))) {
                let peer = self.peers.get(&Target { url: member.url.clone(), raft_id: id });
                let (cluster, from) = (consensus.cluster().to_owned(), consensus.id());
                let call = Envelope { cluster, from, to: id, body: json!({}) };
                match peer.call_json::<Diagnosis>("/raft/rpc/doctor", &call, ASK).await {
                    Ok(diagnosis) => return diagnosis,
                    Err(e) => tracing::debug!(error = %e, "the leader's doctor does not answer"),
                }
            }
        }
        self.examine().await
    }

    /// What this node itself sees.
    pub async fn examine(self: &Arc<Self>) -> Diagnosis {
        let sight = self.sight().await;
        let findings = diagnose(&sight);
        metrics::gauge!("jettra_doctor_findings").set(findings.len() as f64);
        self.findings.lock().settle(sight.now_ms, findings)
    }

    async fn sight(self: &Arc<Self>) -> Sight {
        let now_ms = now_ms();
        let identity = self.identity();
        let mut sight = Sight {
            now_ms,
            asked: identity.name.clone(),
            standing: Standing::Member,
            leads: false,
            leader: None,
            leaderless_since: None,
            members: Vec::new(),
            alarms: Vec::new(),
            claim: self.claim(),
            data_dir: self.full_data_dir(),
        };
        let Some(consensus) = self.running() else {
            sight.standing = if identity.membership.is_none() {
                Standing::Waits { url: self.url().to_owned() }
            } else {
                Standing::Starts
            };
            return sight;
        };
        if let Some(index) = self.peers.removed_at() {
            sight.standing = Standing::Removed { index, data_dir: self.full_data_dir() };
            return sight;
        }
        if !self.options().distributed {
            sight.standing = Standing::Alone;
        }
        let (picture, docs, facts) = self.facts(&consensus);
        sight.leads = picture.believed == Some(picture.id);
        sight.leader = facts.leader().map(|leader| leader.id.clone());
        if sight.leader.is_none() {
            let silence = picture.quorum_silence.or(consensus.contact().silence());
            sight.leaderless_since = silence.map(|silence| now_ms.saturating_sub(millis(silence)));
        }
        let reports = self.reports(&consensus, &docs).await;
        let events = self.recent_events(&consensus).await;
        let joined = joined(&events);
        for doc in docs {
            let told = reports.get(&doc.raft_id);
            let fact = facts.member(doc.raft_id);
            let heard = fact.is_some_and(Fact::active);
            let silence = fact.and_then(|fact| fact.silence).or(self.peers.hearing.silence(doc.raft_id));
            let silent_since = silence.map(|silence| now_ms.saturating_sub(millis(silence)));
            let silent_since = silent_since.or(told.and_then(|told| told.silent_since));
            sight.members.push(Patient {
                voter: fact.is_some_and(|f| f.voter),
                replica: doc.replica,
                is_member: doc.voter.is_some(),
                inactive: doc.status == Status::Inactive,
                heard,
                silent_since: silent_since.filter(|_| !heard),
                paused: doc.paused,
                lag: fact.and_then(|f| f.lag).filter(|_| sight.leads),
                joined_at: joined.get(&doc.id).copied(),
                report: told.and_then(|t| t.report.clone()),
                other: self.peers.hearing.other(doc.raft_id),
                clock_ahead_ms: told.map_or(0, |t| t.clock_ahead_ms),
                last: picture.last,
                id: doc.id,
                url: doc.url,
            });
        }
        let present: BTreeSet<String> =
            sight.members.iter().filter(|member| member.is_member).map(|member| member.id.clone()).collect();
        let open = open_alarms(&events).into_iter().filter(|(key, _)| concerns(key, &present));
        sight.alarms = open.map(|(_, event)| event).collect();
        sight
    }

    /// What the leader's doctor tells another node.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub async fn doctor_here(self: &Arc<Self>) -> Result<Diagnosis> {
        self.consensus()?;
        Ok(self.examine().await)
    }
}

/// When each member joined, as far as the journal knows.
fn joined(events: &[ClusterEvent]) -> BTreeMap<String, u64> {
    let joined = events.iter().filter(|event| event.kind == EventKind::Joined);
    joined.filter_map(|event| Some((event.node.clone()?, event.time))).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
