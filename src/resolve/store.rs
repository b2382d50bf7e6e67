//! Between replies and the cache: a step becomes an entry, an entry becomes a reply for the validator.
//!
//! RFC 2181 section 8 (TTLs), RFC 2308 sections 3 and 5 (a negative answer lives for the least of the SOA's TTL and MINIMUM, and is not
//! kept without a SOA), RFC 8020 (nothing exists below a name that does not), RFC 8198 section 5 rests on the same entries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Outcome;
use super::scrub::{self, Referral, Step};
use super::settings::Settings;
use crate::cache::nsec::Synthesis;
use crate::cache::rrset::{Data, Entry, Judged, Key, RrsetCache, Slot, Trust};
use crate::validate::{Reply, Status};
use crate::wire::{Ede, Name, Question, Rcode, Rrset, Rtype};

/// One step of an answer: the effective question and the entry that answers it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) question: Question,
    pub(super) key: Key,
    pub(super) entry: Arc<Entry>,
    /// Where the chain goes on.
    pub(super) next: Option<Name>,
    /// Who said so; `None` from the cache.
    pub(super) from: Option<SocketAddr>,
}

/// The answer of one server, scrubbed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) steps: Vec<Step>,
    pub(super) zone: Name,
    pub(super) zone_known: bool,
    pub(super) from: SocketAddr,
}

impl Link {
    /// NOERROR, NXDOMAIN, or YXDOMAIN for a DNAME whose target is too long.
    pub(super) fn rcode(&self) -> Rcode {
        match &self.entry.data {
            Data::Negative { rcode, .. } => *rcode,
            _ if self.key.slot == Slot::Type(Rtype::DNAME) && self.question.name != self.key.name && self.next.is_none() => Rcode::YXDOMAIN,
            _ => Rcode::NOERROR,
        }
    }

    /// Whether a client may have it as an answer: a negative one has its SOA (RFC 2308 section 3). What a referral says of a DS that is
    /// not there serves the validator only.
    pub(super) fn is_whole(&self) -> bool {
        match &self.entry.data {
            Data::Negative { authority, .. } => authority.iter().any(|s| s.rtype == Rtype::SOA),
            _ => true,
        }
    }

    /// Whether it was judged, and Bogus.
    pub(super) fn is_bogus(&self) -> bool {
        self.entry.judged.as_ref().is_some_and(|j| matches!(j.status, Status::Bogus(_)))
    }

    /// The RRsets of the answer section: those of the entry, and the CNAME that a DNAME makes.
    pub(super) fn answer(&self) -> Vec<Arc<Rrset>> {
        let Data::Positive { answer, .. } = &self.entry.data else { return Vec::new() };
        let mut sets = answer.clone();
        if self.question.name != self.key.name
            && self.key.slot == Slot::Type(Rtype::DNAME)
            && let Some(Some(Ok(cname))) = answer.first().map(|dname| scrub::synthesise(&self.question.name, dname))
        {
            sets.push(Arc::new(cname));
        }
        sets
    }

    /// The RRsets of the authority section.
    pub(super) fn authority(&self) -> &[Arc<Rrset>] {
        match &self.entry.data {
            Data::Positive { proof, .. } => proof,
            Data::Negative { authority, .. } => authority,
            _ => &[],
        }
    }

    /// The same in the form that the validator judges, with the lifetime that is left of it: what is proven by it lives no longer.
    pub(super) fn reply(&self, now: Duration) -> Reply {
        // What is used once was received just now.
        let left = if self.entry.ttl == 0 { u32::MAX } else { self.entry.remaining(now).unwrap_or(0) };
        let own = |sets: &[Arc<Rrset>]| sets.iter().map(|s| Rrset { ttl: s.ttl.min(left), ..(**s).clone() }).collect();
        Reply {
            question: self.question.clone(),
            zone: self.entry.zone.clone(),
            zone_known: self.entry.zone_known,
            rcode: self.rcode(),
            answer: own(&self.answer()),
            authority: own(self.authority()),
        }
    }

    /// A link that rests on no entry of the cache.
    pub(super) fn synthesised(question: &Question, synthesis: Synthesis, now: Duration) -> Link {
        let entry = Entry {
            data: Data::Negative { rcode: synthesis.rcode, authority: synthesis.authority },
            trust: Trust::NonAuthoritative,
            judged: Some(Judged { status: Status::Secure, ede: vec![Ede::new(29, "from NSEC records proven before")] }),
            zone: synthesis.zone,
            zone_known: true,
            stored: now,
            ttl: synthesis.ttl,
        };
        let key = Key::rrset(&question.name, question.rtype);
        Link { question: question.clone(), key, entry: Arc::new(entry), next: None, from: None }
    }

    /// A link that is made here: a local record or a special-use name.
    pub(super) fn made_here(question: &Question, outcome: Outcome, now: Duration) -> Link {
        let data = match outcome.answer.is_empty() {
            true => Data::Negative { rcode: outcome.rcode, authority: outcome.authority },
            false => Data::Positive { answer: outcome.answer, proof: Vec::new() },
        };
        let entry = Entry {
            data,
            trust: Trust::Authoritative,
            judged: Some(Judged { status: outcome.status, ede: outcome.ede }),
            zone: question.name.clone(),
            zone_known: true,
            stored: now,
            ttl: outcome.ttl,
        };
        let next = match &entry.data {
            Data::Positive { answer, .. } if !matches!(question.rtype, Rtype::CNAME | Rtype::ANY) => {
                answer.first().filter(|s| s.rtype == Rtype::CNAME).and_then(|s| s.target())
            }
            _ => None,
        };
        let key = Key::rrset(&question.name, question.rtype);
        Link { question: question.clone(), key, entry: Arc::new(entry), next, from: None }
    }

    /// The link that `entry` under `key` makes for `question`; `None` where it does not answer it.
    fn new(question: &Question, key: Key, entry: Arc<Entry>, from: Option<SocketAddr>) -> Option<Link> {
        let next = match &entry.data {
            Data::Negative { .. } => None,
            Data::Positive { answer, .. } => match key.slot {
                Slot::Type(Rtype::DNAME) if key.name != question.name => match scrub::synthesise(&question.name, answer.first()?)? {
                    Ok(cname) => cname.target(),
                    Err(_) => None,
                },
                Slot::Type(Rtype::CNAME) if question.rtype != Rtype::CNAME => Some(answer.first()?.target()?),
                _ => None,
            },
            Data::Cut(_) | Data::Failure { .. } => return None,
        };
        Some(Link { question: question.clone(), key, entry, next, from })
    }
}

/// What the cache says to `question`, if `usable` takes it: the type itself, the name's non-existence, a CNAME, a DNAME above, or the
/// proven non-existence of an ancestor. Nothing above `limit` is looked at: what the public tree says of a routed name does not count.
pub(super) fn cached(cache: &RrsetCache, question: &Question, limit: &Name, usable: impl Fn(&Entry) -> bool) -> Option<Link> {
    let find = |key: Key| cache.get(&key).filter(|e| usable(e)).and_then(|entry| Link::new(question, key, entry, None));
    let direct = find(Key::rrset(&question.name, question.rtype));
    // What the parent says to DS is kept apart: below a route the two sides of a cut may disagree about the name itself.
    let nxdomain = if question.rtype == Rtype::DS { None } else { find(Key::nxdomain(&question.name)) };
    // Where both are held the later one counts: the name came or went in between.
    match (direct, nxdomain) {
        // But what failed validation does not hide what did not (RFC 4035 section 4.7).
        (Some(direct), Some(nx)) => {
            let hidden = nx.is_bogus() && !direct.is_bogus();
            return Some(if nx.entry.stored > direct.entry.stored && !hidden { nx } else { direct });
        }
        (Some(one), None) | (None, Some(one)) => return Some(one),
        (None, None) => {}
    }
    // NSEC and RRSIG stand beside a CNAME (RFC 4035 section 2.5), so it leads away from neither. DS is the parent's to answer, and what
    // is cached of an alias may be the child's word (section 3.1.4.1); a zone's keys are at its apex, where no alias belongs.
    if !matches!(question.rtype, Rtype::CNAME | Rtype::ANY | Rtype::NSEC | Rtype::RRSIG | Rtype::DS | Rtype::DNSKEY)
        && let Some(link) = find(Key::rrset(&question.name, Rtype::CNAME))
    {
        // A negative entry there says only that there is no CNAME.
        if link.next.is_some() {
            return Some(link);
        }
    }
    question.name.self_and_ancestors().skip(1).take_while(|n| n.is_at_or_below(limit)).find_map(|ancestor| {
        let dname = find(Key::rrset(&ancestor, Rtype::DNAME)).filter(|l| matches!(l.entry.data, Data::Positive { .. }));
        let secure = |l: &Link| l.entry.judged.as_ref().is_some_and(|j| j.status == Status::Secure);
        dname.or_else(|| find(Key::nxdomain(&ancestor)).filter(secure))
    })
}

/// Stores the steps of an answer and gives them as links; steps that must not be kept are links all the same.
pub(super) fn store(cache: &RrsetCache, found: Found, settings: &Settings, now: Duration) -> Vec<Link> {
    let mut links = Vec::new();
    for step in found.steps {
        let trust = if step.authoritative { Trust::Authoritative } else { Trust::NonAuthoritative };
        let (key, ttl) = if step.is_negative() {
            let key = match step.rcode {
                Rcode::NXDOMAIN if step.question.rtype != Rtype::DS => Key::nxdomain(&step.question.name),
                _ => Key::rrset(&step.question.name, step.question.rtype),
            };
            let soa = step.soa().map(|soa| soa.ttl.min(minimum(soa)).max(settings.min_ttl).min(settings.max_negative_ttl));
            (key, soa)
        } else {
            let first = &step.answer[0];
            let key = match step.question.rtype {
                Rtype::ANY if step.next.is_none() => Key::rrset(&step.question.name, Rtype::ANY),
                _ => Key::rrset(&first.owner, first.rtype),
            };
            let sets = step.answer.iter().chain(&step.authority);
            (key, sets.map(|s| s.ttl).min().map(|ttl| ttl.max(settings.min_ttl).min(settings.max_ttl)))
        };
        let keep = ttl.is_some();
        // A client that is told a shorter time than we keep it for would ask again for nothing.
        let raised = |set: Rrset| Arc::new(Rrset { ttl: set.ttl.max(settings.min_ttl), ..set });
        let arcs = |sets: Vec<Rrset>| sets.into_iter().map(raised).collect::<Vec<_>>();
        let data = if step.is_negative() {
            Data::Negative { rcode: step.rcode, authority: arcs(step.authority) }
        } else {
            let mut answer = step.answer;
            if key.slot == Slot::Type(Rtype::DNAME) {
                answer.truncate(1);
            }
            Data::Positive { answer: arcs(answer), proof: arcs(step.authority) }
        };
        let (zone, zone_known) = (found.zone.clone(), found.zone_known);
        let entry = Entry { data, trust, judged: None, zone, zone_known, stored: now, ttl: ttl.unwrap_or(0) };
        let entry = if keep { cache.offer(key.clone(), entry) } else { Arc::new(entry) };
        let Some(link) = Link::new(&step.question, key, entry, Some(found.from)) else { break };
        let open = link.next == step.next;
        links.push(link);
        if !open {
            break;
        }
    }
    links
}

/// Stores a referral: the zone cut, never longer than its parent's, and what the parent said of its DS.
pub(super) fn store_referral(cache: &RrsetCache, parent: &Name, until: Duration, referral: &Referral, settings: &Settings, now: Duration) {
    let left = u32::try_from(until.saturating_sub(now).as_secs()).unwrap_or(u32::MAX);
    let entry = |data: Data, ttl: u32| Entry {
        data,
        trust: Trust::Authoritative,
        judged: None,
        zone: parent.clone(),
        zone_known: true,
        stored: now,
        ttl: ttl.min(settings.max_ttl),
    };
    let child = &referral.delegation.zone;
    cache.offer(Key::cut(child), entry(Data::Cut(referral.delegation.clone()), referral.ttl.min(left)));
    let Some(ttl) = referral.ds.iter().map(|s| s.ttl).min() else { return };
    let sets: Vec<Arc<Rrset>> = referral.ds.iter().cloned().map(Arc::new).collect();
    let data = match sets[0].rtype {
        Rtype::DS => Data::Positive { answer: sets, proof: Vec::new() },
        _ => Data::Negative { rcode: Rcode::NOERROR, authority: sets },
    };
    let key = Key::rrset(child, Rtype::DS);
    // A judged answer to a real DS query says more than the same records in a referral.
    if cache.fresh(&key, now).is_none() {
        cache.offer(key, entry(data, ttl));
    }
}

/// MINIMUM of a SOA (RFC 2308 section 4): the last 32 bits of its RDATA.
fn minimum(soa: &Rrset) -> u32 {
    soa.rdatas.first().and_then(|r| r.last_chunk::<4>()).map_or(0, |m| u32::from_be_bytes(*m))
}
