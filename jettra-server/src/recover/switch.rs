//! How the new content of a data directory takes the old one's place.
//!
//! The new content is made in `recovering/`. When it is whole and on disk a note is written, and from then on the
//! directory is as good as switched: no node starts on it until each name has been moved, the old to a directory of
//! its own and the new to its place. Every step may be done again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data_dir::DataDir;
use crate::remedy;
use crate::sealed;

/// What is switched, in this order.
const NAMES: [&str; 6] = ["state", "log", "log.acked", "secret", "members.json", "node.json"];

/// The note that the switch has begun.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The directory that takes what was there before.
    aside: String,
}

/// Where the new content is made.
pub(super) fn workshop(dir: &Path) -> PathBuf {
    dir.join("recovering")
}

fn note_path(dir: &Path) -> PathBuf {
    dir.join("recovery.json")
}

/// Why nothing else may be done with the data directory at `dir`: a recovery of it was begun and not finished.
pub fn unfinished(dir: &Path) -> Option<String> {
    note_path(dir).exists().then(|| {
        format!(
            "the recovery of {} was cut off in the middle: finish it with jettra-server recover --apply {}",
            dir.display(),
            remedy::shell_word(&dir.display().to_string())
        )
    })
}

/// Writes the note: from here on only [`finish`] is left.
pub(super) fn begin(dir: &DataDir) -> io::Result<()> {
    let mut n = 1;
    while dir.join(&format!("before-recovery-{n}")).exists() {
        n += 1;
    }
    sync_all(&workshop(dir.path()))?;
    let note = Note { aside: format!("before-recovery-{n}") };
    crate::files::write(&note_path(dir.path()), &sealed::json(&note)?)
}

/// Moves every name that has not been moved yet and takes the note away. Returns where the old content is; `None`
/// where no switch was begun.
pub(super) fn finish(dir: &DataDir) -> io::Result<Option<PathBuf>> {
    let note = note_path(dir.path());
    let Some(bytes) = sealed::bytes_of(&note)? else { return Ok(None) };
    let Note { aside } = sealed::read_json(&bytes).ok_or_else(|| sealed::damaged(&note))?;
    let (new, aside) = (workshop(dir.path()), dir.join(&aside));
    std::fs::create_dir_all(&aside)?;
    for name in NAMES {
        let (fresh, place, kept) = (new.join(name), dir.join(name), aside.join(name));
        if !fresh.exists() {
            continue;
        }
        if place.exists() && !kept.exists() {
            crate::files::replace(&place, &kept)?;
        }
        crate::files::replace(&fresh, &place)?;
    }
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    File::open(&aside)?.sync_all()?;
    File::open(dir.path())?.sync_all()?;
    std::fs::remove_file(&note)?;
    File::open(dir.path())?.sync_all()?;
    Ok(Some(aside))
}

/// Syncs all files and directories below `path`.
fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}
