//! Links that are bad and not cut: late, lossy, slow.

use super::{Aim, Deed, Fault, millis, seconds};
use crate::network::{Pair, Quality};
use crate::seed::Seed;
use crate::world::{Claim, Need};

/// A way to be bad.
pub struct Weather {
    name: &'static str,
    weight: usize,
    quality: fn(&mut Seed) -> Quality,
}

pub fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(Weather { name: "delay", weight: 5, quality: delay }),
        Box::new(Weather { name: "loss", weight: 5, quality: loss }),
        Box::new(Weather { name: "slow link", weight: 5, quality: slow }),
    ]
}

impl Fault for Weather {
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
        aim.take(Claim::Weather)?;
        let quality = (self.quality)(&mut aim.seed);
        let size = aim.world.size();
        let all = || (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
        let one = aim.seed.below(size);
        let (pairs, whose): (Vec<Pair>, _) = match aim.seed.below(3) {
            0 => (all().collect(), "all links".to_owned()),
            1 => {
                let pairs = all().filter(|(from, to)| *from == one || *to == one).collect();
                (pairs, format!("links of {}", aim.world.machine(one).name))
            }
            _ => (
                all().filter(|(from, _)| *from == one).collect(),
                format!("links from {}", aim.world.machine(one).name),
            ),
        };
        let time = aim.seed.between(seconds(1), seconds(10));
        let (world, entry) = (aim.world.clone(), aim.entry.clone());
        Some(Box::pin(async move {
            let held = world.network.as_ref().map(|network| network.links().impair(&pairs, quality));
            entry.note(format!("{whose}: {} for {} ms", shown(&quality), time.as_millis()));
            world.rest(time).await;
            drop(held);
            entry.note("good again");
            Ok(())
        }))
    }
}

fn shown(quality: &Quality) -> String {
    let Quality { delay, jitter, loss_percent, rate } = quality;
    match (rate, loss_percent) {
        (Some(rate), _) => format!("{} KiB/s", rate >> 10),
        (None, 0) => format!("{} ms and up to {} ms more", delay.as_millis(), jitter.as_millis()),
        (None, loss) => format!("{loss} % lost"),
    }
}

/// Some of it is longer than elections take.
fn delay(seed: &mut Seed) -> Quality {
    let most = if seed.chance(70) { millis(60) } else { millis(400) };
    let delay = seed.between(millis(1), most);
    Quality { delay, jitter: seed.between(millis(0), delay), ..Quality::default() }
}

fn loss(seed: &mut Seed) -> Quality {
    Quality { loss_percent: 1 + seed.below(30), ..Quality::default() }
}

fn slow(seed: &mut Seed) -> Quality {
    let rate = (16 << 10) << seed.below(7);
    Quality { rate: Some(rate), ..Quality::default() }
}
