//! What the library's errors and panics mean: damage, or something that the operating system refused.

use std::io;
use std::path::Path;

use crate::lasting::panic_text;
use crate::remedy::Kind;
use crate::storage::StorageError;

/// The library wraps what the operating system said, and keeps only its kind and its words.
pub(super) fn kind_of(error: &io::Error) -> Kind {
    Kind::of_words(&error.to_string()).unwrap_or_else(|| Kind::of(error))
}

/// The library writes before each error where in its source it was passed on.
pub(super) fn without_places(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit(" -> ").next().unwrap_or_default().to_owned()
}

/// The library panics where it reads what it never wrote; and where it unwraps what the operating system refused.
pub(super) fn panicked(path: &Path, when: &str, panic: &(dyn std::any::Any + Send)) -> StorageError {
    let text = panic_text(panic);
    StorageError::of_kind(path, Kind::of_words(text).unwrap_or(Kind::Damage), format!("{when}: {text}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let error = |e: io::Error| StorageError::io(dir.path(), &e).kind == Kind::Damage;
        // ENOSPC, EMFILE, EACCES.
        assert!([28, 24, 13].iter().all(|code| !error(io::Error::from_raw_os_error(*code))));
        assert!(error(io::ErrorKind::UnexpectedEof.into()) && error(io::ErrorKind::InvalidData.into()));
        let panicked = |text: &'static str| panicked(dir.path(), "opening", &text).kind == Kind::Damage;
        assert!(panicked("index out of bounds") && !panicked("unwrap on Err: Os { code: 24, .. }"));
    }
}
