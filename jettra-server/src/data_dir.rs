//! A data directory that no node runs on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cluster::identity;

/// A data directory, held so that no node starts on it meanwhile.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the data directory at `path`.
    ///
    /// # Errors
    /// One line: no such directory, no data directory, or a node runs on it.
    pub fn take(path: &Path) -> Result<DataDir, String> {
        let shown = path.display();
        if !path.is_dir() {
            return Err(format!("{shown} is no directory: name the node's data directory"));
        }
        if !identity::path(path).exists() && !path.join("log").is_dir() && !path.join("state").is_dir() {
            return Err(format!(
                "{shown} is no data directory: it has no node.json, no log and no state (DataDir in config.json says \
                 where a node's data are)"
            ));
        }
        let lock = path.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(|e| format!("{} cannot be opened: {e}", lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(format!("{shown} is in use by a running node: stop it first"))
            }
            Err(std::fs::TryLockError::Error(e)) => Err(format!("{} cannot be locked: {e}", lock.display())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `name` in it is.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Gives `name` in it the first free name `<name>.<why>-<n>` and returns that.
    ///
    /// # Errors
    /// I/O errors.
    pub fn set_aside(&self, name: &str, why: &str) -> io::Result<PathBuf> {
        for n in 1u32.. {
            let aside = self.path.join(format!("{name}.{why}-{n}"));
            if !aside.exists() {
                crate::files::replace(&self.path.join(name), &aside)?;
                return Ok(aside);
            }
        }
        Err(io::Error::other("no free name"))
    }
}
