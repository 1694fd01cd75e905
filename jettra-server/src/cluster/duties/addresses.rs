//! Writes down where the members are, whenever one of them has moved, come or gone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, Due, Duty};
use crate::cluster::addresses::{Address, Addresses, path};
use crate::raft::Consensus;
use crate::sealed;

/// How often the members are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What is on disk.
#[derive(Default)]
pub(super) struct Known(Option<Addresses>);

impl Duty for Known {
    const NAME: &'static str = "what keeps the members' addresses";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let members = consensus.state().members();
        let mut now: Vec<Address> =
            members.into_iter().map(|doc| Address { raft_id: doc.raft_id, name: doc.id, url: doc.url }).collect();
        now.sort_by_key(|member| member.raft_id);
        let now = Addresses { members: now };
        if now.members.is_empty() || self.0.as_ref() == Some(&now) {
            return;
        }
        let (path, content) = (path(&node.options.data_dir), sealed::json(&now));
        let written = tokio::task::spawn_blocking(move || crate::files::write(&path, &content?)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => self.0 = Some(now),
            Err(e) => tracing::warn!(error = %e, "the members' addresses could not be written down, trying again"),
        }
    }
}
