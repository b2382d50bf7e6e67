//! What is kept and for how long: the cache, and the versions of a list.

use postern::wire::{Rcode, Rtype};

use crate::world::*;

#[test]
fn times_to_live_are_kept_within_bounds() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let keys = upstream.keys();
    let daemon = Daemon::start(&folder, &keys.to_string());
    let ttl = |name: &str| {
        let answer = daemon.ask(name, Rtype::A);
        answer.answer.first().or(answer.authority.first()).unwrap().ttl
    };
    assert!(ttl("brief.example") <= 2 && ttl("www.example") > 200 && ttl("nothing.example") > 3000);
    daemon.reload(&folder, &keys.with("cache.min_ttl_seconds", 200));
    assert!(ttl("brief.example") > 100);
    daemon.reload(&folder, &keys.with("cache.max_ttl_seconds", 7));
    assert!(ttl("www.example") <= 7);
    daemon.reload(&folder, &keys.with("cache.max_negative_ttl_seconds", 9));
    assert!(ttl("nothing.example") <= 9);
}

/// RFC 8767. The record lives for two seconds; asking goes on until it has ended.
#[test]
fn when_no_server_answers_what_has_expired_is_served_if_that_is_wanted() {
    let ends = |stale: u32| {
        let (folder, upstream) = (Folder::new(), Upstream::start());
        let keys = upstream.keys().with("cache.stale_seconds", stale).with("budget.seconds", 2);
        let daemon = Daemon::start(&folder, &keys.to_string());
        assert_eq!(daemon.ask("brief.example", Rtype::A).rcode(), Rcode::NOERROR);
        upstream.silence();
        let begun = std::time::Instant::now();
        loop {
            let answer = daemon.ask("brief.example", Rtype::A);
            if answer.rcode() != Rcode::NOERROR || codes(&answer) == [3] {
                return answer.rcode();
            }
            assert!(begun.elapsed() < PATIENCE);
        }
    };
    assert_eq!((ends(86_400), ends(0)), (Rcode::NOERROR, Rcode::SERVFAIL));
}

#[test]
fn the_cache_stays_within_its_octets() {
    const NAMES: usize = 600;
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let fill = |daemon: &Daemon| {
        for i in 0..NAMES {
            daemon.ask(&format!("big.number{i}.example"), Rtype::A);
        }
        let sum = |what| daemon.metric(what, "cache=\"answer\"");
        (sum("postern_cache_entries") as usize, sum("postern_cache_bytes"))
    };
    let daemon = Daemon::start(&folder, &upstream.keys().with("cache.bytes", 1 << 20).to_string());
    let (entries, bytes) = fill(&daemon);
    assert!(entries < NAMES / 2 && bytes <= f64::from(1 << 20), "{entries} entries of {bytes} octets");
    daemon.stop();
    let daemon = Daemon::start(&folder, &upstream.keys().to_string());
    // Names that meet in one bucket may push each other out.
    assert!(fill(&daemon).0 > NAMES * 9 / 10);
}

#[test]
fn older_versions_of_a_list_go_when_there_are_enough() {
    let kept = |keep: u32| {
        let (folder, upstream) = (Folder::new(), Upstream::start());
        let daemon = Daemon::start(&folder, &upstream.keys().with("block.keep_versions", keep).to_string());
        for serial in 1..=4 {
            daemon.tell(&["blocklist", "push", &build(&folder, &format!("list{serial}"), serial, &["scam.example"])]);
        }
        let versions: serde_json::Value = serde_json::from_str(&daemon.tell(&["blocklist", "versions", "--json"])).unwrap();
        versions.as_array().unwrap().len()
    };
    assert_eq!((kept(2), kept(5)), (2, 4));
}
