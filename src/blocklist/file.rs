//! An open list: the filter and a small index in RAM, the names in the file, read by block and checked each time.
//!
//! There is no mmap: a truncated file or a dying SD card must be an error, not a SIGBUS. A block that fails its checksum blocks nothing
//! and is counted in [`List::faults`]. A worker that must not wait for the disk passes `may_wait = false` and is told
//! [`Lookup::WouldWait`]; the [`BlockReader`] decides what can be read at once.
//! The layout is in `format`, what a whole file must keep to in [`List::verify`]; signatures are not looked at here.
#![allow(clippy::disallowed_methods, reason = "a list is a file: opening and reading it is this module's duty")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest::{Context, SHA256, digest};

use super::block::{self, Cursor, Malformed};
use super::details::{self, Detail};
use super::filter::Filter;
use super::format::{BLOCK, Header, HeaderError, Kind, Section, u32_at};
use super::hot::{Block, Hot};
use super::key::{self, Suffixes};
use super::parse::Format;
use super::probes::Probes;
use super::{Action, Scope};
use crate::wire::Name;

/// Octets of blocks kept in RAM for each list: a few hundred blocks, some ten thousand names.
pub const HOT_BYTES: usize = 1 << 20;

/// What a list says about itself. Unknown fields are passed over, so that later versions may add some.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// Which list this is; updates carry the same id.
    pub id: String,
    /// Grows with every update.
    pub serial: u64,
    /// When it was built, in seconds since 1970.
    pub created: u64,
    /// Not to be accepted before, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Not to be accepted after, in seconds since 1970. An accepted list goes on blocking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// For people: what the list is for and whom to write to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The files it was built from, in order; entries point here.
    pub sources: Vec<SourceNote>,
    /// What became of their lines.
    pub counts: Counts,
}

/// A file that a list was built from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceNote {
    /// Name of the file, without directories.
    pub name: String,
    /// How it was read.
    pub format: Format,
    /// Lines in it.
    pub lines: u32,
    /// Rules in it, before duplicates and protected names were taken out.
    pub rules: u64,
}

/// Counts of a whole list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Entries in the file.
    pub entries: u64,
    /// Of these: blocks of a name alone.
    pub block_exact: u64,
    /// Of these: blocks of a name and all below.
    pub block_subtree: u64,
    /// Of these: allowances of a name alone.
    pub allow_exact: u64,
    /// Of these: allowances of a name and all below.
    pub allow_subtree: u64,
    /// Rules that said nothing new.
    pub duplicates: u64,
    /// Rules held back because they hit protected names.
    pub held_back: u64,
    /// Rules let in although they hit protected names, by the curator's word.
    pub accepted: u64,
    /// Lines left out.
    pub bad_lines: u64,
}

/// One entry as found. Small and `Copy`: who wants words asks [`super::explain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Labels of the entry's name; it is that suffix of the name asked for.
    pub labels: u8,
    /// How far it reaches.
    pub scope: Scope,
    /// Block or allow.
    pub action: Action,
    /// The curator let it in although the name is protected.
    pub accepted: bool,
    /// Index into [`Manifest::sources`].
    pub source: u16,
    /// Line in that file, from 1.
    pub line: u32,
    /// When the name was first seen, in seconds since 1970.
    pub first_seen: Option<u64>,
    /// When the entry ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// Where its [`Detail`] is.
    pub(super) detail: Option<u64>,
}

impl Entry {
    /// Whether the entry has ended at `now`. A clock that is not trusted is passed as 0, and nothing ends.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// What a list says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// No entry reaches it.
    NotListed,
    /// The longest entry that reaches it.
    Listed(Entry),
    /// It may be listed; saying so needs a block that is not in RAM. Ask again where waiting is fine.
    WouldWait,
    /// A block that would say so is damaged. It blocks nothing; [`List::faults`] counts it.
    Corrupt,
}

/// How blocks are read from the file.
pub trait BlockReader: Send + Sync + std::fmt::Debug {
    /// Fills `buf` from `offset`. `Ok(false)` where the caller may not wait and the octets are not at hand.
    ///
    /// # Errors
    /// What the file system says; a file that ends early is [`io::ErrorKind::UnexpectedEof`].
    fn read(&self, file: &File, buf: &mut [u8], offset: u64, may_wait: bool) -> io::Result<bool>;
}

/// Reads with `pread`, which may wait; so who must not wait is never served from the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting;

impl BlockReader for Waiting {
    fn read(&self, file: &File, buf: &mut [u8], offset: u64, may_wait: bool) -> io::Result<bool> {
        if !may_wait {
            return Ok(false);
        }
        file.read_exact_at(buf, offset)?;
        Ok(true)
    }
}

/// Why a file cannot be used as a list.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system said no.
    #[error("cannot read the list file")]
    Io(#[from] io::Error),
    /// The header is refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Shorter than a header.
    #[error("the file is too short to be a list")]
    TooShort,
    /// A section does not match its digest.
    #[error("section {0} is damaged")]
    Damaged(&'static str),
    /// Digests are right, but what they vouch for makes no sense: made by a broken or hostile builder.
    #[error("section {0} makes no sense")]
    Malformed(&'static str),
    /// The manifest cannot be read.
    #[error("the manifest cannot be read")]
    Manifest(#[source] serde_json::Error),
}

/// Lowest keys of the names blocks, cut short, in one piece of memory.
struct Index {
    bytes: Vec<u8>,
    blocks: usize,
}

impl Index {
    /// Takes over an index section: count, end of each key, keys. Keys must rise.
    fn read(bytes: Vec<u8>) -> Option<Index> {
        let blocks = u32_at(bytes.get(..4)?, 0) as usize;
        let index = Index { bytes, blocks };
        let keys = index.bytes.len().checked_sub(4 + 4 * blocks)?;
        let mut end = 0;
        for i in 0..blocks {
            let next = index.end(i);
            if next < end || next > keys || (i > 0 && index.bytes[index.base() + end..index.base() + next] <= *index.key(i - 1)) {
                return None;
            }
            end = next;
        }
        (end == keys).then_some(index)
    }

    fn base(&self) -> usize {
        4 + 4 * self.blocks
    }

    fn end(&self, i: usize) -> usize {
        u32_at(&self.bytes, 4 + 4 * i) as usize
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.end(i - 1) };
        &self.bytes[self.base() + start..self.base() + self.end(i)]
    }

    /// The only block that can hold `key`.
    fn block(&self, key: &[u8]) -> Option<u32> {
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map(|i| i as u32)
    }
}

enum Fetched {
    Block(Block),
    WouldWait,
    Corrupt,
}

/// An open list, immutable and shared between threads.
pub struct List {
    file: File,
    reader: Arc<dyn BlockReader>,
    header: Header,
    digest: [u8; 32],
    manifest: Manifest,
    index: Index,
    filter: Filter,
    hot: Hot,
    faults: AtomicU64,
    probes: Probes,
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "List({} serial {}, {} entries)", self.manifest.id, self.manifest.serial, self.header.shape.entries)
    }
}

impl List {
    /// Opens a list: header, manifest, index and filter are read and checked; names are checked block by block as they are needed.
    ///
    /// # Errors
    /// Anything that makes the file unusable; see [`OpenError`].
    pub fn open(path: &Path) -> Result<List, OpenError> {
        List::open_file(File::open(path)?, Arc::new(Waiting), HOT_BYTES)
    }

    /// As [`List::open`], with a reader of blocks and the octets of blocks to keep in RAM.
    ///
    /// # Errors
    /// As [`List::open`].
    pub fn open_file(file: File, reader: Arc<dyn BlockReader>, hot_bytes: usize) -> Result<List, OpenError> {
        let length = file.metadata()?.len();
        let mut block = [0u8; BLOCK];
        if length < BLOCK as u64 {
            return Err(OpenError::TooShort);
        }
        file.read_exact_at(&mut block, 0)?;
        let header = Header::read(&block, length)?;
        let whole = |kind: Kind| read_section(&file, header.section(kind), kind);
        let manifest: Manifest = serde_json::from_slice(&whole(Kind::Manifest)?).map_err(OpenError::Manifest)?;
        let index = Index::read(whole(Kind::Index)?).ok_or(OpenError::Malformed("index"))?;
        let filter = Filter::from_bytes(whole(Kind::Filter)?).ok_or(OpenError::Malformed("filter"))?;
        if header.section(Kind::Names).length != (index.blocks * BLOCK) as u64 {
            return Err(OpenError::Malformed("index"));
        }
        let digest = digest(&SHA256, &block).as_ref().try_into().expect("invariant: SHA-256 has 32 octets");
        let (hot, faults) = (Hot::new(hot_bytes), AtomicU64::new(0));
        Ok(List { file, reader, header, digest, manifest, index, filter, hot, faults, probes: Probes::default() })
    }

    /// What the list says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Length of the file, in octets.
    pub fn file_bytes(&self) -> u64 {
        self.header.length
    }

    /// Format version that the file was written in.
    pub fn format(&self) -> u16 {
        self.header.version
    }

    /// SHA-256 of the header, which holds the digests of all else: the identity of this version.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Entries in the list.
    pub fn len(&self) -> u64 {
        self.header.shape.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets that the list keeps in RAM at most: filter, index, hot blocks.
    pub fn resident_bytes(&self) -> usize {
        self.filter.as_bytes().len() + self.index.bytes.len() + HOT_BYTES
    }

    /// Block reads that failed since the list was opened. More than zero turns health red.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Octets of the filter.
    pub fn filter_bytes(&self) -> usize {
        self.filter.as_bytes().len()
    }

    /// Look-ups since the list was opened for which the filter said maybe, so that the list was read; and those of them that the list
    /// denied.
    pub fn maybes(&self) -> (u64, u64) {
        self.probes.sum()
    }

    /// Whether the list has entries of this action at all.
    pub fn has(&self, action: Action) -> bool {
        self.header.shape.mask(action, Scope::Exact) | self.header.shape.mask(action, Scope::Subtree) != 0
    }

    /// The longest entry of `action` that reaches the name and has not ended at `now` (seconds since 1970, 0 where unknown).
    /// Allocates nothing where the filter rules the name out, which is nearly always.
    pub fn lookup(&self, name: &Suffixes, action: Action, now: u64, may_wait: bool) -> Lookup {
        let (exact, subtree) = (self.header.shape.mask(action, Scope::Exact), self.header.shape.mask(action, Scope::Subtree));
        let mut none = Lookup::NotListed;
        for labels in (1..=name.count()).rev() {
            let (bit, hash) = (1u64 << (labels - 1), name.hash(labels));
            let whole = labels == name.count() && name.has_whole_name();
            let maybe = (subtree & bit != 0 && self.filter.maybe(hash, Scope::Subtree))
                || (whole && exact & bit != 0 && self.filter.maybe(hash, Scope::Exact));
            if !maybe {
                continue;
            }
            match self.confirm(name.key(labels), action, may_wait) {
                // Nothing was read: it is looked up again, and counted then.
                Lookup::WouldWait => return Lookup::WouldWait,
                Lookup::Listed(entry) if whole || entry.scope == Scope::Subtree => {
                    self.probes.note(false);
                    if !entry.is_expired(now) {
                        return Lookup::Listed(entry);
                    }
                }
                Lookup::Corrupt => {
                    self.probes.note(false);
                    none = Lookup::Corrupt;
                }
                Lookup::Listed(_) | Lookup::NotListed => self.probes.note(true),
            }
        }
        none
    }

    /// Looks for exactly this name in the block that would hold it.
    fn confirm(&self, key: &[u8], action: Action, may_wait: bool) -> Lookup {
        let mut sought = [0u8; 256];
        sought[..key.len()].copy_from_slice(key);
        sought[key.len()] = block::action_octet(action);
        let sought = &sought[..=key.len()];
        let Some(number) = self.index.block(sought) else { return Lookup::NotListed };
        let block = match self.fetch(number, may_wait) {
            Fetched::Block(block) => block,
            Fetched::WouldWait => return Lookup::WouldWait,
            Fetched::Corrupt => return Lookup::Corrupt,
        };
        match Cursor::new(&block).and_then(|cursor| cursor.find(sought)) {
            Ok(Some(entry)) if usize::from(entry.source) < self.manifest.sources.len() => Lookup::Listed(entry),
            Ok(None) => Lookup::NotListed,
            Ok(Some(_)) | Err(Malformed) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                Lookup::Corrupt
            }
        }
    }

    fn fetch(&self, number: u32, may_wait: bool) -> Fetched {
        if let Some(block) = self.hot.get(number) {
            return Fetched::Block(block);
        }
        let mut block = [0u8; BLOCK];
        let offset = self.header.section(Kind::Names).offset + u64::from(number) * BLOCK as u64;
        match self.reader.read(&self.file, &mut block, offset, may_wait) {
            Ok(true) if block::is_intact(Kind::Names, number, &block) => {
                let block = Arc::new(block);
                self.hot.put(number, block.clone());
                Fetched::Block(block)
            }
            Ok(false) => Fetched::WouldWait,
            Ok(true) | Err(_) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                Fetched::Corrupt
            }
        }
    }

    /// What is known about an entry beyond source and line.
    ///
    /// # Errors
    /// What the file system says; a damaged record is `None`.
    pub fn detail(&self, entry: &Entry) -> io::Result<Option<Detail>> {
        let section = self.header.section(Kind::Details);
        let Some(place) = entry.detail else { return Ok(None) };
        details::read(place, |number| {
            let start = u64::from(number) * BLOCK as u64;
            if start >= section.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut block = Box::new([0u8; BLOCK]);
            self.file.read_exact_at(&mut block[..], section.offset + start)?;
            Ok(block)
        })
    }

    /// All entries in canonical order of names (RFC 4034 section 6.1).
    pub fn entries(&self) -> Entries<'_> {
        Entries { list: self, number: 0, block: None, at: 0 }
    }

    /// Reads the whole file and checks that it keeps its word: digests, order of names, index, filter, label masks, counts.
    /// A list that passes gives for every name the answer that its entries give.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn verify(&self) -> Result<(), OpenError> {
        for kind in [Kind::Names, Kind::Details, Kind::Index, Kind::Filter, Kind::Manifest] {
            let (section, mut context) = (self.header.section(kind), Context::new(&SHA256));
            let mut buf = vec![0u8; 64 * 1024];
            let mut left = section.length;
            while left > 0 {
                let take = left.min(buf.len() as u64) as usize;
                self.file.read_exact_at(&mut buf[..take], section.offset + section.length - left)?;
                context.update(&buf[..take]);
                left -= take as u64;
            }
            if context.finish().as_ref() != section.digest {
                return Err(OpenError::Damaged(kind.label()));
            }
        }
        self.verify_names()
    }

    fn verify_names(&self) -> Result<(), OpenError> {
        let wrong = || OpenError::Malformed("names");
        let (mut last, mut seen, shape) = (Vec::new(), 0u64, &self.header.shape);
        for number in 0..self.index.blocks as u32 {
            let block = self.read_names(number)?;
            Cursor::new(&block).and_then(Cursor::check_restarts).map_err(|Malformed| wrong())?;
            let mut cursor = Cursor::new(&block).map_err(|Malformed| wrong())?;
            let mut first = true;
            while let Some(entry) = cursor.next().map_err(|Malformed| wrong())? {
                let name = &cursor.key()[..cursor.key().len() - 1];
                let labels = usize::from(entry.labels);
                let sound = cursor.key() > &last[..]
                    && key::name(name).is_ok()
                    && name.iter().all(|&o| o == 0 || key::is_listable(o))
                    && (1..=key::MAX_LABELS).contains(&labels)
                    && shape.mask(entry.action, entry.scope) & 1 << (labels - 1) != 0
                    && self.filter.maybe(key::hash(name), entry.scope)
                    && usize::from(entry.source) < self.manifest.sources.len()
                    && self.index.block(cursor.key()) == Some(number);
                if !sound {
                    return Err(wrong());
                }
                last.clear();
                last.extend_from_slice(cursor.key());
                (seen, first) = (seen + 1, false);
            }
            if first {
                return Err(wrong());
            }
        }
        if seen != shape.entries || seen != self.manifest.counts.entries {
            return Err(wrong());
        }
        Ok(())
    }

    fn read_names(&self, number: u32) -> Result<Box<[u8; BLOCK]>, OpenError> {
        let mut block = Box::new([0u8; BLOCK]);
        let offset = self.header.section(Kind::Names).offset + u64::from(number) * BLOCK as u64;
        self.file.read_exact_at(&mut block[..], offset)?;
        if block::is_intact(Kind::Names, number, &block) { Ok(block) } else { Err(OpenError::Damaged("names")) }
    }
}

fn read_section(file: &File, section: Section, kind: Kind) -> Result<Vec<u8>, OpenError> {
    // Lengths are bounded by the header, so that a file cannot ask for more memory than its own size.
    let mut bytes = vec![0u8; usize::try_from(section.length).map_err(|_| OpenError::Malformed(kind.label()))?];
    file.read_exact_at(&mut bytes, section.offset)?;
    if digest(&SHA256, &bytes).as_ref() == section.digest { Ok(bytes) } else { Err(OpenError::Damaged(kind.label())) }
}

/// The entries of a list in order; see [`List::entries`].
pub struct Entries<'a> {
    list: &'a List,
    number: u32,
    block: Option<std::vec::IntoIter<(Name, Entry)>>,
    at: usize,
}

impl Entries<'_> {
    fn load(&mut self) -> Result<std::vec::IntoIter<(Name, Entry)>, OpenError> {
        let block = self.list.read_names(self.number)?;
        let mut cursor = Cursor::new(&block).map_err(|Malformed| OpenError::Malformed("names"))?;
        let mut found = Vec::new();
        while let Some(entry) = cursor.next().map_err(|Malformed| OpenError::Malformed("names"))? {
            let name = key::name(&cursor.key()[..cursor.key().len() - 1]).map_err(|_| OpenError::Malformed("names"))?;
            found.push((name, entry));
        }
        Ok(found.into_iter())
    }

    /// Entries given so far.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<(Name, Entry), OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.block.as_mut().and_then(Iterator::next) {
                self.at += 1;
                return Some(Ok(found));
            }
            if self.number as usize >= self.list.index.blocks {
                return None;
            }
            match self.load() {
                Ok(entries) => self.block = Some(entries),
                Err(error) => {
                    self.number = self.list.index.blocks as u32;
                    self.block = None;
                    return Some(Err(error));
                }
            }
            self.number += 1;
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
