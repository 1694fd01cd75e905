//! From merged values to a checked [`Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::keys::{self, Key};
use super::types::{PASSWORD_BYTES, is_loopback};
use super::values::{FileText, Flags, Values};
use super::{Config, ConfigError, Loaded, LogFormat, NodeUrl, Secret};

const DEFAULT_PORT: u16 = 8080;
const MIB: usize = 1 << 20;

impl Config {
    /// The configuration that a file, an environment and a command line make together. Depends on
    /// nothing else.
    pub fn resolve(
        file: Option<&FileText>,
        env: &BTreeMap<String, String>,
        flags: &Flags,
    ) -> Result<Loaded, ConfigError> {
        let mut values = Values::default();
        let (mut warnings, note) = match file {
            Some(file) => values.add_file(file)?,
            None => (Vec::new(), None),
        };
        values.add_env(env)?;
        values.add_flags(flags);
        let config = build(&values)?;
        warnings.extend(without_effect(&config));
        Ok(Loaded { config, warnings, note, sources: values.sources(), file: file.map(|file| file.path.clone()) })
    }
}

pub(super) fn defaults() -> Config {
    Config {
        host: "0.0.0.0".to_owned(),
        port: DEFAULT_PORT,
        data_dir: PathBuf::from("data"),
        distributed: false,
        node_id: None,
        bootstrap: false,
        voter: true,
        peers: Vec::new(),
        advertise_url: NodeUrl::localhost(DEFAULT_PORT),
        admin_password: None,
        cluster_secret: None,
        cluster_secret_before: None,
        allowed_hosts: Vec::new(),
        metrics_public: false,
        heartbeat: Duration::from_millis(50),
        election_min: Duration::from_millis(200),
        election_max: Duration::from_millis(400),
        inactive_after: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        send_timeout: Duration::from_secs(30),
        max_body_bytes: 16 * MIB,
        max_connections: 1_000,
        max_connections_per_address: 500,
        max_in_flight_bytes: 64 * MIB,
        max_answer_bytes: 128 * MIB,
        cache_bytes: 64 * MIB,
        log_retain_entries: 100_000,
        log_retain_bytes: 256 << 20,
        disk_reserve_bytes: 256 << 20,
        log_format: LogFormat::Human,
        log_level: "info".to_owned(),
    }
}

fn build(values: &Values) -> Result<Config, ConfigError> {
    let default = defaults();
    let timings = timings(values, &default)?;
    let host = host(values)?.unwrap_or(default.host);
    let port = values.number(keys::PORT, default.port)?;
    let advertise_url = advertise_url(values, &host, port)?;
    let max_body_bytes = values.number(keys::MAX_BODY_BYTES, default.max_body_bytes)?;
    let max_connections = values.number(keys::MAX_CONNECTIONS, default.max_connections)?;
    Ok(Config {
        data_dir: data_dir(values)?.unwrap_or(default.data_dir),
        distributed: values.switch(keys::DISTRIBUTED)?.unwrap_or(default.distributed),
        node_id: parsed(values, keys::NODE_ID)?,
        bootstrap: values.switch(keys::BOOTSTRAP)?.unwrap_or(default.bootstrap),
        voter: voter(values)?,
        peers: peers(values, &advertise_url)?,
        admin_password: admin_password(values)?,
        cluster_secret: cluster_secret(values, keys::CLUSTER_SECRET)?,
        cluster_secret_before: cluster_secret_before(values)?,
        allowed_hosts: allowed_hosts(values)?,
        metrics_public: values.switch(keys::METRICS_PUBLIC)?.unwrap_or(default.metrics_public),
        heartbeat: timings.heartbeat,
        election_min: timings.election_min,
        election_max: timings.election_max,
        inactive_after: milliseconds(values, keys::INACTIVE_AFTER_MS, default.inactive_after)?,
        request_timeout: milliseconds(values, keys::REQUEST_TIMEOUT_MS, default.request_timeout)?,
        send_timeout: milliseconds(values, keys::SEND_TIMEOUT_MS, default.send_timeout)?,
        max_connections,
        max_connections_per_address: values.number(keys::MAX_CONNECTIONS_PER_ADDRESS, max_connections.div_ceil(2))?,
        max_in_flight_bytes: max_in_flight_bytes(values, max_body_bytes, default.max_in_flight_bytes)?,
        max_answer_bytes: max_answer_bytes(values, max_body_bytes, default.max_answer_bytes)?,
        cache_bytes: values.number(keys::CACHE_BYTES, default.cache_bytes)?,
        log_retain_entries: values.number(keys::LOG_RETAIN_ENTRIES, default.log_retain_entries)?,
        log_retain_bytes: values.number(keys::LOG_RETAIN_BYTES, default.log_retain_bytes)?,
        disk_reserve_bytes: values.number(keys::DISK_RESERVE_BYTES, default.disk_reserve_bytes)?,
        log_format: log_format(values)?.unwrap_or(default.log_format),
        log_level: log_level(values)?.unwrap_or(default.log_level),
        host,
        port,
        advertise_url,
        max_body_bytes,
    })
}

fn host(values: &Values) -> Result<Option<String>, ConfigError> {
    let Some(text) = values.text(keys::HOST)? else { return Ok(None) };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let plausible = bare.parse::<std::net::IpAddr>().is_ok() || (!bare.is_empty() && bare.bytes().all(name));
    match plausible {
        true => Ok(Some(bare.to_owned())),
        false => Err(values.wrong(keys::HOST, "an address or host name to listen on, such as 0.0.0.0, without port")),
    }
}

fn data_dir(values: &Values) -> Result<Option<PathBuf>, ConfigError> {
    match values.text(keys::DATA_DIR)? {
        Some(text) if text.trim().is_empty() || text.contains('\0') => {
            Err(values.wrong(keys::DATA_DIR, "a directory, such as data or /var/lib/jettra"))
        }
        text => Ok(text.map(PathBuf::from)),
    }
}

/// What is configured, else `http://localhost:<Port>` where Host is a wildcard or loopback, else
/// `http://<Host>:<Port>`.
fn advertise_url(values: &Values, host: &str, port: u16) -> Result<NodeUrl, ConfigError> {
    if let Some(url) = parsed(values, keys::ADVERTISE_URL)? {
        return Ok(url);
    }
    let address = host.parse::<std::net::IpAddr>().ok();
    if address.is_some_and(|address| address.is_unspecified()) || is_loopback(host) {
        return Ok(NodeUrl::localhost(port));
    }
    let authority =
        if address.is_some_and(|address| address.is_ipv6()) { format!("[{host}]") } else { host.to_owned() };
    format!("http://{authority}:{port}")
        .parse()
        .map_err(|_| values.wrong(keys::HOST, "a host name that can stand in a URL; else set AdvertiseUrl"))
}

/// Whether the node is to vote: one that begins a cluster does, and one that is alone.
fn voter(values: &Values) -> Result<bool, ConfigError> {
    let voter = values.switch(keys::VOTER)?.unwrap_or(true);
    if !voter && values.switch(keys::BOOTSTRAP)? == Some(true) {
        return Err(values.wrong(keys::VOTER, "true where Bootstrap is true: a node that begins a cluster votes"));
    }
    Ok(voter)
}

/// The peers without this node itself and without repetitions, in the order given: the same list may
/// stand in every node's file.
fn peers(values: &Values, own: &NodeUrl) -> Result<Vec<NodeUrl>, ConfigError> {
    let mut peers = Vec::new();
    for text in values.list(keys::PEERS)? {
        let url = text
            .parse::<NodeUrl>()
            .map_err(|expected| values.wrong(keys::PEERS, format!("a list of URLs; {text:?} is not {expected}")))?;
        if url != *own && !peers.contains(&url) {
            peers.push(url);
        }
    }
    Ok(peers)
}

fn allowed_hosts(values: &Values) -> Result<Vec<String>, ConfigError> {
    let hosts = values.list(keys::ALLOWED_HOSTS)?;
    let plausible = |host: &String| !host.is_empty() && !host.contains(['/', '@', ' ', '*']);
    match hosts.iter().all(plausible) {
        true => Ok(hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect()),
        false => {
            Err(values.wrong(keys::ALLOWED_HOSTS, "a list of names such as db.example.com or db.example.com:8080"))
        }
    }
}

fn secret(values: &Values, key: &Key) -> Result<Option<Secret>, ConfigError> {
    match values.secret(key)? {
        Some(secret) if secret.expose().is_empty() => {
            Err(values.wrong(key, "a string that is not empty: leave the key out for none"))
        }
        Some(secret) if secret.expose() == Secret::MASK => {
            Err(values.wrong(key, "the secret itself, not the mask that --print-config shows"))
        }
        secret => Ok(secret),
    }
}

fn admin_password(values: &Values) -> Result<Option<Secret>, ConfigError> {
    match secret(values, keys::ADMIN_PASSWORD)? {
        Some(secret) if !PASSWORD_BYTES.contains(&secret.expose().len()) => {
            Err(values.wrong(keys::ADMIN_PASSWORD, "8 to 1024 bytes: choose another one"))
        }
        secret => Ok(secret),
    }
}

/// Bytes below which a cluster's secret could be guessed.
const CLUSTER_SECRET_BYTES: usize = 16;

fn cluster_secret(values: &Values, key: &Key) -> Result<Option<Secret>, ConfigError> {
    match secret(values, key)? {
        Some(secret) if secret.expose().trim().len() < CLUSTER_SECRET_BYTES => Err(values.wrong(
            key,
            "16 bytes or more, since a shorter one can be guessed: make one with openssl rand -hex 32, the same on every node",
        )),
        secret => Ok(secret),
    }
}

/// Only of use beside the new one, and another than that.
fn cluster_secret_before(values: &Values) -> Result<Option<Secret>, ConfigError> {
    let Some(before) = cluster_secret(values, keys::CLUSTER_SECRET_BEFORE)? else { return Ok(None) };
    match secret(values, keys::CLUSTER_SECRET)? {
        None => Err(values.wrong(keys::CLUSTER_SECRET_BEFORE, "beside ClusterSecret, the new one: set that too")),
        Some(now) if now == before => Err(values.wrong(
            keys::CLUSTER_SECRET_BEFORE,
            "another one than ClusterSecret: the one that it was until now, or leave the key out",
        )),
        Some(_) => Ok(Some(before)),
    }
}

/// The three Raft timings, which only make sense together.
struct Timings {
    heartbeat: Duration,
    election_min: Duration,
    election_max: Duration,
}

fn timings(values: &Values, default: &Config) -> Result<Timings, ConfigError> {
    let heartbeat = milliseconds(values, keys::HEARTBEAT_MS, default.heartbeat)?;
    let election_min = milliseconds(values, keys::ELECTION_MIN_MS, default.election_min)?;
    let election_max = milliseconds(values, keys::ELECTION_MAX_MS, default.election_max)?;
    if election_min < heartbeat * 2 {
        let at_least = (heartbeat * 2).as_millis();
        return Err(values.wrong_beside(
            keys::ELECTION_MIN_MS,
            election_min,
            format!("at least twice HeartbeatMs, here {at_least}: raise it or lower HeartbeatMs"),
        ));
    }
    if election_max <= election_min {
        return Err(values.wrong_beside(
            keys::ELECTION_MAX_MS,
            election_max,
            format!("more than ElectionMinMs, here {}: raise it or lower ElectionMinMs", election_min.as_millis()),
        ));
    }
    Ok(Timings { heartbeat, election_min, election_max })
}

fn max_in_flight_bytes(values: &Values, max_body_bytes: usize, default: usize) -> Result<usize, ConfigError> {
    let bytes = values.number(keys::MAX_IN_FLIGHT_BYTES, default.max(max_body_bytes))?;
    match bytes >= max_body_bytes {
        true => Ok(bytes),
        false => Err(values.wrong(
            keys::MAX_IN_FLIGHT_BYTES,
            format!("at least MaxBodyBytes, here {max_body_bytes}: a body of that size could never be written"),
        )),
    }
}

fn max_answer_bytes(values: &Values, max_body_bytes: usize, default: usize) -> Result<usize, ConfigError> {
    let bytes = values.number(keys::MAX_ANSWER_BYTES, default.max(max_body_bytes))?;
    match bytes >= max_body_bytes {
        true => Ok(bytes),
        false => Err(values.wrong(
            keys::MAX_ANSWER_BYTES,
            format!("at least MaxBodyBytes, here {max_body_bytes}: a document of that size takes as much"),
        )),
    }
}

fn log_format(values: &Values) -> Result<Option<LogFormat>, ConfigError> {
    match values.text(keys::LOG_FORMAT)?.as_deref() {
        None => Ok(None),
        Some("human") => Ok(Some(LogFormat::Human)),
        Some("json") => Ok(Some(LogFormat::Json)),
        Some(_) => Err(values.wrong(keys::LOG_FORMAT, "\"human\" or \"json\"")),
    }
}

/// A bare word must be a level: `EnvFilter` would take a misspelt one for the name of a module and
/// silence everything else.
fn log_level(values: &Values) -> Result<Option<String>, ConfigError> {
    let Some(text) = values.text(keys::LOG_LEVEL)? else { return Ok(None) };
    let is_level = |part: &str| part.parse::<tracing::level_filters::LevelFilter>().is_ok();
    let meaningful = text.split(',').all(|part| part.contains(['=', '[', ']']) || is_level(part.trim()));
    match meaningful && EnvFilter::try_new(&text).is_ok() {
        true => Ok(Some(text)),
        false => Err(values.wrong(
            keys::LOG_LEVEL,
            "off, error, warn, info, debug or trace, or directives such as info,jettra_server=debug",
        )),
    }
}

fn milliseconds(values: &Values, key: &Key, default: Duration) -> Result<Duration, ConfigError> {
    let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
    values.number(key, default).map(Duration::from_millis)
}

fn parsed<T: std::str::FromStr<Err = String>>(values: &Values, key: &Key) -> Result<Option<T>, ConfigError> {
    match values.text(key)? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|expected| values.wrong(key, expected)),
    }
}

/// Settings that will not do what their author hoped for.
fn without_effect(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.distributed && (config.bootstrap || !config.peers.is_empty()) {
        warnings.push(
            "Bootstrap and Peers have no effect while distributed is false: set it to true to run a cluster".to_owned(),
        );
    }
    if !config.voter && (!config.distributed || config.peers.is_empty()) {
        warnings.push(
            "Voter is false and has no effect without distributed and Peers: name nodes to ask, or register this one \
             with \"voter\": false"
                .to_owned(),
        );
    }
    if config.distributed
        && config.advertise_url.is_loopback()
        && let Some(peer) = config.peers.iter().find(|peer| !peer.is_loopback())
    {
        warnings.push(format!(
            "AdvertiseUrl is {}, which {peer} cannot reach: set it to this machine's own address",
            config.advertise_url
        ));
    }
    if config.cluster_secret_before.is_some() {
        warnings.push(
            "ClusterSecretBefore is taken as well as ClusterSecret: take ClusterSecretBefore out once every node has the new one"
                .to_owned(),
        );
    }
    warnings
}
