//! Where a request comes from, as far as it matters who it acts for.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};

use crate::error::{Error, Result};

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The address at the other end of the connection.
    pub address: IpAddr,
    /// Whether it is this machine itself, and not a proxy on it.
    pub is_this_machine: bool,
}

impl Origin {
    /// The origin of a request that came over a connection from `peer`.
    pub fn of(peer: SocketAddr, headers: &HeaderMap) -> Self {
        let proxied = headers.contains_key(FORWARDED)
            || headers.contains_key(VIA)
            || headers.keys().any(|name| name.as_str().starts_with("x-forwarded-"));
        let address = peer.ip().to_canonical();
        Origin { address, is_this_machine: address.is_loopback() && !proxied }
    }

    /// The node itself.
    pub fn internal() -> Self {
        Origin { address: IpAddr::from([127, 0, 0, 1]), is_this_machine: true }
    }
}

/// Refuses requests that a web page elsewhere sent (`Origin`), or that reached this node under a
/// name that is not its own (`Host`: DNS rebinding). `local` is the connection's address here,
/// `own` the hosts this node is configured with.
///
/// # Errors
/// `forbidden`, naming the header's value and the setting that allows it.
pub fn check_host_and_origin(
    headers: &HeaderMap,
    authority: Option<&str>,
    local: SocketAddr,
    own: &[String],
) -> Result<()> {
    let host = match headers.get(HOST) {
        Some(value) => value.to_str().map_err(|_| Error::forbidden("the Host header is not readable"))?,
        None => authority.unwrap_or_default(),
    };
    let name = host_of(host).to_ascii_lowercase();
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| ip.to_canonical());
    let allowed = match ip {
        // A literal address cannot be rebound: it must be one that this connection really has.
        Ok(ip) => ip.is_loopback() || ip == local.ip().to_canonical() || own.contains(&name),
        Err(_) => name == "localhost" || name.ends_with(".localhost") || own.contains(&name),
    };
    if !allowed {
        return Err(Error::forbidden(format!(
            "Host {:?} is not this node's address: set AdvertiseUrl or AllowedHosts in config.json to use it",
            shorten(host)
        )));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let same = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).is_some_and(|o| o == host);
    if same {
        return Ok(());
    }
    Err(Error::forbidden(format!("a page from {:?} may not use this node", shorten(origin))))
}

/// The host of `host:port`.
pub fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if authority[at + 1..].bytes().all(|b| b.is_ascii_digit()) && !authority[..at].ends_with(':') => {
            &authority[..at]
        }
        _ => authority,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check_host_and_origin(&headers, None, "192.0.2.7:8080".parse().unwrap(), &["db.example.org".into()]).is_ok()
    }

    #[test]
    fn only_the_nodes_own_names_are_answered() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.0.2.7:8080", "DB.example.org", "localhost"]
        {
            assert!(check(host, None), "{host}");
        }
        for host in ["evil.example", "192.0.2.8:8080", "localhost.evil.example:8080", ""] {
            assert!(!check(host, None), "{host}");
        }
    }

    #[test]
    fn only_the_nodes_own_pages_may_ask() {
        assert!(check("localhost:8080", Some("http://localhost:8080")));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "http://localhost"] {
            assert!(!check("localhost:8080", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_proxy_on_this_machine_is_not_this_machine() {
        let peer = "127.0.0.1:5000".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert!(Origin::of(peer, &headers).is_this_machine);
        headers.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        assert!(!Origin::of(peer, &headers).is_this_machine);
    }
}
