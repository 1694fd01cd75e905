//! What single nodes of a run have for themselves: a small disk, a clock.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apart;
use crate::common::Node;
use crate::seed::Seed;

/// How large the small disk is, in MiB.
const SMALL: u32 = 384;

/// Which nodes have what.
#[derive(Debug, Default)]
pub struct Places {
    pub small_disk: Option<(usize, PathBuf)>,
    pub clock: Option<(usize, PathBuf)>,
    library: PathBuf,
    /// What is not to be had here, and why.
    pub untried: Vec<String>,
}

impl Places {
    /// Chooses; half of all runs have a clock that can be set, since it makes its node slow.
    pub fn choose(nodes: usize, seed: &Seed) -> Places {
        let mut seed = seed.fork("places");
        let mut places = Places::default();
        let (disk, clock, with_clock) = (seed.below(nodes), seed.below(nodes), seed.chance(50));
        if apart::is_apart() {
            places.small_disk = Some((disk, PathBuf::new()));
        } else {
            places.untried.push("a full disk: no mounts of its own here".to_owned());
        }
        match library() {
            Some(library) if with_clock => {
                places.library = library;
                places.clock = Some((clock, PathBuf::new()));
            }
            Some(_) => {}
            None => {
                places.untried.push("a wrong clock: apt-get install --no-install-recommends libfaketime".to_owned())
            }
        }
        places
    }

    /// Gives a node that has not started yet what is chosen for it.
    pub fn prepare(&mut self, place: usize, node: &mut Node) {
        if let Some((at, disk)) = &mut self.small_disk
            && *at == place
        {
            *disk = node.dir().join("data");
            if let Err(why) = mount(disk) {
                self.untried.push(format!("a full disk: {why}"));
                self.small_disk = None;
            }
        }
        if let Some((at, clock)) = &mut self.clock
            && *at == place
        {
            *clock = node.dir().join("clock");
            std::fs::write(&*clock, "+0").unwrap();
            node.set_env("LD_PRELOAD", self.library.to_str().unwrap());
            node.set_env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap());
            // What only counts, counts on: no clock of that kind ever jumps.
            for name in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"] {
                node.set_env(name, "1");
            }
        }
    }
}

/// The library that gives a process another clock.
fn library() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu", "faketime", "."]
        .map(|arch| Path::new("/usr/lib").join(arch).join("faketime").join("libfaketimeMT.so.1"));
    places.into_iter().find(|place| place.exists())
}

/// A disk of its own at `path`. It goes with the mounts of this run.
fn mount(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
    let size = format!("size={SMALL}m,mode=0700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
    match mounted {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
