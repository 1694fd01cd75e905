//! Everything that is left to chance, from one number: the same seed gives the same faults and the same calls, as far as
//! the machine's own timing lets them be the same.

use std::time::Duration;

/// A source of chance of its own for each that needs one, so that what one draws does not change what another gets.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    pub fn new(seed: u64) -> Self {
        Seed(seed)
    }

    /// Another source for `name`: the same for the same seed and name, whatever was drawn before from others.
    pub fn fork(&self, name: &str) -> Self {
        let mut hash = self.0 ^ 0xcbf2_9ce4_8422_2325;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Seed(hash)
    }

    /// The next number (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, which are not none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A time from `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).unwrap();
        least + Duration::from_micros(self.next() % (span + 1))
    }
}

#[test]
fn a_seed_repeats_and_its_forks_do_not_disturb_each_other() {
    let (mut one, two) = (Seed::new(7), Seed::new(7));
    let fork = one.fork("clients").next();
    let drawn: Vec<u64> = (0..3).map(|_| one.next()).collect();
    assert_eq!(two.fork("clients").next(), fork);
    assert_ne!(two.fork("faults").next(), fork);
    let mut again = two.clone();
    assert_eq!((0..3).map(|_| again.next()).collect::<Vec<_>>(), drawn);
}
