//! Keys of the product that this one replaces, which its configuration files still have.

use serde_json::Value;

/// The key that made a cluster there.
const FEDERATED_SERVERS: &str = "FederatedServers";
/// Keys without a meaning here: what they said is decided by the cluster itself, or by the users' passwords.
const WITHOUT_MEANING: [&str; 4] = ["Role", "SessionTimeout", "ClusterID", "Mode"];
/// What the names of further such keys begin with.
const PREFIXES: [&str; 2] = ["system_", "admin"];

/// What is wrong with `FederatedServers`: a node that took no notice of it would begin a database of its own, beside
/// those of the others.
pub(super) fn needs_another_cluster(name: &str, value: &Value) -> Option<&'static str> {
    let is_empty = match value {
        Value::Array(servers) => servers.is_empty(),
        Value::String(servers) => servers.trim().is_empty(),
        Value::Null => true,
        _ => false,
    };
    (name.eq_ignore_ascii_case(FEDERATED_SERVERS) && !is_empty).then_some(
        "\"distributed\": true on every node, \"Bootstrap\": true on the first one only, and \"Peers\": the URLs of the \
         others (see docs/from-jettradbvm.md)",
    )
}

/// Whether it is known to have no meaning any more.
pub(super) fn is_without_meaning(name: &str) -> bool {
    let known = WITHOUT_MEANING.iter().chain(&[FEDERATED_SERVERS]).any(|key| key.eq_ignore_ascii_case(name));
    known || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
