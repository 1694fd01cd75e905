//! The network falls apart. Clients still reach every node.

use std::time::Instant;

use super::{Aim, Deed, Fault, millis, seconds};
use crate::network::Pair;
use crate::world::{Claim, Need};

/// A way to fall apart.
pub struct Partition {
    name: &'static str,
    weight: usize,
    cut: fn(&mut Aim) -> Option<Cut>,
}

/// What is cut.
struct Cut {
    pairs: Vec<Pair>,
    what: String,
    /// The place of a leader that is left without a majority.
    lost: Option<usize>,
}

pub fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(Partition { name: "halves", weight: 6, cut: halves }),
        Box::new(Partition { name: "isolate", weight: 8, cut: isolate }),
        Box::new(Partition { name: "one way", weight: 6, cut: one_way }),
        Box::new(Partition { name: "bridge", weight: 4, cut: bridge }),
    ]
}

impl Fault for Partition {
    fn name(&self) -> &'static str {
        self.name
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Network]
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Cuts)?;
        let cut = (self.cut)(aim)?;
        let (world, entry, claimed) = (aim.world.clone(), aim.entry.clone(), aim.claimed());
        let most = if aim.seed.chance(70) { seconds(4) } else { seconds(12) };
        let time = aim.seed.between(millis(300), most);
        Some(Box::pin(async move {
            let held = world.network.as_ref().map(|network| network.links().cut(&cut.pairs));
            let lost = Instant::now();
            entry.note(format!("{} for {} ms", cut.what, time.as_millis()));
            match cut.lost {
                Some(place) if time > seconds(2) => {
                    tokio::join!(world.rest(time), world.failover(place, lost, &claimed, &entry));
                }
                _ => world.rest(time).await,
            }
            drop(held);
            entry.note("whole again");
            Ok(())
        }))
    }
}

/// All places in an order by chance.
fn shuffled(aim: &mut Aim) -> Vec<usize> {
    let mut places: Vec<usize> = (0..aim.world.size()).collect();
    for at in (1..places.len()).rev() {
        places.swap(at, aim.seed.below(at + 1));
    }
    places
}

/// Every pair from one of `a` to one of `b` and back.
fn between(a: &[usize], b: &[usize]) -> Vec<Pair> {
    a.iter().flat_map(|a| b.iter().flat_map(move |b| [(*a, *b), (*b, *a)])).collect()
}

fn names(aim: &Aim, places: &[usize]) -> String {
    let names: Vec<&str> = places.iter().map(|place| &*aim.world.machine(*place).name).collect();
    names.join(" ")
}

fn halves(aim: &mut Aim) -> Option<Cut> {
    let places = shuffled(aim);
    let (a, b) = places.split_at(places.len() / 2);
    let lost = aim.leader.as_ref().map(|leader| leader.place).filter(|place| a.contains(place));
    Some(Cut { pairs: between(a, b), what: format!("{} | {}", names(aim, a), names(aim, b)), lost })
}

/// Preferably the leader.
fn isolate(aim: &mut Aim) -> Option<Cut> {
    let places = shuffled(aim);
    let leader = aim.leader.as_ref().map(|leader| leader.place);
    let one = leader.filter(|_| aim.seed.chance(70)).unwrap_or(places[0]);
    let rest: Vec<usize> = places.into_iter().filter(|place| *place != one).collect();
    let what = format!("{} | {}", names(aim, &[one]), names(aim, &rest));
    Some(Cut { pairs: between(&[one], &rest), what, lost: leader.filter(|leader| *leader == one) })
}

/// One node is heard by nobody, or hears nobody, or one does not hear another one.
fn one_way(aim: &mut Aim) -> Option<Cut> {
    let places = shuffled(aim);
    let leader = aim.leader.as_ref().map(|leader| leader.place);
    let one = leader.filter(|_| aim.seed.chance(60)).unwrap_or(places[0]);
    let rest: Vec<usize> = places.into_iter().filter(|place| *place != one).collect();
    let (pairs, what): (Vec<Pair>, _) = match aim.seed.below(3) {
        0 => (rest.iter().map(|to| (one, *to)).collect(), format!("{} is heard by nobody", names(aim, &[one]))),
        1 => (rest.iter().map(|from| (*from, one)).collect(), format!("{} hears nobody", names(aim, &[one]))),
        _ => {
            let other = rest[0];
            (vec![(one, other)], format!("{} does not hear {}", names(aim, &[other]), names(aim, &[one])))
        }
    };
    Some(Cut { pairs, what, lost: None })
}

/// Two halves that hear each other by one node only.
fn bridge(aim: &mut Aim) -> Option<Cut> {
    let places = shuffled(aim);
    let (one, rest) = places.split_first()?;
    let (a, b) = rest.split_at(rest.len() / 2);
    let what = format!("{} - {} - {}", names(aim, a), names(aim, &[*one]), names(aim, b));
    Some(Cut { pairs: between(a, b), what, lost: None })
}
