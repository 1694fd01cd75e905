//! The cluster secret.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// What every node of a cluster knows and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A fresh one of 256 bits.
    pub fn random() -> Self {
        Secret(crate::random::hex::<32>())
    }

    /// One that was configured or handed over; not empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.to_owned()))
    }

    /// The bytes that prove it.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text, for handing it over.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads the secret kept in `path`, if there is one; an error where the file is damaged.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = crate::sealed::bytes_of(path)? else { return Ok(None) };
        let text = crate::sealed::read_line(&bytes).ok_or_else(|| crate::sealed::damaged(path))?;
        Ok(Secret::new(text))
    }

    /// Keeps the secret in `path`, readable by this user only. Blocks until it is on disk.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(crate::sealed::line(&self.0).as_bytes())?;
        file.sync_all()?;
        crate::files::replace(&temporary, path)
    }
}

/// The secrets that count at a node: one, and for the time in which it is changed the one before as well.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The cluster's secret.
    pub now: Secret,
    /// The one before, while not every node knows the new one.
    pub before: Option<Secret>,
}

impl Secrets {
    /// Each of them, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.now).chain(&self.before)
    }
}

impl From<Secret> for Secrets {
    fn from(now: Secret) -> Self {
        Secrets { now, before: None }
    }
}
