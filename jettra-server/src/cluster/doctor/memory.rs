//! Since when something is so, where nothing else tells.

use std::collections::BTreeMap;

use jettra_client::wire::{Diagnosis, Finding};

/// A finding before it is known since when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Found {
    /// The same for the same finding each time.
    pub key: String,
    /// Since when, where that can be known.
    pub since: Option<u64>,
    pub what: String,
    pub works: String,
    pub at_risk: String,
    pub next: String,
}

/// When each of the present findings was seen first.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Memory(BTreeMap<String, u64>);

impl Memory {
    /// Gives findings their time; what is not found any more is forgotten.
    pub fn settle(&mut self, now_ms: u64, findings: Vec<Found>) -> Diagnosis {
        self.0.retain(|key, _| findings.iter().any(|found| found.key == *key));
        let settle = |found: Found| {
            let Found { key, since, what, works, at_risk, next } = found;
            let first = *self.0.entry(key).or_insert(since.unwrap_or(now_ms));
            Finding { since: since.unwrap_or(first), what, works, at_risk, next }
        };
        Diagnosis::of(findings.into_iter().map(settle).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, since: Option<u64>) -> Found {
        let text = String::new;
        Found { key: key.to_owned(), since, what: text(), works: text(), at_risk: text(), next: text() }
    }

    #[test]
    fn a_finding_keeps_its_first_time_until_it_is_over() {
        let mut memory = Memory::default();
        let mut since = |now, found: Vec<Found>| -> Vec<u64> {
            memory.settle(now, found).findings.iter().map(|finding| finding.since).collect()
        };
        assert_eq!(since(10, vec![found("a", None)]), [10]);
        assert_eq!(since(20, vec![found("a", None), found("b", Some(5))]), [10, 5]);
        assert_eq!(since(30, vec![]), [0; 0]);
        assert_eq!(since(40, vec![found("a", None)]), [40]);
    }
}
