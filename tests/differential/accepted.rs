//! Whether two answers agree; and the disagreements that are accepted, each by the name under which `accepted.txt` gives its reason.

use postern::lab::{Denial, Fault, Internet, Zone};
use postern::wire::{Flags, Name, Rcode, Rtype};

use crate::ask::{Ask, Seen};

/// What is thought of two answers to the same question.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    Agreed,
    /// They differ, and the RFC line in `accepted.txt` is on our side.
    ByName(&'static str),
    No,
}

const REASONS: &str = include_str!("accepted.txt");

/// Judges the answers to `ask`.
pub fn judge(internet: &Internet, ask: &Ask, ours: &Seen, theirs: &Seen) -> Accepted {
    let alone = ours.answer.is_empty() || ours.flags.has(Flags::AD);
    let negative = !ours.has(ask.question.rtype) && matches!(ours.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
    let same = ours.rcode == theirs.rcode
        && ours.flags == theirs.flags
        && ours.edns == theirs.edns
        && if ours.rcode == Rcode::SERVFAIL { ours.answer.is_empty() } else { ours.answer == theirs.answer }
        && !ours.unwanted
        && (!negative || ours.soa == theirs.soa)
        // Behind an alias Unbound shows what the zones on the way proved besides; where nothing is Secure nobody needs it.
        && (!negative || !alone || ours.denial == theirs.denial);
    if same {
        return Accepted::Agreed;
    }
    match name(internet, ask, ours, theirs) {
        Some(name) if REASONS.lines().any(|line| line.split(':').next() == Some(name)) => Accepted::ByName(name),
        Some(name) => panic!("accepted.txt gives no reason for {name}"),
        None => Accepted::No,
    }
}

/// Which of the accepted disagreements this is.
fn name(internet: &Internet, ask: &Ask, ours: &Seen, theirs: &Seen) -> Option<&'static str> {
    let rtype = ask.question.rtype;
    let same_but_ad =
        ours.rcode == theirs.rcode && ours.answer == theirs.answer && ours.soa == theirs.soa && ours.flags.0 ^ theirs.flags.0 == Flags::AD;
    if ask.checking_disabled && same_but_ad {
        return Some("ad-beside-cd");
    }
    if ask.checking_disabled && theirs.rcode == Rcode::SERVFAIL && ours.rcode != Rcode::SERVFAIL {
        return Some("servfail-beside-cd");
    }
    let name = &ask.question.name;
    let heavy = || ours.names().chain(theirs.names()).chain([name]).any(|name| is_below_heavy_nsec3(internet, name));
    let bogus = ours.rcode == Rcode::SERVFAIL && !theirs.flags.has(Flags::AD);
    if (bogus || same_but_ad && ours.flags.has(Flags::AD)) && heavy() {
        return Some("signed-below-heavy-nsec3");
    }
    if rtype == Rtype::NS
        && ask.checking_disabled
        && ours.rcode == theirs.rcode
        && !theirs.answer.is_empty()
        && theirs.answer.is_subset(&ours.answer)
        && ours.answer.difference(&theirs.answer).all(|(_, t, _)| *t == Rtype::RRSIG)
    {
        return Some("ns-of-the-referral");
    }
    let fails_alone = theirs.rcode == Rcode::SERVFAIL && ours.rcode != Rcode::SERVFAIL;
    if fails_alone && ours.names().chain([name]).any(|name| is_below_bare_ent(internet, name)) {
        return Some("ds-below-an-undenied-name");
    }
    let owns = |seen: &Seen, rtype| seen.answer.iter().any(|(owner, t, _)| *t == rtype && owner == name);
    let dname = |seen: &Seen| seen.answer.iter().any(|(owner, t, _)| *t == Rtype::DNAME && name.is_below(owner));
    let servfail = theirs.rcode == Rcode::SERVFAIL;
    match rtype {
        Rtype::CNAME | Rtype::DNAME if dname(ours) || dname(theirs) => return Some("alias-types-below-dname"),
        Rtype::CNAME if owns(ours, rtype) && ours.answer.is_subset(&theirs.answer) => return Some("cname-followed-for-type-cname"),
        Rtype::NSEC if ours.answer.iter().any(|(owner, t, _)| *t == rtype && has_cname(internet, owner)) => {
            return Some("nsec-beside-cname");
        }
        _ => {}
    }
    let targets = ours.answer.union(&theirs.answer).filter(|(_, t, _)| *t == Rtype::CNAME).filter_map(|(.., to)| Name::from_wire(to).ok());
    let chain: Vec<Name> = targets.chain([name.clone()]).collect();
    let is_alias_above = |owner: &Name| has_cname(internet, owner) && chain.iter().any(|n| n.is_below(owner));
    let stray = theirs.answer.difference(&ours.answer).any(|(owner, t, _)| *t == Rtype::CNAME && is_alias_above(owner));
    let met = || chain.iter().flat_map(|n| n.self_and_ancestors().skip(1)).any(|n| has_cname(internet, &n));
    if stray || servfail && met() {
        return Some("alias-met-while-minimising");
    }
    let made_by = |dname: &Name| ours.answer.iter().filter(|(owner, t, _)| *t == Rtype::CNAME && owner.is_below(dname)).count();
    if servfail && ours.answer.iter().any(|(owner, t, _)| *t == Rtype::DNAME && made_by(owner) > 1) {
        return Some("one-dname-twice");
    }
    None
}

/// Whether the name owns a CNAME, or a wildcard above it does.
fn has_cname(internet: &Internet, name: &Name) -> bool {
    let owners: Vec<Name> = name.self_and_ancestors().skip(1).filter_map(|n| n.wildcard()).chain([name.clone()]).collect();
    internet.zones().iter().any(|z| owners.iter().any(|owner| z.rrset(owner, Rtype::CNAME).is_some()))
}

/// Whether an empty non-terminal of a zone with more than 50 iterations lies between that zone and the one that holds `name`.
fn is_below_heavy_nsec3(internet: &Internet, name: &Name) -> bool {
    let heavy = |z: &Zone| matches!(z.signing().map(|s| &s.denial), Some(Denial::Nsec3(params)) if params.iterations > 50);
    is_below_ent_of(internet, name, heavy)
}

/// Whether an empty non-terminal of a zone without NSEC and NSEC3, or with such as prove nothing, lies between that zone and the one that holds `name`.
fn is_below_bare_ent(internet: &Internet, name: &Name) -> bool {
    is_below_ent_of(internet, name, |z| matches!(z.fault(), Some(Fault::MissingDenial | Fault::BadDenial)))
}

/// Whether `name` lies in a zone whose parent is such a zone and holds an empty non-terminal between the two.
fn is_below_ent_of(internet: &Internet, name: &Name, is_such: impl Fn(&Zone) -> bool) -> bool {
    let zones: Vec<_> = internet.zones().iter().filter(|z| name.is_at_or_below(z.apex())).collect();
    let far_below =
        |upper: &Zone, lower: &Zone| lower.apex().is_below(upper.apex()) && lower.apex().label_count() > upper.apex().label_count() + 1;
    zones.iter().any(|upper| is_such(upper) && zones.iter().any(|lower| far_below(upper, lower)))
}

#[test]
fn every_reason_cites_an_rfc_and_the_list_is_short() {
    let reasons: Vec<&str> = REASONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(!reasons.is_empty() && REASONS.lines().count() <= 30);
    for reason in reasons {
        assert!(reason.split_once(": ").is_some_and(|(_, text)| text.contains("RFC ")), "{reason}");
    }
}
