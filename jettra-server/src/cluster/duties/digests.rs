//! Whether all members hold the same. A command `digest_check` makes each node keep its digests as they are at that one
//! entry; the leader then asks for them and compares. A difference is an alarm.
//!
//! The leader proposes one every few minutes, and each node one after its start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{ClusterEvent, EventKind};
use serde::{Deserialize, Serialize};

use super::{Cluster, Due, Duty};
use crate::cluster::Call;
use crate::cluster::journal::{AlarmKey, open_alarms};
use crate::error::Result;
use crate::peers::Target;
use crate::raft::{Consensus, Envelope, ServerState};
use crate::state::{
    CheckedCollection, CollectionId, Command, Difference, DigestCheck, MemberDoc, NewEvent, Op, compare,
};

/// The name of the alarm.
pub(in crate::cluster) const ALARM: &str = "digest_mismatch";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a member has for one answer.
const ASK: Duration = Duration::from_secs(2);
/// A member that has not come so far is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long proposing may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Alarms that one check raises at most; the log names the rest.
const MOST_ALARMS: usize = 20;

/// `digests`: what did you hold at this entry?
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DigestRequest {
    /// The index of the entry.
    pub index: u64,
    /// Whether to tell it by collection.
    pub full: bool,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DigestAnswer {
    /// How far the node has applied.
    pub applied: u64,
    /// One digest over everything; absent where the node has not come there, or did not apply that entry itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// The collections, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<CheckedCollection>,
}

/// What a member held.
enum Held {
    /// The same as the leader.
    Same,
    /// Something else.
    Other(Vec<CheckedCollection>),
    /// Nobody knows any more: it came there by a snapshot.
    Unknown,
}

/// One check that is being compared.
struct Round {
    check: DigestCheck,
    began: Instant,
    held: BTreeMap<String, Held>,
}

impl Cluster {
    /// What this node held at an entry `digest_check`.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn digests(&self, request: DigestRequest) -> Result<DigestAnswer> {
        let consensus = self.consensus()?;
        // Read first: what is applied afterwards has its check kept already.
        let applied = consensus.applied_index();
        let check = consensus.state().digest_checks().into_iter().find(|check| check.index == request.index);
        Ok(DigestAnswer {
            applied,
            total: check.as_ref().map(DigestCheck::total),
            collections: check.filter(|_| request.full).map(|check| check.collections()).unwrap_or_default(),
        })
    }
}

/// Compares what the members hold, where this node leads.
pub(super) struct Comparison {
    /// The index of the last check that was compared.
    compared: u64,
    /// When it was found.
    last_check: Instant,
    round: Option<Round>,
    /// What the metrics show.
    shown: BTreeSet<(String, String)>,
    /// Whether a check was proposed since the start: the disk may hold something else than before.
    has_started: bool,
    /// Whose alarms may be open, as this leader knows.
    present: BTreeSet<String>,
}

impl Default for Comparison {
    fn default() -> Self {
        Comparison {
            compared: 0,
            last_check: Instant::now(),
            round: None,
            shown: BTreeSet::new(),
            has_started: false,
            present: BTreeSet::new(),
        }
    }
}

impl Duty for Comparison {
    const NAME: &'static str = "what compares the members";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let state = consensus.state();
        let members: Vec<MemberDoc> = state.members().into_iter().filter(|doc| doc.voter.is_some()).collect();
        if consensus.standing().0 != ServerState::Leader {
            self.present.clear();
        } else if self.present != names(&members) {
            self.present = names(&members);
            let open = open_alarms(&node.recent_events(consensus).await);
            for event in departed(&open, &self.present) {
                node.note_event(event).await;
            }
        }
        if members.len() < 2 {
            // There is nothing to compare with.
            show(&mut self.shown, BTreeSet::new());
            return;
        }
        if !self.has_started {
            let call = Call::internal(LIMIT);
            self.has_started = node.catch_up_once(&call).await.is_ok() && propose(node, true).await;
        }
        if consensus.standing().0 != ServerState::Leader {
            // What this node knew as the leader is the next leader's to tell.
            show(&mut self.shown, BTreeSet::new());
            self.round = None;
            (self.compared, self.last_check) = (0, Instant::now());
            return;
        }
        let newest = state.digest_checks().pop();
        if let Some(check) = newest.filter(|check| check.index > self.compared) {
            if let Some(before) = self.round.take() {
                judge(node, consensus, before, &mut self.shown).await;
            }
            (self.compared, self.last_check) = (check.index, Instant::now());
            self.round = Some(Round { check, began: Instant::now(), held: BTreeMap::new() });
        } else if self.last_check.elapsed() >= Duration::from_millis(state.settings().digest_check_ms)
            && self.round.is_none()
        {
            propose(node, false).await;
        }
        if let Some(mut asking) = self.round.take() {
            let all = ask(node, consensus, &members, &mut asking).await;
            if all || asking.began.elapsed() >= PATIENCE {
                judge(node, consensus, asking, &mut self.shown).await;
            } else {
                self.round = Some(asking);
            }
        }
    }
}

fn names(members: &[MemberDoc]) -> BTreeSet<String> {
    members.iter().map(|doc| doc.id.clone()).collect()
}

async fn propose(cluster: &Arc<Cluster>, forward: bool) -> bool {
    let call = Call { forward, ..Call::internal(LIMIT) };
    match cluster.write(&call, &Command::new(Op::DigestCheck)).await {
        Ok(_) => true,
        Err(e) => {
            tracing::debug!(error = %e, "no digest check now, trying again");
            false
        }
    }
}

/// Asks those that have not answered yet; true when all have.
async fn ask(cluster: &Arc<Cluster>, consensus: &Arc<Consensus>, members: &[MemberDoc], round: &mut Round) -> bool {
    let (index, total) = (round.check.index, round.check.total());
    let mut asked = tokio::task::JoinSet::new();
    for doc in members.iter().filter(|doc| doc.raft_id != consensus.id() && !round.held.contains_key(&doc.id)) {
        let peer = cluster.peers.get(&Target { url: doc.url.clone(), raft_id: doc.raft_id });
        let call = move |full| DigestRequest { index, full };
        let envelope = Envelope {
            cluster: consensus.cluster().to_owned(),
            from: consensus.id(),
            to: doc.raft_id,
            body: call(false),
        };
        let (name, total) = (doc.id.clone(), total.clone());
        asked.spawn(async move {
            let told: DigestAnswer = peer.call_json("/raft/rpc/digests", &envelope, ASK).await.ok()?;
            let held = match told.total {
                None if told.applied < index => return None,
                None => Held::Unknown,
                Some(theirs) if theirs == total => Held::Same,
                Some(_) => {
                    let envelope = Envelope { body: call(true), ..envelope };
                    let told: DigestAnswer = peer.call_json("/raft/rpc/digests", &envelope, ASK).await.ok()?;
                    told.total?;
                    Held::Other(told.collections)
                }
            };
            Some((name, held))
        });
    }
    while let Some(answer) = asked.join_next().await {
        round.held.extend(answer.ok().flatten());
    }
    members.iter().all(|doc| doc.raft_id == consensus.id() || round.held.contains_key(&doc.id))
}

/// Raises alarms for what differs, and ends those of what does not any more.
async fn judge(
    cluster: &Arc<Cluster>,
    consensus: &Arc<Consensus>,
    round: Round,
    shown: &mut BTreeSet<(String, String)>,
) {
    let ours = round.check.collections();
    let mut replicas = vec![(cluster.identity().name, ours.clone())];
    let mut unknown = 0_usize;
    for (name, held) in round.held {
        match held {
            Held::Same => replicas.push((name, ours.clone())),
            Held::Other(theirs) => replicas.push((name, theirs)),
            Held::Unknown => unknown += 1,
        }
    }
    if replicas.len() < 2 {
        return;
    }
    let found = compare(&replicas);
    let result = if found.is_empty() { "same" } else { "different" };
    metrics::counter!("jettra_digest_checks_total", "result" => result).increment(1);
    metrics::gauge!("jettra_digest_compared_nodes").set(replicas.len() as f64);
    metrics::gauge!("jettra_digest_check_index").set(round.check.index as f64);
    tracing::info!(index = round.check.index, nodes = replicas.len(), unknown, result, "digests compared");

    let state = consensus.state();
    let names: BTreeMap<CollectionId, String> =
        found.iter().map(|d| (d.collection, state.collection_name(d.collection))).collect();
    let differs: BTreeSet<(String, String)> =
        found.iter().flat_map(|d| d.nodes.iter().map(|node| (node.clone(), names[&d.collection].clone()))).collect();
    for (node, collection) in &differs {
        tracing::error!(node, collection, index = round.check.index, "a member holds something else");
    }
    show(shown, differs);
    let compared: BTreeSet<String> = replicas.into_iter().map(|(name, _)| name).collect();
    let members = state.members().into_iter().filter(|doc| doc.voter.is_some());
    let present: BTreeSet<String> = members.map(|doc| doc.id).collect();
    let mut open = open_alarms(&cluster.recent_events(consensus).await);
    let gone = departed(&open, &present);
    open.retain(|key, _| concerns(key, &present));
    for event in gone.into_iter().chain(events(&open, &compared, &found, &names, round.check.index)) {
        cluster.note_event(event).await;
    }
}

/// Whether an alarm is about a member that is still one, or about none.
pub(in crate::cluster) fn concerns((_, node, _): &AlarmKey, present: &BTreeSet<String>) -> bool {
    node.as_ref().is_none_or(|node| present.contains(node))
}

/// The end of the alarms about nodes that are no members any more: nobody compares those again.
fn departed(open: &BTreeMap<AlarmKey, ClusterEvent>, present: &BTreeSet<String>) -> Vec<NewEvent> {
    let gone = open.keys().filter(|key| key.0 == ALARM && !concerns(key, present));
    let over = gone.filter_map(|(_, node, collection)| {
        let (node, collection) = (node.as_ref()?, collection.as_ref()?);
        let message = format!("{node} is no member any more, so what it holds in {collection} does not matter");
        let event = NewEvent::new(EventKind::AlarmOver, message).node(node.clone());
        Some(event.with("alarm", ALARM).with("collection", collection.as_str()))
    });
    over.collect()
}

/// What to journal of a comparison: alarms that are new, and the end of those that are over. Of a member that was not
/// compared nothing is said.
fn events(
    open: &BTreeMap<AlarmKey, ClusterEvent>,
    compared: &BTreeSet<String>,
    found: &[Difference],
    names: &BTreeMap<CollectionId, String>,
    index: u64,
) -> Vec<NewEvent> {
    let key = |node: &str, collection: &str| (ALARM.to_owned(), Some(node.to_owned()), Some(collection.to_owned()));
    let mut differs: BTreeMap<AlarmKey, NewEvent> = BTreeMap::new();
    for difference in found {
        let Some(collection) = names.get(&difference.collection) else { continue };
        for node in &difference.nodes {
            let sure = if difference.certain { "" } else { " (as many hold the one as the other)" };
            let message = format!("{node} holds something else in {collection} than the others{sure}");
            let event = NewEvent::new(EventKind::Alarm, message).node(node.clone()).with("alarm", ALARM);
            let event = event.with("collection", collection.as_str()).with("index", index);
            differs.insert(key(node, collection), event.with("certain", difference.certain));
        }
    }
    let over =
        open.keys().filter(|key| key.0 == ALARM && !differs.contains_key(*key)).filter_map(|(_, node, collection)| {
            let (node, collection) = (node.as_ref().filter(|node| compared.contains(*node))?, collection.as_ref()?);
            let message = format!("{node} holds the same in {collection} as the others again");
            let event = NewEvent::new(EventKind::AlarmOver, message).node(node.clone());
            Some(event.with("alarm", ALARM).with("collection", collection.as_str()))
        });
    let over: Vec<NewEvent> = over.collect();
    let still = open.keys().filter(|key| key.0 == ALARM).count().saturating_sub(over.len());
    let room = MOST_ALARMS.saturating_sub(still);
    let new = differs.into_iter().filter(|(key, _)| !open.contains_key(key)).take(room).map(|(_, event)| event);
    over.into_iter().chain(new).collect()
}

/// Sets the metric of what differs and forgets what does not any more.
fn show(shown: &mut BTreeSet<(String, String)>, differs: BTreeSet<(String, String)>) {
    let gauge = |(node, collection): &(String, String), value: f64| {
        metrics::gauge!("jettra_digest_mismatch", "node" => node.clone(), "collection" => collection.clone())
            .set(value);
    };
    shown.difference(&differs).for_each(|over| gauge(over, 0.0));
    differs.iter().take(MOST_ALARMS).for_each(|wrong| gauge(wrong, 1.0));
    *shown = differs.into_iter().take(MOST_ALARMS).collect();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Takes the events of a comparison into a journal and gives their kinds and nodes.
    fn told(journal: &mut Vec<ClusterEvent>, compared: &[&str], found: &[Difference]) -> Vec<(EventKind, String)> {
        let names = BTreeMap::from([(CollectionId(7), "db/c".to_owned())]);
        let compared = compared.iter().map(|name| (*name).to_owned()).collect();
        let events = events(&open_alarms(journal), &compared, found, &names, 812);
        let told = events.iter().map(|event| (event.kind, event.node.clone().unwrap())).collect();
        for NewEvent { kind, node, by, message, details } in events {
            journal.push(ClusterEvent { rev: 1, time: 1, kind, node, by, message, details });
        }
        told
    }

    #[test]
    fn a_difference_is_told_once_and_its_end_once_and_only_of_who_was_compared() {
        use EventKind::{Alarm, AlarmOver};
        let wrong = [Difference { collection: CollectionId(7), nodes: vec!["b".to_owned()], certain: true }];
        let journal = &mut Vec::new();
        assert_eq!(told(journal, &["a", "b", "c"], &[]), []);
        assert_eq!(told(journal, &["a", "b", "c"], &wrong), [(Alarm, "b".to_owned())]);
        assert!(journal[0].message.contains("b holds something else in db/c"), "{journal:?}");
        assert_eq!(told(journal, &["a", "b", "c"], &wrong), []);
        assert_eq!(told(journal, &["a", "c"], &[]), [], "b was away");
        assert_eq!(told(journal, &["a", "b"], &[]), [(AlarmOver, "b".to_owned())]);
        assert_eq!(told(journal, &["a", "b"], &[]), []);
    }

    #[test]
    fn an_alarm_ends_with_its_members_membership_and_gives_its_place_back() {
        let of = |names: Vec<String>| {
            let apart = |node| Difference { collection: CollectionId(7), nodes: vec![node], certain: true };
            names.into_iter().map(apart).collect::<Vec<_>>()
        };
        let journal = &mut Vec::new();
        assert_eq!(told(journal, &[], &of((0..20).map(|n| format!("gone{n}")).collect())).len(), MOST_ALARMS);
        let present = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let gone = departed(&open_alarms(journal), &present);
        assert_eq!(gone.len(), MOST_ALARMS);
        for NewEvent { kind, node, by, message, details } in gone {
            journal.push(ClusterEvent { rev: 2, time: 2, kind, node, by, message, details });
        }
        assert!(open_alarms(journal).is_empty());
        let new = told(journal, &["a", "b"], &of(vec!["b".to_owned()]));
        assert_eq!(new, [(EventKind::Alarm, "b".to_owned())]);
        assert!(departed(&open_alarms(journal), &present).is_empty(), "b is a member");
    }

    #[test]
    fn a_thousand_differences_are_no_thousand_alarms() {
        let found: Vec<Difference> = (0..1000)
            .map(|n| Difference { collection: CollectionId(7), nodes: vec![format!("n{n}")], certain: true })
            .collect();
        let journal = &mut Vec::new();
        assert_eq!(told(journal, &[], &found).len(), MOST_ALARMS);
        assert_eq!(told(journal, &[], &found).len(), 0);
    }
}
