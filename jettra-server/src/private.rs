//! What a node keeps is nobody else's: documents, hashes of passwords, the key of all tokens, the cluster's secret.
//!
//! The process makes no file that another user of the machine could open ([`from_now_on`]), and a data directory that
//! others can enter is closed before anything in it is used ([`directory`]). So neither can they hold the lock that keeps
//! two nodes from one directory.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::remedy::shell_word;

/// What group and others may do.
const OTHERS: u32 = 0o077;
/// A directory such as `/tmp`, in which every user has things.
const SHARED: u32 = 0o1000;

/// From now on this process makes only files and directories that its own user can open. To be called first of all.
pub fn from_now_on() {
    umask(Mode::from_bits_truncate(OTHERS));
}

/// Makes the data directory `dir`, or closes the one that is there to all other users, with all that is in it.
///
/// # Errors
/// One line with the command that helps: it is another user's, is shared with others, holds other things, or cannot be closed.
pub fn directory(dir: &Path) -> Result<(), String> {
    let shown = dir.display();
    let unusable =
        |e: &io::Error| format!("the data directory {shown} cannot be written: {e}: choose another with --data-dir");
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| unusable(&e))?;
    // Also where an earlier start made it and did not come to this.
    for path in missing.into_iter().rev().chain([dir]) {
        crate::files::keep_name(path).map_err(|e| unusable(&e))?;
    }
    let found = std::fs::metadata(dir).map_err(|e| unusable(&e))?;
    if !found.is_dir() {
        return Err(format!("the data directory {shown} is a file: choose another with --data-dir"));
    }
    if !is_open(&found) {
        return close_within(dir).map_err(|e| unusable(&e));
    }
    let word = shell_word(&shown.to_string());
    if found.mode() & SHARED != 0 {
        return Err(format!(
            "{shown} is shared by all users of this machine, and a data directory is one user's only: choose a directory of its own, \
             such as --data-dir {}",
            shell_word(&dir.join("jettra").display().to_string())
        ));
    }
    let user = geteuid();
    if found.uid() != user.as_raw() && !user.is_root() {
        return Err(format!(
            "others can enter the data directory {shown}, which is the user {}'s and not this one's ({user}): run: \
             sudo chown {user} {word} && chmod 700 {word}; or choose another with --data-dir",
            found.uid()
        ));
    }
    if !holds_only_ours(dir).map_err(|e| unusable(&e))? {
        return Err(format!(
            "others can enter the data directory {shown}, and it holds other things too: close it: chmod 700 {word}; or choose \
             another with --data-dir"
        ));
    }
    let closed = close(dir, &found).and_then(|()| std::fs::metadata(dir));
    match closed {
        Ok(now) if !is_open(&now) => {
            tracing::warn!(directory = %shown, "other users could enter the data directory: it is closed now");
            close_within(dir).map_err(|e| unusable(&e))
        }
        // Some file systems take the change and do nothing.
        Ok(_) => Err(format!(
            "others can enter the data directory {shown}, and its file system does not let it be closed: choose one on another \
             with --data-dir"
        )),
        Err(e) => Err(format!(
            "others can enter the data directory {shown}, and it cannot be closed ({e}): run: chmod 700 {word}"
        )),
    }
}

/// Makes `dir`, a directory of our own naming, or closes the one that is there, with all that is in it.
///
/// # Errors
/// I/O errors.
pub fn closed(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = std::fs::metadata(dir)?;
    if is_open(&found) {
        close(dir, &found)?;
    }
    close_within(dir)
}

/// Closes what was made below `dir` by a version that did not care. What is another user's stays as it is: nobody can
/// come to it but through `dir`.
///
/// # Errors
/// A directory that cannot be read.
fn close_within(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let path = entry.path();
        if (found.is_dir() || found.is_file())
            && is_open(&found)
            && let Err(error) = close(&path, &found)
        {
            tracing::warn!(path = %path.display(), %error, "this is open to others, but for the directory around it");
            continue;
        }
        if found.is_dir() && (found.uid() == geteuid().as_raw() || geteuid().is_root()) {
            close_within(&path)?;
        }
    }
    Ok(())
}

fn close(path: &Path, found: &Metadata) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7777 & !OTHERS))
}

fn is_open(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

/// Whether `dir` is a data directory, or is empty but for what may be there before the first start.
fn holds_only_ours(dir: &Path) -> io::Result<bool> {
    if ["node.json", "log.acked", "state/CURRENT"].iter().any(|name| dir.join(name).exists()) {
        return Ok(true);
    }
    const BEFORE: [&str; 5] = ["config.json", "lock", "log", "state", "lost+found"];
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if BEFORE.iter().all(|ours| *ours != name) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is said of a configuration file with secrets in it that others can read; nothing where they cannot. A file of
/// another user, such as `root`, may be readable by a group: that is how services are given theirs.
pub fn warning_about(config: &Path, secrets: &[&str]) -> Option<String> {
    let found = std::fs::metadata(config).ok()?;
    let readable = if found.uid() == geteuid().as_raw() { 0o044 } else { 0o004 };
    if secrets.is_empty() || found.mode() & readable == 0 {
        return None;
    }
    let (shown, word) = (config.display(), shell_word(&config.display().to_string()));
    Some(format!("other users can read {shown}, which holds {}: run: chmod 600 {word}", secrets.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_made_closed_and_an_open_one_is_closed_with_what_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/data");
        directory(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        std::fs::create_dir_all(dir.join("before-recovery-1/log")).unwrap();
        std::fs::write(dir.join("before-recovery-1/log/chunk"), "x").unwrap();
        std::fs::write(dir.join("node.json"), "x").unwrap();
        std::os::unix::fs::symlink(root.path(), dir.join("elsewhere")).unwrap();
        set(root.path(), 0o755);
        for open in [0o755, 0o700] {
            for path in [dir.clone(), dir.join("before-recovery-1"), dir.join("before-recovery-1/log")] {
                set(&path, if path == dir { open } else { 0o755 });
            }
            set(&dir.join("before-recovery-1/log/chunk"), 0o644);
            directory(&dir).unwrap();
            assert_eq!(mode(&dir), 0o700);
            assert_eq!(mode(&dir.join("before-recovery-1/log")), 0o700);
            assert_eq!(mode(&dir.join("before-recovery-1/log/chunk")), 0o600);
            assert_eq!(mode(root.path()), 0o755, "what a link leads to is not ours");
        }
    }

    #[test]
    fn a_directory_with_other_things_or_of_all_users_is_not_closed() {
        let root = tempfile::tempdir().unwrap();
        set(root.path(), 0o755);
        std::fs::write(root.path().join("letter.txt"), "x").unwrap();
        let refused = directory(root.path()).unwrap_err();
        assert!(refused.contains("chmod 700") && mode(root.path()) == 0o755, "{refused}");
        std::fs::remove_file(root.path().join("letter.txt")).unwrap();
        set(root.path(), 0o1777);
        let refused = directory(root.path()).unwrap_err();
        assert!(refused.contains("--data-dir"), "{refused}");
        set(root.path(), 0o755);
        std::fs::write(root.path().join("config.json"), "{}").unwrap();
        directory(root.path()).unwrap();
        assert_eq!(mode(root.path()), 0o700);
    }

    #[test]
    fn a_configuration_with_secrets_that_others_can_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("config.json");
        std::fs::write(&file, "{}").unwrap();
        for (bits, told) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false)] {
            set(&file, bits);
            let warning = warning_about(&file, &["AdminPassword"]);
            assert_eq!(warning.is_some(), told, "{bits:o}");
            assert!(warning.is_none_or(|text| text.contains("AdminPassword") && text.contains("chmod 600")));
            assert_eq!(warning_about(&file, &[]), None);
        }
    }
}
