//! The table of keys: the file, the environment, the flags and `--help` all come from here.

use std::ops::RangeInclusive;

/// One thing that can be configured.
#[derive(Debug)]
pub struct Key {
    /// Its name in `config.json`; case counts.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag, without the dashes. Secrets have none: a command line shows in the list of processes.
    pub flag: Option<&'static str>,
    /// The values it takes.
    pub kind: Kind,
    /// What it is for, with its default.
    pub help: &'static str,
}

/// The values a key takes.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that never shows.
    Secret,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// A list of strings; separated by commas in the environment and in flags.
    List,
}

macro_rules! keys {
    ($($constant:ident = $name:literal, $env:literal, $flag:expr, $kind:expr, $help:literal;)*) => {
        $(pub(super) const $constant: &Key =
            &Key { name: $name, env: $env, flag: $flag, kind: $kind, help: $help };)*
        /// Every key, in the order in which people should read them.
        pub const KEYS: &[&Key] = &[$($constant),*];
    };
}

const BYTES_MAX: u64 = 1 << 40;
const MS_MAX: u64 = 3_600_000;

#[rustfmt::skip]
keys! {
    HOST = "Host", "JETTRA_HOST", Some("host"), Kind::Text,
        "Address or host name to listen on [default: 0.0.0.0]";
    PORT = "Port", "JETTRA_PORT", Some("port"), Kind::Number(1..=65_535),
        "Port for clients, nodes, UI and probes [default: 8080]";
    DATA_DIR = "DataDir", "JETTRA_DATA_DIR", Some("data-dir"), Kind::Text,
        "Directory of all data, relative to the working directory [default: data]";
    DISTRIBUTED = "distributed", "JETTRA_DISTRIBUTED", Some("distributed"), Kind::Switch,
        "Be a member of a cluster [default: false]";
    NODE_ID = "NodeID", "JETTRA_NODE_ID", Some("node-id"), Kind::Text,
        "The node's unique name [default: made at the first start and kept]";
    BOOTSTRAP = "Bootstrap", "JETTRA_BOOTSTRAP", Some("bootstrap"), Kind::Switch,
        "Begin a new cluster; true on exactly one node [default: false]";
    VOTER = "Voter", "JETTRA_VOTER", Some("voter"), Kind::Switch,
        "Be a voter when registered by Peers; false: a read replica, which never votes [default: true]";
    PEERS = "Peers", "JETTRA_PEERS", Some("peers"), Kind::List,
        "URLs of nodes to ask for registration [default: none]";
    ADVERTISE_URL = "AdvertiseUrl", "JETTRA_ADVERTISE_URL", Some("advertise-url"), Kind::Text,
        "URL where clients and other nodes reach this node [default: from Host and Port]";
    ADMIN_PASSWORD = "AdminPassword", "JETTRA_ADMIN_PASSWORD", None, Kind::Secret,
        "The administrator's first password";
    CLUSTER_SECRET = "ClusterSecret", "JETTRA_CLUSTER_SECRET", None, Kind::Secret,
        "What nodes prove to each other, the same on all; 16 bytes or more";
    CLUSTER_SECRET_BEFORE = "ClusterSecretBefore", "JETTRA_CLUSTER_SECRET_BEFORE", None, Kind::Secret,
        "The ClusterSecret before, taken as well while it is changed on one node after the other [default: none]";
    ALLOWED_HOSTS = "AllowedHosts", "JETTRA_ALLOWED_HOSTS", Some("allowed-hosts"), Kind::List,
        "Further Host headers to accept, as name or name:port [default: none]";
    METRICS_PUBLIC = "MetricsPublic", "JETTRA_METRICS_PUBLIC", Some("metrics-public"), Kind::Switch,
        "Let other machines read the metrics without credentials [default: false]";
    HEARTBEAT_MS = "HeartbeatMs", "JETTRA_HEARTBEAT_MS", Some("heartbeat-ms"), Kind::Number(5..=MS_MAX),
        "How often a leader is heard [default: 50]";
    ELECTION_MIN_MS = "ElectionMinMs", "JETTRA_ELECTION_MIN_MS", Some("election-min-ms"), Kind::Number(10..=MS_MAX),
        "Shortest silence before an election [default: 200]";
    ELECTION_MAX_MS = "ElectionMaxMs", "JETTRA_ELECTION_MAX_MS", Some("election-max-ms"), Kind::Number(10..=MS_MAX),
        "Longest silence before an election [default: 400]";
    INACTIVE_AFTER_MS = "InactiveAfterMs", "JETTRA_INACTIVE_AFTER_MS", Some("inactive-after-ms"), Kind::Number(100..=MS_MAX),
        "Silence after which a member counts as INACTIVE [default: 3000]";
    REQUEST_TIMEOUT_MS = "RequestTimeoutMs", "JETTRA_REQUEST_TIMEOUT_MS", Some("request-timeout-ms"), Kind::Number(100..=MS_MAX),
        "How long a request may take that names no timeout [default: 10000]";
    SEND_TIMEOUT_MS = "SendTimeoutMs", "JETTRA_SEND_TIMEOUT_MS", Some("send-timeout-ms"), Kind::Number(100..=MS_MAX),
        "How long a client may take nothing of its answer before it is cut off [default: 30000]";
    MAX_BODY_BYTES = "MaxBodyBytes", "JETTRA_MAX_BODY_BYTES", Some("max-body-bytes"), Kind::Number(1_024..=1 << 30),
        "Longest request body [default: 16777216]";
    MAX_CONNECTIONS = "MaxConnections", "JETTRA_MAX_CONNECTIONS", Some("max-connections"), Kind::Number(16..=1_000_000),
        "Connections served at once [default: 1000]";
    MAX_CONNECTIONS_PER_ADDRESS = "MaxConnectionsPerAddress", "JETTRA_MAX_CONNECTIONS_PER_ADDRESS", Some("max-connections-per-address"), Kind::Number(1..=1_000_000),
        "Connections from one other machine [default: half of MaxConnections]";
    MAX_IN_FLIGHT_BYTES = "MaxInFlightBytes", "JETTRA_MAX_IN_FLIGHT_BYTES", Some("max-in-flight-bytes"), Kind::Number(1_024..=BYTES_MAX),
        "Bytes of requests under way before writes get `busy` [default: 67108864]";
    MAX_ANSWER_BYTES = "MaxAnswerBytes", "JETTRA_MAX_ANSWER_BYTES", Some("max-answer-bytes"), Kind::Number(1_024..=BYTES_MAX),
        "Bytes of answers under way before reads get `busy` [default: 134217728]";
    CACHE_BYTES = "CacheBytes", "JETTRA_CACHE_BYTES", Some("cache-bytes"), Kind::Number(1 << 20..=BYTES_MAX),
        "Memory for cached documents [default: 67108864]";
    LOG_RETAIN_ENTRIES = "LogRetainEntries", "JETTRA_LOG_RETAIN_ENTRIES", Some("log-retain-entries"), Kind::Number(1..=100_000_000),
        "Log entries kept for followers that are behind [default: 100000]";
    LOG_RETAIN_BYTES = "LogRetainBytes", "JETTRA_LOG_RETAIN_BYTES", Some("log-retain-bytes"), Kind::Number(1 << 20..=BYTES_MAX),
        "Bytes of log kept for them [default: 268435456]";
    DISK_RESERVE_BYTES = "DiskReserveBytes", "JETTRA_DISK_RESERVE_BYTES", Some("disk-reserve-bytes"), Kind::Number(0..=BYTES_MAX),
        "Free disk space below which writes get `storage_full` [default: 268435456]";
    LOG_FORMAT = "LogFormat", "JETTRA_LOG_FORMAT", Some("log-format"), Kind::Text,
        "How log lines look: human or json [default: human]";
    LOG_LEVEL = "LogLevel", "JETTRA_LOG_LEVEL", Some("log-level"), Kind::Text,
        "A level, or tracing directives such as info,jettra_server=debug [default: info]";
}

impl Key {
    /// The key of this name in `config.json`.
    pub(super) fn named(name: &str) -> Option<&'static Key> {
        KEYS.iter().copied().find(|key| key.name == name)
    }

    /// The key that differs from `name` only in case.
    pub(super) fn resembling(name: &str) -> Option<&'static Key> {
        KEYS.iter().copied().find(|key| key.name.eq_ignore_ascii_case(name))
    }

    /// The key of a secret that `name`, which is no key, is most likely meant to be: but for case and one letter it is its
    /// name, or that of its variable.
    pub(super) fn of_secret_meant_by(name: &str) -> Option<&'static Key> {
        let key = KEYS.iter().copied().find(|key| key.is_secret() && is_nearly(key.name, name));
        key.or_else(|| Key::of_variable_meant_by(name))
    }

    /// The same for the name of a variable, which is no key's.
    pub(super) fn of_variable_meant_by(name: &str) -> Option<&'static Key> {
        KEYS.iter().copied().find(|key| key.is_secret() && is_nearly(key.env, name))
    }

    /// Whether its value must not show.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }
}

impl Kind {
    /// What a value must be, in words.
    pub(super) fn expectation(&self) -> String {
        match self {
            Kind::Text | Kind::Secret => "a string".to_owned(),
            Kind::Switch => "true or false".to_owned(),
            Kind::Number(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Kind::List => "a list of strings".to_owned(),
        }
    }
}

fn is_nearly(known: &str, name: &str) -> bool {
    is_within_one_edit(&known.to_ascii_lowercase(), &name.to_ascii_lowercase())
}

/// Whether one letter put in, left out, replaced or swapped with the next one makes the same of both, or none.
fn is_within_one_edit(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (a, b) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([], []) => true,
        (a, [_, rest @ ..]) if rest == a => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a, b, rest @ ..], [c, d, others @ ..]) => (a, b) == (d, c) && rest == others,
        _ => false,
    }
}
