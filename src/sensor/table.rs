//! A map that stays bounded: state about strangers, kept for a while and never more than so many at once.
//!
//! Fragments, streams, queries without a response and bypasses told already all live here. The clock is the packets' own; where a
//! capture file lies about it, the count still bounds what is kept. Keys are hashed with a random seed: outsiders choose them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// A map of at most `capacity` entries that forgets the one longest untouched.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: HashMap<K, Entry<V>, ahash::RandomState>,
    /// Keys by the time they were put at the back; an entry touched since goes to the back again before it is forgotten.
    order: VecDeque<(K, u64)>,
    capacity: usize,
    stamp: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    touched: Duration,
    /// Stamp of its place in `order`.
    place: u64,
    /// Touched since it took that place.
    moved: bool,
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    /// An empty table.
    pub(super) fn new(capacity: usize) -> Table<K, V> {
        Table { entries: HashMap::default(), order: VecDeque::new(), capacity: capacity.max(1), stamp: 0 }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry, which becomes the youngest.
    pub(super) fn touch(&mut self, key: &K, at: Duration) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.touched = at;
        entry.moved = true;
        Some(&mut entry.value)
    }

    /// The entry, its age unchanged.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// Puts an entry in, or another value into it; gives what had to be forgotten for it.
    pub(super) fn insert(&mut self, key: K, value: V, at: Duration) -> Option<(K, V)> {
        let evicted = if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) { self.pop_oldest() } else { None };
        self.stamp += 1;
        self.entries.insert(key, Entry { value, touched: at, place: self.stamp, moved: false });
        self.order.push_back((key, self.stamp));
        if self.order.len() > 2 * self.capacity + 16 {
            let entries = &self.entries;
            self.order.retain(|(key, place)| entries.get(key).is_some_and(|entry| entry.place == *place));
        }
        evicted
    }

    /// The entry longest untouched, if it has been so for longer than `patience` at `now`.
    pub(super) fn pop_expired(&mut self, now: Duration, patience: Duration) -> Option<(K, V)> {
        let key = self.oldest()?;
        if now.saturating_sub(self.entries[&key].touched) <= patience {
            return None;
        }
        self.remove(&key).map(|value| (key, value))
    }

    /// Takes out the entry longest untouched.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = self.oldest()?;
        self.remove(&key).map(|value| (key, value))
    }

    /// Settles the front of the order: gone entries leave it, touched ones go to the back.
    fn oldest(&mut self) -> Option<K> {
        loop {
            let &(key, place) = self.order.front()?;
            match self.entries.get_mut(&key) {
                Some(entry) if entry.place == place && !entry.moved => return Some(key),
                Some(entry) if entry.place == place => {
                    self.stamp += 1;
                    entry.place = self.stamp;
                    entry.moved = false;
                    self.order.push_back((key, self.stamp));
                }
                _ => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_table_forgets_what_was_longest_untouched() {
        let mut table = Table::new(2);
        table.insert(1, 'a', SECOND);
        table.insert(2, 'b', SECOND);
        table.touch(&1, 2 * SECOND);
        assert_eq!(table.insert(3, 'c', 3 * SECOND), Some((2, 'b')));
        assert_eq!((table.peek(&1), table.peek(&2), table.peek(&3)), (Some(&'a'), None, Some(&'c')));
        assert_eq!(table.pop_expired(4 * SECOND, 2 * SECOND), None);
        assert_eq!(table.pop_expired(5 * SECOND, 2 * SECOND), Some((1, 'a')));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may(steps in proptest::collection::vec((0u8..4, 0u16..40, 0u64..9), 0..400)) {
            let mut table = Table::new(7);
            for (what, key, at) in steps {
                let at = Duration::from_secs(at);
                match what {
                    0 | 1 => drop(table.insert(key, (), at)),
                    2 => drop(table.remove(&key)),
                    _ => {
                        table.touch(&key, at);
                        table.pop_expired(at, SECOND);
                    }
                }
                prop_assert!(table.len() <= 7 && table.order.len() <= 7 * 2 + 16);
            }
            let held = table.len();
            prop_assert_eq!(std::iter::from_fn(|| table.pop_oldest()).count(), held);
        }
    }
}
