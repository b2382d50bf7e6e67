//! DNSSEC validation: from a trust anchor to a verdict with a reason (RFC 4033 to 4035, 5155, 6840, 9276).
//!
//! Zone cuts are found by the iterator and handed in as hints; what matters is proven from signatures all the same. Nothing here sends
//! a query by itself: DS and DNSKEY come through a [`Source`]. Everything but [`Validator::judge`] is a pure function.
//! Imports only [`crate::wire`].

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;

use self::chain::{Trust, Walk};
use self::store::ZoneStore;
use crate::wire::{Ede, Name, Question, Rcode, Rrset, Rtype};

pub mod anchor;
mod chain;
mod crypto;
mod denial;
mod dnskey;
mod judge;
mod nsec;
mod nsec3;
pub mod nta;
pub mod rollover;
mod short_rsa;
mod signature;
pub mod status;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testzone;
mod work;

pub use anchor::{Anchor, AnchorError, Anchors};
pub use nta::{NegativeAnchor, NegativeAnchors};
pub use status::{Bogus, Insecurity, Status};
pub use work::{Limits, Work};

/// One step of a resolution, scrubbed: what the servers of `zone` said about `question`.
///
/// CNAME steps come one by one: the answer holds the RRsets owned by the effective name, or a DNAME above it with the CNAME
/// synthesised from it. Every RRset in `answer` is judged; where the answer ends in a CNAME, its target is not.
/// Of `authority` only SOA, NSEC and NSEC3 are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What was asked.
    pub question: Question,
    /// Apex of the zone whose servers answered, as far as the iterator knows; the root for a forwarder.
    pub zone: Name,
    /// Whether `zone` is known: false for a forwarder's answers.
    pub zone_known: bool,
    /// Response code.
    pub rcode: Rcode,
    /// Answer section.
    pub answer: Vec<Rrset>,
    /// Authority section.
    pub authority: Vec<Rrset>,
}

/// The time of a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// Unix time in seconds.
    pub now: u64,
    /// Whether the clock is above its floor. Below it signature times are not checked, nothing is Secure and nothing is remembered.
    pub trusted: bool,
}

/// Why a [`Source`] has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoReply {
    /// No server gave a usable reply.
    #[error("no server gave a usable reply")]
    Unreachable,
    /// The client query has spent its upstream budget.
    #[error("the budget of the client query is spent")]
    OverBudget,
    /// Fetching it would need its own result.
    #[error("fetching it needs its own result")]
    Loop,
}

/// Where DS and DNSKEY come from: the iterator or a forwarder, cached or not, always unvalidated.
pub trait Source: Send + Sync {
    /// Raw, unvalidated, scrubbed reply for a DS (asked at the parent side) or a DNSKEY, with its signatures.
    fn fetch(&self, question: &Question) -> impl Future<Output = Result<Reply, NoReply>> + Send;

    /// Zone cuts that the iterator knows between root and `name`, top down: `[., com., example.com.]`. `None`: unknown.
    fn cuts(&self, name: &Name) -> Option<Vec<Name>>;
}

/// What an answer is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The status, over all RRsets of the reply: the weakest counts.
    pub status: Status,
    /// Seconds that the reply may be kept at most: Original TTL and signature validity (RFC 4035 section 5.3.3); `u32::MAX` where
    /// no signature limits it.
    pub ttl_cap: u32,
    /// Extended errors that explain the status.
    pub ede: Vec<Ede>,
    /// Where the chain broke, if the status is Bogus: the answer itself, or a DS or DNSKEY on the way to it.
    pub broken: Option<Question>,
    /// The reply's RCODE, or NOERROR where it denies a name that its proof shows to exist without the type: that is signed, the RCODE not.
    pub rcode: Rcode,
    /// The RRsets of the authority section that have verified.
    pub proven: Vec<(Name, Rtype)>,
    /// What was proven not to exist.
    pub proof: Option<Denial>,
    /// The chain from the anchor to the answer; empty unless asked for with [`Validator::judge_explained`].
    pub steps: Vec<Step>,
}

/// What a Secure denial proved; its records may answer further questions (RFC 8198).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Apex of the zone that signed it.
    pub zone: Name,
    /// What was denied.
    pub denied: Denied,
    /// The verified NSEC or NSEC3 RRsets, with signatures; never wildcard-expanded ones, none with opt-out.
    pub records: Vec<Rrset>,
}

/// What a proof of non-existence denies (RFC 4035 section 3.1.3, RFC 5155 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denied {
    /// The name does not exist and no wildcard stands in for it.
    Name,
    /// The name, or the wildcard that stands in for it, has no such type.
    Type,
    /// The name itself does not exist; a wildcard answered.
    ExactName,
}

/// One step of the chain, for `postern why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The zone whose keys count here.
    pub zone: Name,
    /// The RRset or the denial that was looked at.
    pub subject: Question,
    /// The signature that decided, where one did.
    pub signature: Option<SignatureNote>,
    /// What the step came to.
    pub status: Status,
    /// The same in words.
    pub words: String,
}

/// The signature that a [`Step`] rests on or fails by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureNote {
    /// Tag of the key.
    pub key_tag: u16,
    /// Algorithm number.
    pub algorithm: u8,
    /// Start of validity, Unix seconds.
    pub inception: u64,
    /// End of validity, Unix seconds.
    pub expiration: u64,
}

/// The most NSEC3 iterations that may be set: what RFC 9276 section 3.2 found validators to agree on.
pub const NSEC3_ITERATIONS_MAX: u16 = 150;

/// Settings of the validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Follow DS records of algorithms 5 and 7 (RSA with SHA-1). Off: the zones that have no others are Insecure, as RFC 9905 section 2
    /// asks of operators. Trust anchors of these algorithms are followed either way.
    pub sha1_signatures: bool,
    /// NSEC3 iterations above this are not computed (RFC 9276 section 3.2); at most [`NSEC3_ITERATIONS_MAX`].
    pub nsec3_iterations: u16,
    /// Iterations above the limit are Bogus, not Insecure.
    pub nsec3_iterations_bogus: bool,
    /// Limits of work.
    pub limits: Limits,
    /// Zones whose keys, or whose insecurity, are remembered.
    pub zones: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { sha1_signatures: false, nsec3_iterations: 50, nsec3_iterations_bogus: false, limits: Limits::default(), zones: 20_000 }
    }
}

/// The validator: anchors, settings, and the zones it has proven.
pub struct Validator {
    trust: ArcSwap<Trust>,
    settings: Settings,
    store: ZoneStore,
}

impl Validator {
    /// A validator that has proven nothing yet.
    pub fn new(anchors: Anchors, negative: NegativeAnchors, settings: Settings) -> Validator {
        let settings = Settings { nsec3_iterations: settings.nsec3_iterations.min(NSEC3_ITERATIONS_MAX), ..settings };
        let trust = ArcSwap::from_pointee(Trust { anchors, negative });
        Validator { trust, settings, store: ZoneStore::new(settings.zones) }
    }

    /// Replaces anchors and negative trust anchors, and forgets every proven zone: a proof rests on the anchor it began at.
    pub fn set_trust(&self, anchors: Anchors, negative: NegativeAnchors) {
        self.trust.store(Arc::new(Trust { anchors, negative }));
        self.store.clear();
    }

    /// The trust anchors in force.
    pub fn anchors(&self) -> Anchors {
        self.trust.load().anchors.clone()
    }

    /// The negative trust anchors in force, expired ones included.
    pub fn negative_anchors(&self) -> NegativeAnchors {
        self.trust.load().negative.clone()
    }

    /// The name of the negative trust anchor that covers `name` at `now` (Unix seconds).
    pub fn negative_anchor(&self, name: &Name, now: u64) -> Option<Name> {
        self.trust.load().negative.covering(name, now).map(|anchor| anchor.name.clone())
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An account for one client query, with the limits of the settings.
    pub fn work(&self) -> Work {
        Work::new(self.settings.limits)
    }

    /// Forgets every proven zone.
    pub fn flush(&self) {
        self.store.clear();
    }

    /// Judges one reply.
    pub async fn judge<S: Source>(&self, reply: &Reply, source: &S, when: When, work: &Work) -> Verdict {
        self.judged(reply, source, when, work, false).await
    }

    /// Judges one reply and gives the steps of the chain. Nothing remembered is used, so that every step shows.
    pub async fn judge_explained<S: Source>(&self, reply: &Reply, source: &S, when: When, work: &Work) -> Verdict {
        self.judged(reply, source, when, work, true).await
    }

    async fn judged<S: Source>(&self, reply: &Reply, source: &S, when: When, work: &Work, explain: bool) -> Verdict {
        let trust = self.trust.load_full();
        let fresh = ZoneStore::new(64);
        let store = if explain { &fresh } else { &self.store };
        let mut walk = Walk::new((&trust, &self.settings, store), source, when, work, explain);
        let verdict = judge::judge(reply, &mut walk).await;
        // A signature by a key that the remembered set lacks: the zone may have rolled its keys since. Once more, with keys fetched anew.
        if verdict.status != Status::Bogus(Bogus::DnskeyMissing) || walk.remembered.is_empty() {
            return verdict;
        }
        walk.remembered.iter().for_each(|zone| store.forget(zone));
        judge::judge(reply, &mut Walk::new((&trust, &self.settings, store), source, when, work, explain)).await
    }
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Validator").field("settings", &self.settings).finish_non_exhaustive()
    }
}
