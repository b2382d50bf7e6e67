//! How long something took, counted in buckets that anybody may read while others count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counted durations.
#[derive(Debug, Default)]
pub struct Times {
    /// One more than the bounds: the last is for what took longer than all of them.
    buckets: [AtomicU64; Times::BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Times {
    /// Upper bounds of the buckets in seconds: from one signature checked with the keys at hand to a whole chain fetched over a bad line.
    pub const BOUNDS: [f64; 13] = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

    pub(super) fn add(&self, took: Duration) {
        let bucket = Times::BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(Times::BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts by bucket, and the sum of all times in seconds.
    pub fn read(&self) -> ([u64; Times::BOUNDS.len() + 1], f64) {
        (std::array::from_fn(|i| self.buckets[i].load(Relaxed)), self.nanoseconds.load(Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let times = Times::default();
        for milliseconds in [0, 1, 2, 60_000] {
            times.add(Duration::from_millis(milliseconds));
        }
        let (buckets, seconds) = times.read();
        assert_eq!((buckets[0], buckets[3], buckets[4], buckets[13], buckets.iter().sum::<u64>()), (1, 1, 1, 1, 4));
        assert!((seconds - 60.003).abs() < 1e-9, "{seconds}");
    }
}
