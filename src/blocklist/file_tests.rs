use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};

use proptest::prelude::*;

use super::super::parse::Reading;
use super::super::scratch::{Scratch, build_texts, list};
use super::*;

const ALLOW: Reading = Reading { format: None, scope: None, action: Action::Allow };
const EXACT: Reading = Reading { format: None, scope: Some(Scope::Exact), action: Action::Block };

fn suffixes(text: &str) -> Suffixes {
    Suffixes::of(&text.parse().unwrap())
}

fn listed(list: &List, name: &str) -> Option<(u8, u32)> {
    match list.lookup(&suffixes(name), Action::Block, 0, true) {
        Lookup::Listed(entry) => Some((entry.labels, entry.line)),
        Lookup::NotListed => None,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn the_longest_entry_wins_and_exact_entries_do_not_reach_below() {
    let scratch = Scratch::new();
    let text = "scam.example.com\nexample.com\n0.0.0.0 exact.example.net\n";
    let all = format!("{text}0.0.0.0 other.example.net\n");
    let path = scratch.file("a.plist");
    build_texts(&path, &[(&all[..29], Reading::default()), (&all[29..], Reading::default())], |_| ());
    let list = List::open(&path).unwrap();
    list.verify().unwrap();
    assert_eq!(listed(&list, "a.b.scam.example.com"), Some((3, 1)));
    assert_eq!(listed(&list, "b.example.com"), Some((2, 2)));
    assert_eq!(listed(&list, "exact.example.net"), Some((3, 1)));
    for free in ["below.exact.example.net", "example.net", "com", "notexample.com", r"exact\000example.net", "."] {
        assert_eq!(listed(&list, free), None, "{free}");
    }
    assert_eq!(list.manifest().counts.entries, 4);
}

#[test]
fn a_wider_entry_replaces_a_narrower_one_and_the_first_of_equals_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.file("a.plist");
    let report = build_texts(
        &path,
        &[("a.example\nb.example\n", EXACT), ("x.example\nA.Example.\nb.example\n", Reading::default()), ("b.example", ALLOW)],
        |_| (),
    );
    assert_eq!(
        (report.counts.duplicates, report.counts.block_subtree, report.counts.block_exact, report.counts.allow_subtree),
        (2, 3, 0, 1)
    );
    let list = List::open(&path).unwrap();
    assert_eq!(listed(&list, "below.a.example"), Some((2, 2)));
    assert!(list.has(Action::Allow));
    assert!(matches!(list.lookup(&suffixes("q.b.example"), Action::Allow, 0, true), Lookup::Listed(e) if e.source == 2));
    let shown: Vec<_> = list.entries().map(|e| e.unwrap()).map(|(n, e)| format!("{n} {}", e.action.label())).collect();
    assert_eq!(shown, ["a.example. block", "b.example. block", "b.example. allow", "x.example. block"]);
}

/// The filter says maybe for one name in a thousand, below exact entries too; the list itself has to say no.
#[test]
fn a_maybe_below_an_exact_entry_is_not_a_listing() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..4000).map(|n| format!("host{n}.example")).collect();
    let path = scratch.file("a.plist");
    // One subtree entry with as many labels, so that the label masks do not answer alone.
    build_texts(&path, &[(&names.join("\n"), EXACT), ("tree.example", Reading::default())], |_| ());
    let list = List::open(&path).unwrap();
    let mut maybes = 0;
    for (n, name) in names.iter().enumerate() {
        assert_eq!(listed(&list, name), Some((2, n as u32 + 1)));
        let at_entry = Suffixes::of(&name.parse().unwrap());
        maybes += u64::from(list.filter.maybe(at_entry.hash(2), Scope::Subtree));
        assert_eq!(listed(&list, &format!("below.{name}")), None);
    }
    assert!(maybes > 0, "no maybe was met");
    assert_eq!(list.maybes(), (4000 + maybes, maybes));
}

#[test]
fn who_must_not_wait_is_told_so_until_the_block_is_in_ram() {
    let scratch = Scratch::new();
    let list = list(&scratch, "a", "scam.example\n", Reading::default());
    let ask = |may_wait| list.lookup(&suffixes("www.scam.example"), Action::Block, 0, may_wait);
    assert_eq!(ask(false), Lookup::WouldWait);
    assert!(matches!(ask(true), Lookup::Listed(_)));
    assert!(matches!(ask(false), Lookup::Listed(_)));
    assert_eq!(list.lookup(&suffixes("free.example"), Action::Block, 0, false), Lookup::NotListed);
    // The one that was told to wait read nothing, and the filter ruled the last one out.
    assert_eq!(list.maybes(), (2, 0));
}

#[test]
fn a_damaged_block_blocks_nothing_and_is_counted() {
    let scratch = Scratch::new();
    let path = scratch.file("a.plist");
    build_texts(&path, &[("scam.example\n", Reading::default())], |_| ());
    let mut bytes = fs::read(&path).unwrap();
    bytes[BLOCK + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let list = List::open(&path).unwrap();
    assert_eq!(list.lookup(&suffixes("scam.example"), Action::Block, 0, true), Lookup::Corrupt);
    assert_eq!(list.lookup(&suffixes("free.example"), Action::Block, 0, true), Lookup::NotListed);
    assert_eq!(list.faults(), 1);
    assert!(matches!(list.verify(), Err(OpenError::Damaged("names"))));
}

#[test]
fn a_file_cut_short_while_open_is_an_error_not_a_crash() {
    let scratch = Scratch::new();
    let list = list(&scratch, "a", "scam.example\n", Reading::default());
    OpenOptions::new().write(true).open(scratch.file("a.plist")).unwrap().set_len(BLOCK as u64 + 10).unwrap();
    assert_eq!(list.lookup(&suffixes("scam.example"), Action::Block, 0, true), Lookup::Corrupt);
    assert!(List::open(&scratch.file("a.plist")).is_err());
}

#[test]
fn building_twice_gives_the_same_octets_also_through_spool_files() {
    let scratch = Scratch::new();
    let text: String = (0..5000u32).map(|i| format!("n{}.example{}.com\n", i.wrapping_mul(40503) % 4000, i % 7)).collect();
    for (name, memory) in [("a", super::super::build::MEMORY), ("b", 1), ("c", super::super::build::MEMORY)] {
        build_texts(&scratch.file(name), &[(&text, Reading::default())], |o| o.memory_bytes = memory);
    }
    let whole = fs::read(scratch.file("a")).unwrap();
    assert!(whole == fs::read(scratch.file("b")).unwrap() && whole == fs::read(scratch.file("c")).unwrap());
    List::open(&scratch.file("b")).unwrap().verify().unwrap();
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "spool or temporary files are left: {left:?}");
}

#[test]
fn an_empty_list_is_a_list() {
    let scratch = Scratch::new();
    let list = list(&scratch, "a", "# nothing\n", Reading::default());
    list.verify().unwrap();
    assert!(list.is_empty() && list.entries().next().is_none());
    assert_eq!(listed(&list, "any.example"), None);
}

/// Every single changed octet is either refused on opening or blocks nothing that was not listed, and `verify` sees it always.
#[test]
fn every_flipped_octet_is_refused_or_blocks_nothing_new() {
    let scratch = Scratch::new();
    let path = scratch.file("a.plist");
    build_texts(&path, &[("a.example\nb.c.example\nscam.test.example.com\n", Reading::default())], |_| ());
    let good = fs::read(&path).unwrap();
    let names = ["a.example", "x.b.c.example", "scam.test.example.com", "free.example", "c.example"];
    let mut opened = 0;
    for at in 0..good.len() {
        // All of the parts with structure, a sample of the padding.
        let padding = good[at] == 0 && at % 97 != 0;
        if padding {
            continue;
        }
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let Ok(list) = List::open(&path) else { continue };
        opened += 1;
        assert!(list.verify().is_err(), "octet {at} is not noticed");
        for name in names {
            let answer = list.lookup(&suffixes(name), Action::Block, 0, true);
            let was_listed = !name.starts_with("free") && !name.starts_with("c.");
            assert!(was_listed || !matches!(answer, Lookup::Listed(_)), "octet {at} blocks {name}");
        }
    }
    assert!(opened > 0);
}

#[test]
fn a_file_of_any_length_is_refused_without_a_panic() {
    let scratch = Scratch::new();
    let path = scratch.file("a.plist");
    build_texts(&path, &[("a.example\n", Reading::default())], |_| ());
    let good = fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(61).chain([good.len() - 1]) {
        fs::write(&path, &good[..length]).unwrap();
        assert!(List::open(&path).is_err(), "length {length}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(matches!(List::open(&path), Err(OpenError::Header(HeaderError::WrongLength { .. }))));
}

/// More provenance than a block holds, shared and not, found again for every entry.
#[test]
fn provenance_is_kept_for_each_entry_and_ended_entries_block_nothing() {
    let scratch = Scratch::new();
    let line = |i: u32| {
        format!(
            r#"{{"name":"n{i}.example","scope":"subtree","reason":"reason {}","submitter":"{}","expires":{}}}"#,
            i % 10,
            "s".repeat(100 + i as usize % 300),
            1000 + i
        )
    };
    let text: String = (0..200u32).map(|i| line(i) + "\n").chain(["{\"name\":\"bare.example\"}\n".to_owned()]).collect();
    let list = list(&scratch, "a", &text, Reading::default());
    list.verify().unwrap();
    for i in 0..200u32 {
        let ask = |now| list.lookup(&suffixes(&format!("x.n{i}.example")), Action::Block, now, true);
        let Lookup::Listed(entry) = ask(999 + u64::from(i)) else { panic!("n{i} is not listed") };
        let detail = list.detail(&entry).unwrap().unwrap();
        assert_eq!(detail.reason, Some(format!("reason {}", i % 10)));
        assert_eq!(detail.submitter.map(|s| s.len()), Some(100 + i as usize % 300));
        assert_eq!(ask(1000 + u64::from(i)), Lookup::NotListed, "it has ended");
        assert!(matches!(ask(0), Lookup::Listed(_)), "a clock that is not trusted ends nothing");
    }
    let Lookup::Listed(bare) = list.lookup(&suffixes("bare.example"), Action::Block, 0, true) else { panic!() };
    assert_eq!(list.detail(&bare).unwrap(), None);
}

fn short_name() -> impl Strategy<Value = String> {
    // Below a suffix without rules of its own, so that nothing is held back.
    "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}".prop_map(|n| format!("{n}.example"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The list beside a plain map of names.
    #[test]
    fn lookups_agree_with_a_map(
        rules in proptest::collection::vec((short_name(), any::<bool>(), any::<bool>()), 0..60),
        asked in proptest::collection::vec(short_name(), 1..60),
    ) {
        let scratch = Scratch::new();
        let path = scratch.file("a.plist");
        let (mut texts, mut model): ([String; 4], BTreeMap<(String, Action), Scope>) = Default::default();
        for (name, exact, allow) in &rules {
            let scope = if *exact { Scope::Exact } else { Scope::Subtree };
            let action = if *allow { Action::Allow } else { Action::Block };
            let kept = model.entry((name.clone(), action)).or_insert(scope);
            *kept = (*kept).max(scope);
            texts[usize::from(*exact) * 2 + usize::from(*allow)].push_str(&format!("{name}\n"));
        }
        let readings = [0, 1, 2, 3].map(|i| Reading {
            format: Some(Format::Plain),
            scope: Some(if i > 1 { Scope::Exact } else { Scope::Subtree }),
            action: if i % 2 == 1 { Action::Allow } else { Action::Block },
        });
        let sources: Vec<_> = texts.iter().map(String::as_str).zip(readings).collect();
        build_texts(&path, &sources, |_| ());
        let list = List::open(&path).unwrap();
        list.verify().unwrap();
        prop_assert_eq!(list.len(), model.len() as u64);
        for name in asked.iter().chain(rules.iter().map(|(n, ..)| n)) {
            for action in [Action::Block, Action::Allow] {
                let labels: Vec<_> = name.split('.').collect();
                let expected = (0..labels.len()).find_map(|skip| {
                    let scope = model.get(&(labels[skip..].join("."), action))?;
                    (skip == 0 || *scope == Scope::Subtree).then_some(((labels.len() - skip) as u8, *scope))
                });
                let found = match list.lookup(&suffixes(name), action, 0, true) {
                    Lookup::Listed(entry) => Some((entry.labels, entry.scope)),
                    Lookup::NotListed => None,
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(found, expected, "{} {:?}", name, action);
            }
        }
    }
}
