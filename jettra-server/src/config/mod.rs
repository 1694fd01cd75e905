//! What a node is told at its start: `config.json` ⊕ environment ⊕ flags → one validated [`Config`].
//!
//! # Layout
//!
//! - `keys`: the table of every key: its name in the file, in the environment and as a flag, what
//!   values it takes, what it is for
//! - `values`: the layers merged; each value remembers where it came from, so that an error can say it
//! - `build`: from merged values to a checked [`Config`]
//! - `file`: which `config.json` counts, and the only code here that touches files and environment
//! - `old_keys`: those of the product that this one replaces
//! - `types`: [`NodeName`], [`NodeUrl`], [`Secret`]
//!
//! A flag counts more than the environment, the environment more than the file, the file more than
//! the default. Only `file` has effects: [`Config::resolve`] is a function of its arguments.

mod build;
mod file;
mod keys;
mod old_keys;
#[cfg(test)]
mod tests;
mod types;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use keys::{KEYS, Key, Kind};
pub use types::{NodeName, NodeUrl, PASSWORD_BYTES, Secret};
pub use values::{FileText, Flags, Source};

/// Everything a node is told at its start, checked.
///
/// It serialises with the keys of `config.json`, secrets masked: that is the answer to
/// `GET /api/config` and what `--print-config` shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// The address or host name to listen on.
    pub host: String,
    /// The one port for clients, nodes, the UI and probes.
    pub port: u16,
    /// Where everything is kept. Absolute once loaded by [`Config::load`].
    pub data_dir: PathBuf,
    /// Whether the node is, or will be, a member of a cluster.
    #[serde(rename = "distributed")]
    pub distributed: bool,
    /// The node's name, where it is configured; else the node makes one at its first start and keeps it.
    #[serde(rename = "NodeID")]
    pub node_id: Option<NodeName>,
    /// Whether this node begins a new cluster, if there is none yet.
    pub bootstrap: bool,
    /// Whether it is to vote once its peers have registered it; else it is a read replica.
    pub voter: bool,
    /// Nodes to ask for registration, in this order; without this node's own URL.
    pub peers: Vec<NodeUrl>,
    /// Where clients and other nodes reach this node.
    pub advertise_url: NodeUrl,
    /// The administrator's password, for as long as no administrator exists.
    pub admin_password: Option<Secret>,
    /// What nodes prove to each other. Without one the first node makes it.
    pub cluster_secret: Option<Secret>,
    /// The secret before, which counts as well while not every node has the new one.
    pub cluster_secret_before: Option<Secret>,
    /// Further values of the `Host` header to accept, as `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// Whether the metrics can be read without credentials from other machines too.
    pub metrics_public: bool,
    /// How often a leader is heard.
    #[serde(rename = "HeartbeatMs", serialize_with = "milliseconds")]
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election.
    #[serde(rename = "ElectionMinMs", serialize_with = "milliseconds")]
    pub election_min: Duration,
    /// The longest such silence. Each node draws its own between the two.
    #[serde(rename = "ElectionMaxMs", serialize_with = "milliseconds")]
    pub election_max: Duration,
    /// The silence after which a member counts as INACTIVE.
    #[serde(rename = "InactiveAfterMs", serialize_with = "milliseconds")]
    pub inactive_after: Duration,
    /// How long a request may take that names no `timeout=`.
    #[serde(rename = "RequestTimeoutMs", serialize_with = "milliseconds")]
    pub request_timeout: Duration,
    /// How long a client may take nothing of its answer before it is cut off.
    #[serde(rename = "SendTimeoutMs", serialize_with = "milliseconds")]
    pub send_timeout: Duration,
    /// The longest request body, in bytes.
    pub max_body_bytes: usize,
    /// How many connections are served at once.
    pub max_connections: usize,
    /// How many of them from one address, unless it is loopback; of IPv6 a network of 64 bits counts as one.
    pub max_connections_per_address: usize,
    /// How many bytes of requests may be under way into Raft before writes get `busy`.
    pub max_in_flight_bytes: usize,
    /// How many bytes of answers may be under way before reads get `busy`.
    pub max_answer_bytes: usize,
    /// Memory for cached documents, in bytes.
    pub cache_bytes: usize,
    /// How many log entries are retained for followers that are behind.
    pub log_retain_entries: u64,
    /// How many bytes of log are retained for them. The smaller of the two bounds counts.
    pub log_retain_bytes: u64,
    /// Free disk space below which writes get `storage_full`, in bytes.
    pub disk_reserve_bytes: u64,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or `tracing` directives such as `info,jettra_server::raft=debug`.
    pub log_level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// A configuration together with how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// What a person should know, one line each: unknown keys, settings without effect.
    pub warnings: Vec<String>,
    /// What may be known, and needs nothing to be done.
    pub note: Option<String>,
    /// Where each key's value came from. Keys that are not listed have their default.
    pub sources: BTreeMap<&'static str, Source>,
    /// The `config.json` that was read.
    pub file: Option<PathBuf>,
}

/// A configuration that cannot be used. Displays as one line with what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was asked for, or found, cannot be read.
    #[error("cannot read the configuration file {}: {error}: check the path and its permissions", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("{} is not a valid configuration: {what}: it must be one JSON object such as {{\"Port\": 8080}}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        what: String,
    },
    /// One key's value cannot be used.
    #[error("{key} is {value} ({origin}), but must be {expected}")]
    Value {
        /// The key, as in the file.
        key: &'static str,
        /// The value that was given; masked for secrets.
        value: String,
        /// Where it came from.
        origin: Source,
        /// What it must be, and what to do.
        expected: String,
    },
    /// A name that is not known, and most likely is meant to be a secret's.
    #[error(
        "{name:?} ({origin}) is not known and looks like {meant}: without it this node would be open: write it as {meant}, or take it out"
    )]
    Misspelt {
        /// The name that was given.
        name: String,
        /// Where.
        origin: Source,
        /// What it is most likely meant to be.
        meant: &'static str,
    },
    /// A key of the product that this one replaces, without which a node would do something else than was meant.
    #[error("{name:?} ({origin}) is not what makes a cluster any more: replace it by {instead}, and take it out")]
    Replaced {
        /// The key that was given.
        name: String,
        /// Where.
        origin: Source,
        /// What it is replaced by.
        instead: &'static str,
    },
    /// Something about the surroundings, such as a working directory that is gone.
    #[error("{0}")]
    Surroundings(String),
}

impl Config {
    /// The configuration as `GET /api/config` answers it: compact JSON, secrets masked.
    pub fn masked_json(&self) -> String {
        // Strings, numbers, booleans and lists of strings under fixed keys: none of that can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same for people: one key a line.
    pub fn masked_json_pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Default for Config {
    /// A standalone node on port 8080 with its data in `data`.
    fn default() -> Self {
        build::defaults()
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_millis())
}
