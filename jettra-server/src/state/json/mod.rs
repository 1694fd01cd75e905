//! JSON as bytes: checked once, then carried as it was written.
//!
//! - `scan`: checks a document and removes the white space around its tokens
//! - `fields`: walks over the fields of an object that was checked before
//! - `text`: escapes and unescapes strings

mod fields;
mod scan;
mod text;

pub(crate) use fields::{Fields, is_object, parse_u64};
pub(crate) use scan::compact;
pub(crate) use text::{push_string, unquote};

/// Why bytes are not JSON that is taken, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub what: String,
    /// Bytes before the place where it was found.
    pub offset: usize,
}

impl JsonError {
    fn new(what: impl Into<String>, offset: usize) -> Self {
        JsonError { what: what.into(), offset }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
