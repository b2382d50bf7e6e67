//! What a list costs: building it, its size on disk and in RAM, and a lookup.
//!
//! `cargo bench --bench lists` measures a synthetic million; `cargo bench --bench lists -- HOSTS...` also builds real lists (one name a
//! line or hosts files), asks every name of theirs that was not held back, and 100,000 names near them that are not listed.
//! `-- --entries N` changes the size of the synthetic list. Prints one line a figure; panics where an answer is wrong.
#![allow(clippy::disallowed_methods, reason = "a bench reads files and the clock")]

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern::blocklist::build::{Options, Report, Source, build};
use postern::blocklist::parse::{self, Found, Reading};
use postern::blocklist::{Action, List, Lookup, Scope, Suffixes};
use postern::wire::Name;

/// A small generator with a fixed seed (SplitMix64), so that each run asks the same names.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Octets of anonymous memory of this process, from /proc.
fn rss_anon() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench runs on Linux");
    let line = status.lines().find(|l| l.starts_with("RssAnon")).expect("the kernel reports RssAnon");
    line.split_ascii_whitespace().nth(1).and_then(|k| k.parse::<u64>().ok()).expect("in kB") * 1024
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn built(list: &Path, text: &Path, scope: Option<Scope>) -> Report {
    let file = File::open(text).expect("the list of names can be read");
    let source = Source {
        name: text.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        text: Box::new(BufReader::with_capacity(1 << 16, file)),
        reading: Reading { scope, ..Reading::default() },
    };
    build(vec![source], &Options::new("bench", 1, 1), list, &mut |_| ()).expect("the list can be built")
}

/// Median time of one call over chunks of names in random order.
fn median(names: &[Suffixes], mut ask: impl FnMut(&Suffixes)) -> f64 {
    let mut chunks: Vec<f64> = names
        .chunks(1000)
        .map(|chunk| {
            let start = Instant::now();
            chunk.iter().for_each(&mut ask);
            start.elapsed().as_nanos() as f64 / chunk.len() as f64
        })
        .collect();
    chunks.sort_by(f64::total_cmp);
    chunks[chunks.len() / 2]
}

/// Names of 3 to 5 labels that no list here has.
fn unlisted(count: usize) -> Vec<Name> {
    let mut random = Random(99);
    let suffixes = ["com", "net", "org", "co.uk", "de", "example"];
    (0..count)
        .map(|_| {
            let host = ["www", "mail", "cdn-1.eu", "api"][random.below(4)];
            let text = format!("{host}.site{:x}.{}", random.next() >> 20, suffixes[random.below(6)]);
            text.parse().expect("a legal name")
        })
        .collect()
}

fn figures(label: &str, path: &Path, listed: &[Name]) {
    let before = rss_anon();
    let start = Instant::now();
    let list = List::open(path).expect("the list opens");
    println!("{label}: open {:.1} ms, {} entries, file {:.1} MiB", millis(start.elapsed()), list.len(), mib(list.file_bytes()));
    let start = Instant::now();
    list.verify().expect("the list keeps its word");
    println!("{label}: verify whole {:.0} ms", millis(start.elapsed()));
    let grown = |list: &List| {
        println!(
            "{label}: RssAnon grew by {:.1} MiB (accounted {:.1})",
            mib(rss_anon().saturating_sub(before)),
            mib(list.resident_bytes() as u64)
        );
    };
    for name in listed.iter().step_by((listed.len() / 20_000).max(1)) {
        black_box(list.lookup(&Suffixes::of(name), Action::Block, 0, true));
    }
    grown(&list);
    let free = unlisted(1_000_000);
    let free_ready: Vec<Suffixes> = free.iter().take(200_000).map(Suffixes::of).collect();
    let mut wrong = 0u32;
    let walk = median(&free_ready, |s| wrong += u32::from(matches!(list.lookup(s, Action::Block, 0, true), Lookup::Listed(_))));
    drop(free_ready);
    let mut chunks: Vec<f64> = free
        .chunks(1000)
        .map(|chunk| {
            let start = Instant::now();
            for name in chunk {
                black_box(list.lookup(&Suffixes::of(black_box(name)), Action::Block, 0, true));
            }
            start.elapsed().as_nanos() as f64 / chunk.len() as f64
        })
        .collect();
    chunks.sort_by(f64::total_cmp);
    assert_eq!(wrong, 0, "unlisted names are listed");
    println!("{label}: unlisted lookup, median of 1,000,000 names: {:.0} ns with hashing, {walk:.0} ns without", chunks[chunks.len() / 2]);
    let ask = |s: &Suffixes| {
        black_box(list.lookup(s, Action::Block, 0, true));
    };
    let warm: Vec<Suffixes> = listed.iter().take(100).map(Suffixes::of).cycle().take(100_000).collect();
    warm.iter().take(1000).for_each(ask);
    println!("{label}: listed lookup, warm block: {:.0} ns", median(&warm, ask));
    let mut random = Random(5);
    let cold: Vec<Suffixes> = (0..100_000).map(|_| Suffixes::of(&listed[random.below(listed.len())])).collect();
    println!("{label}: listed lookup, any block: {:.0} ns", median(&cold, ask));
    assert_eq!(list.faults(), 0);
}

fn synthetic(directory: &Path, entries: usize) {
    let (text, path) = (directory.join("synthetic.txt"), directory.join("synthetic.plist"));
    let mut out = std::io::BufWriter::new(File::create(&text).expect("a temporary file"));
    let (mut random, mut listed) = (Random(1), Vec::new());
    for i in 0..entries {
        let word = ["track", "parcel", "post-fee", "delivery", "usps-com", "redeliver"][random.below(6)];
        let tld = ["com", "top", "xyz", "info", "cfd", "live"][random.below(6)];
        let name = format!("{word}{:x}.{tld}", (random.next() >> 24) ^ i as u64);
        writeln!(out, "{name}").expect("room on the disk");
        if i % (entries / 100_000).max(1) == 0 {
            listed.push(name.parse().expect("a legal name"));
        }
    }
    out.flush().expect("room on the disk");
    drop(out);
    let start = Instant::now();
    let report = built(&path, &text, None);
    let took = start.elapsed();
    println!(
        "synthetic {entries}: built in {:.2} s, {} entries, {} duplicates, file {:.1} MiB",
        took.as_secs_f64(),
        report.counts.entries,
        report.counts.duplicates,
        mib(report.file_bytes)
    );
    figures(&format!("synthetic {entries}"), &path, &listed);
}

/// Builds a real list, asks all its names and as many near them.
fn real(directory: &Path, text: &Path, scope: Scope) {
    let label = format!("{} ({})", text.file_name().unwrap_or_default().to_string_lossy(), scope.label());
    let path = directory.join("real.plist");
    let start = Instant::now();
    let report = built(&path, text, Some(scope));
    let counts = report.counts;
    println!(
        "{label}: built in {:.2} s, {} entries, {} duplicates, {} bad lines",
        start.elapsed().as_secs_f64(),
        counts.entries,
        counts.duplicates,
        counts.bad_lines
    );
    let mut reasons = std::collections::BTreeMap::<&str, u32>::new();
    report.held_back.iter().for_each(|h| *reasons.entry(h.why.label()).or_default() += 1);
    println!("{label}: {} held back {reasons:?}", counts.held_back);
    let shown: Vec<String> = report.held_back.iter().take(25).map(|h| format!("{} ({})", h.name, h.why)).collect();
    println!("{label}: held back: {}", shown.join(", "));

    let mut names = Vec::new();
    let file = BufReader::new(File::open(text).expect("the list of names can be read"));
    parse::read(file, Reading::default(), &mut |found, _| {
        if let Found::Rule(rule) = found {
            names.push(rule.name);
        }
    })
    .expect("the list of names can be read");
    let held: HashSet<&Name> = report.held_back.iter().map(|h| &h.name).collect();
    let all: HashSet<&Name> = names.iter().filter(|n| !held.contains(n)).collect();
    let list = List::open(&path).expect("the list opens");
    let blocked = |name: &Name| matches!(list.lookup(&Suffixes::of(name), Action::Block, 0, true), Lookup::Listed(_));
    assert!(all.iter().all(|n| blocked(n)), "a name that was not held back is not blocked");
    println!("{label}: all {} names that were not held back are blocked", all.len());
    let mut asked = 0;
    let mut random = Random(3);
    for (i, name) in names.iter().cycle().take(names.len() * 4).enumerate() {
        let near: Option<Name> = match i % 4 {
            0 => name.parent(),
            1 => name.parent().and_then(|p| p.child(b"sibling-of-it").ok()),
            2 => {
                let mut wire = name.wire().to_vec();
                wire[1] = b'a' + random.below(26) as u8;
                Name::from_wire(&wire).ok()
            }
            _ => name.child(b"below").ok(),
        };
        let Some(near) = near.filter(|n| !n.is_root()) else { continue };
        let expected = match scope {
            Scope::Exact => all.contains(&near),
            Scope::Subtree => near.self_and_ancestors().any(|n| all.contains(&n)),
        };
        assert_eq!(blocked(&near), expected, "{near}");
        asked += u32::from(!expected);
        if asked == 100_000 {
            break;
        }
    }
    println!("{label}: {asked} unlisted parents, siblings, near misses and names below are not blocked");
    drop(list);
    let listed: Vec<Name> = all.into_iter().cloned().collect();
    figures(&label, &path, &listed);
}

fn main() {
    let mut entries = 1_000_000;
    let mut files: Vec<PathBuf> = Vec::new();
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(argument) = arguments.next() {
        if argument == "--entries" {
            entries = arguments.next().and_then(|n| n.parse().ok()).expect("--entries takes a number");
        } else {
            files.push(argument.into());
        }
    }
    let directory = std::env::temp_dir().join(format!("postern-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    synthetic(&directory, entries);
    for file in &files {
        real(&directory, file, Scope::Exact);
        real(&directory, file, Scope::Subtree);
    }
    std::fs::remove_dir_all(&directory).expect("the temporary directory is ours");
}
