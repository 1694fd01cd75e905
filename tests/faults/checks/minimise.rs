//! From a history without order to the few calls of it that have none.
//!
//! Calls are never simply left out, since a read of what nobody wrote is no finding: reads are, and writes become such that
//! may be anywhere or nowhere. What still has no order then is a story of its own.

use std::collections::BTreeSet;

use super::search::{Act, Answer, Step, search};

/// For each try: most are decided at once.
const BUDGET: usize = 1_000;

/// The places of the calls of the smallest story that is found.
pub fn smallest(steps: &[Step]) -> BTreeSet<usize> {
    // Nothing after the first moment at which there is no order any more.
    let mut ends: Vec<u64> = steps.iter().map(|step| step.end).collect();
    ends.sort_unstable();
    ends.dedup();
    let is_refuted = |kept: &[Kept]| {
        let steps: Vec<Step> = kept.iter().filter_map(|kept| kept.step).collect();
        search(&steps, BUDGET) == Answer::Not
    };
    let all: Vec<Kept> = steps.iter().map(|step| Kept { step: Some(*step), is_firm: true }).collect();
    let until = |end: u64| -> Vec<Kept> { all.iter().map(|kept| kept.until(end)).collect() };
    let first = ends.partition_point(|end| !is_refuted(&until(*end)));
    let mut kept = ends.get(first).map_or(all.clone(), |end| until(*end));

    // Then half by half, quarter by quarter, down to each alone.
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < kept.len() {
            let end = (at + size).min(kept.len());
            if kept[at..end].iter().any(|kept| kept.is_firm) {
                let before = kept[at..end].to_vec();
                kept[at..end].iter_mut().for_each(Kept::weaken);
                if !is_refuted(&kept) {
                    kept[at..end].clone_from_slice(&before);
                }
            }
            at = end;
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }

    // Beside these, who wrote what they saw.
    let firm = |kept: &&Kept| kept.is_firm && kept.step.is_some();
    let mut seen = BTreeSet::new();
    for step in kept.iter().filter(firm).filter_map(|kept| kept.step) {
        match step.act {
            Act::See { content: Some(content), .. } | Act::Restore(content) => {
                seen.extend([content.saved, content.patched]);
            }
            _ => {}
        }
    }
    let is_shown = |(i, kept): (usize, &Kept)| {
        let wrote_it = steps[i].tag().is_some_and(|tag| seen.contains(&tag));
        (kept.step.is_some() && (kept.is_firm || wrote_it)).then_some(i)
    };
    kept.iter().enumerate().filter_map(is_shown).collect()
}

/// What is left of a call.
#[derive(Clone)]
struct Kept {
    step: Option<Step>,
    /// Whether it counts in full.
    is_firm: bool,
}

impl Kept {
    /// What of it was known at this time.
    fn until(&self, end: u64) -> Kept {
        let step = self.step.filter(|step| step.start <= end);
        match step {
            Some(step) if step.end > end && step.is_read() => Kept { step: None, is_firm: true },
            Some(step) if step.end > end => {
                Kept { step: Some(Step { end: u64::MAX, place: None, index: None, ..step }), is_firm: true }
            }
            step => Kept { step, is_firm: true },
        }
    }

    /// A read is left out; a write may have been at any time, or not at all.
    fn weaken(&mut self) {
        self.is_firm = false;
        self.step = self.step.filter(|step| !step.is_read()).map(|step| Step {
            start: 0,
            end: u64::MAX,
            place: None,
            index: None,
            ..step
        });
    }
}
