//! Why a call to another node failed.

use crate::error::Error;

/// Why a call to another node failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent: nobody listens there, or no route.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The node's URL.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The call may or may not have arrived.
    #[error("no answer from {url}: {why}")]
    NoAnswer {
        /// The node's URL.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The call was let in and answered with this error: it is about what was asked.
    #[error("{0}")]
    Refused(Error),
    /// The call was not let in: it is about who calls whom, and nothing was begun.
    #[error("{0}")]
    NotLetIn(Error),
    /// The node could not be told apart from an impostor. Nothing was begun.
    #[error("{0}")]
    Unproved(String),
}

impl PeerError {
    /// What somebody outside may be told: nothing of what nodes say to each other about who they are.
    pub fn outside(&self) -> String {
        match self {
            PeerError::NotLetIn(_) | PeerError::Unproved(_) => {
                "the other node and this one do not trust each other: their logs say why".to_owned()
            }
            PeerError::Refused(error) => error.message().to_owned(),
            other => other.to_string(),
        }
    }
}

/// A call's outcome in the terms of the public errors.
impl From<PeerError> for Error {
    fn from(e: PeerError) -> Self {
        match e {
            PeerError::Refused(error) => error,
            PeerError::NoAnswer { .. } => Error::timeout(e.to_string()),
            PeerError::Unreachable { .. } | PeerError::NotLetIn(_) | PeerError::Unproved(_) => {
                Error::unavailable(e.outside())
            }
        }
    }
}
