//! What differs between two versions of a list: both are sorted, so one walk through each is enough.

use std::cmp::Ordering;

use super::file::{Entry, List, OpenError};
use crate::wire::Name;

/// How two versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries that only the new one has.
    pub added: u64,
    /// Entries that only the old one has.
    pub removed: u64,
    /// Entries whose reach differs.
    pub changed: u64,
    /// Entries that both have.
    pub kept: u64,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the new version has it.
    Added(Name, Entry),
    /// Only the old version has it.
    Removed(Name, Entry),
    /// Both have it, and it reaches further or less far than before.
    Changed(Name, Entry),
}

/// Walks both lists and gives each difference to `sink`.
///
/// # Errors
/// Where a block of either cannot be read.
pub fn walk(old: &List, new: &List, mut sink: impl FnMut(Difference)) -> Result<Counts, OpenError> {
    let (mut before, mut after) = (old.entries(), new.entries());
    let mut counts = Counts::default();
    let (mut a, mut b) = (before.next().transpose()?, after.next().transpose()?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(counts),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((x, ex)), Some((y, ey))) => x.cmp(y).then(ex.action.cmp(&ey.action)),
        };
        let (gone, come) = (
            if order.is_le() { std::mem::replace(&mut a, before.next().transpose()?) } else { None },
            if order.is_ge() { std::mem::replace(&mut b, after.next().transpose()?) } else { None },
        );
        match (gone, come) {
            (Some((_, x)), Some((name, y))) if x.scope != y.scope => {
                counts.changed += 1;
                sink(Difference::Changed(name, y));
            }
            (Some(_), Some(_)) => counts.kept += 1,
            (Some((name, x)), None) => {
                counts.removed += 1;
                sink(Difference::Removed(name, x));
            }
            (None, Some((name, y))) => {
                counts.added += 1;
                sink(Difference::Added(name, y));
            }
            (None, None) => {}
        }
    }
}

/// Entries new, gone or changed, in percent of the old list, rounded up.
///
/// # Errors
/// As [`walk`].
pub fn percent(old: &List, new: &List) -> Result<u64, OpenError> {
    let counts = walk(old, new, |_| ())?;
    Ok(((counts.added + counts.removed + counts.changed) * 100).div_ceil(old.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::parse::Reading;
    use crate::blocklist::scratch::{Scratch, list};

    #[test]
    fn added_removed_and_changed_entries_are_told_apart() {
        let scratch = Scratch::new();
        let old = list(&scratch, "old", "a.example\nb.example\nc.example\n", Reading::default());
        let exact = list(&scratch, "new", "0.0.0.0 b.example\n0.0.0.0 c.example d.example\n", Reading::default());
        let mut told = Vec::new();
        let counts = walk(&old, &exact, |d| told.push(format!("{d:?}").split('{').next().unwrap().to_owned())).unwrap();
        assert_eq!(counts, Counts { added: 1, removed: 1, changed: 2, kept: 0 });
        assert_eq!(percent(&old, &exact).unwrap(), 134);
        assert_eq!(percent(&old, &old).unwrap(), 0);
    }
}
