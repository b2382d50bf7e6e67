//! From a question to an outcome: follow the chain of aliases, have each step judged, put the answer together.
//!
//! RFC 1034 section 5.2.2 (aliases), RFC 6840 section 5.9 (CD), RFC 8767 (stale data), RFC 9520 (remembered failures). Every step is judged
//! by itself and the weakest status counts for the whole.

use std::sync::Arc;
use std::time::Duration;

use super::settings::{Route, RouteKind};
use super::store::{self, Found, Link};
use super::task::{Failure, Reuse, Task, Trace};
use super::{Asked, Clock, Exchange, Outcome, Resolver, rebinding, route};
use crate::cache::rrset::{Data, Entry, Judged, Key};
use crate::validate::{Bogus, Insecurity, NoReply, Reply, Source, Status, Verdict, When};
use crate::wire::{Ede, Name, Question, Rcode, Rrset, Rtype};

/// Lifetime of a Bogus verdict in seconds (RFC 4035 section 4.7: not long, so that a repair is seen; long enough to spare the zone).
const BOGUS_TTL: u32 = 60;
/// Lifetime of the first failure in seconds; it doubles with each failure in a row (RFC 9520 section 3.2: at least 1, at most 300).
const FAILURE_TTL: u32 = 2;
/// Longest lifetime of a failure that a server spoke.
const FAILURE_TTL_MAX: u32 = 300;
/// Longest lifetime, in seconds, of what recursion says in place of a route's servers: they are asked again soon.
const STAND_IN_TTL: u32 = 30;
/// Longest lifetime of a failure by silence: a link that comes back must be used within 10 s.
const SILENCE_TTL_MAX: u32 = 5;

/// What the chain adds up to so far.
struct Chain {
    outcome: Outcome,
    names: Vec<Name>,
}

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Resolves one client's question. Never fails: what goes wrong is an outcome too.
    pub(super) async fn follow(&self, task: &Task, original: &Question, asked: Asked) -> (Outcome, Vec<Verdict>) {
        let mut chain = Chain { outcome: empty(), names: Vec::new() };
        let mut verdicts = Vec::new();
        let mut question = original.clone();
        let mut ahead: Vec<Link> = Vec::new();
        loop {
            if chain.names.contains(&question.name) || chain.names.len() > task.budget.limits.aliases {
                let ede = Ede::new(0, "the chain of aliases is too long or a loop");
                return (self.failed(original, asked, vec![ede], false), verdicts);
            }
            let position = ahead.iter().position(|l| l.question == question);
            let ready = || position.map(|i| ahead.swap_remove(i)).or_else(|| self.denied(task, &question, asked));
            let fetched = match self.made_link(&question, &task.settings).or_else(ready) {
                Some(link) => Ok(link),
                // What one query could not afford it could not afford a moment later: remembered as this question's failure, not as one
                // of the name that its aliases happened to have reached.
                None if question != *original && self.failed_lately(original) => Err(Failure { cached: true, ..Failure::default() }),
                None => self.lookup(task, &question, &Trace::default()).await.map(|mut links| {
                    let first = links.remove(0);
                    ahead = links;
                    first
                }),
            };
            let link = match fetched {
                Ok(link) => link,
                Err(failure) => {
                    self.remember_failure(if failure.spent { original } else { &question }, &failure);
                    return (self.failed(original, asked, failure.errors(), true), verdicts);
                }
            };
            let first = question == *original;
            let (link, judged, ttl_cap) = if asked.checking_disabled {
                let judged = link.entry.judged.clone().unwrap_or(Judged { status: Status::Indeterminate, ede: Vec::new() });
                (link, judged, u32::MAX)
            } else {
                self.judge_with_retries(task, link, first, &mut verdicts).await
            };
            if !asked.checking_disabled && ran_out(task, judged.status, first) {
                let failure = Failure { zone: Some(link.entry.zone.clone()), spent: true, ..Failure::default() };
                self.remember_failure(original, &failure);
                return (self.failed(original, asked, failure.errors(), true), verdicts);
            }
            if let (Status::Bogus(_), false) = (judged.status, asked.checking_disabled) {
                self.counters.bogus.add();
                let outcome = Outcome { ttl: 1, ..Outcome::servfail(judged.status, judged.ede) };
                return (outcome, verdicts);
            }
            let next = link.next.clone();
            chain.add(&link, &judged, ttl_cap, self.clock.now());
            rebinding::filter(&mut chain.outcome, &original.name, &question.name, &task.settings);
            match next {
                Some(next) if original.rtype != Rtype::ANY && self.is_closed(original, &next) => return (chain.cut_short(), verdicts),
                Some(next) if original.rtype != Rtype::ANY => question = Question { name: next, ..question },
                _ => return (chain.outcome, verdicts),
            }
        }
    }

    /// One question answered from the cache, through a route, or by iteration: one link, or more where the reply holds more of the chain.
    /// Boxed, because finding a name server's address leads back here.
    pub(super) fn lookup<'a>(
        &'a self,
        task: &'a Task,
        question: &'a Question,
        trace: &'a Trace,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<Link>, Failure>> + Send + 'a>> {
        Box::pin(async move {
            let now = self.clock.now();
            let limit = self.limit(&task.settings, question);
            let usable = |entry: &Entry| task.reuse.takes(question, entry, now);
            if let Some(link) = store::cached(&self.cache, question, &limit, usable).filter(Link::is_whole) {
                self.counters.cache_hits.add();
                return Ok(vec![link]);
            }
            if let Some(entry) = self.cache.get(&Key::failure(&question.name, question.rtype))
                && task.reuse.takes(question, &entry, now)
                && let Data::Failure { ede, .. } = &entry.data
            {
                self.counters.cache_hits.add();
                return Err(Failure { cached: true, ede: ede.clone(), ..Failure::default() });
            }
            self.counters.cache_misses.add();
            let configured = route::of(&task.settings, question);
            // A route that may be left is left once the data of all its servers has failed.
            let left = |r: &Route| r.fallback_to_recursion && r.servers.iter().all(|s| task.suspicion(*s) > 0);
            let route = configured.filter(|r| !left(r));
            let routed = match route {
                Some(route) if route.kind == RouteKind::Forward => self.forward(task, route, question).await,
                stub => self.iterate(task, question, stub, trace).await,
            };
            let failed = |failure: &Failure| !failure.spent && route.is_some_and(|r| r.fallback_to_recursion);
            let (mut found, left) = match routed {
                Err(failure) if failed(&failure) => (self.iterate(task, question, None, trace).await?, true),
                result => (result?, route.is_none()),
            };
            if let Some(configured) = configured.filter(|r| left && !r.zone.is_root()) {
                found = stand_in(found, &configured.zone);
            }
            route::keep_own(&task.settings, question, &mut found.steps);
            let links = store::store(&self.cache, found, &task.settings, self.clock.now());
            if links.is_empty() { Err(Failure { garbled: true, ..Failure::default() }) } else { Ok(links) }
        })
    }

    /// Has a link judged; where it is Bogus, fetches what broke anew from other servers before believing so: the link itself, or the DS or
    /// DNSKEY by which it failed. Where that did not help, the zone is tried only once more that way for a while.
    async fn judge_with_retries(&self, task: &Task, mut link: Link, first: bool, verdicts: &mut Vec<Verdict>) -> (Link, Judged, u32) {
        let known = link.from.is_none() && link.entry.judged.is_some();
        let (mut judged, mut cap, mut broken) = self.judge(task, &mut link, first, verdicts).await;
        // Where a key or a DS could not be had there is nothing to doubt in what arrived.
        let doubtful = matches!(judged.status, Status::Bogus(why) if why != Bogus::NoKeys);
        if known || !doubtful || ran_out(task, judged.status, first) {
            return (link, judged, cap);
        }
        let question = link.question.clone();
        // A forwarder's answers are of any zone: there the mark is for the name at fault.
        let at_fault = broken.as_ref().map_or(&question.name, |b| &b.name);
        let hopeless = Key::failure(if link.entry.zone_known { &link.entry.zone } else { at_fault }, Rtype(0));
        let tried_before = self.cache.fresh(&hopeless, self.clock.now()).is_some();
        let retries = if tried_before { task.budget.limits.bogus_retries.min(1) } else { task.budget.limits.bogus_retries };
        let mut alone = false;
        for _ in 0..retries {
            let evidence = task.drop_evidence();
            let at_fault = evidence.iter().find(|(_, question, _)| Some(question) == broken.as_ref());
            if let Some((key, question, from)) = at_fault {
                // Where keys match no DS and the DS is the older of the two, the DS is doubted first.
                let ds = Key::rrset(&question.name, Rtype::DS);
                let is_older = |held: Arc<Entry>| question.rtype == Rtype::DNSKEY && held.stored < task.started;
                if self.cache.get(&ds).is_some_and(is_older) {
                    self.cache.remove(&ds);
                } else {
                    self.cache.remove(key);
                    if let Some(server) = from {
                        task.avoid(*server, question);
                    }
                }
            } else {
                if let Some(server) = link.from {
                    task.avoid(server, &question);
                }
                // Keys that are genuine and old look like this too.
                evidence.iter().for_each(|(key, _, _)| self.cache.remove(key));
                let held = self.cache.get(&link.key);
                self.cache.remove(&link.key);
                match self.lookup(task, &question, &Trace::default()).await {
                    Ok(mut links) => link = links.remove(0),
                    // No other server, but the same answer may be good by keys fetched anew.
                    Err(_) if !alone && !evidence.is_empty() => {
                        alone = true;
                        if held.is_some() {
                            link.entry = self.cache.offer(link.key.clone(), (*link.entry).clone());
                        }
                    }
                    Err(_) => {
                        // No other server: what the first one said is remembered as what it is.
                        if let Some(held) = held {
                            self.cache.offer(link.key.clone(), (*held).clone());
                        }
                        break;
                    }
                }
            }
            self.counters.bogus_retries.add();
            let (again, again_cap, again_broken) = self.judge(task, &mut link, first, verdicts).await;
            if ran_out(task, again.status, first) {
                return (link, again, again_cap);
            }
            if again.status == Status::Bogus(Bogus::NoKeys) {
                // No other server had the key or the DS: what was wrong with the first one's says more.
                if self.clock.wall_is_trusted() {
                    self.cache.settle(&link.key, &link.entry, judged.clone(), cap, self.clock.now());
                }
                break;
            }
            (judged, cap, broken) = (again, again_cap, again_broken);
            if !matches!(judged.status, Status::Bogus(_)) {
                return (link, judged, cap);
            }
        }
        // The DS or DNSKEY that failed is not good for longer than the verdict.
        for (key, _, _) in task.drop_evidence().iter().filter(|(_, question, _)| Some(question) == broken.as_ref()) {
            if let Some(entry) = self.cache.get(key).filter(|_| self.clock.wall_is_trusted()) {
                self.cache.settle(key, &entry, judged.clone(), BOGUS_TTL, self.clock.now());
            }
        }
        let failure = Failure { zone: Some(link.entry.zone.clone()), ede: judged.ede.clone(), ..Failure::default() };
        self.cache.offer(hopeless, failure.entry(BOGUS_TTL, 1, self.clock.now()));
        (link, judged, cap)
    }

    /// Has a link judged, and gives the status, seconds that it may be kept, and where the chain broke. The link is put right where the
    /// proof says more than the server did.
    async fn judge(&self, task: &Task, link: &mut Link, first: bool, verdicts: &mut Vec<Verdict>) -> (Judged, u32, Option<Question>) {
        if let Some(judged) = link.entry.judged.clone().filter(|_| !task.explains()) {
            return (judged, u32::MAX, None);
        }
        let when = When { now: self.clock.wall(), trusted: self.clock.wall_is_trusted() };
        let source = Evidence { resolver: self, task };
        let start = self.clock.now();
        let reply = link.reply(start);
        let verdict = match task.explains() {
            true => self.validator.judge_explained(&reply, &source, when, &task.work).await,
            false => self.validator.judge(&reply, &source, when, &task.work).await,
        };
        self.counters.validation.add(self.clock.now().saturating_sub(start));
        let mut judged = Judged { status: verdict.status, ede: verdict.ede.clone() };
        if matches!(verdict.status, Status::Bogus(_)) && self.route_is_unsigned(task, &link.question, when).await {
            judged = Judged { status: Status::Insecure(Insecurity::NoAnchor), ede: Vec::new() };
        }
        let cap = match judged.status {
            Status::Bogus(_) => BOGUS_TTL.min(verdict.ttl_cap),
            _ => verdict.ttl_cap,
        };
        self.put_right(link, &verdict);
        // With a clock that cannot be trusted nothing is remembered: it is judged again once the clock is right. So it is with keys
        // that could not be had: the failure to get them is remembered, and for how long (RFC 4035 section 4.7, RFC 9520).
        if when.trusted && judged.status != Status::Bogus(Bogus::NoKeys) && !ran_out(task, judged.status, first) {
            let now = self.clock.now();
            self.cache.settle(&link.key, &link.entry, judged.clone(), cap, now);
            if let (Status::Secure, Some(proof)) = (verdict.status, &verdict.proof) {
                let soa = reply.authority.iter().filter(|s| s.rtype == Rtype::SOA);
                self.gaps.learn(&proof.zone, proof.records.iter().chain(soa), cap, now);
            }
        }
        let broken = verdict.broken.clone();
        if task.explains() {
            verdicts.push(verdict);
        }
        (judged, cap, broken)
    }

    /// Corrects what a Secure verdict has shown to be otherwise than the server had it: an RCODE that denies the name where the proof
    /// denies the type only (the RCODE is not signed, the proof is), and proofs beside the good ones that nobody has verified, which
    /// would go out under our AD (RFC 4035 section 3.2.3).
    fn put_right(&self, link: &mut Link, verdict: &Verdict) {
        let proven = |set: &Arc<Rrset>| verdict.proven.iter().any(|(owner, rtype)| *owner == set.owner && *rtype == set.rtype);
        let exists = verdict.rcode == Rcode::NOERROR && link.rcode() == Rcode::NXDOMAIN;
        if verdict.status != Status::Secure || (!exists && link.authority().iter().all(proven)) {
            return;
        }
        let mut entry = (*link.entry).clone();
        match &mut entry.data {
            Data::Positive { proof, .. } => proof.retain(proven),
            Data::Negative { rcode, authority } => {
                authority.retain(proven);
                *rcode = verdict.rcode;
            }
            Data::Cut(_) | Data::Failure { .. } => return,
        }
        let kept = self.cache.get(&link.key).is_some_and(|held| Arc::ptr_eq(&held, &link.entry));
        if exists {
            self.cache.remove(&link.key);
            link.key = Key::rrset(&link.question.name, link.question.rtype);
        }
        link.entry = if kept { self.cache.offer(link.key.clone(), entry) } else { Arc::new(entry) };
    }

    /// Whether the question has a route of its own whose zone is not signed as the public tree sees it: the parent proves that it does
    /// not exist there, or exists without DS. A private zone under a signed parent (split horizon) is Insecure then, not Bogus, because
    /// the operator said where it is served. A DS in the parent keeps it to its signatures.
    async fn route_is_unsigned(&self, task: &Task, question: &Question, when: When) -> bool {
        let zone = route::limit(&task.settings, question);
        if zone.is_root() || self.is_anchored(question, &zone) {
            return false;
        }
        let Ok(links) = self.lookup(task, &Question::new(zone, Rtype::DS), &Trace::default()).await else { return false };
        let Some(link) = links.first().filter(|l| matches!(l.entry.data, Data::Negative { .. })) else { return false };
        let status = match &link.entry.judged {
            Some(judged) => judged.status,
            None => self.validator.judge(&link.reply(self.clock.now()), &Evidence { resolver: self, task }, when, &task.work).await.status,
        };
        matches!(status, Status::Secure | Status::Insecure(_))
    }

    /// Whether a trust anchor in `zone` or below governs the question: the operator said himself that it is signed.
    fn is_anchored(&self, question: &Question, zone: &Name) -> bool {
        let holder = if question.rtype == Rtype::DS { question.name.parent() } else { None };
        let anchors = self.validator.anchors();
        anchors.closest(holder.as_ref().unwrap_or(&question.name)).is_some_and(|(at, _)| at.is_at_or_below(zone))
    }

    /// A synthesised denial for a question that the cache does not answer by itself.
    fn denied(&self, task: &Task, question: &Question, asked: Asked) -> Option<Link> {
        if task.explains() || task.reuse != Reuse::Fresh {
            return None;
        }
        let now = self.clock.now();
        let limit = self.limit(&task.settings, question);
        if store::cached(&self.cache, question, &limit, |e| e.remaining(now).is_some()).is_some() {
            return None;
        }
        self.gap(question, asked, &task.settings)
    }

    /// What is answered here wherever a chain of aliases meets it: local records and special-use names never leave the box.
    fn made_link(&self, question: &Question, settings: &super::Settings) -> Option<Link> {
        let outcome = self.special.answer(settings, question)?;
        Some(Link::made_here(question, outcome, self.clock.now()))
    }

    /// A denial from proven NSEC records (RFC 8198).
    fn gap(&self, question: &Question, asked: Asked, settings: &super::Settings) -> Option<Link> {
        if !settings.aggressive_nsec || asked.checking_disabled {
            return None;
        }
        let now = self.clock.now();
        let synthesis = self.gaps.deny(question, &self.limit(settings, question), now)?;
        self.counters.synthesised.add();
        Some(Link::synthesised(question, synthesis, now))
    }

    /// The name above which nothing remembered speaks about `question`: the apex of its route, or a negative trust anchor, at and below
    /// which nothing is shown by DNSSEC, neither by what was proven before (RFC 7646 section 1.1).
    pub(super) fn limit(&self, settings: &super::Settings, question: &Question) -> Name {
        let route = route::limit(settings, question);
        let holder = if question.rtype == Rtype::DS { question.name.parent() } else { None };
        let exempt = self.validator.negative_anchor(holder.as_ref().unwrap_or(&question.name), self.clock.wall());
        exempt.filter(|name| name.is_below(&route)).unwrap_or(route)
    }

    fn failed_lately(&self, question: &Question) -> bool {
        self.cache.fresh(&Key::failure(&question.name, question.rtype), self.clock.now()).is_some()
    }

    fn remember_failure(&self, question: &Question, failure: &Failure) {
        if failure.cached {
            return;
        }
        let (key, now) = (Key::failure(&question.name, question.rtype), self.clock.now());
        let before = match self.cache.get(&key).as_deref() {
            Some(Entry { data: Data::Failure { in_a_row, .. }, stored, ttl, .. })
                // A failure counts as one in a row if it follows the last one soon.
                if now < *stored + Duration::from_secs(u64::from(*ttl) * 2 + 10) => *in_a_row,
            _ => 0,
        };
        let longest = if failure.is_silence() || failure.spent { SILENCE_TTL_MAX } else { FAILURE_TTL_MAX };
        let ttl = (FAILURE_TTL << before.min(10)).min(longest);
        self.cache.offer(key, failure.entry(ttl, before + 1, now));
    }

    /// SERVFAIL, or stale data where there is some and the failure is one that it may cover.
    fn failed(&self, original: &Question, asked: Asked, ede: Vec<Ede>, may_be_stale: bool) -> Outcome {
        self.counters.failures.add();
        if may_be_stale && let Some(mut outcome) = self.stale(original, asked) {
            outcome.ede.extend(ede);
            return outcome;
        }
        Outcome { ttl: 1, ..Outcome::servfail(Status::Indeterminate, ede) }
    }

    /// An answer from the cache alone, past its expiry where it must be (RFC 8767 section 4).
    pub(crate) fn stale(&self, original: &Question, asked: Asked) -> Option<Outcome> {
        let settings = self.settings();
        let stale = settings.serve_stale?;
        let now = self.clock.now();
        // Data is served past its time, the failure of data is not.
        let bogus = |entry: &Entry| entry.judged.as_ref().is_some_and(|j| matches!(j.status, Status::Bogus(_)));
        let usable = |entry: &Entry| entry.expired_for(now).is_none_or(|age| age <= stale.max_age) && !bogus(entry);
        let mut outcome = self.cached_outcome(original, asked, &settings, usable)?;
        if outcome.is_cut_short(original) {
            return Some(outcome);
        }
        for set in &mut outcome.answer {
            Arc::make_mut(set).ttl = stale.ttl.min(set.ttl.max(stale.ttl));
        }
        let sets = outcome.answer.iter().chain(&outcome.authority);
        if outcome.status == Status::Secure && sets.into_iter().any(|set| signatures_ended(set, self.clock.wall())) {
            // Stale data may go on past its signatures; AD must not (RFC 4033 section 8.1).
            outcome.status = Status::Indeterminate;
        }
        let nxdomain = outcome.rcode == Rcode::NXDOMAIN;
        outcome.ede.push(if nxdomain {
            Ede::new(19, "expired, the servers do not answer")
        } else {
            Ede::new(3, "expired, the servers do not answer")
        });
        (outcome.ttl, outcome.stale) = (stale.ttl, true);
        // Its signatures may have ended with it (RFC 4035 section 5.3.3).
        if outcome.status == Status::Secure {
            outcome.status = Status::Indeterminate;
        }
        self.counters.stale.add();
        Some(self.doubted(outcome))
    }

    /// The whole answer from the cache, if every step is there, usable and judged.
    pub(super) fn cached_outcome(
        &self,
        original: &Question,
        asked: Asked,
        settings: &super::Settings,
        usable: impl Fn(&Entry) -> bool,
    ) -> Option<Outcome> {
        let mut chain = Chain { outcome: empty(), names: Vec::new() };
        let mut question = original.clone();
        loop {
            if chain.names.contains(&question.name) || chain.names.len() > settings.limits.aliases {
                return None;
            }
            let limit = self.limit(settings, &question);
            let held = || store::cached(&self.cache, &question, &limit, &usable).filter(Link::is_whole);
            let ready = || held().or_else(|| self.gap(&question, asked, settings));
            let link = self.made_link(&question, settings).or_else(ready)?;
            let judged = match (&link.entry.judged, asked.checking_disabled) {
                (Some(judged), false) if matches!(judged.status, Status::Bogus(_)) => {
                    return Some(Outcome { ttl: 1, ..Outcome::servfail(judged.status, judged.ede.clone()) });
                }
                (Some(judged), _) => judged.clone(),
                (None, true) => Judged { status: Status::Indeterminate, ede: Vec::new() },
                (None, false) => return None,
            };
            chain.add(&link, &judged, u32::MAX, self.clock.now());
            rebinding::filter(&mut chain.outcome, &original.name, &question.name, settings);
            match link.next {
                Some(next) if original.rtype != Rtype::ANY && self.is_closed(original, &next) => return Some(chain.cut_short()),
                Some(next) if original.rtype != Rtype::ANY => question = Question { name: next, ..question },
                _ => return Some(chain.outcome),
            }
        }
    }

    fn is_closed(&self, original: &Question, target: &Name) -> bool {
        self.gate.get().is_some_and(|gate| gate.is_closed(&original.name, target))
    }
}

impl Chain {
    fn add(&mut self, link: &Link, judged: &Judged, ttl_cap: u32, now: Duration) {
        let ttl = link.entry.remaining(now).unwrap_or(0).min(ttl_cap);
        let aged = |set: &Arc<Rrset>| Arc::new(Rrset { ttl: set.ttl.min(ttl), ..(**set).clone() });
        self.outcome.answer.extend(link.answer().iter().map(aged));
        for set in link.authority() {
            if !self.outcome.authority.iter().any(|s| s.owner == set.owner && s.rtype == set.rtype) {
                self.outcome.authority.push(aged(set));
            }
        }
        self.outcome.rcode = link.rcode();
        self.outcome.ttl = self.outcome.ttl.min(ttl);
        self.outcome.status = if self.names.is_empty() { judged.status } else { weakest(self.outcome.status, judged.status) };
        for ede in &judged.ede {
            if !self.outcome.ede.contains(ede) {
                self.outcome.ede.push(ede.clone());
            }
        }
        self.names.push(link.question.name.clone());
    }

    /// The chain as far as it came: it ends at an alias, whose target is not asked for. Half an answer is not kept.
    fn cut_short(self) -> Outcome {
        Outcome { ttl: 0, authority: Vec::new(), ..self.outcome }
    }
}

fn empty() -> Outcome {
    Outcome {
        rcode: Rcode::NOERROR,
        answer: Vec::new(),
        authority: Vec::new(),
        status: Status::Indeterminate,
        ede: Vec::new(),
        ttl: u32::MAX,
        stale: false,
    }
}

/// Whether the validity of every signature over `set` lies behind `wall` (serial arithmetic, RFC 4034 section 3.1.5).
fn signatures_ended(set: &Rrset, wall: u64) -> bool {
    let ended = |sig: &[u8]| {
        let expiration = sig.get(8..12).and_then(|octets| octets.try_into().ok()).map(u32::from_be_bytes);
        expiration.is_none_or(|end| (end.wrapping_sub(wall as u32) as i32) < 0)
    };
    !set.sigs.is_empty() && set.sigs.iter().all(|sig| ended(sig))
}

/// The weaker of two: Bogus, then Indeterminate, then Insecure, then Secure.
fn weakest(a: Status, b: Status) -> Status {
    let rank = |s: &Status| match s {
        Status::Bogus(_) => 0,
        Status::Indeterminate => 1,
        Status::Insecure(_) => 2,
        Status::Secure => 3,
    };
    std::cmp::min_by_key(a, b, rank)
}

/// Whether a verdict says more about what this client's query had left than about the data: it is nobody else's, and not remembered.
/// The first step has the whole account of work to itself, so where that alone costs too much the data are at fault (KeyTrap).
fn ran_out(task: &Task, status: Status, first: bool) -> bool {
    match status {
        Status::Bogus(Bogus::TooMuchWork) => !first || task.budget.is_spent(),
        Status::Bogus(Bogus::NoKeys) => task.budget.is_spent(),
        _ => false,
    }
}

/// What recursion found in place of the servers of the route for `zone`: kept as theirs, and not for long.
fn stand_in(mut found: Found, zone: &Name) -> Found {
    for set in found.steps.iter_mut().flat_map(|s| s.answer.iter_mut().chain(&mut s.authority)) {
        set.ttl = set.ttl.min(STAND_IN_TTL);
    }
    Found { zone: zone.clone(), zone_known: false, ..found }
}

/// DS and DNSKEY for the validator, through the cache and the client's budget.
pub(super) struct Evidence<'a, E: Exchange, C: Clock> {
    pub(super) resolver: &'a Resolver<E, C>,
    pub(super) task: &'a Task,
}

impl<E: Exchange, C: Clock> Source for Evidence<'_, E, C> {
    async fn fetch(&self, question: &Question) -> Result<Reply, NoReply> {
        // Here what a referral said of a DS will do.
        let (now, limit) = (self.resolver.clock.now(), route::limit(&self.task.settings, question));
        let known = store::cached(&self.resolver.cache, question, &limit, |e| e.remaining(now).is_some());
        let found = match known.filter(|link| !link.is_whole()) {
            Some(link) => Ok(vec![link]),
            None => self.resolver.lookup(self.task, question, &Trace::default()).await,
        };
        match found {
            Ok(mut links) => {
                let link = links.remove(0);
                self.task.took_evidence(link.key.clone(), question, link.from);
                Ok(link.reply(self.resolver.clock.now()))
            }
            Err(failure) => {
                // That there is no second opinion is no failure of the zone, nor that this client's query may cost no more.
                if !failure.spent && !self.task.asks_again(question) {
                    self.resolver.remember_failure(question, &failure);
                }
                Err(if failure.spent { NoReply::OverBudget } else { NoReply::Unreachable })
            }
        }
    }

    fn cuts(&self, name: &Name) -> Option<Vec<Name>> {
        let question = Question::new(name.clone(), Rtype::NS);
        if route::of(&self.task.settings, &question).is_some() {
            return None;
        }
        let now = self.resolver.clock.now();
        let known = |zone: &Name| self.resolver.cache.fresh(&Key::cut(zone), now).is_some();
        let mut cuts: Vec<Name> = name.self_and_ancestors().filter(|zone| zone.is_root() || known(zone)).collect();
        cuts.reverse();
        (cuts.len() > 1).then_some(cuts)
    }
}
