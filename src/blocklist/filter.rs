//! The Bloom filter in front of the names: "certainly not listed" for almost every query, never a verdict by itself.

use bloomfilter::Bloom;

use super::Scope;

/// Share of unlisted names that the filter cannot rule out. Each costs one block read, mostly from the page cache; 0.1 % takes
/// 14.4 bits a name, 1.8 MB for a million.
pub const FALSE_POSITIVES: f64 = 0.001;
/// Most probes a filter may ask for; more than twice the best number for [`FALSE_POSITIVES`].
const MAX_PROBES: u32 = 24;
/// Keeps subtree entries apart from exact ones, so that names below an exact entry are ruled out as well.
const SUBTREE: u64 = 0x5bd1_e995_7f4a_7c15;
/// Seed of filters built here. Kept in the file; it is no secret: a name that collides is read and found not to be listed.
const SEED: [u8; 32] = *b"postern list filter, format one.";

/// A filter over suffix hashes.
pub struct Filter(Bloom<u64>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} octets, {} probes)", self.0.as_slice().len(), self.0.number_of_hash_functions())
    }
}

impl Filter {
    /// An empty filter for `entries` names.
    pub(super) fn new(entries: u64) -> Filter {
        let entries = usize::try_from(entries).expect("invariant: a list has fewer names than the address space").max(1);
        let bloom = Bloom::new_for_fp_rate_with_seed(entries, FALSE_POSITIVES, &SEED);
        Filter(bloom.expect("invariant: a fixed seed needs no randomness"))
    }

    /// A filter as stored; takes over the memory. `None` where the octets are no filter.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Filter> {
        let bloom = Bloom::from_bytes(bytes).ok()?;
        // `is_empty` of a filter is about bits that are set, not about having any.
        (bloom.len() >= 8 && bloom.number_of_hash_functions() <= MAX_PROBES).then_some(Filter(bloom))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(super) fn add(&mut self, hash: u64, scope: Scope) {
        self.0.set(&item(hash, scope));
    }

    /// `false`: no entry of this scope has a name with this hash. `true`: perhaps one has.
    pub fn maybe(&self, hash: u64, scope: Scope) -> bool {
        self.0.check(&item(hash, scope))
    }
}

fn item(hash: u64, scope: Scope) -> u64 {
    match scope {
        Scope::Exact => hash,
        Scope::Subtree => hash ^ SUBTREE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::key;

    #[test]
    fn nothing_listed_is_ever_ruled_out_and_few_others_pass() {
        let hash = |i: u32| key::hash(format!("com\0name{i}\0").as_bytes());
        let mut filter = Filter::new(20_000);
        (0..20_000).for_each(|i| filter.add(hash(i), Scope::Subtree));
        let filter = Filter::from_bytes(filter.as_bytes().to_vec()).unwrap();
        assert!((0..20_000).all(|i| filter.maybe(hash(i), Scope::Subtree)));
        let passed = (20_000..120_000).filter(|&i| filter.maybe(hash(i), Scope::Subtree)).count();
        assert!((20..300).contains(&passed), "{passed} of 100,000 at a rate of {FALSE_POSITIVES}");
        assert!((0..20_000).filter(|&i| filter.maybe(hash(i), Scope::Exact)).count() < 60);
    }

    #[test]
    fn a_stored_filter_that_makes_no_sense_is_refused() {
        let good = Filter::new(10).as_bytes().to_vec();
        for (at, value) in [(0, 9), (1, 0), (9, 0), (9, 200), (12, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Filter::from_bytes(bad).is_none(), "octet {at}");
        }
        assert!(Filter::from_bytes(good[..45].to_vec()).is_none());
        let mut empty = good[..45].to_vec();
        empty[1..9].fill(0);
        assert!(Filter::from_bytes(empty).is_none());
    }
}
