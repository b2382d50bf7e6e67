//! Proofs of non-existence, whichever kind of record makes them: what can be asked of them and what they answer.
//!
//! The records come here verified. What NSEC says is in `nsec`, what NSEC3 says in `nsec3`; a reply may hold both while a zone changes
//! over, and either suffices.

use super::nsec::NsecProofs;
use super::nsec3::Nsec3Proofs;
use super::work::Work;
use super::{Bogus, Insecurity, Status};
use crate::wire::{Name, Rrset, Rtype};

/// A proof that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proven {
    /// Beyond doubt.
    Fully,
    /// But for an unsigned delegation that the opt-out span may hide (RFC 5155 section 9.2): Insecure.
    OptOut,
}

/// Why the records prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// A record that the proof needs is not there.
    Missing,
    /// A record says the contrary, or speaks of names that are not its zone's to deny.
    Contradicted,
    /// The NSEC3 iterations are above the limit.
    Iterations,
    /// The work account is spent.
    TooMuchWork,
}

impl Unproven {
    /// What an answer that needs the proof is worth.
    pub(crate) fn status(self, iterations_bogus: bool) -> Status {
        match self {
            Unproven::Missing => Status::Bogus(Bogus::NsecMissing),
            Unproven::Contradicted => Status::Bogus(Bogus::BadDenial),
            Unproven::Iterations if iterations_bogus => Status::Bogus(Bogus::Nsec3Iterations),
            Unproven::Iterations => Status::Insecure(Insecurity::Nsec3Iterations),
            Unproven::TooMuchWork => Status::Bogus(Bogus::TooMuchWork),
        }
    }
}

/// What the absence of a DS at a name means (RFC 4035 section 5.2, RFC 5155 section 8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDs {
    /// The name is a zone cut, and its child is not signed.
    InsecureCut,
    /// The name is no zone cut: it lies in the zone itself, or does not exist.
    NotACut,
    /// An opt-out span covers the name: there may be an unsigned child.
    OptOut,
}

/// Whether the type bit maps of an NSEC or NSEC3 list `rtype` (RFC 4034 section 4.1.2).
pub(crate) fn lists(bitmaps: &[u8], rtype: Rtype) -> bool {
    let [window, low] = rtype.0.to_be_bytes();
    let mut rest = bitmaps;
    while let [number, length, tail @ ..] = rest {
        let Some((bits, after)) = tail.split_at_checked(usize::from(*length)) else { return false };
        if *number == window {
            return bits.get(usize::from(low / 8)).is_some_and(|octet| octet & (0x80 >> (low % 8)) != 0);
        }
        rest = after;
    }
    false
}

/// Whether bit maps at a name are those of the parent side of a zone cut: NS without SOA.
pub(crate) fn is_parent_side(bitmaps: &[u8]) -> bool {
    lists(bitmaps, Rtype::NS) && !lists(bitmaps, Rtype::SOA)
}

/// Whether the bit maps of the record at `name` itself deny `qtype` there.
pub(crate) fn type_absent(bitmaps: &[u8], name: &Name, qtype: Rtype) -> Result<Proven, Unproven> {
    // A CNAME would have been the answer to any type (RFC 6840 section 4.3); nothing but an empty name has no type at all.
    if lists(bitmaps, qtype) || lists(bitmaps, Rtype::CNAME) || (qtype == Rtype::ANY && !bitmaps.is_empty()) {
        return Err(Unproven::Contradicted);
    }
    // The DS belongs to the parent's side of a cut, all else to the child's (RFC 6840 sections 4.1, 4.4).
    let wrong_side = match qtype {
        Rtype::DS => lists(bitmaps, Rtype::SOA) && !name.is_root(),
        _ => is_parent_side(bitmaps),
    };
    if wrong_side { Err(Unproven::Contradicted) } else { Ok(Proven::Fully) }
}

/// What the bit maps of the record at a name say about a DS there.
pub(crate) fn ds_absent(bitmaps: &[u8]) -> Result<NoDs, Unproven> {
    if lists(bitmaps, Rtype::DS) || lists(bitmaps, Rtype::SOA) {
        return Err(Unproven::Contradicted);
    }
    Ok(if lists(bitmaps, Rtype::NS) { NoDs::InsecureCut } else { NoDs::NotACut })
}

/// The verified denial records of one zone in one reply.
pub(crate) struct Proofs<'a> {
    nsec: NsecProofs<'a>,
    nsec3: Nsec3Proofs<'a>,
}

impl<'a> Proofs<'a> {
    /// From NSEC and NSEC3 RRsets whose signatures by `zone` have verified. NSEC3 above `iterations` is never computed.
    pub(crate) fn new(zone: &'a Name, verified: &[&'a Rrset], iterations: u16, work: &'a Work) -> Proofs<'a> {
        Proofs { nsec: NsecProofs::new(zone, verified), nsec3: Nsec3Proofs::new(zone, verified, iterations, work) }
    }

    /// NXDOMAIN: neither `name` nor a wildcard that could stand in for it exists.
    pub(crate) fn name(&mut self, name: &Name) -> Result<Proven, Unproven> {
        either(self.nsec.name(name), || self.nsec3.name(name))
    }

    /// NODATA: `name`, or the wildcard that stands in for it, has no `qtype`.
    pub(crate) fn type_at(&mut self, name: &Name, qtype: Rtype) -> Result<Proven, Unproven> {
        either(self.nsec.type_at(name, qtype), || self.nsec3.type_at(name, qtype))
    }

    /// A wildcard below `encloser` may answer for `name`: nothing closer to it exists.
    pub(crate) fn closer(&mut self, name: &Name, encloser: &Name) -> Result<Proven, Unproven> {
        either(self.nsec.closer(name, encloser), || self.nsec3.closer(name, encloser))
    }

    /// There is no DS at `name`.
    pub(crate) fn ds(&mut self, name: &Name) -> Result<NoDs, Unproven> {
        either(self.nsec.ds(name), || self.nsec3.ds(name))
    }
}

/// The first proof, or the second; of two failures the one that tells more.
fn either<T>(first: Result<T, Unproven>, second: impl FnOnce() -> Result<T, Unproven>) -> Result<T, Unproven> {
    first.or_else(|why| second().map_err(|other| if other == Unproven::Missing { why } else { other }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4034 section 4.3: the example's bit map holds A, MX, RRSIG, NSEC and TYPE1234.
    #[test]
    fn bit_maps_read_as_in_rfc_4034_4_3() {
        let mut bitmaps = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        bitmaps.extend([0; 26]);
        bitmaps.push(0x20);
        for (rtype, listed) in [(1, true), (15, true), (46, true), (47, true), (1234, true), (2, false), (1235, false), (256, false)] {
            assert_eq!(lists(&bitmaps, Rtype(rtype)), listed, "{rtype}");
        }
        assert!(!lists(&[0, 9, 1], Rtype::A));
    }
}
