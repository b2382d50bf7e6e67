//! From a packet to an answer: the one way that every transport takes.
//!
//! [`Service::answer_now`] is the fast half: structure, ACL, rate limit, cookie, policy, cache, in this order, without allocation,
//! waiting or a look at the clock; workers and streams call it alike. What it cannot answer goes to the slow half,
//! [`Service::answer_slowly`], which resolves, judges the CNAME targets, stores and answers by the same encoder.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::admit::{admit, limit, refuse_fault, terms, unlimited_terms};
use super::policy::{Block, Judgement, Policy};
use crate::cache::answer::{AnswerCache, Facts, Key};
use crate::guard::{Acl, Cookies, RateLimit};
use crate::outbound::SystemClock;
use crate::resolve::{Asked, Clock, Exchange, Gate, Outcome, Resolver};
use crate::respond::{self, Blocked, Terms};
use crate::telemetry::count::{Counters, Owner, Shared};
use crate::telemetry::label::{Action, Dropped, Lookup, Refused, Served, Transport, Verdict};
use crate::validate::Status;
use crate::wire::query::{Fault, NAME_BUFFER, Unanswerable, Unusual};
use crate::wire::{Ede, Name, Parsed, Query, Question, Rcode, Rrset, Rtype};

/// EDE "Forged Answer": ours, not the zone's (RFC 8914 section 4.5).
const EDE_FORGED: u16 = 4;
/// A client for whom no rule is made.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The future of a resolution.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Whatever turns a question into an outcome. The program gives [`crate::resolve`]'s resolver.
pub trait Resolve: Send + Sync + 'static {
    /// Resolves one question within the budget of one client query.
    fn resolve(&self, question: Question, asked: Asked) -> Resolving<'_>;

    /// The answer from what is known already, past its expiry where it must be; for when there is no place to resolve.
    fn stale(&self, _question: &Question, _asked: Asked) -> Option<Outcome> {
        None
    }

    /// Has a question resolved anew, because what is cached of it soon expires. Does not wait; called inside a runtime.
    fn prefetch(&self, question: Question);
}

impl<E: Exchange, C: Clock> Resolve for Arc<Resolver<E, C>> {
    fn resolve(&self, question: Question, asked: Asked) -> Resolving<'_> {
        Box::pin(async move { Resolver::resolve(self, &question, asked).await })
    }

    fn stale(&self, question: &Question, asked: Asked) -> Option<Outcome> {
        Resolver::stale(self, question, asked)
    }

    fn prefetch(&self, question: Question) {
        Resolver::prefetch(self, question);
    }
}

/// What a reload may change; swapped as a whole, so that no query sees half of it.
#[derive(Clone)]
pub struct Rules {
    /// The networks that are served.
    pub acl: Acl,
    /// Networks that the rate limit leaves alone: private ones, whose addresses cannot be forged from outside.
    pub unlimited: Acl,
    /// Others get no answer instead of REFUSED.
    pub silent: bool,
    /// Longest UDP answer in octets.
    pub udp_payload: u16,
    /// The rate limit.
    pub rate: Arc<RateLimit>,
    /// Server cookies; `None` gives none and believes none.
    pub cookies: Option<Cookies>,
    /// A query for which there is no place gets SERVFAIL over UDP too, instead of nothing.
    pub servfail_when_full: bool,
    /// The judge of names.
    pub policy: Arc<dyn Policy>,
    /// Idle timeout told to stream clients that ask (RFC 7828).
    pub stream_idle: Duration,
}

/// The service's rules as the resolver asks them, before it follows an alias.
#[derive(Debug)]
pub struct Targets(Weak<Service>);

impl Targets {
    /// The rules of `service`, as long as it lives.
    pub fn of(service: &Arc<Service>) -> Targets {
        Targets(Arc::downgrade(service))
    }
}

impl Gate for Targets {
    fn is_closed(&self, question: &Name, target: &Name) -> bool {
        self.0.upgrade().is_some_and(|service| service.is_closed(question, target))
    }
}

/// The time of one batch of packets, read once.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the service's start.
    pub monotonic: Duration,
    /// Seconds since 1970, as the machine has it.
    pub wall: u64,
    /// The same for policy: 0 where the clock is not trusted, and nothing ends.
    pub trusted_wall: u64,
}

impl Now {
    /// Whether the wall clock is believed.
    fn is_trusted(&self) -> bool {
        self.trusted_wall != 0
    }

    /// Whole seconds since the service's start: the cache's time.
    fn seconds(&self) -> u32 {
        self.monotonic.as_secs() as u32
    }
}

/// One packet as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Its octets.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// How.
    pub transport: Transport,
    /// It was longer than the room for it.
    pub cut: bool,
}

/// What the fast half made of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The answer is written.
    Reply(Served),
    /// An error is written, for which no latency is counted.
    Error,
    /// No answer; it is counted.
    Dropped,
    /// The slow half has to go on.
    Slow(Why),
}

/// Why the fast half passed a query on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The name is judged and not in the cache.
    Miss(Verdict),
    /// Judging it may wait for the disk.
    Disk,
    /// It is answered with records of our own, whose alias may have to be followed.
    Records,
}

/// An answer, or the decision to give none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The octets to send.
    Reply(Vec<u8>),
    /// Nothing.
    Silence,
}

/// Everything that an answer depends on, shared by all listeners.
pub struct Service {
    rules: ArcSwap<Rules>,
    cache: AnswerCache,
    resolver: Arc<dyn Resolve>,
    clock: SystemClock,
    /// Whether the wall clock was believed when the answers of the cache were made.
    believed: AtomicBool,
    counters: Shared,
}

impl Service {
    /// A service; `cache_bytes` bounds the answer cache.
    pub fn new(rules: Rules, cache_bytes: usize, resolver: Arc<dyn Resolve>, clock: SystemClock, counters: Shared) -> Service {
        let (rules, believed) = (ArcSwap::from_pointee(rules), AtomicBool::new(clock.wall_is_trusted()));
        Service { rules, cache: AnswerCache::new(cache_bytes), resolver, clock, believed, counters }
    }

    /// The rules in force, for one batch.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Changes the rules: packets read from now on follow the new ones.
    pub fn change_rules(&self, change: impl Fn(&mut Rules)) {
        self.rules.rcu(|rules| {
            let mut rules = Rules::clone(rules);
            change(&mut rules);
            rules
        });
    }

    /// The answer cache, to be looked at, resized and purged.
    pub fn cache(&self) -> &AnswerCache {
        &self.cache
    }

    /// The time, for one batch.
    pub fn now(&self) -> Now {
        let wall = self.clock.wall();
        Now { monotonic: self.clock.now(), wall, trusted_wall: if wall >= self.clock.floor() { wall } else { 0 } }
    }

    /// Counters for tasks.
    pub(super) fn counters(&self) -> &Shared {
        &self.counters
    }

    /// Answers one packet of any transport, however long it takes.
    pub async fn answer(&self, packet: &Packet<'_>) -> Answer {
        let (now, mut out) = (self.now(), Vec::with_capacity(512));
        let step = self.answer_now(&self.rules.load(), packet, &now, &mut out, &self.counters);
        match step {
            Step::Reply(served) => self.counters.latency(served, self.clock.now().saturating_sub(now.monotonic)),
            Step::Error => {}
            Step::Dropped => return Answer::Silence,
            Step::Slow(why) => return self.answer_slowly(packet, why, now.monotonic).await,
        }
        Answer::Reply(out)
    }

    /// The fast half. Writes into `out`, which has room for the longest answer of the transport, and counts into `counters`.
    pub fn answer_now<O: Owner>(&self, rules: &Rules, packet: &Packet<'_>, now: &Now, out: &mut Vec<u8>, counters: &Counters<O>) -> Step {
        self.drop_doubtful(now);
        let mut buffer = NAME_BUFFER;
        let parsed = match Unanswerable::source(packet.from) {
            Some(reason) => Parsed::Unanswerable(reason),
            None if packet.cut => Parsed::Fault(Fault::TooLong),
            None => Query::parse(packet.bytes, &mut buffer),
        };
        let query = match parsed {
            Parsed::Unanswerable(reason) => {
                counters.dropped(match reason {
                    Unanswerable::Short => Dropped::Malformed,
                    Unanswerable::Response => Dropped::Response,
                    Unanswerable::PortZero | Unanswerable::Source => Dropped::BadSource,
                });
                return Step::Dropped;
            }
            Parsed::Fault(fault) => Err(fault),
            Parsed::Query(query) => Ok(query),
        };
        counters.query(packet.transport, query.as_ref().map_or(Rtype(0), |query| query.rtype));
        if let Err(step) = admit(rules, packet, &query, now, out, counters) {
            return step;
        }
        let query = match query {
            Ok(query) => query,
            Err(fault) => return refuse_fault(rules, packet, fault, now, out, counters),
        };
        let terms = match terms(rules, packet, &query, now) {
            Ok(terms) => terms,
            Err(limited) => return limit(limited, &query, out, counters),
        };
        if let Some((rcode, ede)) = query.unusual.and_then(Unusual::error) {
            counters.refused(match query.unusual {
                Some(Unusual::NotRecursive) => Refused::NoRecursion,
                _ => Refused::NotServed,
            });
            respond::error(out, &query, rcode, ede);
            counters.response(rcode, Verdict::None);
            return Step::Error;
        }
        self.answer_known(rules, packet, &query, &terms, now, out, counters, false)
    }

    /// Policy and cache, for a question that has been let in.
    #[allow(clippy::too_many_arguments, reason = "one call of one function cut in two, so that the slow half can call the second")]
    fn answer_known<O: Owner>(
        &self,
        rules: &Rules,
        packet: &Packet<'_>,
        query: &Query<'_>,
        terms: &Terms,
        now: &Now,
        out: &mut Vec<u8>,
        counters: &Counters<O>,
        may_wait: bool,
    ) -> Step {
        let (policy, client, wall) = (&rules.policy, packet.from.ip(), now.trusted_wall);
        let (verdict, list) = match policy.judge(query.name(), client, wall, may_wait) {
            Judgement::Pass(verdict, list) => (verdict, list),
            Judgement::Block(block) => return block_answer(query, &block, terms, out, counters),
            Judgement::Records => return Step::Slow(Why::Records),
            Judgement::Drop => {
                counters.dropped(Dropped::PolicyZone);
                return Step::Dropped;
            }
            Judgement::WouldWait => return Step::Slow(Why::Disk),
        };
        // Not before it is sure that this is not all done again by the slow half.
        let let_through = || {
            if let Some((list, action)) = list.zip(passed(verdict)) {
                counters.action(list, action);
            }
        };
        if query.unusual.is_some() {
            let_through();
            return Step::Slow(Why::Miss(verdict));
        }
        let Some(hit) = self.cache.find(&key(query, query.checking_disabled()), now.seconds()) else {
            let_through();
            counters.lookup(Lookup::Miss);
            return Step::Slow(Why::Miss(verdict));
        };
        if !hit.is_judged(policy.generation(wall)) {
            let judge = |target: &[u8]| policy.judge_target(query.name(), target, client, wall, may_wait);
            match judge_targets(hit.targets(), policy.is_same_for_all(), judge) {
                (Judgement::Pass(..), lasting) => hit.set_judged(lasting.then(|| policy.generation(wall))),
                (Judgement::Block(block), _) => {
                    counters.lookup(Lookup::Hit);
                    return block_answer(query, &block, terms, out, counters);
                }
                _ => return Step::Slow(Why::Disk),
            }
        }
        let_through();
        counters.lookup(Lookup::Hit);
        if hit.is_due(now.seconds())
            && !query.checking_disabled()
            && let Ok(name) = Name::from_wire(query.name())
        {
            self.resolver.prefetch(Question::new(name, query.rtype));
        }
        let body = hit.body();
        respond::answer(out, query, &body, hit.age(now.seconds()), terms);
        count_answer(out, body.rcode, body.ede, verdict, counters);
        Step::Reply(Served::Hit)
    }

    /// Empties the cache when the wall clock begins or ceases to be believed: what was judged without the time is not kept past the
    /// clock's repair, and AD is not set while nobody can tell whether a signature still holds.
    fn drop_doubtful(&self, now: &Now) {
        let believed = now.is_trusted();
        if self.believed.load(Relaxed) != believed && self.believed.swap(believed, Relaxed) != believed {
            self.cache.purge(None);
        }
    }

    /// The slow half: everything that may wait. `started` is when the packet came in.
    pub async fn answer_slowly(&self, packet: &Packet<'_>, why: Why, started: Duration) -> Answer {
        let mut buffer = NAME_BUFFER;
        let Parsed::Query(query) = Query::parse(packet.bytes, &mut buffer) else { return Answer::Silence };
        let now = self.now();
        let rules = self.rules.load_full();
        // It has been let in already: what is asked again here only makes the cookie, and is not charged twice.
        let terms = unlimited_terms(&rules, packet, &query, &now);
        let mut out = Vec::with_capacity(512);
        let mut rewrite = matches!(why, Why::Records);
        let verdict = match why {
            Why::Miss(verdict) => verdict,
            Why::Records => Verdict::PolicyZone,
            Why::Disk => match self.blocking(|| self.answer_known(&rules, packet, &query, &terms, &now, &mut out, &self.counters, true)) {
                Step::Slow(Why::Miss(verdict)) => verdict,
                Step::Slow(Why::Records) => {
                    rewrite = true;
                    Verdict::PolicyZone
                }
                Step::Dropped => return Answer::Silence,
                Step::Reply(served) => {
                    self.counters.latency(served, self.clock.now().saturating_sub(started));
                    return Answer::Reply(out);
                }
                _ => Verdict::Allowed,
            },
        };
        let Ok(name) = Name::from_wire(query.name()) else { return Answer::Silence };
        let question = Question::new(name, query.rtype);
        let asked = Asked { checking_disabled: query.checking_disabled() };
        let before = now;
        let records = || rules.policy.records(query.name(), packet.from.ip(), now.trusted_wall).map(<[_]>::to_vec);
        let mut outcome = match rewrite.then(records).flatten() {
            Some(records) => self.rewritten(&question, records, asked).await,
            None => self.resolver.resolve(question.clone(), asked).await,
        };
        if !rewrite
            && outcome.is_cut_short(&question)
            && !targets(&question, &outcome).iter().any(|target| self.is_closed(&question.name, target))
        {
            // What closed the chain was lifted meanwhile.
            outcome = self.resolver.resolve(question.clone(), asked).await;
        }
        self.counters.status(outcome.status);

        // Rules may have changed meanwhile; the latest count.
        let (rules, now) = (self.rules.load_full(), self.now());
        let encoding = respond::encode(&question, &outcome, query.dnssec_ok());
        let targets = targets(&question, &outcome);
        let (policy, client, wall) = (&rules.policy, packet.from.ip(), now.trusted_wall);
        let judge = |target: &[u8]| policy.judge_target(query.name(), target, client, wall, true);
        let (judgement, lasting) = match targets.is_empty() {
            true => (Judgement::Pass(verdict, None), true),
            false => self.blocking(|| judge_targets(targets.iter().map(Name::wire), policy.is_same_for_all(), judge)),
        };
        let blocked = if let Judgement::Block(block) = judgement { Some(block) } else { None };
        // What was begun with one idea of the time and ended with another is not kept.
        if query.unusual.is_none() && !outcome.stale && before.is_trusted() == now.is_trusted() {
            let bogus_data = asked.checking_disabled && matches!(outcome.status, Status::Bogus(_) | Status::Indeterminate);
            let facts = Facts {
                ttl: outcome.ttl,
                validation_failure: !asked.checking_disabled && matches!(outcome.status, Status::Bogus(_)),
                targets: &targets,
                // The answer itself is kept, block or no block: the hit is judged again under the rules of its day.
                judged: lasting.then(|| policy.generation(wall)),
            };
            self.cache.insert(&key(&query, bogus_data), &encoding.body(), &facts, now.seconds());
            // The clock may have been set right between the look at it and now.
            if self.now().is_trusted() != now.is_trusted() {
                self.cache.purge(Some(&question.name));
            }
        }
        let took = self.clock.now().saturating_sub(started);
        if let Some(block) = blocked {
            block_answer(&query, &block, &terms, &mut out, &self.counters);
            self.counters.latency(Served::Blocked, took);
        } else {
            let body = encoding.body();
            // Names that do not exist are left out: anybody can make up as many as he likes.
            if body.rcode == Rcode::NOERROR && !outcome.answer.is_empty() {
                policy.let_through(&mut std::iter::once(&question.name).chain(targets.iter()), client);
            }
            respond::answer(&mut out, &query, &body, 0, &terms);
            count_answer(&out, body.rcode, body.ede, verdict, &self.counters);
            self.counters.latency(Served::Miss, took);
        }
        Answer::Reply(out)
    }

    /// The outcome that records of our own make, an alias among them followed. Never kept and never Secure: it is our word.
    async fn rewritten(&self, question: &Question, records: Vec<Arc<Rrset>>, asked: Asked) -> Outcome {
        // A rule for all names below answers under the name that was asked.
        let own = |set: &Arc<Rrset>| Arc::new(Rrset { owner: question.name.clone(), ..Rrset::clone(set) });
        let of_type: Vec<_> = records.iter().filter(|set| set.rtype == question.rtype || question.rtype == Rtype::ANY).map(own).collect();
        let alias = records.iter().find(|set| set.rtype == Rtype::CNAME).filter(|_| of_type.is_empty());
        let mut outcome = match alias.and_then(|set| set.target()) {
            Some(target) => self.resolver.resolve(Question { name: target, ..question.clone() }, asked).await,
            None => Outcome { rcode: Rcode::NOERROR, ..Outcome::servfail(Status::Indeterminate, Vec::new()) },
        };
        outcome.answer.splice(0..0, alias.map(own).into_iter().chain(of_type));
        outcome.ede.insert(0, Ede::new(EDE_FORGED, "answered by a policy zone of this resolver"));
        Outcome { status: Status::Indeterminate, ttl: 0, ..outcome }
    }

    /// Whether what `question` leads to is blocked for every client, so that it need not be asked for. Where clients are told different
    /// things, it is resolved first and judged for each.
    fn is_closed(&self, question: &Name, target: &Name) -> bool {
        let (rules, now) = (self.rules.load_full(), self.now());
        let judge = || rules.policy.judge_target(question.wire(), target.wire(), NOBODY, now.trusted_wall, true);
        rules.policy.is_same_for_all() && matches!(self.blocking(judge), Judgement::Block(_))
    }

    /// Answers a query for which there is no place to be resolved: with data past its expiry where there is some (RFC 8767), else as the
    /// rules say. On a stream nothing would only be waited for.
    pub(super) fn answer_without_place<O: Owner>(
        &self,
        rules: &Rules,
        packet: &Packet<'_>,
        why: Why,
        now: &Now,
        out: &mut Vec<u8>,
        counters: &Counters<O>,
    ) -> Step {
        let mut buffer = NAME_BUFFER;
        let Parsed::Query(query) = Query::parse(packet.bytes, &mut buffer) else { return Step::Dropped };
        if let Some(step) = self.answer_stale(rules, packet, &query, why, now, out, counters) {
            return step;
        }
        if packet.transport == Transport::Udp && !rules.servfail_when_full {
            counters.dropped(Dropped::QueueFull);
            return Step::Dropped;
        }
        respond::error(out, &query, Rcode::SERVFAIL, None);
        counters.refused(Refused::Overload);
        counters.response(Rcode::SERVFAIL, Verdict::None);
        Step::Error
    }

    #[allow(clippy::too_many_arguments, reason = "the part of the function above that may find nothing")]
    fn answer_stale<O: Owner>(
        &self,
        rules: &Rules,
        packet: &Packet<'_>,
        query: &Query<'_>,
        why: Why,
        now: &Now,
        out: &mut Vec<u8>,
        counters: &Counters<O>,
    ) -> Option<Step> {
        // A name that could not be judged without the disk may be a blocked one.
        let Why::Miss(verdict) = why else { return None };
        let question = Question::new(Name::from_wire(query.name()).ok()?, query.rtype);
        let outcome = self.resolver.stale(&question, Asked { checking_disabled: query.checking_disabled() })?;
        let terms = unlimited_terms(rules, packet, query, now);
        let (policy, client, wall) = (&rules.policy, packet.from.ip(), now.trusted_wall);
        let judge = |target: &[u8]| policy.judge_target(query.name(), target, client, wall, false);
        match judge_targets(targets(&question, &outcome).iter().map(Name::wire), policy.is_same_for_all(), judge).0 {
            Judgement::Block(block) => return Some(block_answer(query, &block, &terms, out, counters)),
            Judgement::Pass(..) if !outcome.is_cut_short(&question) => {}
            _ => return None,
        }
        let encoding = respond::encode(&question, &outcome, query.dnssec_ok());
        let body = encoding.body();
        respond::answer(out, query, &body, 0, &terms);
        count_answer(out, body.rcode, body.ede, verdict, counters);
        Some(Step::Reply(Served::Hit))
    }

    /// Runs what may wait for the disk, without holding up other tasks where the runtime has other threads.
    fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            _ => work(),
        }
    }
}

fn key<'a>(query: &Query<'a>, checking_disabled: bool) -> Key<'a> {
    Key { name: query.name(), rtype: query.rtype, dnssec_ok: query.dnssec_ok(), checking_disabled }
}

/// Judges targets in order up to the first that is not let through; and whether the judgement holds for every client as long as the
/// rules stay: not where a target was let through by a rule, which may end by itself or be this client's own.
fn judge_targets<'t, 'p>(
    targets: impl Iterator<Item = &'t [u8]>,
    same_for_all: bool,
    judge: impl Fn(&[u8]) -> Judgement<'p>,
) -> (Judgement<'p>, bool) {
    let mut lasting = same_for_all;
    for target in targets {
        match judge(target) {
            Judgement::Pass(verdict, _) => lasting &= verdict == Verdict::Allowed,
            other => return (other, false),
        }
    }
    (Judgement::Pass(Verdict::Allowed, None), lasting)
}

fn block_answer<O: Owner>(query: &Query<'_>, block: &Block<'_>, terms: &Terms, out: &mut Vec<u8>, counters: &Counters<O>) -> Step {
    respond::blocked(out, query, &Blocked { answer: block.answer, ttl: block.ttl, text: &block.text }, terms);
    let forged = out[7] > 0;
    let (rcode, action) = match block.answer {
        respond::BlockAnswer::Nxdomain => (Rcode::NXDOMAIN, Action::Nxdomain),
        respond::BlockAnswer::Null if forged => (Rcode::NOERROR, Action::Null),
        respond::BlockAnswer::Sinkhole(..) if forged => (Rcode::NOERROR, Action::Sinkhole),
        _ => (Rcode::NOERROR, Action::Nodata),
    };
    counters.response(rcode, block.verdict);
    if let Some(list) = block.list {
        counters.action(list, action);
    }
    if query.opt.is_some() {
        counters.ede(if forged { 4 } else { 15 });
    }
    Step::Reply(Served::Blocked)
}

/// Counts an answer that has been written.
fn count_answer<O: Owner>(out: &[u8], rcode: Rcode, ede: &[u8], verdict: Verdict, counters: &Counters<O>) {
    const TC: u8 = 2;
    if out[2] & TC != 0 {
        counters.truncated();
    }
    counters.response(rcode, verdict);
    if let [_, _, _, _, high, low, ..] = *ede {
        counters.ede(u16::from_be_bytes([high, low]));
    }
}

/// What to count about a list whose name was let through nevertheless.
fn passed(verdict: Verdict) -> Option<Action> {
    match verdict {
        Verdict::AllowListed | Verdict::ExceptionAllow => Some(Action::Allow),
        Verdict::Protected => Some(Action::Protect),
        _ => None,
    }
}

/// The names that the answer leads to beside the one asked, in order.
fn targets(question: &Question, outcome: &Outcome) -> Vec<Name> {
    let mut targets: Vec<Name> = Vec::new();
    for set in outcome.answer.iter().filter(|set| set.rtype == Rtype::CNAME && question.rtype != Rtype::CNAME) {
        if let Some(target) = set.target().filter(|target| *target != question.name && !targets.contains(target)) {
            targets.push(target);
        }
    }
    targets
}
