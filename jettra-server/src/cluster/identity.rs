//! Who this node is, kept in its data directory before Raft opens.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cluster;
use crate::peers::Secret;
use crate::remedy::Fault;

/// Version of the file's form.
const FORMAT: u32 = 2;

/// `node.json`: the node's name, its incarnation, and what it is in which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Version of this form.
    pub format: u32,
    /// The `NodeID`.
    pub name: String,
    /// Made once for this data directory: tells a node from another that took its name.
    pub incarnation: String,
    /// The feature level of what lies in the data directory: see [`crate::feature`].
    #[serde(default = "first_level", skip_serializing_if = "is_first_level")]
    pub feature_level: u64,
    /// Whether its log has held a vote or entries: an empty log is a loss then, and never a beginning. Absent in files
    /// of versions that did not note it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_promised: bool,
    /// The cluster it belongs to and its Raft id there; absent while it waits to be registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
}

/// What a node is in a cluster. Never changes once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's Raft id in it.
    pub raft_id: u64,
}

fn first_level() -> u64 {
    1
}

fn is_first_level(level: &u64) -> bool {
    *level == 1
}

/// Where the identity of the node in `data_dir` is kept.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("node.json")
}

impl Identity {
    /// Reads the identity of the node in `data_dir`, or makes one. `configured` is the `NodeID` of
    /// the configuration, where it has one. Blocks.
    ///
    /// # Errors
    /// I/O errors; a damaged or newer file; a name that differs from the configured one after the
    /// node has joined a cluster.
    pub fn load_or_create(data_dir: &Path, configured: Option<&str>) -> io::Result<Self> {
        let path = path(data_dir);
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let stored = match crate::sealed::bytes_of(&path)? {
            Some(bytes) => {
                let identity: Identity =
                    crate::sealed::read_json(&bytes).ok_or_else(|| crate::sealed::damaged(&path))?;
                identity.check_version(data_dir).map_err(invalid)?;
                Some(identity)
            }
            None => None,
        };
        let mut identity = stored.clone().unwrap_or_else(|| Identity {
            format: FORMAT,
            name: configured.map_or_else(|| format!("node-{}", crate::random::hex::<4>()), str::to_owned),
            incarnation: crate::random::hex::<16>(),
            feature_level: first_level(),
            has_promised: false,
            membership: None,
        });
        if let Some(configured) = configured
            && identity.name != configured
        {
            if identity.membership.is_some() {
                return Err(invalid(format!(
                    "NodeID is {configured:?}, but the data directory {} belongs to node {:?} of a cluster: \
                     set NodeID back, or choose another DataDir",
                    data_dir.display(),
                    identity.name
                )));
            }
            identity.name = configured.to_owned();
        }
        if stored.as_ref() != Some(&identity) {
            identity.store(data_dir)?;
        }
        Ok(identity)
    }

    /// Says that this version must not touch `data_dir`, whose identity this is.
    ///
    /// # Errors
    /// One line that says which version to start.
    pub fn check_version(&self, data_dir: &Path) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "{} has format {}, this version reads {FORMAT}: start the version that wrote it",
                path(data_dir).display(),
                self.format
            ));
        }
        crate::feature::check(self.feature_level, &format!("the data directory {}", data_dir.display()))
    }

    /// Keeps the identity. Blocks until it is on disk.
    ///
    /// # Errors
    /// I/O errors.
    pub fn store(&self, data_dir: &Path) -> io::Result<()> {
        crate::files::write(&path(data_dir), &crate::sealed::json(self)?)
    }
}

impl Cluster {
    /// Makes this node member `membership` of a cluster at `feature_level`, with a `secret` where none is configured.
    ///
    /// # Errors
    /// I/O errors, as one line.
    pub async fn adopt(
        &self,
        membership: Membership,
        feature_level: u64,
        secret: Option<Secret>,
    ) -> std::result::Result<(), String> {
        let mut identity = self.identity();
        identity.membership = Some(membership);
        identity.feature_level = feature_level;
        let (dir, stored, kept) = (self.options.data_dir.clone(), identity.clone(), secret.clone());
        let storing = tokio::task::spawn_blocking(move || {
            // The secret first: a member without one could not be told from a stranger.
            if let Some(secret) = kept {
                secret.store(&dir.join("secret"))?;
            }
            stored.store(&dir)
        });
        let stored = storing.await.map_err(|e| e.to_string())?;
        stored.map_err(|e| Fault::io("the membership could not be kept", &e).told(&self.options.data_dir))?;
        if let Some(secret) = secret {
            *self.secrets.write() = Some(secret.into());
            *self.secret_is_ours.write() = true;
        }
        *self.identity.write() = identity;
        Ok(())
    }

    /// Keeps the cluster's feature level beside the data, so that a version that does not support it stays off them.
    pub(super) async fn keep_feature_level(&self, level: u64) {
        if self.identity.read().feature_level >= level {
            return;
        }
        if let Err(e) = self.change_identity(|identity| identity.feature_level = level).await {
            self.fail(e);
        }
    }

    /// Keeps that this node's log has held something: see [`Identity::has_promised`].
    ///
    /// # Errors
    /// I/O errors, as one line.
    pub async fn keep_promised(&self) -> std::result::Result<(), String> {
        if self.identity.read().has_promised {
            return Ok(());
        }
        self.change_identity(|identity| identity.has_promised = true).await
    }

    async fn change_identity(&self, change: impl FnOnce(&mut Identity)) -> std::result::Result<(), String> {
        let _one_at_a_time = self.identity_changes.lock().await;
        let mut identity = self.identity();
        change(&mut identity);
        let (dir, stored) = (self.options.data_dir.clone(), identity.clone());
        let stored = tokio::task::spawn_blocking(move || stored.store(&dir)).await.map_err(|e| e.to_string())?;
        let what = || format!("{} could not be written", path(&self.options.data_dir).display());
        stored.map_err(|e| Fault::io(what(), &e).told(&self.options.data_dir))?;
        *self.identity.write() = identity;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let made = Identity::load_or_create(dir.path(), None).unwrap();
        assert_eq!(Identity::load_or_create(dir.path(), None).unwrap(), made);
        let renamed = Identity::load_or_create(dir.path(), Some("node1")).unwrap();
        assert_eq!((renamed.name.as_str(), &renamed.incarnation), ("node1", &made.incarnation));
    }

    #[test]
    fn a_higher_feature_level_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Identity::load_or_create(dir.path(), None).unwrap();
        identity.feature_level = crate::feature::LEVEL + 1;
        identity.store(dir.path()).unwrap();
        let before = std::fs::read(path(dir.path())).unwrap();
        let refused = Identity::load_or_create(dir.path(), Some("other")).unwrap_err();
        assert!(refused.to_string().contains("feature level"), "{refused}");
        assert_eq!(std::fs::read(path(dir.path())).unwrap(), before);
    }

    #[test]
    fn a_member_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Identity::load_or_create(dir.path(), Some("node1")).unwrap();
        identity.membership = Some(Membership { cluster_id: "c".into(), raft_id: 1 });
        identity.store(dir.path()).unwrap();
        let refused = Identity::load_or_create(dir.path(), Some("node2")).unwrap_err();
        assert!(refused.to_string().contains("node1"), "{refused}");
    }
}
