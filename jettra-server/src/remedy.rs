//! Why a node cannot start or go on, and what a person is told to do about it.
//!
//! What failed says itself what kind of fault it is, where it fails; the words for the remedy are here only.

use std::fmt;
use std::io;
use std::path::Path;

use crate::descriptors::Shortage;

/// What kind of fault it is: it decides what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What lies there is surely not as it was written.
    Damage,
    /// Another version wrote it; the text says which one to start.
    OtherVersion,
    /// The disk is full.
    DiskFull,
    /// The disk cannot be read or written.
    Disk,
    /// Another process uses it.
    InUse,
    /// The system does not let this process do it: rights.
    Config,
    /// This process has as many files open as it may.
    ProcessFiles,
    /// All processes together have as many files open as they may.
    SystemFiles,
    /// None of these: the text says all there is.
    Other,
}

impl Kind {
    /// The kind of an I/O error.
    pub fn of(e: &io::Error) -> Kind {
        match crate::descriptors::shortage(e) {
            Some(Shortage::Process) => Kind::ProcessFiles,
            Some(Shortage::System) => Kind::SystemFiles,
            // A library may have kept the words only.
            None if e.raw_os_error().is_none() => Kind::of_words(&e.to_string()).unwrap_or(Kind::of_io(e.kind())),
            None => Kind::of_io(e.kind()),
        }
    }

    /// The same where only the operating system's kind of it is known.
    pub fn of_io(kind: io::ErrorKind) -> Kind {
        use io::ErrorKind as E;
        match kind {
            E::InvalidData | E::NotFound | E::UnexpectedEof => Kind::Damage,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge | E::WriteZero => Kind::DiskFull,
            E::WouldBlock | E::ResourceBusy | E::AddrInUse => Kind::InUse,
            E::PermissionDenied | E::Unsupported => Kind::Config,
            E::InvalidInput => Kind::Other,
            _ => Kind::Disk,
        }
    }

    /// The kind of an error that is known by its words only, as a library prints it.
    pub fn of_words(words: &str) -> Option<Kind> {
        let code = words.split_once("os error ").or_else(|| words.split_once("code: "))?.1;
        let code: i32 = code.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Kind::of(&io::Error::from_raw_os_error(code)))
    }
}

/// Why a node cannot start or go on. Displays as what is wrong; [`Fault::told`] adds what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and where.
    what: String,
    kind: Kind,
}

impl Fault {
    /// `what` is wrong, which is of this kind.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Fault { what: what.into(), kind }
    }

    /// `doing` failed with `e`.
    pub fn io(doing: impl fmt::Display, e: &io::Error) -> Self {
        Fault::new(Kind::of(e), format!("{doing}: {e}"))
    }

    /// `what` happened that no code here foresees.
    pub fn other(what: impl Into<String>) -> Self {
        Fault::new(Kind::Other, what)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is wrong and what to do about it, for the node whose data are in `data_dir`.
    pub fn told(&self, data_dir: &Path) -> String {
        let (what, dir) = (&self.what, shell_word(&data_dir.display().to_string()));
        match self.kind {
            Kind::Damage => format!("{what}: stop the node and run: {}", repair_command(data_dir)),
            Kind::DiskFull => format!(
                "the disk that holds {} is full{}: {what}: make room on it (df -h {dir}) and start the node again; what was \
                 acknowledged is kept",
                data_dir.display(),
                crate::machine::disk_space(data_dir)
                    .map_or_else(String::new, |(_, free)| format!(" ({free} bytes are free)"))
            ),
            Kind::Disk => format!(
                "the disk that holds {} fails: {what}: look for its errors in the system's log (dmesg); once it can be used again \
                 check what is on it: {}",
                data_dir.display(),
                repair_command(data_dir)
            ),
            Kind::Config => {
                format!(
                    "{what}: check who owns {dir} and what this user may do (ls -ld {dir}; ulimit -a), then start the node again"
                )
            }
            Kind::ProcessFiles => format!(
                "{what}: this process may have only {} files open and has them: let it have more (ulimit -n, LimitNOFILE= in the \
                 systemd unit) or lower MaxConnections, then start the node again; what was acknowledged is kept",
                crate::descriptors::limit()
            ),
            Kind::SystemFiles => format!(
                "{what}: all processes of this machine together have as many files open as they may (cat \
                 /proc/sys/fs/file-nr): find the one that holds them (lsof), or let there be more (sysctl -w \
                 fs.file-max=…), then start the node again; what was acknowledged is kept"
            ),
            Kind::OtherVersion | Kind::InUse | Kind::Other => what.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::DiskFull => write!(f, "its disk is full: {}", self.what),
            Kind::Disk => write!(f, "its disk fails: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

/// The command that says what is damaged in `data_dir`, and mends it or names what does.
pub fn repair_command(data_dir: &Path) -> String {
    format!("jettra-server repair --data-dir {}", shell_word(&data_dir.display().to_string()))
}

/// `text` as one word of a shell's command line.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The two commands that give a member of a cluster its data again when its own promises are lost: it leaves the
/// cluster at another member, and comes back as a new one.
pub fn register_anew(data_dir: &Path, url: Option<&str>, other: Option<&str>) -> String {
    let (url, other) = (url.unwrap_or("http://<this node>"), other.unwrap_or("http://<another member>"));
    let aside = format!("{}.damaged", data_dir.display());
    format!(
        "curl -X POST {other}/api/cluster/deregister -d '{{\"url\":\"{url}\"}}' && mv {} {}; then start the node and run: \
         curl -X POST {other}/api/cluster/register -d '{{\"url\":\"{url}\"}}'",
        shell_word(&data_dir.display().to_string()),
        shell_word(&aside),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_command() {
        assert_eq!(repair_command(Path::new("/var/lib/j")), "jettra-server repair --data-dir /var/lib/j");
        assert_eq!(repair_command(Path::new("/a b/it's")), r"jettra-server repair --data-dir '/a b/it'\''s'");
    }

    #[test]
    fn each_kind_of_fault_has_its_own_remedy() {
        let dir = Path::new("/srv/my jettra-server data");
        let told = |e: io::Error| Fault::io("the raft log in /srv/log cannot be written", &e).told(dir);
        let full = told(io::Error::from_raw_os_error(28));
        assert!(full.contains("make room") && full.contains("df -h '/srv/my") && !full.contains("repair"), "{full}");
        let failing = told(io::Error::from_raw_os_error(5));
        assert!(failing.contains("dmesg") && failing.contains("repair --data-dir '/srv/my"), "{failing}");
        for (code, remedy) in [(13, "ulimit -a"), (24, "LimitNOFILE="), (23, "fs.file-max")] {
            let limited = told(io::Error::from_raw_os_error(code));
            assert!(limited.contains(remedy) && !limited.contains("repair"), "{limited}");
            // Of what a library wrapped the words are left.
            let words = io::Error::other(format!("the writer has stopped: {}", io::Error::from_raw_os_error(code)));
            assert!(told(words).contains(remedy));
        }
        let damaged = told(io::Error::new(io::ErrorKind::InvalidData, "a checksum is wrong"));
        assert!(damaged.ends_with("run: jettra-server repair --data-dir '/srv/my jettra-server data'"), "{damaged}");
        assert_eq!(Fault::new(Kind::OtherVersion, "start the version 9").told(dir), "start the version 9");
    }

    #[test]
    fn the_words_of_a_library_tell_the_system_s_code() {
        assert_eq!(Kind::of_words("unwrap on Err: Os { code: 28, kind: StorageFull }"), Some(Kind::DiskFull));
        assert_eq!(Kind::of_words("No space left on device (os error 28)"), Some(Kind::DiskFull));
        assert_eq!(Kind::of_words("index out of bounds"), None);
    }
}
