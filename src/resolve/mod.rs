//! One question to one outcome: by iteration from the root, or through a forwarder, validated.
//!
//! Plain async code over two small traits, [`Exchange`] and [`Clock`], so that whole scenarios replay with a scripted network and a
//! fake clock. Every decision is a pure function in a file of its own: [`scrub`] says what a reply is, `route` which way a question
//! goes, `select` which server is next, `qmin` how much of a name is shown, `budget` what it may cost.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::cache::nsec::Gaps;
use crate::cache::rrset::{Entry, RrsetCache};
use crate::validate::{self, Status, Validator};
use crate::wire::{Ede, Name, Question, Rcode, Rrset, Rtype};

mod anchor;
mod ask;
mod budget;
mod cookie;
mod dice;
mod follow;
mod forward;
mod inflight;
mod iterate;
mod prefetch;
pub mod prime;
mod qmin;
mod rebinding;
mod route;
pub mod scrub;
mod select;
mod settings;
mod special;
mod store;
mod task;
mod times;

pub use budget::Limits;
pub use dice::Dice;
pub use select::Health;
pub use settings::{Any, Policy, Route, RouteKind, ServeStale, Settings};
pub use task::Contact;
pub use times::Times;

/// How a query travels to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram each way, from a random port.
    Udp,
    /// A stream (RFC 7766).
    Tcp,
}

/// Why a server gave no usable bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing acceptable arrived in time. `ignored` datagrams did arrive from the server's address and did not match.
    #[error("timed out ({ignored} replies did not match)")]
    Timeout {
        /// Replies that did not match the query; many of them mean somebody is guessing.
        ignored: u32,
    },
    /// A reply matched in everything but the case of the question (0x20).
    #[error("the reply does not echo the case of the question")]
    CaseMismatch,
    /// The network said no: unreachable, connection refused or reset.
    #[error("unreachable")]
    Unreachable,
    /// Nothing was sent: too many queries of ours are under way. No server is to blame.
    #[error("too many queries under way")]
    Busy,
}

/// Sends one query to one server and gives back the bytes of the reply that matches it.
///
/// An implementation accepts a reply only from the address and port asked, with the query's ID and QR=1, and with the same question
/// (or none, where the RCODE is an error); it ignores everything else and goes on waiting until `timeout`. Letter case counts where the
/// question has a capital letter: one without leans on no case (RFC 4343 section 3), and servers that echo one of their own exist.
///
/// `timeout` is the server's time and begins when the query is on its way; a wait for a place of our own before that is bounded by the
/// implementation.
pub trait Exchange: Send + Sync + 'static {
    /// Sends `query`, whole and without a TCP length, to `to`.
    fn exchange(
        &self,
        to: SocketAddr,
        via: Transport,
        query: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, ExchangeError>> + Send;
}

/// Time as the rooms see it.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed start; never goes back.
    fn now(&self) -> Duration;
    /// Seconds since 1970 (for signatures, expiry and schedules).
    fn wall(&self) -> u64;
    /// Whether [`Clock::wall`] is above the clock floor, so that signature times can be judged.
    fn wall_is_trusted(&self) -> bool;
    /// Resolves after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// Whoever has a say before an alias is followed: policy, which may not want the target to be asked for.
pub trait Gate: std::fmt::Debug + Send + Sync + 'static {
    /// Whether the chain that began at `question` ends before `target` is asked for. May wait for a disk.
    fn is_closed(&self, question: &Name, target: &Name) -> bool;
}

/// What a client asked of validation (RFC 6840 section 5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Asked {
    /// CD: give the data even where it is Bogus.
    pub checking_disabled: bool,
}

/// The end of a resolution, whole: what respond needs to encode any client's answer from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Response code for the client.
    pub rcode: Rcode,
    /// Answer section: the CNAME and DNAME chain in order, then the final RRset, with signatures.
    pub answer: Vec<Arc<Rrset>>,
    /// Authority section: SOA, NSEC and NSEC3 with signatures, as far as a client with DO=1 may need them.
    pub authority: Vec<Arc<Rrset>>,
    /// Security status over the whole answer: the weakest step counts.
    pub status: Status,
    /// Extended errors to show, own and kept from upstream.
    pub ede: Vec<Ede>,
    /// Seconds that this outcome may be reused; 0 is not cached.
    pub ttl: u32,
    /// Served past its expiry (RFC 8767).
    pub stale: bool,
}

impl Outcome {
    /// SERVFAIL with a reason.
    pub fn servfail(status: Status, ede: Vec<Ede>) -> Outcome {
        Outcome { rcode: Rcode::SERVFAIL, answer: Vec::new(), authority: Vec::new(), status, ede, ttl: 0, stale: false }
    }

    /// Whether a [`Gate`] ended the chain at an alias, so that this is no answer to `question`. Such an outcome is never kept.
    pub fn is_cut_short(&self, question: &Question) -> bool {
        let alias = self.answer.last().is_some_and(|set| set.rtype == Rtype::CNAME);
        alias && self.ttl == 0 && self.authority.is_empty() && !matches!(question.rtype, Rtype::CNAME | Rtype::ANY)
    }
}

/// A count that only goes up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.add_many(1);
    }

    fn add_many(&self, n: u32) {
        self.0.fetch_add(u64::from(n), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the resolver counts; the shell exports it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries sent upstream.
    pub queries: Count,
    /// Those of them sent over TCP.
    pub tcp: Count,
    /// Queries that timed out.
    pub timeouts: Count,
    /// Steps answered from the RRset cache, remembered failures included.
    pub cache_hits: Count,
    /// Steps that the RRset cache did not answer.
    pub cache_misses: Count,
    /// How long judging a reply took, fetching keys included.
    pub validation: Times,
    /// Client questions that were resolved, shared ones once.
    pub resolutions: Count,
    /// Client questions that joined a resolution under way.
    pub joined: Count,
    /// Client questions refused because too many resolutions were under way.
    pub full: Count,
    /// Resolutions that ended without an answer.
    pub failures: Count,
    /// Resolutions that came to nothing because they had spent their budget.
    pub spent: Count,
    /// Answers withheld as Bogus.
    pub bogus: Count,
    /// Bogus steps fetched anew from other servers.
    pub bogus_retries: Count,
    /// Denials made from proven NSEC records.
    pub synthesised: Count,
    /// Answers served past their expiry.
    pub stale: Count,
    /// Signatures checked.
    pub signature_checks: Count,
    /// SHA-1 rounds spent on NSEC3 names.
    pub nsec3_rounds: Count,
    /// Questions resolved anew shortly before what is held of them expires.
    pub prefetches: Count,
}

/// An outcome with the way to it, for `postern why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The outcome.
    pub outcome: Outcome,
    /// What validation looked at, step by step.
    pub steps: Vec<validate::Step>,
    /// The servers asked, in order.
    pub contacts: Vec<Contact>,
    /// Packets sent upstream for it, validation included.
    pub queries: u32,
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver<E, C> {
    settings: ArcSwap<Settings>,
    validator: Arc<Validator>,
    exchange: E,
    clock: C,
    cache: RrsetCache,
    gaps: Gaps,
    servers: select::Servers,
    inflight: Arc<inflight::Inflight>,
    special: special::Special,
    dice: Dice,
    cookie_key: ring::hmac::Key,
    counters: Counters,
    gate: OnceLock<Arc<dyn Gate>>,
    prefetching: Arc<Semaphore>,
}

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// A resolver that remembers nothing yet.
    pub fn new(settings: Settings, validator: Arc<Validator>, exchange: E, clock: C) -> Arc<Self> {
        Self::with_dice(settings, validator, exchange, clock, Dice::System)
    }

    /// The same with a source of randomness of one's own, so that a scenario replays.
    pub fn with_dice(settings: Settings, validator: Arc<Validator>, exchange: E, clock: C, dice: Dice) -> Arc<Self> {
        let cache = RrsetCache::new(settings.cache_bytes);
        Arc::new(Resolver {
            settings: ArcSwap::from_pointee(settings),
            validator,
            exchange,
            clock,
            cache,
            gaps: Gaps::default(),
            cookie_key: cookie::key(&dice),
            servers: select::Servers::default(),
            inflight: Arc::default(),
            special: special::Special::new(),
            dice,
            counters: Counters::default(),
            gate: OnceLock::new(),
            prefetching: Arc::new(Semaphore::new(prefetch::AT_ONCE)),
        })
    }

    /// Has `gate` asked before any alias is followed. To be called once, before the first question; later calls change nothing.
    pub fn set_gate(&self, gate: Arc<dyn Gate>) {
        let _ = self.gate.set(gate);
    }

    /// Resolves a client's question of class IN. With CD=0 Bogus data becomes SERVFAIL with its reason; with CD=1 it is given as it is.
    /// Equal questions share one resolution, which goes on when the caller goes away.
    pub async fn resolve(self: &Arc<Self>, question: &Question, asked: Asked) -> Outcome {
        self.doubted(self.resolve_shared(question, asked).await)
    }

    /// What was proven while the clock was right is not said while nobody can tell whether it still holds.
    fn doubted(&self, mut outcome: Outcome) -> Outcome {
        if outcome.status == Status::Secure && !self.clock.wall_is_trusted() {
            outcome.status = Status::Indeterminate;
        }
        outcome
    }

    async fn resolve_shared(self: &Arc<Self>, question: &Question, asked: Asked) -> Outcome {
        let settings = self.settings();
        if let Some((outcome, ending)) = self.at_once(question, asked, &settings) {
            if ending {
                self.prefetch(question.clone());
            }
            return outcome;
        }
        let mut waiter = match self.inflight.enter((question.clone(), asked), settings.concurrent) {
            inflight::Place::Joined(waiter) => {
                self.counters.joined.add();
                waiter
            }
            inflight::Place::Full => {
                self.counters.full.add();
                return Outcome::servfail(Status::Indeterminate, vec![Ede::new(0, "too many questions are being resolved")]);
            }
            inflight::Place::Leads(lead, waiter) => {
                let (this, question) = (self.clone(), question.clone());
                tokio::spawn(async move {
                    let task = this.task(false);
                    let (outcome, _) = this.follow(&task, &question, asked).await;
                    this.counters.signature_checks.add_many(task.work.signatures());
                    this.counters.nsec3_rounds.add_many(task.work.nsec3_rounds());
                    if outcome.rcode == Rcode::SERVFAIL && task.budget.is_spent() {
                        this.counters.spent.add();
                    }
                    lead.finish(outcome);
                });
                self.counters.resolutions.add();
                waiter
            }
        };
        let Some(patience) = settings.serve_stale.map(|s| s.client_timeout) else { return shared(waiter.outcome().await) };
        tokio::select! {
            biased;
            outcome = waiter.outcome() => return shared(outcome),
            () = self.clock.sleep(patience) => {}
        }
        match self.stale(question, asked) {
            Some(outcome) => outcome,
            None => shared(waiter.outcome().await),
        }
    }

    /// Resolves and tells the way: what was asked where, and what validation looked at.
    pub async fn explain(self: &Arc<Self>, question: &Question, asked: Asked) -> Explanation {
        if let Some(outcome) = self.made_here(question, &self.settings()) {
            return Explanation { outcome, steps: Vec::new(), contacts: Vec::new(), queries: 0 };
        }
        let task = self.task(true);
        let (outcome, verdicts) = self.follow(&task, question, asked).await;
        let steps = verdicts.into_iter().flat_map(|v| v.steps).collect();
        let queries = task.budget.queries();
        Explanation { outcome, steps, contacts: task.contacts(), queries }
    }

    /// Takes new settings for all questions from now on. Delegations are forgotten, because routes or hints may have changed.
    pub fn reconfigure(&self, settings: Settings) {
        self.cache.resize(settings.cache_bytes);
        let old = self.settings.swap(Arc::new(settings));
        let new = self.settings.load();
        if old.routes != new.routes || old.root_hints != new.root_hints {
            self.flush(None, false);
        }
    }

    /// Forgets what is known of `name` (and below it with `subtree`), or everything. Gives the number of entries dropped.
    pub fn flush(&self, name: Option<&Name>, subtree: bool) -> usize {
        self.gaps.flush(name);
        self.cache.flush(name, subtree)
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The RRset cache, to read its size.
    pub fn cache(&self) -> &RrsetCache {
        &self.cache
    }

    /// Resolutions under way, and upstream servers remembered.
    pub fn load(&self) -> (usize, usize) {
        (self.inflight.len(), self.servers.len())
    }

    /// What is known of a server's health.
    pub fn health(&self, server: SocketAddr) -> Health {
        self.servers.health(server)
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    fn task(&self, explain: bool) -> task::Task {
        task::Task::new(self.settings(), self.validator.work(), self.clock.now(), explain)
    }

    /// What needs no packet: made here, or whole in the cache; and whether it rests on something that soon expires.
    fn at_once(&self, question: &Question, asked: Asked, settings: &Settings) -> Option<(Outcome, bool)> {
        if let Some(outcome) = self.made_here(question, settings) {
            return Some((outcome, false));
        }
        let (now, ending) = (self.clock.now(), Cell::new(false));
        let usable = |entry: &Entry| {
            ending.set(ending.get() || entry.is_ending(now));
            entry.remaining(now).is_some()
        };
        let outcome = self.cached_outcome(question, asked, settings, usable)?;
        self.counters.cache_hits.add();
        Some((outcome, ending.get()))
    }

    fn made_here(&self, question: &Question, settings: &Settings) -> Option<Outcome> {
        let special = self.special.answer(settings, question);
        // An alias among the local records is followed like any other.
        let is_alias = |o: &Outcome| o.answer.first().is_some_and(|set| set.rtype == Rtype::CNAME);
        let followed = !matches!(question.rtype, Rtype::CNAME | Rtype::ANY) && special.as_ref().is_some_and(is_alias);
        special.filter(|_| !followed).or_else(|| match question.rtype {
            Rtype::ANY if settings.any == Any::Hinfo => Some(special::minimal_any(&question.name)),
            // It only ever stands in an NSEC (RFC 9824 section 3.5).
            Rtype::NXNAME => Some(Outcome {
                rcode: Rcode::FORMERR,
                ..Outcome::servfail(Status::Indeterminate, vec![Ede::new(30, "NXNAME is no query type")])
            }),
            // Transfers are no business of a resolver, and other meta types name no data (RFC 6895 section 3.1).
            rtype if rtype.is_meta() && rtype != Rtype::ANY => {
                Some(Outcome { rcode: Rcode::NOTIMP, ..Outcome::servfail(Status::Indeterminate, vec![Ede::new(30, "a meta type")]) })
            }
            _ => None,
        })
    }
}

/// The outcome of a shared resolution; a resolution that died is a failure like any other.
fn shared(outcome: Option<Arc<Outcome>>) -> Outcome {
    match outcome {
        Some(outcome) => Arc::unwrap_or_clone(outcome),
        None => Outcome::servfail(Status::Indeterminate, vec![Ede::new(0, "the resolution was abandoned")]),
    }
}
