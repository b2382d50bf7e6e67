//! What a name resolves to is judged as the name was: a listed CNAME target blocks the answer, wherever the chain began.

use std::net::IpAddr;

use super::engine::Engine;
use super::verdict::Verdict;

/// Judges the targets of an answer's CNAME and DNAME chain. `question` was let through with `verdict`; where that was by name (an
/// exception, an allow list, own records) or it is protected, what it resolves to is not held against it. Names are given as such or in
/// lower-case wire form.
///
/// Gives [`Verdict::Unlisted`] where nothing blocks, or the verdict on the first target that is blocked, together with that target.
pub fn targets<'a, N: AsRef<[u8]> + ?Sized + 'a>(
    engine: &Engine,
    question: &N,
    verdict: &Verdict,
    targets: impl IntoIterator<Item = &'a N>,
    client: IpAddr,
    now: u64,
    may_wait: bool,
) -> (Verdict, Option<&'a N>) {
    for target in targets {
        let found = engine.decide_wire(target.as_ref(), client, now, may_wait);
        if found == Verdict::WouldWait {
            return (found, None);
        }
        if found.blocks() {
            return if engine.exempts(question.as_ref(), verdict) { (*verdict, None) } else { (found, Some(target)) };
        }
    }
    (Verdict::Unlisted, None)
}
