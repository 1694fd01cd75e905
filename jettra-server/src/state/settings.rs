//! Replicated settings: whatever changes the result of `apply` beside the commands themselves.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::shown;
use crate::error::{Error, Result};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const MIB: u64 = 1 << 20;

/// The bounds that `apply` decides by. They are the same on every replica: a command writes them, and the
/// configuration file only seeds them at bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Bytes in the largest document.
    pub max_document_bytes: u64,
    /// Superseded states kept of a document.
    pub max_versions: u32,
    /// Bytes of the superseded states kept of a document.
    pub max_version_bytes: u64,
    /// How long a deleted document can be restored, in milliseconds of cluster time.
    pub tombstone_ms: u64,
    /// For how many revisions the changes are kept.
    pub max_change_revisions: u64,
    /// How long the outcome of a request with a key is kept, in milliseconds of cluster time.
    pub request_ms: u64,
    /// Outcomes of requests with a key that are kept.
    pub max_requests: u64,
    /// Bytes of those outcomes.
    pub max_request_bytes: u64,
    /// How long an unused session is kept, in milliseconds of cluster time.
    pub session_ms: u64,
    /// Sessions that are kept.
    pub max_sessions: u64,
    /// Outcomes that one session may leave unacknowledged.
    pub max_session_outcomes: u32,
    /// Databases, beside the system's own.
    pub max_databases: u32,
    /// Collections of all databases.
    pub max_collections: u32,
    /// Events that the journal keeps.
    pub max_events: u64,
    /// Bytes of those events.
    pub max_event_bytes: u64,
    /// How long an event is kept, in milliseconds of cluster time; it goes when a newer one comes.
    pub event_ms: u64,
    /// Between two checks that all members hold the same, in milliseconds. It bounds nothing that `apply` decides, and
    /// is here so that it is one for the cluster.
    pub digest_check_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_document_bytes: 16 * MIB,
            max_versions: 100,
            max_version_bytes: 64 * MIB,
            tombstone_ms: 7 * DAY_MS,
            max_change_revisions: 1_000_000,
            request_ms: DAY_MS,
            max_requests: 1_000_000,
            max_request_bytes: 256 * MIB,
            session_ms: DAY_MS,
            max_sessions: 100_000,
            max_session_outcomes: 256,
            max_databases: 1_000,
            max_collections: 10_000,
            max_events: 10_000,
            max_event_bytes: 8 * MIB,
            event_ms: 365 * DAY_MS,
            digest_check_ms: 5 * 60 * 1000,
        }
    }
}

/// The least and the greatest value of each setting.
const BOUNDS: &[(&str, u64, u64)] = &[
    ("maxDocumentBytes", 1 << 10, 16 * MIB),
    ("maxVersions", 0, 100_000),
    ("maxVersionBytes", 0, 1 << 40),
    ("tombstoneMs", 0, 3_650 * DAY_MS),
    ("maxChangeRevisions", 100, 1_000_000_000),
    ("requestMs", 60_000, 365 * DAY_MS),
    ("maxRequests", 1_000, 100_000_000),
    ("maxRequestBytes", MIB, 1 << 40),
    ("sessionMs", 60_000, 365 * DAY_MS),
    ("maxSessions", 100, 10_000_000),
    ("maxSessionOutcomes", 16, 4_096),
    ("maxDatabases", 1, 100_000),
    ("maxCollections", 4, 1_000_000),
    ("maxEvents", 10, 1_000_000),
    ("maxEventBytes", 64 << 10, 1 << 30),
    ("eventMs", 60_000, 3_650 * DAY_MS),
    ("digestCheckMs", 1_000, DAY_MS),
];

impl Settings {
    /// Looks at `changes` before they are proposed: `apply` takes what it is given, since bounds may differ between
    /// versions.
    ///
    /// # Errors
    /// `bad_request` for a name that is none and for a value that is no number or out of bounds.
    pub fn check(changes: &Map<String, Value>) -> Result<()> {
        for (name, value) in changes {
            let Some((_, least, most)) = BOUNDS.iter().find(|(known, ..)| known == name) else {
                let names: Vec<&str> = BOUNDS.iter().map(|(name, ..)| *name).collect();
                let message = format!("there is no setting {}: there are {}", shown(name), names.join(", "));
                return Err(Error::bad_request(message));
            };
            if !value.as_u64().is_some_and(|value| (*least..=*most).contains(&value)) {
                let value = shown(&value.to_string()).to_string();
                return Err(Error::bad_request(format!("{name}: {value} is no number from {least} to {most}")));
            }
        }
        Ok(())
    }

    /// These settings with some of them changed, by name.
    ///
    /// # Errors
    /// `bad_request` for a value that is no number.
    pub fn with(&self, changes: &Map<String, Value>) -> Result<Settings> {
        let mut all = self.to_map();
        all.extend(changes.clone());
        serde_json::from_value(Value::Object(all)).map_err(|error| Error::bad_request(format!("the settings: {error}")))
    }

    /// All settings by name.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_bounds_that_its_default_keeps() {
        let all = Settings::default().to_map();
        let names: Vec<&str> = BOUNDS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), names);
        assert_eq!(Settings::check(&all), Ok(()));
        assert_eq!(Settings::default().with(&all), Ok(Settings::default()));
    }

    #[test]
    fn some_are_changed_and_what_is_wrong_is_named() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let changed = Settings::default().with(&map(serde_json::json!({"maxVersions": 7}))).unwrap();
        assert_eq!(changed, Settings { max_versions: 7, ..Settings::default() });
        for (wrong, told) in [
            (serde_json::json!({"maxVersion": 7}), "maxVersion"),
            (serde_json::json!({"maxVersions": "7"}), "maxVersions"),
            (serde_json::json!({"maxRequests": 1}), "from 1000 to"),
            (serde_json::json!({"maxVersions": 1e30}), "maxVersions"),
        ] {
            let error = Settings::check(&map(wrong)).unwrap_err();
            assert!(error.message().contains(told), "{error}");
        }
    }
}
