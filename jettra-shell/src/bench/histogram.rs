//! Latencies in a space that does not grow with their number.

/// Buckets to a power of two: 32, so a value is kept within about 3 %.
const PARTS: u32 = 32;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Microseconds up to 2^32, more than an hour.
const BUCKETS: usize = ((32 - PART_BITS + 1) * PARTS) as usize;

/// How many requests took how long.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; BUCKETS], count: 0, longest: 0 }
    }
}

impl Histogram {
    /// Counts one that took this many microseconds.
    pub fn add(&mut self, micros: u32) {
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.longest = self.longest.max(micros);
    }

    /// Counts all of another one.
    pub fn merge(&mut self, other: &Histogram) {
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in microseconds.
    pub fn longest(&self) -> u32 {
        self.longest
    }

    /// The time, in microseconds, within which this share (0 to 1) of them was done; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u32 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return end(bucket).min(self.longest);
            }
        }
        self.longest
    }
}

/// Up to `PARTS` one bucket a value; above, `PARTS` buckets to each power of two.
fn bucket(micros: u32) -> usize {
    let power = micros.max(1).ilog2();
    if power < PART_BITS {
        return micros as usize;
    }
    let part = (micros >> (power - PART_BITS)) - PARTS;
    ((power - PART_BITS + 1) * PARTS + part) as usize
}

/// The largest value of a bucket.
fn end(bucket: usize) -> u32 {
    let bucket = bucket as u64;
    let parts = u64::from(PARTS);
    if bucket < parts {
        return bucket as u32;
    }
    let shift = bucket / parts - 1;
    let end = ((bucket % parts + parts + 1) << shift) - 1;
    u32::try_from(end).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_at_or_just_after_it() {
        for micros in (0..70_000).chain([1 << 20, 3_600_000_000, u32::MAX]) {
            let end = end(bucket(micros));
            assert!(end >= micros && u64::from(end - micros) * u64::from(PARTS) <= u64::from(micros), "{micros} {end}");
        }
    }

    #[test]
    fn quantiles_are_read_across_merged_parts() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        (1..=99).for_each(|_| low.add(10));
        high.add(5000);
        low.merge(&high);
        assert_eq!((low.count(), low.longest()), (100, 5000));
        assert_eq!((low.quantile(0.5), low.quantile(0.99), low.quantile(1.0)), (10, 10, 5000));
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
