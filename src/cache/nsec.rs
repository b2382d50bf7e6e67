//! Aggressive use of a DNSSEC-validated cache: answering "no" from NSEC records that were proven before (RFC 8198).
//!
//! Holds verified NSEC RRsets by zone in canonical order, and each zone's SOA. A question that falls into a gap, whose wildcard falls
//! into a gap too, does not exist; a name that is there without the type has no data. A flood of random names in a signed zone so costs
//! its servers nothing. Positive answers from wildcards (RFC 8198 section 5.3) and NSEC3 are knowingly missing: opt-out spans, which
//! prove nothing, make the gain small.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wire::{Name, Question, Rcode, Rrset, Rtype};

/// NSEC RRsets held; at about 500 octets with their signature some 10 MB.
const MAX_RECORDS: usize = 20_000;
/// RFC 8198 section 5.4: the TTL of a synthesised answer should not be long; three hours is what RFC 2308 allows at most.
const MAX_TTL: u32 = 10_800;

/// A proven RRset and when it stops counting.
#[derive(Debug, Clone)]
struct Held {
    set: Arc<Rrset>,
    until: Duration,
}

#[derive(Debug, Default)]
struct Zone {
    spans: BTreeMap<Name, Held>,
    soa: Option<Held>,
}

#[derive(Debug, Default)]
struct Table {
    zones: HashMap<Name, Zone, ahash::RandomState>,
    /// In order of arrival: the oldest leave first.
    order: VecDeque<(Name, Name)>,
}

/// A negative answer made from proven records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthesis {
    /// NOERROR (no such type) or NXDOMAIN.
    pub rcode: Rcode,
    /// Apex of the zone that denies.
    pub zone: Name,
    /// SOA and NSEC RRsets, with signatures.
    pub authority: Vec<Arc<Rrset>>,
    /// Seconds that it may be kept.
    pub ttl: u32,
}

/// The proven gaps of signed zones.
#[derive(Debug, Default)]
pub struct Gaps(Mutex<Table>);

impl Gaps {
    /// Remembers what a Secure denial of `zone` proved, for `ttl` seconds from `now`. Only NSEC RRsets and the zone's SOA are taken.
    pub fn learn<'a>(&self, zone: &Name, records: impl Iterator<Item = &'a Rrset>, ttl: u32, now: Duration) {
        let mut table = self.table();
        let mut soa = None;
        for set in records {
            let lifetime = Duration::from_secs(u64::from(set.ttl.min(ttl).min(MAX_TTL)));
            let held = Held { set: Arc::new(set.clone()), until: now + lifetime };
            let at_home = set.owner.is_at_or_below(zone) && !set.sigs.is_empty();
            match set.rtype {
                Rtype::SOA if set.owner == *zone => soa = Some(held),
                Rtype::NSEC if at_home && set.rdatas.len() == 1 => table.remember(zone, held),
                _ => {}
            }
        }
        // Alone it denies nothing, and nothing would ever take it out again.
        if let (Some(soa), Some(zone)) = (soa, table.zones.get_mut(zone)) {
            zone.soa = Some(soa);
        }
        while table.order.len() > MAX_RECORDS {
            if let Some((zone, owner)) = table.order.pop_front() {
                table.forget(&zone, &owner);
            }
        }
    }

    /// A negative answer to `question` from what is held of a zone at or below `limit`.
    pub fn deny(&self, question: &Question, limit: &Name, now: Duration) -> Option<Synthesis> {
        let table = self.table();
        // DS belongs to the parent's side of a cut, and a cut is only known to whoever walks: the closest zone held decides.
        let start = if question.rtype == Rtype::DS { question.name.parent()? } else { question.name.clone() };
        let (apex, zone) = start
            .self_and_ancestors()
            .take_while(|n| n.is_at_or_below(limit))
            .find_map(|apex| table.zones.get(&apex).map(|zone| (apex, zone)))?;
        let soa = zone.soa.as_ref().filter(|soa| now < soa.until)?;
        let (rcode, spans) = zone.denial(question, &apex, now)?;
        let mut authority = vec![soa.set.clone()];
        let mut until = soa.until;
        for span in spans {
            until = until.min(span.until);
            if !authority.iter().any(|s| s.owner == span.set.owner && s.rtype == span.set.rtype) {
                authority.push(span.set.clone());
            }
        }
        let left = u32::try_from((until - now).as_secs()).ok()?;
        let ttl = left.min(minimum(&soa.set)).min(soa.set.ttl);
        (ttl > 0).then_some(Synthesis { rcode, zone: apex, authority, ttl })
    }

    /// Forgets everything, or the zones at or below `name`.
    pub fn flush(&self, name: Option<&Name>) {
        let mut table = self.table();
        let goes = |zone: &Name| name.is_none_or(|n| zone.is_at_or_below(n) || n.is_at_or_below(zone));
        table.zones.retain(|zone, _| !goes(zone));
        table.order.retain(|(zone, _)| !goes(zone));
    }

    /// NSEC RRsets held.
    pub fn len(&self) -> usize {
        self.table().order.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remember(&mut self, zone: &Name, held: Held) {
        let owner = held.set.owner.clone();
        if self.zones.entry(zone.clone()).or_default().spans.insert(owner.clone(), held).is_none() {
            self.order.push_back((zone.clone(), owner));
        }
    }

    fn forget(&mut self, zone: &Name, owner: &Name) {
        if let Some(held) = self.zones.get_mut(zone) {
            held.spans.remove(owner);
            if held.spans.is_empty() {
                self.zones.remove(zone);
            }
        }
    }
}

impl Zone {
    /// The RCODE and the spans that prove it.
    fn denial(&self, question: &Question, apex: &Name, now: Duration) -> Option<(Rcode, Vec<&Held>)> {
        let span = self.at_or_before(&question.name, now)?;
        let (owner, next) = (&span.set.owner, next(&span.set)?);
        if *owner == question.name {
            let has = |rtype| has_type(&span.set, rtype);
            let cut = has(Rtype::NS) && !has(Rtype::SOA);
            let wrong_side = if question.rtype == Rtype::DS { has(Rtype::SOA) } else { cut };
            let there = has(question.rtype) || has(Rtype::CNAME) || question.rtype == Rtype::ANY;
            return (!wrong_side && !there).then(|| (Rcode::NOERROR, vec![span]));
        }
        if !covers(owner, &next, &question.name, apex) || hides_below(&span.set, &question.name) {
            return None;
        }
        if next.is_below(&question.name) {
            // Something below it exists, so it does, without any type (an empty non-terminal).
            return Some((Rcode::NOERROR, vec![span]));
        }
        let shared = question.name.common_labels(owner).max(question.name.common_labels(&next));
        let wildcard = question.name.suffix(shared).wildcard()?;
        let other = self.at_or_before(&wildcard, now)?;
        let after = self::next(&other.set)?;
        let no_wildcard =
            other.set.owner != wildcard && covers(&other.set.owner, &after, &wildcard, apex) && !hides_below(&other.set, &wildcard);
        // A wildcard with something below it exists without any type (RFC 4592 section 2.2.2), and so does what it stands in for.
        let rcode = if after.is_below(&wildcard) { Rcode::NOERROR } else { Rcode::NXDOMAIN };
        no_wildcard.then(|| (rcode, vec![span, other]))
    }

    fn at_or_before(&self, name: &Name, now: Duration) -> Option<&Held> {
        let (_, held) = self.spans.range::<Name, _>((Bound::Unbounded, Bound::Included(name))).next_back()?;
        (now < held.until).then_some(held)
    }
}

/// Whether `name` lies in the gap between `owner` and `next`; the last gap of a zone ends at its apex (RFC 4034 section 4.1.1).
fn covers(owner: &Name, next: &Name, name: &Name, apex: &Name) -> bool {
    owner < name && (name < next || next == apex)
}

/// Whether the span's owner is a zone cut or a DNAME above `name`: it then says nothing about names below (RFC 6840 section 4.1).
fn hides_below(set: &Rrset, name: &Name) -> bool {
    let cut = has_type(set, Rtype::NS) && !has_type(set, Rtype::SOA);
    name.is_below(&set.owner) && (cut || has_type(set, Rtype::DNAME))
}

fn next(set: &Rrset) -> Option<Name> {
    Name::read(set.rdatas.first()?, &mut 0).ok()
}

/// Whether the type bit maps list `rtype` (RFC 4034 section 4.1.2).
fn has_type(set: &Rrset, rtype: Rtype) -> bool {
    let Some(rdata) = set.rdatas.first() else { return false };
    let mut at = 0;
    if Name::read(rdata, &mut at).is_err() {
        return false;
    }
    let [window, low] = rtype.0.to_be_bytes();
    let mut maps = &rdata[at..];
    while let [w, length, rest @ ..] = maps {
        let (map, after) = rest.split_at(usize::from(*length).min(rest.len()));
        if *w == window {
            return map.get(usize::from(low / 8)).is_some_and(|octet| octet & 0x80 >> (low % 8) != 0);
        }
        maps = after;
    }
    false
}

fn minimum(soa: &Rrset) -> u32 {
    soa.rdatas.first().and_then(|r| r.last_chunk::<4>()).map_or(0, |m| u32::from_be_bytes(*m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn nsec(owner: &str, next: &str, types: &[Rtype]) -> Rrset {
        let mut map = [0u8; 7];
        types.iter().for_each(|t| map[usize::from(t.0 / 8)] |= 0x80 >> (t.0 % 8));
        let rdata = [name(next).wire(), &[0, 7], &map].concat();
        Rrset { sigs: vec![vec![0; 20].into()], ..Rrset::new(name(owner), Rtype::NSEC, 600, vec![rdata.into()]) }
    }

    fn soa() -> Rrset {
        let rdata = [&[0, 0][..], &[0; 16], &300u32.to_be_bytes()].concat();
        Rrset::new(name("example"), Rtype::SOA, 3600, vec![rdata.into()])
    }

    fn gaps(sets: &[Rrset]) -> Gaps {
        let gaps = Gaps::default();
        gaps.learn(&name("example"), sets.iter().chain([&soa()]), 3600, Duration::ZERO);
        gaps
    }

    fn ask(gaps: &Gaps, text: &str, rtype: Rtype) -> Option<Rcode> {
        gaps.deny(&Question::new(name(text), rtype), &Name::root(), Duration::from_secs(1)).map(|s| s.rcode)
    }

    /// RFC 8198 section 5.1: both the name and its wildcard must be covered.
    #[test]
    fn a_name_is_denied_only_with_its_wildcard() {
        let whole = gaps(&[nsec("example", "b.example", &[Rtype::SOA, Rtype::NS]), nsec("b.example", "m.example", &[Rtype::A])]);
        assert_eq!(ask(&whole, "c.example", Rtype::A), Some(Rcode::NXDOMAIN));
        assert_eq!(ask(&whole, "x.c.example", Rtype::A), Some(Rcode::NXDOMAIN));
        assert_eq!(ask(&whole, "z.example", Rtype::A), None);
        let without = gaps(&[nsec("b.example", "m.example", &[Rtype::A])]);
        assert_eq!(ask(&without, "c.example", Rtype::A), None);
        let wildcard = gaps(&[nsec("*.example", "m.example", &[Rtype::A]), nsec("example", "*.example", &[Rtype::SOA])]);
        assert_eq!(ask(&wildcard, "c.example", Rtype::A), None);
    }

    /// RFC 4035 section 3.1.3.1; RFC 6840 section 4.1 for cuts and DNAME.
    #[test]
    fn a_type_is_denied_where_the_name_is_without_it() {
        let held = gaps(&[
            nsec("example", "a.example", &[Rtype::SOA, Rtype::NS]),
            nsec("a.example", "cut.example", &[Rtype::A]),
            nsec("cut.example", "d.example", &[Rtype::NS]),
            nsec("d.example", "x.e.example", &[Rtype::DNAME]),
            nsec("x.e.example", "example", &[Rtype::CNAME]),
        ]);
        assert_eq!(ask(&held, "a.example", Rtype::AAAA), Some(Rcode::NOERROR));
        assert_eq!(ask(&held, "a.example", Rtype::A), None);
        assert_eq!(ask(&held, "cut.example", Rtype::A), None);
        assert_eq!(ask(&held, "cut.example", Rtype::DS), Some(Rcode::NOERROR));
        assert_eq!(ask(&held, "www.cut.example", Rtype::A), None);
        assert_eq!(ask(&held, "www.d.example", Rtype::A), None);
        assert_eq!(ask(&held, "x.e.example", Rtype::A), None);
        assert_eq!(ask(&held, "e.example", Rtype::A), Some(Rcode::NOERROR));
        assert_eq!(ask(&held, "zz.example", Rtype::A), Some(Rcode::NXDOMAIN));
        assert_eq!(ask(&held, "example", Rtype::DS), None);
    }

    /// RFC 4592 section 2.2.2: `*.example` exists because of `x.*.example`.
    #[test]
    fn a_wildcard_without_data_of_its_own_makes_no_data() {
        let held = gaps(&[
            nsec("example", "x.*.example", &[Rtype::SOA, Rtype::NS]),
            nsec("x.*.example", "m.example", &[Rtype::A]),
            nsec("m.example", "example", &[Rtype::A]),
        ]);
        assert_eq!(ask(&held, "c.example", Rtype::A), Some(Rcode::NOERROR));
    }

    /// NSEC3 zones bring nothing but their SOA; it must not be kept for ever.
    #[test]
    fn a_soa_without_spans_is_not_kept() {
        let held = gaps(&[]);
        assert!(held.table().zones.is_empty());
    }

    #[test]
    fn what_has_expired_or_lies_outside_the_limit_denies_nothing() {
        let held = gaps(&[nsec("example", "example", &[Rtype::SOA, Rtype::NS])]);
        let question = Question::new(name("a.example"), Rtype::A);
        assert!(held.deny(&question, &Name::root(), Duration::from_secs(599)).is_some());
        assert!(held.deny(&question, &Name::root(), Duration::from_secs(600)).is_none());
        assert!(held.deny(&question, &name("a.example"), Duration::from_secs(1)).is_none());
        held.flush(Some(&name("www.example")));
        assert!(held.is_empty());
    }

    proptest! {
        /// For any zone and any part of its chain: what is denied is really not there.
        #[test]
        fn nothing_that_exists_is_ever_denied(
            names in proptest::collection::btree_set("([a-d]{1,2}|\\*)(\\.([a-d]|\\*)){0,2}", 1..8),
            known in proptest::collection::vec(any::<bool>(), 9),
            asked in "([a-d]{1,2}|\\*)(\\.([a-d]|\\*)){0,2}",
        ) {
            let owners: BTreeSet<Name> = names.iter().map(|n| name(&format!("{n}.example"))).chain([name("example")]).collect();
            let list: Vec<Name> = owners.iter().cloned().collect();
            let sets: Vec<Rrset> = list
                .iter()
                .enumerate()
                .filter(|(i, _)| known[*i])
                .map(|(i, owner)| nsec(&owner.to_string(), &list[(i + 1) % list.len()].to_string(), &[Rtype::A]))
                .collect();
            let held = gaps(&sets);
            let asked = name(&format!("{asked}.example"));
            let there = |name: &Name| list.iter().any(|n| n.is_at_or_below(name));
            let exists = there(&asked);
            let wildcard = asked.self_and_ancestors().find(|n| there(n)).unwrap().wildcard().unwrap();
            let (stands_in, empty) = (!exists && there(&wildcard), !owners.contains(if exists { &asked } else { &wildcard }));
            let denied = held.deny(&Question::new(asked.clone(), Rtype::A), &Name::root(), Duration::from_secs(1)).map(|s| s.rcode);
            match denied {
                Some(Rcode::NXDOMAIN) => prop_assert!(!exists && !stands_in, "{asked} exists"),
                Some(_) => prop_assert!((exists || stands_in) && empty, "{asked} has data"),
                None => {}
            }
            if known.iter().all(|k| *k) && ((!exists && !stands_in) || empty) {
                prop_assert!(denied.is_some(), "the whole chain denies {asked}");
            }
        }
    }
}
