//! The answer cache: encoded responses, ready to be copied and patched.
//!
//! One entry per lower-cased QNAME, QTYPE and DO; data that is Bogus or unvalidated has entries of its own that only CD=1 finds.
//! Bodies are stored without OPT and with the offsets of their TTLs ([`Body`]); the names that policy must judge again after a change
//! of rules travel with them. Readers never wait: a slot is an [`ArcSwapOption`], and a hit writes at most the entry's own use count,
//! and that no more once it is at its maximum. Writers take the lock of one shard. Bounded by bytes; eviction is S3-FIFO (Yang et
//! al., SOSP 2023): what is asked once passes through a small queue and cannot displace what is asked again, so scans do no harm.
//! Keys are chosen by outsiders, so the hash is keyed at random. RRsets below it are in [`super::rrset`].
//! Not done: serving past expiry (the resolver does), and a snapshot on disk.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use crate::wire::message::HEADER;
use crate::wire::patch::Body;
use crate::wire::{Name, Rcode, Rtype};

/// Shards: writers of different shards do not meet.
const SHARDS: usize = 8;
/// Slots of one bucket; their tags share half a cache line.
const WAYS: usize = 8;
/// Slots that a shard starts with; it doubles as it fills, so that an empty cache is small.
const FIRST_SLOTS: usize = 256;
/// Use count at which hits stop counting.
const USES_MAX: u8 = 3;
/// Share of the bytes that the small queue may hold, in percent (the paper's choice).
const SMALL_PERCENT: usize = 10;
/// What an entry costs beside itself and its data: two allocations, its queue place, its slot and tag at half load, its ghost.
const OVERHEAD: usize = 16 + 2 * 16 + 8 + 3 * 16;

/// What an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// QNAME in lower-case wire form.
    pub name: &'a [u8],
    /// QTYPE.
    pub rtype: Rtype,
    /// The variant for clients that set DO.
    pub dnssec_ok: bool,
    /// The variant for clients that set CD: Bogus and unvalidated data.
    pub checking_disabled: bool,
}

/// What is stored beside the body.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Seconds until the entry expires; 0 is not stored.
    pub ttl: u32,
    /// It reports a failure to validate, so CD=1 must not get it.
    pub validation_failure: bool,
    /// CNAME and DNAME targets that policy judges.
    pub targets: &'a [Name],
    /// Policy generation under which every target was let through; `None` where one was not.
    pub judged: Option<u64>,
}

/// One stored response.
#[derive(Debug)]
pub struct Entry {
    /// Body, TTL offsets, EDE options, targets.
    data: Box<[u8]>,
    bytes_len: u32,
    offsets_len: u32,
    ede_len: u32,
    hash: u64,
    inserted: u32,
    expires: u32,
    judged: AtomicU64,
    rtype: Rtype,
    rcode: Rcode,
    name_len: u8,
    dnssec_ok: bool,
    checking_disabled: bool,
    validation_failure: bool,
    secure: bool,
    uses: AtomicU8,
    /// Somebody has been told that it is about to expire.
    told: AtomicBool,
    /// No slot leads here any more; the queue drops it when its turn comes.
    dead: AtomicBool,
}

/// `Entry::judged` of an entry that no generation has let through.
const NEVER: u64 = u64::MAX;

impl Entry {
    fn new(key: &Key<'_>, hash: u64, body: &Body<'_>, facts: &Facts<'_>, now: u32) -> Entry {
        let targets: usize = facts.targets.iter().map(|t| t.wire().len()).sum();
        let offsets = body.ttl_offsets.as_flattened();
        let mut data = Vec::with_capacity(body.bytes.len() + offsets.len() + body.ede.len() + targets);
        data.extend_from_slice(body.bytes);
        data.extend_from_slice(offsets);
        data.extend_from_slice(body.ede);
        facts.targets.iter().for_each(|t| data.extend_from_slice(t.wire()));
        Entry {
            data: data.into(),
            bytes_len: body.bytes.len() as u32,
            offsets_len: offsets.len() as u32,
            ede_len: body.ede.len() as u32,
            hash,
            inserted: now,
            expires: now.saturating_add(facts.ttl),
            judged: AtomicU64::new(facts.judged.unwrap_or(NEVER)),
            rtype: key.rtype,
            rcode: body.rcode,
            name_len: key.name.len() as u8,
            dnssec_ok: key.dnssec_ok,
            checking_disabled: key.checking_disabled,
            validation_failure: facts.validation_failure,
            secure: body.secure,
            uses: AtomicU8::new(0),
            told: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        }
    }

    /// The stored response.
    pub fn body(&self) -> Body<'_> {
        let (bytes, rest) = self.data.split_at(self.bytes_len as usize);
        let (offsets, rest) = rest.split_at(self.offsets_len as usize);
        let (ttl_offsets, _) = offsets.as_chunks::<2>();
        Body { bytes, ttl_offsets, ede: &rest[..self.ede_len as usize], rcode: self.rcode, secure: self.secure }
    }

    /// The names that policy judges, in lower-case wire form, in chain order.
    pub fn targets(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.data[(self.bytes_len + self.offsets_len + self.ede_len) as usize..];
        std::iter::from_fn(move || {
            let len = crate::wire::name::skip_uncompressed(rest).ok()?;
            let (name, tail) = rest.split_at(len);
            rest = tail;
            Some(name)
        })
    }

    /// Whether there is nothing to judge, or policy let every target through under this generation of its rules.
    pub fn is_judged(&self, generation: u64) -> bool {
        let judged = self.judged.load(Relaxed);
        judged == generation || (self.bytes_len + self.offsets_len + self.ede_len) as usize == self.data.len()
    }

    /// Policy has let every target through, for every client, under `generation`; `None` where that is not so for every client.
    pub fn set_judged(&self, generation: Option<u64>) {
        let judged = generation.unwrap_or(NEVER);
        // Read first: a hit must not write to memory that other workers read.
        if self.judged.load(Relaxed) != judged {
            self.judged.store(judged, Relaxed);
        }
    }

    /// Whether it is in the last tenth of its life at `now`; true once, for whoever then sees to a fresh one.
    pub fn is_due(&self, now: u32) -> bool {
        let ending = u64::from(self.expires.saturating_sub(now)) * 10 <= u64::from(self.expires - self.inserted);
        ending && !self.told.load(Relaxed) && !self.told.swap(true, Relaxed)
    }

    /// Seconds since it was stored.
    pub fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.inserted)
    }

    fn is(&self, key: &Key<'_>) -> bool {
        let flags = (self.rtype, self.dnssec_ok, self.checking_disabled) == (key.rtype, key.dnssec_ok, key.checking_disabled);
        flags && self.name() == key.name
    }

    /// The question of the body is the key: one copy of the name is enough.
    fn name(&self) -> &[u8] {
        &self.data[HEADER..HEADER + usize::from(self.name_len)]
    }

    fn weight(&self) -> usize {
        size_of::<Entry>() + self.data.len() + OVERHEAD
    }
}

/// A live entry, kept from being freed while it is looked at. Not to be held across anything long.
pub struct Hit(Guard<Option<Arc<Entry>>>);

impl Deref for Hit {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        self.0.as_ref().expect("a hit holds an entry")
    }
}

/// The cache.
pub struct AnswerCache {
    shards: Box<[Shard]>,
    key: ahash::RandomState,
    /// Most bytes of one shard.
    shard_bytes: AtomicUsize,
}

struct Shard {
    table: ArcSwap<Table>,
    queues: Mutex<Queues>,
    /// Copies of what the queues know, for reports that take no lock.
    bytes: AtomicUsize,
    entries: AtomicUsize,
    evicted: AtomicU64,
}

/// Slots in buckets of [`WAYS`]; a tag of 0 is an empty slot.
struct Table {
    tags: Box<[AtomicU32]>,
    slots: Box<[ArcSwapOption<Entry>]>,
}

/// The order of eviction; every entry that takes memory is in one of the two.
#[derive(Default)]
struct Queues {
    small: VecDeque<Arc<Entry>>,
    main: VecDeque<Arc<Entry>>,
    small_bytes: usize,
    main_bytes: usize,
    live: usize,
    /// Entries that had not expired when they had to go.
    evicted: u64,
    /// Hashes lately evicted from the small queue, by their low bits: what comes back goes straight to the main queue.
    ghosts: Vec<u32>,
}

impl AnswerCache {
    /// A cache of at most `bytes` octets, its tables included.
    pub fn new(bytes: usize) -> AnswerCache {
        let shard = |_| Shard {
            table: ArcSwap::from_pointee(Table::new(FIRST_SLOTS)),
            queues: Mutex::new(Queues { ghosts: vec![0; FIRST_SLOTS], ..Queues::default() }),
            bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        };
        let shards = (0..SHARDS).map(shard).collect();
        AnswerCache { shards, key: ahash::RandomState::new(), shard_bytes: AtomicUsize::new(bytes / SHARDS) }
    }

    /// The live entry for a client that asks `key` at `now` (seconds since some fixed start). A client with CD=1 gets the common entry
    /// where there is no Bogus one, unless that only reports that validation failed.
    pub fn find(&self, key: &Key<'_>, now: u32) -> Option<Hit> {
        let hit = self.find_exact(key, now);
        if hit.is_some() || !key.checking_disabled {
            return hit;
        }
        self.find_exact(&Key { checking_disabled: false, ..*key }, now).filter(|entry| !entry.validation_failure)
    }

    fn find_exact(&self, key: &Key<'_>, now: u32) -> Option<Hit> {
        let hash = self.key.hash_one(key);
        let table = self.shard(hash).table.load();
        let (first, tag) = table.place(hash);
        for (at, known) in (first..).zip(&table.tags[first..first + WAYS]) {
            if known.load(Relaxed) != tag {
                continue;
            }
            let slot = table.slots[at].load();
            if slot.as_ref().is_some_and(|entry| now < entry.expires && entry.is(key)) {
                let hit = Hit(slot);
                let uses = hit.uses.load(Relaxed);
                if uses < USES_MAX {
                    hit.uses.store(uses + 1, Relaxed);
                }
                return Some(hit);
            }
        }
        None
    }

    /// Stores a response whose question is `key`'s, in place of an older one. Nothing happens where the TTL is 0 or where the response
    /// alone would take more than an eighth of a shard.
    pub fn insert(&self, key: &Key<'_>, body: &Body<'_>, facts: &Facts<'_>, now: u32) {
        let limit = self.shard_bytes.load(Relaxed);
        if facts.ttl == 0 || body.bytes.get(HEADER..HEADER + key.name.len()) != Some(key.name) {
            return;
        }
        let hash = self.key.hash_one(key);
        let entry = Arc::new(Entry::new(key, hash, body, facts, now));
        if entry.weight() > limit / 8 {
            return;
        }
        let shard = self.shard(hash);
        let mut queues = shard.lock();
        shard.seat(&mut queues, &entry, key, now);
        queues.push(entry);
        shard.evict(&mut queues, limit, now);
        shard.report(&queues);
    }

    /// Forgets everything, or everything at and below `name`.
    pub fn purge(&self, name: Option<&Name>) {
        for shard in &self.shards {
            let mut queues = shard.lock();
            let table = shard.table.load();
            for (at, slot) in table.slots.iter().enumerate() {
                let below =
                    |entry: &Arc<Entry>| name.is_none_or(|name| Name::from_wire(entry.name()).is_ok_and(|own| own.is_at_or_below(name)));
                if slot.load().as_ref().is_some_and(below) {
                    table.clear(at, &mut queues);
                }
            }
            queues.drop_dead();
            shard.report(&queues);
        }
    }

    /// Changes the bound; a smaller one is met as each shard is next written to.
    pub fn resize(&self, bytes: usize) {
        self.shard_bytes.store(bytes / SHARDS, Relaxed);
    }

    /// Entries that a lookup may find.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.entries.load(Relaxed)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets in use, never above the bound for longer than one insertion.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.bytes.load(Relaxed)).sum()
    }

    /// Entries that had to make room before they expired, since the start.
    pub fn evicted(&self) -> u64 {
        self.shards.iter().map(|s| s.evicted.load(Relaxed)).sum()
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 61) as usize % SHARDS]
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, queues: &Queues) {
        self.bytes.store(queues.small_bytes + queues.main_bytes, Relaxed);
        self.entries.store(queues.live, Relaxed);
        self.evicted.store(queues.evicted, Relaxed);
    }

    /// Puts the entry into a slot: that of the same key, a free one, an expired one; else the table grows or the least used goes.
    fn seat(&self, queues: &mut Queues, entry: &Arc<Entry>, key: &Key<'_>, now: u32) {
        loop {
            let table = self.table.load_full();
            let (first, tag) = table.place(entry.hash);
            let (mut free, mut victim) = (None, (first, u8::MAX));
            for at in first..first + WAYS {
                match &*table.slots[at].load() {
                    None => free = free.or(Some(at)),
                    Some(old) if old.is(key) => {
                        free = Some(at);
                        break;
                    }
                    Some(old) if now >= old.expires => victim = (at, 0),
                    Some(old) if old.uses.load(Relaxed) < victim.1 => victim = (at, old.uses.load(Relaxed)),
                    Some(_) => {}
                }
            }
            if free.is_none() && queues.live * 2 >= table.slots.len() {
                self.grow(&table, queues);
                continue;
            }
            let at = free.unwrap_or(victim.0);
            queues.evicted += u64::from(free.is_none() && table.slots[at].load().as_ref().is_some_and(|old| now < old.expires));
            table.clear(at, queues);
            table.slots[at].store(Some(entry.clone()));
            table.tags[at].store(tag, Relaxed);
            queues.live += 1;
            return;
        }
    }

    /// Doubles the table. Readers go on with the old one until the new one is published.
    fn grow(&self, old: &Table, queues: &mut Queues) {
        let table = Table::new(old.slots.len() * 2);
        for slot in &old.slots {
            let Some(entry) = slot.load_full() else { continue };
            let (first, tag) = table.place(entry.hash);
            // Each old bucket splits into two, so there is always room.
            let at = (first..first + WAYS).find(|at| table.tags[*at].load(Relaxed) == 0).expect("a bucket splits into two of its size");
            table.slots[at].store(Some(entry));
            table.tags[at].store(tag, Relaxed);
        }
        queues.ghosts.resize(table.slots.len(), 0);
        self.table.store(Arc::new(table));
    }

    fn evict(&self, queues: &mut Queues, limit: usize, now: u32) {
        while queues.small_bytes + queues.main_bytes > limit {
            let from_small = queues.small_bytes > limit / 100 * SMALL_PERCENT || queues.main.is_empty();
            let popped = if from_small { queues.small.pop_front() } else { queues.main.pop_front() };
            let Some(entry) = popped else { return };
            let weight = entry.weight();
            if from_small {
                queues.small_bytes -= weight;
            } else {
                queues.main_bytes -= weight;
            }
            if entry.dead.load(Relaxed) {
                continue;
            }
            let uses = entry.uses.load(Relaxed);
            // Small: asked again after its first miss. Main: a second chance for each use counted.
            let stays = if from_small { uses > 0 } else { uses > 0 && queues.main_bytes > 0 };
            if stays {
                entry.uses.store(if from_small { 0 } else { uses - 1 }, Relaxed);
                queues.main_bytes += weight;
                queues.main.push_back(entry);
                continue;
            }
            if from_small {
                let mask = queues.ghosts.len() - 1;
                queues.ghosts[entry.hash as usize & mask] = fingerprint(entry.hash);
            }
            queues.evicted += u64::from(now < entry.expires);
            self.unseat(&entry, queues);
        }
    }

    fn unseat(&self, entry: &Arc<Entry>, queues: &mut Queues) {
        let table = self.table.load();
        let (first, _) = table.place(entry.hash);
        let own = |at: &usize| table.slots[*at].load().as_ref().is_some_and(|e| Arc::ptr_eq(e, entry));
        if let Some(at) = (first..first + WAYS).find(own) {
            table.clear(at, queues);
        }
    }
}

impl Table {
    fn new(slots: usize) -> Table {
        Table { tags: (0..slots).map(|_| AtomicU32::new(0)).collect(), slots: (0..slots).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// First slot of the hash's bucket, and its tag, which is never 0.
    fn place(&self, hash: u64) -> (usize, u32) {
        let buckets = self.slots.len() / WAYS;
        ((hash as usize & (buckets - 1)) * WAYS, fingerprint(hash))
    }

    /// Empties a slot; its entry stays in its queue, marked dead.
    fn clear(&self, at: usize, queues: &mut Queues) {
        self.tags[at].store(0, Relaxed);
        if let Some(entry) = self.slots[at].swap(None) {
            entry.dead.store(true, Relaxed);
            queues.live -= 1;
        }
    }
}

impl Queues {
    fn push(&mut self, entry: Arc<Entry>) {
        let weight = entry.weight();
        let mask = self.ghosts.len() - 1;
        let ghost = &mut self.ghosts[entry.hash as usize & mask];
        if *ghost == fingerprint(entry.hash) {
            *ghost = 0;
            self.main_bytes += weight;
            self.main.push_back(entry);
        } else {
            self.small_bytes += weight;
            self.small.push_back(entry);
        }
    }

    fn drop_dead(&mut self) {
        for (queue, bytes) in [(&mut self.small, &mut self.small_bytes), (&mut self.main, &mut self.main_bytes)] {
            queue.retain(|entry| !entry.dead.load(Relaxed));
            *bytes = queue.iter().map(|entry| entry.weight()).sum();
        }
    }
}

/// The part of a hash that tells entries of one bucket apart; bits that neither the bucket nor the shard are made of. Never 0.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 29) as u32 | 1
}

#[cfg(test)]
mod tests;
