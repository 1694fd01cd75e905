//! Names and ids, parsed at the edge: past it a bad one cannot exist.

use std::borrow::Borrow;
use std::fmt;

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::error::{Error, Result};

/// Characters in the longest name of a database, a collection or a node.
pub const MAX_NAME: usize = 120;
/// Bytes in the longest name of a database or a collection.
pub const MAX_NAME_BYTES: usize = 360;
/// Bytes in the longest document id.
pub const MAX_DOCUMENT_ID: usize = 512;
/// Collections that every new database has, and the only ones starting with `_` that a user may create.
pub const STANDARD_COLLECTIONS: [&str; 3] = ["_engine", "_info", "_rules"];
/// The database in which the system keeps what it knows.
pub const SYSTEM_DATABASE: &str = "_system";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $check:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        // A node's name needs not all of them.
        #[allow(dead_code)]
        impl $name {
            /// Whether it is one of those that every version knows: `[A-Za-z0-9_.-]`.
            pub fn is_plain(&self) -> bool {
                is_plain(&self.0)
            }

            /// A name as it stands in a log entry. Which letters there are changes with each version of Unicode, so that
            /// is looked at once, where a name comes in ([`parse`](Self::parse)), and never when an entry is applied:
            /// all replicas must read the same.
            pub fn of_the_log(name: &str) -> Result<Self> {
                let is_sane = (1..=MAX_NAME_BYTES).contains(&name.len())
                    && !name.starts_with('.')
                    && !name.contains(|c: char| c.is_ascii_control() || c == '/');
                if is_sane { Ok($name(name.into())) } else { $check(name).map(|()| $name(name.into())) }
            }

            /// Parses a name; `invalid_name` where it is none.
            pub fn parse(name: &str) -> Result<Self> {
                $check(name)?;
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
    /// The name of a database: 1 to 120 letters, digits, marks, `_`, `.`, `-` and blanks inside, of any script, in
    /// normal form C, in 360 bytes at most; not starting with `.`.
    DatabaseName: check_database;
    /// The name of a collection, like that of a database.
    CollectionName: check_collection;
    /// A node's name, its `NodeID`: `[A-Za-z0-9_.-]{1,120}`, not starting with `.`.
    NodeName: check_node;
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

fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

fn check_node(name: &str) -> Result<()> {
    if is_plain(name) {
        return Ok(());
    }
    Err(Error::invalid_name(format!(
        "{} is no node name; use 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ . - and do not start with a dot",
        shown(name)
    )))
}

fn check_database(name: &str) -> Result<()> {
    check_name("database", name)
}

fn check_collection(name: &str) -> Result<()> {
    check_name("collection", name)
}

fn check_name(what: &str, name: &str) -> Result<()> {
    // Most names are plain, and this is done for each request.
    if is_plain(name) {
        return Ok(());
    }
    match name_fault(name) {
        None => Ok(()),
        Some(fault) => Err(Error::invalid_name(format!(
            "{} is no {what} name: {fault}; use 1 to {MAX_NAME} letters, digits, _ . - and blanks inside, not starting \
             with a dot",
            shown(name)
        ))),
    }
}

/// What is wrong with a name of a database or a collection.
fn name_fault(name: &str) -> Option<String> {
    let (first, last) = (name.chars().next(), name.chars().next_back());
    let (Some(first), Some(last)) = (first, last) else { return Some("it is empty".to_owned()) };
    if name.len() > MAX_NAME_BYTES || name.chars().count() > MAX_NAME {
        return Some(format!("it has more than {MAX_NAME} characters or {MAX_NAME_BYTES} bytes"));
    }
    if first == '.' {
        return Some("it starts with a dot".to_owned());
    }
    if first == ' ' || last == ' ' {
        return Some("it starts or ends with a blank".to_owned());
    }
    if is_combining_mark(first) {
        return Some("it starts with a mark that belongs to the character before it".to_owned());
    }
    if let Some(other) = name.chars().find(|c| !may_stand_in_name(*c)) {
        return Some(format!("U+{:04X} may not be in it", u32::from(other)));
    }
    if !is_nfc(name) {
        let composed = shown(&name.nfc().collect::<String>());
        return Some(format!("it is not in Unicode's normal form C, which is {composed}"));
    }
    None
}

fn may_stand_in_name(c: char) -> bool {
    // Letters and marks that nobody sees: fillers, selectors of variants and the like.
    let is_invisible = matches!(c,
        '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}');
    let is_known = c.is_alphanumeric() || is_combining_mark(c) || matches!(c, '_' | '.' | '-' | ' ');
    is_known && !is_invisible
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
            assert!(DatabaseName::parse(good).is_ok() && NodeName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a/b", &"x".repeat(121)] {
            assert!(CollectionName::parse(bad).is_err() && NodeName::parse(bad).is_err(), "{bad}");
        }
        let message = NodeName::parse(&"ä".repeat(500)).unwrap_err().message().to_owned();
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn names_of_databases_and_collections_are_of_any_script() {
        let longest = "\u{20000}".repeat(90);
        for good in ["almacén", "año", "ventas del año", "注文", "заказы", "हिन्दी", "a b", "٣", &longest]
        {
            assert!(DatabaseName::parse(good).is_ok(), "{good}");
            assert!(NodeName::parse(good).is_err(), "{good} as a node's");
        }
        for (bad, why) in [
            (" a", "blank"),
            ("a ", "blank"),
            ("a\tb", "U+0009"),
            ("a\u{202e}b", "U+202E"),
            ("a\u{200d}b", "U+200D"),
            ("a\u{3164}b", "U+3164"),
            ("a\u{a0}b", "U+00A0"),
            ("caf\u{65}\u{301}", "normal form C, which is \"café\""),
            ("\u{301}a", "mark"),
            ("a/b", "U+002F"),
            ("😀", "U+1F600"),
            (&"\u{20000}".repeat(91), "360 bytes"),
        ] {
            let message = CollectionName::parse(bad).unwrap_err().message().to_owned();
            assert!(message.contains(why), "{message}");
        }
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
