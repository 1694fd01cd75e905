//! What a power cut leaves of what a program did.
//!
//! # What a disk and a file system promise
//!
//! Only this is counted on, which is what POSIX says and what ext4, xfs and btrfs have in common (T. Pillai et al., "All
//! File Systems Are Not Created Equal", OSDI 2014, section 2, whose tool ALICE makes states as this does):
//!
//! - **A file's content** is on disk through what was written before an `fsync` or `fdatasync` of it began, once that has
//!   ended; also its size. What was written later may be there or not, in any order and each sector of 512 bytes for
//!   itself: writes are torn between sectors and never within one. Where a file has grown and a sector was not written,
//!   it reads as zeros: ext4 and xfs never show what others had stored there.
//! - **A name** (created, removed, renamed) is on disk once its directory was synced after that. Before, it may be there or
//!   not, whether the file itself was synced or not. ext4 and xfs keep the names of a directory in the order of their
//!   journal, so that a later one is never there without an earlier one, and commit all earlier ones with most syncs of
//!   whatever file; btrfs promises neither, and a state here may have any of them.
//! - **A rename over a file** leaves the old one or the new one under that name, never none; a rename is whole, also
//!   between directories.
//! - **A rename does not sync what it renames**: the new name may be there with the old, or with no, content. (ext4 hurries to
//!   write such a file; that is a courtesy.)
//! - What reached the disk stays. A disk that says it has synced and has not is played by [`Lies`](crate::mount::Lies).
//!
//! So from a recording there follow, at each moment, the least that may be left ([`Platter::synced`]), the most
//! ([`Platter::everything`]) and what lies between them, drawn from a seed ([`Platter::some`]).

use std::collections::BTreeSet;

use crate::seed::Seed;
use crate::tree::{Ino, Op, Tree};

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// A disk at a moment of a recording: what is certainly on it, and what may be.
pub struct Platter {
    durable: Tree,
    /// What was not synced, with its place in the recording, in order.
    pending: Vec<(usize, Op)>,
    /// How many operations were played.
    played: usize,
}

impl Platter {
    /// An empty disk before the first operation.
    pub fn new() -> Platter {
        Platter { durable: Tree::new(), pending: Vec::new(), played: 0 }
    }

    /// The next operation of the recording. Returns whether it has changed what is certainly on disk.
    pub fn play(&mut self, op: &Op) -> bool {
        let settled = match op {
            Op::SyncFile { ino, asked } => self.settle(|place, op| place < *asked && op.content_of() == Some(*ino)),
            Op::SyncDir { dir, asked } => self.settle_names(*dir, *asked),
            change => {
                self.pending.push((self.played, change.clone()));
                false
            }
        };
        self.played += 1;
        settled
    }

    /// Whether there is anything that may be lost.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    fn settle(&mut self, is_synced: impl Fn(usize, &Op) -> bool) -> bool {
        let before = self.pending.len();
        for (_, op) in self.pending.extract_if(.., |(place, op)| is_synced(*place, op)) {
            self.durable.apply(&op);
        }
        self.pending.len() < before
    }

    /// A rename between two directories is whole: who syncs one of them takes along what the other one needs for it.
    fn settle_names(&mut self, dir: Ino, asked: usize) -> bool {
        let mut dirs = BTreeSet::from([dir]);
        let mut taken = BTreeSet::new();
        for (place, op) in self.pending.iter().rev().filter(|(place, _)| *place < asked) {
            let touched = op.dirs();
            if touched.iter().any(|touched| dirs.contains(touched)) {
                dirs.extend(touched);
                taken.insert(*place);
            }
        }
        self.settle(|place, _| taken.contains(&place))
    }

    /// Only what was synced.
    pub fn synced(&self) -> Tree {
        self.durable.clone()
    }

    /// All that was done, synced or not.
    pub fn everything(&self) -> Tree {
        let mut tree = self.durable.clone();
        self.pending.iter().for_each(|(_, op)| tree.apply(op));
        tree
    }

    /// What was synced and a part of the rest, which the seed picks.
    pub fn some(&self, seed: &mut Seed) -> Tree {
        let mut tree = self.durable.clone();
        let names = Names::draw(seed, self.pending.len());
        let data = Data::draw(seed, self.pending.len());
        for (n, (_, op)) in self.pending.iter().enumerate() {
            match op {
                Op::Write { ino, at, data: bytes } => data.write(&mut tree, seed, n, (*ino, *at, bytes)),
                Op::Resize { .. } if data.is_there(seed, n) => tree.apply(op),
                Op::Resize { .. } => {}
                name if names.is_there(seed, n) => tree.apply(name),
                _ => {}
            }
        }
        tree
    }
}

/// Which names reached the disk that were not synced.
enum Names {
    None,
    All,
    /// The first so many operations: the order of a journal.
    Until(usize),
    /// Any: so many of a hundred.
    Any(usize),
}

impl Names {
    fn draw(seed: &mut Seed, pending: usize) -> Names {
        match seed.below(4) {
            0 => Names::None,
            1 => Names::All,
            2 => Names::Until(seed.below(pending + 1)),
            _ => Names::Any(10 + seed.below(80)),
        }
    }

    fn is_there(&self, seed: &mut Seed, n: usize) -> bool {
        match self {
            Names::None => false,
            Names::All => true,
            Names::Until(end) => n < *end,
            Names::Any(percent) => seed.chance(*percent),
        }
    }
}

/// Which bytes reached the disk that were not synced.
enum Data {
    None,
    All,
    /// All of the first so many operations, and the beginning of the next one.
    Until(usize),
    /// Any sector: so many of a hundred.
    Any(usize),
}

impl Data {
    fn draw(seed: &mut Seed, pending: usize) -> Data {
        match seed.below(6) {
            0 => Data::None,
            1 => Data::All,
            2 | 3 => Data::Until(seed.below(pending + 1)),
            _ => Data::Any(5 + seed.below(90)),
        }
    }

    fn is_there(&self, seed: &mut Seed, n: usize) -> bool {
        match self {
            Data::None => false,
            Data::All => true,
            Data::Until(end) => n < *end,
            Data::Any(percent) => seed.chance(*percent),
        }
    }

    fn write(&self, tree: &mut Tree, seed: &mut Seed, n: usize, (ino, at, bytes): (Ino, u64, &[u8])) {
        let sectors = sectors(at, bytes.len());
        let cut = match self {
            Data::Until(end) if n == *end => seed.below(sectors.len() + 1),
            _ => 0,
        };
        let mut size = 0;
        for (s, (from, to)) in sectors.iter().enumerate() {
            let is_there = match self {
                Data::Until(end) if n == *end => s < cut,
                // One draw for each sector.
                _ => self.is_there(seed, n),
            };
            if is_there {
                tree.write(ino, at + *from as u64, &bytes[*from..*to]);
                size = *to;
            }
        }
        // The size is kept apart from the content: it may speak of sectors that were never written.
        if size < bytes.len() && !matches!(self, Data::None) && n <= self.end() && seed.chance(25) {
            let end = usize::try_from(at).unwrap() + bytes.len();
            let file = tree.bytes(ino);
            if file.len() < end {
                file.resize(end, 0);
            }
        }
    }

    fn end(&self) -> usize {
        if let Data::Until(end) = self { *end } else { usize::MAX }
    }
}

/// Where `length` bytes at `at` of a file are cut by the borders of its sectors: from and to, within the bytes.
fn sectors(at: u64, length: usize) -> Vec<(usize, usize)> {
    let mut cuts = Vec::new();
    let mut from = 0;
    while from < length {
        let left = SECTOR - (at + from as u64) % SECTOR;
        let to = length.min(from + usize::try_from(left).unwrap());
        cuts.push((from, to));
        from = to;
    }
    cuts
}

impl Op {
    /// The file whose content it changes.
    fn content_of(&self) -> Option<Ino> {
        match self {
            Op::Write { ino, .. } | Op::Resize { ino, .. } => Some(*ino),
            _ => None,
        }
    }

    /// The directories whose names it changes.
    fn dirs(&self) -> Vec<Ino> {
        match self {
            Op::Create { dir, .. } | Op::Remove { dir, .. } => vec![*dir],
            Op::Rename { from, to, .. } => vec![from.0, to.0],
            _ => Vec::new(),
        }
    }
}
