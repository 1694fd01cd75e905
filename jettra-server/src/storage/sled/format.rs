//! The mark that says what wrote a store.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::remedy::Kind;
use crate::storage::{Result, StorageError};

/// Says what wrote the directory; a store made otherwise is refused before it is touched.
const FORMAT: &str = "jettradb documents, format 2, sled 1.0.0-alpha.124, leaf fanout 256\n";

/// Writes the format mark of a new store, or refuses one that was made otherwise.
pub(super) fn check(path: &Path) -> Result<()> {
    let mark = path.join("format");
    let failed = |error: std::io::Error| StorageError::io(&mark, &error);
    match fs::read_to_string(&mark) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => {
            let (made, reads) = (found.trim_end(), FORMAT.trim_end());
            let what = format!("the store was made as {made:?} and this version reads {reads:?}");
            Err(if is_another_format(&found) {
                StorageError::of_kind(&mark, Kind::OtherVersion, format!("{what}: start the version that wrote it"))
            } else {
                StorageError::damage(&mark, what)
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if path.join("tree").exists() {
                return Err(StorageError::damage(&mark, "the mark of the format is missing"));
            }
            fs::create_dir_all(path).map_err(failed)?;
            let fresh = path.join("format.new");
            let mut file = fs::File::create(&fresh).map_err(failed)?;
            file.write_all(FORMAT.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&fresh, &mark).map_err(failed)?;
            fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether a version that writes otherwise wrote this mark: only the numbers differ, or it names another format.
fn is_another_format(found: &str) -> bool {
    let number = |mark: &str| -> Option<u64> {
        mark.strip_prefix("jettradb documents, format ")?.split_once(',')?.0.parse().ok()
    };
    let words = |mark: &str| mark.replace(|c: char| c.is_ascii_digit(), "");
    words(found) == words(FORMAT) || number(found).is_some_and(|found| Some(found) != number(FORMAT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("format");
        for (found, is_damage) in [
            ("jettradb documents, format 3, other", false),
            (&FORMAT.replace("124", "125")[..], false),
            (&FORMAT.replace("leaf", "lecf")[..], true),
            (&FORMAT[..20], true),
        ] {
            fs::write(&mark, found).unwrap();
            let refused = check(dir.path()).unwrap_err();
            assert_eq!(refused.kind == Kind::Damage, is_damage, "{found}");
        }
    }
}
