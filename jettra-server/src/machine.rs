//! The machine a node runs on: processors, memory, the data directory's disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jettra_client::wire::MachineMetrics;
use parking_lot::Mutex;
use sysinfo::System;

/// How long a sample counts as fresh. CPU use is an average over the time between two samples.
const FRESH: Duration = Duration::from_secs(1);

/// Samples the machine, at most once a second.
pub struct Machine {
    /// The directory whose disk counts; symbolic links resolved.
    data_dir: PathBuf,
    /// Held while sampling, so that callers at the same moment share one sample.
    state: Mutex<State>,
}

struct State {
    /// Only processors and memory are ever loaded: a list of all processes would cost megabytes.
    /// `None` where the system tells nothing.
    system: Option<System>,
    /// The last sample and when it was taken.
    last: Option<(Instant, MachineMetrics)>,
}

impl Machine {
    /// A sampler for the machine and for the disk that holds `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        Machine { data_dir, state: Mutex::new(State { system: System::new().ok(), last: None }) }
    }

    /// The machine as it was within the last second. `latency` is left 0: the caller knows it.
    ///
    /// Reads files of the operating system and may wait for a disk: call it from a thread that may
    /// block, such as one of `spawn_blocking`.
    pub fn sample(&self) -> MachineMetrics {
        let mut state = self.state.lock();
        if let Some((taken, metrics)) = &state.last
            && taken.elapsed() < FRESH
        {
            return metrics.clone();
        }
        let metrics = self.measure(state.system.as_mut());
        state.last = Some((Instant::now(), metrics.clone()));
        metrics
    }

    fn measure(&self, system: Option<&mut System>) -> MachineMetrics {
        let (disk_total, disk_free) = disk_space(&self.data_dir).unwrap_or_default();
        let mut metrics = MachineMetrics {
            disk_total,
            disk_free,
            disk_used: disk_total.saturating_sub(disk_free),
            available_processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            os_name: System::name().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            os_version: System::os_version().unwrap_or_default(),
            ..MachineMetrics::default()
        };
        if let Some(system) = system {
            system.refresh_memory();
            system.refresh_cpu_usage();
            metrics.cpu_usage = one_decimal(f64::from(system.global_cpu_usage()));
            metrics.ram_total = system.total_memory();
            metrics.ram_free = system.available_memory();
            metrics.ram_used = metrics.ram_total.saturating_sub(metrics.ram_free);
        }
        metrics.ram_usage = percent(metrics.ram_used, metrics.ram_total);
        metrics.disk_usage = percent(metrics.disk_used, metrics.disk_total);
        metrics.ram_total_str = for_people(metrics.ram_total);
        metrics.ram_used_str = for_people(metrics.ram_used);
        metrics.ram_free_str = for_people(metrics.ram_free);
        metrics.disk_total_str = for_people(metrics.disk_total);
        metrics.disk_used_str = for_people(metrics.disk_used);
        metrics.disk_free_str = for_people(metrics.disk_free);
        metrics
    }
}

/// Total bytes of the disk that holds `dir`, and those that this user may still write; `None` where the system does not
/// tell. May wait for the disk.
pub fn disk_space(dir: &Path) -> Option<(u64, u64)> {
    let disk = nix::sys::statvfs::statvfs(dir).ok()?;
    let unit = disk.fragment_size();
    Some((disk.blocks().saturating_mul(unit), disk.blocks_available().saturating_mul(unit)))
}

/// Bytes of this process in memory; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { one_decimal(part as f64 * 100.0 / whole as f64) }
}

fn one_decimal(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Bytes as clients of old show them: `5.3 GB`, of 1024 each.
fn for_people(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is one of the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_sample_has_plausible_figures() {
        let metrics = Machine::new(&std::env::temp_dir()).sample();
        assert!(metrics.ram_total > 0 && metrics.ram_used <= metrics.ram_total);
        assert!(metrics.disk_used <= metrics.disk_total);
        assert!((0.0..=100.0).contains(&metrics.ram_usage) && (0.0..=100.0).contains(&metrics.disk_usage));
        assert!(metrics.available_processors >= 1);
    }

    #[test]
    fn sizes_and_percentages_are_short() {
        let said =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (5_690_831_668, "5.3 GB"), ((1 << 30) - 1, "1.0 GB")];
        for (bytes, text) in said {
            assert_eq!(for_people(bytes), text);
        }
        assert!(for_people(u64::MAX).ends_with(" PB"));
        assert_eq!((percent(1, 3), percent(2, 3), percent(1, 0)), (33.3, 66.7, 0.0));
    }

    #[test]
    fn within_a_second_the_same_sample_is_given() {
        let machine = Machine::new(Path::new("."));
        assert_eq!(machine.sample(), machine.sample());
    }
}
