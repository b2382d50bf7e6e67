//! What an operator causes: lists, rules, settings, the end.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use postern::blocklist::{Action, List, Lookup, Suffixes};
use postern::telemetry::metrics::{self, Metric};
use postern::wire::{Name, Rtype};

use super::daemon::{Behaviour, Client, Daemon, Upstream, build_list, own_address};
use super::ledger::{Ledger, scrape_until, value};

pub(crate) static LISTS: &[&Metric] = &[
    &metrics::BLOCKING,
    &metrics::LIST_ENTRIES,
    &metrics::LIST_SERIAL,
    &metrics::LIST_BUILT,
    &metrics::LIST_ACTIVATED,
    &metrics::LIST_EXPIRY,
    &metrics::LIST_REFUSED,
    &metrics::LIST_ACTIONS,
    &metrics::FILTER_BYTES,
    &metrics::FILTER_MAYBES,
    &metrics::FILTER_FALSE_MAYBES,
    &metrics::LIST_READ_ERRORS,
    &metrics::EXCEPTIONS,
    &metrics::AUDIT_ENTRIES,
    &metrics::AUDIT_HEAD,
];

pub(crate) static SETTINGS: &[&Metric] = &[
    &metrics::RELOADS,
    &metrics::CONFIG_LOADED,
    &metrics::CACHE_LIMIT_BYTES,
    &metrics::TRUST_ANCHORS,
    &metrics::WORKERS,
    &metrics::PROCESS_THREADS,
    &metrics::PROCESS_VIRTUAL,
    &metrics::CLOCK_TRUSTED,
    &metrics::READY,
];

/// A list that boxes accept for a week.
fn build_expiring(folder: &Path, text: &str) -> String {
    let (names, out) = (folder.join("week.txt"), folder.join("week.plist"));
    fs::write(&names, text).unwrap();
    let arguments = ["blocklist", "build", "--id", "scam", "--serial", "8", "--expires-days", "7", "--out"];
    let built = Command::new(env!("CARGO_BIN_EXE_postern")).args(arguments).arg(&out).arg(&names).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out.to_str().unwrap().to_owned()
}

/// Changes an octet in the first so many names of a list file that are written out whole.
fn damage(list: &Path, most: usize) {
    let mut octets = fs::read(list).unwrap();
    let whole: Vec<usize> = (0..octets.len() - 7).filter(|at| &octets[*at..*at + 7] == b"example").take(most).collect();
    assert!(!whole.is_empty(), "names are stored as they are");
    whole.into_iter().for_each(|at| octets[at] ^= 1);
    fs::write(list, octets).unwrap();
}

/// A name that is not listed and that the filter cannot rule out. The filter is part of the file, so the daemon's says the same.
fn falsely_suspected(list: &Path) -> String {
    let list = List::open(list).unwrap();
    (0..1_000_000)
        .map(|i| format!("free{i}.example"))
        .find(|name| {
            let found = list.lookup(&Suffixes::of(&name.parse::<Name>().unwrap()), Action::Block, 0, true);
            assert_eq!(found, Lookup::NotListed);
            list.maybes().1 > 0
        })
        .expect("one name in a thousand")
}

#[test]
fn what_is_done_about_lists_moves_what_is_said_of_them() {
    let upstream = Upstream::start();
    let daemon = Daemon::start("watch-lists", &upstream.settings());
    let (client, folder) = (Client::new(daemon.dns), daemon.folder.0.clone());
    let mut ledger = Ledger::default();
    let start = daemon.scrape();

    /// Enough for many blocks.
    const NAMES: usize = 5_000;
    let text: String = (0..NAMES).map(|i| format!("scam{i}.example\n")).collect();
    let first = build_list(&folder, "scam", 7, &text);
    daemon.must(&["blocklist", "push", first.to_str().unwrap()]);
    let pushed = daemon.scrape();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    ledger.went(&metrics::BLOCKING, &[], (&start, 0.0), (&pushed, 1.0));
    ledger.went(&metrics::LIST_ENTRIES, &["scam"], (&start, 0.0), (&pushed, NAMES as f64));
    ledger.went(&metrics::LIST_SERIAL, &["scam"], (&start, 0.0), (&pushed, 7.0));
    for metric in [&metrics::LIST_BUILT, &metrics::LIST_ACTIVATED] {
        ledger.grew(metric, &["scam"], &start, &pushed);
        assert!((now - value(&pushed, metric, &["scam"])).abs() < 600.0, "{} is no time of today", metric.name);
    }
    ledger.grew(&metrics::FILTER_BYTES, &["scam"], &start, &pushed);
    assert_eq!(value(&pushed, &metrics::LIST_EXPIRY, &[]), 0.0, "no expiry was given");

    ledger.grew(&metrics::AUDIT_ENTRIES, &[], &start, &pushed);
    let head = |text| value(text, &metrics::AUDIT_HEAD, &[]);
    ledger.went(&metrics::AUDIT_HEAD, &[], (&start, head(&start)), (&pushed, head(&pushed)));

    // The same serial again, and a file that was damaged on the way.
    let damaged = build_list(&folder, "scam", 8, &text);
    damage(&damaged, 1);
    for refused in [&first, &damaged] {
        assert!(!daemon.postern(&["blocklist", "push", refused.to_str().unwrap()]).status.success());
    }
    let refused = daemon.scrape();
    ledger.went(&metrics::LIST_REFUSED, &["not_newer"], (&pushed, 0.0), (&refused, 1.0));
    ledger.went(&metrics::LIST_REFUSED, &["unsound"], (&pushed, 0.0), (&refused, 1.0));

    client.ask("www.scam3.example", Rtype::A);
    let listed = daemon.scrape();
    ledger.went(&metrics::LIST_ACTIONS, &["scam", "nxdomain"], (&refused, 0.0), (&listed, 1.0));
    ledger.went(&metrics::FILTER_MAYBES, &["scam"], (&refused, 0.0), (&listed, 1.0));
    assert_eq!(value(&listed, &metrics::FILTER_FALSE_MAYBES, &["scam"]), 0.0);
    client.ask(&falsely_suspected(&first), Rtype::A);
    let suspected = daemon.scrape();
    ledger.went(&metrics::FILTER_FALSE_MAYBES, &["scam"], (&listed, 0.0), (&suspected, 1.0));
    assert_eq!(value(&suspected, &metrics::LIST_ACTIONS, &["scam"]), 1.0, "a suspicion is no verdict");

    daemon.must(&["allow", "add", "scam4.example", "--for", "1h"]);
    daemon.must(&["block", "add", "unwanted.test", "--for", "1h"]);
    let ruled = daemon.scrape();
    ledger.went(&metrics::EXCEPTIONS, &["allow"], (&suspected, 0.0), (&ruled, 1.0));
    ledger.went(&metrics::EXCEPTIONS, &["block"], (&suspected, 0.0), (&ruled, 1.0));
    daemon.must(&["blocking", "off", "--for", "1h"]);
    let off = daemon.scrape();
    ledger.went(&metrics::BLOCKING, &[], (&ruled, 1.0), (&off, 0.0));
    daemon.must(&["blocking", "on"]);

    // The next version: what was counted with the old one stays counted.
    daemon.must(&["blocklist", "push", &build_expiring(&folder, &text)]);
    let second = daemon.scrape();
    ledger.went(&metrics::LIST_SERIAL, &["scam"], (&pushed, 7.0), (&second, 8.0));
    ledger.grew(&metrics::LIST_EXPIRY, &["scam"], &pushed, &second);
    assert!(value(&second, &metrics::FILTER_FALSE_MAYBES, &["scam"]) >= 1.0);
    // The file goes bad under the daemon: whoever reads a block that is not in memory finds it out.
    damage(&daemon.state().join("lists/scam/0000000000000008.plist"), usize::MAX);
    let mut names = (0..NAMES).step_by(7);
    let ask = || drop(client.ask(&format!("www.scam{}.example", names.next().expect("not all blocks are in memory")), Rtype::A));
    let damaged = scrape_until(&daemon, "a damaged block", ask, |text| value(text, &metrics::LIST_READ_ERRORS, &["scam"]) > 0.0);
    ledger.grew(&metrics::LIST_READ_ERRORS, &["scam"], &second, &damaged);
    ledger.keeps(LISTS);
}

#[test]
fn a_list_in_force_keeps_the_time_of_its_activation_over_a_restart() {
    let mut daemon = Daemon::start("watch-restart", "[validate]\nbuiltin_anchors = false\n");
    let list = build_list(&daemon.folder.0, "scam", 1, "scam.example\n");
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    let since = daemon.metric(metrics::LIST_ACTIVATED.name, &["scam"]);
    daemon.kill();
    daemon.restart_killed();
    assert_eq!(daemon.metric(metrics::LIST_ACTIVATED.name, &["scam"]), since);
}

#[test]
fn settings_and_the_end_move_what_is_said_of_them() {
    let upstream = Upstream::start();
    let daemon = Daemon::start("watch-settings", &upstream.settings());
    let mut ledger = Ledger::default();
    let start = daemon.scrape();
    // A second address, less memory, and the root's keys; again until the clock shows another second.
    let more = format!("addresses = [\"{}\", \"{}:5300\"]", daemon.dns, own_address());
    let settings = format!("[cache]\nbytes = {}\n", 8 << 20);
    let change = |text: String| {
        text.replace(&format!("addresses = [\"{}\"]", daemon.dns), &more).replace("builtin_anchors = false", "builtin_anchors = true")
            + &settings
    };
    assert!(daemon.change(change), "{}", daemon.log());
    let loaded = value(&start, &metrics::CONFIG_LOADED, &[]);
    let reloaded =
        scrape_until(&daemon, "a later load", || drop(daemon.must(&["reload"])), |text| value(text, &metrics::CONFIG_LOADED, &[]) > loaded);
    ledger.grew(&metrics::CONFIG_LOADED, &[], &start, &reloaded);
    ledger.grew(&metrics::RELOADS, &["applied"], &start, &reloaded);
    let all = |cache: &str| value(&reloaded, &metrics::CACHE_LIMIT_BYTES, &[cache]);
    assert_eq!(all("answer") + all("rrset"), f64::from(8 << 20));
    let limit = value(&start, &metrics::CACHE_LIMIT_BYTES, &["answer"]);
    ledger.went(&metrics::CACHE_LIMIT_BYTES, &["answer"], (&start, limit), (&reloaded, f64::from(2 << 20)));
    ledger.went(&metrics::TRUST_ANCHORS, &[], (&start, 0.0), (&reloaded, 2.0));
    let workers = value(&start, &metrics::WORKERS, &[]);
    ledger.went(&metrics::WORKERS, &[], (&start, workers), (&reloaded, 2.0 * workers));
    // Each with a stack of its own.
    ledger.grew(&metrics::PROCESS_THREADS, &[], &start, &reloaded);
    ledger.grew(&metrics::PROCESS_VIRTUAL, &[], &start, &reloaded);
    assert!(!daemon.change(|text| text + "nonsense = 1\n"));
    let refused = daemon.scrape();
    ledger.went(&metrics::RELOADS, &["refused"], (&reloaded, 0.0), (&refused, 1.0));

    // Told to end while a client waits, it is not ready any more, and says so until all are answered.
    upstream.behave(Behaviour::Silent);
    let client = Client::new(daemon.dns);
    assert!(client.ask_within("slow.post.net", Rtype::A, std::time::Duration::from_millis(1)).is_none());
    scrape_until(&daemon, "the waiting query", || (), |text| value(text, &metrics::QUEUE_DEPTH, &[]) == 1.0);
    daemon.signal("TERM");
    let ending = scrape_until(&daemon, "the end", || (), |text| value(text, &metrics::READY, &[]) == 0.0);
    ledger.went(&metrics::READY, &[], (&start, 1.0), (&ending, 0.0));
    let mut page = TcpStream::connect(daemon.metrics).unwrap();
    page.write_all(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut said = String::new();
    page.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("no address is served"), "{said}");

    // A box whose clock stands before the last time it knew: here, the year 2100.
    let folder = std::env::temp_dir().join(format!("postern-watch-clock-{}", std::process::id()));
    fs::create_dir_all(folder.join("state")).unwrap();
    fs::write(folder.join("state/clock"), "4102444800\n").unwrap();
    let late = Daemon::start("watch-clock", "[validate]\nbuiltin_anchors = false\n");
    ledger.went(&metrics::CLOCK_TRUSTED, &[], (&start, 1.0), (&late.scrape(), 0.0));
    ledger.keeps(SETTINGS);
}
