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

/// Checks `set` against its signatures by `keys` of `zone`.
///
/// Every cheap check comes before the one that costs; each of those is charged to `work`, and a set that keeps failing is given up.
pub(crate) fn verify(set: &Rrset, zone: &Name, keys: &[Dnskey<'_>], when: When, work: &Work) -> Result<Verified, Failed> {
    let limits = work.limits();
    let mut worst = Failed { reason: Bogus::RrsigsMissing, note: None };
    let mut failures = 0;
    let mut sigs: Vec<Rrsig<'_>> = set.sigs.iter().filter_map(|s| Rrsig::read(s)).collect();
    // Those by this zone and of the longest validity first, so that padding with junk does not use up the count.
    sigs.sort_by_key(|s| (s.signer != *zone, Reverse(around(when.now, s.expiration))));
    for sig in sigs.iter().take(limits.signatures_per_rrset) {
        match check(set, zone, keys, sig, when, work, &mut failures) {
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

/// Whether `key`, revoked or not, has signed `set` at its owner: how a revocation proves itself (RFC 5011 section 2.1).
pub(crate) fn self_signed(set: &Rrset, key: &Dnskey<'_>, when: When, work: &Work) -> bool {
    let own = |s: &Rrsig<'_>| s.signer == set.owner && s.covered == set.rtype && s.key_tag == key.tag() && s.algorithm == key.algorithm();
    let sigs = set.sigs.iter().filter_map(|s| Rrsig::read(s)).filter(own).take(work.limits().signatures_per_rrset);
    sigs.filter(|s| !when.trusted || s.check_times(when.now).is_ok()).any(|sig| {
        let signed = sig.signed_data(set).filter(|_| work.charge_signature().is_ok());
        signed.is_some_and(|data| crypto::verifies(sig.algorithm, key.public_key(), &data, sig.signature))
    })
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
    if sig.covered != set.rtype || !crypto::is_known(sig.algorithm) {
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

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use proptest::prelude::*;

    use super::*;
    use crate::validate::Limits;
    use crate::validate::testzone::{Denying, Key, NOW, TTL, Zone, at, name};

    fn work() -> Work {
        Work::new(Limits::default())
    }

    fn judge(set: &Rrset, zone: &Zone, work: &Work) -> Result<Verified, Bogus> {
        let rdatas: Vec<Box<[u8]>> = zone.keys.iter().map(Key::rdata).collect();
        let keys: Vec<Dnskey<'_>> = rdatas.iter().map(|r| Dnskey::read(r).unwrap()).collect();
        verify(set, &zone.apex, &keys, at(NOW), work).map_err(|f| f.reason)
    }

    fn time(text: &str) -> u32 {
        let digits: Vec<u64> = [0..4, 4..6, 6..8].into_iter().map(|r| text[r].parse().unwrap()).collect();
        let (year, month, day) = (digits[0] as i64 - i64::from(digits[1] <= 2), digits[1] as i64, digits[2] as i64);
        // Days since 1970 by the civil calendar, for dates after it.
        let era_day = 365 * year + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 719_469;
        let clock: i64 = [(8..10, 3600), (10..12, 60), (12..14, 1)].into_iter().map(|(r, s)| text[r].parse::<i64>().unwrap() * s).sum();
        (era_day * 86_400 + clock) as u32
    }

    /// The examples of the RFCs that define the algorithms: key, RRset, RRSIG fields, signature, one good moment.
    struct Example {
        section: &'static str,
        zone: &'static str,
        flags: u16,
        algorithm: u8,
        key: &'static str,
        tag: u16,
        owner: &'static str,
        rtype: Rtype,
        rdata: Vec<u8>,
        times: [&'static str; 2],
        signature: &'static str,
    }

    fn examples() -> Vec<Example> {
        let mx = [&[0, 10][..], name("mail.example.com").wire()].concat();
        let www = |section, algorithm, key, tag, times, signature| Example {
            section,
            zone: "example.net",
            flags: if algorithm < 13 { 256 } else { 257 },
            algorithm,
            key,
            tag,
            owner: "www.example.net",
            rtype: Rtype::A,
            rdata: vec![192, 0, 2, if algorithm < 13 { 91 } else { 1 }],
            times,
            signature,
        };
        vec![
            www(
                "RFC 5702 6.1",
                8,
                "AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=",
                9033,
                ["20000101000000", "20300101000000"],
                "kRCOH6u7l0QGy9qpC9l1sLncJcOKFLJ7GhiUOibu4teYp5VE9RncriShZNz85mwlMgNEacFYK/lPtPiVYP4bwg==",
            ),
            www(
                "ldns-signzone 1.8, RSASHA1-NSEC3-SHA1 of 512 bits",
                7,
                "AwEAAbzRs/vPvVoQ+dRj1NqsVwttR1pzAvSIblRnmGysKpDU1rTxy0VYMn5TP4FYtU25Z3gtSU3xW/x9cEo2Wx14h20=",
                11387,
                ["20000101000000", "20300101000000"],
                "N7ykEeuz/LwamwRle6yUMPQK9xalCSnyLjrLBfuZQT3SzkLsQcXhGWLkvt5tFzAGepjC3la09A2CoXy4/MWJKw==",
            ),
            www(
                "ldns-signzone 1.8, RSASHA256 of 1024 bits",
                8,
                "AwEAAZ+E0X1s66lbUBPgQyE9nMLzPHdfIZ7vMVQYoZ4uHM0mY22uFOHZ/k/7OgptHLYUuFQUTSXIuvSaYDyHzWYGOp/drhltU2VUXoAZktvE+3C0DTNps7x3niJMyP2YlpIQIOGz3A0J3iSNFi0kvqFvFC5WBswqZ+7BSc8nKyxCSSzF",
                13485,
                ["20000101000000", "20300101000000"],
                "I/ZlRmdZ4TAL9w9/2mZ6dYt+7A819n5JMRvAZZvWm947CUvxMzVoLbct5yuBpyzgD/Tggtet7KSSS4xLzlE0VE3sRARAVUNim0gcYi094hxOhFRpEoMrE6eXTYeRAN3h1PLktpVNv73QT/wIwvYxNqWXuyT3FCXD8l0x/IGsJgw=",
            ),
            www(
                "RFC 5702 6.2",
                10,
                "AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY12ZTSncorffcGmhOL",
                3740,
                ["20000101000000", "20300101000000"],
                "tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagYJRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=",
            ),
            www(
                "RFC 6605 6.1",
                13,
                "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
                55648,
                ["20100812100439", "20100909100439"],
                "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
            ),
            www(
                "RFC 6605 6.2",
                14,
                "xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
                10771,
                ["20100812102025", "20100909102025"],
                "/L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
            ),
            Example {
                section: "RFC 8080 6.1",
                zone: "example.com",
                flags: 257,
                algorithm: 15,
                key: "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                tag: 3613,
                owner: "example.com",
                rtype: Rtype::MX,
                rdata: mx,
                times: ["20150729220000", "20150819220000"],
                signature: "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
            },
        ]
    }

    #[test]
    fn the_examples_of_the_rfcs_verify_and_their_neighbours_do_not() {
        for example in examples() {
            let section = example.section;
            let owner = name(example.owner);
            let mut sig = example.rtype.0.to_be_bytes().to_vec();
            sig.extend([example.algorithm, owner.label_count() as u8]);
            sig.extend(3600u32.to_be_bytes());
            let [inception, expiration] = example.times.map(time);
            sig.extend(expiration.to_be_bytes());
            sig.extend(inception.to_be_bytes());
            sig.extend(example.tag.to_be_bytes());
            sig.extend(name(example.zone).wire());
            sig.extend(BASE64.decode(example.signature.as_bytes()).unwrap());
            let key = [&example.flags.to_be_bytes()[..], &[3, example.algorithm], &BASE64.decode(example.key.as_bytes()).unwrap()].concat();
            let key = Dnskey::read(&key).unwrap();
            assert_eq!(key.tag(), example.tag, "{section}");
            let mut set = Rrset::new(owner, example.rtype, 60, vec![example.rdata.into()]);
            set.sigs.push(sig.into());
            let judge = |set: &Rrset, now: u32| {
                let verified = verify(set, &name(example.zone), &[key], at(u64::from(now)), &work());
                verified.map(|v| v.ttl_cap).map_err(|f| f.reason)
            };
            assert_eq!(judge(&set, inception), Ok(3600), "{section}");
            assert_eq!(judge(&set, expiration - 7), Ok(7), "{section}");
            assert_eq!(judge(&set, expiration + 1), Err(Bogus::SignatureExpired), "{section}");
            assert_eq!(judge(&set, inception - 1), Err(Bogus::SignatureNotYetValid), "{section}");
            *set.rdatas[0].last_mut().unwrap() ^= 1;
            assert_eq!(judge(&set, inception), Err(Bogus::BadSignature), "{section}");
        }
    }

    /// RFC 4034 section 3.1.5 with RFC 1982: times count around the clock, past 2106 as well.
    #[test]
    fn times_wrap_around_with_the_clock() {
        let mut head = [0u8; 19];
        let wrapped = |head: &[u8; 19], now: u64| Rrsig::read(head).unwrap().check_times(now);
        head[8..12].copy_from_slice(&100u32.to_be_bytes());
        head[12..16].copy_from_slice(&(u32::MAX - 100).to_be_bytes());
        let turn = 1u64 << 32;
        assert_eq!(wrapped(&head, turn), Ok(()));
        assert_eq!(wrapped(&head, turn - 102), Err(Bogus::SignatureNotYetValid));
        assert_eq!(wrapped(&head, turn + 101), Err(Bogus::SignatureExpired));
        assert_eq!(Rrsig::read(&head).unwrap().note(turn).expiration, turn + 100);
        assert_eq!(Rrsig::read(&head).unwrap().note(turn).inception, turn - 101);
    }

    /// RFC 4034 section 3.1.3: `*` does not count, fewer labels mean a wildcard, more are an error.
    #[test]
    fn the_labels_field_tells_of_the_wildcard() {
        let zone = Zone::signed("example.", Denying::Nsec);
        let signed = |owner: &str, labels| {
            let mut set = Rrset::new(name(owner), Rtype::A, TTL, vec![[192, 0, 2, 1].into()]);
            zone.sign(&mut set, labels);
            set
        };
        let judged = |set: &Rrset| judge(set, &zone, &work()).map(|v| v.expanded_from);
        assert_eq!(judged(&signed("a.b.example", 3)), Ok(None));
        assert_eq!(judged(&signed("a.b.example", 2)), Ok(Some(name("b.example"))));
        assert_eq!(judged(&signed("*.b.example", 2)), Ok(None));
        assert_eq!(judged(&signed("a.b.example", 4)), Err(Bogus::BadSignature));
        assert_eq!(judged(&signed("a.b.example", 0)), Err(Bogus::BadSignature), "a wildcard above the zone");
    }

    /// RFC 4034 section 2.1.1, RFC 5011 section 2.1: what may not sign has not signed.
    #[test]
    fn keys_without_the_zone_bit_and_revoked_keys_sign_nothing() {
        for (flags, expected) in [(1, Bogus::NoZoneKeyBit), (0x181, Bogus::DnskeyMissing)] {
            let mut key = Key::ed25519(1);
            key.flags = flags;
            let zone = Zone::signed_with("example.", Denying::Nsec, vec![key]);
            assert_eq!(judge(&zone.set(&zone.apex, Rtype::SOA).unwrap(), &zone, &work()), Err(expected));
        }
    }

    /// CVE-2023-50387: many keys of one tag times many signatures must not be tried in full.
    #[test]
    fn keytrap_ends_after_a_few_checks() {
        let zone = Zone::signed("example.", Denying::Nsec);
        let mut set = zone.set(&zone.apex, Rtype::SOA).unwrap();
        let good = set.sigs[0].clone();
        let own = zone.keys[0].rdata();
        // Swapping two words of the key keeps its tag.
        let collide = |i: usize| {
            let mut key = own.clone();
            key[4..].as_chunks_mut::<2>().0.swap(i % 16, (i / 16 + i + 1) % 16);
            key
        };
        let rdatas: Vec<Box<[u8]>> = (0..200).map(collide).collect();
        let keys: Vec<Dnskey<'_>> = rdatas.iter().map(|r| Dnskey::read(r).unwrap()).collect();
        assert!(keys.iter().all(|k| k.tag() == zone.keys[0].tag()));
        set.sigs = (0..200u8)
            .map(|i| {
                let mut sig = good.clone();
                *sig.last_mut().unwrap() ^= i | 1;
                sig
            })
            .collect();
        let work = work();
        let failed = verify(&set, &zone.apex, &keys, at(NOW), &work).unwrap_err();
        assert_eq!(failed.reason, Bogus::TooMuchWork);
        assert!(work.signatures() <= 4, "{}", work.signatures());
        // One honest collision is survived.
        set.sigs = vec![good];
        let pair = [keys[1], Dnskey::read(&own).unwrap()];
        assert!(pair[0] != pair[1] && verify(&set, &zone.apex, &pair, at(NOW), &work).is_ok());
    }

    fn case_of(wire: &[u8], upper: &[bool]) -> Vec<u8> {
        let mut upper = upper.iter().cycle();
        wire.iter().map(|o| if *upper.next().unwrap() { o.to_ascii_uppercase() } else { *o }).collect()
    }

    proptest! {
        /// RFC 4034 sections 6.2 and 6.3: order, duplicates, TTL and the case of names do not matter; any other octet does.
        #[test]
        fn only_what_is_signed_matters(
            hosts in proptest::collection::vec("[a-z]{1,6}(\\.[a-z]{1,3})?", 1..5),
            upper in proptest::collection::vec(any::<bool>(), 7),
            swap in any::<(usize, usize)>(),
            flip in any::<(usize, usize)>(),
            ttl in any::<u32>(),
        ) {
            let zone = Zone::signed("example.", Denying::Nsec);
            let rdatas = hosts.iter().enumerate().map(|(i, h)| [&[0, i as u8][..], name(h).wire()].concat().into()).collect();
            let mut set = Rrset::new(name("mail.example"), Rtype::MX, TTL, rdatas);
            zone.sign(&mut set, 2);
            set.ttl = ttl;
            for rdata in &mut set.rdatas {
                *rdata = [&rdata[..2], &case_of(&rdata[2..], &upper)].concat().into();
            }
            let count = set.rdatas.len();
            set.rdatas.swap(swap.0 % count, swap.1 % count);
            let twice = set.rdatas[0].to_ascii_lowercase().into();
            set.rdatas.push(twice);
            prop_assert!(judge(&set, &zone, &work()).is_ok());
            let victim = &mut set.rdatas[flip.0 % count];
            // The preference is octets, not a name: each of its bits counts.
            victim[flip.1 % 2] ^= 0x20;
            prop_assert_eq!(judge(&set, &zone, &work()), Err(Bogus::BadSignature));
        }

        #[test]
        fn arbitrary_signatures_never_panic_and_never_verify(sig in proptest::collection::vec(any::<u8>(), 0..120), fit in any::<bool>()) {
            let zone = Zone::signed("example.", Denying::Nsec);
            let mut set = zone.set(&zone.apex, Rtype::SOA).unwrap();
            let fitting = [&set.sigs[0][..27], &sig].concat();
            set.sigs = vec![if fit { fitting } else { sig }.into()];
            prop_assert!(judge(&set, &zone, &work()).is_err());
        }
    }

    /// RFC 6840 section 5.1: names in NSEC keep their case when signed.
    #[test]
    fn an_nsec_is_signed_in_the_case_it_has() {
        let zone = Zone::signed("example.", Denying::Nsec);
        let mut set = Rrset::new(name("example"), Rtype::NSEC, TTL, vec![b"\x01A\x07example\x00\x00\x01\x40"[..].into()]);
        zone.sign(&mut set, 1);
        assert!(judge(&set, &zone, &work()).is_ok());
        set.rdatas[0][1] = b'a';
        assert_eq!(judge(&set, &zone, &work()), Err(Bogus::BadSignature));
    }
}
