//! Whom this node lets open a session, once the cluster's secret is proved.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::Cluster;
use crate::error::{Error, Result};
use crate::peers::{ProveRequest, not_let_in};
use crate::raft::incoming;

/// How long resolving a name may take.
const RESOLVE: Duration = Duration::from_secs(1);
/// Names remembered under which members have reached this node.
const REACHED: usize = 16;

impl Cluster {
    /// Makes sure that a caller that has proved the secret means this node, and is not this node itself. `local` is the
    /// connection's address here. Gives the index by which the caller was removed from the cluster, if it was.
    ///
    /// # Errors
    /// Which of cluster, target, sender and URL is wrong, and what to do about it.
    pub async fn may_open_session(&self, request: &ProveRequest, local: SocketAddr) -> Result<Option<u64>> {
        let conflict = |reason, message: String| Err(not_let_in(reason, Error::conflict(message)));
        let membership = self.identity().membership;
        let is_other = membership.as_ref().is_none_or(|own| own.cluster_id != request.cluster);
        if is_other && request.to != 0 && self.check_own_url(&request.url, local).await.is_ok() {
            self.note_claim(request);
        }
        match &membership {
            Some(own) if !request.cluster.is_empty() && request.cluster != own.cluster_id => {
                let message =
                    format!("this node belongs to another cluster ({}), not {}", own.cluster_id, request.cluster);
                return conflict("cluster", message);
            }
            Some(own) if request.to != 0 && request.to != own.raft_id => {
                return conflict("target", format!("this node has raft id {}, not {}", own.raft_id, request.to));
            }
            Some(own) if request.from == own.raft_id => {
                return conflict("sender", format!("this node itself has raft id {}", own.raft_id));
            }
            None if request.to != 0 => {
                let message = format!("this node waits to be registered, and has no raft id {}", request.to);
                return Err(not_let_in("waiting", Error::unavailable(message)));
            }
            _ => {}
        }
        self.check_own_url(&request.url, local).await.map_err(|e| not_let_in("url", e))?;
        Ok(self.running().and_then(|consensus| incoming::removed(&consensus, request.from)))
    }

    /// Whether a caller that has proved the secret reached this node under this host, beside its configured ones.
    pub fn was_reached_as(&self, host: &str) -> bool {
        self.reached.read().iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// Makes sure that `url`, which a caller dialled, is this node's own and not that of something that stands between:
    /// its port is ours, and its host is loopback on this machine, a configured name, or one of this machine's addresses.
    async fn check_own_url(&self, url: &str, local: SocketAddr) -> Result<()> {
        let options = self.options();
        let refused = || {
            Error::conflict(format!(
                "the node that answers here does not know {url} as its own URL: it has AdvertiseUrl {} and listens on port \
                 {}: use its own URL, or set AdvertiseUrl (or AllowedHosts) in its config.json to the one that others reach",
                self.url(),
                options.port
            ))
        };
        let (dialled, own) = (url::Url::parse(url).ok(), url::Url::parse(self.url()).ok());
        let (Some(dialled), Some(own)) = (dialled, own) else { return Err(refused()) };
        let (Some(host), Some(port)) = (dialled.host_str(), dialled.port_or_known_default()) else {
            return Err(refused());
        };
        let allowed: Vec<url::Url> =
            options.allowed_hosts.iter().filter_map(|name| url::Url::parse(&format!("http://{name}")).ok()).collect();
        let port_is_ours = port == options.port
            || Some(port) == own.port_or_known_default()
            || allowed.iter().any(|name| name.port() == Some(port));
        if dialled.scheme() != own.scheme() || !port_is_ours {
            return Err(refused());
        }
        let bare = host.trim_matches(['[', ']']);
        let address = bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        if address.is_some_and(|ip| ip.is_loopback()) || bare == "localhost" || bare.ends_with(".localhost") {
            // Another machine's loopback leads here only through something that stands between.
            return if local.ip().to_canonical().is_loopback() { Ok(()) } else { Err(refused()) };
        }
        let is_configured = std::iter::once(&own).chain(&allowed).any(|name| name.host_str() == Some(host));
        let is_ours = is_configured
            || match address {
                Some(ip) => is_of_this_machine(ip, local),
                None => self.is_name_of_this_machine(bare, local).await,
            };
        if !is_ours {
            return Err(refused());
        }
        self.note_reached(host);
        Ok(())
    }

    async fn is_name_of_this_machine(&self, name: &str, local: SocketAddr) -> bool {
        if self.was_reached_as(name) {
            return true;
        }
        let resolved = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await;
        let Ok(Ok(addresses)) = resolved else { return false };
        addresses.take(16).any(|address| is_of_this_machine(address.ip().to_canonical(), local))
    }

    fn note_reached(&self, host: &str) {
        if self.was_reached_as(host) {
            return;
        }
        let mut reached = self.reached.write();
        if reached.len() >= REACHED {
            reached.remove(0);
        }
        reached.push(host.to_ascii_lowercase());
    }
}

/// Whether `ip` is an address of this machine: only to one of these a socket can be bound.
fn is_of_this_machine(ip: IpAddr, local: SocketAddr) -> bool {
    !ip.is_unspecified() && (ip == local.ip().to_canonical() || UdpSocket::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_this_machine_or_not() {
        let local = "192.0.2.7:8080".parse().unwrap();
        let is = |ip: &str| is_of_this_machine(ip.parse().unwrap(), local);
        assert!(is("192.0.2.7") && is("127.0.0.1"));
        assert!(!is("192.0.2.8") && !is("0.0.0.0"));
    }
}
