//! List files made by somebody who wants to harm: a good file with any octets changed and every checksum put right again.
//!
//! The input is a row of changes (three octets of offset, one of value). Invariants: opening and looking up never panic; a file that
//! passes `verify` answers for every name as its own entries say.
#![no_main]

use std::fs::File;
use std::hash::Hasher;
use std::io::{Cursor, Write};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use postern::blocklist::build::{self, Options, Source};
use postern::blocklist::file::Waiting;
use postern::blocklist::format::BLOCK;
use postern::blocklist::parse::Reading;
use postern::blocklist::{Action, List, Lookup, Protected, Scope, Suffixes};
use postern::wire::Name;
use ring::digest::{SHA256, digest};
use siphasher::sip::SipHasher13;

/// Probes that lie at, below, above and beside the entries of the good file.
const PROBES: [&str; 8] = [
    "host7.scam.example",
    "below.host7.scam.example",
    "tree3.example.net",
    "deep.below.tree3.example.net",
    "free.example.org",
    "beside.example.org",
    "example.net",
    "example",
];

fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut hosts = String::new();
        let mut plain = String::new();
        for number in 0..300 {
            hosts.push_str(&format!("0.0.0.0 host{number}.scam.example\n"));
            plain.push_str(&format!("tree{number}.example.net\n"));
        }
        let source = |name: &str, text: String, action| Source {
            name: name.to_owned(),
            text: Box::new(Cursor::new(text)),
            reading: Reading { action, ..Reading::default() },
        };
        let sources = vec![
            source("hosts", hosts, Action::Block),
            source("plain", plain, Action::Block),
            source("allow", "free.example.org\n".to_owned(), Action::Allow),
        ];
        let options = Options { protected: Protected::default(), ..Options::new("fuzz", 1, 1_700_000_000) };
        let path = std::env::temp_dir().join(format!("postern-fuzz-{}.plist", std::process::id()));
        build::build(sources, &options, &path, &mut |_| ()).expect("a good list is built");
        let bytes = std::fs::read(&path).expect("it was written");
        let _ = std::fs::remove_file(&path);
        bytes
    })
}

/// Puts right what a changed octet breaks: block checksums, section digests, the digest of the header.
fn reseal(file: &mut [u8]) {
    const TABLE: usize = 64;
    const ROW: usize = 56;
    let word = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight octets"));
    for row in (0..5).map(|row| TABLE + ROW * row) {
        let kind = u64::from(file[row]);
        let (offset, length) = (word(file, row + 8) as usize, word(file, row + 16) as usize);
        let Some(section) = offset.checked_add(length).and_then(|end| file.get_mut(offset..end)) else { continue };
        if kind <= 2 {
            for (number, block) in section.chunks_exact_mut(BLOCK).enumerate() {
                let mut hasher = SipHasher13::new_with_keys(kind, number as u64);
                hasher.write(&block[8..]);
                block[..8].copy_from_slice(&hasher.finish().to_le_bytes());
            }
        }
        let sum = digest(&SHA256, section);
        file[row + 24..row + 56].copy_from_slice(sum.as_ref());
    }
    let sum = digest(&SHA256, &file[..BLOCK - 32]);
    file[BLOCK - 32..BLOCK].copy_from_slice(sum.as_ref());
}

fn open(bytes: &[u8]) -> Option<List> {
    let path = std::env::temp_dir().join(format!("postern-fuzz-{}.open", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a scratch file");
    file.write_all(bytes).expect("room for a scratch file");
    let _ = std::fs::remove_file(&path);
    List::open_file(file, Arc::new(Waiting), 1 << 16).ok()
}

fuzz_target!(|input: &[u8]| {
    let mut file = good().to_vec();
    for change in input.chunks_exact(4) {
        let at = usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let length = file.len();
        file[at % length] = change[3];
    }
    reseal(&mut file);
    let list = open(&file);
    if input.len() < 4 {
        assert!(list.as_ref().is_some_and(|list| list.verify().is_ok()), "resealing spoils the good file");
    }
    let Some(list) = list else { return };
    let probe = |name: &Name, action| list.lookup(&Suffixes::of(name), action, 0, true);
    let probes = PROBES.map(|text| text.parse::<Name>().expect("a name"));
    for name in &probes {
        probe(name, Action::Block);
        probe(name, Action::Allow);
    }
    if list.verify().is_err() {
        return;
    }
    let entries: Vec<_> = list.entries().map(|entry| entry.expect("a verified list can be read")).collect();
    for (name, entry) in &entries {
        assert!(matches!(probe(name, entry.action), Lookup::Listed(_)), "{name} is in the list and is not found");
    }
    for name in &probes {
        for action in [Action::Block, Action::Allow] {
            let reached = entries.iter().any(|(listed, entry)| {
                entry.action == action && (listed == name || entry.scope == Scope::Subtree && name.is_below(listed))
            });
            assert_eq!(matches!(probe(name, action), Lookup::Listed(_)), reached, "{name}");
        }
    }
});
