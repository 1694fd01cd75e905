//! The port of a node, on every address that its `Host` means.
//!
//! `localhost` is two addresses, 127.0.0.1 and ::1, and clients take the one or the other. A node that held only one
//! would leave the other to whoever binds it first, who is then sent the passwords. So a loopback `Host` holds both
//! loopback addresses and a wildcard holds the port in both families, or the node does not start.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::peers::listeners_at;

/// Connections that may wait in the kernel's queue.
const BACKLOG: i32 = 1024;
/// Tries to find a port that is free in both families, where any port will do.
const TRIES: usize = 16;

/// The sockets that a node accepts connections on.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    /// The socket that is asked first next time, so that none waits behind another.
    first: AtomicUsize,
}

impl Listener {
    /// Listens at `host`:`port`; port 0 is any that is free.
    ///
    /// # Errors
    /// One line: the address, why not, and what to do.
    pub async fn bind(host: &str, port: u16) -> std::result::Result<Self, String> {
        let addresses = addresses(host).await.map_err(|e| {
            format!("cannot listen on {host}:{port}: {e}: give an address of this machine as Host, such as 0.0.0.0")
        })?;
        let mut tries = if port == 0 { TRIES } else { 1 };
        loop {
            tries -= 1;
            match hold(&addresses, port) {
                Ok(sockets) => return Ok(Listener { sockets, first: AtomicUsize::new(0) }),
                Err(_) if tries > 0 => {}
                Err((address, e)) => return Err(cannot_listen(address, &e)),
            }
        }
    }

    /// The port in use.
    #[cfg(test)]
    pub fn port(&self) -> u16 {
        self.sockets.first().and_then(|socket| socket.local_addr().ok()).map_or(0, |address| address.port())
    }

    /// The next connection, whichever address it came to.
    ///
    /// # Errors
    /// What the system says: out of descriptors, or a connection that is gone already.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|context| {
            let first = self.first.fetch_add(1, Ordering::Relaxed);
            for place in 0..self.sockets.len() {
                let socket = &self.sockets[(first.wrapping_add(place)) % self.sockets.len()];
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Every address that `host` means. The flag says that the address must be held where this machine has it, and else
/// may be missing.
async fn addresses(host: &str) -> Result<Vec<(IpAddr, bool)>> {
    let both = |v4, v6| Ok(vec![(IpAddr::V4(v4), true), (IpAddr::V6(v6), false)]);
    let literal = host.parse::<IpAddr>().ok();
    if host.eq_ignore_ascii_case("localhost") {
        return both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    }
    match literal {
        Some(ip) if ip.is_unspecified() => both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        Some(ip) if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST) => {
            both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
        }
        Some(ip) => Ok(vec![(ip, true)]),
        // A name may have several addresses as well.
        None => {
            let mut found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.map(|a| (a.ip(), false)).collect();
            found.sort_unstable();
            found.dedup();
            if let [(_, must)] = &mut found[..] {
                *must = true;
            }
            Ok(found)
        }
    }
}

/// Listens at all `addresses`, or at none.
fn hold(addresses: &[(IpAddr, bool)], mut port: u16) -> std::result::Result<Vec<TcpListener>, (SocketAddr, Error)> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for (ip, must) in addresses {
        let address = SocketAddr::new(*ip, port);
        match listen(address) {
            Ok(socket) => {
                port = socket.local_addr().map_or(port, |bound| bound.port());
                sockets.push(socket);
            }
            // The machine has no such address, so nobody else can be there either.
            Err(e) if !must && is_absent(&e) => {
                tracing::info!(%address, error = %e, "this machine does not have this address, it is left out");
                missing = Some((address, e));
            }
            Err(e) => return Err((address, e)),
        }
    }
    match missing {
        Some(missing) if sockets.is_empty() => Err(missing),
        _ => Ok(sockets),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose connections have just ended may be used again at once; one that is listened on may not.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each family has its own socket, so that addresses look the same everywhere.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether the machine lacks the address or its whole family.
fn is_absent(e: &Error) -> bool {
    const EAFNOSUPPORT: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
    e.kind() == ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(EAFNOSUPPORT)
}

fn cannot_listen(address: SocketAddr, e: &Error) -> String {
    let who = if e.kind() == ErrorKind::AddrInUse { who_listens(address) } else { String::new() };
    format!("cannot listen on {address}: {e}{who}: stop the program that uses the port, or choose another with --port")
}

/// Who holds a port, as far as the system tells: that it is another user matters most.
fn who_listens(address: SocketAddr) -> String {
    let found: Vec<String> = listeners_at(address.port())
        .into_iter()
        .filter(|(at, _)| at.ip() == address.ip() || at.ip().is_unspecified() || address.ip().is_unspecified())
        .map(|(at, uid)| format!("a process of the user with id {uid} listens on {at}"))
        .collect();
    if found.is_empty() { String::new() } else { format!(" ({})", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// Whether this machine has IPv6 at all.
    fn has_v6() -> bool {
        std::net::TcpListener::bind("[::1]:0").is_ok()
    }

    #[tokio::test]
    async fn a_loopback_or_wildcard_host_holds_both_families() {
        for host in ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"] {
            let listener = Listener::bind(host, 0).await.unwrap();
            let port = listener.port();
            assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err(), "{host}");
            assert!(std::net::TcpListener::bind(("::1", port)).is_err(), "{host}");
            let mut own = vec![IpAddr::from([127, 0, 0, 1])];
            own.extend(has_v6().then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
            for ip in own {
                let client = TcpStream::connect((ip, port)).await.unwrap();
                let (_, peer) = listener.accept().await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap(), "{host}");
            }
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_in_one_family_is_refused_with_who_has_it() {
        if !has_v6() {
            return;
        }
        for (squatted, hosts) in
            [("::1", ["127.0.0.1", "localhost", "0.0.0.0"]), ("127.0.0.1", ["::1", "::", "localhost"])]
        {
            let squatter = std::net::TcpListener::bind((squatted, 0)).unwrap();
            let address = squatter.local_addr().unwrap();
            for host in hosts {
                let refused = Listener::bind(host, address.port()).await.unwrap_err();
                let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
                let who = format!("a process of the user with id {uid} listens on {address}");
                assert!(refused.contains(&who) && refused.contains("--port"), "{host}: {refused}");
            }
        }
    }

    #[tokio::test]
    async fn another_loopback_address_is_only_itself() {
        let listener = Listener::bind("127.0.0.2", 0).await.unwrap();
        assert!(std::net::TcpListener::bind(("127.0.0.1", listener.port())).is_ok());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let refused = Listener::bind("192.0.2.1", 8080).await.unwrap_err();
        assert!(refused.starts_with("cannot listen on 192.0.2.1:8080: "), "{refused}");
    }
}
