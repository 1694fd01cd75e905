//! The journal of a cluster: what happened to it, and who asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One event of the journal, an entry of the answer to `GET /api/cluster/events`.
///
/// ```json
/// {"rev":812,"time":1767225600000,"kind":"promoted","node":"node2","message":"node2 votes from now on"}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// The revision (log index) that journalled it. Events of one revision keep their order.
    pub rev: u64,
    /// Cluster time, in milliseconds since 1970: the clock of the leader of that time.
    pub time: u64,
    /// What happened.
    pub kind: EventKind,
    /// To which member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Which user asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The same as a sentence.
    pub message: String,
    /// Further fields that the kind has, such as `term` of an election.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The cluster began. Details: `clusterId`.
    Created,
    /// A node got its id in the cluster. Details: `url`, `raftId`.
    Registered,
    /// A node became a member; it has no vote yet unless `voter` is true.
    Joined,
    /// A member votes from now on.
    Promoted,
    /// A member votes no more.
    Demoted,
    /// A node is a member no more.
    Removed,
    /// A member is reached under another URL. Details: `url`, `before`.
    Moved,
    /// A member leads from now on. Details: `term`, `reason` (`first_start`, `restart`, `leader_silent`,
    /// `handed_over`), and `former`, `silentMs` where known.
    Elected,
    /// The leader hears a member no more.
    Silent,
    /// The leader hears a member again.
    Returned,
    /// A member was asked to stop.
    Stopped,
    /// A member is not elected any more; it votes.
    Paused,
    /// A paused member may be elected again.
    Resumed,
    /// The replicated settings were changed. Details: `changed`, each setting with its new value.
    Settings,
    /// The feature level was raised. Details: `featureLevel`.
    Upgraded,
    /// Somebody asked for a change. Details: `call`.
    Asked,
    /// Something is wrong. Details: `alarm`, its name, and what it is about.
    Alarm,
    /// What was wrong is well again. Details as of the alarm.
    AlarmOver,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; 18] = [
        EventKind::Created,
        EventKind::Registered,
        EventKind::Joined,
        EventKind::Promoted,
        EventKind::Demoted,
        EventKind::Removed,
        EventKind::Moved,
        EventKind::Elected,
        EventKind::Silent,
        EventKind::Returned,
        EventKind::Stopped,
        EventKind::Paused,
        EventKind::Resumed,
        EventKind::Settings,
        EventKind::Upgraded,
        EventKind::Asked,
        EventKind::Alarm,
        EventKind::AlarmOver,
    ];

    /// The kind as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Created => "created",
            EventKind::Registered => "registered",
            EventKind::Joined => "joined",
            EventKind::Promoted => "promoted",
            EventKind::Demoted => "demoted",
            EventKind::Removed => "removed",
            EventKind::Moved => "moved",
            EventKind::Elected => "elected",
            EventKind::Silent => "silent",
            EventKind::Returned => "returned",
            EventKind::Stopped => "stopped",
            EventKind::Paused => "paused",
            EventKind::Resumed => "resumed",
            EventKind::Settings => "settings",
            EventKind::Upgraded => "upgraded",
            EventKind::Asked => "asked",
            EventKind::Alarm => "alarm",
            EventKind::AlarmOver => "alarm_over",
        }
    }

    /// The kind with this name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_fields_and_their_order() {
        let text = r#"{"rev":812,"time":1767225600000,"kind":"elected","node":"node2","message":"node2 leads","term":5,"reason":"leader_silent"}"#;
        let event: ClusterEvent = serde_json::from_str(text).unwrap();
        assert_eq!((event.kind, event.details["term"].as_u64()), (EventKind::Elected, Some(5)));
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
    }

    #[test]
    fn every_kind_has_one_name() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
    }
}
