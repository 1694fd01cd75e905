//! The feature level is raised once every member supports the new one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Cluster;
use crate::error::{Error, Result};
use crate::peers::Target;
use crate::raft::Consensus;
use crate::state::Op;

/// How long a member has to say what it supports.
const ASK: Duration = Duration::from_secs(2);

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Support {
    id: String,
    url: String,
    /// Version and supported level; what went wrong where it did not say.
    told: std::result::Result<(String, u64), String>,
}

impl Cluster {
    /// Raises the feature level to `level`, or to the highest that all members support.
    pub(super) async fn upgrade(
        self: &Arc<Self>,
        consensus: &Consensus,
        level: Option<u64>,
        dry_run: bool,
    ) -> Result<Value> {
        let now = consensus.state().feature_level();
        let members = self.ask_support(consensus).await?;
        let decided = decide(now, level, &members);
        let nodes: Vec<Value> = members.iter().map(Support::to_json).collect();
        if dry_run {
            let (allowed, then, reason) = match &decided {
                Ok(then) => (true, *then, format!("every member supports feature level {then}")),
                Err(e) => (false, now, e.message().to_owned()),
            };
            let level = |level: u64| json!({"featureLevel": level});
            return Ok(
                json!({"allowed": allowed, "before": level(now), "after": level(then), "reason": reason, "nodes": nodes}),
            );
        }
        let level = decided?;
        self.propose(Op::RaiseFeatureLevel { level }).await?;
        Ok(json!({"status": "upgraded", "featureLevel": level, "nodes": nodes}))
    }

    async fn ask_support(&self, consensus: &Consensus) -> Result<Vec<Support>> {
        let mut asked = tokio::task::JoinSet::new();
        for doc in consensus.state().members() {
            if doc.raft_id == consensus.id() {
                let own = (env!("CARGO_PKG_VERSION").to_owned(), crate::feature::supported());
                asked.spawn(async move { Support { id: doc.id, url: doc.url, told: Ok(own) } });
                continue;
            }
            let peer = self.peers.get(&Target { url: doc.url.clone(), raft_id: doc.raft_id });
            asked.spawn(async move {
                let told = match tokio::time::timeout(ASK, peer.who()).await {
                    Ok(Ok(info)) => Ok((info.version, info.feature_level)),
                    Ok(Err(e)) => Err(e.to_string()),
                    Err(_) => Err(format!("nothing within {} s", ASK.as_secs())),
                };
                Support { id: doc.id, url: doc.url, told }
            });
        }
        let mut all = asked.join_all().await;
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }
}

/// The level that the cluster goes to.
fn decide(now: u64, wanted: Option<u64>, members: &[Support]) -> Result<u64> {
    let refuse = |why: String| Err(Error::conflict(format!("the feature level stays {now}: {why}")));
    let mut highest = u64::MAX;
    for member in members {
        match &member.told {
            Err(why) => {
                let Support { id, url, .. } = member;
                return refuse(format!(
                    "{id:?} at {url} did not tell what it supports ({why}): start it, or deregister it"
                ));
            }
            Ok((version, level)) => {
                if wanted.is_some_and(|wanted| wanted > *level) {
                    return refuse(format!(
                        "{:?} runs version {version}, which supports {level} at most: upgrade that node first",
                        member.id
                    ));
                }
                highest = highest.min(*level);
            }
        }
    }
    let level = wanted.unwrap_or(highest).max(now);
    if wanted.is_some_and(|wanted| wanted < now) {
        return refuse(format!("it is never lowered (asked for {})", wanted.unwrap_or_default()));
    }
    Ok(level)
}

impl Support {
    fn to_json(&self) -> Value {
        match &self.told {
            Ok((version, level)) => json!({"id": self.id, "version": version, "featureLevel": level}),
            Err(why) => json!({"id": self.id, "error": why}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, level: u64) -> Support {
        Support { id: id.into(), url: "http://n".into(), told: Ok(("1.0.0".into(), level)) }
    }

    #[test]
    fn the_level_is_what_all_support_and_never_goes_back() {
        let members = [member("a", 3), member("b", 2)];
        assert_eq!(decide(1, None, &members).unwrap(), 2);
        assert_eq!(decide(1, Some(2), &members).unwrap(), 2);
        let refused = decide(1, Some(3), &members).unwrap_err();
        assert!(refused.message().contains("\"b\""), "{refused}");
        assert!(decide(2, Some(1), &members).is_err());
        assert_eq!(decide(2, None, &[member("a", 2)]).unwrap(), 2);
    }

    #[test]
    fn who_does_not_answer_holds_it_up() {
        let silent = Support { told: Err("connection refused".into()), ..member("c", 0) };
        let refused = decide(1, None, &[member("a", 2), silent]).unwrap_err();
        assert!(refused.message().contains("\"c\"") && refused.message().contains("deregister"), "{refused}");
    }
}
