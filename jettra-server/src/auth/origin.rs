//! Where a request comes from, as far as it matters who it acts for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::peers::far_end_is_trusted;

/// The other end of a connection. Whose process it is is looked up once, where it matters.
#[derive(Debug)]
pub struct FarEnd {
    far: SocketAddr,
    near: SocketAddr,
    is_trusted: OnceCell<bool>,
}

impl FarEnd {
    /// The far end of the connection between `far` and `near`, which is ours.
    pub fn new(far: SocketAddr, near: SocketAddr) -> Self {
        FarEnd { far, near, is_trusted: OnceCell::new() }
    }

    async fn is_trusted(&self) -> bool {
        let (far, near) = (self.far, self.near);
        let look = move || far_end_is_trusted(far, near);
        let looked = self.is_trusted.get_or_init(async || tokio::task::spawn_blocking(look).await.unwrap_or(false));
        *looked.await
    }
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The address at the other end of the connection.
    pub address: IpAddr,
    /// Whether it says that it was passed on.
    is_passed_on: bool,
    /// None for what this node does by itself.
    far: Option<Arc<FarEnd>>,
}

impl Origin {
    /// The origin of a request that came over a connection from `far`.
    pub fn of(far: &Arc<FarEnd>, headers: &HeaderMap) -> Self {
        let is_passed_on = headers.keys().any(|name| names_an_address(name.as_str()));
        Origin { address: far.far.ip().to_canonical(), is_passed_on, far: Some(far.clone()) }
    }

    /// The node itself.
    pub fn internal() -> Self {
        Origin { address: IpAddr::from([127, 0, 0, 1]), is_passed_on: false, far: None }
    }

    /// Whether it is a process of the user that this node runs as, or of root, on this machine, and passes on nobody
    /// else's request.
    pub async fn is_owner(&self) -> bool {
        match &self.far {
            None => true,
            Some(far) => !self.is_passed_on && self.address.is_loopback() && far.is_trusted().await,
        }
    }
}

/// Whether a header of this name says for whom a proxy asks, as there are many: whoever sends one is no client.
fn names_an_address(name: &str) -> bool {
    name == "via"
        || name.contains("forwarded")
        || ["-ip", "-ipv6", "clientip", "socketip", "-addr", "-address"].iter().any(|end| name.ends_with(end))
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

    #[tokio::test]
    async fn a_proxy_on_this_machine_is_not_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(near).unwrap();
        let (_accepted, far) = listener.accept().unwrap();
        let far = Arc::new(FarEnd::new(far, near));
        assert!(Origin::of(&far, &HeaderMap::new()).is_owner().await);
        for name in [
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "X-Original-Forwarded-For",
            "X-Real-IP",
            "CF-Connecting-IP",
            "CF-Connecting-IPv6",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "X-Azure-ClientIP",
            "X-Envoy-External-Address",
            "CloudFront-Viewer-Address",
            "X-Remote-Addr",
        ] {
            let name: axum::http::HeaderName = name.parse().unwrap();
            let headers = HeaderMap::from_iter([(name.clone(), "127.0.0.1".parse().unwrap())]);
            assert!(!Origin::of(&far, &headers).is_owner().await, "{name}");
        }
        // The same connection is looked at once; one that has ended before is nobody's.
        drop(stream);
        assert!(Origin::of(&far, &HeaderMap::new()).is_owner().await);
        let gone = Arc::new(FarEnd::new(far.far, near));
        assert!(!Origin::of(&gone, &HeaderMap::new()).is_owner().await);
        let elsewhere = Arc::new(FarEnd::new("192.0.2.1:80".parse().unwrap(), near));
        assert!(!Origin::of(&elsewhere, &HeaderMap::new()).is_owner().await);
    }
}
