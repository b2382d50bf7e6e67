//! What has been proven about zones: their keys, or that they are Insecure, until the proof runs out.
//!
//! Bounded by entries in two generations: when the young one is full it becomes the old one, and what is used moves back. Names come
//! from outsiders, so hashing is keyed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Insecurity;
use super::dnskey::Dnskey;
use crate::wire::Name;

/// The validated DNSKEY RRset of a zone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ZoneKeys {
    pub(crate) zone: Name,
    pub(crate) rdatas: Vec<Box<[u8]>>,
}

impl ZoneKeys {
    pub(crate) fn keys(&self) -> Vec<Dnskey<'_>> {
        self.rdatas.iter().filter_map(|r| Dnskey::read(r)).collect()
    }
}

/// What is proven about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// A signed zone with these keys.
    Signed(Arc<ZoneKeys>),
    /// A zone cut, or an opt-out span, below which nothing is signed.
    Insecure(Insecurity),
}

#[derive(Debug, Clone)]
struct Entry {
    known: Known,
    /// Unix seconds; a clock that went back before `since` voids the entry too.
    since: u64,
    until: u64,
}

type Map = HashMap<Name, Entry, ahash::RandomState>;

#[derive(Debug, Default)]
struct Generations {
    young: Map,
    old: Map,
}

/// The store.
#[derive(Debug)]
pub(crate) struct ZoneStore {
    half: usize,
    maps: Mutex<Generations>,
}

impl ZoneStore {
    pub(crate) fn new(capacity: usize) -> ZoneStore {
        ZoneStore { half: (capacity / 2).max(1), maps: Mutex::default() }
    }

    /// What is known about `name` itself at `now`.
    pub(crate) fn at(&self, name: &Name, now: u64) -> Option<Known> {
        let mut guard = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let maps = &mut *guard;
        if let Some(entry) = maps.young.get(name) {
            return (entry.since <= now && now < entry.until).then(|| entry.known.clone());
        }
        let entry = maps.old.remove(name).filter(|e| e.since <= now && now < e.until)?;
        let known = entry.known.clone();
        self.put(maps, name.clone(), entry);
        Some(known)
    }

    /// Remembers for `ttl` seconds from `now`.
    pub(crate) fn insert(&self, name: Name, known: Known, now: u64, ttl: u32) {
        if ttl > 0 {
            let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            self.put(&mut maps, name, Entry { known, since: now, until: now + u64::from(ttl) });
        }
    }

    pub(crate) fn forget(&self, name: &Name) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.young.remove(name);
        maps.old.remove(name);
    }

    pub(crate) fn clear(&self) {
        *self.maps.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }

    fn put(&self, maps: &mut Generations, name: Name, entry: Entry) {
        if maps.young.len() >= self.half {
            maps.old = std::mem::take(&mut maps.young);
        }
        maps.young.insert(name, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: u32) -> Name {
        format!("z{i}.example").parse().unwrap()
    }

    #[test]
    fn a_proof_is_forgotten_when_it_runs_out_or_the_clock_goes_back() {
        let store = ZoneStore::new(10);
        store.insert(name(1), Known::Insecure(Insecurity::NoDs), 1000, 60);
        assert_eq!(store.at(&name(1), 1059), Some(Known::Insecure(Insecurity::NoDs)));
        assert_eq!(store.at(&name(1), 1060), None);
        assert_eq!(store.at(&name(1), 999), None);
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let store = ZoneStore::new(100);
        for i in 0..10_000 {
            store.insert(name(i), Known::Insecure(Insecurity::NoDs), 0, 60);
            assert!(store.at(&name(0), 1).is_some(), "used every time");
        }
        let maps = store.maps.lock().unwrap();
        assert!(maps.young.len() + maps.old.len() <= 100);
    }
}
