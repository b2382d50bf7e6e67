//! What validation may cost: named limits, and the account that all sub-queries of one client query share.
//!
//! Stands against KeyTrap (CVE-2023-50387: many keys with one tag times many signatures) and NSEC3 exhaustion (CVE-2023-50868: many
//! labels times many iterations). Upstream queries, bytes and depth are the resolver's to count.

use std::sync::atomic::{AtomicU32, Ordering};

/// Limits of one client query; each has a default that no honest zone comes near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Signature checks (one key tried on one signature). An answer of eleven CNAME steps over signed zones needs about 60.
    pub signatures: u32,
    /// SHA-1 rounds spent on NSEC3 names; one name costs iterations + 1. A name of 34 labels at 100 iterations needs 3,434.
    pub nsec3_rounds: u32,
    /// Extra keys tried because they share tag and algorithm with the signature's. Honest zones meet one in years.
    pub key_tag_collisions: u32,
    /// Keys tried on one signature; two that collide happen, more are built.
    pub keys_per_signature: u32,
    /// Signature checks that may fail on one RRset before it is Bogus.
    pub failures_per_rrset: u32,
    /// RRSIGs looked at on one RRset: two algorithms, each rolling its key, are four.
    pub signatures_per_rrset: usize,
    /// DS records looked at in one RRset.
    pub ds_per_zone: usize,
    /// DNSKEYs looked at in one RRset.
    pub keys_per_zone: usize,
    /// NSEC and NSEC3 RRsets verified in one reply; three prove anything, and a wildcard beside a CNAME adds a few.
    pub denial_records: usize,
    /// DS and DNSKEY fetches of one walk from anchor to zone, so that a deep name costs no more than this.
    pub fetches_per_walk: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            signatures: 160,
            nsec3_rounds: 6000,
            key_tag_collisions: 8,
            keys_per_signature: 3,
            failures_per_rrset: 4,
            signatures_per_rrset: 8,
            ds_per_zone: 16,
            keys_per_zone: 48,
            denial_records: 12,
            fetches_per_walk: 80,
        }
    }
}

/// The query has spent what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

/// The account of one client query. Shared by its sub-queries; counts only go up.
#[derive(Debug, Default)]
pub struct Work {
    limits: Limits,
    signatures: AtomicU32,
    nsec3_rounds: AtomicU32,
    collisions: AtomicU32,
}

impl Work {
    /// A fresh account.
    pub fn new(limits: Limits) -> Work {
        Work { limits, ..Work::default() }
    }

    /// The limits of this account.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Signature checks so far.
    pub fn signatures(&self) -> u32 {
        self.signatures.load(Ordering::Relaxed)
    }

    /// SHA-1 rounds spent on NSEC3 names so far.
    pub fn nsec3_rounds(&self) -> u32 {
        self.nsec3_rounds.load(Ordering::Relaxed)
    }

    /// Key-tag collisions met so far.
    pub fn collisions(&self) -> u32 {
        self.collisions.load(Ordering::Relaxed)
    }

    pub(crate) fn charge_signature(&self) -> Result<(), Spent> {
        charge(&self.signatures, 1, self.limits.signatures)
    }

    pub(crate) fn charge_collision(&self) -> Result<(), Spent> {
        charge(&self.collisions, 1, self.limits.key_tag_collisions)
    }

    pub(crate) fn charge_nsec3(&self, iterations: u16) -> Result<(), Spent> {
        charge(&self.nsec3_rounds, u32::from(iterations) + 1, self.limits.nsec3_rounds)
    }
}

fn charge(count: &AtomicU32, amount: u32, limit: u32) -> Result<(), Spent> {
    // A refused charge is not booked, so the count never passes the limit and never wraps.
    let booked = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(amount).filter(|&sum| sum <= limit));
    booked.map(drop).map_err(|_| Spent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_never_passes_its_limit() {
        let work = Work::new(Limits { signatures: 2, nsec3_rounds: 100, ..Limits::default() });
        assert_eq!([work.charge_signature(), work.charge_signature(), work.charge_signature()], [Ok(()), Ok(()), Err(Spent)]);
        assert_eq!(work.charge_nsec3(90), Ok(()));
        assert_eq!(work.charge_nsec3(90), Err(Spent));
        assert_eq!(work.charge_nsec3(8), Ok(()));
        assert_eq!((work.signatures(), work.nsec3_rounds()), (2, 100));
    }
}
