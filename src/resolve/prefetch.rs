//! Prefetch: what is asked for while it is about to expire is resolved anew behind the client's back.
//!
//! The client has its answer from the cache; the next one finds a fresh entry instead of a wait. What counts as about to expire is
//! [`crate::cache::rrset::Entry::is_ending`]'s to say. Only what is ending is fetched, so a chain of aliases costs what of it is ending.

use std::sync::Arc;

use super::task::Reuse;
use super::{Asked, Clock, Exchange, Resolver, inflight};
use crate::wire::Question;

/// Prefetches under way at once. They are a courtesy: a box with more to do than this has clients that wait for real.
pub(super) const AT_ONCE: usize = 64;

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Has `question` resolved anew as far as what is held of it soon expires. Nothing happens where that is switched off, under way
    /// already, or where too many are. To be called inside a runtime; does not wait.
    pub fn prefetch(self: &Arc<Self>, question: Question) {
        let settings = self.settings();
        if !settings.prefetch || self.made_here(&question, &settings).is_some() {
            return;
        }
        let Ok(permit) = self.prefetching.clone().try_acquire_owned() else { return };
        let key = (question.clone(), Asked::default());
        let inflight::Place::Leads(lead, _) = self.inflight.enter(key, settings.concurrent) else { return };
        self.counters.prefetches.add();
        let this = self.clone();
        tokio::spawn(async move {
            let mut task = this.task(false);
            task.reuse = Reuse::Lasting;
            lead.finish(this.follow(&task, &question, Asked::default()).await.0);
            drop(permit);
        });
    }
}
