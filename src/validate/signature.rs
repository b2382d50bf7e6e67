//! One RRset against its RRSIGs: the checks of RFC 4035 section 5.3, from received octets to a verdict.
//!
//! What is signed is built here from the RDATA as received (RFC 4034 sections 3.1.8.1 and 6): duplicates gone, names folded where the
//! type asks for it, sorted, with the Original TTL and the wildcard owner that the Labels field tells of. Any one good signature
//! suffices (RFC 6840 section 5.11). Which zone must have signed, and with which keys, is `chain`'s to say.

use std::cmp::Reverse;

use super::dnskey::Dnskey;
use super::work::Work;
use super::{Bogus, SignatureNote, When, crypto};
use crate::wire::{CLASS_IN, Name, Rrset, Rtype, rdata};

/// An RRSIG, borrowed from its RDATA (RFC 4034 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rrsig<'a> {
    pub(crate) covered: Rtype,
    pub(crate) algorithm: u8,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    expiration: u32,
    inception: u32,
    pub(crate) key_tag: u16,
    pub(crate) signer: Name,
    signature: &'a [u8],
    /// The fields in front of the signer, as signed.
    head: &'a [u8; 18],
}

impl<'a> Rrsig<'a> {
    /// Reads the RDATA; `None` when it is not an RRSIG's.
    pub(crate) fn read(rdata: &'a [u8]) -> Option<Rrsig<'a>> {
        let head = rdata.first_chunk::<18>()?;
        let mut at = head.len();
        let signer = Name::read(rdata, &mut at).ok()?;
        let word = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        Some(Rrsig {
            covered: Rtype(u16::from_be_bytes([head[0], head[1]])),
            algorithm: head[2],
            labels: head[3],
            original_ttl: word(4),
            expiration: word(8),
            inception: word(12),
            key_tag: u16::from_be_bytes([head[16], head[17]]),
            signer,
            signature: &rdata[at..],
            head,
        })
    }

    /// The signature's data for people, its times placed around `now` (RFC 4034 section 3.1.5).
    pub(crate) fn note(&self, now: u64) -> SignatureNote {
        let (inception, expiration) = (around(now, self.inception), around(now, self.expiration));
        SignatureNote { key_tag: self.key_tag, algorithm: self.algorithm, inception, expiration }
    }

    /// Whether `now` lies in the validity period, by serial arithmetic (RFC 4034 section 3.1.5, RFC 1982).
    fn check_times(&self, now: u64) -> Result<(), Bogus> {
        let now = now as u32;
        if before(self.expiration, self.inception) {
            Err(Bogus::SignatureExpiredBeforeValid)
        } else if before(self.expiration, now) {
            Err(Bogus::SignatureExpired)
        } else if before(now, self.inception) {
            Err(Bogus::SignatureNotYetValid)
        } else {
            Ok(())
        }
    }

    /// The octets that were signed (RFC 4034 section 3.1.8.1). `None` when Labels says more than the owner has.
    pub(crate) fn signed_data(&self, set: &Rrset) -> Option<Vec<u8>> {
        let owner = match self.closest_encloser(&set.owner)? {
            Some(encloser) => encloser.wildcard()?,
            None => set.owner.clone(),
        };
        let mut rdatas: Vec<Vec<u8>> = set.rdatas.iter().map(|r| rdata::canonical(set.rtype, r)).collect();
        rdatas.sort_unstable();
        rdatas.dedup();
        let mut out = Vec::with_capacity(64 + rdatas.iter().map(|r| r.len() + owner.wire().len() + 10).sum::<usize>());
        out.extend_from_slice(self.head);
        out.extend_from_slice(self.signer.wire());
        for rdata in rdatas {
            out.extend_from_slice(owner.wire());
            out.extend_from_slice(&set.rtype.0.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&self.original_ttl.to_be_bytes());
            out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            out.extend_from_slice(&rdata);
        }
        Some(out)
    }

    /// Parent of the wildcard that `owner` was expanded from; `Some(None)` when it was not expanded, `None` when the Labels field
    /// is larger than the owner allows (RFC 4034 section 3.1.3: a leading `*` does not count).
    fn closest_encloser(&self, owner: &Name) -> Option<Option<Name>> {
        let (labels, own) = (usize::from(self.labels), owner.label_count() - usize::from(owner.is_wildcard()));
        (labels <= own).then(|| (labels < own).then(|| owner.suffix(labels)))
    }
}

/// Whether `a` comes before `b` (RFC 1982 section 3.2).
fn before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}

/// The moment nearest to `now` whose low 32 bits are `time`.
fn around(now: u64, time: u32) -> u64 {
    now.saturating_add_signed(i64::from(time.wrapping_sub(now as u32) as i32))
}

/// A good signature over an RRset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Parent of the wildcard that the RRset was expanded from: the closest encloser. `None` when the owner itself was signed.
    pub(crate) expanded_from: Option<Name>,
    /// Original TTL, or what is left of the signature's validity, in seconds (RFC 4035 section 5.3.3).
    pub(crate) ttl_cap: u32,
    pub(crate) note: SignatureNote,
}

/// Why no signature over an RRset is good: the most telling reason, and the signature it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) reason: Bogus,
    pub(crate) note: Option<SignatureNote>,
}

/// How much a reason tells when several signatures fail, each in its way: the one that came furthest.
fn telling(reason: Bogus) -> u8 {
    match reason {
        Bogus::RrsigsMissing => 0,
        Bogus::WrongSigner => 1,
        Bogus::DnskeyMissing => 2,
        Bogus::NoZoneKeyBit => 3,
        Bogus::SignatureExpiredBeforeValid => 4,
        Bogus::SignatureNotYetValid => 5,
        Bogus::SignatureExpired => 6,
        _ => 7,
    }
}

/// Checks `set` against its signatures by `keys` of `zone`, those of algorithms that count.
///
/// Every cheap check comes before the one that costs; each of those is charged to `work`, and a set that keeps failing is given up.
pub(crate) fn verify(
    set: &Rrset,
    zone: &Name,
    keys: &[Dnskey<'_>],
    when: When,
    work: &Work,
    algorithm_counts: impl Fn(u8) -> bool,
) -> Result<Verified, Failed> {
    let limits = work.limits();
    let mut worst = Failed { reason: Bogus::RrsigsMissing, note: None };
    let mut failures = 0;
    let mut sigs: Vec<Rrsig<'_>> = set.sigs.iter().filter_map(|s| Rrsig::read(s)).collect();
    // Those by this zone and of the longest validity first, so that padding with junk does not use up the count.
    sigs.sort_by_key(|s| (s.signer != *zone, Reverse(around(when.now, s.expiration))));
    for sig in sigs.iter().take(limits.signatures_per_rrset) {
        let checked = if algorithm_counts(sig.algorithm) {
            check(set, zone, keys, sig, when, work, &mut failures)
        } else {
            Err(Bogus::RrsigsMissing)
        };
        match checked {
            Ok(verified) => return Ok(verified),
            Err(reason) => {
                let failed = Failed { reason, note: Some(sig.note(when.now)) };
                if reason == Bogus::TooMuchWork {
                    return Err(failed);
                }
                if worst.note.is_none() || telling(reason) > telling(worst.reason) {
                    worst = failed;
                }
            }
        }
    }
    Err(worst)
}

/// One signature, with every key that may have made it.
fn check(
    set: &Rrset,
    zone: &Name,
    keys: &[Dnskey<'_>],
    sig: &Rrsig<'_>,
    when: When,
    work: &Work,
    failures: &mut u32,
) -> Result<Verified, Bogus> {
    if sig.signer != *zone || !set.owner.is_at_or_below(zone) {
        return Err(Bogus::WrongSigner);
    }
    if sig.covered != set.rtype {
        return Err(Bogus::RrsigsMissing);
    }
    if when.trusted {
        sig.check_times(when.now)?;
    }
    let expanded_from = sig.closest_encloser(&set.owner).ok_or(Bogus::BadSignature)?;
    // A wildcard above the apex cannot be this zone's.
    if expanded_from.as_ref().is_some_and(|e| !e.is_at_or_below(zone)) {
        return Err(Bogus::BadSignature);
    }
    let signed = sig.signed_data(set).ok_or(Bogus::BadSignature)?;
    let (mut reason, mut tried) = (Bogus::DnskeyMissing, 0);
    for key in keys.iter().filter(|k| k.algorithm() == sig.algorithm && k.tag() == sig.key_tag) {
        // A revoked key signs nothing but its own revocation (RFC 5011 section 2.1).
        if key.is_revoked() {
            continue;
        }
        if !key.is_zone_key() {
            reason = Bogus::NoZoneKeyBit;
            continue;
        }
        if *failures >= work.limits().failures_per_rrset || tried >= work.limits().keys_per_signature {
            return Err(Bogus::TooMuchWork);
        }
        if tried > 0 {
            work.charge_collision().map_err(|_| Bogus::TooMuchWork)?;
        }
        work.charge_signature().map_err(|_| Bogus::TooMuchWork)?;
        tried += 1;
        if crypto::verifies(sig.algorithm, key.public_key(), &signed, sig.signature) {
            let left = around(when.now, sig.expiration).saturating_sub(when.now).min(u64::from(u32::MAX)) as u32;
            let ttl_cap = if when.trusted { sig.original_ttl.min(left) } else { sig.original_ttl };
            return Ok(Verified { expanded_from, ttl_cap, note: sig.note(when.now) });
        }
        *failures += 1;
        reason = Bogus::BadSignature;
    }
    Err(reason)
}
