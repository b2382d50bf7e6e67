//! What one client prefix may get over UDP per second: a fixed table of atomic buckets.
//!
//! Bounded by construction: prefixes are hashed with a random key into a table that never grows, and two that meet in one bucket share
//! it. A bucket is one word, the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371), so that a decision is one
//! compare-and-swap and no lock. Limited queries are dropped, every `slip`-th gets TC instead, so that a real client can come back
//! over TCP (the way of BIND's response rate limiting). Exempting private sources, TCP and valid cookies is the caller's decision.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Buckets in the table: 128 KiB, far more than the prefixes that attack at once.
const BUCKETS: usize = 1 << 14;

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Answers per second and prefix; 0 turns the limit off. Default 100: a busy household behind one address stays below it.
    pub answers_per_second: u32,
    /// Refusals and other errors per second and prefix. Default 5: enough for an administrator to see why.
    pub errors_per_second: u32,
    /// How many seconds' worth may come at once. Default 2: browsers ask in bursts.
    pub burst_seconds: u32,
    /// Every how many limited queries one gets TC. Default 2; 0 for never.
    pub slip: u32,
    /// Bits of an IPv4 address that make a prefix. Default 24.
    pub ipv4_bits: u8,
    /// Bits of an IPv6 address that make a prefix. Default 56: what one customer commonly holds.
    pub ipv6_bits: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { answers_per_second: 100, errors_per_second: 5, burst_seconds: 2, slip: 2, ipv4_bits: 24, ipv6_bits: 56 }
    }
}

/// What is being counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An answer to a client that is served.
    Answer,
    /// A refusal or another error.
    Error,
}

/// What to do with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Below the limit.
    Pass,
    /// Above it: answer with TC.
    Slip,
    /// Above it: keep silent.
    Drop,
}

/// The table.
#[derive(Debug)]
pub struct RateLimit {
    settings: Settings,
    /// Theoretical arrival time of the next query, in microseconds.
    buckets: Box<[AtomicU64]>,
    slips: AtomicU32,
    key: ahash::RandomState,
}

impl RateLimit {
    /// An empty table with a random key.
    pub fn new(settings: Settings) -> RateLimit {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        RateLimit { settings, buckets, slips: AtomicU32::new(0), key: ahash::RandomState::new() }
    }

    /// Charges one query from `address` at `now`, time since some fixed start.
    pub fn charge(&self, address: IpAddr, kind: Kind, now: Duration) -> Limited {
        let rate = match kind {
            Kind::Answer => self.settings.answers_per_second,
            Kind::Error => self.settings.errors_per_second,
        };
        if rate == 0 {
            return Limited::Pass;
        }
        let interval = 1_000_000 / u64::from(rate);
        let burst = u64::from(self.settings.burst_seconds.max(1)) * 1_000_000;
        let now = now.as_micros() as u64;
        let bucket = &self.buckets[self.key.hash_one((self.prefix(address), kind)) as usize % BUCKETS];
        let charged = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
            let next = arrival.max(now) + interval;
            (next <= now + burst).then_some(next)
        });
        if charged.is_ok() {
            Limited::Pass
        } else if self.settings.slip > 0 && self.slips.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.settings.slip) {
            Limited::Slip
        } else {
            Limited::Drop
        }
    }

    /// The prefix of an address as a number; the two families cannot meet.
    fn prefix(&self, address: IpAddr) -> (bool, u128) {
        match address.to_canonical() {
            IpAddr::V4(ip) => (false, u128::from(ip.to_bits().checked_shr(32 - u32::from(self.settings.ipv4_bits.min(32))).unwrap_or(0))),
            IpAddr::V6(ip) => (true, ip.to_bits().checked_shr(128 - u32::from(self.settings.ipv6_bits.min(128))).unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(limit: &RateLimit, from: &str, count: u32, now: Duration) -> u32 {
        let from = from.parse().unwrap();
        (0..count).filter(|_| limit.charge(from, Kind::Answer, now) == Limited::Pass).count() as u32
    }

    #[test]
    fn a_prefix_gets_its_burst_then_its_rate_and_others_are_left_alone() {
        let limit = RateLimit::new(Settings { answers_per_second: 10, burst_seconds: 2, ..Settings::default() });
        let start = Duration::from_secs(1000);
        assert_eq!(passed(&limit, "198.51.100.1", 100, start), 20);
        // The same /24 shares the bucket, another one does not; a mapped address is the address inside.
        assert_eq!(passed(&limit, "198.51.100.200", 10, start), 0);
        assert_eq!(passed(&limit, "::ffff:198.51.100.7", 10, start), 0);
        assert_eq!(passed(&limit, "203.0.113.1", 10, start), 10);
        assert_eq!(passed(&limit, "198.51.100.1", 100, start + Duration::from_secs(1)), 10);
        assert_eq!(passed(&limit, "198.51.100.1", 100, start + Duration::from_secs(60)), 20);
    }

    #[test]
    fn every_second_limited_query_slips() {
        let limit = RateLimit::new(Settings { answers_per_second: 1, burst_seconds: 1, ..Settings::default() });
        let from = "2001:db8::1".parse().unwrap();
        let fates: Vec<_> = (0..5).map(|_| limit.charge(from, Kind::Answer, Duration::from_secs(9))).collect();
        assert_eq!(fates, [Limited::Pass, Limited::Slip, Limited::Drop, Limited::Slip, Limited::Drop]);
    }

    #[test]
    fn errors_have_a_bucket_of_their_own_and_zero_means_no_limit() {
        let limit = RateLimit::new(Settings { answers_per_second: 0, errors_per_second: 1, burst_seconds: 1, ..Settings::default() });
        let from = "198.51.100.1".parse().unwrap();
        assert_eq!(limit.charge(from, Kind::Error, Duration::ZERO), Limited::Pass);
        assert_ne!(limit.charge(from, Kind::Error, Duration::ZERO), Limited::Pass);
        assert!((0..1000).all(|_| limit.charge(from, Kind::Answer, Duration::ZERO) == Limited::Pass));
    }
}
