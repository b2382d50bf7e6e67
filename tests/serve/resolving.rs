//! How questions leave the box: as a recursive resolver from scripted root servers, and through forwarders and stubs.

use std::time::Duration;

use postern::wire::{Rcode, Rtype};

use crate::world::*;

#[test]
fn a_server_learns_as_much_of_a_name_as_it_needs() {
    let (folder, root) = (Folder::new(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    let daemon = Daemon::start(&folder, &root.root_keys().to_string());
    assert_eq!(daemon.ask("www.one.example", Rtype::A).rcode(), Rcode::NOERROR);
    let shown = |name: &str| root.count(name, Rtype::A) + root.count(name, Rtype::NS);
    assert!(shown("example") > 0 && shown("one.example") > 0);
    let before = shown("example");
    daemon.reload(&folder, &root.root_keys().with("resolve.qname_minimisation", false));
    assert_eq!(daemon.ask("www.two.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert_eq!((shown("example"), shown("two.example")), (before, 0));
}

#[test]
fn either_family_of_addresses_can_be_switched_off() {
    let folder = Folder::new();
    let four = Upstream::root("127.0.0.1:0".parse().unwrap());
    let six = Upstream::root(format!("[::1]:{}", four.address.port()).parse().unwrap());
    let both = four.root_keys().with("resolve.root_hints", "[\"ns. A 127.0.0.1\", \"ns. AAAA ::1\"]");
    let daemon = Daemon::start(&folder, &both.with("resolve.ipv4", false).to_string());
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert!(four.total() == 0 && six.total() > 0);
    daemon.reload(&folder, &both.with("resolve.ipv6", false));
    let before = six.total();
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert!(four.total() > 0 && six.total() == before);
}

#[test]
fn our_own_machine_is_asked_only_where_that_is_allowed() {
    let (folder, root) = (Folder::new(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    let daemon = Daemon::start(&folder, &root.root_keys().with("resolve.loopback_upstream", false).to_string());
    assert_eq!((daemon.ask("www.example", Rtype::A).rcode(), root.total()), (Rcode::SERVFAIL, 0));
    daemon.reload(&folder, &root.root_keys().with("resolve.loopback_upstream", true));
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
}

#[test]
fn root_servers_and_their_port_are_those_of_the_configuration() {
    let folder = Folder::new();
    let first = Upstream::root("127.0.0.1:0".parse().unwrap());
    let second = Upstream::root(format!("127.0.0.2:{}", first.address.port()).parse().unwrap());
    let third = Upstream::root("127.0.0.1:0".parse().unwrap());
    let daemon = Daemon::start(&folder, &first.root_keys().to_string());
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert!(first.total() > 0 && second.total() == 0);
    daemon.reload(&folder, &first.root_keys().with("resolve.root_hints", "[\"ns. A 127.0.0.2\"]"));
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert!(second.total() > 0);
    daemon.reload(&folder, &first.root_keys().with("resolve.upstream_port", third.address.port()));
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert!(third.total() > 0);
}

#[test]
fn a_special_name_can_be_resolved_like_any_other() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.keys().to_string());
    daemon.ask("printer.local", Rtype::A);
    assert_eq!(upstream.count("printer.local", Rtype::A), 0);
    daemon.reload(&folder, &upstream.keys().with("resolve.special_use_off", "[\"local\"]"));
    daemon.ask("printer.local", Rtype::A);
    daemon.ask("x.localhost", Rtype::A);
    assert_eq!((upstream.count("printer.local", Rtype::A), upstream.count("x.localhost", Rtype::A)), (1, 0));
}

/// RFC 8482 sections 4.2 and 4.3.
#[test]
fn any_is_asked_or_answered_with_one_hinfo() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.keys().with("resolve.any", "\"minimal\"").to_string());
    let answer = daemon.ask("www.example", Rtype::ANY);
    assert_eq!((answer.answer[0].rtype, upstream.count("www.example", Rtype::ANY)), (Rtype(13), 0));
    daemon.reload(&folder, &upstream.keys());
    daemon.ask("www.example", Rtype::ANY);
    assert_eq!(upstream.count("www.example", Rtype::ANY), 1);
}

#[test]
fn the_first_forwarder_that_works_is_asked_or_the_fastest() {
    let folder = Folder::new();
    let (slow, quick) = (Upstream::slow(Duration::from_millis(150)), Upstream::start());
    let keys =
        |more: &str| Keys::new().and("forward", format!("zone = \".\"\nservers = [\"{}\", \"{}\"]\n{more}", slow.address, quick.address));
    let daemon = Daemon::start(&folder, &keys("").to_string());
    (0..8).for_each(|i| assert_eq!(daemon.ask(&format!("first{i}.example"), Rtype::A).rcode(), Rcode::NOERROR));
    assert_eq!(quick.total(), 0);
    let before = slow.total();
    daemon.reload(&folder, &keys("policy = \"fastest\""));
    (0..24).for_each(|i| assert_eq!(daemon.ask(&format!("fast{i}.example"), Rtype::A).rcode(), Rcode::NOERROR));
    assert!(quick.total() > slow.total() - before, "{} to {}", quick.total(), slow.total() - before);
}

#[test]
fn when_a_forwarder_has_no_answer_the_root_may_have_one() {
    let folder = Folder::new();
    let (upstream, root) = (Upstream::start(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    let forward =
        |fallback| root.root_keys().and("forward", format!("zone = \".\"\nservers = [\"{}\"]\nfallback = {fallback}", upstream.address));
    let daemon = Daemon::start(&folder, &forward(false).to_string());
    assert_eq!((daemon.ask("gone.example", Rtype::A).rcode(), root.total()), (Rcode::SERVFAIL, 0));
    daemon.reload(&folder, &forward(true));
    assert_eq!(daemon.ask("gone.example", Rtype::A).rcode(), Rcode::NOERROR);
}

/// Issue texts want them "at any name incl. the root, address@port": a zone, one below it, and everything else.
#[test]
fn the_longest_route_decides() {
    let folder = Folder::new();
    let (all, corp, lab) = (Upstream::start(), Upstream::start(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    let keys = all
        .keys()
        .and("forward", format!("zone = \"corp.example\"\nservers = [\"{}\"]", corp.address))
        .and("stub", format!("zone = \"lab.corp.example\"\nservers = [\"{}\"]", lab.address));
    let daemon = Daemon::start(&folder, &keys.to_string());
    for name in ["www.example", "www.corp.example", "www.lab.corp.example"] {
        assert_eq!(daemon.ask(name, Rtype::A).rcode(), Rcode::NOERROR, "{name}");
    }
    assert_eq!([all.count("www.example", Rtype::A), corp.count("www.corp.example", Rtype::A)], [1, 1]);
    assert!(lab.count("www.lab.corp.example", Rtype::A) > 0);
    assert_eq!(all.count("www.corp.example", Rtype::A) + corp.count("www.lab.corp.example", Rtype::A), 0);
}

#[test]
fn one_query_costs_no_more_than_its_budget() {
    let (folder, root) = (Folder::new(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    let keys = root.root_keys().with("cache.stale_seconds", 0);
    let daemon = Daemon::start(&folder, &keys.with("budget.upstream_queries", 1).to_string());
    assert_eq!(daemon.ask("a.b.c.d.example", Rtype::A).rcode(), Rcode::SERVFAIL);
    assert_eq!(root.total(), 1);
    daemon.reload(&folder, &keys);
    assert_eq!(daemon.ask("a.b.c.d.example", Rtype::A).rcode(), Rcode::NOERROR);
}

/// Not how long it takes, but who is first: the same question, which nobody answers, to one that gives up after a second and to one that
/// gives up after a minute.
#[test]
fn a_query_ends_when_its_time_is_over() {
    let (hasty, patient, root) = (Folder::new(), Folder::new(), Upstream::root("127.0.0.1:0".parse().unwrap()));
    root.silence();
    let keys = root.root_keys().with("cache.stale_seconds", 0);
    let hasty_daemon = Daemon::start(&hasty, &keys.with("budget.seconds", 1).to_string());
    let patient_daemon = Daemon::start(&patient, &keys.with("budget.seconds", 60).with("budget.upstream_queries", 10_000).to_string());
    let address = patient_daemon.address;
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(ask_within(address, "www.example", Rtype::A, Duration::from_secs(60)).is_some()));
    assert_eq!(hasty_daemon.ask("www.example", Rtype::A).rcode(), Rcode::SERVFAIL);
    assert!(heard.try_recv().is_err(), "the patient one has ended too");
}
