//! Files and directories in memory, and what a program does to them, one operation at a time.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The number of a file or directory; never given again.
pub type Ino = u64;

/// The directory that all others are in.
pub const ROOT: Ino = 1;

/// What a program did, in the order in which it did it.
#[derive(Debug, Clone)]
pub enum Op {
    /// A new, empty file or directory.
    Create { dir: Ino, name: OsString, ino: Ino, is_dir: bool, mode: u32 },
    /// A name that is gone, of a file or a directory.
    Remove { dir: Ino, name: OsString, ino: Ino },
    /// A name that became another one, in place of what had that.
    Rename { from: (Ino, OsString), to: (Ino, OsString), ino: Ino },
    /// Bytes written at a place.
    Write { ino: Ino, at: u64, data: Arc<[u8]> },
    /// Another size.
    Resize { ino: Ino, size: u64 },
    /// An fsync or fdatasync of a file that has ended; it was asked for when there were so many operations.
    SyncFile { ino: Ino, asked: usize },
    /// An fsync of a directory that has ended.
    SyncDir { dir: Ino, asked: usize },
}

/// What is behind a number.
#[derive(Debug, Clone)]
pub struct Inode {
    pub mode: u32,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    File(Arc<Vec<u8>>),
    Dir(Arc<BTreeMap<OsString, Ino>>),
}

/// All files and directories. A clone costs little: contents are shared until one of the two changes.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: BTreeMap<Ino, Inode>,
}

impl Content {
    pub fn empty(is_dir: bool) -> Content {
        if is_dir { Content::Dir(Arc::default()) } else { Content::File(Arc::default()) }
    }
}

impl Tree {
    /// An empty directory.
    pub fn new() -> Tree {
        let root = Inode { mode: 0o700, content: Content::empty(true) };
        Tree { inodes: BTreeMap::from([(ROOT, root)]) }
    }

    pub fn inode(&self, ino: Ino) -> Option<&Inode> {
        self.inodes.get(&ino)
    }

    pub fn inode_mut(&mut self, ino: Ino) -> Option<&mut Inode> {
        self.inodes.get_mut(&ino)
    }

    /// What a directory has under a name.
    pub fn look_up(&self, dir: Ino, name: &OsStr) -> Option<Ino> {
        self.entries(dir)?.get(name).copied()
    }

    pub fn entries(&self, dir: Ino) -> Option<&BTreeMap<OsString, Ino>> {
        match &self.inodes.get(&dir)?.content {
            Content::Dir(entries) => Some(entries),
            Content::File(_) => None,
        }
    }

    pub fn file(&self, ino: Ino) -> Option<&[u8]> {
        match &self.inodes.get(&ino)?.content {
            Content::File(bytes) => Some(bytes),
            Content::Dir(_) => None,
        }
    }

    /// Does it, where that is possible; a name that is not what it was for the program stays as it is. The content of a
    /// file may be there before its name is.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { dir, name, ino, is_dir, mode } => {
                self.inode_of(*ino, *is_dir).mode = *mode;
                self.names(*dir).entry(name.clone()).or_insert(*ino);
            }
            Op::Remove { dir, name, ino } => {
                let names = self.names(*dir);
                if names.get(name) == Some(ino) {
                    names.remove(name);
                }
            }
            Op::Rename { from, to, ino } => {
                if self.names(from.0).get(&from.1) == Some(ino) {
                    self.names(from.0).remove(&from.1);
                    self.names(to.0).insert(to.1.clone(), *ino);
                }
            }
            Op::Write { ino, at, data } => self.write(*ino, *at, data),
            Op::Resize { ino, size } => self.bytes(*ino).resize(usize::try_from(*size).unwrap(), 0),
            Op::SyncFile { .. } | Op::SyncDir { .. } => {}
        }
    }

    /// Puts bytes at a place of a file, which grows with zeros where it is shorter.
    pub fn write(&mut self, ino: Ino, at: u64, data: &[u8]) {
        let bytes = self.bytes(ino);
        let at = usize::try_from(at).unwrap();
        if bytes.len() < at + data.len() {
            bytes.resize(at + data.len(), 0);
        }
        bytes[at..at + data.len()].copy_from_slice(data);
    }

    pub fn bytes(&mut self, ino: Ino) -> &mut Vec<u8> {
        match &mut self.inode_of(ino, false).content {
            Content::File(bytes) => Arc::make_mut(bytes),
            Content::Dir(_) => panic!("{ino} is a directory"),
        }
    }

    fn names(&mut self, dir: Ino) -> &mut BTreeMap<OsString, Ino> {
        match &mut self.inode_of(dir, true).content {
            Content::Dir(names) => Arc::make_mut(names),
            Content::File(_) => panic!("{dir} is a file"),
        }
    }

    fn inode_of(&mut self, ino: Ino, is_dir: bool) -> &mut Inode {
        let mode = if is_dir { 0o700 } else { 0o600 };
        self.inodes.entry(ino).or_insert_with(|| Inode { mode, content: Content::empty(is_dir) })
    }

    /// Writes all that has a name into the folder `to`, which is there and empty.
    pub fn store(&self, to: &Path) {
        self.store_dir(ROOT, to);
    }

    fn store_dir(&self, dir: Ino, to: &Path) {
        for (name, ino) in self.entries(dir).unwrap() {
            let (inode, path) = (&self.inodes[ino], to.join(name));
            match &inode.content {
                Content::File(bytes) => std::fs::write(&path, &bytes[..]).unwrap(),
                Content::Dir(_) => {
                    std::fs::create_dir(&path).unwrap();
                    self.store_dir(*ino, &path);
                }
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(inode.mode)).unwrap();
        }
    }
}

impl Tree {
    /// The path at which a number lies, for people.
    pub fn path_of(&self, ino: Ino) -> String {
        if ino == ROOT {
            return String::new();
        }
        let found = self.inodes.keys().find_map(|dir| {
            let entries = self.entries(*dir)?;
            entries.iter().find(|(_, there)| **there == ino).map(|(name, _)| (*dir, name))
        });
        found.map_or_else(
            || format!("(without a name: {ino})"),
            |(dir, name)| format!("{}/{}", self.path_of(dir), name.display()),
        )
    }
}

impl Op {
    /// What it does, for people, where files are called as in `tree`.
    pub fn shown(&self, tree: &Tree) -> String {
        let path = |ino: &Ino| tree.path_of(*ino);
        match self {
            Op::Create { dir, name, is_dir: true, .. } => format!("mkdir {}/{}", path(dir), name.display()),
            Op::Create { dir, name, .. } => format!("create {}/{}", path(dir), name.display()),
            Op::Remove { dir, name, .. } => format!("remove {}/{}", path(dir), name.display()),
            Op::Rename { from, to, .. } => {
                format!("rename {}/{} to {}/{}", path(&from.0), from.1.display(), path(&to.0), to.1.display())
            }
            Op::Write { ino, at, data } => format!("write {} {} bytes at {at}", path(ino), data.len()),
            Op::Resize { ino, size } => format!("resize {} to {size}", path(ino)),
            Op::SyncFile { ino, .. } => format!("sync {}", path(ino)),
            Op::SyncDir { dir, .. } => format!("sync directory {}/", path(dir)),
        }
    }
}
