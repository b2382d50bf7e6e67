//! Counters of the workers: plain memory of one thread each, read by the scrape and never locked.
//!
//! A [`Worker`] belongs to one thread (it cannot be shared: `!Sync`), so adding is a load and a store, without the locked
//! instruction of an atomic addition. [`Shared`] is for tasks that move between threads and adds atomically. Both fill a block of
//! [`Cells`] of their own; a reader may see a count a moment late, never torn and never going back.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::label::{self, Action, Dropped, Lookup, Qtype, RcodeLabel, Refused, Served, Transport, UpstreamError, Verdict};
use crate::validate::Status;
use crate::wire::{Rcode, Rtype};

/// Upper bounds of the latency buckets in seconds: 10 microseconds, where a cache hit lies, to 10 seconds, where a client has given up.
pub const BOUNDS: [f64; 19] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Lists that have a label of their own; a box has a handful. Any further ones share the label `other`.
pub const LIST_SLOTS: usize = 32;

type Count = AtomicU64;

/// One latency histogram: a count a bucket (the last is beyond every bound) and the sum.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    pub(super) buckets: [Count; BOUNDS.len() + 1],
    pub(super) sum_ns: Count,
}

/// What one worker counts. Aligned so that two workers never write to one cache line (two lines: CPUs fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Cells {
    pub(super) queries: [[Count; Qtype::ALL.len()]; Transport::ALL.len()],
    pub(super) responses: [[Count; RcodeLabel::ALL.len()]; Verdict::ALL.len()],
    pub(super) dropped: [Count; Dropped::ALL.len()],
    pub(super) refused: [Count; Refused::ALL.len()],
    pub(super) truncated: Count,
    pub(super) lookups: [Count; Lookup::ALL.len()],
    pub(super) statuses: [Count; label::STATUS.len()],
    pub(super) bogus: [Count; label::BOGUS.len()],
    pub(super) ede: [Count; label::EDE.len()],
    pub(super) actions: [[Count; Action::ALL.len()]; LIST_SLOTS],
    pub(super) upstream_errors: [Count; UpstreamError::ALL.len()],
    pub(super) served: [Histogram; Served::ALL.len()],
    pub(super) upstream: [Histogram; Transport::ALL.len()],
}

/// A list's place among the counters, from [`super::Metrics::list`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSlot(pub(super) usize);

/// Marks a handle that one thread owns.
#[derive(Debug)]
pub struct OneThread(PhantomData<Cell<()>>);

/// Marks a handle that threads share.
#[derive(Debug)]
pub struct ManyThreads;

/// How a handle adds.
pub trait Owner {
    /// Adds `by` to `count`.
    fn add(count: &AtomicU64, by: u64);
}

impl Owner for OneThread {
    fn add(count: &AtomicU64, by: u64) {
        count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
    }
}

impl Owner for ManyThreads {
    fn add(count: &AtomicU64, by: u64) {
        count.fetch_add(by, Relaxed);
    }
}

/// Counters of one worker thread.
pub type Worker = Counters<OneThread>;

/// Counters that any thread may add to.
pub type Shared = Counters<ManyThreads>;

/// A handle on one block of counters.
#[derive(Debug)]
pub struct Counters<O> {
    pub(super) cells: Arc<Cells>,
    pub(super) owner: PhantomData<O>,
}

impl<O: Owner> Counters<O> {
    /// A query was read, past the packet checks.
    pub fn query(&self, transport: Transport, qtype: Rtype) {
        O::add(&self.cells.queries[transport as usize][Qtype::from(qtype) as usize], 1);
    }

    /// A response was made.
    pub fn response(&self, rcode: Rcode, verdict: Verdict) {
        O::add(&self.cells.responses[verdict as usize][RcodeLabel::from(rcode) as usize], 1);
    }

    /// A packet or stream got no answer.
    pub fn dropped(&self, reason: Dropped) {
        O::add(&self.cells.dropped[reason as usize], 1);
    }

    /// A query got an answer that refuses it.
    pub fn refused(&self, reason: Refused) {
        O::add(&self.cells.refused[reason as usize], 1);
    }

    /// A response left with TC=1.
    pub fn truncated(&self) {
        O::add(&self.cells.truncated, 1);
    }

    /// The answer cache was asked.
    pub fn lookup(&self, found: Lookup) {
        O::add(&self.cells.lookups[found as usize], 1);
    }

    /// An outcome of a resolution has this security status.
    pub fn status(&self, status: Status) {
        let index = match status {
            Status::Secure => 0,
            Status::Insecure(_) => 1,
            Status::Bogus(_) => 2,
            Status::Indeterminate => 3,
        };
        O::add(&self.cells.statuses[index], 1);
        if let Status::Bogus(reason) = status {
            O::add(&self.cells.bogus[label::bogus_index(reason)], 1);
        }
    }

    /// A response carried this Extended DNS Error.
    pub fn ede(&self, code: u16) {
        O::add(&self.cells.ede[usize::from(code).min(label::EDE.len() - 1)], 1);
    }

    /// Policy did something about a name that a list has.
    pub fn action(&self, list: ListSlot, action: Action) {
        O::add(&self.cells.actions[list.0][action as usize], 1);
    }

    /// A response left so long after its query came.
    pub fn latency(&self, served: Served, took: Duration) {
        observe::<O>(&self.cells.served[served as usize], took);
    }

    /// Another server answered after this time.
    pub fn upstream(&self, via: Transport, took: Duration) {
        observe::<O>(&self.cells.upstream[via as usize], took);
    }

    /// Another server did not answer, or with rubbish.
    pub fn upstream_error(&self, error: UpstreamError) {
        O::add(&self.cells.upstream_errors[error as usize], 1);
    }
}

fn observe<O: Owner>(histogram: &Histogram, took: Duration) {
    let seconds = took.as_secs_f64();
    let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
    O::add(&histogram.buckets[bucket], 1);
    O::add(&histogram.sum_ns, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}
