//! What a change of membership or a stop costs: computed from a picture, without a cluster.

use serde::Serialize;

/// A cluster's voters as a change would find or leave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quorum {
    /// Members that vote.
    pub voters: u64,
    /// Voters that are heard.
    pub active: u64,
    /// Voters that make a majority.
    pub majority: u64,
    /// How many more voters may fail before writing stops.
    pub failure_tolerance: u64,
}

impl Quorum {
    /// The quorum of `voters`, of which `active` are heard.
    pub fn new(voters: u64, active: u64) -> Self {
        let majority = voters / 2 + 1;
        Quorum { voters, active, majority, failure_tolerance: active.saturating_sub(majority) }
    }

    /// Whether a majority is heard.
    pub fn holds(self) -> bool {
        self.voters > 0 && self.active >= self.majority
    }
}

/// A voter, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its Raft id.
    pub id: u64,
    /// Whether it is heard.
    pub active: bool,
}

/// What is to be done to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It becomes a voter.
    Add,
    /// It leads; who votes stays.
    Lead,
    /// Its process ends; it stays a member.
    Stop(u64),
    /// It is a member no more.
    Remove(u64),
}

/// What an action costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the cluster keeps its majority.
    pub allowed: bool,
    /// Before the action.
    pub before: Quorum,
    /// After it.
    pub after: Quorum,
    /// In words.
    pub reason: String,
}

impl Verdict {
    /// The same change, refused for another reason than votes.
    #[must_use]
    pub fn refused(self, reason: &str) -> Self {
        Verdict { allowed: false, after: self.before, reason: reason.to_owned(), ..self }
    }
}

/// Computes what `action` would do to `voters`.
pub fn judge(voters: &[Voter], action: Action) -> Verdict {
    let count = |voters: &mut dyn Iterator<Item = &Voter>| {
        let (mut all, mut active) = (0, 0);
        for voter in voters {
            all += 1;
            active += u64::from(voter.active);
        }
        Quorum::new(all, active)
    };
    let before = count(&mut voters.iter());
    let (after, what) = match action {
        Action::Add => (Quorum::new(before.voters + 1, before.active + 1), "adding it"),
        Action::Lead => (before, "handing leadership over"),
        Action::Stop(id) => {
            let lost = voters.iter().any(|v| v.id == id && v.active);
            (Quorum::new(before.voters, before.active - u64::from(lost)), "stopping it")
        }
        Action::Remove(id) => (count(&mut voters.iter().filter(|v| v.id != id)), "removing it"),
    };
    let touches_a_voter = voters.iter().any(|v| match action {
        Action::Add | Action::Lead => false,
        Action::Stop(id) => v.id == id && v.active,
        Action::Remove(id) => v.id == id,
    });
    let allowed = !touches_a_voter || after.holds();
    let reason = if allowed {
        format!("{what} leaves {} of {} voters active, {} are a majority", after.active, after.voters, after.majority)
    } else if after.voters == 0 {
        format!("{what} leaves no voter: it is the last one")
    } else {
        format!(
            "{what} leaves {} of {} voters active, but {} are a majority: writing would stop",
            after.active, after.voters, after.majority
        )
    };
    Verdict { allowed, before, after, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(active: &[bool]) -> Vec<Voter> {
        active.iter().zip(1..).map(|(active, id)| Voter { id, active: *active }).collect()
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
        assert!(!judge(&all, Action::Stop(1)).allowed);
        assert!(judge(&all, Action::Stop(3)).allowed, "it is down already");
        assert!(judge(&all, Action::Remove(3)).allowed);
        assert!(!judge(&all, Action::Remove(1)).allowed);
    }

    #[test]
    fn the_last_voter_stays_and_a_learner_is_free_to_go() {
        let one = voters(&[true]);
        assert!(!judge(&one, Action::Remove(1)).allowed);
        assert!(!judge(&one, Action::Stop(1)).allowed);
        assert!(judge(&one, Action::Remove(9)).allowed);
    }
}
