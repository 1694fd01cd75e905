use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::seed::Seed;

/// From one place to another; the way back is a pair of its own.
pub type Pair = (usize, usize);

/// How bad a link is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quality {
    pub delay: Duration,
    /// Up to so much more, by chance; packets stay in order.
    pub jitter: Duration,
    /// Packets that are lost, of 100.
    pub loss_percent: usize,
    /// Bytes a second; nothing is no limit.
    pub rate: Option<u32>,
}

/// What waits for a slow link at most; what comes then is lost, as by a router.
const QUEUE: Duration = Duration::from_secs(1);

/// What is done to what one node sends to another. Several things may be done at once: each lasts until its [`Hold`] is
/// dropped.
#[derive(Clone)]
pub struct Links(Arc<Mutex<State>>);

struct State {
    places: usize,
    links: Vec<Link>,
    next: u64,
}

#[derive(Default)]
struct Link {
    /// How many want it cut.
    cuts: usize,
    qualities: BTreeMap<u64, Quality>,
    /// Until when it is busy with what was sent before.
    busy_until: Option<Instant>,
    /// When the last packet arrives: none overtakes another.
    last: Option<Instant>,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    Now,
    At(Instant),
}

/// Keeps something done to links until it is dropped.
pub struct Hold {
    links: Links,
    pairs: Vec<Pair>,
    /// The number of a quality; nothing is a cut.
    quality: Option<u64>,
}

impl Links {
    pub(super) fn new(places: usize) -> Self {
        let links = (0..places * places).map(|_| Link::default()).collect();
        Links(Arc::new(Mutex::new(State { places, links, next: 0 })))
    }

    /// Lets nothing through from the first of each pair to the second.
    #[must_use]
    pub fn cut(&self, pairs: &[Pair]) -> Hold {
        self.each(pairs, |link| link.cuts += 1);
        Hold { links: self.clone(), pairs: pairs.to_vec(), quality: None }
    }

    /// Makes these links as bad as this, beside what they suffer already.
    #[must_use]
    pub fn impair(&self, pairs: &[Pair], quality: Quality) -> Hold {
        let id = {
            let mut state = self.0.lock().unwrap();
            state.next += 1;
            state.next
        };
        self.each(pairs, |link| {
            link.qualities.insert(id, quality);
        });
        Hold { links: self.clone(), pairs: pairs.to_vec(), quality: Some(id) }
    }

    fn each(&self, pairs: &[Pair], mut change: impl FnMut(&mut Link)) {
        let mut state = self.0.lock().unwrap();
        for (from, to) in pairs {
            let at = from * state.places + to;
            change(&mut state.links[at]);
        }
    }

    /// What becomes of a packet of `bytes` that is sent now.
    pub(super) fn fate(&self, (from, to): Pair, bytes: usize, chance: &mut Seed) -> Fate {
        let mut state = self.0.lock().unwrap();
        if from >= state.places || to >= state.places {
            return Fate::Lost;
        }
        let at = from * state.places + to;
        state.links[at].fate(bytes, chance, Instant::now())
    }
}

impl Link {
    fn fate(&mut self, bytes: usize, chance: &mut Seed, now: Instant) -> Fate {
        if self.cuts > 0 || self.qualities.values().any(|quality| chance.chance(quality.loss_percent)) {
            return Fate::Lost;
        }
        if self.qualities.is_empty() && self.last.is_none_or(|last| last <= now) {
            return Fate::Now;
        }
        let mut leaves = now;
        if let Some(rate) = self.qualities.values().filter_map(|quality| quality.rate).min() {
            let begins = self.busy_until.map_or(now, |busy| busy.max(now));
            if begins - now > QUEUE {
                return Fate::Lost;
            }
            leaves = begins + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
            self.busy_until = Some(leaves);
        }
        for quality in self.qualities.values() {
            leaves += quality.delay + chance.between(Duration::ZERO, quality.jitter);
        }
        let arrives = self.last.map_or(leaves, |last| last.max(leaves));
        self.last = Some(arrives);
        Fate::At(arrives)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        match self.quality {
            None => self.links.each(&self.pairs, |link| link.cuts -= 1),
            Some(id) => self.links.each(&self.pairs, |link| {
                link.qualities.remove(&id);
            }),
        }
    }
}

#[test]
fn what_is_done_to_a_link_adds_up_and_ends() {
    let (links, mut chance) = (Links::new(2), Seed::new(1));
    let mut fate = |bytes| links.fate((0, 1), bytes, &mut chance);
    assert_eq!(fate(1), Fate::Now);
    let slow = links.impair(&[(0, 1)], Quality { rate: Some(1_000), ..Quality::default() });
    let before = Instant::now();
    let Fate::At(first) = fate(500) else { panic!("it takes a while") };
    let Fate::At(second) = fate(500) else { panic!("it takes a while") };
    assert!(first - before >= Duration::from_millis(500) && second - first == Duration::from_millis(500));
    assert!(matches!(fate(5_000), Fate::At(_)));
    assert_eq!(fate(1), Fate::Lost, "the queue is full");
    let (one, two) = (links.cut(&[(0, 1)]), links.cut(&[(0, 1), (1, 0)]));
    drop(one);
    assert_eq!(fate(1), Fate::Lost);
    drop((two, slow));
    assert!(matches!(fate(1), Fate::At(_)), "behind what is still under way");
}
