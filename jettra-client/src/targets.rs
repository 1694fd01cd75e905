//! The nodes that the client knows, and which of them to ask next.
//!
//! Reads stay with one node as long as it answers; writes prefer the leader. Nodes that failed are
//! left alone for a moment unless nothing else is left. Members are learned from the cluster within
//! bounds: at most [`MOST_LEARNED`], and never a URL to which credentials should not go.

use std::time::{Duration, Instant};

use reqwest::Url;

use crate::error::{Error, Result};

/// How many URLs may be learned beside those that were given.
const MOST_LEARNED: usize = 32;
/// How long a node that failed is left alone.
const REST: Duration = Duration::from_secs(1);

/// The nodes known to one client.
#[derive(Debug)]
pub(crate) struct Targets {
    list: Vec<Target>,
    /// Which of `list` reads go to.
    current: usize,
    /// The leader's URL, if it was told.
    leader: Option<String>,
    discovered: Option<Instant>,
}

#[derive(Debug)]
struct Target {
    url: String,
    given: bool,
    /// The `NodeID` that answered there.
    node: Option<String>,
    rests_until: Option<Instant>,
}

impl Target {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

impl Targets {
    /// # Errors
    /// [`Error::InvalidInput`] if there is no URL, or one of them is none.
    pub(crate) fn new(urls: &[String]) -> Result<Targets> {
        let mut list: Vec<Target> = Vec::new();
        for url in urls {
            let url = normalize(url)?;
            if !list.iter().any(|target| target.url == url) {
                list.push(Target { url, given: true, node: None, rests_until: None });
            }
        }
        if list.is_empty() {
            return Err(Error::invalid("no URL was given; give that of any node, such as http://localhost:8080"));
        }
        Ok(Targets { list, current: 0, leader: None, discovered: None })
    }

    /// The URL to ask next: none of `tried`, unless it is all there is (then none).
    pub(crate) fn pick(&self, prefer_leader: bool, tried: &[String], now: Instant) -> Option<String> {
        let open = |target: &&Target| !tried.contains(&target.url);
        let leader = self.list.iter().filter(|target| prefer_leader && self.leader.as_ref() == Some(&target.url));
        let onwards = self.list.iter().cycle().skip(self.current).take(self.list.len());
        leader
            .chain(onwards.clone())
            .filter(open)
            .find(|target| !target.rests(now))
            .or_else(|| onwards.filter(open).min_by_key(|target| target.rests_until))
            .map(|target| target.url.clone())
    }

    /// Notes that a node answered as a node that works.
    pub(crate) fn answered(&mut self, url: &str, node: Option<&str>, now: Instant) {
        if let Some(at) = self.position(url) {
            self.list[at].rests_until = None;
            if let Some(node) = node {
                self.list[at].node = Some(node.to_owned());
            }
            if self.list[self.current].rests(now) {
                self.current = at;
            }
        }
    }

    /// Notes that a node did not answer, or cannot do its work.
    pub(crate) fn failed(&mut self, url: &str, now: Instant) {
        if let Some(at) = self.position(url) {
            self.list[at].rests_until = Some(now + REST);
        }
        if self.leader.as_deref() == Some(url) {
            self.leader = None;
        }
    }

    /// Notes who leads: a URL, or the `NodeID` of a node that answered before.
    pub(crate) fn leads(&mut self, leader: &str) {
        if leader.starts_with("http://") || leader.starts_with("https://") {
            self.learn([leader]);
            self.leader = normalize(leader).ok().filter(|url| self.position(url).is_some());
        } else if let Some(target) = self.list.iter().find(|target| target.node.as_deref() == Some(leader)) {
            self.leader = Some(target.url.clone());
        } else if self.list.iter().any(|target| Some(&target.url) == self.leader.as_ref() && target.node.is_some()) {
            // Another one leads now, and where it is was not told: any node forwards.
            self.leader = None;
        }
    }

    /// Notes that a node said there is no leader.
    pub(crate) fn leaderless(&mut self) {
        self.leader = None;
    }

    /// Adds members to fall back on.
    pub(crate) fn learn<'a>(&mut self, urls: impl IntoIterator<Item = &'a str>) {
        for url in urls {
            let Ok(url) = normalize(url) else { continue };
            let learned = self.list.iter().filter(|target| !target.given).count();
            if learned < MOST_LEARNED && self.position(&url).is_none() && self.may_go_to(&url) {
                self.list.push(Target { url, given: false, node: None, rests_until: None });
            }
        }
    }

    /// Whether it is time to ask the cluster for its members; if so, notes that it was done.
    pub(crate) fn discovery_due(&mut self, now: Instant, every: Duration) -> bool {
        let due = self.discovered.is_none_or(|at| now.duration_since(at) >= every);
        if due {
            self.discovered = Some(now);
        }
        due
    }

    /// The URLs known, those given first.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.list.iter().map(|target| target.url.clone()).collect()
    }

    fn position(&self, url: &str) -> Option<usize> {
        self.list.iter().position(|target| target.url == url)
    }

    /// Credentials given for TLS do not go out in the clear, and a cluster elsewhere that calls
    /// itself `localhost` does not mean the machine this client runs on.
    fn may_go_to(&self, url: &str) -> bool {
        let given = || self.list.iter().filter(|target| target.given);
        let encrypted = |url: &str| url.starts_with("https://");
        (encrypted(url) || !given().any(|target| encrypted(&target.url)))
            && (!is_loopback(url) || given().any(|target| is_loopback(&target.url)))
    }
}

/// Brings a node's URL to the form `scheme://host[:port][/path]`, without a slash at the end.
pub(crate) fn normalize(url: &str) -> Result<String> {
    let wrong =
        |why: &str| Error::invalid(format!("{url:?} is no URL of a node: {why}, such as http://localhost:8080"));
    let mut parsed =
        Url::parse(url.trim()).map_err(|error| wrong(&format!("{error}; it should be a scheme, a host and a port")))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong("it should begin with http:// or https:// and name a host"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("user and password do not belong into it; it should be a scheme, a host and a port"));
    }
    parsed.set_query(None);
    parsed.set_fragment(None);
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(url: &str) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    parsed.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(urls: &[&str]) -> Targets {
        Targets::new(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn urls_are_brought_to_one_form() {
        assert_eq!(normalize("http://LocalHost:8080/").unwrap(), "http://localhost:8080");
        assert_eq!(normalize(" https://db.example/jettra/ ").unwrap(), "https://db.example/jettra");
        for wrong in ["localhost:8080", "ftp://a", "http://", "", "http://admin:secret@a:1"] {
            assert!(normalize(wrong).is_err(), "{wrong}");
        }
        assert_eq!(targets(&["http://a:1", "http://a:1/", "http://b:2"]).urls(), ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn reads_stay_and_writes_go_to_the_leader() {
        let now = Instant::now();
        let mut targets = targets(&["http://a:1", "http://b:2", "http://c:3"]);
        targets.leads("http://c:3");
        assert_eq!(targets.pick(false, &[], now).unwrap(), "http://a:1");
        assert_eq!(targets.pick(true, &[], now).unwrap(), "http://c:3");
        targets.failed("http://c:3", now);
        assert_eq!(targets.pick(true, &[], now).unwrap(), "http://a:1");
    }

    #[test]
    fn a_leader_named_by_id_is_found_where_it_answered() {
        let now = Instant::now();
        let mut targets = targets(&["http://a:1", "http://b:2"]);
        targets.leads("node2");
        assert_eq!(targets.pick(true, &[], now).unwrap(), "http://a:1");
        targets.answered("http://b:2", Some("node2"), now);
        targets.leads("node2");
        assert_eq!(targets.pick(true, &[], now).unwrap(), "http://b:2");
    }

    #[test]
    fn what_failed_rests_but_is_better_than_nothing() {
        let now = Instant::now();
        let mut targets = targets(&["http://a:1", "http://b:2"]);
        targets.failed("http://a:1", now);
        assert_eq!(targets.pick(false, &[], now).unwrap(), "http://b:2");
        targets.answered("http://b:2", None, now);
        targets.failed("http://b:2", now + Duration::from_millis(1));
        assert_eq!(targets.pick(false, &[], now).unwrap(), "http://a:1", "it has rested longest");
        assert_eq!(targets.pick(false, &["http://a:1".into()], now).unwrap(), "http://b:2");
        assert_eq!(targets.pick(false, &["http://a:1".into(), "http://b:2".into()], now), None);
    }

    #[test]
    fn members_are_learned_within_bounds() {
        let mut targets = targets(&["http://a:1"]);
        let many: Vec<String> = (0..100).map(|n| format!("http://m{n}:1")).collect();
        targets.learn(many.iter().map(String::as_str));
        targets.learn(["http://m0:1", "nonsense"]);
        assert_eq!(targets.urls().len(), 1 + MOST_LEARNED);
    }

    #[test]
    fn credentials_do_not_go_where_they_were_not_sent() {
        let mut far = targets(&["https://db.example"]);
        far.learn(["http://db2.example", "https://localhost:8081", "https://127.0.0.1", "https://db3.example"]);
        far.leads("http://db2.example");
        assert_eq!(far.urls(), ["https://db.example", "https://db3.example"]);
        let mut near = targets(&["http://localhost:8080"]);
        near.learn(["http://127.0.0.1:8081", "http://[::1]:8082"]);
        assert_eq!(near.urls().len(), 3);
    }
}
