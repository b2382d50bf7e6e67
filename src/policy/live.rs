//! The policy in force: one pointer that every worker reads and that one change at a time replaces.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::engine::{Engine, Parts};

/// Holds the snapshot in force. A query reads it once and keeps to it: it is answered by the old policy or the new one, never a mix.
#[derive(Debug)]
pub struct Live {
    engine: ArcSwap<Engine>,
    /// Held while the next snapshot is made, so that two changes do not lose each other.
    change: Mutex<()>,
}

impl Live {
    /// The first snapshot, with generation 1.
    pub fn new(parts: Parts) -> Live {
        Live { engine: ArcSwap::from_pointee(Engine::new(parts, 1)), change: Mutex::new(()) }
    }

    /// The snapshot in force, without a lock. Not to be held across anything long: it keeps old lists in memory.
    pub fn load(&self) -> Guard<Arc<Engine>> {
        self.engine.load()
    }

    /// Makes the next snapshot from the parts of this one, and puts it in force by one pointer store; gives its generation.
    pub fn change(&self, edit: impl FnOnce(&mut Parts)) -> u64 {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.engine.load();
        let mut parts = current.parts().clone();
        edit(&mut parts);
        let generation = current.generation() + 1;
        self.engine.store(Arc::new(Engine::new(parts, generation)));
        generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_from_many_threads_all_arrive() {
        let live = Live::new(Parts::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let live = &live;
                scope.spawn(move || {
                    for i in 0..50 {
                        live.change(|parts| parts.local.push(format!("n{i}.t{thread}.example").parse().unwrap()));
                    }
                });
            }
        });
        assert_eq!((live.load().generation(), live.load().parts().local.len()), (201, 200));
    }
}
