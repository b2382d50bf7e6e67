//! One client query on its way: what all its sub-queries share, and how a resolution fails.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::budget::{Budget, Spent};
use super::settings::Settings;
use crate::cache::rrset::{Data, Entry, Key, Trust};
use crate::validate::Work;
use crate::wire::{Ede, Name, Question, Rcode, Rtype};

/// One query sent upstream, for `postern why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The server.
    pub server: SocketAddr,
    /// The zone that it was asked for.
    pub zone: Name,
    /// What it was asked.
    pub question: Question,
    /// What came of it, in a word or two.
    pub result: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Contacts remembered of one query; above the limit of queries nothing more can happen anyway.
const MAX_CONTACTS: usize = 256;

/// What of the cache a task takes without asking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Reuse {
    /// Whatever has not expired.
    #[default]
    Fresh,
    /// What has not expired soon: the rest is fetched anew before anybody misses it.
    Lasting,
    /// Whatever has not expired, but for this question: it is asked.
    AllBut(Question),
}

impl Reuse {
    /// Whether `entry` may answer `question`.
    pub(super) fn takes(&self, question: &Question, entry: &Entry, now: Duration) -> bool {
        entry.remaining(now).is_some()
            && match self {
                Reuse::Fresh => true,
                Reuse::Lasting => !entry.is_ending(now),
                Reuse::AllBut(asked) => asked != question,
            }
    }
}

/// What the sub-queries of one client query share.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) settings: Arc<Settings>,
    pub(super) budget: Budget,
    pub(super) work: Work,
    /// When it began: what the cache holds from before may be out of date.
    pub(super) started: Duration,
    /// What of the cache it takes.
    pub(super) reuse: Reuse,
    /// Servers that gave Bogus data, by question: not asked the same again.
    avoid: Mutex<Vec<(SocketAddr, Question)>>,
    /// DS and DNSKEY taken for validation, and where from.
    evidence: Mutex<Vec<(Key, Question, Option<SocketAddr>)>>,
    contacts: Option<Mutex<Vec<Contact>>>,
}

impl Task {
    pub(super) fn new(settings: Arc<Settings>, work: Work, now: Duration, explain: bool) -> Task {
        let budget = Budget::new(settings.limits, now);
        let contacts = explain.then(Mutex::default);
        Task { settings, budget, work, started: now, reuse: Reuse::Fresh, avoid: Mutex::default(), evidence: Mutex::default(), contacts }
    }

    pub(super) fn avoids(&self, server: SocketAddr, question: &Question) -> bool {
        self.avoid.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(s, q)| *s == server && q == question)
    }

    /// How often data of this server failed, whatever was asked: whoever stripped one signature strips the next one too.
    pub(super) fn suspicion(&self, server: SocketAddr) -> usize {
        self.avoid.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|(s, _)| *s == server).count()
    }

    /// Whether it is asked again because what somebody said to it failed.
    pub(super) fn asks_again(&self, question: &Question) -> bool {
        self.avoid.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(_, q)| q == question)
    }

    pub(super) fn avoid(&self, server: SocketAddr, question: &Question) {
        self.avoid.lock().unwrap_or_else(PoisonError::into_inner).push((server, question.clone()));
    }

    pub(super) fn took_evidence(&self, key: Key, question: &Question, from: Option<SocketAddr>) {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push((key, question.clone(), from));
    }

    /// The DS and DNSKEY taken so far; the list starts anew.
    pub(super) fn drop_evidence(&self) -> Vec<(Key, Question, Option<SocketAddr>)> {
        std::mem::take(&mut *self.evidence.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `postern why` asks.
    pub(super) fn explains(&self) -> bool {
        self.contacts.is_some()
    }

    pub(super) fn note(&self, contact: impl FnOnce() -> Contact) {
        if let Some(contacts) = &self.contacts {
            let mut contacts = contacts.lock().unwrap_or_else(PoisonError::into_inner);
            if contacts.len() < MAX_CONTACTS {
                contacts.push(contact());
            }
        }
    }

    pub(super) fn contacts(self) -> Vec<Contact> {
        self.contacts.map(|c| c.into_inner().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }
}

/// Which name servers' addresses are being looked up right now, from the outside in; stops loops and depth.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Vec<(Name, Rtype)>);

impl Trace {
    /// One level deeper; `None` where that is a loop or too deep.
    pub(super) fn deeper(&self, name: &Name, rtype: Rtype, limit: u8) -> Option<Trace> {
        if self.0.len() >= usize::from(limit) || self.0.iter().any(|(n, t)| n == name && *t == rtype) {
            return None;
        }
        let mut next = self.0.clone();
        next.push((name.clone(), rtype));
        Some(Trace(next))
    }
}

/// Why a question got no answer, gathered over all servers tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// The zone whose servers failed.
    pub(super) zone: Option<Name>,
    /// Some were silent or unreachable.
    pub(super) silent: bool,
    /// Some are lame.
    pub(super) lame: bool,
    /// Some sent what is no answer.
    pub(super) garbled: bool,
    /// The last response code that was no answer, and who sent it.
    pub(super) refused: Option<(SocketAddr, Rcode)>,
    /// The budget ended it.
    pub(super) spent: bool,
    /// It is remembered from an earlier attempt.
    pub(super) cached: bool,
    /// Extended errors that upstream gave, or that were remembered.
    pub(super) ede: Vec<Ede>,
}

impl From<Spent> for Failure {
    fn from(_: Spent) -> Failure {
        Failure { spent: true, ..Failure::default() }
    }
}

impl Failure {
    /// Nothing but silence: the network, not the zone, may be at fault.
    pub(super) fn is_silence(&self) -> bool {
        self.silent && !self.lame && !self.garbled && self.refused.is_none()
    }

    /// The entry that remembers it for `ttl` seconds (RFC 9520).
    pub(super) fn entry(&self, ttl: u32, in_a_row: u32, now: Duration) -> Entry {
        Entry {
            data: Data::Failure { ede: self.errors(), in_a_row },
            trust: Trust::Authoritative,
            judged: None,
            zone: self.zone.clone().unwrap_or_else(Name::root),
            zone_known: false,
            stored: now,
            ttl,
        }
    }

    /// The Extended DNS Errors that say so (RFC 8914 section 4).
    pub(super) fn errors(&self) -> Vec<Ede> {
        let mut ede = self.ede.clone();
        if self.cached {
            ede.insert(0, Ede::new(13, "an attempt failed a moment ago"));
            return ede;
        }
        let zone = self.zone.as_ref().map(Name::to_string).unwrap_or_default();
        if let Some((server, rcode)) = self.refused {
            ede.push(Ede::new(23, format!("{} answered {rcode} for {zone}", server.ip())));
        }
        if self.garbled {
            ede.push(Ede::new(24, format!("a server of {zone} sent invalid data")));
        }
        if self.spent {
            ede.push(Ede::new(0, "resolving it costs more than one query may"));
        }
        if self.silent || self.lame || ede.is_empty() {
            ede.push(Ede::new(22, format!("no server of {zone} gave an answer")));
        }
        ede
    }
}
