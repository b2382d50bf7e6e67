//! What a reply is, and which of its records are believed.
//!
//! RFC 1034 section 5.3.3 step 4, RFC 2181 section 5.4.1, RFC 2308 section 2, RFC 6672 section 3. A server is believed only about names
//! at or below the zone that it was asked for, only on the answer's own CNAME chain, and glue only for the name servers of the referral it
//! came with. All else is dropped here, so nothing behind this file ever sees it. Pure functions; validation comes later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cache::rrset::{Delegation, NameServer};
use crate::wire::{Flags, Message, Name, NameError, Question, Rcode, Record, Rrset, Rtype};

/// Name servers kept of one referral. The largest real sets (the root, com) have 13; more only feed NXNS-like attacks.
pub const MAX_NAME_SERVERS: usize = 20;
/// Glue addresses kept for one name server.
pub const MAX_GLUE_PER_SERVER: usize = 8;
/// CNAME and DNAME steps taken from one reply; the longer rest is asked for again, at the price of the client's budget.
pub const MAX_STEPS_PER_REPLY: usize = 12;
/// Octets of a signature before the Signer's Name.
const SIGNER_AT: usize = 18;

/// In what way a server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// RD=0 to a name server of the zone.
    Iterate,
    /// RD=1 to a forwarder: AA and referrals mean nothing.
    Forward,
}

/// A reply, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// An answer: one or more steps, the last of which may leave the chain open.
    Answer(Vec<Step>),
    /// "Ask over there": a zone cut between the zone asked and the name.
    Referral(Referral),
    /// An answer from a server that does not act like one of the zone's; used only if no better server answers.
    Doubtful(Lame, Vec<Step>),
    /// The server does not serve the zone.
    Lame(Lame),
    /// A response code that is no answer.
    Failed(Rcode),
    /// The message contradicts itself or the question.
    Unusable,
}

/// In what way a server is lame for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lame {
    /// It refers to the zone itself or to one above it.
    Upward,
    /// It refers to a zone that does not hold the name.
    Sideways,
    /// It answers from a cache (RA without AA).
    Recursive,
    /// It says nothing at all: no answer, no SOA, no referral.
    Empty,
    /// Asked for DS, it answers from the child's side of the cut (RFC 4035 section 3.1.4.1).
    ChildSide,
}

/// One step of an answer: the question at this point of the chain and what was said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The effective question.
    pub question: Question,
    /// NOERROR, NXDOMAIN or YXDOMAIN.
    pub rcode: Rcode,
    /// The RRset asked for, a CNAME, or a DNAME with its CNAME; empty for negative answers.
    pub answer: Vec<Rrset>,
    /// SOA, NSEC and NSEC3 that belong to this step.
    pub authority: Vec<Rrset>,
    /// Where the chain goes on; `None` ends it.
    pub next: Option<Name>,
    /// Whether the server spoke with authority about this owner (AA counts for the first owner only, RFC 2181 section 5.4.1).
    pub authoritative: bool,
}

impl Step {
    /// Whether it says that something does not exist.
    pub fn is_negative(&self) -> bool {
        self.answer.is_empty()
    }

    /// The SOA of a negative answer.
    pub fn soa(&self) -> Option<&Rrset> {
        self.authority.iter().find(|s| s.rtype == Rtype::SOA)
    }
}

/// A zone cut as the parent's server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// The child zone and its servers, with the glue that is believed.
    pub delegation: Delegation,
    /// TTL of the NS RRset.
    pub ttl: u32,
    /// The DS RRset, or the NSEC and NSEC3 that deny it; empty where the server gave neither.
    pub ds: Vec<Rrset>,
}

/// Which addresses may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reachable {
    /// IPv4 is used upstream.
    pub ipv4: bool,
    /// IPv6 is used upstream.
    pub ipv6: bool,
    /// 127/8 and ::1 may be asked (a lab, a local server).
    pub loopback: bool,
}

impl Reachable {
    /// Whether a query may be sent to `address`: never to unspecified, multicast, link-local or reserved addresses, where no name server
    /// of the Internet is (RFC 6890 section 2.2).
    pub fn allows(self, address: IpAddr) -> bool {
        let version = if address.is_ipv4() { self.ipv4 } else { self.ipv6 };
        let reserved = match address {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 240 || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        version && !reserved && !mapped && !address.is_unspecified() && !address.is_multicast() && (self.loopback || !address.is_loopback())
    }
}

/// The address in the RDATA of an A or AAAA record.
pub fn address(rdata: &[u8]) -> Option<IpAddr> {
    match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(|o| Ipv4Addr::from(o).into()),
        16 => <[u8; 16]>::try_from(rdata).ok().map(|o| Ipv6Addr::from(o).into()),
        _ => None,
    }
}

/// Says what `message` is as a reply to `asked`, sent to a server of `zone`.
pub fn classify(asked: &Question, zone: &Name, message: &Message, mode: Mode) -> Class {
    let rcode = message.rcode();
    match &message.question {
        Some(question) if question != asked => return Class::Unusable,
        None if matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => return Class::Unusable,
        _ => {}
    }
    if !message.flags.has(Flags::QR) || message.flags.opcode() != 0 {
        return Class::Unusable;
    }
    if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN) {
        return Class::Failed(rcode);
    }
    let authoritative = message.flags.has(Flags::AA);
    let sets = in_zone(&message.answer, zone);
    let authority = in_zone(&message.authority, zone);
    let Some(mut steps) = walk(asked, zone, &sets, &authority, authoritative) else { return Class::Unusable };
    let ended = steps.last().is_some_and(|s| s.next.is_none());
    let referral = (mode == Mode::Iterate && !authoritative && rcode == Rcode::NOERROR && steps.len() <= 1)
        .then(|| referral(asked, zone, &authority, &message.additional))
        .flatten();
    let is_alias = steps.first().is_some_and(|s| s.next.is_some());
    if let Some(referral) = referral.filter(|_| !is_alias) {
        return Class::Referral(referral);
    }
    let recursive = mode == Mode::Iterate && !authoritative && message.flags.has(Flags::RA);
    let finish = |steps: Vec<Step>| if recursive { Class::Doubtful(Lame::Recursive, steps) } else { Class::Answer(steps) };
    if ended {
        return if rcode == Rcode::YXDOMAIN && steps.last().is_some_and(|s| s.rcode != rcode) {
            Class::Failed(rcode)
        } else {
            finish(steps)
        };
    }
    if rcode == Rcode::YXDOMAIN {
        return Class::Failed(rcode);
    }
    // Here the answer section ends without the type asked for: a negative answer, a referral, or an open chain.
    let end = steps.last().and_then(|s| s.next.clone()).unwrap_or_else(|| asked.name.clone());
    if !end.is_at_or_below(zone) || (!steps.is_empty() && !leads_on_inside(asked, zone, &end)) {
        return finish(steps);
    }
    let question = Question { name: end, ..asked.clone() };
    let proof = negative_authority(&question.name, &authority);
    let soa = proof.iter().find(|s| s.rtype == Rtype::SOA);
    if let Some(soa) = soa {
        let child_side = question.rtype == Rtype::DS && soa.owner == question.name && !question.name.is_root();
        steps.push(Step { question, rcode, answer: Vec::new(), authority: proof, next: None, authoritative });
        return if child_side && mode == Mode::Iterate { Class::Doubtful(Lame::ChildSide, steps) } else { finish(steps) };
    }
    if !steps.is_empty() {
        // An alias without the end of its chain: the end is asked for by itself.
        return finish(steps);
    }
    if rcode == Rcode::NXDOMAIN {
        let step = Step { question, rcode, answer: Vec::new(), authority: proof, next: None, authoritative };
        return finish(vec![step]);
    }
    let step = Step { question, rcode, answer: Vec::new(), authority: proof, next: None, authoritative };
    if mode == Mode::Forward {
        // A referral from what should have resolved it: it does not recurse, and says nothing about the name.
        let refers = message.authority.iter().any(|r| r.rtype == Rtype::NS) && !message.flags.has(Flags::RA);
        return if refers { Class::Lame(Lame::Upward) } else { Class::Answer(vec![step]) };
    }
    bare_no_error(asked, zone, message, step, authoritative)
}

/// NOERROR without an answer and without a SOA: a referral in a shape not taken above, or a server that knows nothing.
fn bare_no_error(asked: &Question, zone: &Name, message: &Message, step: Step, authoritative: bool) -> Class {
    let ns_sets: Vec<Rrset> = Rrset::group(&message.authority).into_iter().filter(|s| s.rtype == Rtype::NS).collect();
    // Some servers set AA on referrals.
    if let Some(referral) = referral(asked, zone, &ns_sets_with_proof(&ns_sets, &step), &message.additional) {
        return Class::Referral(referral);
    }
    if asked.rtype == Rtype::DS && ns_sets.iter().any(|s| s.owner == asked.name) {
        // A referral to the very name whose DS was asked for: the parent knows no DS.
        return Class::Answer(vec![step]);
    }
    if ns_sets.iter().any(|s| s.owner == *zone) && authoritative {
        return Class::Answer(vec![step]);
    }
    if ns_sets.iter().any(|s| zone.is_at_or_below(&s.owner)) {
        return Class::Lame(Lame::Upward);
    }
    if !ns_sets.is_empty() {
        return Class::Lame(Lame::Sideways);
    }
    match (authoritative, message.flags.has(Flags::RA)) {
        (true, _) => Class::Doubtful(Lame::Empty, vec![step]),
        (false, true) => Class::Doubtful(Lame::Recursive, vec![step]),
        (false, false) => Class::Lame(Lame::Empty),
    }
}

fn ns_sets_with_proof(ns: &[Rrset], step: &Step) -> Vec<Rrset> {
    ns.iter().chain(&step.authority).cloned().collect()
}

/// The RRsets of a section that the zone's servers may speak about. DS at the apex belongs to the parent (RFC 4035 section 3.1.4.1).
fn in_zone(records: &[Record], zone: &Name) -> Vec<Rrset> {
    let mut sets = Rrset::group(records);
    sets.retain(|s| s.owner.is_at_or_below(zone));
    sets
}

/// Follows the answer section's chain from the name asked. `None` where an alias is not one name.
fn walk(asked: &Question, zone: &Name, sets: &[Rrset], authority: &[Rrset], authoritative: bool) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut name = asked.name.clone();
    while steps.len() < MAX_STEPS_PER_REPLY {
        let question = Question { name: name.clone(), ..asked.clone() };
        let at_name = |rtype: Rtype| sets.iter().find(|s| s.owner == name && s.rtype == rtype);
        let dnames = sets.iter().filter(|s| s.rtype == Rtype::DNAME && name.is_below(&s.owner));
        let dname = dnames.max_by_key(|s| s.owner.label_count());
        // The CNAME that a DNAME makes is the way on, for QTYPE CNAME too (RFC 6672 section 3.2), and no data of its own.
        let own = at_name(asked.rtype).filter(|s| s.rtype != Rtype::CNAME || dname.is_none());
        let (answer, rcode, next) = if asked.rtype == Rtype::ANY && dname.is_none() && sets.iter().any(|s| s.owner == name) {
            (sets.iter().filter(|s| s.owner == name).cloned().collect(), Rcode::NOERROR, None)
        } else if let Some(set) = own {
            (vec![set.clone()], Rcode::NOERROR, None)
        } else if let Some(dname) = dname {
            match synthesise(&name, dname)? {
                Ok(cname) => {
                    let target = cname.target();
                    (vec![dname.clone(), cname], Rcode::NOERROR, target)
                }
                Err(_) => (vec![dname.clone()], Rcode::YXDOMAIN, None),
            }
        } else if let Some(cname) = at_name(Rtype::CNAME) {
            // An alias is one name (RFC 2181 section 10.1): of several the first counts.
            let mut cname = cname.clone();
            cname.rdatas.truncate(1);
            let target = cname.target()?;
            (vec![cname], Rcode::NOERROR, Some(target))
        } else {
            break;
        };
        let authority = if answer.iter().any(is_expanded) { proofs(&name, authority) } else { Vec::new() };
        let authoritative = authoritative && steps.is_empty();
        steps.push(Step { question, rcode, answer, authority, next: next.clone(), authoritative });
        match next {
            Some(next) if leads_on_inside(asked, zone, &next) && !steps.iter().any(|s| s.question.name == next) => name = next,
            _ => break,
        }
    }
    Some(steps)
}

/// Whether the zone's servers may go on with an alias's target: it is theirs, and not the DS at their apex, which is the parent's to tell
/// (RFC 4035 section 3.1.4.1).
fn leads_on_inside(asked: &Question, zone: &Name, target: &Name) -> bool {
    target.is_below(zone) || (target == zone && (asked.rtype != Rtype::DS || zone.is_root()))
}

/// The CNAME that a DNAME makes of `name` (RFC 6672 section 3.1), with the DNAME's TTL; `Err` where the new name is too long.
/// `None` where the DNAME is not one name.
pub fn synthesise(name: &Name, dname: &Rrset) -> Option<Result<Rrset, NameError>> {
    if dname.rdatas.len() != 1 {
        return None;
    }
    let target = dname.target()?;
    Some(name.rebase(&dname.owner, &target).map(|to| Rrset::new(name.clone(), Rtype::CNAME, dname.ttl, vec![to.wire().into()])))
}

/// Whether a signature shows that the RRset was made from a wildcard: fewer labels signed than the owner has (RFC 4035 section 5.3.4).
fn is_expanded(set: &Rrset) -> bool {
    let labels = set.owner.label_count() - usize::from(set.owner.is_wildcard());
    set.sigs.iter().any(|sig| usize::from(sig[3]) < labels)
}

/// The NSEC and NSEC3 that can say something of `name`: those of a zone that holds it. A reply that follows an alias from one zone into
/// another brings the proofs of both.
fn proofs(name: &Name, authority: &[Rrset]) -> Vec<Rrset> {
    let elsewhere =
        |set: &Rrset| !set.sigs.is_empty() && set.sigs.iter().all(|sig| signer(sig).is_some_and(|zone| !name.is_at_or_below(&zone)));
    authority.iter().filter(|s| matches!(s.rtype, Rtype::NSEC | Rtype::NSEC3) && !elsewhere(s)).cloned().collect()
}

/// The Signer's Name of a signature (RFC 4034 section 3.1.7).
fn signer(sig: &[u8]) -> Option<Name> {
    Name::read(sig.get(SIGNER_AT..)?, &mut 0).ok()
}

/// What of the authority section belongs to a negative answer for `name`: the SOA of a zone that holds it, and the proofs.
fn negative_authority(name: &Name, authority: &[Rrset]) -> Vec<Rrset> {
    let soa = authority.iter().filter(|s| s.rtype == Rtype::SOA && s.rdatas.len() == 1 && name.is_at_or_below(&s.owner));
    soa.max_by_key(|s| s.owner.label_count()).cloned().into_iter().chain(proofs(name, authority)).collect()
}

/// The referral in an authority section: NS strictly below the zone asked, at or above the name, and for DS strictly above it.
fn referral(asked: &Question, zone: &Name, authority: &[Rrset], additional: &[Record]) -> Option<Referral> {
    let leads_on = |owner: &Name| match asked.rtype {
        Rtype::DS => asked.name.is_below(owner),
        _ => asked.name.is_at_or_below(owner),
    };
    if authority.iter().any(|s| s.rtype == Rtype::SOA && asked.name.is_at_or_below(&s.owner)) {
        return None;
    }
    let ns = authority
        .iter()
        .filter(|s| s.rtype == Rtype::NS && s.owner.is_below(zone) && leads_on(&s.owner))
        .max_by_key(|s| s.owner.label_count())?;
    let child = &ns.owner;
    let mut servers: Vec<NameServer> = Vec::new();
    for rdata in ns.rdatas.iter().take(MAX_NAME_SERVERS) {
        let Ok(name) = Name::read(rdata, &mut 0) else { continue };
        // In-domain and sibling glue is believed for sending; the asked zone's servers know nothing of other zones' addresses.
        let glue =
            additional.iter().filter(|r| r.owner == name && r.owner.is_at_or_below(zone) && matches!(r.rtype, Rtype::A | Rtype::AAAA));
        let addresses = glue.filter_map(|r| address(&r.rdata)).take(MAX_GLUE_PER_SERVER).collect();
        if !servers.iter().any(|s| s.name == name) {
            servers.push(NameServer { name, addresses });
        }
    }
    let ds: Vec<Rrset> = match authority.iter().find(|s| s.rtype == Rtype::DS && s.owner == *child) {
        Some(ds) => vec![ds.clone()],
        None => proofs(child, authority),
    };
    Some(Referral { delegation: Delegation { zone: child.clone(), servers }, ttl: ns.ttl, ds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CLASS_IN;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn target(owner: &str, rtype: Rtype, to: &str) -> Record {
        Record { owner: name(owner), rtype, class: CLASS_IN, ttl: 300, rdata: name(to).wire().into() }
    }

    fn a(owner: &str, last: u8) -> Record {
        Record { owner: name(owner), rtype: Rtype::A, class: CLASS_IN, ttl: 300, rdata: vec![192, 0, 2, last].into() }
    }

    fn soa(owner: &str) -> Record {
        Record { owner: name(owner), rtype: Rtype::SOA, class: CLASS_IN, ttl: 300, rdata: [&[0, 0][..], &[0; 20]].concat().into() }
    }

    struct Reply(Message);

    fn reply(question: &Question, flags: u16) -> Reply {
        Reply(Message {
            id: 1,
            flags: Flags(Flags::QR | flags),
            question: Some(question.clone()),
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            edns: None,
        })
    }

    impl Reply {
        fn answer(mut self, records: impl IntoIterator<Item = Record>) -> Reply {
            self.0.answer.extend(records);
            self
        }
        fn authority(mut self, records: impl IntoIterator<Item = Record>) -> Reply {
            self.0.authority.extend(records);
            self
        }
        fn additional(mut self, records: impl IntoIterator<Item = Record>) -> Reply {
            self.0.additional.extend(records);
            self
        }
        fn rcode(mut self, rcode: Rcode) -> Reply {
            self.0.flags = self.0.flags.with_rcode(rcode);
            self
        }
        fn class(&self, question: &Question, zone: &str) -> Class {
            classify(question, &name(zone), &self.0, Mode::Iterate)
        }
    }

    fn question(text: &str) -> Question {
        Question::new(name(text), Rtype::A)
    }

    fn answer(class: Class) -> Vec<Step> {
        match class {
            Class::Answer(steps) => steps,
            other => panic!("{other:?}"),
        }
    }

    /// RFC 2181 section 5.4.1; the Kashpureff attack of 1997 put other zones' data beside an answer.
    #[test]
    fn records_of_other_zones_are_dropped() {
        let q = question("www.post.example");
        let steps = answer(
            reply(&q, Flags::AA)
                .answer([target("www.post.example", Rtype::CNAME, "www.bank.test"), a("www.bank.test", 66)])
                .authority([target("bank.test", Rtype::NS, "ns.evil.example")])
                .class(&q, "post.example"),
        );
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].next, Some(name("www.bank.test")));
        assert!(steps[0].authority.is_empty());
    }

    #[test]
    fn a_chain_inside_the_zone_is_taken_whole() {
        let q = question("www.post.example");
        let steps = answer(
            reply(&q, Flags::AA)
                .answer([a("web.post.example", 1), target("www.post.example", Rtype::CNAME, "web.post.example")])
                .class(&q, "post.example"),
        );
        assert_eq!(steps.iter().map(|s| (s.next.is_none(), s.authoritative)).collect::<Vec<_>>(), [(false, true), (true, false)]);
    }

    /// RFC 1034 section 4.2.1: glue belongs to the referral's own name servers.
    #[test]
    fn glue_is_believed_for_the_referral_s_own_servers_inside_the_zone_asked() {
        let q = question("www.post.example");
        let class = reply(&q, 0)
            .authority([target("post.example", Rtype::NS, "ns.post.example"), target("post.example", Rtype::NS, "ns.other.test")])
            .additional([a("ns.post.example", 1), a("ns.other.test", 66), a("www.post.example", 66)])
            .class(&q, "example");
        let Class::Referral(referral) = class else { panic!("{class:?}") };
        let glue: Vec<usize> = referral.delegation.servers.iter().map(|s| s.addresses.len()).collect();
        assert_eq!(glue, [1, 0]);
    }

    #[test]
    fn referrals_up_and_sideways_are_lame() {
        let q = question("www.post.example");
        for (owner, why) in
            [(".", Lame::Upward), ("post.example", Lame::Upward), ("example", Lame::Upward), ("other.post.example", Lame::Sideways)]
        {
            let class = reply(&q, 0).authority([target(owner, Rtype::NS, "ns.x.test")]).class(&q, "post.example");
            assert_eq!(class, Class::Lame(why), "{owner}");
        }
        assert!(matches!(reply(&q, Flags::AA).class(&q, "post.example"), Class::Doubtful(Lame::Empty, _)));
        assert_eq!(reply(&q, 0).class(&q, "post.example"), Class::Lame(Lame::Empty));
        assert!(matches!(
            reply(&q, Flags::RA).answer([a("www.post.example", 1)]).class(&q, "post.example"),
            Class::Doubtful(Lame::Recursive, _)
        ));
    }

    /// RFC 2308 section 2: a negative answer is told from a referral by its SOA, which must be of a zone that holds the name.
    #[test]
    fn negative_answers_need_a_soa_of_their_own_zone() {
        let q = question("www.post.example");
        let steps = answer(reply(&q, Flags::AA).authority([soa("post.example")]).rcode(Rcode::NXDOMAIN).class(&q, "post.example"));
        assert_eq!((steps[0].rcode, steps[0].soa().is_some()), (Rcode::NXDOMAIN, true));
        let steps = answer(reply(&q, Flags::AA).authority([soa("example")]).rcode(Rcode::NXDOMAIN).class(&q, "post.example"));
        assert!(steps[0].soa().is_none());
    }

    /// RFC 4035 section 3.1.3: only the zone of a name can deny it. A server of two zones that follows an alias from one into the other
    /// sends the proofs of both.
    #[test]
    fn the_denials_of_another_zone_stay_out() {
        let signed_by = |zone: &str| {
            let mut rdata = vec![0; SIGNER_AT];
            rdata[..2].copy_from_slice(&Rtype::NSEC.0.to_be_bytes());
            rdata.extend([name(zone).wire(), &[1]].concat());
            let owner = format!("a.{zone}");
            [target(&owner, Rtype::NSEC, &owner), Record { rtype: Rtype::RRSIG, rdata: rdata.into(), ..soa(&owner) }]
        };
        let q = question("www.child.example");
        let authority = [soa("example")].into_iter().chain(signed_by("example")).chain(signed_by("child.example"));
        let alias = target("www.child.example", Rtype::CNAME, "b.example");
        let steps = answer(reply(&q, Flags::AA).answer([alias]).authority(authority).class(&q, "example"));
        let owners: Vec<String> = steps[1].authority.iter().map(|s| format!("{} {}", s.owner, s.rtype)).collect();
        assert_eq!(owners, ["example. SOA", "a.example. NSEC"]);
    }

    /// RFC 4035 section 3.1.4.1: DS is answered by the parent.
    #[test]
    fn ds_is_the_parent_s_to_answer() {
        let q = Question::new(name("post.example"), Rtype::DS);
        let class = reply(&q, Flags::AA).authority([soa("post.example")]).class(&q, "example");
        assert!(matches!(class, Class::Doubtful(Lame::ChildSide, _)));
        let class = reply(&q, 0).authority([target("post.example", Rtype::NS, "ns.post.example")]).class(&q, "example");
        assert!(matches!(class, Class::Answer(_)), "{class:?}");
    }

    /// RFC 4035 section 3.1.4.1: an alias to the apex leaves the DS there to the parent, whatever the child says beside the alias.
    #[test]
    fn an_alias_to_the_apex_leaves_its_ds_to_the_parent() {
        let q = Question::new(name("www.post.example"), Rtype::DS);
        let alias = target("www.post.example", Rtype::CNAME, "post.example");
        let steps = answer(reply(&q, Flags::AA).answer([alias]).authority([soa("post.example")]).class(&q, "post.example"));
        assert_eq!((steps.len(), steps[0].next.clone()), (1, Some(name("post.example"))));
    }

    /// RFC 6672 section 2.2 (substitution) and section 3.1 (YXDOMAIN where the new name is too long).
    #[test]
    fn a_dname_overrules_the_cname_beside_it() {
        let q = question("a.old.example");
        let steps = answer(
            reply(&q, Flags::AA)
                .answer([target("old.example", Rtype::DNAME, "new.test"), target("a.old.example", Rtype::CNAME, "evil.test")])
                .class(&q, "example"),
        );
        assert_eq!(steps[0].next, Some(name("a.new.test")));
        assert_eq!(steps[0].answer.len(), 2);
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join(".");
        let steps =
            answer(reply(&q, Flags::AA).answer([target("old.example", Rtype::DNAME, &long)]).rcode(Rcode::YXDOMAIN).class(&q, "example"));
        assert_eq!(steps[0].rcode, Rcode::YXDOMAIN);
    }

    #[test]
    fn replies_to_another_question_or_to_none_are_unusable() {
        let (q, other) = (question("www.post.example"), question("www.bank.example"));
        assert_eq!(reply(&other, Flags::AA).answer([a("www.bank.example", 1)]).class(&q, "example"), Class::Unusable);
        let mut bare = reply(&q, Flags::AA).answer([a("www.post.example", 1)]);
        bare.0.question = None;
        assert_eq!(bare.class(&q, "example"), Class::Unusable);
        assert_eq!(bare.rcode(Rcode::REFUSED).class(&q, "example"), Class::Failed(Rcode::REFUSED));
    }

    #[test]
    fn addresses_that_lead_nowhere_are_never_asked() {
        let all = Reachable { ipv4: true, ipv6: true, loopback: false };
        for text in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.1.2.3", "169.254.1.1", "240.0.0.1"] {
            assert!(!all.allows(text.parse().unwrap()), "{text}");
        }
        for text in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            assert!(!all.allows(text.parse().unwrap()), "{text}");
        }
        assert!(all.allows("192.0.2.1".parse().unwrap()));
        assert!(Reachable { loopback: true, ..all }.allows("127.0.0.1".parse().unwrap()));
        assert!(!Reachable { ipv6: false, ..all }.allows("2001:db8::1".parse().unwrap()));
    }
}
