//! What a browser says of the page that sends a request, and the name that a node is called by: a page elsewhere, or one
//! whose name was pointed here (DNS rebinding), must not act as the user of this machine.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use crate::error::{Error, Result};
use crate::state::names::shown;

/// Refuses a request with two names for this node: who stands between may go by the other one.
///
/// # Errors
/// `bad_request`.
pub fn check_one_host(headers: &HeaderMap) -> Result<()> {
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Error::bad_request("there are two Host headers: send one"));
    }
    Ok(())
}

/// Refuses what a page of another site sends: by `Origin`, which comes with everything but plain reads, and by
/// `Sec-Fetch-Site`, since a browser that has asked for a password sends it along for other sites too.
///
/// # Errors
/// `forbidden`, naming the page.
pub fn check_page(headers: &HeaderMap, authority: Option<&str>) -> Result<()> {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        return Err(Error::forbidden("a page of another site may not use this node"));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let host = called(headers, authority)?;
    if origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).is_some_and(|o| o == host) {
        return Ok(());
    }
    Err(Error::forbidden(format!("a page from {} may not use this node", shown(origin))))
}

/// Refuses a request that reached this node under a name that is not its own. `local` is the connection's address here;
/// `is_own` says of a lower-case name whether it is one of this node's beside loopback.
///
/// # Errors
/// `forbidden`, naming the header's value and the setting that allows it.
pub fn check_host(
    headers: &HeaderMap,
    authority: Option<&str>,
    local: SocketAddr,
    is_own: impl Fn(&str) -> bool,
) -> Result<()> {
    let host = called(headers, authority)?;
    let name = host_of(host).to_ascii_lowercase();
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| ip.to_canonical());
    let allowed = match ip {
        // A literal address cannot be rebound: it must be one that this connection really has.
        Ok(ip) => ip.is_loopback() || ip == local.ip().to_canonical() || is_own(&name),
        Err(_) => name == "localhost" || name.ends_with(".localhost") || is_own(&name),
    };
    if allowed {
        return Ok(());
    }
    Err(Error::forbidden(format!(
        "Host {} is not this node's address: until a password is set it must be; set one, or set AdvertiseUrl or \
         AllowedHosts in config.json",
        shown(host)
    )))
}

/// The `Host` that was called.
fn called<'a>(headers: &'a HeaderMap, authority: Option<&'a str>) -> Result<&'a str> {
    match headers.get(HOST) {
        Some(value) => value.to_str().map_err(|_| Error::forbidden("the Host header is not readable")),
        None => Ok(authority.unwrap_or_default()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn named(host: &str) -> bool {
        let local = "192.0.2.7:8080".parse().unwrap();
        check_host(&headers(&[("host", host)]), None, local, |name| name == "db.example.org").is_ok()
    }

    fn paged(name: &'static str, value: &str) -> bool {
        check_page(&headers(&[("host", "localhost:8080"), (name, value)]), None).is_ok()
    }

    #[test]
    fn only_the_nodes_own_names_are_answered() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.0.2.7:8080", "DB.example.org", "localhost"]
        {
            assert!(named(host), "{host}");
        }
        for host in ["evil.example", "192.0.2.8:8080", "localhost.evil.example:8080", ""] {
            assert!(!named(host), "{host}");
        }
    }

    #[test]
    fn only_the_nodes_own_pages_may_ask() {
        assert!(paged("origin", "http://localhost:8080") && paged("origin", "https://localhost:8080"));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "http://localhost"] {
            assert!(!paged("origin", origin), "{origin}");
        }
        for (site, may) in [("same-origin", true), ("none", true), ("cross-site", false), ("Cross-Site", false)] {
            assert_eq!(paged("sec-fetch-site", site), may, "{site}");
        }
    }

    #[test]
    fn there_is_one_host() {
        assert!(check_one_host(&headers(&[("host", "a")])).is_ok() && check_one_host(&headers(&[])).is_ok());
        assert!(check_one_host(&headers(&[("host", "a"), ("host", "a")])).is_err());
    }
}
