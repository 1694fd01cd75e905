//! What a doctor says of a cluster.

use serde::{Deserialize, Serialize};

/// The answer to `GET /api/cluster/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Whether nothing was found.
    pub healthy: bool,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// What these findings come to.
    pub fn of(findings: Vec<Finding>) -> Self {
        Diagnosis { healthy: findings.is_empty(), findings }
    }
}

/// One thing that is not as it should be, in plain sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// When it began, as far as the answering node knows, in milliseconds since 1970.
    pub since: u64,
    /// What is wrong.
    pub what: String,
    /// What works in spite of it.
    pub works: String,
    /// What could happen next.
    pub at_risk: String,
    /// What to do, with the command.
    pub next: String,
}
