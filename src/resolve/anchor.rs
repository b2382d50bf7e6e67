//! Looking at a trust anchor's zone, to follow its roll-over (RFC 5011).
//!
//! When to look, what is configured and where the state is kept is the shell's; what a look means is `validate::rollover`'s.

use super::follow::Evidence;
use super::task::Reuse;
use super::{Clock, Exchange, Resolver};
use crate::validate::rollover::Rollover;
use crate::validate::{Anchor, When};
use crate::wire::{Name, Question, Rtype};

impl<E: Exchange, C: Clock> Resolver<E, C> {
    /// Asks for the DNSKEY RRset of `owner`, whatever the cache holds, and gives the next state of its roll-over. Where no answer comes
    /// or the clock is not trusted, the state is the same but for the time of the next look.
    pub async fn look_at_anchor(&self, owner: &Name, configured: &[Anchor], state: &Rollover) -> Rollover {
        let mut task = self.task(false);
        task.reuse = Reuse::AllBut(Question::new(owner.clone(), Rtype::DNSKEY));
        let when = When { now: self.clock.wall(), trusted: self.clock.wall_is_trusted() };
        state.look(owner, configured, &Evidence { resolver: self, task: &task }, when, &task.work).await
    }
}
