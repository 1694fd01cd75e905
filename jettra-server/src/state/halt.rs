//! What stops a node, as opposed to what answers a request.

use crate::error::Error;
use crate::remedy::{Fault, Kind};
use crate::storage::StorageError;

/// Going on would serve damage or make replicas differ: the node stops and says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store holds what this version never writes.
    #[error("the state is damaged: {what}")]
    Damage {
        /// Which record, and what is wrong with it.
        what: String,
    },
    /// A log entry that this version cannot apply.
    #[error("log entry {index} cannot be applied by this version: {what}; upgrade this node")]
    Command {
        /// The entry's log index.
        index: u64,
        /// What is unknown or wrong in it.
        what: String,
    },
    /// The state was written by a version that knows more: see [`crate::feature`].
    #[error("{what}")]
    Level {
        /// Which level, and what to do.
        what: String,
    },
    /// The caller broke a rule of the state, such as applying an entry twice.
    #[error("the state was misused: {what}")]
    Misuse {
        /// Which rule.
        what: String,
    },
}

impl Halt {
    /// Whether what lies on disk is surely not as it was written. All else, such as a full disk or another version's
    /// state, leaves that open.
    pub fn is_damage(&self) -> bool {
        self.fault().kind() == Kind::Damage
    }

    /// What a person is told.
    pub fn fault(&self) -> Fault {
        let kind = match self {
            Halt::Storage(e) => e.kind,
            Halt::Damage { .. } => Kind::Damage,
            Halt::Command { .. } | Halt::Level { .. } => Kind::OtherVersion,
            Halt::Misuse { .. } => Kind::Other,
        };
        Fault::new(kind, self.to_string())
    }

    pub(super) fn damage(what: impl Into<String>) -> Self {
        Halt::Damage { what: what.into() }
    }
}

/// Why a command ends early: with an answer for its caller, or with the node.
#[derive(Debug)]
pub(super) enum AnswerOrHalt {
    /// The same on every replica; what the command staged is discarded.
    Answer(Error),
    /// The node stops.
    Halt(Halt),
}

impl From<Error> for AnswerOrHalt {
    fn from(error: Error) -> Self {
        AnswerOrHalt::Answer(error)
    }
}

impl From<Halt> for AnswerOrHalt {
    fn from(halt: Halt) -> Self {
        AnswerOrHalt::Halt(halt)
    }
}

impl From<StorageError> for AnswerOrHalt {
    fn from(error: StorageError) -> Self {
        AnswerOrHalt::Halt(error.into())
    }
}
