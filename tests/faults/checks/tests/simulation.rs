//! Histories of a document that is linearizable are accepted, and with one fault of each kind they are not.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::seed::Seed;

/// What a simulated cluster does wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A read shows what was overwritten before it began.
    Stale,
    /// The last write is acknowledged and not done.
    Lost,
    /// A write that was overwritten is done again.
    Twice,
}

/// A call under way.
struct Open {
    op: Op,
    start: u64,
    /// What came of it, once it has.
    outcome: Option<Outcome>,
}

/// One document, as a log would make it.
struct Cluster {
    rev: u64,
    /// All states since the beginning, with their revisions.
    states: Vec<(u64, Option<Content>)>,
    events: Vec<Event>,
}

impl Cluster {
    fn state(&self) -> (u64, Option<Content>) {
        *self.states.last().unwrap()
    }

    fn put(&mut self, key: u32, content: Option<Content>) {
        self.states.push((self.rev, content));
        let what = content.map_or(Told::Deleted, Told::Saved);
        let position = Position { rev: self.rev, n: 0 };
        self.events.push(Event::Change(Change { position, key, member: 0, what }));
    }

    fn apply(&mut self, key: u32, op: Op) -> Outcome {
        let (rev, content) = self.state();
        if !op.is_write() {
            return Outcome::Seen { content, rev: content.map(|_| rev), index: Some(self.rev) };
        }
        self.rev += 1;
        let new = |saved| Some(Content { saved, patched: 0 });
        let there = content.map_or(0, |_| rev);
        let next = match op {
            Op::Create { .. } if content.is_some() => return Outcome::Conflict { rev: there },
            Op::Swap { rev: wanted, .. } if there != wanted || there == 0 => return Outcome::Conflict { rev: there },
            Op::Save { tag } | Op::Create { tag } | Op::Swap { tag, .. } => new(tag),
            Op::Patch { tag } => match content {
                Some(content) => Some(Content { patched: tag, ..content }),
                None => return Outcome::Missing,
            },
            Op::Restore { content, .. } => Some(content),
            Op::Delete if content.is_none() => return written(self.rev),
            _ => None,
        };
        self.put(key, next);
        written(self.rev)
    }
}

/// How many clients make how many calls, and of how many in 100 they do not learn what came of them.
#[derive(Clone, Copy)]
struct Scale {
    clients: usize,
    calls: usize,
    unknown: usize,
}

/// What several clients do with one document; `None` where the fault did not come about.
fn simulate(seed: &mut Seed, key: u32, scale: Scale, fault: Fault, tag: &mut u64) -> Option<Simulated> {
    let Scale { clients, calls, unknown: share } = scale;
    let mut cluster = Cluster { rev: 0, states: vec![(0, None)], events: Vec::new() };
    let mut open: Vec<Option<Open>> = (0..clients).map(|_| None).collect();
    // Given up by their clients, but still on their way.
    let mut late: Vec<Op> = Vec::new();
    let mut done: Vec<Call> = Vec::new();
    let mut is_done = fault == Fault::None;
    let mut now = 0;
    while done.len() < calls {
        now += 10;
        if !late.is_empty() && seed.chance(10) {
            let op = late.remove(seed.below(late.len()));
            cluster.apply(key, op);
            continue;
        }
        let client = seed.below(clients);
        let Some(call) = &mut open[client] else {
            *tag += 1;
            let op = some_op(seed, *tag, &cluster);
            open[client] = Some(Open { op, start: now, outcome: None });
            continue;
        };
        match &call.outcome {
            None if call.op.is_write() && seed.chance(share) => {
                late.push(call.op);
                done.push(call_of(client, key, call, now, unknown()));
                open[client] = None;
            }
            None => call.outcome = Some(cluster.apply(key, call.op)),
            Some(outcome) => {
                let is_unknown = call.op.is_write() && seed.chance(share);
                let mut outcome = if is_unknown { unknown() } else { outcome.clone() };
                if fault == Fault::Stale
                    && !is_done
                    && let Outcome::Seen { rev: Some(rev), .. } = outcome
                    && let Some(old) = overwritten(&cluster, &done, call.start, rev)
                {
                    (outcome, is_done) = (old, true);
                }
                done.push(call_of(client, key, call, now, outcome));
                open[client] = None;
            }
        }
    }
    for (client, open) in open.into_iter().enumerate() {
        let Some(call) = open else { continue };
        done.push(call_of(client, key, &call, now, unknown()));
    }
    // Two writes and a read, one after the other.
    let mut then = |op, outcome| {
        now += 10;
        done.push(call_of(0, key, &Open { op, start: now, outcome: None }, now + 5, outcome));
    };
    let first = Op::Save { tag: *tag + 1 };
    then(first, cluster.apply(key, first));
    let second = Op::Save { tag: *tag + 2 };
    match fault {
        Fault::Lost => {
            cluster.rev += 1;
            then(second, written(cluster.rev));
            is_done = true;
        }
        Fault::Twice => {
            then(second, cluster.apply(key, second));
            cluster.apply(key, first);
            is_done = true;
        }
        Fault::None | Fault::Stale => then(second, cluster.apply(key, second)),
    }
    then(READ, cluster.apply(key, READ));
    *tag += 2;
    is_done.then_some(Simulated { calls: done, events: cluster.events, rev: cluster.rev })
}

struct Simulated {
    calls: Vec<Call>,
    events: Vec<Event>,
    rev: u64,
}

fn some_op(seed: &mut Seed, tag: u64, cluster: &Cluster) -> Op {
    match seed.below(12) {
        0..3 => Op::Save { tag },
        3 => Op::Create { tag },
        4 | 5 => Op::Swap { tag, rev: cluster.state().0 },
        6 => Op::Patch { tag },
        7 => Op::Delete,
        8 => match seed.pick(&cluster.states) {
            (rev, Some(content)) => Op::Restore { content: *content, rev: *rev },
            _ => READ,
        },
        _ => READ,
    }
}

fn call_of(client: usize, key: u32, call: &Open, end: u64, outcome: Outcome) -> Call {
    let (client, node, op, start) = (u32::try_from(client).unwrap(), "node1".into(), call.op, call.start);
    Call { client, key, node, way: Way::Plain, connection: 0, op, start, end, outcome }
}

/// The state before one of `rev` that was acknowledged before `start`.
fn overwritten(cluster: &Cluster, done: &[Call], start: u64, rev: u64) -> Option<Outcome> {
    let acknowledged = |call: &&Call| call.end < start && call.outcome == written(rev);
    done.iter().find(acknowledged)?;
    let at = cluster.states.iter().position(|(at, _)| *at == rev)?;
    // An absence has no revision, and a delete that nobody knows of could explain it.
    let (rev, content) = cluster.states[at - 1];
    content.map(|_| Outcome::Seen { content, rev: Some(rev), index: None })
}

fn history_of(simulated: Simulated) -> Story {
    let mut story = Story::new();
    story.0.calls = simulated.calls;
    story.0.calls.sort_by_key(|call| call.start);
    let mut events = simulated.events;
    events.push(progress(simulated.rev));
    story.told("node1", &events).last(simulated.rev)
}

/// Whether each document is linearizable.
const LINEARIZABLE: usize = 0;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_linearizable_is_accepted(seed: u64, clients in 1..7_usize, calls in 1..120_usize) {
        let simulated = simulate(&mut Seed::new(seed), DOCUMENT, Scale { clients, calls, unknown: 5 }, Fault::None, &mut 0).unwrap();
        let story = history_of(simulated);
        let report = story.report();
        // Nobody was asked what it holds in the end.
        let of_all = &report.checks[..report.checks.len() - 1];
        prop_assert!(of_all.iter().all(|(_, verdict)| *verdict == Verdict::True), "{}", report);
    }

    #[test]
    fn a_fault_is_refused(seed: u64, clients in 1..7_usize, calls in 40..120_usize, which in 0..3_usize) {
        let fault = [Fault::Stale, Fault::Lost, Fault::Twice][which];
        let simulated = simulate(&mut Seed::new(seed), DOCUMENT, Scale { clients, calls, unknown: 5 }, fault, &mut 0);
        prop_assume!(simulated.is_some());
        let story = history_of(simulated.unwrap());
        let report = story.report();
        prop_assert!(matches!(report.checks[LINEARIZABLE].1, Verdict::False(_)), "{:?}: {}", fault, report);
        match fault {
            Fault::Lost => prop_assert!(matches!(story.verdict("the feed is what"), Verdict::False(_))),
            Fault::Twice => prop_assert!(matches!(story.verdict("each write is applied once"), Verdict::False(_))),
            Fault::Stale | Fault::None => {}
        }
    }
}

#[test]
fn many_operations_are_judged_in_seconds() {
    let (mut seed, mut tag) = (Seed::new(5), 0);
    let mut story = Story::new();
    story.0.names.clear();
    for key in 0..500 {
        let simulated =
            simulate(&mut seed, key, Scale { clients: 6, calls: 397, unknown: 1 }, Fault::None, &mut tag).unwrap();
        story.0.names.push(Name { collection: "documents".to_owned(), id: key.to_string(), members: 0 });
        story.0.calls.extend(simulated.calls);
    }
    story.0.calls.sort_by_key(|call| call.start);
    assert!(story.0.calls.len() >= 200_000);
    let begun = Instant::now();
    let verdicts = crate::checks::linearizable::linearizable(&story.0);
    println!("{} operations in {:?}", story.0.calls.len(), begun.elapsed());
    assert_eq!(verdicts, (Verdict::True, Verdict::True));
    // Much more than it takes, on a machine that has other things to do.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
