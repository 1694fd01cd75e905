//! A clock that jumps: the time of day, not the one that only counts.

use super::{Aim, Deed, Fault, seconds};
use crate::world::{Claim, Need};

pub struct Jumps;

impl Fault for Jumps {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn weight(&self) -> usize {
        6
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Clock]
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        aim.take(Claim::Clock)?;
        let (place, file) = aim.world.clock.clone()?;
        let (world, entry, seed) = (aim.world.clone(), aim.entry.clone(), &mut aim.seed);
        let name = world.machine(place).name.clone();
        let by = *seed.pick(&["+2d", "-2d", "+11s", "-11s", "+1s", "-1s", "+1y"]);
        let time = seed.between(seconds(1), seconds(8));
        Some(Box::pin(async move {
            let set = |by: &str| std::fs::write(&file, by).map_err(|error| format!("{}: {error}", file.display()));
            set(by)?;
            entry.note(format!("{name} by {by} for {} ms", time.as_millis()));
            world.rest(time).await;
            set("+0")?;
            entry.note(format!("{name} is right again"));
            Ok(())
        }))
    }
}
