//! What a name resolves to is judged as the name was: a listed CNAME target blocks the answer, wherever the chain began.

use std::net::IpAddr;

use super::engine::Engine;
use super::verdict::Verdict;
use crate::wire::Name;

/// Judges the targets of an answer's CNAME and DNAME chain. `question` has been let through already; where a rule lets it through by
/// name (an exception, an allow list, protection, own records), what it resolves to is not held against it.
///
/// Gives [`Verdict::Unlisted`] where nothing blocks, or the verdict on the first target that is blocked, together with that target.
pub fn targets<'a>(
    engine: &Engine,
    question: &Name,
    targets: impl IntoIterator<Item = &'a Name>,
    client: IpAddr,
    now: u64,
    may_wait: bool,
) -> (Verdict, Option<&'a Name>) {
    for target in targets {
        let verdict = engine.decide(target, client, now, may_wait);
        if verdict == Verdict::WouldWait {
            return (verdict, None);
        }
        if verdict.blocks() {
            return match engine.exemption(question, client, now, may_wait) {
                Some(exempt) => (exempt, None),
                None => (verdict, Some(target)),
            };
        }
    }
    (Verdict::Unlisted, None)
}
