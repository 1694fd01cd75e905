//! Small files that must be whole after a crash.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::descriptors::patiently;
use crate::planted::{self, Bug};

/// Makes the name of the file or directory at `path` last: after a crash it is there. Where this user may not read the
/// directory that it is in, or that cannot be synced at all, nothing can be done.
pub fn keep_name(path: &Path) -> io::Result<()> {
    match patiently(|| File::open(directory_of(path))).and_then(|dir| dir.sync_all()) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => Err(e),
        _ => Ok(()),
    }
}

/// Makes all that is in the directory `dir` last, its directories' names too, but not its own.
pub fn keep_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            keep_all(&entry.path())?;
        } else if entry.metadata()?.len() > 0 {
            patiently(|| File::open(entry.path()))?.sync_all()?;
        }
    }
    patiently(|| File::open(dir))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes `temporary`, whose content is on disk, the file at `path`, for good.
pub fn replace(temporary: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(temporary, path)?;
    if planted::has(Bug::UnsyncedEntry) {
        return Ok(());
    }
    patiently(|| File::open(directory_of(path)))?.sync_all()
}

/// Writes `bytes` as the file at `path`: after a crash it holds the old content or the new.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = patiently(|| File::create(&temporary))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    replace(&temporary, path)
}

/// Bytes that the files below `dir` take on disk: holes do not count. Blocks.
///
/// # Errors
/// When a directory cannot be read; a file that goes meanwhile does not count.
pub fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let counted = match entry.metadata() {
            Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
            Ok(data) => Ok(allocated(&data)),
            Err(e) => Err(e),
        };
        match counted {
            Ok(more) => bytes += more,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(bytes)
}

#[cfg(unix)]
fn allocated(data: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // Always in units of 512 bytes, whatever the file system's blocks are.
    data.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(data: &std::fs::Metadata) -> u64 {
    data.len()
}
