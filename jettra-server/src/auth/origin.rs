//! Where a request comes from, as far as it matters who it acts for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::sync::{OnceCell, Semaphore};

use super::protected_mode;
use crate::error::{Error, Result};
use crate::peers::far_end_is_trusted;

/// Look-ups at once: each reads the table of all connections, and who comes often must not have a thread for each.
static LOOKING: Semaphore = Semaphore::const_new(2);

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
        let looked = self.is_trusted.get_or_init(async || {
            // It is never closed.
            let _place = LOOKING.acquire().await.ok();
            tokio::task::spawn_blocking(look).await.unwrap_or(false)
        });
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
    /// What is wrong with the name that this node was called by, where that was looked at.
    misnamed: Option<Error>,
    /// None for what this node does by itself.
    far: Option<Arc<FarEnd>>,
}

impl Origin {
    /// The origin of a request that came over a connection from `far`.
    pub fn of(far: &Arc<FarEnd>, headers: &HeaderMap) -> Self {
        let is_passed_on = headers.keys().any(|name| names_an_address(name.as_str()));
        Origin { address: far.far.ip().to_canonical(), is_passed_on, misnamed: None, far: Some(far.clone()) }
    }

    /// The same of a request that called this node by a name that is not its own, if `misnamed` says so.
    #[must_use]
    pub fn with_host(mut self, named: Result<()>) -> Self {
        self.misnamed = named.err();
        self
    }

    /// What is wrong with the name that this node was called by.
    pub fn misnamed(&self) -> Option<&Error> {
        self.misnamed.as_ref()
    }

    /// The node itself.
    pub fn internal() -> Self {
        Origin { address: IpAddr::from([127, 0, 0, 1]), is_passed_on: false, misnamed: None, far: None }
    }

    /// Makes sure that it is a process of the user that this node runs as, or of root, on this machine, that passes on
    /// nobody else's request and calls this node by its name: only such a one may do something without credentials.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn check_owner(&self) -> Result<()> {
        if let Some(misnamed) = &self.misnamed {
            return Err(misnamed.clone());
        }
        let is_owner = match &self.far {
            None => true,
            Some(far) => !self.is_passed_on && self.address.is_loopback() && far.is_trusted().await,
        };
        if is_owner { Ok(()) } else { Err(protected_mode()) }
    }
}

/// Whether a header of this name says for whom a proxy asks, as there are many: whoever sends one is no client.
fn names_an_address(name: &str) -> bool {
    name == "via"
        || name.contains("forwarded")
        || ["-ip", "-ipv6", "clientip", "socketip", "-addr", "-address"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_on_this_machine_is_not_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(near).unwrap();
        let (_accepted, far) = listener.accept().unwrap();
        let far = Arc::new(FarEnd::new(far, near));
        assert!(Origin::of(&far, &HeaderMap::new()).check_owner().await.is_ok());
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
            assert!(Origin::of(&far, &headers).check_owner().await.is_err(), "{name}");
        }
        // The same connection is looked at once; one that has ended before is nobody's.
        drop(stream);
        assert!(Origin::of(&far, &HeaderMap::new()).check_owner().await.is_ok());
        let gone = Arc::new(FarEnd::new(far.far, near));
        assert!(Origin::of(&gone, &HeaderMap::new()).check_owner().await.is_err());
        let elsewhere = Arc::new(FarEnd::new("192.0.2.1:80".parse().unwrap(), near));
        assert!(Origin::of(&elsewhere, &HeaderMap::new()).check_owner().await.is_err());
    }
}
