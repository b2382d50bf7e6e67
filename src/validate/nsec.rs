//! Denial by NSEC (RFC 4034 section 4, RFC 4035 section 5.4, RFC 6840 section 4).
//!
//! An NSEC says: this name exists with these types, and no name of this zone lies between it and the next. It must not be believed about
//! names that are not its zone's: below a zone cut or below a DNAME (RFC 6840 section 4.1).

use super::denial::{NoDs, Proven, Unproven, ds_absent, is_parent_side, lists, type_absent};
use crate::wire::{Name, Rrset, Rtype};

struct Nsec<'a> {
    owner: &'a Name,
    next: Name,
    types: &'a [u8],
}

impl<'a> Nsec<'a> {
    fn read(zone: &Name, set: &'a Rrset) -> Option<Nsec<'a>> {
        // More than one NSEC at a name is no zone's NSEC chain.
        let [rdata] = set.rdatas.as_slice() else { return None };
        let mut at = 0;
        let next = Name::read(rdata, &mut at).ok()?;
        let sound = set.rtype == Rtype::NSEC && set.owner.is_at_or_below(zone) && next.is_at_or_below(zone);
        sound.then(|| Nsec { owner: &set.owner, next, types: &rdata[at..] })
    }

    /// Whether `name`, of this zone, lies strictly between owner and next; the last NSEC points back at the apex.
    fn covers(&self, zone: &Name, name: &Name) -> bool {
        let between = *self.owner < *name && (*name < self.next || self.next == *zone);
        let hidden = name.is_below(self.owner) && (is_parent_side(self.types) || lists(self.types, Rtype::DNAME));
        between && !hidden && name.is_at_or_below(zone)
    }
}

/// The NSEC records of one zone in one reply.
pub(crate) struct NsecProofs<'a> {
    zone: &'a Name,
    records: Vec<Nsec<'a>>,
}

impl<'a> NsecProofs<'a> {
    pub(crate) fn new(zone: &'a Name, verified: &[&'a Rrset]) -> NsecProofs<'a> {
        NsecProofs { zone, records: verified.iter().filter_map(|set| Nsec::read(zone, set)).collect() }
    }

    fn at(&self, name: &Name) -> Option<&Nsec<'a>> {
        self.records.iter().find(|n| n.owner == name)
    }

    fn covering(&self, name: &Name) -> Option<&Nsec<'a>> {
        self.records.iter().find(|n| n.covers(self.zone, name))
    }

    /// Proof that `name` does not exist, as its closest encloser: the longest ancestor that it shares with either end of the span.
    fn encloser(&self, name: &Name) -> Result<Name, Unproven> {
        if self.at(name).is_some() {
            return Err(Unproven::Contradicted);
        }
        let span = self.covering(name).ok_or(Unproven::Missing)?;
        if span.next.is_below(name) {
            return Err(Unproven::Contradicted); // an empty non-terminal exists (RFC 8020)
        }
        Ok(name.suffix(name.common_labels(span.owner).max(name.common_labels(&span.next))))
    }

    pub(crate) fn name(&self, name: &Name) -> Result<Proven, Unproven> {
        let wildcard = self.encloser(name)?.wildcard().ok_or(Unproven::Missing)?;
        match self.encloser(&wildcard) {
            Ok(_) => Ok(Proven::Fully),
            Err(why) => Err(why),
        }
    }

    pub(crate) fn type_at(&self, name: &Name, qtype: Rtype) -> Result<Proven, Unproven> {
        if let Some(own) = self.at(name) {
            return type_absent(own.types, name, qtype);
        }
        if self.is_empty_nonterminal(name) {
            return Ok(Proven::Fully);
        }
        let wildcard = self.encloser(name)?.wildcard().ok_or(Unproven::Missing)?;
        if self.is_empty_nonterminal(&wildcard) {
            return Ok(Proven::Fully);
        }
        let stand_in = self.at(&wildcard).ok_or(Unproven::Missing)?;
        type_absent(stand_in.types, &wildcard, qtype)
    }

    pub(crate) fn closer(&self, name: &Name, encloser: &Name) -> Result<Proven, Unproven> {
        if self.encloser(name)? == *encloser { Ok(Proven::Fully) } else { Err(Unproven::Contradicted) }
    }

    pub(crate) fn ds(&self, name: &Name) -> Result<NoDs, Unproven> {
        match (self.at(name), self.covering(name)) {
            (Some(own), _) => ds_absent(own.types),
            (None, Some(_)) => Ok(NoDs::NotACut),
            (None, None) => Err(Unproven::Missing),
        }
    }

    fn is_empty_nonterminal(&self, name: &Name) -> bool {
        self.covering(name).is_some_and(|span| span.next.is_below(name))
    }
}
