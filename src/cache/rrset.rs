//! The RRset cache: positive and negative answers, delegations and failures, bounded by octets.
//!
//! RFC 2181 section 5.4.1 (trust ranking), RFC 2308 section 5 (negative answers), RFC 9520 (failures), RFC 8767 (expired entries are
//! kept for a while). A delegation stands beside the RRsets and is never an answer, so glue cannot leak into one; it comes only from the
//! parent, so the child's own NS RRset cannot prolong it (ghost domains). Each entry carries the status that validation gave it, so
//! that what was judged once is not judged again.
//!
//! Eviction is S3-FIFO: new entries pass a short queue and must be used once to stay, so a scan of names cannot push out what people ask
//! for. Hashing is keyed with a random seed, because clients choose the names.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::validate::Status;
use crate::wire::{Ede, Name, Rcode, Rrset, Rtype};

/// Independent parts, each behind a lock of its own; more than cores, so that two threads seldom meet.
const SHARDS: usize = 16;
/// Share of a shard that entries not yet used twice may fill, in percent (the S3-FIFO paper's 10).
const PROBATION_PERCENT: usize = 10;
/// An entry's use counter stops here.
const MAX_USES: u8 = 3;
/// Octets that a map slot, queue place and reference counts take beside the entry itself; measured roughly, on the safe side.
const SLOT_WEIGHT: usize = 160;

/// How far data is believed (RFC 2181 section 5.4.1, reduced to the ranks that are ever cached here), lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// From an answer without AA: a forwarder's, or a server's own cache.
    NonAuthoritative,
    /// From the zone's own servers.
    Authoritative,
}

/// What an entry is about, besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The RRset of this type, or that there is none (NODATA).
    Type(Rtype),
    /// The name does not exist.
    NxDomain,
    /// The zone cut at this name, as its parent described it.
    Cut,
    /// The last attempt to resolve this type failed.
    Failure(Rtype),
}

/// Where an entry is kept: its owner and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Owner name.
    pub name: Name,
    /// What about it.
    pub slot: Slot,
}

impl Key {
    /// The key of an RRset.
    pub fn rrset(name: &Name, rtype: Rtype) -> Key {
        Key { name: name.clone(), slot: Slot::Type(rtype) }
    }

    /// The key of a name's non-existence.
    pub fn nxdomain(name: &Name) -> Key {
        Key { name: name.clone(), slot: Slot::NxDomain }
    }

    /// The key of a zone cut.
    pub fn cut(zone: &Name) -> Key {
        Key { name: zone.clone(), slot: Slot::Cut }
    }

    /// The key of a failure.
    pub fn failure(name: &Name, rtype: Rtype) -> Key {
        Key { name: name.clone(), slot: Slot::Failure(rtype) }
    }
}

/// A name server as the parent names it, with the glue it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its name.
    pub name: Name,
    /// Glue: good for sending queries, never for answering one (RFC 2181 section 5.4.1).
    pub addresses: Vec<IpAddr>,
}

/// A zone cut as its parent describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Apex of the child zone.
    pub zone: Name,
    /// Its name servers.
    pub servers: Vec<NameServer>,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The RRsets of an answer (one, except for QTYPE ANY), and the proof that goes with a wildcard expansion.
    Positive {
        /// The RRsets.
        answer: Vec<Arc<Rrset>>,
        /// NSEC or NSEC3 RRsets from the authority section.
        proof: Vec<Arc<Rrset>>,
    },
    /// NODATA or NXDOMAIN with the authority section that proves it.
    Negative {
        /// NOERROR or NXDOMAIN.
        rcode: Rcode,
        /// SOA, NSEC and NSEC3 RRsets.
        authority: Vec<Arc<Rrset>>,
    },
    /// A zone cut.
    Cut(Delegation),
    /// Resolution failed (RFC 9520).
    Failure {
        /// Why.
        ede: Vec<Ede>,
        /// How many attempts in a row have failed; the entry's lifetime grows with it.
        in_a_row: u32,
    },
}

/// What validation said of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its status.
    pub status: Status,
    /// Extended errors that go with it.
    pub ede: Vec<Ede>,
}

/// One thing remembered, with its lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub data: Data,
    /// How far it is believed.
    pub trust: Trust,
    /// What validation said; `None` while nobody needed it judged.
    pub judged: Option<Judged>,
    /// Apex of the zone whose servers were asked.
    pub zone: Name,
    /// Whether `zone` is the zone that holds the data, and not only one above it.
    pub zone_known: bool,
    /// When it was stored, on the caller's clock.
    pub stored: Duration,
    /// Lifetime in seconds from then on.
    pub ttl: u32,
}

impl Entry {
    /// Lifetime left in whole seconds, rounded up; `None` once expired.
    pub fn remaining(&self, now: Duration) -> Option<u32> {
        let left = (self.stored + Duration::from_secs(u64::from(self.ttl))).checked_sub(now)?;
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        u32::try_from(seconds).ok().filter(|&s| s > 0)
    }

    /// Whether it is in the last tenth of its life: whoever finds it so has it fetched anew (prefetch; the tenth is Unbound's rule).
    pub fn is_ending(&self, now: Duration) -> bool {
        self.remaining(now).is_some_and(|left| u64::from(left) * 10 <= u64::from(self.ttl))
    }

    /// Seconds since it expired; `None` while it is fresh.
    pub fn expired_for(&self, now: Duration) -> Option<Duration> {
        now.checked_sub(self.stored + Duration::from_secs(u64::from(self.ttl)))
    }

    fn weight(&self) -> usize {
        let sets = |sets: &[Arc<Rrset>]| sets.iter().map(|s| s.weight()).sum::<usize>();
        let data = match &self.data {
            Data::Positive { answer, proof } => sets(answer) + sets(proof),
            Data::Negative { authority, .. } => sets(authority),
            Data::Cut(cut) => cut.servers.iter().map(|s| s.name.wire().len() + 64 + 17 * s.addresses.len()).sum(),
            Data::Failure { ede, .. } => ede.iter().map(|e| 48 + e.text.len()).sum(),
        };
        SLOT_WEIGHT + std::mem::size_of::<Entry>() + self.zone.wire().len() + data
    }
}

/// The cache. All methods take `&self`; each locks one shard for a short while.
#[derive(Debug)]
pub struct RrsetCache {
    shards: Vec<Mutex<Shard>>,
    hasher: ahash::RandomState,
    /// Limit of each shard in octets.
    shard_limit: AtomicUsize,
}

impl RrsetCache {
    /// An empty cache of at most `bytes` octets.
    pub fn new(bytes: usize) -> RrsetCache {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        RrsetCache { shards, hasher: ahash::RandomState::new(), shard_limit: AtomicUsize::new(bytes / SHARDS) }
    }

    /// Changes the limit; what no longer fits leaves with the next insertions.
    pub fn resize(&self, bytes: usize) {
        self.shard_limit.store(bytes / SHARDS, Ordering::Relaxed);
    }

    /// The entry under `key`, expired or not; whether it may be used is for [`Entry::remaining`] to say.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let mut shard = self.shard(self.hasher.hash_one(key));
        let slot = shard.map.get_mut(key)?;
        slot.uses = (slot.uses + 1).min(MAX_USES);
        Some(slot.entry.clone())
    }

    /// The entry under `key` if it has not expired at `now`.
    pub fn fresh(&self, key: &Key, now: Duration) -> Option<Arc<Entry>> {
        self.get(key).filter(|e| e.remaining(now).is_some())
    }

    /// Stores `entry` unless something better trusted is there and still fresh (RFC 2181 section 5.4.1). Gives `entry` back, shared.
    pub fn offer(&self, key: Key, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut shard = self.shard(self.hasher.hash_one(&key));
        if shard.map.get(&key).is_none_or(|s| s.entry.trust <= entry.trust || s.entry.remaining(entry.stored).is_none()) {
            shard.put(key, entry.clone(), self.shard_limit.load(Ordering::Relaxed), entry.stored);
        }
        entry
    }

    /// Notes what validation said of `seen`, with a lifetime of at most `ttl_cap` seconds from `now`. Nothing happens if another entry
    /// has taken its place meanwhile.
    pub fn settle(&self, key: &Key, seen: &Arc<Entry>, judged: Judged, ttl_cap: u32, now: Duration) {
        let mut shard = self.shard(self.hasher.hash_one(key));
        if shard.map.get(key).is_some_and(|s| Arc::ptr_eq(&s.entry, seen)) {
            let age = u32::try_from(now.saturating_sub(seen.stored).as_secs()).unwrap_or(u32::MAX);
            let entry = Entry { judged: Some(judged), ttl: seen.ttl.min(age.saturating_add(ttl_cap)), ..(**seen).clone() };
            shard.put(key.clone(), Arc::new(entry), self.shard_limit.load(Ordering::Relaxed), now);
        }
    }

    /// Forgets one entry.
    pub fn remove(&self, key: &Key) {
        self.shard(self.hasher.hash_one(key)).remove(key);
    }

    /// Forgets everything at `name` (and below it with `subtree`), or everything for `None`. Gives the number of entries dropped.
    pub fn flush(&self, name: Option<&Name>, subtree: bool) -> usize {
        let goes = |key: &Key| match name {
            None => true,
            Some(name) if subtree => key.name.is_at_or_below(name),
            Some(name) => key.name == *name,
        };
        self.shards.iter().map(|s| lock(s).retain(|key| !goes(key))).sum()
    }

    /// Entries held, expired ones included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| lock(s).map.len()).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets held, by the cache's own reckoning.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|s| lock(s)).map(|s| s.probation_bytes + s.main_bytes).sum()
    }

    /// Entries that had to make room before they expired, since the start.
    pub fn evicted(&self) -> u64 {
        self.shards.iter().map(|s| lock(s).evicted).sum()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The high bits: the map inside uses the low ones.
        lock(&self.shards[(hash >> 56) as usize % SHARDS])
    }
}

/// A panic elsewhere leaves a shard whole: every change is finished before the next call that could panic.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    weight: usize,
    uses: u8,
    in_main: bool,
}

/// One shard: a short queue on probation, a main queue, and the hashes of those that lately left probation unused.
///
/// A queue may hold places of entries that are gone or have moved ("holes"); eviction steps over them, and [`Shard::compact`] drops them
/// before they outnumber the entries.
#[derive(Debug, Default)]
struct Shard {
    map: HashMap<Key, Held, ahash::RandomState>,
    probation: VecDeque<Key>,
    main: VecDeque<Key>,
    probation_bytes: usize,
    main_bytes: usize,
    evicted: u64,
    ghosts: VecDeque<u64>,
    ghost_set: HashSet<u64, ahash::RandomState>,
}

impl Shard {
    fn put(&mut self, key: Key, entry: Arc<Entry>, limit: usize, now: Duration) {
        let weight = entry.weight();
        if let Some(held) = self.map.get_mut(&key) {
            let bytes = if held.in_main { &mut self.main_bytes } else { &mut self.probation_bytes };
            *bytes = *bytes + weight - held.weight;
            (held.entry, held.weight) = (entry, weight);
        } else {
            let in_main = self.ghost_set.remove(&self.map.hasher().hash_one(&key));
            let (queue, bytes) =
                if in_main { (&mut self.main, &mut self.main_bytes) } else { (&mut self.probation, &mut self.probation_bytes) };
            queue.push_back(key.clone());
            *bytes += weight;
            self.map.insert(key, Held { entry, weight, uses: 0, in_main });
        }
        while self.probation_bytes + self.main_bytes > limit && !self.map.is_empty() {
            if self.main.is_empty() || (self.probation_bytes * 100 > limit * PROBATION_PERCENT && !self.probation.is_empty()) {
                self.evict_from_probation(now);
            } else {
                self.evict_from_main(now);
            }
        }
        self.compact();
    }

    /// Moves the oldest on probation to the main queue if it was used, else out; its hash is remembered.
    fn evict_from_probation(&mut self, now: Duration) {
        let Some(key) = self.probation.pop_front() else { return };
        let hash = self.map.hasher().hash_one(&key);
        let Some(held) = self.map.get_mut(&key).filter(|h| !h.in_main) else { return };
        self.probation_bytes -= held.weight;
        if held.uses > 0 {
            (held.uses, held.in_main) = (0, true);
            self.main_bytes += held.weight;
            self.main.push_back(key);
            return;
        }
        self.evicted += u64::from(held.entry.remaining(now).is_some());
        self.map.remove(&key);
        if self.ghost_set.insert(hash) {
            self.ghosts.push_back(hash);
        }
        // As many ghosts as entries: enough to recognise what comes back soon, and no more.
        while self.ghosts.len() > self.map.len() {
            if let Some(old) = self.ghosts.pop_front() {
                self.ghost_set.remove(&old);
            }
        }
    }

    fn evict_from_main(&mut self, now: Duration) {
        let Some(key) = self.main.pop_front() else { return };
        let Some(held) = self.map.get_mut(&key).filter(|h| h.in_main) else { return };
        if held.uses > 0 {
            held.uses -= 1;
            self.main.push_back(key);
        } else {
            self.main_bytes -= held.weight;
            self.evicted += u64::from(held.entry.remaining(now).is_some());
            self.map.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.map.remove(key) {
            *(if held.in_main { &mut self.main_bytes } else { &mut self.probation_bytes }) -= held.weight;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Key) -> bool) -> usize {
        let gone: Vec<Key> = self.map.keys().filter(|key| !keep(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
        self.compact();
        gone.len()
    }

    fn compact(&mut self) {
        if self.probation.len() + self.main.len() <= 2 * self.map.len() + 64 {
            return;
        }
        let mut seen: HashSet<Key, ahash::RandomState> = HashSet::default();
        let map = &self.map;
        self.probation.retain(|key| map.get(key).is_some_and(|h| !h.in_main) && seen.insert(key.clone()));
        self.main.retain(|key| map.get(key).is_some_and(|h| h.in_main) && seen.insert(key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn entry(owner: &Name, octet: u8, ttl: u32, trust: Trust, stored: u64) -> Entry {
        let set = Rrset::new(owner.clone(), Rtype::A, ttl, vec![vec![192, 0, 2, octet].into()]);
        Entry {
            data: Data::Positive { answer: vec![Arc::new(set)], proof: Vec::new() },
            trust,
            judged: None,
            zone: Name::root(),
            zone_known: true,
            stored: Duration::from_secs(stored),
            ttl,
        }
    }

    #[test]
    fn an_entry_lives_for_its_ttl_and_not_a_second_longer() {
        let cache = RrsetCache::new(1 << 20);
        let owner = name("www.post.example");
        let key = Key::rrset(&owner, Rtype::A);
        cache.offer(key.clone(), entry(&owner, 1, 60, Trust::Authoritative, 10));
        assert_eq!(cache.fresh(&key, Duration::from_secs(10)).unwrap().remaining(Duration::from_secs(69)), Some(1));
        assert!(cache.fresh(&key, Duration::from_secs(70)).is_none());
        assert_eq!(cache.get(&key).unwrap().expired_for(Duration::from_secs(75)), Some(Duration::from_secs(5)));
    }

    /// RFC 2181 section 5.4.1: less trusted data must not replace more trusted data.
    #[test]
    fn less_trusted_data_does_not_replace_fresh_better_data() {
        let cache = RrsetCache::new(1 << 20);
        let owner = name("www.post.example");
        let key = Key::rrset(&owner, Rtype::A);
        let good = entry(&owner, 1, 60, Trust::Authoritative, 0);
        cache.offer(key.clone(), good.clone());
        cache.offer(key.clone(), entry(&owner, 66, 600, Trust::NonAuthoritative, 30));
        assert_eq!(*cache.get(&key).unwrap(), good);
        let late = entry(&owner, 2, 600, Trust::NonAuthoritative, 60);
        cache.offer(key.clone(), late.clone());
        assert_eq!(*cache.get(&key).unwrap(), late);
    }

    #[test]
    fn a_verdict_shortens_the_life_of_what_it_judged_and_of_nothing_else() {
        let cache = RrsetCache::new(1 << 20);
        let owner = name("www.post.example");
        let key = Key::rrset(&owner, Rtype::A);
        cache.offer(key.clone(), entry(&owner, 1, 600, Trust::Authoritative, 0));
        let seen = cache.get(&key).unwrap();
        let now = Duration::from_secs(100);
        cache.settle(&key, &seen, Judged { status: Status::Secure, ede: Vec::new() }, 50, now);
        let settled = cache.get(&key).unwrap();
        assert_eq!((settled.remaining(now), settled.judged.is_some()), (Some(50), true));
        cache.settle(&key, &seen, Judged { status: Status::Indeterminate, ede: Vec::new() }, 1, now);
        assert_eq!(cache.get(&key).unwrap(), settled);
    }

    #[test]
    fn flushing_a_subtree_leaves_its_neighbours() {
        let cache = RrsetCache::new(1 << 20);
        for text in ["post.example", "a.post.example", "notpost.example"] {
            cache.offer(Key::rrset(&name(text), Rtype::A), entry(&name(text), 1, 60, Trust::Authoritative, 0));
        }
        assert_eq!(cache.flush(Some(&name("post.example")), true), 2);
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.flush(None, false), 1);
        assert_eq!(cache.bytes(), 0);
    }

    /// A client that asks for many names once must not push out the names that are asked for again and again.
    #[test]
    fn a_scan_of_names_leaves_the_popular_ones() {
        let cache = RrsetCache::new(SHARDS * 40_000);
        let popular: Vec<Name> = (0..100).map(|i| name(&format!("popular{i}.example"))).collect();
        for owner in &popular {
            cache.offer(Key::rrset(owner, Rtype::A), entry(owner, 1, 60, Trust::Authoritative, 0));
        }
        for i in 0..20_000 {
            if i % 50 == 0 {
                popular.iter().for_each(|owner| drop(cache.get(&Key::rrset(owner, Rtype::A))));
            }
            let owner = name(&format!("scan{i}.example"));
            cache.offer(Key::rrset(&owner, Rtype::A), entry(&owner, 1, 60, Trust::Authoritative, 0));
        }
        let left = popular.iter().filter(|owner| cache.get(&Key::rrset(owner, Rtype::A)).is_some()).count();
        assert!(left >= 95, "{left} of 100 popular names survived");
        // Whatever is gone was pushed out: nothing of it had expired.
        assert_eq!(cache.evicted() as usize, 20_100 - cache.len());
        assert!(cache.bytes() <= SHARDS * 40_000);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Offer(u8, u8, u32, bool),
        Get(u8),
        Remove(u8),
        Flush(u8),
        Pass(u8),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (0u8..12, any::<u8>(), 1u32..100, any::<bool>()).prop_map(|(n, o, t, a)| Op::Offer(n, o, t, a)),
            4 => (0u8..12).prop_map(Op::Get),
            1 => (0u8..12).prop_map(Op::Remove),
            1 => (0u8..12).prop_map(Op::Flush),
            2 => (0u8..60).prop_map(Op::Pass),
        ];
        proptest::collection::vec(op, 0..200)
    }

    proptest! {
        /// Beside a plain map: a roomy cache agrees with it, a tight one never shows anything else and keeps to its limit.
        #[test]
        fn it_behaves_like_a_map_that_may_forget(ops in ops()) {
            let (roomy, tight) = (RrsetCache::new(1 << 24), RrsetCache::new(SHARDS * 1200));
            let mut model: HashMap<Key, Entry> = HashMap::new();
            let mut now = 0;
            for op in ops {
                let key = |n: u8| Key::rrset(&name(&format!("n{n}.example")), Rtype::A);
                match op {
                    Op::Offer(n, octet, ttl, aa) => {
                        let trust = if aa { Trust::Authoritative } else { Trust::NonAuthoritative };
                        let new = entry(&key(n).name, octet, ttl, trust, now);
                        roomy.offer(key(n), new.clone());
                        // The tight cache may have forgotten what would have stopped this, so it is told only what the model takes.
                        if model.get(&key(n)).is_none_or(|old| old.trust <= trust || old.remaining(new.stored).is_none()) {
                            tight.offer(key(n), new.clone());
                            model.insert(key(n), new);
                        }
                    }
                    Op::Get(n) => {
                        let found = roomy.get(&key(n));
                        prop_assert_eq!(found.as_deref(), model.get(&key(n)));
                        if let Some(entry) = tight.get(&key(n)) {
                            prop_assert_eq!(Some(&*entry), model.get(&key(n)));
                        }
                    }
                    Op::Remove(n) => {
                        roomy.remove(&key(n));
                        tight.remove(&key(n));
                        model.remove(&key(n));
                    }
                    Op::Flush(n) => {
                        tight.flush(Some(&key(n).name), true);
                        prop_assert_eq!(roomy.flush(Some(&key(n).name), true), usize::from(model.remove(&key(n)).is_some()));
                    }
                    Op::Pass(seconds) => now += u64::from(seconds),
                }
                prop_assert!(tight.bytes() <= SHARDS * 1200);
            }
            prop_assert_eq!(roomy.len(), model.len());
        }
    }
}
