//! Values that cannot exist in a wrong form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// How many bytes a user's password has: a shorter one is guessed, a longer one only costs time.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// A node's `NodeID`: a name of `[A-Za-z0-9_.-]{1,120}` that does not start with a dot.
///
/// It is not the node's number in Raft, which comes from its registration and is never reused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 120;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = String;

    /// The error says what a name must be.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if (1..=Self::MAX_LEN).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed) {
            Ok(NodeName(text.to_owned()))
        } else {
            Err("1 to 120 letters, digits, `_`, `.` or `-`, not starting with a dot".to_owned())
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a node is reached: always `scheme://host:port`, so that two spellings of one address are
/// equal. A trailing slash and upper case in the host are accepted and normalised away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeUrl(String);

impl NodeUrl {
    /// `http://localhost:<port>`.
    pub fn localhost(port: u16) -> Self {
        NodeUrl(format!("http://localhost:{port}"))
    }

    /// The URL as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `host:port`, as the `Host` header has it; IPv6 addresses in brackets.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or(&*self.0, |(_, authority)| authority)
    }

    /// The host alone; IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        self.authority().rsplit_once(':').map_or(self.authority(), |(host, _)| host)
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }
}

impl FromStr for NodeUrl {
    type Err = String;

    /// The error says what a node's URL must be.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "a URL such as http://host:8080, without path, user or query".to_owned();
        let url = Url::parse(text.trim()).map_err(|_| expected())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if plain && port != 0 => Ok(NodeUrl(format!("{}://{host}:{port}", url.scheme()))),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a host, as configured or as part of a URL, names this machine only.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A value that never shows: neither in `Debug` nor when serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What shows in place of a secret.
    pub const MASK: &str = "********";

    /// Keeps `text` from showing.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::MASK)
    }
}
