//! A member that answers at another URL than before is found again, and registered there.

use std::sync::Arc;

use super::CHANGE;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::raft::{Consensus, Member};
use crate::state::{MemberDoc, NodeChange, NodeName, Op};

impl Cluster {
    /// Registers members where they answer now: each is dialled there once more, and all go into one command, since one
    /// may be where another was.
    pub(in crate::cluster) async fn follow_moves(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        moves: Vec<(MemberDoc, String)>,
    ) -> Result<()> {
        let mut proved = Vec::new();
        for (doc, url) in moves {
            if doc.raft_id == consensus.id() {
                proved.push((doc, url));
                continue;
            }
            match self.prove_move(&doc, &url).await {
                Ok(()) => proved.push((doc, url)),
                Err(e) => {
                    tracing::warn!(node = doc.id, url, error = %e, "a member is not where it said that it is");
                    self.peers.forget_move(doc.raft_id);
                }
            }
        }
        let moves = without_clashes(&consensus.state().members(), proved);
        let mut nodes = Vec::new();
        for (doc, url) in &moves {
            tracing::info!(node = doc.id, from = doc.url, to = url, "a member has moved");
            nodes.push(NodeChange { url: Some(url.clone()), ..NodeChange::of(NodeName::parse(&doc.id)?) });
        }
        if nodes.is_empty() {
            return Ok(());
        }
        self.propose(Op::ClusterUpdateNode { nodes }).await?;
        for (doc, url) in moves {
            if consensus.picture().member(doc.raft_id).is_none() {
                continue; // it is still joining, and goes on at its new place
            }
            let member = Member { name: doc.id, url, incarnation: doc.incarnation };
            consensus.set_member(doc.raft_id, member, CHANGE).await?;
        }
        Ok(())
    }
}

/// Those of `moves` after which each URL is one member's: a place is free where its member moves away too.
fn without_clashes(members: &[MemberDoc], mut moves: Vec<(MemberDoc, String)>) -> Vec<(MemberDoc, String)> {
    loop {
        let stays = |member: &&MemberDoc| moves.iter().all(|(doc, _)| doc.raft_id != member.raft_id);
        let taken: Vec<&str> = members.iter().filter(stays).map(|member| member.url.as_str()).collect();
        let wanted = |url: &str| moves.iter().filter(|(_, to)| to == url).count();
        let clash = moves.iter().position(|(_, url)| taken.contains(&url.as_str()) || wanted(url) > 1);
        match clash {
            Some(clash) => drop(moves.remove(clash)),
            None => return moves,
        }
    }
}

#[cfg(test)]
mod tests {
    use jettra_client::wire::{Role, Status};

    use super::*;

    fn member(raft_id: u64, url: &str) -> MemberDoc {
        MemberDoc {
            id: format!("node{raft_id}"),
            url: url.into(),
            role: Role::Follower,
            status: Status::Active,
            description: None,
            voter: Some(true),
            replica: false,
            paused: false,
            raft_id,
            incarnation: "i".into(),
        }
    }

    #[test]
    fn members_may_change_places_but_not_share_one() {
        let members = [member(1, "a"), member(2, "b"), member(3, "c")];
        let went = |moves: &[(u64, &str)]| {
            let moves = moves.iter().map(|(id, to)| (members[*id as usize - 1].clone(), (*to).to_owned())).collect();
            let moves = without_clashes(&members, moves);
            moves.into_iter().map(|(doc, to)| (doc.raft_id, to)).collect::<Vec<_>>()
        };
        assert_eq!(went(&[(1, "b"), (2, "a")]), [(1, "b".into()), (2, "a".into())]);
        assert_eq!(went(&[(1, "b"), (2, "c"), (3, "a")]).len(), 3);
        assert_eq!(went(&[(1, "b")]), [], "node2 is there");
        assert_eq!(
            went(&[(1, "b"), (2, "c")]),
            [],
            "node3 is where node2 would go, so node2 stays where node1 would go"
        );
        assert_eq!(went(&[(1, "d"), (2, "d")]), [(2, "d".into())], "two say that they are there: one is believed");
    }
}
