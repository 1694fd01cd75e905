//! What nodes take of the machine: bounded, and back to where it was.

use std::time::{Duration, Instant};

use crate::world::World;

/// What one process takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident, in KiB.
    pub memory: u64,
    pub threads: u64,
    pub files: u64,
}

/// A process may have so many KiB more than at the beginning: caches fill, the log keeps its newest entries.
const MEMORY_MORE: u64 = 256 << 10;

/// Threads for blocking work and connections that are kept come and go.
const THREADS_MORE: u64 = 24;
const FILES_MORE: u64 = 64;

/// How long connections that nobody needs may stay, and threads.
const SETTLES: Duration = Duration::from_secs(30);

impl Usage {
    /// What a process takes now; nothing where there is none.
    fn of(pid: u32) -> Option<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Usage { memory: number("VmRSS:")?, threads: number("Threads:")?, files })
    }

    #[must_use]
    pub fn max(self, other: Usage) -> Usage {
        Usage {
            memory: self.memory.max(other.memory),
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
        }
    }

    fn exceeds(self, bound: Usage) -> bool {
        self.memory > bound.memory || self.threads > bound.threads || self.files > bound.files
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB, {} threads, {} files", self.memory >> 10, self.threads, self.files)
    }
}

/// The most that a node takes now.
pub async fn most(world: &World) -> Usage {
    let mut most = Usage::default();
    for machine in &world.machines.all {
        // Who holds a node for long has it frozen or ended.
        let Ok(node) = machine.node.try_lock() else { continue };
        most = most.max(node.pid().and_then(Usage::of).unwrap_or_default());
    }
    most
}

/// Waits until no node takes more than at the beginning, but for what may be.
pub async fn are_back(world: &World, beginning: Usage) -> Result<Usage, String> {
    let bound = Usage {
        memory: beginning.memory + MEMORY_MORE,
        threads: beginning.threads + THREADS_MORE,
        files: beginning.files + FILES_MORE,
    };
    let end = Instant::now() + SETTLES;
    loop {
        let now = most(world).await;
        if !now.exceeds(bound) {
            return Ok(now);
        }
        if Instant::now() > end {
            return Err(format!("a node takes {now} in the end, {beginning} at the beginning; allowed are {bound}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
