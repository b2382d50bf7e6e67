//! What one client query may cost: named limits, and the account that all its sub-queries share.
//!
//! Stands against NXNSAttack and NRDelegation (referrals to many names without glue), CAMP and unchained queries, self-referral
//! (TsuNAME), CNAME bombs and silent servers: whatever an outsider builds, one client query sends no more than this.
//! Signature checks and hashes are `validate::Work`'s to count.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Limits of one client query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Queries sent upstream, retries and TCP included. A cold name six zones deep with validation needs about 25.
    pub queries: u32,
    /// Octets received from upstream.
    pub bytes: u32,
    /// How deep "to ask there, first find its address" may nest.
    pub depth: u8,
    /// Lookups of name servers' addresses that no glue gave (Unbound's MAX_TARGET_COUNT idea).
    pub glueless: u32,
    /// CNAME and DNAME steps of an answer.
    pub aliases: usize,
    /// Times that one server is asked the same thing when it stays silent.
    pub tries_per_server: u8,
    /// Times that a Bogus step is fetched anew from other servers.
    pub bogus_retries: u8,
    /// Time from the client's query to its answer.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queries: 100,
            bytes: 1 << 20,
            depth: 5,
            glueless: 16,
            aliases: 12,
            tries_per_server: 3,
            bogus_retries: 4,
            time: Duration::from_secs(12),
        }
    }
}

/// The query has spent what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent;

/// The account of one client query.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
    /// On `Clock::now`'s scale.
    pub(super) deadline: Duration,
    queries: AtomicU32,
    bytes: AtomicU32,
    glueless: AtomicU32,
    spent: AtomicBool,
}

impl Budget {
    pub(super) fn new(limits: Limits, now: Duration) -> Budget {
        let zero = || AtomicU32::new(0);
        Budget { limits, deadline: now + limits.time, queries: zero(), bytes: zero(), glueless: zero(), spent: AtomicBool::new(false) }
    }

    /// One packet upstream at `now`; gives the time left.
    pub(super) fn charge_query(&self, now: Duration) -> Result<Duration, Spent> {
        let left = self.deadline.checked_sub(now).filter(|left| !left.is_zero());
        let Some(left) = left else { return self.note(Err(Spent)) };
        self.note(charge(&self.queries, 1, self.limits.queries).map(|()| left))
    }

    pub(super) fn charge_bytes(&self, bytes: usize) -> Result<(), Spent> {
        self.note(charge(&self.bytes, u32::try_from(bytes).unwrap_or(u32::MAX), self.limits.bytes))
    }

    pub(super) fn charge_glueless(&self) -> Result<(), Spent> {
        self.note(charge(&self.glueless, 1, self.limits.glueless))
    }

    /// Whether any charge was refused.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    fn note<T>(&self, charged: Result<T, Spent>) -> Result<T, Spent> {
        if charged.is_err() {
            self.spent.store(true, Ordering::Relaxed);
        }
        charged
    }

    /// Ends it, whatever is left.
    pub(super) fn end(&self) -> Spent {
        self.spent.store(true, Ordering::Relaxed);
        Spent
    }

    pub(super) fn queries(&self) -> u32 {
        self.queries.load(Ordering::Relaxed)
    }
}

fn charge(account: &AtomicU32, amount: u32, limit: u32) -> Result<(), Spent> {
    // A refused charge is not booked, so the sum never passes the limit and never wraps.
    let booked = account.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(amount).filter(|&sum| sum <= limit));
    booked.map(drop).map_err(|_| Spent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_stops_at_its_limit_and_at_its_deadline() {
        let limits = Limits { queries: 2, bytes: 1000, time: Duration::from_secs(3), ..Limits::default() };
        let budget = Budget::new(limits, Duration::from_secs(100));
        assert_eq!(budget.charge_query(Duration::from_secs(101)), Ok(Duration::from_secs(2)));
        assert!(!budget.is_spent());
        assert_eq!(budget.charge_query(Duration::from_secs(103)), Err(Spent));
        assert!(budget.is_spent());
        assert_eq!(budget.charge_query(Duration::from_secs(101)), Ok(Duration::from_secs(2)));
        assert_eq!(budget.charge_query(Duration::from_secs(101)), Err(Spent));
        assert_eq!((budget.charge_bytes(900), budget.charge_bytes(101), budget.charge_bytes(100)), (Ok(()), Err(Spent), Ok(())));
        assert_eq!(budget.queries(), 2);
    }
}
