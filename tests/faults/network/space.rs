use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It lives as long as this or a process in it.
pub struct Space(File);

impl Space {
    pub fn new() -> std::io::Result<Space> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Space)
        })?
    }

    /// Runs `work` on a thread in this namespace: devices that it opens and processes that it starts are in it too.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
        on_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }

    /// A path by which other programs find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// A namespace is a thread's: one that is used for nothing else afterwards.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|threads| threads.spawn(work).join()).map_err(|_| std::io::Error::other("a thread died"))
}

/// Runs `ip` with these arguments.
pub fn ip(arguments: &[&str]) -> std::io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(std::io::Error::other(format!("ip {}: {}", arguments.join(" "), said.trim())))
}
