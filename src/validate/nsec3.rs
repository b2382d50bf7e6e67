//! Denial by NSEC3 (RFC 5155 section 8, RFC 6840 section 4, RFC 9276).
//!
//! As `nsec`, over hashes of names. Hashing is what an attacker makes us do (CVE-2023-50868): every name hashed is charged to the client
//! query's account, no name is hashed twice in one proof, and records above the iteration limit are never computed.

use data_encoding::BASE32_DNSSEC;

use super::denial::{NoDs, Proven, Unproven, ds_absent, is_parent_side, lists, type_absent};
use super::work::Work;
use crate::wire::{Name, Rrset, Rtype};

/// SHA-1, the only hash there is (RFC 5155 section 11).
const SHA1: u8 = 1;
/// Length of a SHA-1 hash in octets.
const HASH: usize = 20;
/// The Opt-Out flag (RFC 5155 section 3.1.2.1); all others are unknown, and records that set them are ignored (section 8.2).
const OPT_OUT: u8 = 1;

struct Nsec3<'a> {
    owner: [u8; HASH],
    next: [u8; HASH],
    opt_out: bool,
    iterations: u16,
    salt: &'a [u8],
    types: &'a [u8],
}

impl<'a> Nsec3<'a> {
    fn read(zone: &Name, set: &'a Rrset) -> Option<Nsec3<'a>> {
        let [rdata] = set.rdatas.as_slice() else { return None };
        if set.rtype != Rtype::NSEC3 || set.owner.parent().as_ref() != Some(zone) {
            return None;
        }
        let (&[algorithm, flags, high, low], rest) = rdata.split_first_chunk::<4>()?;
        let (&salt_length, rest) = rest.split_first()?;
        let (salt, rest) = rest.split_at_checked(usize::from(salt_length))?;
        let (&hash_length, rest) = rest.split_first()?;
        let (next, types) = rest.split_at_checked(usize::from(hash_length))?;
        if algorithm != SHA1 || flags & !OPT_OUT != 0 {
            return None;
        }
        let owner = BASE32_DNSSEC.decode(set.owner.labels().next()?).ok()?;
        Some(Nsec3 {
            owner: owner.try_into().ok()?,
            next: next.try_into().ok()?,
            opt_out: flags & OPT_OUT != 0,
            iterations: u16::from_be_bytes([high, low]),
            salt,
            types,
        })
    }

    /// Whether `hash` lies strictly between owner and next; the last record wraps around to the first.
    fn covers(&self, hash: &[u8; HASH]) -> bool {
        if self.owner < self.next {
            self.owner < *hash && *hash < self.next
        } else {
            *hash != self.owner && (self.owner < *hash || *hash < self.next)
        }
    }
}

/// Whether an NSEC3 record opts out, which bars it from denying further names (RFC 8198 section 5.2).
pub(crate) fn opts_out(set: &Rrset) -> bool {
    set.rtype == Rtype::NSEC3 && set.rdatas.iter().any(|r| r.get(1).is_some_and(|flags| flags & OPT_OUT != 0))
}

/// Hash of a name (RFC 5155 section 5).
pub(crate) fn hash(name: &Name, salt: &[u8], iterations: u16) -> [u8; HASH] {
    let round = |input: &[u8]| {
        let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(input);
        context.update(salt);
        context.finish().as_ref().try_into().expect("invariant: a SHA-1 hash has 20 octets")
    };
    (0..iterations).fold(round(name.wire()), |previous: [u8; HASH], _| round(&previous))
}

/// The NSEC3 records of one zone in one reply.
pub(crate) struct Nsec3Proofs<'a> {
    zone: &'a Name,
    records: Vec<Nsec3<'a>>,
    iteration_limit: u16,
    work: &'a Work,
    hashed: Vec<(Name, [u8; HASH])>,
}

/// The closest encloser of a name that does not exist, and the record that covers the next closer name.
struct Encloser {
    name: Name,
    opt_out: bool,
}

impl<'a> Nsec3Proofs<'a> {
    pub(crate) fn new(zone: &'a Name, verified: &[&'a Rrset], iteration_limit: u16, work: &'a Work) -> Nsec3Proofs<'a> {
        let records = verified.iter().filter_map(|set| Nsec3::read(zone, set)).collect();
        Nsec3Proofs { zone, records, iteration_limit, work, hashed: Vec::new() }
    }

    /// Hash of `name` by the records' parameters, which must be one set (RFC 5155 section 8.2), computed once and charged.
    fn hash(&mut self, name: &Name) -> Result<[u8; HASH], Unproven> {
        let first = self.records.first().ok_or(Unproven::Missing)?;
        if self.records.iter().any(|r| (r.iterations, r.salt) != (first.iterations, first.salt)) {
            return Err(Unproven::Contradicted);
        }
        if first.iterations > self.iteration_limit {
            return Err(Unproven::Iterations);
        }
        if let Some((_, known)) = self.hashed.iter().find(|(n, _)| n == name) {
            return Ok(*known);
        }
        self.work.charge_nsec3(first.iterations).map_err(|_| Unproven::TooMuchWork)?;
        let hash = hash(name, first.salt, first.iterations);
        self.hashed.push((name.clone(), hash));
        Ok(hash)
    }

    fn at(&mut self, name: &Name) -> Result<Option<&Nsec3<'a>>, Unproven> {
        let hash = self.hash(name)?;
        Ok(self.records.iter().find(|r| r.owner == hash))
    }

    fn covering(&mut self, name: &Name) -> Result<Option<&Nsec3<'a>>, Unproven> {
        let hash = self.hash(name)?;
        Ok(self.records.iter().find(|r| r.covers(&hash)))
    }

    /// The closest encloser proof (RFC 5155 section 8.3), from the name towards the apex.
    fn encloser(&mut self, name: &Name) -> Result<Encloser, Unproven> {
        if self.at(name)?.is_some() {
            return Err(Unproven::Contradicted);
        }
        let mut next_closer = name.clone();
        while next_closer != *self.zone {
            let candidate = next_closer.parent().ok_or(Unproven::Missing)?;
            if let Some(found) = self.at(&candidate)? {
                // It must be this zone's to deny what lies below (RFC 5155 section 8.3, RFC 6840 section 4.1).
                if is_parent_side(found.types) || lists(found.types, Rtype::DNAME) {
                    return Err(Unproven::Contradicted);
                }
                let span = self.covering(&next_closer)?.ok_or(Unproven::Missing)?;
                return Ok(Encloser { opt_out: span.opt_out, name: candidate });
            }
            next_closer = candidate;
        }
        Err(Unproven::Missing)
    }

    pub(crate) fn name(&mut self, name: &Name) -> Result<Proven, Unproven> {
        let name = self.zone_own(name)?;
        let encloser = self.encloser(name)?;
        let wildcard = encloser.name.wildcard().ok_or(Unproven::Missing)?;
        if self.at(&wildcard)?.is_some() {
            return Err(Unproven::Contradicted);
        }
        self.covering(&wildcard)?.ok_or(Unproven::Missing)?;
        Ok(encloser.proven())
    }

    pub(crate) fn type_at(&mut self, name: &Name, qtype: Rtype) -> Result<Proven, Unproven> {
        let name = self.zone_own(name)?;
        if let Some(own) = self.at(name)? {
            return type_absent(own.types, name, qtype);
        }
        let encloser = self.encloser(name)?;
        let wildcard = encloser.name.wildcard().ok_or(Unproven::Missing)?;
        match self.at(&wildcard)? {
            Some(stand_in) => type_absent(stand_in.types, &wildcard, qtype).map(|_| encloser.proven()),
            // A DS in an opt-out span (RFC 5155 section 8.6), or an empty name above nothing but unsigned delegations, which may
            // have no NSEC3 (section 7.1).
            None if encloser.opt_out => Ok(Proven::OptOut),
            None => Err(Unproven::Missing),
        }
    }

    pub(crate) fn closer(&mut self, name: &Name, encloser: &Name) -> Result<Proven, Unproven> {
        let next_closer = self.zone_own(name)?.suffix(encloser.label_count() + 1);
        if self.at(&next_closer)?.is_some() {
            return Err(Unproven::Contradicted);
        }
        let opt_out = self.covering(&next_closer)?.ok_or(Unproven::Missing)?.opt_out;
        Ok(Encloser { name: next_closer, opt_out }.proven())
    }

    pub(crate) fn ds(&mut self, name: &Name) -> Result<NoDs, Unproven> {
        let name = self.zone_own(name)?;
        if let Some(own) = self.at(name)? {
            return ds_absent(own.types);
        }
        Ok(if self.encloser(name)?.opt_out { NoDs::OptOut } else { NoDs::NotACut })
    }

    /// Names outside the zone are not hashed at all.
    fn zone_own<'n>(&self, name: &'n Name) -> Result<&'n Name, Unproven> {
        if name.is_at_or_below(self.zone) { Ok(name) } else { Err(Unproven::Missing) }
    }
}

impl Encloser {
    fn proven(&self) -> Proven {
        if self.opt_out { Proven::OptOut } else { Proven::Fully }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5155 appendix A: the hashes of the example zone (salt aabbccdd, 12 iterations).
    #[test]
    fn names_hash_as_in_rfc_5155_appendix_a() {
        for (name, expected) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ] {
            let hash = hash(&name.parse().unwrap(), &[0xaa, 0xbb, 0xcc, 0xdd], 12);
            assert_eq!(BASE32_DNSSEC.encode(&hash), expected, "{name}");
        }
    }

    fn record(flags: u8, algorithm: u8) -> Rrset {
        let owner = Name::root().child(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom").unwrap();
        let rdata = [&[algorithm, flags, 0, 0, 0, 20][..], &[9; 20]].concat();
        Rrset::new(owner, Rtype::NSEC3, 60, vec![rdata.into()])
    }

    /// RFC 5155 sections 8.1 and 8.2: unknown hashes and flags are ignored.
    #[test]
    fn records_of_unknown_hash_or_flags_are_ignored() {
        let root = Name::root();
        assert!(Nsec3::read(&root, &record(0, 1)).is_some());
        assert!(Nsec3::read(&root, &record(1, 1)).is_some_and(|r| r.opt_out));
        assert!(Nsec3::read(&root, &record(2, 1)).is_none());
        assert!(Nsec3::read(&root, &record(0, 2)).is_none());
        assert!(Nsec3::read(&"example".parse().unwrap(), &record(0, 1)).is_none(), "another zone's");
    }
}
