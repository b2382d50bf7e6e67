//! Randomness for message IDs, 0x20 and the choice of servers: from the system, or from a seed so that a scenario replays.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers.
#[derive(Debug)]
pub enum Dice {
    /// The system's generator: what outsiders must not guess (RFC 5452 section 9.2) comes from here.
    System,
    /// A fixed sequence, for tests.
    Seeded(AtomicU64),
}

impl Dice {
    /// A sequence that depends on nothing but `seed`.
    pub fn seeded(seed: u64) -> Dice {
        Dice::Seeded(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub(super) fn roll(&self) -> u64 {
        match self {
            Dice::System => getrandom::u64().expect("the kernel's generator works once the machine is up"),
            Dice::Seeded(state) => {
                // SplitMix64, the usual generator to expand a seed.
                let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
                z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ z >> 31
            }
        }
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }
}
