//! What each node tells of itself for the doctor, asked in parallel and kept for a moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Cluster;
use crate::clock::now_ms;
use crate::peers::Target;
use crate::raft::{Consensus, Envelope};
use crate::state::MemberDoc;

/// How long a report is used again.
const FRESH: Duration = Duration::from_secs(2);
/// How long another node has to tell.
const ASK: Duration = Duration::from_millis(500);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// `report`: how a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// The highest feature level that it supports.
    pub feature_level: u64,
    /// Its clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// Free bytes of the data directory's disk.
    pub disk_free: u64,
    /// All bytes of it; 0 where the system does not tell.
    pub disk_total: u64,
    /// Bytes that must stay free for writes to be taken.
    pub disk_reserve: u64,
    /// Fsyncs of the log in the last minute.
    pub fsyncs: u64,
    /// Ninety-nine of a hundred of them took no longer, in microseconds.
    pub fsync_p99_us: u64,
    /// The last log index applied.
    pub applied: u64,
    /// Milliseconds since the process started.
    pub uptime_ms: u64,
    /// The last digest check that it applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_index: Option<u64>,
    /// Wrong passwords that were sent to it in the last minute.
    #[serde(default)]
    pub wrong_passwords: u64,
    /// Where its data lies.
    pub data_dir: String,
}

/// What is known of another node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// Its last report, if it answered when it was last asked.
    pub report: Option<Report>,
    /// How far its clock is ahead of this node's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Since when it does not answer, in milliseconds since 1970.
    pub silent_since: Option<u64>,
    asked: Instant,
}

/// What the other nodes told last, by Raft id.
pub(super) type Reports = Mutex<HashMap<u64, Told>>;

/// Notes that the process runs from now on.
pub(super) fn started() {
    LazyLock::force(&STARTED);
}

impl Cluster {
    /// The data directory from the root, to be pasted into a command.
    pub(super) fn full_data_dir(&self) -> String {
        let dir = &self.options().data_dir;
        std::path::absolute(dir).unwrap_or_else(|_| dir.clone()).display().to_string()
    }

    /// How this node is.
    pub async fn report(&self) -> Report {
        let machine = self.machine().await;
        let consensus = self.running();
        let fsyncs = consensus.as_ref().map(|c| c.log().fsyncs());
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: crate::feature::supported(),
            clock_ms: now_ms(),
            disk_free: machine.disk_free,
            disk_total: machine.disk_total,
            disk_reserve: self.options().disk_reserve_bytes,
            fsyncs: fsyncs.map_or(0, |f| f.count),
            fsync_p99_us: fsyncs.map_or(0, |f| u64::try_from(f.p99.as_micros()).unwrap_or(u64::MAX)),
            applied: consensus.as_ref().map_or(0, |c| c.applied_index()),
            uptime_ms: u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX),
            digest_index: consensus.and_then(|c| c.state().digest_checks().pop()).map(|check| check.index),
            wrong_passwords: self.wrong_passwords.within_a_minute(),
            data_dir: self.full_data_dir(),
        }
    }

    /// What all members tell, this node included, by Raft id. Those that do not answer in time are there too.
    pub(super) async fn reports(self: &Arc<Self>, consensus: &Consensus, docs: &[MemberDoc]) -> BTreeMap<u64, Told> {
        let mut asked = tokio::task::JoinSet::new();
        for doc in docs.iter().filter(|doc| doc.raft_id != consensus.id()) {
            if self.reports.lock().get(&doc.raft_id).is_some_and(|told| told.asked.elapsed() < FRESH) {
                continue;
            }
            let (peer, id) = (self.peers.get(&Target { url: doc.url.clone(), raft_id: doc.raft_id }), doc.raft_id);
            let call =
                Envelope { cluster: consensus.cluster().to_owned(), from: consensus.id(), to: id, body: json!({}) };
            asked.spawn(async move {
                let (sent, started) = (now_ms(), Instant::now());
                let report = peer.call_json::<Report>("/raft/rpc/report", &call, ASK).await.ok();
                // It read its clock about half way.
                let then = sent + u64::try_from(started.elapsed().as_millis() / 2).unwrap_or(0);
                (id, report, then)
            });
        }
        while let Some(answer) = asked.join_next().await {
            let Ok((id, report, then)) = answer else { continue };
            let mut reports = self.reports.lock();
            let silent_before = reports.get(&id).and_then(|told| told.silent_since);
            let silent_since = if report.is_some() { None } else { Some(silent_before.unwrap_or(then)) };
            let ahead = report
                .as_ref()
                .map_or(0, |r| i64::try_from(r.clock_ms).unwrap_or(0).saturating_sub(i64::try_from(then).unwrap_or(0)));
            reports.insert(id, Told { report, clock_ahead_ms: ahead, silent_since, asked: Instant::now() });
        }
        let mine =
            Told { report: Some(self.report().await), clock_ahead_ms: 0, silent_since: None, asked: Instant::now() };
        let mut reports = self.reports.lock();
        reports.retain(|id, _| docs.iter().any(|doc| doc.raft_id == *id));
        let mut all: BTreeMap<u64, Told> = reports.iter().map(|(id, told)| (*id, told.clone())).collect();
        all.insert(consensus.id(), mine);
        all
    }
}
