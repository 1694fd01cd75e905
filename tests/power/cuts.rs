//! Cuts the power at the moments of a recording, and looks at what is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Platter;
use crate::seed::Seed;
use crate::tree::{Op, Tree};

/// What is left of a disk.
pub struct Left {
    /// Behind how many operations the power was cut.
    pub at: usize,
    /// Which of the states that are possible then.
    pub which: Which,
    pub tree: Tree,
}

#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// Only what was synced.
    Synced,
    /// All that was done.
    Everything,
    /// A part of what was not synced, from this seed.
    Some(#[allow(dead_code, reason = "people read it")] u64),
}

/// Calls `look` with states that a power cut can leave of `recording`, of those moments that `is_chosen`; at each with the
/// least and the most that may be left, and `drawn` states between them. States in which nothing new may be are left out.
pub fn each(
    recording: &[Op],
    seed: &mut Seed,
    drawn: usize,
    mut is_chosen: impl FnMut(usize) -> bool,
    mut look: impl FnMut(Left),
) {
    let mut platter = Platter::new();
    let mut was_looked_at = false;
    for (n, op) in recording.iter().enumerate() {
        let settled = platter.play(op);
        was_looked_at &= !settled;
        let at = n + 1;
        if !is_chosen(at) {
            continue;
        }
        if !was_looked_at {
            look(Left { at, which: Which::Synced, tree: platter.synced() });
            was_looked_at = true;
        }
        if platter.is_settled() {
            continue;
        }
        if !settled {
            look(Left { at, which: Which::Everything, tree: platter.everything() });
        }
        for _ in 0..drawn {
            let seed = seed.next();
            look(Left { at, which: Which::Some(seed), tree: platter.some(&mut Seed::new(seed)) });
        }
    }
}

impl Left {
    /// Writes it into a new folder.
    pub fn store(&self) -> tempfile::TempDir {
        let dir = tempfile::Builder::new().prefix("jettra-cut-").tempdir_in(fast()).unwrap();
        self.tree.store(dir.path());
        dir
    }

    /// Keeps it for whoever looks for the cause, and says where.
    pub fn keep(&self) -> PathBuf {
        let kept = tempfile::Builder::new().prefix("jettra-power-failure-").tempdir().unwrap().keep();
        self.tree.store(&kept);
        kept
    }

    /// What a person needs to know of it.
    pub fn shown(&self, recording: &[Op]) -> String {
        let from = self.at.saturating_sub(8);
        let tree = self.tree.clone();
        let last: Vec<String> =
            (from..self.at).map(|n| format!("    {:6} {}", n + 1, recording[n].shown(&tree))).collect();
        format!(
            "power cut behind operation {} of {}, {:?}\n{}\n  what was left is in {}",
            self.at,
            recording.len(),
            self.which,
            last.join("\n"),
            self.keep().display()
        )
    }
}

/// What was found in the states of a recording.
pub struct Findings {
    recording: Arc<[Op]>,
    states: usize,
    began: Instant,
    told: Instant,
    /// How often each was found, and the first one in full.
    found: BTreeMap<String, (usize, String)>,
}

/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

impl Findings {
    pub fn new(recording: &Arc<[Op]>) -> Findings {
        let now = Instant::now();
        Findings { recording: recording.clone(), states: 0, began: now, told: now, found: BTreeMap::new() }
    }

    /// How many looks there were.
    pub fn states(&self) -> usize {
        self.states
    }

    /// What a look at `left` has found.
    pub fn add(&mut self, left: &Left, outcome: Result<(), String>) {
        self.states += 1;
        if let Err(why) = outcome {
            let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
            let first = || (0, format!("{why}\n  {}", left.shown(&self.recording)));
            self.found.entry(kind).or_insert_with(first).0 += 1;
        }
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let (all, found) = (self.recording.len(), self.found.len());
            println!(
                "operation {} of {all}: {} states, {found} kinds of findings, {:?}",
                left.at,
                self.states,
                self.began.elapsed()
            );
        }
    }

    /// How often something was found.
    pub fn count(&self) -> usize {
        self.found.values().map(|(count, _)| count).sum()
    }

    /// One of them.
    #[cfg(feature = "planted-bugs")]
    pub fn first(&self) -> &str {
        self.found.values().next().map_or("", |(_, why)| why)
    }

    /// Fails where anything was found.
    pub fn none(self) {
        println!("{} operations, {} states in {:?}", self.recording.len(), self.states, self.began.elapsed());
        let found: Vec<String> = self.found.values().map(|(count, why)| format!("{count} times: {why}")).collect();
        assert!(found.is_empty(), "after a power cut:\n{}", found.join("\n"));
    }
}

/// `POWER_SEED`, or this one, or a new one, which is said.
pub fn seed(fixed: Option<u64>) -> Seed {
    let given = std::env::var("POWER_SEED").ok().map(|seed| seed.parse().expect("POWER_SEED is a number"));
    let now = || u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = given.or(fixed).unwrap_or_else(now);
    println!("POWER_SEED={seed}");
    Seed::new(seed)
}

/// Each `POWER_EVERY`th moment, or each.
pub fn each_nth() -> impl FnMut(usize) -> bool {
    let nth = std::env::var("POWER_EVERY").map_or(1, |nth| nth.parse().expect("POWER_EVERY is a number"));
    move |at: usize| at.is_multiple_of(nth)
}

/// Room for a state and its copy.
const ROOM: u64 = 1 << 30;

/// A folder in memory where there is one with room: these files need to survive nothing.
pub fn fast() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let free = nix::sys::statvfs::statvfs(shm).map_or(0, |shm| shm.blocks_available() * shm.fragment_size());
    if free > ROOM { shm.to_owned() } else { std::env::temp_dir() }
}
