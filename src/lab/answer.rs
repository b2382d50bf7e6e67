//! What an authoritative name server answers from its zones: a pure function from a question to the sections of a reply.
//!
//! RFC 1034 section 4.3.2, RFC 4592 (wildcards), RFC 6672 (DNAME), RFC 4035 section 3.1 (proofs with NSEC), RFC 5155 section 7.2
//! (proofs with NSEC3). NSD answers the same questions from the same files in `tests/lab.rs`. Sending it is [`super::server`]'s work.

use std::sync::Arc;

use super::rdata;
use super::zone::{NEGATIVE_TTL, Zone};
use crate::wire::{Name, Question, Rcode, Rrset, Rtype};

/// Aliases followed inside one reply.
const MAX_ALIASES: usize = 16;

/// A reply without its header's IDs and its OPT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Response code.
    pub rcode: Rcode,
    /// The AA bit.
    pub authoritative: bool,
    /// Answer section.
    pub answer: Vec<Rrset>,
    /// Authority section.
    pub authority: Vec<Rrset>,
    /// Additional section.
    pub additional: Vec<Rrset>,
}

/// Answers `question` from `zones`. Without `dnssec_ok`, signatures and proofs are left out (RFC 3225 section 3).
pub fn answer(zones: &[Arc<Zone>], question: &Question, dnssec_ok: bool) -> Reply {
    let mut reply = Reply { rcode: Rcode::NOERROR, authoritative: true, answer: Vec::new(), authority: Vec::new(), additional: Vec::new() };
    let mut name = question.name.clone();
    for step in 0..MAX_ALIASES {
        let Some(zone) = find_zone(zones, &name, question.rtype) else {
            if step == 0 {
                reply.rcode = Rcode::REFUSED;
                reply.authoritative = false;
            }
            break;
        };
        match (Walk { zone, reply: &mut reply, first: step == 0 }).answer(&name, question.rtype) {
            Some(target) => name = target,
            None => break,
        }
    }
    if !dnssec_ok {
        strip(&mut reply, question.rtype);
    }
    reply
}

/// The closest zone held for `name`; for DS at an apex the parent's, where it is held too (RFC 4035 section 3.1.4.1).
fn find_zone<'a>(zones: &'a [Arc<Zone>], name: &Name, rtype: Rtype) -> Option<&'a Zone> {
    let closest = |parents_only: bool| {
        zones
            .iter()
            .filter(|z| name.is_at_or_below(z.apex()) && !(parents_only && z.apex() == name))
            .max_by_key(|z| z.apex().label_count())
            .map(Arc::as_ref)
    };
    if rtype == Rtype::DS { closest(true).or_else(|| closest(false)) } else { closest(false) }
}

fn strip(reply: &mut Reply, asked: Rtype) {
    let is_data = |set: &Rrset| !set.rtype.is_dnssec_proof() && set.rtype != Rtype::DS;
    reply.answer.retain(|set| set.rtype == asked || is_data(set));
    reply.authority.retain(is_data);
    for section in [&mut reply.answer, &mut reply.authority, &mut reply.additional] {
        section.iter_mut().for_each(|set| set.sigs.clear());
    }
}

/// One pass through one zone.
struct Walk<'a> {
    zone: &'a Zone,
    reply: &'a mut Reply,
    first: bool,
}

impl Walk<'_> {
    /// Adds what the zone says about `name`; gives the target of an alias that is to be followed.
    fn answer(&mut self, name: &Name, rtype: Rtype) -> Option<Name> {
        if let Some(cut) = self.zone.cut(name)
            && !(cut == *name && rtype == Rtype::DS)
        {
            self.refer(&cut);
            return None;
        }
        if let Some(dname) = name
            .self_and_ancestors()
            .skip(1)
            .take_while(|n| n.is_at_or_below(self.zone.apex()))
            .find_map(|n| self.zone.rrset(&n, Rtype::DNAME))
        {
            return self.redirect(name, &dname.clone());
        }
        if self.zone.exists(name) {
            return self.give(name, name, rtype);
        }
        let encloser = self.zone.closest_encloser(name);
        match encloser.wildcard().filter(|w| self.zone.node(w).is_some()) {
            Some(wildcard) => {
                let target = self.give(&wildcard, name, rtype);
                self.prove_no_closer(name, &encloser);
                target
            }
            None => {
                self.reply.rcode = Rcode::NXDOMAIN;
                self.add_soa();
                self.prove_no_closer(name, &encloser);
                match self.zone.nsec3_params() {
                    Some(_) => {
                        self.prove(self.zone.nsec3_matching(&encloser));
                        self.prove(encloser.wildcard().and_then(|w| self.zone.nsec3_covering(&w)));
                    }
                    None => self.prove(encloser.wildcard().and_then(|w| self.zone.nsec_at_or_before(&w))),
                }
                None
            }
        }
    }

    /// Answers from the node `source` under the name `name`; they differ where a wildcard expands.
    fn give(&mut self, source: &Name, name: &Name, rtype: Rtype) -> Option<Name> {
        let expand = |set: &Rrset| Rrset { owner: name.clone(), ..set.clone() };
        let node = self.zone.node(source);
        if let Some(node) = node
            && rtype == Rtype::ANY
        {
            self.reply.answer.extend(node.values().map(expand));
            return None;
        }
        if let Some(set) = node.and_then(|n| n.get(&rtype)) {
            if rtype == Rtype::NS {
                self.add_addresses(set);
            }
            self.reply.answer.push(expand(set));
            return None;
        }
        if let Some(alias) = node.and_then(|n| n.get(&Rtype::CNAME)) {
            self.reply.answer.push(expand(alias));
            return alias.target();
        }
        self.add_soa();
        self.prove_no_data(source, name);
        None
    }

    /// NODATA at `source`, reached as `name`.
    fn prove_no_data(&mut self, source: &Name, name: &Name) {
        if self.zone.nsec3_params().is_some() {
            if source != name {
                self.prove(self.zone.nsec3_matching(&self.zone.closest_encloser(name)));
            }
            match self.zone.nsec3_matching(source) {
                Some(set) => self.prove(Some(set)),
                // DS at an opted-out delegation, or below a name that only such delegations make: RFC 5155 section 7.2.4.
                None => self.prove_opted_out(source),
            }
        } else {
            // An empty non-terminal has no NSEC of its own: the one before it covers it (RFC 4035 section 3.1.3.1).
            self.prove(self.zone.nsec_at_or_before(source));
        }
    }

    /// That `name` does not exist and nothing does between it and `encloser`.
    fn prove_no_closer(&mut self, name: &Name, encloser: &Name) {
        match self.zone.nsec3_params() {
            Some(_) => self.prove(self.zone.nsec3_covering(&name.suffix(encloser.label_count() + 1))),
            None => self.prove(self.zone.nsec_at_or_before(name)),
        }
    }

    /// Closest provable encloser, and the span over the next closer name (RFC 5155 section 7.2.1).
    fn prove_opted_out(&mut self, name: &Name) {
        let provable = name
            .self_and_ancestors()
            .skip(1)
            .take_while(|n| n.is_at_or_below(self.zone.apex()))
            .find(|n| self.zone.nsec3_matching(n).is_some());
        if let Some(encloser) = provable {
            self.prove(self.zone.nsec3_matching(&encloser));
            self.prove(self.zone.nsec3_covering(&name.suffix(encloser.label_count() + 1)));
        }
    }

    fn refer(&mut self, cut: &Name) {
        if self.first {
            self.reply.authoritative = false;
        }
        let Some(servers) = self.zone.rrset(cut, Rtype::NS) else { return };
        self.reply.authority.push(servers.clone());
        match self.zone.rrset(cut, Rtype::DS) {
            Some(ds) => self.reply.authority.push(ds.clone()),
            None if !self.zone.is_signed() => {}
            None => self.prove_no_data(cut, cut),
        }
        self.add_addresses(servers);
    }

    /// Addresses of name servers, glue included, as far as this zone has them (RFC 1034 section 4.3.2 step 6).
    fn add_addresses(&mut self, servers: &Rrset) {
        for server in servers.rdatas.iter().filter_map(|r| Name::from_wire(r).ok()) {
            for rtype in [Rtype::A, Rtype::AAAA] {
                self.reply.additional.extend(self.zone.rrset(&server, rtype).cloned());
            }
        }
    }

    /// A DNAME above `name`, with the CNAME that it stands for (RFC 6672 section 3.1).
    fn redirect(&mut self, name: &Name, dname: &Rrset) -> Option<Name> {
        self.reply.answer.push(dname.clone());
        match name.rebase(&dname.owner, &dname.target()?) {
            Ok(target) => {
                self.reply.answer.push(Rrset::new(name.clone(), Rtype::CNAME, dname.ttl, vec![rdata::name(&target)]));
                Some(target)
            }
            Err(_) => {
                self.reply.rcode = Rcode::YXDOMAIN;
                None
            }
        }
    }

    fn add_soa(&mut self) {
        if let Some(soa) = self.zone.rrset(self.zone.apex(), Rtype::SOA) {
            self.reply.authority.push(Rrset { ttl: NEGATIVE_TTL, ..soa.clone() });
        }
    }

    fn prove(&mut self, set: Option<&Rrset>) {
        if let Some(set) = set
            && self.zone.is_signed()
            && !self.reply.authority.contains(set)
        {
            self.reply.authority.push(set.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Algorithm;
    use super::super::seed::Seed;
    use super::super::zone::{Denial, Nsec3, Signing};
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn zones(denial: Option<Denial>) -> Vec<Arc<Zone>> {
        let mut zone = Zone::new(name("z"), &name("ns.z"));
        let address = || rdata::a([192, 0, 2, 1].into());
        zone.add(&name("z"), Rtype::NS, rdata::name(&name("ns.z")));
        for owner in ["ns.z", "host.ent.z", "*.wild.z", "ns.cut.z"] {
            zone.add(&name(owner), Rtype::A, address());
        }
        zone.add(&name("cut.z"), Rtype::NS, rdata::name(&name("ns.cut.z")));
        zone.add(&name("alias.z"), Rtype::CNAME, rdata::name(&name("host.ent.z")));
        zone.add(&name("old.z"), Rtype::DNAME, rdata::name(&name("ent.z")));
        if let Some(denial) = denial {
            zone.sign(Signing::new(Algorithm::Ed25519, denial), None, &Seed::new(1), 1_700_000_000);
        }
        vec![Arc::new(zone)]
    }

    fn ask(zones: &[Arc<Zone>], owner: &str, rtype: Rtype) -> Reply {
        answer(zones, &Question::new(name(owner), rtype), true)
    }

    fn types(sets: &[Rrset]) -> Vec<Rtype> {
        sets.iter().map(|s| s.rtype).collect()
    }

    /// RFC 1034 section 4.3.2 step 3: a referral is not authoritative and carries glue; RFC 4035 section 3.1.4: and the proof of no DS.
    #[test]
    fn a_cut_gives_a_referral_with_glue_and_the_proof_that_there_is_no_ds() {
        let reply = ask(&zones(Some(Denial::Nsec)), "www.cut.z", Rtype::A);
        assert!(!reply.authoritative);
        assert_eq!(types(&reply.authority), [Rtype::NS, Rtype::NSEC]);
        assert_eq!(reply.additional[0].owner, name("ns.cut.z"));
        let opted = ask(&zones(Some(Denial::Nsec3(Nsec3 { opt_out: true, ..Nsec3::default() }))), "www.cut.z", Rtype::A);
        assert_eq!(opted.authority[0].rtype, Rtype::NS);
        assert!(opted.authority[1..].iter().all(|s| s.rtype == Rtype::NSEC3) && opted.authority.len() > 1);
    }

    #[test]
    fn aliases_are_followed_and_dname_makes_its_cname() {
        let reply = ask(&zones(None), "alias.z", Rtype::A);
        assert_eq!(types(&reply.answer), [Rtype::CNAME, Rtype::A]);
        let reply = ask(&zones(None), "host.old.z", Rtype::A);
        assert_eq!(types(&reply.answer), [Rtype::DNAME, Rtype::CNAME, Rtype::A]);
        assert_eq!(reply.answer[2].owner, name("host.ent.z"));
    }

    /// RFC 4592 section 2.2.1: the wildcard expands below its parent and nowhere else; section 2.2.2: an empty non-terminal is NODATA.
    #[test]
    fn wildcards_expand_and_empty_non_terminals_are_nodata() {
        let zones = zones(Some(Denial::Nsec));
        let reply = ask(&zones, "any.thing.wild.z", Rtype::A);
        assert_eq!((reply.answer[0].owner.clone(), types(&reply.authority)), (name("any.thing.wild.z"), vec![Rtype::NSEC]));
        assert_eq!(ask(&zones, "nothing.z", Rtype::A).rcode, Rcode::NXDOMAIN);
        let ent = ask(&zones, "ent.z", Rtype::A);
        assert_eq!((ent.rcode, types(&ent.authority)), (Rcode::NOERROR, vec![Rtype::SOA, Rtype::NSEC]));
    }

    /// RFC 5155 section 7.2.2: encloser, next closer and wildcard: at most three records, once each.
    #[test]
    fn nsec3_name_errors_carry_the_three_proofs() {
        let zones = zones(Some(Denial::Nsec3(Nsec3::default())));
        let reply = ask(&zones, "nothing.z", Rtype::A);
        let proofs = types(&reply.authority).iter().filter(|t| **t == Rtype::NSEC3).count();
        assert!((2..=3).contains(&proofs), "{reply:?}");
        assert_eq!(ask(&zones, "other", Rtype::A).rcode, Rcode::REFUSED);
    }
}
