//! What a run says in the end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::resources::Usage;

/// What happened in a run, and what does not hold.
pub struct Verdict {
    pub seed: u64,
    pub nodes: usize,
    pub length: Duration,
    /// What does not hold, in words; none is a good run.
    pub failures: Vec<String>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, usize>,
    /// What was not tried, and why.
    pub untried: Vec<String>,
    /// What clients say of themselves and what checks found.
    pub clients: String,
    pub failovers: Vec<Duration>,
    pub healings: Vec<Duration>,
    pub beginning: Usage,
    pub most: Usage,
    pub end: Usage,
    pub timeline: String,
    /// Where all that the nodes left is; after a failure, or where it is wanted.
    pub kept: Option<PathBuf>,
}

impl Verdict {
    pub fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    /// The command that does the same again.
    fn command(&self) -> String {
        let minutes = self.length.as_secs_f64() / 60.0;
        format!(
            "FAULTS_SEED={} FAULTS_MINUTES={minutes} FAULTS_NODES={} cargo test --release --test faults -- --ignored \
             --nocapture long_run",
            self.seed, self.nodes
        )
    }

    pub fn fault_count(&self) -> usize {
        self.faults.values().sum()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, nodes, seconds) = (self.seed, self.nodes, self.length.as_secs());
        if !self.holds() || std::env::var_os("FAULTS_TIMELINE").is_some() {
            writeln!(f, "what happened:\n{}", self.timeline)?;
        }
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "seed {seed}: {nodes} nodes, {seconds} s, {} faults: {}", self.fault_count(), faults.join(", "))?;
        for untried in &self.untried {
            writeln!(f, "NOT TRIED: {untried}")?;
        }
        writeln!(f, "written again after a leader was lost: {}", percentiles(&self.failovers))?;
        writeln!(f, "written on every node after all was put right: {}", percentiles(&self.healings))?;
        writeln!(f, "a node took {} at the beginning, {} at most, {} in the end", self.beginning, self.most, self.end)?;
        write!(f, "{}", self.clients)?;
        if let Some(kept) = &self.kept {
            writeln!(f, "all that the nodes left is in {}", kept.display())?;
        }
        if self.holds() {
            return writeln!(f, "seed {seed}: all of it holds");
        }
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        writeln!(f, "again: {}", self.command())
    }
}

/// The middle one, and those that few exceed.
pub fn percentiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let Some(longest) = times.last() else { return "not measured".to_owned() };
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
    let (half, most, count) = (at(50), at(95), times.len());
    format!("50 % within {half} ms, 95 % within {most} ms, longest {} ms ({count} times)", longest.as_millis())
}
