//! An internet that nobody planned: zones, signing, faults, aliases and bad servers drawn from a seed.
//!
//! `tests/differential` asks postern and Unbound the same questions about it; there is no expectation but that they agree. Zones are
//! well-formed (no CNAME beside other data, nothing below a DNAME or a cut), because what resolvers do with ill-formed ones is free.

use super::fault::Fault;
use super::keys::Algorithm;
use super::plan::{Asked, Chain, Plan, below, documentation_v4, documentation_v6};
use super::rdata;
use super::seed::{Seed, Stream};
use super::server::Manners;
use super::{Internet, Zone};
use crate::wire::{Name, Question, Rtype};

/// Labels of owners; few, so that questions meet them.
const LABELS: &[&str] = &["a", "b", "c", "www", "mail", "x1", "zz", "0"];
/// Names of top-level domains.
const TLDS: &[&str] = &["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
const ALGORITHMS: &[Algorithm] =
    &[Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Ed25519, Algorithm::RsaSha256, Algorithm::RsaSha512];
/// The common kinds of chain, and NSEC3 on both sides of the limit of 50 iterations (RFC 9276 section 3.2).
const CHAINS: &[Chain] = &[
    Chain::Nsec,
    Chain::Nsec,
    Chain::Nsec3,
    Chain::Nsec3,
    Chain::Salted,
    Chain::OptOut,
    Chain::OptOut,
    Chain::Rounds(1),
    Chain::Rounds(50),
    Chain::Rounds(51),
];
/// Servers that answer wrongly at once; dead ones would only cost the test its time.
const BAD_MANNERS: &[Manners] =
    &[Manners::Refuses, Manners::Fails, Manners::Lame, Manners::Truncates, Manners::FoldsCase, Manners::RefusesEdns];
/// Digests of DS records (RFC 4509, RFC 6605); SHA-1 is old and still valid.
const DIGESTS: &[u8] = &[1, 2, 2, 2, 4];
const ZONES: usize = 60;
const OWNERS_PER_ZONE: usize = 14;

fn chance(stream: &mut Stream, percent: usize) -> bool {
    stream.below(100) < percent
}

/// Signing with or without a fault that goes with it.
fn signing(stream: &mut Stream, faulty: usize) -> (Option<(Algorithm, Chain)>, Option<Fault>) {
    if chance(stream, 20) {
        return (None, None);
    }
    let (algorithm, chain) = (*stream.pick(ALGORITHMS), *stream.pick(CHAINS));
    match chance(stream, faulty).then(|| *stream.pick(&Fault::ALL)) {
        Some(Fault::UnassignedAlgorithm) => (Some((Algorithm::Unassigned, chain)), Some(Fault::UnassignedAlgorithm)),
        Some(Fault::TooManyIterations) => (Some((algorithm, Chain::Heavy)), Some(Fault::TooManyIterations)),
        fault => (Some((algorithm, chain)), fault),
    }
}

/// Draws an internet.
pub(super) fn build(seed: u64, now: u64) -> Internet {
    let mut plan = Plan::new(Seed::new(seed).child("random"), now);
    let mut stream = Seed::new(seed).child("random").child("plan").stream();
    let stream = &mut stream;
    let root = plan.host(below("ns.root-servers", &Name::root()), Manners::Good);
    plan.zone(Name::root(), Some((*stream.pick(ALGORITHMS), Chain::Nsec)), None, vec![root]).asked = Asked::Nothing;
    let mut apexes: Vec<(Name, usize)> = Vec::new();
    for tld in TLDS {
        let apex = below(tld, &Name::root());
        let server = plan.host(below("ns", &apex), Manners::Good);
        let (signing, fault) = signing(stream, 5);
        plan.zone(apex.clone(), signing, fault, vec![server]).asked = Asked::Nothing;
        apexes.push((apex, server));
    }
    for number in 0..ZONES {
        // Half of them right below a top-level domain: a broken zone breaks all below it.
        let above = if chance(stream, 50) { &apexes[..TLDS.len()] } else { &apexes };
        let (parent, parents_server) = stream.pick(above).clone();
        let label = if chance(stream, 20) { format!("z{number}.ent{number}") } else { format!("z{number}") };
        let apex = below(&label, &parent);
        let server = if chance(stream, 25) { parents_server } else { plan.host(below("ns1", &apex), Manners::Good) };
        let mut servers = vec![server];
        if chance(stream, 12) {
            let manners = *stream.pick(BAD_MANNERS);
            servers.push(plan.host(below("ns2", &apex), manners));
            if chance(stream, 30) {
                servers.remove(0);
            }
        }
        // A server that knows a zone below and not the one between would make it a matter of luck who finds it.
        let server = servers[0];
        let (signing, fault) = signing(stream, 20);
        // Of two servers of a signed zone, one without DNSSEC makes the answer a matter of who was asked.
        let mixed = servers.len() > 1 && servers.iter().any(|&s| plan.manners(s) == Manners::RefusesEdns);
        let signing = signing.filter(|_| !mixed);
        let fault = fault.filter(|_| !mixed);
        plan.zone(apex.clone(), signing, fault, servers).asked = Asked::Nothing;
        plan.set_digest(&apex, *stream.pick(DIGESTS));
        apexes.push((apex, server));
    }
    for index in 0..apexes.len() {
        fill(&mut plan, &apexes, index, stream);
    }
    plan.finish()
}

/// Random owners with random data, as far as they disturb nothing.
fn fill(plan: &mut Plan, apexes: &[(Name, usize)], index: usize, stream: &mut Stream) {
    let apex = &apexes[index].0;
    for _ in 0..OWNERS_PER_ZONE {
        let depth = 1 + stream.below(3);
        let mut owner = apex.clone();
        for _ in 0..depth {
            owner = below(stream.pick::<&str>(LABELS), &owner);
        }
        if chance(stream, 15) {
            owner = below("*", &owner);
        }
        // A third stays in the zone: chains and loops.
        let (target, _) = if chance(stream, 33) { apexes[index].clone() } else { stream.pick(apexes).clone() };
        let target = if chance(stream, 80) { below(stream.pick::<&str>(LABELS), &target) } else { target };
        let kind = stream.below(100);
        let (v4, v6) = (documentation_v4(stream), documentation_v6(stream));
        let zone = plan.zone_mut(apex);
        if occupied(zone, &owner) {
            continue;
        }
        match kind {
            0..20 => zone.add(&owner, Rtype::CNAME, rdata::name(&target)),
            20..26 if !zone.exists(&owner) && !owner.is_wildcard() => zone.add(&owner, Rtype::DNAME, rdata::name(&target)),
            26..40 => {
                zone.add(&owner, Rtype::TXT, rdata::txt("of no meaning"));
                zone.add(&owner, Rtype::AAAA, rdata::aaaa(v6));
            }
            40..50 => zone.add(&owner, Rtype::MX, rdata::mx(10, target.wire())),
            _ => zone.add(&owner, Rtype::A, rdata::a(v4)),
        }
    }
}

/// Whether something is at the name already, or a DNAME or CNAME above it leaves no room.
fn occupied(zone: &Zone, owner: &Name) -> bool {
    let above = owner.self_and_ancestors().skip(1).take_while(|n| n.is_below(zone.apex()));
    zone.node(owner).is_some() || above.into_iter().any(|n| zone.rrset(&n, Rtype::DNAME).is_some())
}

/// `count` questions in and around the names of this internet.
pub(super) fn questions(internet: &Internet, seed: u64, count: usize) -> Vec<Question> {
    const TYPES: &[Rtype] = &[
        Rtype::A,
        Rtype::A,
        Rtype::A,
        Rtype::AAAA,
        Rtype::TXT,
        Rtype::MX,
        Rtype::CNAME,
        Rtype::NS,
        Rtype::SOA,
        Rtype::DS,
        Rtype::DNSKEY,
        Rtype::SRV,
        Rtype::DNAME,
        Rtype::NSEC,
        Rtype::NSEC3PARAM,
    ];
    let mut stream = Seed::new(seed).child("questions").stream();
    let owners: Vec<Name> =
        internet.zones().iter().flat_map(|z| z.rrsets()).filter(|s| s.rtype != Rtype::NSEC3).map(|s| s.owner.clone()).collect();
    let mut questions = Vec::with_capacity(count);
    while questions.len() < count {
        let mut name = stream.pick(&owners).clone();
        if (name.is_wildcard() && chance(&mut stream, 90)) || chance(&mut stream, 20) {
            name = name.parent().unwrap_or(name);
        }
        for _ in 0..[0, 0, 0, 1, 1, 2][stream.below(6)] {
            name = name.child(stream.pick::<&str>(LABELS).as_bytes()).unwrap_or(name);
        }
        questions.push(Question::new(name, *stream.pick(TYPES)));
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_internets_are_repeatable_and_have_everything_in_them() {
        let internet = build(1, 1_800_000_000);
        assert_eq!(internet.zones().len(), 1 + TLDS.len() + ZONES);
        let again = build(1, 1_800_000_000);
        assert_eq!(questions(&internet, 1, 50), questions(&again, 1, 50));
        let has = |rtype| internet.zones().iter().any(|z| z.rrsets().any(|s| s.rtype == rtype));
        for rtype in [Rtype::CNAME, Rtype::DNAME, Rtype::NSEC, Rtype::NSEC3, Rtype::DS] {
            assert!(has(rtype), "{rtype}");
        }
        assert!(internet.zones().iter().any(|z| z.fault().is_some()));
    }
}
