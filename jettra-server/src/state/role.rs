//! What users may do.

use serde::{Deserialize, Serialize};

/// What a user may do, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// Reads documents.
    Reader,
    /// Writes documents.
    WriteReader,
    /// Makes and drops collections, indexes and rules.
    Owner,
    /// Everything.
    Admin,
}

impl UserRole {
    /// The role as it stands on the wire and in the user's document.
    pub fn as_str(self) -> &'static str {
        match self {
            UserRole::Reader => "reader",
            UserRole::WriteReader => "writereader",
            UserRole::Owner => "owner",
            UserRole::Admin => "admin",
        }
    }

    /// The role of this name; `None` where there is none.
    pub fn parse(text: &str) -> Option<Self> {
        [UserRole::Reader, UserRole::WriteReader, UserRole::Owner, UserRole::Admin]
            .into_iter()
            .find(|r| r.as_str() == text)
    }
}
