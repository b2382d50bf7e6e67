//! Randomness that is the same on every run: names, addresses, keys and contents of the lab all come from one number.
//!
//! SHA-256 over a path of labels gives each use its own stream, so that a zone added to the plan changes no other zone.
//! Nothing here is secret, and nothing outside the lab may use it.

use ring::digest::{Context, SHA256};

/// A place in the tree of seeds.
#[derive(Debug, Clone)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    /// The root of the tree for a number that a user can type.
    pub(crate) fn new(number: u64) -> Seed {
        Seed(hash(&[b"postern lab", &number.to_be_bytes()]))
    }

    /// The seed for one use, named by `label`.
    pub(crate) fn child(&self, label: &str) -> Seed {
        Seed(hash(&[&self.0, label.as_bytes()]))
    }

    /// 32 octets, always the same for this seed: a private key, a salt.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// An endless stream of numbers from this seed.
    pub(crate) fn stream(&self) -> Stream {
        Stream { seed: self.0, block: [0; 32], used: 32, counter: 0 }
    }
}

/// Numbers drawn one after the other.
#[derive(Debug)]
pub(crate) struct Stream {
    seed: [u8; 32],
    block: [u8; 32],
    used: usize,
    counter: u64,
}

impl Stream {
    /// The next 32 bits.
    pub(crate) fn next(&mut self) -> u32 {
        if self.used == 32 {
            self.block = hash(&[&self.seed, &self.counter.to_be_bytes()]);
            self.counter += 1;
            self.used = 0;
        }
        let word = [0, 1, 2, 3].map(|i| self.block[self.used + i]);
        self.used += 4;
        u32::from_be_bytes(word)
    }

    /// A number below `bound`, which is not 0. The tiny bias does not matter here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_other_labels_give_others() {
        let draw = |label: &str| {
            let mut stream = Seed::new(7).child(label).stream();
            (0..20).map(|_| stream.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
        assert_ne!(Seed::new(7).bytes(), Seed::new(8).bytes());
    }
}
