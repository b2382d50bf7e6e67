//! Twenty pushes under a steady stream, alternating between two lists that differ in a tenth of their names: no query is lost, and every
//! name answers as one list or the other has it, never a mix.

#![allow(clippy::disallowed_methods, reason = "a test owns sockets and files")]

mod daemon;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use daemon::{Client, Daemon, Upstream, build_list};
use postern::wire::{Message, Rcode, Rtype};

const COMMON: usize = 9000;
const OWN: usize = 1000;
const PUSHES: u64 = 20;
const CLIENTS: usize = 3;

fn names(kind: &str, count: usize) -> String {
    (0..count).map(|n| format!("{kind}{n}.example\n")).collect()
}

/// Whether the answer is a block; anything but a block or the upstream's address is a failure.
fn is_blocked(name: &str, answer: &Message) -> bool {
    match answer.rcode() {
        Rcode::NXDOMAIN => {
            let blocked = answer.edns.as_ref().unwrap().extended_errors().any(|ede| ede.code == 15);
            assert!(blocked, "{name}: NXDOMAIN that is no block");
            true
        }
        Rcode::NOERROR => {
            assert_eq!(&answer.answer[0].rdata[..], Upstream::EVERYWHERE, "{name}");
            false
        }
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn no_query_is_lost_and_no_answer_mixes_two_lists() {
    let upstream = Upstream::start();
    // The clients ask for hundreds of names that the next list blocks: that is what is tested here, not held.
    let settings = format!("{}[trust]\nmax_new_names = 1000000\nmax_new_clients = 1000000\n", upstream.settings());
    let daemon = Daemon::start("swap", &settings);
    let files: Vec<_> = (1..=PUSHES)
        .map(|serial| {
            let own = if serial % 2 == 1 { "odd" } else { "even" };
            build_list(&daemon.folder.0, "swap", serial, &format!("{}{}", names("common", COMMON), names(own, OWN)))
        })
        .collect();
    let push = |serial: u64| daemon.must(&["blocklist", "push", files[serial as usize - 1].to_str().unwrap()]);
    push(1);

    // `begun` is the newest serial whose push has started, `done` the newest whose push has ended.
    let (begun, done, ended) = (AtomicU64::new(1), AtomicU64::new(1), AtomicBool::new(false));
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (begun, done, ended, asked, address) = (&begun, &done, &ended, &asked, daemon.dns);
            scope.spawn(move || {
                let stub = Client::new(address);
                // The oldest list that may still answer this client: once a newer one has spoken, the older must not.
                let mut oldest = 1;
                for turn in client.. {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let common = format!("common{}.example", turn * 7 % COMMON);
                    assert!(is_blocked(&common, &stub.ask(&common, Rtype::A)), "{common} is on both lists");
                    for (own, parity) in [("odd", 1), ("even", 0)] {
                        let name = format!("{own}{}.example", turn % OWN);
                        oldest = oldest.max(done.load(Ordering::SeqCst));
                        let blocked = is_blocked(&name, &stub.ask(&name, Rtype::A));
                        let newest = begun.load(Ordering::SeqCst);
                        let said = (oldest..=newest).find(|serial| (serial % 2 == parity) == blocked);
                        oldest = said.unwrap_or_else(|| panic!("{name} blocked={blocked} is what no list of {oldest} to {newest} says"));
                    }
                    asked.fetch_add(3, Ordering::SeqCst);
                }
            });
        }
        for serial in 2..=PUSHES {
            let before = asked.load(Ordering::SeqCst);
            begun.store(serial, Ordering::SeqCst);
            push(serial);
            done.store(serial, Ordering::SeqCst);
            // The stream goes on between two pushes.
            while asked.load(Ordering::SeqCst) < before + 60 {
                std::thread::yield_now();
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert_eq!(daemon.metric("postern_list_serial", &["swap"]), PUSHES as f64);
    let shown = daemon.must(&["blocklist", "versions"]);
    assert!(shown.contains(&PUSHES.to_string()), "{shown}");
}
