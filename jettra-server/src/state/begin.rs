//! A state that goes on as another cluster's.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;

use super::apply;
use super::halt::Halt;
use super::machine::{MemberInfo, State};
use super::system;
use super::view::{CLUSTER_DOC, ClusterDoc, ClusterIdentity};

impl State {
    /// Makes this the state of a new cluster, as an entry at `index`, which may lie far ahead of what was applied: the
    /// cluster has this id and key, and these members only. Users, settings, documents, versions and the records of
    /// repeated requests stay; tokens of the old key count no more.
    ///
    /// # Errors
    /// As [`State::apply`]; an `index` that was applied already.
    pub fn begin_anew(
        &self,
        index: u64,
        position: &[u8],
        members: &[MemberInfo],
        membership: &[u8],
        cluster_id: &str,
        token_key: &[u8],
    ) -> Result<(), Halt> {
        self.staged(|stage| {
            if stage.meta.index.is_some_and(|applied| applied >= index) {
                return Err(Halt::Misuse { what: format!("index {index} was applied already") });
            }
            stage.meta.index = index.checked_sub(1);
            stage.begin(index, position)?;
            apply::only_members(stage, members)?;
            stage.meta.membership = Some(Bytes::copy_from_slice(membership));
            let doc = ClusterDoc {
                id: CLUSTER_DOC.to_owned(),
                cluster_id: cluster_id.to_owned(),
                token_key: base64::engine::general_purpose::STANDARD.encode(token_key),
            };
            let body = serde_json::to_vec(&doc).map_err(|e| Halt::Misuse { what: e.to_string() })?;
            stage.save(system::SETTINGS, CLUSTER_DOC, body.into())?;
            let identity = ClusterIdentity { cluster_id: cluster_id.to_owned(), token_key: token_key.to_vec() };
            stage.core.cluster = Some(Arc::new(identity));
            stage.commit();
            Ok(())
        })
    }
}
