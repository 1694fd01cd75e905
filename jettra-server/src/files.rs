//! Small files that must be whole after a crash.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Makes `temporary`, whose content is on disk, the file at `path`, for good.
pub fn replace(temporary: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(temporary, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Writes `bytes` as the file at `path`: after a crash it holds the old content or the new.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    replace(&temporary, path)
}
