//! The layer itself: that it is a file system, and that it loses what may be lost and keeps what may not.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use crate::model::Platter;
use crate::mount::{Disk, Lies};
use crate::seed::Seed;
use crate::tree::{Op, Tree};

/// What the disk may hold after a power cut now.
fn platter(disk: &Disk) -> Platter {
    let mut platter = Platter::new();
    for op in disk.recording() {
        platter.play(&op);
    }
    platter
}

/// A file's content in a state; `None` where it is not there.
fn content(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    tree.store(dir.path());
    fs::read(dir.path().join(path)).ok()
}

/// The contents that a file has in many states of the same moment.
fn contents(platter: &Platter, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let mut seed = Seed::new(1);
    (0..300).map(|_| content(&platter.some(&mut seed), path)).collect()
}

fn sync_dir(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn disk() -> Option<Disk> {
    Disk::mount(Duration::ZERO)
}

#[test]
fn it_is_a_file_system_as_any_other() {
    let Some(disk) = disk() else { return };
    let root = disk.path();
    assert_eq!(disk.position(), 0);
    fs::create_dir_all(root.join("a/b")).unwrap();
    let mut file =
        OpenOptions::new().create_new(true).read(true).write(true).mode(0o640).open(root.join("a/b/f")).unwrap();
    file.write_all(&[7; 300_000]).unwrap();
    file.write_all_at(b"middle", 100_000).unwrap();
    let mut read = vec![0; 10];
    file.read_exact_at(&mut read, 99_998).unwrap();
    assert_eq!(read, *b"\x07\x07middle\x07\x07");
    assert_eq!(file.read(&mut read).unwrap(), 0, "its end");
    file.set_len(5).unwrap();
    assert_eq!(fs::read(root.join("a/b/f")).unwrap(), [7; 5]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    // A lock is taken once.
    let lock = File::create(root.join("lock")).unwrap();
    lock.try_lock().unwrap();
    assert!(File::open(root.join("lock")).unwrap().try_lock().is_err());

    fs::rename(root.join("a/b/f"), root.join("g")).unwrap();
    assert!(fs::read(root.join("a/b/f")).is_err());
    fs::write(root.join("h"), "new").unwrap();
    fs::rename(root.join("h"), root.join("g")).unwrap();
    assert_eq!(fs::read(root.join("g")).unwrap(), b"new");
    // What is open stays readable without its name.
    file.read_exact_at(&mut read[..5], 0).unwrap();
    for n in 0..500 {
        fs::write(root.join(format!("a/{n}")), [1]).unwrap();
    }
    assert!(fs::remove_dir(root.join("a")).is_err());
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 501);
    fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(fs::read_dir(root).unwrap().count(), 2);
    let seen = tempfile::tempdir().unwrap();
    disk.tree().store(seen.path());
    assert_eq!(fs::read(seen.path().join("g")).unwrap(), b"new");
}

#[test]
fn who_forgets_to_sync_loses_and_who_syncs_does_not() {
    let Some(disk) = disk() else { return };
    let path = disk.path().join("f");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&platter(&disk).synced(), "f"), None, "its name was not synced");
    sync_dir(disk.path());
    assert_eq!(content(&platter(&disk).synced(), "f").unwrap(), b"synced");
    assert!(platter(&disk).is_settled());

    file.write_all(b" and not").unwrap();
    let now = platter(&disk);
    assert_eq!(content(&now.synced(), "f").unwrap(), b"synced");
    assert_eq!(content(&now.everything(), "f").unwrap(), b"synced and not");
    assert!(contents(&now, "f").iter().flatten().all(|content| content.starts_with(b"synced")));
    assert!(contents(&now, "f").len() > 1);
}

#[test]
fn a_write_is_torn_between_sectors_and_never_within_one() {
    let Some(disk) = disk() else { return };
    let file = File::create(disk.path().join("f")).unwrap();
    file.write_all_at(&[b'.'; 4 * 512], 0).unwrap();
    file.sync_all().unwrap();
    sync_dir(disk.path());
    file.write_all_at(&[b'x'; 4 * 512], 256).unwrap();
    let contents = contents(&platter(&disk), "f");
    for content in contents.iter().flatten() {
        assert!(content[..256].iter().all(|byte| *byte == b'.'));
        assert!(content.len() >= 4 * 512 && content.len() <= 4 * 512 + 256);
        for sector in content[512..].chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "torn within a sector");
        }
    }
    let first = |content: &[u8]| content[600] == b'x';
    let last = |content: &[u8]| content[1800] == b'x';
    let kinds: BTreeSet<_> = contents.iter().flatten().map(|content| (first(content), last(content))).collect();
    assert_eq!(kinds.len(), 4, "the first sector without the last, and the last without the first");
    // Where the file has grown and the sector is not there, it is zeros or the file's end.
    let tails: BTreeSet<_> = contents.iter().flatten().map(|content| content.get(2048).copied()).collect();
    assert_eq!(tails, BTreeSet::from([None, Some(0), Some(b'x')]));
}

#[test]
fn a_rename_leaves_the_old_file_or_the_new_one_and_does_not_sync_it() {
    let Some(disk) = disk() else { return };
    let (path, fresh) = (disk.path().join("f"), disk.path().join("f.new"));
    fs::write(&path, "old").unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    sync_dir(disk.path());
    fs::write(&fresh, "new").unwrap();
    fs::rename(&fresh, &path).unwrap();
    // A file that was not synced before its rename: its size may be there without its content.
    let old_new_or_nothing = [b"old".to_vec(), b"new".to_vec(), Vec::new(), vec![0; 3]].map(Some);
    assert_eq!(contents(&platter(&disk), "f"), old_new_or_nothing.into());

    File::open(&path).unwrap().sync_all().unwrap();
    assert_eq!(contents(&platter(&disk), "f"), [b"old".to_vec(), b"new".to_vec()].map(Some).into());
    sync_dir(disk.path());
    assert_eq!(contents(&platter(&disk), "f"), [Some(b"new".to_vec())].into());
    fs::remove_file(&path).unwrap();
    assert_eq!(contents(&platter(&disk), "f"), [None, Some(b"new".to_vec())].into());
}

#[test]
fn a_directory_whose_own_name_was_not_synced_goes_with_all_that_is_in_it() {
    let Some(disk) = disk() else { return };
    let dir = disk.path().join("dir");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("f"), "synced").unwrap();
    File::open(dir.join("f")).unwrap().sync_all().unwrap();
    sync_dir(&dir);
    assert_eq!(contents(&platter(&disk), "dir/f"), [None, Some(b"synced".to_vec())].into());
    sync_dir(disk.path());
    assert_eq!(contents(&platter(&disk), "dir/f"), [Some(b"synced".to_vec())].into());
    // Moved elsewhere, it is in one of the two: one sync is enough for both.
    fs::create_dir(disk.path().join("other")).unwrap();
    fs::rename(dir.join("f"), disk.path().join("other/f")).unwrap();
    sync_dir(&disk.path().join("other"));
    sync_dir(disk.path());
    assert_eq!(contents(&platter(&disk), "dir/f"), [None].into());
    assert_eq!(contents(&platter(&disk), "other/f"), [Some(b"synced".to_vec())].into());
}

#[test]
fn a_sync_promises_nothing_of_what_is_written_after_it_was_asked_for() {
    let (root, name, data) = (crate::tree::ROOT, "f".into(), |text: &[u8]| text.into());
    let recording = [
        Op::Create { dir: root, name, ino: 2, is_dir: false, mode: 0o600 },
        Op::SyncDir { dir: root, asked: 1 },
        Op::Write { ino: 2, at: 0, data: data(b"before") },
        Op::Write { ino: 2, at: 6, data: data(b"while") },
        Op::SyncFile { ino: 2, asked: 3 },
    ];
    let mut platter = Platter::new();
    let changed: Vec<bool> = recording.iter().map(|op| platter.play(op)).collect();
    assert_eq!(changed, [false, true, false, false, true]);
    assert_eq!(content(&platter.synced(), "f").unwrap(), b"before");
    assert_eq!(content(&platter.everything(), "f").unwrap(), b"beforewhile");
}

#[test]
fn a_disk_that_lies_loses_what_it_said_it_has() {
    for (lies, name_is_there, is_there) in
        [(Lies::None, true, true), (Lies::Files, true, false), (Lies::Names, false, false), (Lies::All, false, false)]
    {
        let Some(disk) = disk() else { return };
        disk.lie(lies);
        fs::write(disk.path().join("f"), "data").unwrap();
        File::open(disk.path().join("f")).unwrap().sync_all().unwrap();
        sync_dir(disk.path());
        let left = content(&platter(&disk).synced(), "f");
        assert_eq!((left.is_some(), left.as_deref() == Some(b"data")), (name_is_there, is_there), "{lies:?}");
    }
}
