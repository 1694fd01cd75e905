//! Whose process is at the other end of a loopback connection?
//!
//! A cluster that was given no secret makes one, and hands it only to nodes that the same user
//! runs on the same machine. Linux tells a socket's owner in `/proc/net/tcp` and `tcp6`; where
//! that cannot be read the answer is no.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;

const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Whether the peer of the loopback connection `peer` → `local` belongs to this process's user.
/// Blocks.
pub fn peer_is_ours(peer: SocketAddr, local: SocketAddr) -> bool {
    let (peer, local) = (canonical(peer), canonical(local));
    peer.ip().is_loopback()
        && local.ip().is_loopback()
        && owners(|row| row.state == ESTABLISHED && row.local == peer && row.remote.port() == local.port())
            .is_some_and(|owners| all_ours(&owners))
}

/// Whether what listens at the loopback address `listener` belongs to this process's user. Blocks.
pub fn listener_is_ours(listener: SocketAddr) -> bool {
    let listener = canonical(listener);
    listener.ip().is_loopback()
        && owners(|row| {
            row.state == LISTEN
                && row.local.port() == listener.port()
                && (row.local.ip() == listener.ip() || row.local.ip().is_unspecified())
        })
        .is_some_and(|owners| all_ours(&owners))
}

fn all_ours(owners: &[u32]) -> bool {
    let ours = std::fs::metadata("/proc/self").map(|m| m.uid()).ok();
    !owners.is_empty() && owners.iter().all(|uid| Some(*uid) == ours)
}

struct Row<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
}

/// The users of the sockets that `wanted` picks; `None` where the system does not tell.
fn owners(wanted: impl Fn(&Row<'_>) -> bool) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut readable = false;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = std::fs::read_to_string(table) else { continue };
        readable = true;
        for line in text.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Some(local), Some(remote)) = (address(local), address(remote)) else { continue };
            if wanted(&Row { local, remote, state }) {
                found.push(fields.nth(3)?.parse().ok()?);
            }
        }
    }
    readable.then_some(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn our_own_sockets_are_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listener_is_ours(address));
        let stream = TcpStream::connect(address).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert!(peer_is_ours(peer, accepted.local_addr().unwrap()));
        drop(stream);
    }

    #[test]
    fn nobody_is_not_ours() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(!listener_is_ours(free));
        assert!(!listener_is_ours("192.0.2.1:80".parse().unwrap()));
    }
}
