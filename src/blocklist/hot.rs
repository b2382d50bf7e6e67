//! Blocks read lately, bounded by octets: a list of popular scams is answered from RAM, a scan over the whole list is not.

use std::sync::{Arc, Mutex, PoisonError};

use super::format::BLOCK;

/// A block as read and checked.
pub(super) type Block = Arc<[u8; BLOCK]>;

/// Shards, so that workers seldom meet at a lock that is held for some nanoseconds.
const SHARDS: usize = 16;

struct Slot {
    number: u32,
    used: bool,
    block: Block,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    hand: usize,
}

/// The cache: second-chance eviction, so that one pass over many blocks does not throw out those asked for again and again.
pub(super) struct Hot {
    shards: [Mutex<Shard>; SHARDS],
    per_shard: usize,
}

impl Hot {
    /// A cache of at most `bytes` octets, at least one block a shard.
    pub(super) fn new(bytes: usize) -> Hot {
        Hot { shards: Default::default(), per_shard: (bytes / BLOCK / SHARDS).max(1) }
    }

    fn shard(&self, number: u32) -> &Mutex<Shard> {
        &self.shards[number as usize % SHARDS]
    }

    /// The block, where it is there.
    pub(super) fn get(&self, number: u32) -> Option<Block> {
        let mut shard = self.shard(number).lock().unwrap_or_else(PoisonError::into_inner);
        let slot = shard.slots.iter_mut().find(|s| s.number == number)?;
        slot.used = true;
        Some(slot.block.clone())
    }

    /// Keeps a block.
    pub(super) fn put(&self, number: u32, block: Block) {
        let mut shard = self.shard(number).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.slots.iter().any(|s| s.number == number) {
            return;
        }
        let slot = Slot { number, used: false, block };
        if shard.slots.len() < self.per_shard {
            shard.slots.push(slot);
            return;
        }
        loop {
            let hand = shard.hand;
            shard.hand = (hand + 1) % shard.slots.len();
            if !std::mem::take(&mut shard.slots[hand].used) {
                shard.slots[hand] = slot;
                return;
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap().slots.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_asked_for_again() {
        let hot = Hot::new(64 * BLOCK);
        for number in 0..10_000 {
            hot.put(number, Arc::new([number as u8; BLOCK]));
            assert!(hot.get(0).is_some(), "block 0 was thrown out by {number}");
        }
        assert_eq!(hot.len(), 64);
        assert_eq!(hot.get(0).unwrap()[0], 0);
    }
}
