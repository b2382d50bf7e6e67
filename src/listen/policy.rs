//! Policy as the listeners ask it: one name and one client, a judgement that borrows, and a generation that tells old judgements.

use std::net::IpAddr;
use std::sync::Arc;

use crate::respond::BlockAnswer;
use crate::telemetry::count::ListSlot;
use crate::telemetry::label::Verdict;
use crate::wire::Name;
use crate::wire::Rrset;

/// What is to be done about a name.
#[derive(Debug, Clone, Copy)]
pub enum Judgement<'a> {
    /// Let it through; the verdict is for the counters.
    Pass(Verdict, Option<ListSlot>),
    /// Answer in its place.
    Block(Block<'a>),
    /// Answer with records of our own, which [`Policy::records`] gives.
    Records,
    /// Give no answer.
    Drop,
    /// Saying so needs the disk, and the caller may not wait for it.
    WouldWait,
}

/// A block and how to tell of it.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The form of the answer.
    pub answer: BlockAnswer,
    /// TTL of the answer in seconds.
    pub ttl: u32,
    /// EXTRA-TEXT of the EDE, in pieces.
    pub text: [&'a str; 4],
    /// Which rule it was, for the counters.
    pub verdict: Verdict,
    /// The list that has the name.
    pub list: Option<ListSlot>,
}

/// The judge of names.
pub trait Policy: Send + Sync + 'static {
    /// Changes whenever an earlier judgement may no longer hold: another list, exception or setting, or one that ended.
    fn generation(&self, wall: u64) -> u64;

    /// Judges a name (lower-case wire form) for a client at `wall`, seconds since 1970, 0 where the clock is not trusted. Must neither
    /// allocate nor wait unless `may_wait`.
    fn judge(&self, name: &[u8], client: IpAddr, wall: u64, may_wait: bool) -> Judgement<'_>;

    /// Judges a name that `question`, which has been let through, leads to by CNAME or DNAME. A rule that lets the question through by
    /// name may speak for what it leads to.
    fn judge_target(&self, question: &[u8], target: &[u8], client: IpAddr, wall: u64, may_wait: bool) -> Judgement<'_> {
        let _ = question;
        self.judge(target, client, wall, may_wait)
    }

    /// A client was given an answer that had to be resolved: its question, and the names that this led to. Not called for what the cache
    /// answers, so it may take a lock.
    fn let_through(&self, _names: &mut dyn Iterator<Item = &Name>, _client: IpAddr) {}

    /// The records of our own for a name that was judged [`Judgement::Records`].
    fn records(&self, _name: &[u8], _client: IpAddr, _wall: u64) -> Option<&[Arc<Rrset>]> {
        None
    }

    /// Whether every client is told the same. Where not, that one was let through to a target says nothing about another.
    fn is_same_for_all(&self) -> bool {
        true
    }
}

/// No rules at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPolicy;

impl Policy for NoPolicy {
    fn generation(&self, _wall: u64) -> u64 {
        0
    }

    fn judge(&self, _name: &[u8], _client: IpAddr, _wall: u64, _may_wait: bool) -> Judgement<'_> {
        Judgement::Pass(Verdict::Allowed, None)
    }
}
