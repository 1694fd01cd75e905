//! The feature level: what the nodes of a cluster have agreed to write.
//!
//! It is one replicated number. A command raises it, once every member has told that its version supports the new
//! level; nothing that only a higher level knows is proposed before. A version that does not support the level of a
//! data directory refuses to start on it, and one that does not support a cluster's level is not let in.
//!
//! Replicas of two versions must apply an entry to the same state while an upgrade goes on. So everything that `apply`
//! stores keeps its form within a level, down to the sentences of answers that are kept for a repeat and of the journal,
//! and to the fields of the settings' document: what is to differ is written only from the next level on.
//!
//! | level | brought |
//! |---|---|
//! | 1 | what the first version wrote |
//! | 2 | names of databases and collections beyond ASCII ([`UNICODE_NAMES`]); the right that an entry was asked by, ended tokens ([`RIGHTS`]); logins that are listed ([`LOGINS`]); read replicas ([`REPLICAS`]) |

use std::sync::atomic::{AtomicU64, Ordering};

/// The highest level that this version supports.
pub const LEVEL: u64 = 2;

/// The level from which on entries say by which right they were asked for, and tokens are ended before their time.
pub const RIGHTS: u64 = 2;
/// The level from which on each login is kept, to be listed.
pub const LOGINS: u64 = 2;
/// The level from which on a member may be a read replica.
pub const REPLICAS: u64 = 2;
/// The level from which on databases and collections have names beyond ASCII.
pub const UNICODE_NAMES: u64 = 2;

static SUPPORTED: AtomicU64 = AtomicU64::new(LEVEL);

/// The highest level that this process supports.
pub fn supported() -> u64 {
    SUPPORTED.load(Ordering::Relaxed)
}

/// Makes this process one of a version that supports `level`; for the tests of upgrades, before anything is opened.
pub fn support(level: u64) {
    SUPPORTED.store(level, Ordering::Relaxed);
}

/// Says that what `whose` is at `level` is not for this version.
pub fn check(level: u64, whose: &str) -> Result<(), String> {
    if level <= supported() {
        return Ok(());
    }
    Err(format!(
        "{whose} is at feature level {level} and this version ({}) supports {} at most: start a version that supports it",
        env!("CARGO_PKG_VERSION"),
        supported()
    ))
}
