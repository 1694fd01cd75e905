//! A file system for a program under test: it works as any other, and writes down what is done to it.
//!
//! It is a FUSE file system that this process serves from memory. The kernel passes each `write` on when it is called, so
//! the recording has all of them in their order; each sync takes a while, as on a disk, and is written down when it has
//! ended, with the moment at which it was asked for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::told::Moment;
use crate::tree::{Content, Ino, Op, ROOT, Tree};

/// What the kernel may keep: all changes go through it.
const FOR_LONG: Duration = Duration::from_secs(3600);
/// How the mounts are called in the system's list, with the number of their process.
const SOURCE: &str = "jettra-power-";
/// Free blocks of 4 KiB, as the program is told.
const FREE_BLOCKS: u64 = 16 << 20;

/// Which syncs the disk says to have done and has not: a disk that lies, or a program that forgot them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    None,
    /// Those of files.
    Files,
    /// Those of directories.
    Names,
    All,
}

/// A mounted file system and its recording. Unmounted when it is dropped: end what works in it before.
pub struct Disk {
    shared: Arc<Mutex<Shared>>,
    session: Option<BackgroundSession>,
    mounted: PathBuf,
    _dir: tempfile::TempDir,
}

struct Shared {
    tree: Tree,
    recording: Vec<Op>,
    lies: Lies,
    next_ino: Ino,
    /// What open directories showed when they were opened.
    listings: std::collections::BTreeMap<u64, Vec<(Ino, bool, OsString)>>,
    next_listing: u64,
}

/// A sync under way.
struct Sync {
    ino: Ino,
    is_dir: bool,
    asked: usize,
    reply: ReplyEmpty,
}

struct Served {
    shared: Arc<Mutex<Shared>>,
    flusher: Sender<Sync>,
}

impl Disk {
    /// A new, empty disk, each of whose syncs takes so long. `None` where this machine has no FUSE, which is said.
    pub fn mount(sync_takes: Duration) -> Option<Disk> {
        unmount_left_behind();
        let dir = tempfile::Builder::new().prefix("jettra-power-").tempdir().unwrap();
        let mounted = dir.path().join("disk");
        std::fs::create_dir(&mounted).unwrap();
        let shared = Shared {
            tree: Tree::new(),
            recording: Vec::new(),
            lies: Lies::None,
            next_ino: ROOT + 1,
            listings: std::collections::BTreeMap::new(),
            next_listing: 0,
        };
        let shared = Arc::new(Mutex::new(shared));
        let flusher = flusher(shared.clone(), sync_takes);
        let mut config = fuser::Config::default();
        let source = format!("{SOURCE}{}", std::process::id());
        config.mount_options = vec![fuser::MountOption::FSName(source), fuser::MountOption::DefaultPermissions];
        match fuser::spawn_mount(Served { shared: shared.clone(), flusher }, &mounted, &config) {
            Ok(session) => Some(Disk { shared, session: Some(session), mounted, _dir: dir }),
            Err(e) => {
                eprintln!(
                    "!!! NOT TESTED: what a power cut leaves. A FUSE file system cannot be mounted here: {e}. Run as root \
                     with /dev/fuse, or install fuse3."
                );
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// How many operations were written down up to now.
    pub fn position(&self) -> usize {
        self.shared.lock().unwrap().recording.len()
    }

    /// The same for clients.
    pub fn moment(self: &Arc<Self>) -> Moment {
        let disk = self.clone();
        Arc::new(move || disk.position())
    }

    /// From now on it lies so.
    pub fn lie(&self, lies: Lies) {
        self.shared.lock().unwrap().lies = lies;
    }

    /// What was done up to now.
    pub fn recording(&self) -> Vec<Op> {
        self.shared.lock().unwrap().recording.clone()
    }

    /// What the program sees now.
    pub fn tree(&self) -> Tree {
        self.shared.lock().unwrap().tree.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that a process that is still in it does not keep it.
        unmount(&self.mounted);
        drop(self.session.take());
    }
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg("--lazy").arg(path).output();
    let is_mounted = || mounts().iter().any(|(_, at)| at == path);
    if is_mounted() {
        eprintln!("{} could not be unmounted: {done:?}", path.display());
    }
}

/// What is mounted now: source and place.
fn mounts() -> Vec<(String, PathBuf)> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.split(' ');
        Some((fields.next()?.to_owned(), PathBuf::from(fields.next()?)))
    };
    table.lines().filter_map(row).collect()
}

/// A process of tests that was killed leaves its mount, which nobody serves any more.
fn unmount_left_behind() {
    for (source, path) in mounts() {
        let pid = source.strip_prefix(SOURCE).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            unmount(&path);
        }
    }
}

/// Ends syncs one after the other, as a disk does, while other work goes on.
fn flusher(shared: Arc<Mutex<Shared>>, takes: Duration) -> Sender<Sync> {
    let (sender, syncs) = channel::<Sync>();
    std::thread::spawn(move || {
        for Sync { ino, is_dir, asked, reply } in syncs {
            std::thread::sleep(takes);
            let mut shared = shared.lock().unwrap();
            let is_done = match shared.lies {
                Lies::None => true,
                Lies::Files => is_dir,
                Lies::Names => !is_dir,
                Lies::All => false,
            };
            if is_done {
                shared.recording.push(if is_dir {
                    Op::SyncDir { dir: ino, asked }
                } else {
                    Op::SyncFile { ino, asked }
                });
            }
            drop(shared);
            reply.ok();
        }
    });
    sender
}

impl Shared {
    /// Does it and writes it down.
    fn record(&mut self, op: Op) {
        self.tree.apply(&op);
        self.recording.push(op);
    }

    fn create(&mut self, dir: Ino, name: &OsStr, is_dir: bool, mode: u32) -> Result<FileAttr, Errno> {
        if self.tree.look_up(dir, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.record(Op::Create { dir, name: name.to_owned(), ino, is_dir, mode: mode & 0o7777 });
        self.attributes(ino)
    }

    fn remove(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.tree.look_up(dir, name).ok_or(Errno::ENOENT)?;
        if self.tree.entries(ino).is_some_and(|entries| !entries.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.record(Op::Remove { dir, name: name.to_owned(), ino });
        Ok(())
    }

    fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr), flags: RenameFlags) -> Result<(), Errno> {
        let ino = self.tree.look_up(from.0, from.1).ok_or(Errno::ENOENT)?;
        if let Some(there) = self.tree.look_up(to.0, to.1) {
            if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if self.tree.entries(there).is_some_and(|entries| !entries.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
        }
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        self.record(Op::Rename { from: (from.0, from.1.to_owned()), to: (to.0, to.1.to_owned()), ino });
        Ok(())
    }

    fn attributes(&self, ino: Ino) -> Result<FileAttr, Errno> {
        let inode = self.tree.inode(ino).ok_or(Errno::ENOENT)?;
        let (kind, size) = match &inode.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Content::Dir(_) => (FileType::Directory, 4096),
        };
        let never = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind,
            perm: u16::try_from(inode.mode & 0o7777).unwrap(),
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Served {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn sync(&self, ino: Ino, is_dir: bool, reply: ReplyEmpty) {
        let asked = self.shared().recording.len();
        self.flusher.send(Sync { ino, is_dir, asked, reply }).unwrap();
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&FOR_LONG, &attributes, Generation(0)),
        Err(e) => reply.error(e),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let shared = self.shared();
        let found = shared.tree.look_up(parent.0, name).ok_or(Errno::ENOENT);
        entry(found.and_then(|ino| shared.attributes(ino)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.shared().attributes(ino.0) {
            Ok(attributes) => reply.attr(&FOR_LONG, &attributes),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut shared = self.shared();
        if let Some(mode) = mode
            && let Some(inode) = shared.tree.inode_mut(ino.0)
        {
            inode.mode = mode & 0o7777;
        }
        if let Some(size) = size {
            shared.record(Op::Resize { ino: ino.0, size });
        }
        match shared.attributes(ino.0) {
            Ok(attributes) => reply.attr(&FOR_LONG, &attributes),
            Err(e) => reply.error(e),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(self.shared().create(parent.0, name, true, mode & !umask), reply);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.shared().create(parent.0, name, false, mode & !umask) {
            Ok(attributes) => {
                reply.created(&FOR_LONG, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(e) => reply.error(e),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.shared().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.shared().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(self.shared().rename((parent.0, name), (new_parent.0, new_name), flags), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = self.shared();
        let Some(bytes) = shared.tree.file(ino.0) else { return reply.error(Errno::EISDIR) };
        let from = bytes.len().min(usize::try_from(offset).unwrap());
        let to = bytes.len().min(from + size as usize);
        reply.data(&bytes[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.shared().record(Op::Write { ino: ino.0, at: offset, data: data.into() });
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, false, reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut shared = self.shared();
        let Some(entries) = shared.tree.entries(ino.0) else { return reply.error(Errno::ENOTDIR) };
        let mut listing = vec![(ino.0, true, OsString::from(".")), (ROOT, true, OsString::from(".."))];
        listing.extend(entries.iter().map(|(name, ino)| (*ino, shared.tree.entries(*ino).is_some(), name.clone())));
        let handle = shared.next_listing;
        shared.next_listing += 1;
        shared.listings.insert(handle, listing);
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if let Some(listing) = self.shared().listings.get(&handle.0) {
            for (n, (ino, is_dir, name)) in listing.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
                let kind = if *is_dir { FileType::Directory } else { FileType::RegularFile };
                if reply.add(INodeNo(*ino), n as u64 + 1, kind, name) {
                    break;
                }
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.shared().listings.remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino.0, true, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE_BLOCKS, FREE_BLOCKS, FREE_BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
