//! What the process costs, and what it is.

use std::net::TcpStream;

use postern::telemetry::metrics::{self, Metric};
use postern::wire::Rtype;

use super::daemon::{Client, Daemon, Upstream};
use super::ledger::{Ledger, scrape_until, value};

pub(crate) static MOVES: &[&Metric] = &[
    &metrics::CACHE_EVICTIONS,
    &metrics::BUILD,
    &metrics::PROCESS_CPU,
    &metrics::PROCESS_RSS,
    &metrics::PROCESS_ANON,
    &metrics::PROCESS_FDS,
    &metrics::PROCESS_MAX_FDS,
    &metrics::PROCESS_START,
];

/// A limit of the process as the kernel has it.
fn limit(pid: u32, name: &str) -> f64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn work_and_memory_move_what_is_said_of_the_process() {
    let upstream = Upstream::start();
    let daemon = Daemon::start("watch-machine", &(upstream.settings() + "[cache]\nbytes = 1048576\n"));
    let (client, mut ledger) = (Client::new(daemon.dns), Ledger::default());
    let start = daemon.scrape();
    let mut number = 0;
    let ask = || {
        for _ in 0..1000 {
            client.ask(&format!("name{number}.post.net"), Rtype::A);
            number += 1;
        }
    };
    let evicted = |text: &str, cache| value(text, &metrics::CACHE_EVICTIONS, &[cache]) > 0.0;
    let both = |text: &str| evicted(text, "answer") && evicted(text, "rrset");
    scrape_until(&daemon, "an eviction", ask, |text| {
        both(text) && value(text, &metrics::PROCESS_CPU, &[]) > value(&start, &metrics::PROCESS_CPU, &[])
    });
    let streams: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(daemon.dns).unwrap()).collect();
    let after = scrape_until(&daemon, "the streams", || (), |text| value(text, &metrics::OPEN_STREAMS, &[]) == streams.len() as f64);
    for cache in ["answer", "rrset"] {
        ledger.grew(&metrics::CACHE_EVICTIONS, &[cache], &start, &after);
    }
    for metric in [&metrics::PROCESS_CPU, &metrics::PROCESS_RSS, &metrics::PROCESS_ANON, &metrics::PROCESS_FDS] {
        ledger.grew(metric, &[], &start, &after);
    }
    ledger.stands(&metrics::PROCESS_MAX_FDS, &[], &after, limit(daemon.pid(), "Max open files"));
    ledger.stands(&metrics::BUILD, &[&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))], &after, 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let begun = value(&after, &metrics::PROCESS_START, &[]);
    assert!((now - 600.0..now + 2.0).contains(&begun), "started at {begun}, and it is {now}");
    ledger.stands(&metrics::PROCESS_START, &[], &start, begun);
    ledger.keeps(MOVES);
}
