//! One block of names: entries in key order, front-coded, with restart points to search in, under a checksum.
//!
//! ```text
//! 0 checksum (8)  8 entries (2)  10 restarts (2)  12 end of entries (2)  14 entries ...  ... offsets of restarts, last first (2 each)
//! entry: octets shared with the key before | octets that follow | the octets | flags | source | line | first seen? | expires? | detail?
//! ```
//! The key of an entry is the name's key and one octet for the action, so that (name, action) is unique and sorted.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

use super::file::Entry;
use super::format::{BLOCK, Kind, put_varint, take_varint, u16_at, u64_at};
use super::{Action, Scope};

/// Octets of a block before the first entry.
const HEAD: usize = 14;
/// Every so many entries the key is whole, so that a search need not start at the front.
const RESTART: usize = 16;

const SUBTREE: u8 = 1;
const ACCEPTED: u8 = 2;
const FIRST_SEEN: u8 = 4;
const EXPIRES: u8 = 8;
const DETAIL: u8 = 16;

/// The octet that ends an entry's key. Both are below any octet of a label, so that names sort before names below them.
pub(super) fn action_octet(action: Action) -> u8 {
    match action {
        Action::Block => 1,
        Action::Allow => 2,
    }
}

/// Checksum of a block, which also says where it belongs: a block that the disk put elsewhere is as wrong as a changed one.
pub(super) fn checksum(kind: Kind, number: u32, block: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(kind as u64 + 1, u64::from(number));
    hasher.write(&block[8..]);
    hasher.finish()
}

/// Puts the checksum in front.
pub(super) fn seal(kind: Kind, number: u32, block: &mut [u8; BLOCK]) {
    let sum = checksum(kind, number, block);
    block[..8].copy_from_slice(&sum.to_le_bytes());
}

/// Whether the checksum matches.
pub(super) fn is_intact(kind: Kind, number: u32, block: &[u8; BLOCK]) -> bool {
    u64_at(block, 0) == checksum(kind, number, block)
}

/// Appends everything about an entry but its key.
pub(super) fn put_meta(out: &mut Vec<u8>, entry: &Entry) {
    let mut flags = 0;
    for (set, bit) in [
        (entry.scope == Scope::Subtree, SUBTREE),
        (entry.accepted, ACCEPTED),
        (entry.first_seen.is_some(), FIRST_SEEN),
        (entry.expires.is_some(), EXPIRES),
        (entry.detail.is_some(), DETAIL),
    ] {
        flags |= if set { bit } else { 0 };
    }
    out.push(flags);
    put_varint(out, u64::from(entry.source));
    put_varint(out, u64::from(entry.line));
    for value in [entry.first_seen, entry.expires, entry.detail].into_iter().flatten() {
        put_varint(out, value);
    }
}

/// Reads what [`put_meta`] wrote; action and label count come from the key.
pub(super) fn take_meta(bytes: &mut &[u8], action: Action, labels: u8) -> Option<Entry> {
    let (&flags, rest) = bytes.split_first()?;
    *bytes = rest;
    let source = u16::try_from(take_varint(bytes)?).ok()?;
    let line = u32::try_from(take_varint(bytes)?).ok()?;
    let mut optional = |bit| if flags & bit != 0 { take_varint(bytes).map(Some) } else { Some(None) };
    let (first_seen, expires, detail) = (optional(FIRST_SEEN)?, optional(EXPIRES)?, optional(DETAIL)?);
    let scope = if flags & SUBTREE != 0 { Scope::Subtree } else { Scope::Exact };
    Some(Entry { labels, scope, action, accepted: flags & ACCEPTED != 0, source, line, first_seen, expires, detail })
}

/// Fills one block after the other.
pub(super) struct Writer {
    block: Box<[u8; BLOCK]>,
    at: usize,
    entries: usize,
    restarts: Vec<u16>,
    last: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer { block: Box::new([0; BLOCK]), at: HEAD, entries: 0, restarts: Vec::new(), last: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The key pushed last, also across blocks.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Adds an entry; `false` where the block has no room for it and must be finished first.
    pub(super) fn push(&mut self, key: &[u8], meta: &[u8]) -> bool {
        let restart = self.entries.is_multiple_of(RESTART);
        let shared = if restart { 0 } else { self.last.iter().zip(key).take_while(|(a, b)| a == b).count() };
        let need = 2 + key.len() - shared + meta.len();
        let restarts = self.restarts.len() + usize::from(restart);
        if self.at + need + 2 * restarts > BLOCK {
            return false;
        }
        if restart {
            self.restarts.push(self.at as u16);
        }
        self.block[self.at] = shared as u8;
        self.block[self.at + 1] = (key.len() - shared) as u8;
        let body = &mut self.block[self.at + 2..self.at + need];
        body[..key.len() - shared].copy_from_slice(&key[shared..]);
        body[key.len() - shared..].copy_from_slice(meta);
        self.at += need;
        self.entries += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
        true
    }

    /// The finished block; the next entry starts a new one.
    pub(super) fn finish(&mut self, number: u32) -> Box<[u8; BLOCK]> {
        self.block[8..10].copy_from_slice(&(self.entries as u16).to_le_bytes());
        self.block[10..12].copy_from_slice(&(self.restarts.len() as u16).to_le_bytes());
        self.block[12..14].copy_from_slice(&(self.at as u16).to_le_bytes());
        for (i, offset) in self.restarts.iter().enumerate() {
            let at = BLOCK - 2 * (i + 1);
            self.block[at..at + 2].copy_from_slice(&offset.to_le_bytes());
        }
        seal(Kind::Names, number, &mut self.block);
        (self.at, self.entries) = (HEAD, 0);
        self.restarts.clear();
        std::mem::replace(&mut self.block, Box::new([0; BLOCK]))
    }
}

/// The block does not have the form of a names block, though its checksum is right: a list made by a broken or hostile builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Walks the entries of a block in order.
pub(super) struct Cursor<'a> {
    block: &'a [u8; BLOCK],
    at: usize,
    end: usize,
    key: [u8; 256],
    len: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Cursor<'a>, Malformed> {
        let (end, restarts) = (usize::from(u16_at(block, 12)), usize::from(u16_at(block, 10)));
        if end < HEAD || end + 2 * restarts > BLOCK {
            return Err(Malformed);
        }
        Ok(Cursor { block, at: HEAD, end, key: [0; 256], len: 0 })
    }

    fn restarts(&self) -> usize {
        usize::from(u16_at(self.block, 10))
    }

    fn restart(&self, i: usize) -> Result<usize, Malformed> {
        let at = usize::from(u16_at(self.block, BLOCK - 2 * (i + 1)));
        if (HEAD..self.end).contains(&at) && self.block[at] == 0 { Ok(at) } else { Err(Malformed) }
    }

    /// Key of the entry at which [`Cursor::step`] last stopped, action octet included.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.len]
    }

    /// The key whole at a restart point.
    fn key_at(&self, at: usize) -> Result<&'a [u8], Malformed> {
        let from = at + 2;
        self.block.get(from..from + usize::from(self.block[at + 1])).ok_or(Malformed)
    }

    /// Goes to the next entry and gives the octets that start with what is known about it; `None` at the end.
    fn step(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.at >= self.end {
            return Ok(None);
        }
        let rest = &self.block[self.at..self.end];
        let (&[shared, own], tail) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let (shared, own) = (usize::from(shared), usize::from(own));
        if shared > self.len || shared + own > 255 || tail.len() < own {
            return Err(Malformed);
        }
        self.key[shared..shared + own].copy_from_slice(&tail[..own]);
        self.len = shared + own;
        Ok(Some(&tail[own..]))
    }

    /// The next entry, whole; its key is [`Cursor::key`].
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        let Some(mut meta) = self.step()? else { return Ok(None) };
        let entry = self.entry(&mut meta)?;
        self.at = self.end - meta.len();
        Ok(Some(entry))
    }

    /// Whether the restart points stand where the entries are: at the first of every [`RESTART`]. A search believes them, so one that
    /// points into the middle of an entry could hide a name, or show one that no walk through the block has.
    pub(super) fn check_restarts(mut self) -> Result<(), Malformed> {
        let mut entries = 0;
        while self.at < self.end {
            if entries % RESTART == 0 && (entries / RESTART >= self.restarts() || self.restart(entries / RESTART)? != self.at) {
                return Err(Malformed);
            }
            self.next()?;
            entries += 1;
        }
        if self.restarts() == entries.div_ceil(RESTART) { Ok(()) } else { Err(Malformed) }
    }

    fn entry(&self, meta: &mut &[u8]) -> Result<Entry, Malformed> {
        let (&octet, key) = self.key().split_last().ok_or(Malformed)?;
        let action = match octet {
            1 => Action::Block,
            2 => Action::Allow,
            _ => return Err(Malformed),
        };
        let labels = key.iter().filter(|&&o| o == 0).count();
        take_meta(meta, action, u8::try_from(labels).map_err(|_| Malformed)?).ok_or(Malformed)
    }

    /// Looks for `key` (with its action octet).
    pub(super) fn find(mut self, key: &[u8]) -> Result<Option<Entry>, Malformed> {
        // The last restart point whose key is not above the one looked for.
        let (mut low, mut high) = (0, self.restarts());
        while low < high {
            let middle = low.midpoint(high);
            if self.key_at(self.restart(middle)?)? <= key { low = middle + 1 } else { high = middle }
        }
        let Some(before) = low.checked_sub(1) else { return Ok(None) };
        self.at = self.restart(before)?;
        for _ in 0..RESTART {
            let Some(mut meta) = self.step()? else { return Ok(None) };
            match self.key().cmp(key) {
                std::cmp::Ordering::Less => {
                    self.entry(&mut meta)?;
                    self.at = self.end - meta.len();
                }
                std::cmp::Ordering::Equal => return self.entry(&mut meta).map(Some),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(line: u32) -> Entry {
        Entry {
            labels: 2,
            scope: Scope::Subtree,
            action: Action::Block,
            accepted: line.is_multiple_of(2),
            source: 3,
            line,
            first_seen: line.is_multiple_of(3).then_some(1_700_000_000),
            expires: line.is_multiple_of(5).then_some(u64::MAX),
            detail: line.is_multiple_of(7).then_some(1 << 40),
        }
    }

    fn full_block() -> (Box<[u8; BLOCK]>, Vec<Vec<u8>>) {
        let (mut writer, mut keys) = (Writer::new(), Vec::new());
        for i in 0u32.. {
            let key = [format!("com\0name{i:05}\0").as_bytes(), &[1]].concat();
            let mut meta = Vec::new();
            put_meta(&mut meta, &entry(i));
            if !writer.push(&key, &meta) {
                break;
            }
            keys.push(key);
        }
        (writer.finish(9), keys)
    }

    #[test]
    fn a_restart_point_beside_its_entry_is_malformed() {
        let (block, _) = full_block();
        assert_eq!(Cursor::new(&block).unwrap().check_restarts(), Ok(()));
        let restarts = usize::from(u16_at(&block[..], 10));
        for i in 0..restarts {
            let mut moved = block.clone();
            moved[BLOCK - 2 * (i + 1)] ^= 1;
            assert_eq!(Cursor::new(&moved).unwrap().check_restarts(), Err(Malformed));
        }
        for count in [restarts - 1, restarts + 1] {
            let mut other = block.clone();
            other[10..12].copy_from_slice(&(count as u16).to_le_bytes());
            assert_eq!(Cursor::new(&other).and_then(Cursor::check_restarts), Err(Malformed));
        }
    }

    #[test]
    fn every_entry_of_a_full_block_is_found_and_nothing_between_them() {
        let (block, keys) = full_block();
        assert!(keys.len() > 150, "{}", keys.len());
        assert!(is_intact(Kind::Names, 9, &block) && !is_intact(Kind::Names, 8, &block) && !is_intact(Kind::Details, 9, &block));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(Cursor::new(&block).unwrap().find(key), Ok(Some(entry(i as u32))));
            let between = [&key[..key.len() - 2], b"x\0\x01"].concat();
            assert_eq!(Cursor::new(&block).unwrap().find(&between), Ok(None));
        }
        let mut cursor = Cursor::new(&block).unwrap();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(cursor.next(), Ok(Some(entry(i as u32))));
            assert_eq!(cursor.key(), key);
        }
        assert_eq!(cursor.next(), Ok(None));
    }

    proptest! {
        /// A block whose checksum is right may still be hostile.
        #[test]
        fn changed_octets_never_panic(changes in proptest::collection::vec((8usize..BLOCK, any::<u8>()), 1..30), probe in 0usize..150) {
            let (mut block, keys) = full_block();
            for (at, value) in changes {
                block[at] = value;
            }
            if let Ok(cursor) = Cursor::new(&block) {
                let _ = cursor.find(&keys[probe]);
            }
            if let Ok(mut cursor) = Cursor::new(&block) {
                while let Ok(Some(_)) = cursor.next() {}
            }
        }
    }
}
