//! What `GET /api/watch` tells: Server-Sent Events, one a change.
//!
//! ```text
//! id: 812.0
//! data: {"op":"save","db":"shop","col":"users","id":"ada","rev":812,"doc":{"_id":"ada","born":1815}}
//!
//! id: 815
//! event: progress
//! data: {"index":815}
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A place in the order of all changes: just after change `n` of revision `rev`.
///
/// Its text is `<rev>.<n>`, or `<rev>` for the place after everything of that revision. Positions
/// compare as the log orders them, and are the same on every node.
///
/// ```
/// use jettra_client::wire::Position;
///
/// let position: Position = "812.3".parse()?;
/// assert_eq!((position.rev, position.n), (812, 3));
/// assert!(position < Position::after(812) && Position::after(812) < "813.0".parse()?);
/// assert_eq!(Position::after(812).to_string(), "812");
/// # Ok::<(), jettra_client::wire::NoPosition>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The revision.
    pub rev: u64,
    /// The change within it, from 0; `u32::MAX` is after all of them.
    pub n: u32,
}

impl Position {
    /// The place after everything of revision `rev`.
    pub fn after(rev: u64) -> Position {
        Position { rev, n: u32::MAX }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n {
            u32::MAX => write!(f, "{}", self.rev),
            n => write!(f, "{}.{n}", self.rev),
        }
    }
}

/// A text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPosition;

impl fmt::Display for NoPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is <rev> or <rev>.<n>, such as 812 or 812.0")
    }
}

impl std::error::Error for NoPosition {}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Position, NoPosition> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (rev, n) = text.split_once('.').map_or((text, None), |(rev, n)| (rev, Some(n)));
        if !digits(rev) || !n.is_none_or(digits) {
            return Err(NoPosition);
        }
        let n = n.map_or(Ok(u32::MAX), str::parse).map_err(|_| NoPosition)?;
        Ok(Position { rev: rev.parse().map_err(|_| NoPosition)?, n })
    }
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOp {
    /// A document was created, replaced, patched or restored.
    Save,
    /// A document was deleted.
    Delete,
    /// A collection was dropped with all its documents, alone or with its database.
    DeleteCollection,
    /// A collection goes by another name from here on, alone or with its database.
    RenameCollection,
}

/// The data of an event that tells a change; its fields stand in this order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeData {
    /// What it did.
    pub op: ChangeOp,
    /// The database, by its name at that revision.
    pub db: String,
    /// The collection, by its name at that revision.
    pub col: String,
    /// The document; absent where the change is the collection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The revision.
    pub rev: u64,
    /// Of a renamed collection: where it is from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<CollectionPath>,
    /// Of a saved document: what that revision wrote, where it is still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<Box<RawValue>>,
}

/// A collection by its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionPath {
    /// The database.
    pub db: String,
    /// The collection.
    pub col: String,
}

/// The data of the event `progress`: nothing up to this log index is left to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressData {
    /// The log index.
    pub index: u64,
}

/// The data of the event `compacted`: what follows the stream's position is no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactedData {
    /// The oldest revision after which a watch can still begin.
    pub oldest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positions_are_read() {
        for text in ["0", "7", "7.0", "7.12", "18446744073709551615"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in
            ["", ".", "7.", ".7", "-1", "+1", "1.+1", "1.2.3", "a", " 1", "1.4294967296", "18446744073709551616"]
        {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text}");
        }
    }
}
