//! Whose process is at the other end of a loopback connection?
//!
//! A cluster that was given no secret makes one, and hands it only to nodes that the same user runs on the same machine.
//! Linux tells a socket's owner in `/proc/net/tcp` and `tcp6`; where that cannot be read the answer is no.
//!
//! Two users need a second look. A machine's own forwarders (of containers, of ssh) run as root; and inside a user
//! namespace all foreign users show as one, the overflow user. So where this process runs as one of these, the process at
//! the other end must also be found, and be the same program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::OnceLock;

const ESTABLISHED: &str = "01";
/// States in which a process may still hold its end: it has shut down its sending half, or the other end has.
const HELD: [&str; 4] = [ESTABLISHED, "04", "05", "08"];
const LISTEN: &str = "0A";
const ROOT: u32 = 0;
/// The overflow user where the system does not say another one.
const OVERFLOW: u32 = 65534;

/// Whether the far end of the loopback connection between `far` and `near` belongs to this process's user; for root and
/// the overflow user: to another process of this program. Blocks.
pub fn far_end_is_ours(far: SocketAddr, near: SocketAddr) -> bool {
    let Some(owner) = owner(far, near, &[ESTABLISHED]) else { return false };
    Some(owner.uid) == own_uid() && (!is_shared(owner.uid) || is_this_program(owner.inode))
}

/// The user whose process is at the far end of the loopback connection between `far` and `near`, where it can be told.
/// Blocks.
pub fn far_end_uid(far: SocketAddr, near: SocketAddr) -> Option<u32> {
    owner(far, near, &HELD).map(|owner| owner.uid)
}

/// Whether the far end of the loopback connection between `far` and `near` is a process of this process's user or of
/// root's, who may do what that user may. Where the system tells nobody's sockets, it is taken for one. Blocks.
pub fn far_end_is_trusted(far: SocketAddr, near: SocketAddr) -> bool {
    match far_end_uid(far, near) {
        Some(uid) => uid == ROOT || (Some(uid) == own_uid() && !is_overflow(uid)),
        None => !tells_owners(),
    }
}

/// Whether the system tells whose sockets are whose: tried once, on a connection of our own. Blocks.
fn tells_owners() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    let try_it = || -> std::io::Result<bool> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let (_accepted, far) = listener.accept()?;
        let uid = far_end_uid(far, stream.peer_addr()?);
        Ok(uid.is_some() && uid == own_uid())
    };
    *TELLS.get_or_init(|| {
        let tells = try_it().unwrap_or(false);
        if !tells {
            tracing::warn!(
                "this system does not tell whose connections are whose: until a password is set every process on this \
                 machine may act as administrator"
            );
        }
        tells
    })
}

/// Whether a user's name on a socket does not say whose process it is.
fn is_shared(uid: u32) -> bool {
    uid == ROOT || is_overflow(uid)
}

/// Whether it is what every foreign user is called inside a user namespace.
fn is_overflow(uid: u32) -> bool {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let overflow = overflow.and_then(|text| text.trim().parse().ok());
    uid == OVERFLOW || Some(uid) == overflow
}

/// Where anybody listens on `port`, each with the user's id. Empty where the system does not tell. Blocks.
pub fn listeners_at(port: u16) -> Vec<(SocketAddr, u32)> {
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [_, local, _, state, _, _, _, uid] = fields[..] else { return None };
        let at = address(local).filter(|at| state == LISTEN && at.port() == port)?;
        Some((at, uid.parse().ok()?))
    };
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| std::fs::read_to_string(table).ok());
    tables.flat_map(|text| text.lines().skip(1).filter_map(listener).collect::<Vec<_>>()).collect()
}

/// The user that this process acts as.
fn own_uid() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().nth(1)?.parse().ok()
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    inode: u64,
}

/// Who owns the socket at `far`, in one of `states`, of the connection between these two addresses, compared whole.
fn owner(far: SocketAddr, near: SocketAddr, states: &[&str]) -> Option<Owner> {
    let (far, near) = (canonical(far), canonical(near));
    if !far.ip().is_loopback() || !near.ip().is_loopback() {
        return None;
    }
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        // A socket that nobody has accepted yet, or has let go of, is shown without an inode and as root's.
        text.lines().skip(1).find_map(|line| owner_in(line, far, near, states)).filter(|owner| owner.inode != 0)
    })
}

/// `sl local remote state tx:rx tr:when retransmits uid timeout inode …`
fn owner_in(line: &str, far: SocketAddr, near: SocketAddr, states: &[&str]) -> Option<Owner> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    let [_, local, remote, state, _, _, _, uid, _, inode] = fields[..] else { return None };
    let is_it = states.contains(&state) && address(local)? == far && address(remote)? == near;
    is_it.then_some(())?;
    Some(Owner { uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

/// `0100007F:1F90` → 127.0.0.1:8080. Each group of eight digits is a word in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether every process that holds the socket `inode` runs this program, and there is one.
fn is_this_program(inode: u64) -> bool {
    let Some(own) = program(Path::new("/proc/self")) else { return false };
    let wanted = format!("socket:[{inode}]");
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let processes = processes.flatten().map(|entry| entry.path());
    let numbered = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
    let holds = |process: &Path| {
        let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
    };
    let mut holders = processes.filter(|process| numbered(process) && holds(process)).peekable();
    holders.peek().is_some() && holders.all(|process| program(&process).as_ref() == Some(&own))
}

/// The file name of what a process runs; that of a newer version of the same program is the same.
fn program(process: &Path) -> Option<String> {
    let path = std::fs::read_link(process.join("exe")).ok()?;
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_our_own_connection_are_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, far) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        assert!(!far_end_is_ours(far, near), "nobody has accepted it yet");
        let (accepted, _) = listener.accept().unwrap();
        assert!(far_end_is_ours(far, near));
        assert!(far_end_is_ours(near, far), "and from the other side");
        assert_eq!(far_end_uid(far, near), own_uid());
        assert!(far_end_is_trusted(near, far) && tells_owners());
        // The whole address counts, and not only the port.
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), far.port());
        assert!(!far_end_is_ours(other, near) && !far_end_is_ours(near, other));
        // Who sends no more is still known; who has gone is nobody.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(far_end_uid(near, far), own_uid());
        drop(stream);
        assert!(!far_end_is_trusted(near, far), "nobody is there");
        drop(accepted);
    }

    #[test]
    fn a_listener_a_foreign_address_and_an_ended_connection_are_not_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert!(!far_end_is_ours(there, "127.0.0.1:9".parse().unwrap()));
        assert!(!far_end_is_ours("192.0.2.1:80".parse().unwrap(), there));
        let stream = TcpStream::connect(there).unwrap();
        let (accepted, near) = listener.accept().unwrap();
        drop(accepted);
        assert!(!far_end_is_ours(there, near));
        drop(stream);
    }

    #[test]
    fn root_and_the_overflow_user_are_shared_by_others() {
        assert!(is_shared(0) && is_shared(65534));
        assert!(!is_shared(1000));
    }
}
