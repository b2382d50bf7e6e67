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
    use proptest::prelude::*;

    use super::*;
    use crate::validate::Limits;
    use crate::validate::testzone::{Denying, Zone, name};

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

    /// What a name is to the zone `z.`, by looking at its data and at nothing else.
    #[derive(Debug, PartialEq)]
    enum Truth {
        /// Below a zone cut or a DNAME: not the zone's to speak of.
        Hidden,
        Exists,
        /// With the closest encloser.
        Missing(Name),
    }

    fn has(zone: &Zone, owner: &Name, rtype: Rtype) -> bool {
        zone.sets.get(owner).is_some_and(|types| types.contains_key(&rtype))
    }

    fn is_cut(zone: &Zone, owner: &Name) -> bool {
        *owner != zone.apex && has(zone, owner, Rtype::NS)
    }

    fn truth(zone: &Zone, target: &Name) -> Truth {
        let above: Vec<Name> = target.self_and_ancestors().skip(1).take_while(|n| n.is_at_or_below(&zone.apex)).collect();
        if above.iter().any(|n| is_cut(zone, n) || has(zone, n, Rtype::DNAME)) {
            Truth::Hidden
        } else if zone.exists(target) {
            Truth::Exists
        } else {
            Truth::Missing(above.into_iter().find(|n| zone.exists(n)).unwrap())
        }
    }

    /// Whether the data at `owner`, which exists, has no `rtype`, and the zone may say so.
    fn lacks(zone: &Zone, owner: &Name, rtype: Rtype) -> bool {
        match rtype {
            Rtype::DS if *owner == zone.apex => false,
            Rtype::DS => !has(zone, owner, rtype) && (is_cut(zone, owner) || !has(zone, owner, Rtype::CNAME)),
            _ if is_cut(zone, owner) => false,
            _ => !has(zone, owner, rtype) && !has(zone, owner, Rtype::CNAME),
        }
    }

    fn name_denied(zone: &Zone, target: &Name) -> bool {
        matches!(truth(zone, target), Truth::Missing(encloser) if !zone.exists(&encloser.wildcard().unwrap()))
    }

    fn type_denied(zone: &Zone, target: &Name, rtype: Rtype) -> bool {
        match truth(zone, target) {
            Truth::Hidden => false,
            Truth::Exists => lacks(zone, target, rtype),
            Truth::Missing(encloser) => {
                let wildcard = encloser.wildcard().unwrap();
                zone.exists(&wildcard) && lacks(zone, &wildcard, rtype)
            }
        }
    }

    fn path() -> impl Strategy<Value = String> {
        let label = prop_oneof![3 => Just("a"), 3 => Just("b"), 2 => Just("*"), 1 => Just("!"), 1 => Just("aa")];
        proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join(".") + ".z.")
    }

    fn zone(denying: Denying) -> impl Strategy<Value = Zone> {
        let owned = proptest::collection::vec((path(), 0u8..6), 0..7);
        owned.prop_map(move |owned| {
            let mut zone = Zone::unsigned("z.");
            zone.denying = denying.clone();
            for (owner, kind) in owned {
                // One kind of data a name, so that the zone is a legal one.
                if !zone.sets.contains_key(&name(&owner)) {
                    match kind {
                        0 | 1 => zone.add(&owner, Rtype::A, &[192, 0, 2, 1]),
                        2 => zone.add(&owner, Rtype::CNAME, name("else.where").wire()),
                        3 => zone.add(&owner, Rtype::DNAME, name("else.where").wire()),
                        4 => zone.add(&owner, Rtype::NS, name("ns.invalid").wire()),
                        _ => zone.add(&owner, Rtype::NS, name("ns.invalid").wire()).add(&owner, Rtype::DS, &[0, 1, 8, 2, 0]),
                    };
                }
            }
            zone
        })
    }

    const TYPES: [Rtype; 6] = [Rtype::A, Rtype::MX, Rtype::NS, Rtype::DS, Rtype::CNAME, Rtype::SOA];

    /// Asks everything of `records`; `whole` says that they are the whole chain, so that what is true must be proven.
    fn agrees(zone: &Zone, records: &[&Rrset], whole: bool, target: &Name) -> Result<(), TestCaseError> {
        let work = Work::new(Limits { nsec3_rounds: u32::MAX, ..Limits::default() });
        let mut proofs = Proofs::new(&zone.apex, records, 50, &work);
        let fits = |proven: bool, so: bool| if whole { proven == so } else { so || !proven };
        let proven = proofs.name(target);
        prop_assert!(fits(proven == Ok(Proven::Fully), name_denied(zone, target)), "NXDOMAIN {target} {proven:?}");
        for rtype in TYPES {
            let proven = proofs.type_at(target, rtype);
            prop_assert!(fits(proven == Ok(Proven::Fully), type_denied(zone, target, rtype)), "NODATA {target} {rtype} {proven:?}");
        }
        let reality = truth(zone, target);
        for encloser in target.self_and_ancestors().skip(1).filter(|n| n.is_at_or_below(&zone.apex)) {
            // A wildcard signature is what brings an encloser here: it and its wildcard exist.
            if zone.own_names().contains(&encloser.wildcard().unwrap()) {
                let proven = proofs.closer(target, &encloser);
                prop_assert!(fits(proven == Ok(Proven::Fully), reality == Truth::Missing(encloser.clone())), "{target} *.{encloser}");
            }
        }
        let insecure_cut = reality == Truth::Exists && is_cut(zone, target) && !has(zone, target, Rtype::DS);
        let proven = proofs.ds(target);
        prop_assert!(fits(proven == Ok(NoDs::InsecureCut), insecure_cut), "insecure cut {target} {proven:?}");
        let hidden = reality == Truth::Hidden || is_cut(zone, target) || *target == zone.apex;
        prop_assert!(fits(proven == Ok(NoDs::NotACut), !hidden), "no cut {target} {proven:?}");
        Ok(())
    }

    fn salted() -> Denying {
        Denying::Nsec3 { salt: vec![1], iterations: 1, opt_out: false }
    }

    proptest! {
        /// RFC 4035 section 5.4: with the whole chain everything true is proven and nothing false; with a part of it nothing false.
        #[test]
        fn nsec_proves_what_the_zone_lacks_and_no_more(zone in zone(Denying::Nsec), target in path(), part in any::<u16>()) {
            check(&zone, &name(&target), part)?;
        }

        /// RFC 5155 section 8: the same.
        #[test]
        fn nsec3_proves_what_the_zone_lacks_and_no_more(zone in zone(salted()), target in path(), part in any::<u16>()) {
            check(&zone, &name(&target), part)?;
        }

        /// RFC 5155 section 9.2: nothing that rests on an opt-out span is proven beyond doubt, and a cut is never called none.
        #[test]
        fn opt_out_leaves_room_for_unsigned_delegations(
            zone in zone(Denying::Nsec3 { salt: vec![], iterations: 0, opt_out: true }),
            target in path(),
        ) {
            let (chain, target) = (zone.chain(), name(&target));
            let records: Vec<&Rrset> = chain.iter().collect();
            let work = Work::new(Limits::default());
            let mut proofs = Proofs::new(&zone.apex, &records, 50, &work);
            prop_assert_ne!(proofs.name(&target), Ok(Proven::Fully));
            // An encloser above nothing but unsigned delegations may have no NSEC3 (section 7.1): no server can prove what is below it.
            let unsigned = |n: &Name| is_cut(&zone, n) && !has(&zone, n, Rtype::DS);
            let signed: Vec<Name> = zone.own_names().into_iter().filter(|n| !unsigned(n)).collect();
            let provable = matches!(truth(&zone, &target), Truth::Missing(e) if signed.iter().any(|n| n.is_at_or_below(&e)));
            if provable && name_denied(&zone, &target) {
                prop_assert_eq!(proofs.name(&target), Ok(Proven::OptOut));
            }
            for rtype in TYPES {
                let proven = proofs.type_at(&target, rtype);
                prop_assert!(proven != Ok(Proven::Fully) || type_denied(&zone, &target, rtype), "{} {}", target, rtype);
            }
            if is_cut(&zone, &target) {
                prop_assert_ne!(proofs.ds(&target), Ok(NoDs::NotACut));
            }
        }
    }

    fn check(zone: &Zone, target: &Name, part: u16) -> Result<(), TestCaseError> {
        let chain = zone.chain();
        agrees(zone, &chain.iter().collect::<Vec<_>>(), true, target)?;
        let some: Vec<&Rrset> = chain.iter().enumerate().filter(|(i, _)| part >> (i % 16) & 1 == 1).map(|(_, set)| set).collect();
        agrees(zone, &some, false, target)?;
        for own in zone.sets.keys().filter(|n| !n.is_root()) {
            agrees(zone, &some, false, own)?;
        }
        agrees(zone, &chain.iter().collect::<Vec<_>>(), true, &zone.apex)
    }

    /// CVE-2023-50868: a long name over many iterations stops at the limit.
    #[test]
    fn nsec3_work_is_bounded() {
        let mut zone = Zone::unsigned("z.");
        zone.denying = Denying::Nsec3 { salt: vec![7; 255], iterations: 50, opt_out: false };
        let chain = zone.chain();
        let work = Work::new(Limits::default());
        let records: Vec<&Rrset> = chain.iter().collect();
        let long = name(&("a.".repeat(120) + "z."));
        assert_eq!(Proofs::new(&zone.apex, &records, 50, &work).name(&long), Err(Unproven::TooMuchWork));
        assert!(work.nsec3_rounds() <= Limits::default().nsec3_rounds);
        assert_eq!(Proofs::new(&zone.apex, &records, 50, &Work::new(Limits::default())).name(&name("a.z")), Ok(Proven::Fully));
    }
}
