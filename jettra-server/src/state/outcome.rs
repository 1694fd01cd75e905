//! What a log entry came to: the same on every replica.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a log entry came to. It is kept for a repeat of the request and travels between nodes, as compact JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The revision of the entry that decided it; of the first one where this is a repeat.
    pub rev: u64,
    /// Whether it was decided by an earlier entry with the same request key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// The answer, or the error for the caller. An error has left nothing written.
    pub result: Result<Answer>,
}

/// What a command answers when it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The entry was no command.
    None,
    /// A save, update, delete, restore or a batch of these: one result for each, in order.
    Written(Vec<WriteResult>),
    /// A command on the catalog, users or settings; `changed` is false where everything was so already.
    Done {
        /// Whether anything was written.
        changed: bool,
    },
    /// A member was registered, or was so already.
    Member {
        /// Its id in Raft.
        raft_id: u64,
        /// Whether it was registered already.
        existed: bool,
    },
}

/// What one write of a batch came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResult {
    /// The document's id.
    pub id: String,
    /// The document's revision: this entry's, or for a delete of an absent one the last it had (0: never).
    pub rev: u64,
    /// Whether the document was there before.
    pub existed: bool,
}

impl Outcome {
    /// The answer or the error.
    pub fn into_result(self) -> Result<Answer> {
        self.result
    }

    /// How many documents it wrote.
    pub fn writes(&self) -> usize {
        match &self.result {
            Ok(Answer::Written(results)) => results.len(),
            _ => 0,
        }
    }

    pub(super) fn of(rev: u64, result: Result<Answer, Error>) -> Self {
        Outcome { rev, replayed: false, result }
    }
}
