//! Where the members of the cluster were last, kept in the data directory: what a node needs to know of the others
//! while it has no state.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sealed;

/// `members.json`: the members as this node last knew them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// By Raft id.
    pub members: Vec<Address>,
}

/// Where one member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its `NodeID`.
    pub name: String,
    /// Where it is reached.
    pub url: String,
}

/// Where the addresses in `data_dir` are kept.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("members.json")
}

impl Addresses {
    /// The addresses kept in `data_dir`; `None` where there are none. Blocks.
    ///
    /// # Errors
    /// I/O errors; a damaged file.
    pub fn load(data_dir: &Path) -> io::Result<Option<Addresses>> {
        let path = path(data_dir);
        let Some(bytes) = sealed::bytes_of(&path)? else { return Ok(None) };
        sealed::read_json(&bytes).ok_or_else(|| sealed::damaged(&path)).map(Some)
    }

    /// The members other than the one with Raft id `own`.
    pub fn others(&self, own: u64) -> impl Iterator<Item = &Address> {
        self.members.iter().filter(move |member| member.raft_id != own)
    }

    /// Where the member with Raft id `id` is.
    pub fn url_of(&self, id: u64) -> Option<&str> {
        self.members.iter().find(|member| member.raft_id == id).map(|member| member.url.as_str())
    }
}
