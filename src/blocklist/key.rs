//! The form in which names are sorted, hashed and compared inside a list.
//!
//! A key is the labels from the root down, each ended by a zero octet: `www.example.com` is `com\0example\0www\0`. Octet order of keys
//! is the canonical order of names (RFC 4034 section 6.1), and a name is at or below another exactly when its key starts with the
//! other's. Listed labels hold only letters, digits, `-` and `_`, so the zero is never ambiguous; a queried label with any other octet
//! cannot be listed, and neither can a name below it.

use crate::wire::Name;
use crate::wire::name::{MAX_NAME, NameError};

/// Most labels of a listed name. Real lists reach 40; it bounds the work that one lookup can cause.
pub const MAX_LABELS: usize = 64;

/// Start value of every suffix hash; part of the file format, as is [`mix`].
const HASH_START: u64 = 0x243f_6a88_85a3_08d3;
/// An odd multiplier (2^64 divided by the golden ratio).
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a listed label may hold this octet.
pub fn is_listable(octet: u8) -> bool {
    octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-' || octet == b'_'
}

/// A name as a list looks it up: its key and the hash of each of its suffixes, each made once for all lists. Lives on the stack.
#[derive(Clone)]
pub struct Suffixes {
    key: [u8; MAX_NAME],
    /// Where the key of the suffix with `i + 1` labels ends.
    ends: [u8; MAX_LABELS],
    hashes: [u64; MAX_LABELS],
    labels: usize,
    whole: bool,
}

impl Suffixes {
    /// Prepares `name`; suffixes that no list can hold (alien octets, more than [`MAX_LABELS`] labels) are left out.
    pub fn of(name: &Name) -> Suffixes {
        Suffixes::of_wire(name.wire())
    }

    /// As [`Suffixes::of`], for a name in the form that [`Name::wire`] gives: checked, lower case, uncompressed, root label included.
    pub fn of_wire(wire: &[u8]) -> Suffixes {
        let mut starts = [0u8; 128];
        let (mut at, mut count) = (0usize, 0usize);
        while wire[at] != 0 {
            starts[count] = at as u8;
            count += 1;
            at += 1 + usize::from(wire[at]);
        }
        let mut out = Suffixes { key: [0; MAX_NAME], ends: [0; MAX_LABELS], hashes: [0; MAX_LABELS], labels: 0, whole: false };
        let (mut end, mut hash) = (0usize, HASH_START);
        for &start in starts[..count].iter().rev() {
            let start = usize::from(start);
            let label = &wire[start + 1..=start + usize::from(wire[start])];
            if out.labels == MAX_LABELS || !label.iter().all(|&o| is_listable(o)) {
                return out;
            }
            out.key[end..end + label.len()].copy_from_slice(label);
            end += label.len() + 1;
            hash = mix_label(hash, label);
            out.ends[out.labels] = end as u8;
            out.hashes[out.labels] = hash;
            out.labels += 1;
        }
        out.whole = true;
        out
    }

    /// How many suffixes there are: those with 1 to this many labels.
    pub fn count(&self) -> usize {
        self.labels
    }

    /// Whether the longest suffix is the whole name.
    pub fn has_whole_name(&self) -> bool {
        self.whole
    }

    /// Key of the suffix with `labels` labels, which is at least 1 and at most [`Suffixes::count`].
    pub fn key(&self, labels: usize) -> &[u8] {
        &self.key[..usize::from(self.ends[labels - 1])]
    }

    /// Hash of the suffix with `labels` labels, as above.
    pub fn hash(&self, labels: usize) -> u64 {
        self.hashes[labels - 1]
    }
}

/// Appends the key of `name` to `out`.
///
/// # Errors
/// `None` where the name cannot be listed: the root, alien octets, too many labels.
pub fn write(name: &Name, out: &mut Vec<u8>) -> Option<()> {
    let suffixes = Suffixes::of(name);
    if !suffixes.has_whole_name() || suffixes.count() == 0 {
        return None;
    }
    out.extend_from_slice(suffixes.key(suffixes.count()));
    Some(())
}

/// The labels of a key, from the root down.
pub fn labels(key: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    key.strip_suffix(&[0]).unwrap_or(key).split(|&o| o == 0)
}

/// Hash of the whole name that `key` stands for; the same as the last of [`Suffixes`].
pub fn hash(key: &[u8]) -> u64 {
    labels(key).fold(HASH_START, mix_label)
}

/// The name that a key stands for.
///
/// # Errors
/// Bytes that are no key of a legal name.
pub fn name(key: &[u8]) -> Result<Name, NameError> {
    if key.last() != Some(&0) || key.len() > MAX_NAME {
        return Err(NameError::Truncated);
    }
    let mut wire = Vec::with_capacity(key.len() + 1);
    for label in labels(key).rev() {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > 63 {
            return Err(NameError::LabelTooLong);
        }
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_wire(&wire)
}

/// One label more, to the left. Not keyed: who finds colliding names makes one block read each, never a false block, since every
/// maybe is confirmed by the octets of the name.
fn mix_label(hash: u64, label: &[u8]) -> u64 {
    let mut hash = mix(hash, label.len() as u64);
    let mut chunks = label.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("invariant: chunks_exact(8) gives 8 octets")));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

fn mix(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ word) * u128::from(HASH_FACTOR);
    ((wide >> 64) as u64).rotate_left(23) ^ wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name_of(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_runs_from_the_root_down() {
        let s = Suffixes::of(&name_of("www.Example.com"));
        assert_eq!(s.key(3), b"com\0example\0www\0");
        assert_eq!(s.key(1), b"com\0");
        assert_eq!(s.hash(2), Suffixes::of(&name_of("example.com")).hash(2));
        assert_eq!(name(b"com\0example\0").unwrap(), name_of("example.com"));
    }

    /// `a\000b.com` must not be taken for `b.a.com`: the zero octet ends labels in keys.
    #[test]
    fn a_label_with_an_alien_octet_ends_the_walk() {
        let s = Suffixes::of(&name_of(r"x.a\000b.com"));
        assert_eq!((s.count(), s.has_whole_name()), (1, false));
        assert_eq!(s.key(1), b"com\0");
        assert_eq!(Suffixes::of(&Name::root()).count(), 0);
    }

    #[test]
    fn names_deeper_than_the_limit_keep_their_upper_suffixes() {
        let s = Suffixes::of(&name_of(&["a"; 100].join(".")));
        assert_eq!((s.count(), s.has_whole_name()), (MAX_LABELS, false));
    }

    proptest! {
        #[test]
        fn key_order_is_canonical_order_and_prefix_is_ancestry(a in "[a-c0_-]{1,3}(\\.[a-c0_-]{1,3}){0,4}", b in "[a-c0_-]{1,3}(\\.[a-c0_-]{1,3}){0,4}") {
            let (a, b) = (name_of(&a), name_of(&b));
            let (mut ka, mut kb) = (Vec::new(), Vec::new());
            write(&a, &mut ka).unwrap();
            write(&b, &mut kb).unwrap();
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert_eq!(ka.starts_with(&kb), a.is_at_or_below(&b));
            prop_assert_eq!(name(&ka).unwrap(), a.clone());
            let s = Suffixes::of(&a);
            prop_assert_eq!(hash(&ka), s.hash(s.count()));
        }
    }
}
