//! Names and ids, parsed at the edge: past it a bad one cannot exist.

use std::borrow::Borrow;
use std::fmt;

use crate::error::{Error, Result};

/// Bytes in the longest name of a database, a collection or a node.
pub const MAX_NAME: usize = 120;
/// Bytes in the longest document id.
pub const MAX_DOCUMENT_ID: usize = 512;
/// Collections that every new database has, and the only ones starting with `_` that a user may create.
pub const STANDARD_COLLECTIONS: [&str; 3] = ["_engine", "_info", "_rules"];
/// The database in which the system keeps what it knows.
pub const SYSTEM_DATABASE: &str = "_system";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses a name: `[A-Za-z0-9_.-]{1,120}`, not starting with `.`; else `invalid_name`.
            pub fn parse(name: &str) -> Result<Self> {
                check_name($what, name)?;
                Ok($name(name.into()))
            }
        }

        text_type!($name);)*
    };
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }
    };
}

names! {
    /// The name of a database.
    DatabaseName = "database";
    /// The name of a collection.
    CollectionName = "collection";
    /// A node's name: its `NodeID`.
    NodeName = "node";
}

impl DatabaseName {
    /// Whether it is the system's own database.
    pub fn is_system(&self) -> bool {
        self.as_str() == SYSTEM_DATABASE
    }

    /// `invalid_name` where a user may not create a database of this name.
    pub fn check_creatable(&self) -> Result<()> {
        if self.as_str().starts_with('_') {
            return Err(reserved("database", self.as_str()));
        }
        Ok(())
    }
}

impl NodeName {
    /// `node-<number>`.
    pub fn numbered(number: u64) -> Self {
        NodeName(format!("node-{number}").into())
    }
}

impl CollectionName {
    /// `invalid_name` where a user may not create a collection of this name.
    pub fn check_creatable(&self) -> Result<()> {
        if self.as_str().starts_with('_') && !STANDARD_COLLECTIONS.contains(&self.as_str()) {
            return Err(reserved("collection", self.as_str()));
        }
        Ok(())
    }
}

/// A document's `_id`: 1 to 512 bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(Box<str>);

text_type!(DocumentId);

impl DocumentId {
    /// Parses an id; `bad_request` where it is empty or longer than 512 bytes.
    pub fn parse(id: &str) -> Result<Self> {
        if !Self::is_usable(id) {
            return Err(Error::bad_request(format!(
                "the document id {} has {} bytes; give one of 1 to {MAX_DOCUMENT_ID} bytes",
                shown(id),
                id.len()
            )));
        }
        Ok(DocumentId(id.into()))
    }

    /// Whether `id` may be a document's id.
    pub fn is_usable(id: &str) -> bool {
        !id.is_empty() && id.len() <= MAX_DOCUMENT_ID
    }
}

/// A value for a message: quoted, and cut where it is long.
pub fn shown(value: &str) -> String {
    const LONGEST: usize = 64;
    if value.len() <= LONGEST {
        return format!("{value:?}");
    }
    let mut end = LONGEST;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    format!("{:?}…", &value[..end])
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(Error::invalid_name(format!(
            "{} is no {what} name; use 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ . - and do not start with a dot",
            shown(name)
        )));
    }
    Ok(())
}

fn reserved(what: &str, name: &str) -> Error {
    Error::invalid_name(format!(
        "{} is reserved: names starting with _ belong to the system; choose another {what} name",
        shown(name)
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_long_ones_are_cut_in_the_message() {
        for good in ["a", "A-1_b.c", "_rules", &"x".repeat(120)] {
            assert!(DatabaseName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a b", "ä", "a/b", &"x".repeat(121)] {
            assert!(CollectionName::parse(bad).is_err(), "{bad}");
        }
        let message = NodeName::parse(&"ä".repeat(500)).unwrap_err().message().to_owned();
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn users_may_not_create_the_systems_names() {
        assert!(DatabaseName::parse("_x").unwrap().check_creatable().is_err());
        assert!(CollectionName::parse("_rules").unwrap().check_creatable().is_ok());
        assert!(CollectionName::parse("_users").unwrap().check_creatable().is_err());
    }

    #[test]
    fn ids_have_1_to_512_bytes() {
        assert!(DocumentId::parse("").is_err());
        assert!(DocumentId::parse(&"ä".repeat(256)).is_ok());
        assert!(DocumentId::parse(&"ä".repeat(257)).is_err());
    }
}
