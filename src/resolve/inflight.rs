//! Equal questions share one resolution.
//!
//! The resolution runs as a task of its own, so a client that goes away stops nothing for the others, and what was learnt is kept. Its
//! key is the whole question and what was asked of validation. Sharing also takes the point out of birthday attacks: one question is
//! never open twice (RFC 5452 section 5). The number of resolutions under way is bounded.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

use super::{Asked, Outcome};
use crate::wire::Question;

/// What makes two questions equal.
pub(super) type Key = (Question, Asked);
type Slot = watch::Receiver<Option<Arc<Outcome>>>;

/// The resolutions under way.
#[derive(Debug, Default)]
pub(super) struct Inflight(DashMap<Key, Slot, ahash::RandomState>);

/// A place in the table.
pub(super) enum Place {
    /// Somebody resolves it already.
    Joined(Waiter),
    /// Resolve it, and [`Lead::finish`].
    Leads(Lead, Waiter),
    /// Too many are under way.
    Full,
}

/// Waits for the outcome of a shared resolution.
pub(super) struct Waiter(Slot);

/// The duty to resolve; dropped unfinished, it frees the place and the waiters learn that there is no outcome.
pub(super) struct Lead {
    table: Arc<Inflight>,
    key: Key,
    sender: watch::Sender<Option<Arc<Outcome>>>,
}

impl Inflight {
    /// Takes part in the resolution of `key`; at most `limit` are under way at once.
    pub(super) fn enter(self: &Arc<Inflight>, key: Key, limit: usize) -> Place {
        // Counted before the entry is locked: counting takes every lock of the map.
        let full = self.0.len() >= limit;
        match self.0.entry(key.clone()) {
            Entry::Occupied(slot) => Place::Joined(Waiter(slot.get().clone())),
            Entry::Vacant(_) if full => Place::Full,
            Entry::Vacant(slot) => {
                let (sender, receiver) = watch::channel(None);
                slot.insert(receiver.clone());
                Place::Leads(Lead { table: self.clone(), key, sender }, Waiter(receiver))
            }
        }
    }

    /// Resolutions under way.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Lead {
    pub(super) fn finish(self, outcome: Outcome) {
        // Nobody may be waiting any more.
        let _ = self.sender.send(Some(Arc::new(outcome)));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.table.0.remove(&self.key);
    }
}

impl Waiter {
    /// The outcome; `None` if the resolution died.
    pub(super) async fn outcome(&mut self) -> Option<Arc<Outcome>> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
