//! What a change of membership, a pause or a stop costs: computed from [`Facts`], without a cluster.
//!
//! The dry run and the deed go by the same verdict, so they cannot disagree.

use std::time::Duration;

use jettra_client::wire::{ErrorCode, Quorum, Role, Status};
use serde::Serialize;

use super::facts::{Fact, Facts};
use crate::error::{Error, Result};

/// A follower may lag so many entries behind and still be made a voter or be handed leadership.
pub(super) const CAUGHT_UP: u64 = 100;
/// Leadership is not handed to a voter that was silent for so long.
const HEARD: Duration = Duration::from_secs(1);

/// What is to be done; nodes are named by Raft id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A new node becomes a voter.
    Add,
    /// A new node becomes a read replica.
    AddReplica,
    /// A member that does not vote becomes a voter.
    Promote(u64),
    /// A member votes no more: it is a read replica.
    Demote(u64),
    /// It is a member already.
    Keep,
    /// It leads; who votes stays.
    Lead(u64),
    /// Its process ends; it stays a member.
    Stop(u64),
    /// It is a member no more.
    Remove(u64),
    /// It is not elected any more and leads no more; it still votes.
    Pause(u64),
    /// It may be elected again.
    Resume(u64),
}

/// What an action costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it is done.
    pub allowed: bool,
    /// Before the action.
    pub before: Quorum,
    /// After it.
    pub after: Quorum,
    /// Why, or why not, in words.
    pub reason: String,
    /// Where it is refused: what to do first, as a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How a refusal is answered.
    #[serde(skip)]
    code: ErrorCode,
    /// Whether `"force":true` overrules the refusal.
    #[serde(skip)]
    pub forceable: bool,
}

impl Verdict {
    /// The same change, refused for another reason than votes.
    #[must_use]
    pub fn refused(self, error: &Error) -> Self {
        let reason = error.message().to_owned();
        Verdict { allowed: false, after: self.before, reason, next: None, code: error.code(), forceable: false, ..self }
    }

    /// Goes on where the action is allowed, or `force` overrules what is against it.
    ///
    /// # Errors
    /// The refusal as the answer to a call.
    pub fn permit(self, force: bool) -> Result<()> {
        if self.allowed || (force && self.forceable) { Ok(()) } else { Err(self.into_error()) }
    }

    fn into_error(self) -> Error {
        let detail = |q: Quorum| serde_json::to_value(q).unwrap_or_default();
        let mut message = format!("refused: {} (now: {}; then: {})", self.reason, self.before, self.after);
        if let Some(next) = &self.next {
            message.push_str("; next: ");
            message.push_str(next);
        }
        if self.forceable {
            message.push_str("; or repeat it with \"force\":true");
        }
        let error = Error::new(self.code, message);
        let error = error.with("before", detail(self.before)).with("after", detail(self.after));
        match self.next {
            Some(next) => error.with("next", next),
            None => error,
        }
    }
}

/// Computes what `action` would do to the members. Commands in the answer are sent to the node at `url`.
pub fn judge(facts: &Facts, action: Action, url: &str) -> Verdict {
    let then = after(facts, action);
    let (before, after) = (facts.quorum(), then.quorum());
    let name = |id: u64| facts.member(id).map_or_else(|| format!("raft id {id}"), |m| m.id.clone());
    let (what, target) = match action {
        Action::Add => ("adding it".to_owned(), None),
        Action::AddReplica => ("adding it as a read replica, which does not count,".to_owned(), None),
        Action::Promote(id) => (format!("promoting {}", name(id)), Some(id)),
        Action::Demote(id) => (format!("demoting {}", name(id)), Some(id)),
        Action::Keep => ("it is a member already, so nothing changes: that".to_owned(), None),
        Action::Lead(id) => (format!("handing leadership to {}", name(id)), Some(id)),
        Action::Stop(id) => (format!("stopping {}", name(id)), Some(id)),
        Action::Remove(id) => (format!("removing {}", name(id)), Some(id)),
        Action::Pause(id) => (format!("pausing {}", name(id)), Some(id)),
        Action::Resume(id) => (format!("resuming {}", name(id)), Some(id)),
    };
    let counts =
        format!("{what} leaves {} of {} voters active, {} are a majority", after.active, after.voters, after.majority);
    let done = Verdict {
        allowed: true,
        before,
        after,
        reason: counts.clone(),
        next: None,
        code: ErrorCode::QuorumAtRisk,
        forceable: false,
    };
    let refuse = |reason: String, code, forceable| Verdict {
        allowed: false,
        reason,
        next: Some(next_step(facts, target, url)),
        code,
        forceable,
        ..done.clone()
    };
    let Some(target) = target.and_then(|id| facts.member(id)) else { return done };
    if let Action::Lead(_) = action {
        return match why_not_lead(target) {
            Some(why) if !target.leads => {
                let refused = refuse(format!("{what} is not possible: it {why}"), ErrorCode::Conflict, false);
                Verdict { next: Some(next_to_lead(target, url)), ..refused }
            }
            _ => done,
        };
    }
    if let Action::Promote(_) = action {
        let silent = !target.voter && !target.active();
        let reason = format!("{what} is not possible now: it is not heard, and its vote would be needed and not come");
        let next = Some(format!("start {} at {} again", target.id, target.url));
        return if silent { Verdict { next, ..refuse(reason, ErrorCode::Conflict, false) } } else { done };
    }
    let takes_its_vote = matches!(action, Action::Remove(_) | Action::Demote(_));
    let touches_a_voter = target.voter && (target.active() || takes_its_vote || matches!(action, Action::Pause(_)));
    if !touches_a_voter || matches!(action, Action::Resume(_)) {
        return done;
    }
    let hands_over = target.leads && (takes_its_vote || matches!(action, Action::Pause(_)));
    if after.voters == 0 {
        return refuse(format!("{what} leaves no voter: it is the last one"), ErrorCode::QuorumAtRisk, false);
    }
    if !after.holds() && !matches!(action, Action::Pause(_)) {
        // A change of membership is committed by the new majority, too: without one it could not be finished.
        let forceable = !matches!(action, Action::Demote(_));
        return refuse(format!("{counts}: writing would stop"), ErrorCode::QuorumAtRisk, forceable);
    }
    let electable = |facts: &Facts| facts.voters().any(|m| m.active() && !m.paused);
    if electable(facts) && !electable(&then) {
        let forceable = !matches!(action, Action::Pause(_) | Action::Demote(_));
        return refuse(
            format!("{what} leaves no voter that may lead: the others are paused or silent"),
            ErrorCode::QuorumAtRisk,
            forceable,
        );
    }
    if hands_over && !facts.voters().any(|m| !m.leads && why_not_lead(m).is_none()) {
        let reason = format!("{what} is not possible now: it leads, and no other voter has caught up to take over");
        return refuse(reason, ErrorCode::Conflict, false);
    }
    done
}

/// The members as `action` leaves them.
fn after(facts: &Facts, action: Action) -> Facts {
    let mut then = facts.clone();
    let member = |members: &mut Vec<Fact>, id: u64, change: &dyn Fn(&mut Fact)| {
        members.iter_mut().filter(|m| m.raft_id == id).for_each(change);
    };
    match action {
        Action::Add => then.members.push(Fact {
            id: String::new(),
            raft_id: 0,
            url: String::new(),
            voter: true,
            replica: false,
            leads: false,
            role: Role::Follower,
            status: Status::Active,
            gone: false,
            paused: false,
            silence: None,
            lag: None,
        }),
        Action::Keep | Action::AddReplica | Action::Lead(_) => {}
        Action::Promote(id) => member(&mut then.members, id, &|m| m.voter = true),
        Action::Demote(id) => member(&mut then.members, id, &|m| m.voter = false),
        Action::Stop(id) => member(&mut then.members, id, &|m| m.status = Status::Inactive),
        Action::Remove(id) => then.members.retain(|m| m.raft_id != id),
        Action::Pause(id) => member(&mut then.members, id, &|m| m.paused = true),
        Action::Resume(id) => member(&mut then.members, id, &|m| m.paused = false),
    }
    then
}

/// Leadership goes only to a voter that is reachable, not paused and has no lag to speak of.
pub fn why_not_lead(member: &Fact) -> Option<&'static str> {
    if !member.voter {
        return Some("does not vote");
    }
    if member.paused {
        return Some("is paused");
    }
    if !member.active() || member.silence.is_none_or(|s| s >= HEARD) {
        return Some("is not heard");
    }
    if member.lag.is_none_or(|lag| lag > CAUGHT_UP) {
        return Some("is behind");
    }
    None
}

/// What would let a member lead that now may not.
fn next_to_lead(target: &Fact, url: &str) -> String {
    let Fact { id, url: at, .. } = target;
    if !target.voter && target.replica {
        return format!(
            "let {id} vote first, then hand over: curl -X POST {url}/api/cluster/promote -d '{{\"node\":\"{id}\"}}'"
        );
    }
    if target.voter && target.paused {
        return format!("let {id} lead again: curl -X POST {url}/api/cluster/resume -d '{{\"node\":\"{id}\"}}'");
    }
    if !target.active() {
        return format!("start {id} at {at} again");
    }
    format!("wait until {id} has caught up, look at its lag: curl {url}/api/cluster")
}

/// What would make a refused action possible.
fn next_step(facts: &Facts, target: Option<u64>, url: &str) -> String {
    let others = || facts.voters().filter(|m| Some(m.raft_id) != target);
    let call = |call: &str, id: &str| format!("curl -X POST {url}/api/cluster/{call} -d '{{\"node\":\"{id}\"}}'");
    if let Some(silent) = others().find(|m| !m.active()) {
        let since = silent.silence.map_or_else(String::new, |s| format!(", silent for {} s,", s.as_secs()));
        return format!(
            "start {} at {}{since} again, or remove it: {}",
            silent.id,
            silent.url,
            call("deregister", &silent.id)
        );
    }
    if let Some(paused) = others().find(|m| m.paused) {
        return format!("let {} lead again: {}", paused.id, call("resume", &paused.id));
    }
    if facts.voters().count() < 3 {
        return format!(
            "add a node: curl -X POST {url}/api/cluster/register -d '{{\"url\":\"http://<host>:<port>\"}}'"
        );
    }
    format!("look at the members and their lag: curl {url}/api/cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://localhost:8080";

    /// Voters with ids from 1 on, of which the first leads; true is active.
    fn voters(active: &[bool]) -> Facts {
        let members = active.iter().zip(1..).map(|(active, id)| Fact {
            id: format!("node{id}"),
            raft_id: id,
            url: format!("http://localhost:808{id}"),
            voter: true,
            replica: false,
            leads: id == 1,
            role: if id == 1 { Role::Leader } else { Role::Follower },
            status: if *active { Status::Active } else { Status::Inactive },
            gone: !active,
            paused: false,
            silence: Some(if *active { Duration::ZERO } else { Duration::from_secs(12) }),
            lag: Some(0),
        });
        Facts { members: members.collect(), is_joint: false }
    }

    fn judge(facts: &Facts, action: Action) -> Verdict {
        super::judge(facts, action, URL)
    }

    #[test]
    fn three_healthy_voters_can_lose_one() {
        let all = voters(&[true, true, true]);
        let stop = judge(&all, Action::Stop(2));
        assert!(stop.allowed);
        assert_eq!(stop.before, Quorum { voters: 3, active: 3, majority: 2, failure_tolerance: 1 });
        assert_eq!(stop.after, Quorum { voters: 3, active: 2, majority: 2, failure_tolerance: 0 });
        assert!(judge(&all, Action::Remove(1)).allowed);
    }

    #[test]
    fn with_one_down_no_other_may_stop_but_the_dead_one_may_go() {
        let all = voters(&[true, true, false]);
        let refused = judge(&all, Action::Stop(1));
        assert!(!refused.allowed && refused.forceable);
        let next = refused.next.clone().unwrap();
        assert!(
            next.contains(r#"curl -X POST http://localhost:8080/api/cluster/deregister -d '{"node":"node3"}'"#),
            "{next}"
        );
        let error = refused.into_error();
        assert_eq!(error.code(), ErrorCode::QuorumAtRisk);
        assert!(error.message().contains("now: 3 voters, 2 active, 2 are a majority, 0 can be lost"), "{error}");
        assert!(judge(&all, Action::Stop(3)).allowed, "it is down already");
        assert!(judge(&all, Action::Remove(3)).allowed);
        assert!(!judge(&all, Action::Remove(1)).allowed);
    }

    #[test]
    fn the_last_voter_stays_even_under_force_and_a_learner_is_free_to_go() {
        let mut one = voters(&[true]);
        let last = judge(&one, Action::Remove(1));
        assert!(!last.allowed && !last.forceable);
        assert!(!judge(&one, Action::Stop(1)).allowed);
        one.members.push(Fact { id: "node9".into(), raft_id: 9, voter: false, leads: false, ..one.members[0].clone() });
        assert!(judge(&one, Action::Remove(9)).allowed);
        assert!(judge(&one, Action::Stop(9)).allowed);
    }

    #[test]
    fn somebody_must_be_left_who_may_lead() {
        let mut all = voters(&[true, true, true]);
        assert!(judge(&all, Action::Pause(1)).allowed, "the leader hands over first");
        all.members[1].paused = true;
        all.members[2].paused = true;
        let pause = judge(&all, Action::Pause(1));
        assert!(!pause.allowed && !pause.forceable);
        assert!(pause.next.unwrap().contains("/api/cluster/resume"), "the way out is to resume one");
        assert!(!judge(&all, Action::Stop(1)).allowed);
        assert!(judge(&all, Action::Resume(2)).allowed);
    }

    #[test]
    fn replicas_do_not_count() {
        let mut all = voters(&[true, true, true]);
        all.members.push(Fact {
            id: "node4".into(),
            raft_id: 4,
            voter: false,
            replica: true,
            leads: false,
            ..all.members[1].clone()
        });
        let three = Quorum { voters: 3, active: 3, majority: 2, failure_tolerance: 1 };
        for action in [Action::AddReplica, Action::Stop(4), Action::Remove(4), Action::Pause(4), Action::Demote(4)] {
            let verdict = judge(&all, action);
            assert!(verdict.allowed, "{action:?}");
            assert_eq!((verdict.before, verdict.after), (three, three), "{action:?}");
        }
        let lead = judge(&all, Action::Lead(4));
        assert!(!lead.allowed && lead.reason.contains("does not vote"), "{}", lead.reason);
        assert!(lead.next.unwrap().contains(r#"/api/cluster/promote -d '{"node":"node4"}'"#));

        let promoted = judge(&all, Action::Promote(4));
        assert!(promoted.allowed);
        assert_eq!(promoted.after, Quorum { voters: 4, active: 4, majority: 3, failure_tolerance: 1 });
        all.members[3].status = Status::Inactive;
        let silent = judge(&all, Action::Promote(4));
        assert!(!silent.allowed && !silent.forceable && silent.reason.contains("is not heard"), "{}", silent.reason);
        assert!(judge(&all, Action::Promote(2)).allowed, "it votes already");
    }

    #[test]
    fn a_voter_is_demoted_where_the_rest_has_a_majority() {
        let all = voters(&[true, true, true]);
        let one = judge(&all, Action::Demote(1));
        assert!(one.allowed, "the leader hands over first");
        assert_eq!(one.after, Quorum { voters: 2, active: 2, majority: 2, failure_tolerance: 0 });
        let dead = voters(&[true, true, false]);
        assert!(judge(&dead, Action::Demote(3)).allowed, "the dead one");
        let refused = judge(&dead, Action::Demote(2));
        assert!(!refused.allowed && !refused.forceable, "nobody could finish it");
        assert_eq!(refused.into_error().code(), ErrorCode::QuorumAtRisk);
        assert!(!judge(&voters(&[true]), Action::Demote(1)).allowed, "the last one");
        let mut paused = voters(&[true, true]);
        paused.members[1].paused = true;
        assert!(!judge(&paused, Action::Demote(1)).allowed, "nobody would be left who may lead");
    }

    #[test]
    fn leadership_goes_to_who_is_heard_and_has_caught_up() {
        let mut all = voters(&[true, true, true]);
        assert!(judge(&all, Action::Lead(2)).allowed);
        assert!(judge(&all, Action::Lead(1)).allowed, "it leads already");
        all.members[1].lag = Some(CAUGHT_UP + 1);
        let behind = judge(&all, Action::Lead(2));
        assert!(!behind.allowed && behind.reason.contains("is behind"), "{}", behind.reason);
        all.members[2].paused = true;
        let paused = judge(&all, Action::Lead(3));
        assert!(paused.reason.contains("is paused"));
        assert!(paused.next.unwrap().contains(r#"/api/cluster/resume -d '{"node":"node3"}'"#));
    }
}
