//! The built daemon and what it trusts over time: roll-overs of its trust anchor (RFC 5011), negative trust anchors (RFC 7646), clocks
//! that are wrong, and prefetch. Months pass by shifting the daemon's clocks; nothing waits for them.

#![allow(clippy::disallowed_methods, reason = "a test of sockets and files")]

mod daemon;

use daemon::{Client, Daemon, Miniature, Upstream, sum};
use postern::lab::Roll;
use postern::wire::{Flags, Message, Rcode, Rtype};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The states of the root's keys, in the order in which they were seen.
fn states(daemon: &Daemon) -> Vec<String> {
    let status = daemon.status();
    let keys = status["trust_anchors"][0]["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
}

fn until_states(daemon: &Daemon, want: &[&str]) {
    daemon.until(&format!("{want:?}"), |daemon| states(daemon) == want);
}

fn codes(message: &Message) -> Vec<u16> {
    message.edns.iter().flat_map(|edns| edns.extended_errors()).map(|e| e.code).collect()
}

/// RFC 5011 sections 2.4, 4 and 6.3: the root rolls its key over, and the daemon, which was given the first key, ends with the second.
#[test]
fn a_rolled_root_key_is_learnt_kept_over_restarts_and_the_old_one_never_believed_again() {
    let mut internet = Miniature::start(41);
    let (name, rtype) = internet.question("a signed name");
    let mut daemon = Daemon::start_with_clock("rollover", &internet.settings());
    let secure = |daemon: &Daemon| {
        let answer = Client::new(daemon.dns).ask(&name, rtype);
        assert_eq!((answer.rcode(), answer.flags.has(Flags::AD)), (Rcode::NOERROR, true), "{}", daemon.must(&["why", &name]));
    };
    until_states(&daemon, &["valid"]);
    secure(&daemon);

    let turn = |internet: &mut Miniature, daemon: &Daemon, days: i64, roll| {
        internet.turn(days * DAY, roll);
        daemon.shift(days * DAY, days * DAY);
    };
    turn(&mut internet, &daemon, 2, Roll::Introduced);
    until_states(&daemon, &["valid", "add_pending"]);
    let pending_since = daemon.status()["trust_anchors"][0]["keys"][1]["since"].clone();
    daemon.restart(|_| ());
    assert_eq!(daemon.status()["trust_anchors"][0]["keys"][1]["since"], pending_since, "the hold-down goes on over a restart");
    // 29 days are not 30.
    turn(&mut internet, &daemon, 31, Roll::Introduced);
    let seen = |daemon: &Daemon| daemon.status()["trust_anchors"][0]["validated"].as_i64().unwrap() - pending_since.as_i64().unwrap();
    daemon.until("a look on day 31", |daemon| seen(daemon) >= 28 * DAY);
    assert_eq!(states(&daemon), ["valid", "add_pending"]);
    turn(&mut internet, &daemon, 33, Roll::Introduced);
    until_states(&daemon, &["valid", "valid"]);
    assert_eq!(daemon.metric("postern_trust_anchor_keys", &["valid"]), 2.0);

    turn(&mut internet, &daemon, 40, Roll::Revoked);
    until_states(&daemon, &["revoked", "valid"]);
    turn(&mut internet, &daemon, 41, Roll::After);
    secure(&daemon);
    daemon.restart(|_| ());
    secure(&daemon);
    assert!(daemon.must(&["status"]).contains(" valid since "));

    // The state lost, the configured anchor is all that is left; and the root no longer has that key.
    daemon.restart(|daemon| std::fs::write(daemon.state().join("anchors.json"), "{\"version\":1,\"kept\":").unwrap());
    let warnings = daemon.status()["warnings"].to_string();
    assert!(warnings.contains("anchors.json cannot be read") && warnings.contains("anchors.damaged"), "{warnings}");
    assert!(daemon.state().join("anchors.damaged").exists());
    let answer = Client::new(daemon.dns).ask(&name, rtype);
    assert_eq!((answer.rcode(), codes(&answer)), (Rcode::SERVFAIL, vec![9]));
}

/// Nobody answers the daemon's look at its anchors, and by setting it does not even look: questions are answered all the same.
#[test]
fn without_answers_to_its_looks_and_without_looks_everything_else_goes_on() {
    let internet = Miniature::start(42);
    let upstream = Upstream::start();
    // A trust anchor whose keys the upstream does not give; what is forwarded below it is no zone of its own.
    let unanswered = "[[nta]]\nzone = \".\"\nreason = \"the test\"\n".to_owned()
        + &upstream.settings().replace("builtin_anchors = false", "builtin_anchors = true");
    let daemon = Daemon::start("unanswered", &unanswered);
    assert_eq!(Client::new(daemon.dns).ask("www.example.com", Rtype::A).rcode(), Rcode::NOERROR);
    daemon.until("a look that brought nothing", |daemon| daemon.status()["trust_anchors"][0]["next_check"].is_u64());
    assert!(states(&daemon).is_empty() && daemon.status()["trust_anchors"][0]["validated"].is_null());

    let daemon = Daemon::start("no-rollover", &internet.settings().replace("[validate]", "[validate]\nrollover = false"));
    let (name, rtype) = internet.question("a signed name");
    assert!(Client::new(daemon.dns).ask(&name, rtype).flags.has(Flags::AD));
    assert!(daemon.status()["trust_anchors"][0]["next_check"].is_null());
    assert!(!daemon.state().join("anchors.json").exists());
}

/// RFC 7646: a broken zone is reached while somebody answers for it, and no longer.
#[test]
fn a_negative_trust_anchor_works_at_once_is_kept_and_ends_by_itself() {
    let internet = Miniature::start(43);
    let (name, rtype) = internet.question("forged data");
    let zone = name.split_once('.').unwrap().1;
    let mut daemon = Daemon::start_with_clock("nta", &internet.settings());
    let ask = |daemon: &Daemon| Client::new(daemon.dns).ask(&name, rtype);
    assert_eq!(ask(&daemon).rcode(), Rcode::SERVFAIL);

    let said = daemon.must(&["nta", "add", zone, "--for", "24h", "--why", "ticket 4711"]);
    assert!(said.contains("not validated for 86400 seconds"), "{said}");
    let open = |daemon: &Daemon| {
        let answer = ask(daemon);
        assert_eq!((answer.rcode(), answer.flags.has(Flags::AD), codes(&answer)), (Rcode::NOERROR, false, vec![33]));
    };
    open(&daemon);
    assert!(daemon.must(&["status"]).contains("ticket 4711"));
    assert!(daemon.must(&["why", &name]).contains("NegativeTrustAnchor"));
    assert_eq!(daemon.metric("postern_negative_trust_anchors", &[]), 1.0);
    daemon.restart(|_| ());
    open(&daemon);
    let listed: serde_json::Value = serde_json::from_str(&daemon.must(&["nta", "list", "--json"])).unwrap();
    assert_eq!((listed[0]["zone"].as_str(), listed[0]["reason"].as_str()), (Some(zone), Some("ticket 4711")));

    daemon.must(&["nta", "remove", zone]);
    assert_eq!(ask(&daemon).rcode(), Rcode::SERVFAIL);
    assert_eq!(daemon.postern(&["nta", "remove", zone]).status.code(), Some(1));

    daemon.must(&["nta", "add", zone, "--for", "1h", "--why", "once more"]);
    open(&daemon);
    // The wall clock alone: what was cached meanwhile has not expired.
    daemon.shift(HOUR + 60, 0);
    daemon.until("its end", |daemon| ask(daemon).rcode() == Rcode::SERVFAIL);
    assert_eq!(daemon.must(&["nta", "list"]), "");
    for (arguments, hint) in [(["8d", "x"], "at most 7 days"), (["1h", " "], "needs a reason")] {
        let refused = daemon.postern(&["nta", "add", zone, "--for", arguments[0], "--why", arguments[1]]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(hint));
    }
}

/// A box that wakes up in 1970: signatures are checked, their times are not, AD is never set; and nothing of it outlives the repair.
#[test]
fn a_clock_from_1970_answers_without_ad_until_it_is_set_right() {
    let internet = Miniature::start(44);
    let ask = |daemon: &Daemon, title: &str| {
        let (name, rtype) = internet.question(title);
        let answer = Client::new(daemon.dns).ask(&name, rtype);
        (answer.rcode(), answer.flags.has(Flags::AD))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let folder = daemon::Folder::new("clock-1970");
    let clock = daemon::Clock::new(&folder);
    clock.shift(1000 - now, 0);
    let mut daemon = Daemon::start_in(folder, &internet.settings(), Some(clock));
    for _ in 0..2 {
        assert_eq!(ask(&daemon, "a signed name"), (Rcode::NOERROR, false));
        assert_eq!(ask(&daemon, "signatures that expired"), (Rcode::NOERROR, false));
        assert_eq!(ask(&daemon, "forged data"), (Rcode::SERVFAIL, false));
    }
    assert_eq!(daemon.metric("postern_clock_trusted", &[]), 0.0);
    assert_eq!(daemon.status()["clock_trusted"], false);
    assert!(daemon.must(&["status"]).contains("signature times are not checked"));
    assert!(states(&daemon).is_empty(), "no step of a roll-over without a clock");

    // Set right, as NTP does it: the monotonic clock goes on as before.
    daemon.shift(0, 0);
    assert_eq!(ask(&daemon, "a signed name"), (Rcode::NOERROR, true));
    assert_eq!(ask(&daemon, "signatures that expired"), (Rcode::SERVFAIL, false));
    assert_eq!(daemon.metric("postern_clock_trusted", &[]), 1.0);
    until_states(&daemon, &["valid"]);

    // It knows the time now: a clock that stands an hour before it is wrong, though it is later than the release.
    daemon.restart(|daemon| daemon.shift(-HOUR, 0));
    assert_eq!(ask(&daemon, "a signed name"), (Rcode::NOERROR, false));
    daemon.shift(60, 60);
    assert_eq!(ask(&daemon, "a signed name"), (Rcode::NOERROR, true));
    // And back below the floor while it runs: what was proven before is answered, and not called proven.
    daemon.shift(1000 - now, 60);
    assert_eq!(ask(&daemon, "a signed name"), (Rcode::NOERROR, false));
}

#[test]
fn what_is_asked_for_at_the_end_of_its_ttl_is_fetched_before_it_ends() {
    for (name, setting, prefetches) in [("prefetch", "", 1.0), ("no-prefetch", "[cache]\nprefetch = false\n", 0.0)] {
        let upstream = Upstream::start();
        let daemon = Daemon::start_with_clock(name, &format!("{setting}{}", upstream.settings()));
        let client = Client::new(daemon.dns);
        let sent = |daemon: &Daemon| sum(&daemon.scrape(), "postern_upstream_duration_seconds_count", &[]);
        assert_eq!(client.ask("www.example.com", Rtype::A).rcode(), Rcode::NOERROR);
        let first = sent(&daemon);
        assert!(first >= 1.0);
        // The upstream's TTL is an hour.
        daemon.shift(HOUR - 600, HOUR - 600);
        assert_eq!(client.ask("www.example.com", Rtype::A).rcode(), Rcode::NOERROR);
        assert_eq!(sent(&daemon), first, "{name}: ten minutes before the end nothing is due");
        daemon.shift(HOUR - 300, HOUR - 300);
        for _ in 0..3 {
            assert_eq!(client.ask("www.example.com", Rtype::A).rcode(), Rcode::NOERROR);
        }
        daemon.until("the prefetch", |daemon| sent(daemon) == first + prefetches);
        assert_eq!(daemon.metric("postern_cache_prefetches_total", &[]), prefetches);
        daemon.shift(HOUR + 60, HOUR + 60);
        assert_eq!(client.ask("www.example.com", Rtype::A).rcode(), Rcode::NOERROR);
        assert_eq!(sent(&daemon), first + 1.0, "{name}: one query after the first, early or late");
    }
}
