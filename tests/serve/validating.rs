//! What is trusted: the signed miniature internet, asked through the daemon.

use std::sync::OnceLock;

use postern::wire::{Flags, Message, Rcode, Rtype};

use crate::daemon::Miniature;
use crate::world::*;

/// One for all tests: signing it takes a while.
fn miniature() -> &'static Miniature {
    static MINIATURE: OnceLock<Miniature> = OnceLock::new();
    MINIATURE.get_or_init(|| Miniature::start(9))
}

/// The zone whose name ends so.
fn zone(suffix: &str) -> String {
    let zones = miniature().zones.iter().map(ToString::to_string);
    zones.into_iter().find(|zone| zone.ends_with(suffix)).unwrap_or_else(|| panic!("no zone {suffix}"))
}

fn anchors() -> String {
    format!("[{}]", miniature().script.anchors.iter().map(|anchor| format!("\"{anchor}\"")).collect::<Vec<_>>().join(", "))
}

fn keys() -> Keys {
    let hint = |(name, addresses): &(postern::wire::Name, Vec<std::net::IpAddr>)| {
        let name = name.to_string();
        addresses.iter().filter(|a| a.is_ipv4()).map(|a| format!("\"{name} A {a}\"")).collect::<Vec<_>>()
    };
    let hints: Vec<String> = miniature().script.hints.iter().flat_map(hint).collect();
    Keys::new()
        .with("resolve.root_hints", format!("[{}]", hints.join(", ")))
        .with("resolve.upstream_port", miniature().port)
        .with("resolve.loopback_upstream", true)
        .with("resolve.ipv6", false)
}

fn secure(answer: &Message) -> bool {
    answer.flags.has(Flags::AD)
}

#[test]
fn anchors_come_from_the_configuration_or_a_file_of_its_own() {
    let folder = Folder::new();
    folder.write("anchors.txt", &format!("; of the laboratory\n{}\n", miniature().script.anchors.join("\n")));
    let www = format!("www.{}", zone("-ecdsa.post."));
    let daemon = Daemon::start(&folder, &keys().to_string());
    assert!(!secure(&daemon.ask(&www, Rtype::A)));
    daemon.reload(&folder, &keys().with("validate.anchors", anchors()));
    assert!(secure(&daemon.ask(&www, Rtype::A)));
    daemon.reload(&folder, &keys());
    assert!(!secure(&daemon.ask(&www, Rtype::A)), "it is forgotten with its anchor");
    daemon.reload(&folder, &keys().with("validate.anchors_file", "\"anchors.txt\""));
    assert!(secure(&daemon.ask(&www, Rtype::A)));
    // The Internet's own keys are not those of this one.
    daemon.reload(&folder, &keys().with("validate.builtin_anchors", true));
    assert_eq!(daemon.ask(&www, Rtype::A).rcode(), Rcode::SERVFAIL);
}

#[test]
fn a_negative_anchor_lets_a_broken_zone_through_until_it_ends() {
    let folder = Folder::new();
    let broken = zone("-expired.post.");
    let anchored = keys().with("validate.anchors", anchors());
    let nta = |until: &str| anchored.and("nta", format!("zone = \"{broken}\"\nreason = \"ticket 4711\"\nuntil = \"{until}\""));
    let daemon = Daemon::start(&folder, &anchored.to_string());
    let www = format!("www.{broken}");
    assert_eq!(daemon.ask(&www, Rtype::A).rcode(), Rcode::SERVFAIL);
    daemon.reload(&folder, &nta("2199-01-01"));
    let through = daemon.ask(&www, Rtype::A);
    assert!(through.rcode() == Rcode::NOERROR && !secure(&through));
    assert!(daemon.tell(&["nta", "list"]).contains("ticket 4711"));
    daemon.reload(&folder, &nta("2001-01-01"));
    assert_eq!(daemon.ask(&www, Rtype::A).rcode(), Rcode::SERVFAIL);
    assert_eq!(daemon.tell(&["nta", "list"]).matches("4711").count(), 0);
}

/// RFC 9276 section 3.2. The zone has 5 iterations.
#[test]
fn nsec3_with_more_iterations_than_allowed_proves_nothing() {
    let folder = Folder::new();
    let nothing = format!("nothing.{}", zone("-rsa512.post."));
    let anchored = keys().with("validate.anchors", anchors());
    let ask = |keys: &Keys| {
        let daemon = Daemon::start(&folder, &keys.to_string());
        let answer = daemon.ask(&nothing, Rtype::A);
        daemon.stop();
        answer
    };
    let proven = ask(&anchored);
    assert!(proven.rcode() == Rcode::NXDOMAIN && secure(&proven));
    let four = anchored.with("validate.nsec3_iterations", 4);
    let unproven = ask(&four);
    assert!(unproven.rcode() == Rcode::NXDOMAIN && !secure(&unproven) && codes(&unproven).contains(&27), "{unproven:?}");
    let refused = ask(&four.with("validate.nsec3_servfail", true));
    assert_eq!(refused.rcode(), Rcode::SERVFAIL);
}

/// RFC 8198: both names lie in one gap between names that exist.
#[test]
fn a_gap_once_proven_answers_for_all_names_in_it() {
    let folder = Folder::new();
    let anchored = keys().with("validate.anchors", anchors());
    let apex = zone("-ecdsa.post.");
    let daemon = Daemon::start(&folder, &anchored.to_string());
    let made_here = |name: &str| {
        let answer = daemon.ask(&format!("{name}.{apex}"), Rtype::A);
        assert_eq!(answer.rcode(), Rcode::NXDOMAIN, "{name}");
        codes(&answer).contains(&29)
    };
    assert!(!made_here("nothing") && made_here("nothinga"));
    daemon.reload(&folder, &anchored.with("resolve.aggressive_nsec", false));
    assert!(!made_here("nothing") && !made_here("nothingb"));
}

#[test]
fn signature_checks_are_counted_against_a_budget() {
    let folder = Folder::new();
    let anchored = keys().with("validate.anchors", anchors());
    let www = format!("www.{}", zone("-ecdsa.post."));
    let daemon = Daemon::start(&folder, &anchored.with("budget.signatures", 1).to_string());
    assert_eq!(daemon.ask(&www, Rtype::A).rcode(), Rcode::SERVFAIL);
    daemon.stop();
    let daemon = Daemon::start(&folder, &anchored.to_string());
    assert_eq!(daemon.ask(&www, Rtype::A).rcode(), Rcode::NOERROR);
}
