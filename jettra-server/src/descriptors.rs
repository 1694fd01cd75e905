//! Open files, which connections are too: how many this process may have, and what of it is set aside.
//!
//! The log and the store open files while the node runs: a new piece of the log, a fresh store beside the old one when
//! a snapshot comes. Where that fails the node has to stop. So connections of clients never get all that there is.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that a node has open or may come to need itself: the store (82), a fresh one beside it, pieces of the log,
/// calls to other nodes, and the places that are kept for those who come when all others are taken.
const OWN: usize = 256;
/// Connections below which a node would be of no use.
const FEWEST: usize = 64;
/// Files that can still be opened whatever comes: a connection that would leave fewer is closed at once.
pub const SPARE: usize = 128;

/// Lets this process open as many files as the system allows. Returns how many that is.
///
/// # Errors
/// What the system says.
pub fn raise() -> io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

/// How many files this process may have open; as many as one could wish where the system does not tell.
pub fn limit() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The connections that fit below `limit`, `wanted` at most.
///
/// # Errors
/// One line where too few are left, with what to do.
pub fn fit(wanted: usize, limit: usize) -> Result<usize, String> {
    let room = limit.saturating_sub(OWN);
    if room < FEWEST {
        return Err(format!(
            "this process may open only {limit} files and a node needs {}: raise the limit of open files, as with \
             ulimit -n 4096, or LimitNOFILE= in the systemd unit",
            OWN + FEWEST
        ));
    }
    Ok(wanted.min(room))
}

/// Who has as many files open as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// This process.
    Process,
    /// All processes together.
    System,
}

/// Whether something failed for want of files that may be opened. Nothing is damaged then, and it passes.
pub fn shortage(e: &io::Error) -> Option<Shortage> {
    match Errno::from_raw(e.raw_os_error()?) {
        Errno::EMFILE => Some(Shortage::Process),
        Errno::ENFILE => Some(Shortage::System),
        _ => None,
    }
}

/// How long it is waited for a file that may be opened.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Tries again while no more files may be opened, for 10 s at most. Blocks. `open` must be able to be repeated.
///
/// # Errors
/// Those of `open`.
pub fn patiently<T>(open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    patiently_for(PATIENCE, open)
}

fn patiently_for<T>(limit: Duration, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const PAUSE: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        match open() {
            Err(e) if shortage(&e).is_some() && began.elapsed() < limit => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// Whether no file can be opened at the moment.
pub fn are_short() -> bool {
    std::fs::File::open("/dev/null").is_err_and(|e| shortage(&e).is_some())
}

/// Waits until one more file can be opened, where a library that opens one next would not try again. Blocks.
pub fn wait_for_one() {
    // What the library meets then is its own to tell.
    wait_for(1).ok();
}

/// Waits until so many more files can be opened at once, for 10 s at most. Blocks.
///
/// # Errors
/// What the system says.
pub fn wait_for(files: usize) -> io::Result<()> {
    patiently(|| (0..files).map(|_| std::fs::File::open("/dev/null")).collect::<io::Result<Vec<_>>>()).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn connections_fit_below_the_limit_or_the_node_does_not_start() {
        assert_eq!(fit(1_000, usize::MAX), Ok(1_000));
        assert_eq!(fit(1_000, 20_000), Ok(1_000));
        assert_eq!(fit(1_000, 1_024), Ok(768));
        assert_eq!(fit(1_000, OWN + FEWEST), Ok(FEWEST));
        for limit in [0, 256, OWN + FEWEST - 1] {
            assert!(fit(16, limit).unwrap_err().contains("ulimit -n"));
        }
    }

    #[test]
    fn what_cannot_be_opened_for_now_is_waited_for_and_nothing_else_is() {
        let code = io::Error::from_raw_os_error;
        let mut left = vec![code(24), code(23)];
        assert_eq!(patiently(|| left.pop().map_or(Ok(7), Err)).unwrap(), 7);
        let mut tries = 0;
        let refused = patiently(|| -> io::Result<()> {
            tries += 1;
            Err(code(13))
        });
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(13));
        assert_eq!(tries, 1);
        let short = patiently_for(Duration::from_millis(50), || -> io::Result<()> { Err(code(24)) });
        assert_eq!(shortage(&short.unwrap_err()), Some(Shortage::Process), "not for ever");
    }
}
