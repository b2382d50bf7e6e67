//! The system's clock, and how far it is believed.
//!
//! Old boxes have no battery behind their clock and wake up in 1970. Below the floor (the latest of the release date, the last time
//! saved, and the newest accepted list) signature times cannot be judged; `validate` acts on that.

#![allow(clippy::disallowed_methods, reason = "this is the one place where the rooms' time comes from")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::resolve::Clock;

/// No correct clock shows an earlier time than the one this release was written at: 2026-11-20, in seconds since 1970.
const RELEASED: u64 = 1_795_132_800;

/// The machine's monotonic and wall clock. Clones are the same clock, with the same floor.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
    floor: Arc<AtomicU64>,
}

impl SystemClock {
    /// A clock whose floor is the release date.
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now(), floor: Arc::new(AtomicU64::new(RELEASED)) }
    }

    /// Raises the floor to `seconds` since 1970 (a saved time, the date of an accepted list); a lower value changes nothing.
    pub fn raise_floor(&self, seconds: u64) {
        self.floor.fetch_max(seconds, Ordering::Relaxed);
    }

    /// The floor, in seconds since 1970.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn wall_is_trusted(&self) -> bool {
        self.wall() >= self.floor()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_below_its_floor_is_not_trusted() {
        let clock = SystemClock::new();
        clock.raise_floor(RELEASED - 1);
        assert_eq!(clock.floor(), RELEASED);
        clock.raise_floor(u64::MAX);
        assert!(!clock.wall_is_trusted());
    }
}
