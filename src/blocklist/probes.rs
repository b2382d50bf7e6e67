//! What became of the filter's maybes, counted where names are looked up and read by whoever reports.
//!
//! Every worker meets some, so each thread counts in a cell of its own: no two write to one cache line before there are more than
//! [`CELLS`] of them, and then nothing worse happens than that.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Cells of one list, 4 KiB in all: more than the processors of any box that this is made for.
const CELLS: usize = 32;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The cell of this thread, the same in every list.
    static CELL: usize = NEXT.fetch_add(1, Relaxed) % CELLS;
}

/// Two cache lines, because CPUs fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Cell {
    maybes: AtomicU64,
    denied: AtomicU64,
}

/// The counts of one list.
#[derive(Default)]
pub(super) struct Probes(Box<[Cell; CELLS]>);

impl Probes {
    /// The filter said maybe and the list was read; `denied` where it has no such entry.
    pub(super) fn note(&self, denied: bool) {
        let cell = &self.0[CELL.with(|cell| *cell)];
        cell.maybes.fetch_add(1, Relaxed);
        if denied {
            cell.denied.fetch_add(1, Relaxed);
        }
    }

    /// Maybes, and those that the list denied.
    pub(super) fn sum(&self) -> (u64, u64) {
        let sum = |count: fn(&Cell) -> &AtomicU64| self.0.iter().map(|cell| count(cell).load(Relaxed)).sum();
        (sum(|cell| &cell.maybes), sum(|cell| &cell.denied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_note_adds_up() {
        let probes = Probes::default();
        std::thread::scope(|scope| {
            for _ in 0..CELLS + 8 {
                scope.spawn(|| (0..1000).for_each(|i| probes.note(i % 4 == 0)));
            }
        });
        assert_eq!(probes.sum(), (1000 * (CELLS as u64 + 8), 250 * (CELLS as u64 + 8)));
    }
}
