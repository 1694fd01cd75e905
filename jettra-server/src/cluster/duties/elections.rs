//! Who was elected, and why, for the journal: only the one who was elected knows.

use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::EventKind;

use super::{Cluster, Due, Duty};
use crate::cluster::Call;
use crate::cluster::journal::LIMIT;
use crate::raft::{Cause, Consensus, ServerState};
use crate::state::NewEvent;

/// Between two looks at who leads, at most.
const LOOK: Duration = Duration::from_millis(500);

/// Tells of each election that this node wins.
#[derive(Default)]
pub(super) struct Elections {
    has_looked: bool,
    /// The term that is in the journal.
    told: Option<u64>,
}

impl Duty for Elections {
    const NAME: &'static str = "what keeps the journal";
    const ONLY_LEADER: bool = true;

    fn due(&self) -> Due {
        if self.has_looked { Due::Change(LOOK) } else { Due::After(Duration::ZERO) }
    }

    fn rest(&mut self) {
        self.has_looked = true;
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        self.has_looked = true;
        let picture = consensus.picture();
        if picture.state != ServerState::Leader || self.told == Some(picture.term) {
            return;
        }
        let name = |id: u64| picture.member(id).map_or_else(|| format!("raft id {id}"), |m| m.name.clone());
        let event = elected(&node.identity().name, picture.term, consensus.contact().cause(), name);
        tracing::info!(term = picture.term, why = event.message, "elected");
        // One who leads no more leaves it: the next leader has its own reason to tell.
        let call = Call { forward: false, ..Call::internal(LIMIT) };
        match node.write_event(&call, format!("elected-{}", picture.term), &event).await {
            Ok(()) => self.told = Some(picture.term),
            Err(e) => tracing::debug!(error = %e, "an election is not in the journal yet"),
        }
    }
}

/// The event that `node` was elected.
fn elected(node: &str, term: u64, cause: Cause, name: impl Fn(u64) -> String) -> NewEvent {
    let event = |why: &str, reason: &str| {
        let message = format!("{node} leads in term {term}: {why}");
        NewEvent::new(EventKind::Elected, message).node(node).with("term", term).with("reason", reason)
    };
    match cause {
        Cause::HandedOver(from) => {
            let former = name(from);
            event(&format!("{former} handed leadership over"), "handed_over").with("former", former)
        }
        Cause::Silent(from, silence) => {
            let (former, ms) = (name(from), u64::try_from(silence.as_millis()).unwrap_or(u64::MAX));
            let why = format!("{former}, which led before, was silent for {ms} ms");
            event(&why, "leader_silent").with("former", former).with("silentMs", ms)
        }
        Cause::NoneHeard if term <= 1 => event("it began the cluster", "first_start"),
        Cause::NoneHeard => event("it has heard no leader since it started", "restart"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_says_why() {
        let name = |id: u64| format!("node{id}");
        for (cause, term, reason, said) in [
            (Cause::NoneHeard, 1, "first_start", "it began the cluster"),
            (Cause::NoneHeard, 9, "restart", "no leader since it started"),
            (Cause::HandedOver(2), 9, "handed_over", "node2 handed leadership over"),
            (
                Cause::Silent(3, Duration::from_millis(412)),
                9,
                "leader_silent",
                "node3, which led before, was silent for 412 ms",
            ),
        ] {
            let event = elected("node1", term, cause, name);
            assert_eq!(event.details["reason"], reason);
            assert!(event.message.contains(said), "{}", event.message);
        }
    }
}
