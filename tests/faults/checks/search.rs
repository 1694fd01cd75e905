//! Is there an order of the calls on one document that explains all that was seen?
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the just-in-time cuts and the memo
//! of Lowe ("Testing for linearizability", 2017): an order is built call by call, only from those that began before all
//! others that are left had ended; a set of calls with the state they lead to is looked at once.
//!
//! What makes it fast here is that each write has a number of its own, and acknowledged writes and reads carry a revision,
//! which is a place in the log. So acknowledged writes come in the order of their revisions, a read that fits is taken at
//! once. Of the writes whose outcome is not known, those happened of which somebody saw something; of the others only those
//! are tried that could explain something: an order with others of them can do without these as well.

use std::collections::{HashMap, HashSet};

use crate::history::Content;
use crate::seed::Seed;

/// How many sets of calls are looked at before the search is given up.
pub const BUDGET: usize = 100_000;

/// What a call did, or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Save(u64),
    Create(u64),
    Swap {
        tag: u64,
        rev: u64,
    },
    Patch(u64),
    Delete,
    Restore(Content),
    /// A read of one document.
    See {
        content: Option<Content>,
        rev: Option<u64>,
    },
    /// A condition did not hold, or there was nothing to patch: the document has this revision, 0 where it is not there.
    Refused {
        rev: u64,
    },
    /// There must not be such an answer.
    Never,
}

/// A call on one document.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub start: u64,
    /// `u64::MAX` where the outcome is not known: it may be anywhere after its start, or nowhere.
    pub end: u64,
    pub act: Act,
    /// Of a write: its revision, where that is known exactly.
    pub place: Option<u64>,
    /// Of a read: the log index that its answer reflects at least. Of a write without place: an index not below its own.
    pub index: Option<u64>,
    /// Whether a read shows the state at exactly its index.
    pub exact: bool,
}

impl Step {
    fn is_sure(&self) -> bool {
        self.end != u64::MAX
    }

    pub fn is_read(&self) -> bool {
        matches!(self.act, Act::See { .. } | Act::Refused { .. } | Act::Never)
    }

    /// The revision that a read shows.
    fn rev(&self) -> Option<u64> {
        match self.act {
            Act::See { rev, .. } => rev,
            Act::Refused { rev } => Some(rev),
            _ => None,
        }
    }

    /// The number that the write puts in.
    pub fn tag(&self) -> Option<u64> {
        match self.act {
            Act::Save(tag) | Act::Create(tag) | Act::Swap { tag, .. } | Act::Patch(tag) => Some(tag),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Linearizable,
    Not,
    /// The search was given up.
    Unknown,
}

/// A document, and what is known of its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    content: Option<Content>,
    /// The revision, or one that it is above.
    rev: u64,
    is_known: bool,
}

impl State {
    fn at(content: Option<Content>, rev: u64) -> State {
        State { content, rev, is_known: true }
    }

    fn after(content: Option<Content>, rev: u64) -> State {
        State { content, rev, is_known: false }
    }

    /// Whether the document, which is there, may have this revision.
    fn has(&self, rev: u64) -> bool {
        self.content.is_some() && if self.is_known { self.rev == rev } else { rev > self.rev }
    }

    /// The state after a step, if it can be the next one.
    fn step(&self, step: &Step) -> Option<State> {
        match step.act {
            Act::See { content, rev } => {
                if content != self.content || (step.exact && step.index.is_some_and(|index| index < self.rev)) {
                    return None;
                }
                match rev {
                    Some(rev) => self.has(rev).then(|| State::at(content, rev)),
                    None => Some(*self),
                }
            }
            Act::Refused { rev: 0 } => self.content.is_none().then_some(*self),
            Act::Refused { rev } => self.has(rev).then(|| State::at(self.content, rev)),
            Act::Never => None,
            _ => self.write(step),
        }
    }

    fn write(&self, step: &Step) -> Option<State> {
        if step.place.or(step.index).is_some_and(|rev| rev <= self.rev) {
            return None;
        }
        let new = |saved| Some(Content { saved, patched: 0 });
        let content = match (step.act, self.content) {
            (Act::Save(tag), _) | (Act::Create(tag), None) => new(tag),
            (Act::Swap { tag, rev }, Some(_)) if self.has(rev) => new(tag),
            (Act::Patch(tag), Some(content)) => Some(Content { patched: tag, ..content }),
            (Act::Delete, Some(_)) => None,
            // It changes nothing, but has its place.
            (Act::Delete, None) => return Some(State::after(None, self.rev.max(step.place.unwrap_or(0)))),
            (Act::Restore(content), _) => Some(content),
            _ => return None,
        };
        Some(match step.place {
            Some(rev) => State::at(content, rev),
            None => State::after(content, self.rev),
        })
    }
}

/// The calls on one document, sorted.
struct Search {
    /// Those that happened, by start.
    sure: Vec<Step>,
    /// Those that may have, of which nobody saw anything, by start.
    maybe: Vec<Step>,
    /// The acknowledged writes of which the place is known, by place.
    placed: Vec<usize>,
    /// Revisions that somebody was told, and of which nobody knows what wrote them.
    odd: Vec<u64>,
    /// By the number that saved a document: the highest revision at which it was seen.
    newest: HashMap<u64, u64>,
    done: Vec<bool>,
    done_maybe: Vec<bool>,
    /// All sure ones before it are done.
    low: usize,
    /// All placed ones before it are done.
    next_placed: usize,
    /// What is done, as the sum (exclusive or) of a random number for each: 128 bits, so that two sets do not meet.
    set: u128,
    memo: HashSet<(u128, State, Option<State>)>,
}

#[derive(Clone, Copy)]
enum Choice {
    Sure(usize),
    Maybe(usize),
}

/// A point of the search.
struct Frame {
    state: State,
    /// The state before the writes that may have been, where nothing else has come after them yet.
    before: Option<State>,
    /// What was done to come here.
    taken: Vec<Choice>,
    choices: Vec<Choice>,
    low: usize,
    next_placed: usize,
}

/// Whether there is an order, where the document was not there at first.
pub fn search(steps: &[Step], budget: usize) -> Answer {
    let mut sure: Vec<Step> = steps.iter().filter(|step| step.is_sure()).copied().collect();
    let maybe = steps.iter().filter(|step| !step.is_sure() && !step.is_read());
    let seen = Seen::of(steps);
    // What was seen has happened, though its client does not know.
    let (happened, mut maybe): (Vec<Step>, Vec<Step>) = maybe.copied().partition(|step| seen.has(step));
    sure.extend(happened.into_iter().map(|step| seen.placed(step)));
    sure.sort_by_key(|step| step.start);
    maybe.sort_by_key(|step| step.start);
    let mut placed: Vec<usize> = (0..sure.len()).filter(|i| !sure[*i].is_read() && sure[*i].place.is_some()).collect();
    placed.sort_by_key(|i| sure[*i].place);
    let known: HashSet<u64> = sure.iter().filter_map(|step| step.place).collect();
    let told = sure.iter().filter_map(|step| match step.act {
        Act::Refused { rev } | Act::Swap { rev, .. } | Act::See { rev: Some(rev), .. } => Some(rev),
        _ => None,
    });
    let mut odd: Vec<u64> = told.filter(|rev| *rev > 0 && !known.contains(rev)).collect();
    odd.sort_unstable();
    let newest = seen.newest;
    let (done, done_maybe) = (vec![false; sure.len()], vec![false; maybe.len()]);
    let memo = HashSet::new();
    Search { sure, maybe, placed, odd, newest, done, done_maybe, low: 0, next_placed: 0, set: 0, memo }.run(budget)
}

/// What of each write somebody saw.
struct Seen {
    /// By number: the lowest revision or index at which it was seen.
    by: HashMap<u64, u64>,
    /// By the number that saved it: the highest one.
    newest: HashMap<u64, u64>,
    /// Just as it was written, and its revision.
    own: HashMap<Content, u64>,
}

impl Seen {
    fn of(steps: &[Step]) -> Seen {
        let mut seen = Seen { by: HashMap::new(), newest: HashMap::new(), own: HashMap::new() };
        let mut restored = HashSet::new();
        for step in steps {
            match step.act {
                Act::See { content: Some(content), rev } => {
                    let at = rev.or(step.index.filter(|_| step.exact)).unwrap_or(u64::MAX);
                    for tag in [content.saved, content.patched] {
                        let lowest = seen.by.entry(tag).or_insert(at);
                        *lowest = at.min(*lowest);
                    }
                    let highest = seen.newest.entry(content.saved).or_insert(at);
                    *highest = at.max(*highest);
                    rev.map(|rev| seen.own.insert(content, rev));
                }
                Act::Restore(content) => drop(restored.insert(content)),
                _ => {}
            }
        }
        // These may have two revisions.
        seen.own.retain(|content, _| !restored.contains(content));
        seen
    }

    fn has(&self, step: &Step) -> bool {
        match step.act {
            Act::Restore(_) | Act::Delete => false,
            _ => step.tag().is_some_and(|tag| self.by.contains_key(&tag)),
        }
    }

    /// The write with its revision, as far as it follows from what was seen.
    fn placed(&self, step: Step) -> Step {
        let Some(tag) = step.tag() else { return step };
        let own = match step.act {
            Act::Patch(_) => self.own.iter().find(|(content, _)| content.patched == tag).map(|(_, rev)| *rev),
            _ => self.own.get(&Content { saved: tag, patched: 0 }).copied(),
        };
        Step { place: own, index: self.by.get(&tag).copied().filter(|at| *at < u64::MAX), ..step }
    }
}

impl Search {
    fn run(mut self, budget: usize) -> Answer {
        let Some(first) = self.enter(State::after(None, 0), None, Vec::new()) else { return Answer::Linearizable };
        let mut frames = vec![first];
        while let Some(frame) = frames.last_mut() {
            let Some(choice) = frame.choices.pop() else {
                let frame = frames.pop();
                for taken in frame.into_iter().flat_map(|frame| frame.taken) {
                    self.mark(taken, false);
                }
                if let Some(frame) = frames.last() {
                    (self.low, self.next_placed) = (frame.low, frame.next_placed);
                }
                continue;
            };
            let step = match choice {
                Choice::Sure(i) => &self.sure[i],
                Choice::Maybe(i) => &self.maybe[i],
            };
            let Some(state) = frame.state.step(step) else { continue };
            let before = match choice {
                Choice::Sure(_) => None,
                Choice::Maybe(_) => frame.before.or(Some(frame.state)),
            };
            self.mark(choice, true);
            let Some(next) = self.enter(state, before, vec![choice]) else { return Answer::Linearizable };
            if self.memo.len() > budget {
                return Answer::Unknown;
            }
            frames.push(next);
        }
        Answer::Not
    }

    fn mark(&mut self, choice: Choice, done: bool) {
        match choice {
            Choice::Sure(i) => self.done[i] = done,
            Choice::Maybe(i) => self.done_maybe[i] = done,
        }
        let mut number = Seed::new(match choice {
            Choice::Sure(i) => 2 * i as u64,
            Choice::Maybe(i) => 2 * i as u64 + 1,
        });
        self.set ^= u128::from(number.next()) << 64 | u128::from(number.next());
    }

    /// Takes all reads that fit, then finds out what could come next. `None` where nothing is left to explain.
    fn enter(&mut self, state: State, mut before: Option<State>, mut taken: Vec<Choice>) -> Option<Frame> {
        let mut choices = Vec::new();
        loop {
            while self.low < self.sure.len() && self.done[self.low] {
                self.low += 1;
            }
            while self.next_placed < self.placed.len() && self.done[self.placed[self.next_placed]] {
                self.next_placed += 1;
            }
            if self.low == self.sure.len() {
                return None;
            }
            let next_place = self.placed.get(self.next_placed).and_then(|i| self.sure[*i].place);
            let next_place = next_place.unwrap_or(u64::MAX);
            // Whoever begins after another one has ended comes after it.
            let mut first_end = u64::MAX;
            let mut read = None;
            choices.clear();
            for i in self.low..self.sure.len() {
                let step = &self.sure[i];
                if step.start > first_end {
                    break;
                }
                if self.done[i] {
                    continue;
                }
                first_end = first_end.min(step.end);
                if !step.is_read() {
                    // In the order of the log.
                    if step.place.is_none_or(|place| place == next_place) {
                        choices.push(Choice::Sure(i));
                    }
                } else if step.index.max(step.rev()).is_none_or(|rev| rev < next_place)
                    && let Some(next) = state.step(step)
                {
                    // Which revision the state has is found out by trying, where it is not known.
                    if next == state {
                        read.get_or_insert(i);
                    } else {
                        choices.push(Choice::Sure(i));
                    }
                }
            }
            match read {
                Some(i) => {
                    self.mark(Choice::Sure(i), true);
                    before = None;
                    taken.push(Choice::Sure(i));
                }
                None => {
                    self.useful(&state, first_end, next_place, &mut choices);
                    break;
                }
            }
        }
        // A write that may have been is there for what comes right after it and could not without it, or for what a patch
        // leaves of it.
        if let Some(before) = before {
            let is_shown = state.content.is_some_and(|content| self.is_seen_after(content.saved, state.rev));
            choices.retain(|choice| {
                let step = match choice {
                    Choice::Sure(i) => &self.sure[*i],
                    Choice::Maybe(i) => &self.maybe[*i],
                };
                let is_patch = matches!(step.act, Act::Patch(_)) && is_shown;
                step.is_read() || is_patch || before.step(step).is_none()
            });
        }
        // The last one is tried first: reads, then what has a place, then what is sure, then what may be.
        choices.sort_by_key(|choice| match choice {
            Choice::Maybe(i) => (0, usize::MAX - i),
            Choice::Sure(i) if self.sure[*i].is_read() => (3, usize::MAX - i),
            Choice::Sure(i) if self.sure[*i].place.is_some() => (2, usize::MAX - i),
            Choice::Sure(i) => (1, usize::MAX - i),
        });
        if !self.memo.insert((self.set, state, before)) {
            choices.clear();
        }
        Some(Frame { state, before, taken, choices, low: self.low, next_placed: self.next_placed })
    }

    /// Whether what this write saved was seen at a later revision.
    fn is_seen_after(&self, tag: u64, rev: u64) -> bool {
        self.newest.get(&tag).is_some_and(|newest| *newest > rev)
    }

    /// Those of unknown outcome that could explain something from here on, though nobody saw what they wrote: that the
    /// document is there, or not there, or a revision that is not known otherwise.
    fn useful(&self, state: &State, first_end: u64, next_place: u64, choices: &mut Vec<Choice>) {
        let next_odd = self.odd.get(self.odd.partition_point(|rev| *rev <= state.rev));
        let is_odd = next_odd.is_some_and(|rev| *rev < next_place);
        // Of those that do the same the first one is as good as any.
        let mut kinds = HashSet::new();
        for (i, step) in self.maybe.iter().enumerate() {
            if step.start > first_end {
                break;
            }
            if self.done_maybe[i] || state.step(step).is_none() {
                continue;
            }
            let kind = std::mem::discriminant(&step.act);
            let is_useful = match step.act {
                Act::Delete => state.content.is_some() && kinds.insert(kind),
                // It brings back what was seen later, as it was or patched.
                Act::Restore(content) if self.is_seen_after(content.saved, state.rev) => true,
                Act::Swap { .. } => is_odd,
                _ => (is_odd || state.content.is_none()) && kinds.insert(kind),
            };
            if is_useful {
                choices.push(Choice::Maybe(i));
            }
        }
    }
}
