//! A small stand-in for the crate `base2histogram`, put in its place by `[patch.crates-io]` in the
//! workspace's manifest.
//!
//! The crate of that name builds tables for sixteen scales the first time it is used, of which one is
//! needed: 26 MiB in each process. openraft, raft-log and chunked-wal count batch sizes and
//! latencies with it, which a node does not read (it has metrics of its own). This one has the part of
//! the interface that they call, and no tables: a value's bucket is arithmetic.
//!
//! When a release of the original has no such tables, this folder and the patch can go.

use std::fmt;
use std::marker::PhantomData;

/// Buckets to a power of two.
const PARTS: u32 = 4;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Up to `PARTS` one bucket a value; above, `PARTS` buckets to each power of two.
const BUCKETS: usize = ((u64::BITS - PART_BITS + 1) * PARTS) as usize;

/// How often which values were seen; a value is kept within a quarter of it.
///
/// Two kilobytes from the first value on, none before. `T`, which the original keeps beside the values of
/// a window of time, is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    _data: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Histogram { counts: Vec::new(), _data: PhantomData }
    }
}

impl<T> Histogram<T> {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value once.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let bucket = &mut self.counts[bucket(value)];
        *bucket = bucket.saturating_add(count);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The end of the bucket within which this share (0 to 1) of the values lies; 0 where there are none.
    pub fn percentile(&self, share: f64) -> u64 {
        let total = self.total();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0u64;
        let reached = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        reached.map_or(0, last_value)
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

fn bucket(value: u64) -> usize {
    if value < u64::from(PARTS) {
        return value as usize;
    }
    let power = value.ilog2();
    let part = (value >> (power - PART_BITS)) as u32 - PARTS;
    ((power - PART_BITS + 1) * PARTS + part) as usize
}

/// The largest value of a bucket.
fn last_value(bucket: usize) -> u64 {
    let (bucket, parts) = (bucket as u64, u64::from(PARTS));
    if bucket < parts {
        return bucket;
    }
    let next = (u128::from(bucket % parts) + u128::from(parts) + 1) << (bucket / parts - 1);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

/// How many values there were, and up to where which share of them lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// A thousandth lies up to here.
    pub p0_1: u64,
    /// A hundredth.
    pub p1: u64,
    /// A twentieth.
    pub p5: u64,
    /// A tenth.
    pub p10: u64,
    /// Half of them.
    pub p50: u64,
    /// Nine tenths.
    pub p90: u64,
    /// All but a hundredth.
    pub p99: u64,
    /// All but a thousandth.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "samples {}, P0.1 {}, P1 {}, P5 {}, P10 {}, P50 {}, P90 {}, P99 {}, P99.9 {}",
            self.samples, self.p0_1, self.p1, self.p5, self.p10, self.p50, self.p90, self.p99, self.p99_9
        )
    }
}

/// Histograms under names, to be printed. The original draws bars; this prints the percentiles.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// One without histograms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a histogram.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.series.push((name.to_owned(), histogram.percentile_stats()));
        self
    }

    /// What to print.
    pub fn detailed(&self) -> impl fmt::Display + '_ {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_a_bucket_that_ends_at_or_a_quarter_behind_it() {
        let powers = (0..64).flat_map(|power| [(1u64 << power) - 1, 1 << power, 1 << power | 1 << (power / 2)]);
        for value in (0..5_000).chain(powers).chain([u64::MAX]) {
            let last = last_value(bucket(value));
            assert!(last >= value && last - value <= value / u64::from(PARTS), "{value} {last}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_read_off_the_buckets() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!((histogram.total(), histogram.percentile(0.5)), (0, 0));
        histogram.record_n(3, 99);
        histogram.record(1_000);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p99, stats.p99_9), (100, 3, 3, 1_023));
    }
}
