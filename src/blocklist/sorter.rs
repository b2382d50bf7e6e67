//! Sorting more entries than fit in memory: sorted runs are spooled to unlinked files and merged.
//!
//! A record is `key | rank | meta` with the two lengths in front. Keys end in an octet that no label has, so that octet order of
//! `key | rank` is the order of keys first: equal names meet, the one to keep in front.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Octets of the rank: scope, source, line.
pub(super) const RANK: usize = 7;
/// Octets of a record before the key.
const LENGTHS: usize = 2;

/// A file that is gone when it is closed, whatever happens to the process.
pub(super) fn spool(directory: &Path) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let path = directory.join(format!(".plist-spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Collects records in one piece of memory; what does not fit goes to disk in sorted runs.
pub(super) struct Sorter<'a> {
    directory: &'a Path,
    budget: usize,
    arena: Vec<u8>,
    starts: Vec<u32>,
    runs: Vec<File>,
    records: u64,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(directory: &'a Path, budget: usize) -> Sorter<'a> {
        // Starts are 32 bits wide, so an arena never holds more than 4 GiB.
        let budget = budget.clamp(4096, u32::MAX as usize / 2);
        Sorter { directory, budget, arena: Vec::new(), starts: Vec::new(), runs: Vec::new(), records: 0 }
    }

    /// Records pushed so far.
    pub(super) fn len(&self) -> u64 {
        self.records
    }

    /// Adds a record; `key` and `meta` are at most 255 octets each, less the rank.
    pub(super) fn push(&mut self, key: &[u8], rank: [u8; RANK], meta: &[u8]) -> io::Result<()> {
        if self.arena.len() + self.starts.len() * 4 >= self.budget {
            self.spill()?;
        }
        self.starts.push(self.arena.len() as u32);
        self.arena.extend_from_slice(&[key.len() as u8, meta.len() as u8]);
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(&rank);
        self.arena.extend_from_slice(meta);
        self.records += 1;
        Ok(())
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.starts.sort_unstable_by(|&a, &b| sort_key(&arena[a as usize..]).cmp(sort_key(&arena[b as usize..])));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut out = BufWriter::with_capacity(256 * 1024, spool(self.directory)?);
        for &start in &self.starts {
            out.write_all(record(&self.arena[start as usize..]))?;
        }
        let mut run = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.arena.clear();
        self.starts.clear();
        Ok(())
    }

    /// Gives all records in order as key and meta.
    pub(super) fn drain(mut self, mut sink: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.runs.is_empty() {
            self.sort();
            return self.starts.iter().try_for_each(|&start| {
                let (key, meta) = parts(&self.arena[start as usize..]);
                sink(key, meta)
            });
        }
        self.spill()?;
        (self.arena, self.starts) = (Vec::new(), Vec::new());
        let mut runs: Vec<_> = self.runs.into_iter().map(|run| BufReader::with_capacity(64 * 1024, run)).collect();
        let mut heap = BinaryHeap::new();
        for (i, run) in runs.iter_mut().enumerate() {
            if let Some(head) = Head::read(run, i)? {
                heap.push(Reverse(head));
            }
        }
        while let Some(Reverse(head)) = heap.pop() {
            let (key, meta) = parts(&head.record);
            sink(key, meta)?;
            if let Some(next) = Head::read(&mut runs[head.run], head.run)? {
                heap.push(Reverse(next));
            }
        }
        Ok(())
    }
}

fn record(bytes: &[u8]) -> &[u8] {
    &bytes[..LENGTHS + usize::from(bytes[0]) + RANK + usize::from(bytes[1])]
}

fn sort_key(bytes: &[u8]) -> &[u8] {
    &bytes[LENGTHS..LENGTHS + usize::from(bytes[0]) + RANK]
}

fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    let whole = record(bytes);
    let key = usize::from(bytes[0]);
    (&whole[LENGTHS..LENGTHS + key], &whole[LENGTHS + key + RANK..])
}

/// The next record of a run.
#[derive(PartialEq, Eq)]
struct Head {
    record: Vec<u8>,
    run: usize,
}

impl Head {
    fn read(run: &mut impl Read, number: usize) -> io::Result<Option<Head>> {
        let mut lengths = [0u8; LENGTHS];
        match run.read_exact(&mut lengths) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut record = vec![0; LENGTHS + usize::from(lengths[0]) + RANK + usize::from(lengths[1])];
        record[..LENGTHS].copy_from_slice(&lengths);
        run.read_exact(&mut record[LENGTHS..])?;
        Ok(Some(Head { record, run: number }))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> std::cmp::Ordering {
        sort_key(&self.record).cmp(sort_key(&other.record)).then(self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_disk_give_the_same_order_as_memory() {
        let sorted = |budget| {
            let directory = std::env::temp_dir();
            let mut sorter = Sorter::new(&directory, budget);
            for i in 0u32..5000 {
                let key = format!("k{}\0\x01", i.wrapping_mul(2_654_435_761) % 3000);
                sorter.push(key.as_bytes(), [0, 0, 0, 0, 0, (i >> 8) as u8, i as u8], &i.to_le_bytes()).unwrap();
            }
            let mut out = Vec::new();
            sorter
                .drain(|key, meta| {
                    out.push((key.to_vec(), meta.to_vec()));
                    Ok(())
                })
                .unwrap();
            out
        };
        let in_memory = sorted(usize::MAX);
        assert_eq!(in_memory.len(), 5000);
        assert!(in_memory.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(sorted(4096), in_memory);
    }
}
