//! A daemon's life: start, answers, lists, rules, reload, restart, refusals, the end.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern::wire::{Flags, Message, Rcode, Rtype};

use crate::world::*;

#[test]
fn it_answers_says_where_and_ends_cleanly() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.config(""));
    assert_eq!(addresses(&daemon.ask("www.example", Rtype::A)), [Ipv4Addr::new(192, 0, 2, 7)]);
    assert_eq!(daemon.status()["listening"][0], daemon.address.to_string());
    let shown = daemon.tell(&["query", "www.example"]);
    assert!(shown.contains("www.example.\t300\tIN\tA\t192.0.2.7\n") && shown.contains(&daemon.address.to_string()), "{shown}");
    let why = daemon.tell(&["why", "www.example"]);
    assert!(why.starts_with("www.example. A: allowed\n  no rule and no list names it\nresolved: NOERROR"), "{why}");
    daemon.stop();
    assert!(!folder.0.join("state/control.sock").exists());
}

#[test]
fn without_a_list_it_says_aloud_that_nothing_is_blocked() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.config(""));
    assert!(daemon.said("NOTHING IS BLOCKED").is_some());
    assert!(daemon.tell(&["status"]).contains("\nNOTHING IS BLOCKED: there is no list"));
    assert!(daemon.metrics().contains("\npostern_blocking 0\n"));
    let list = build(&folder, "first", 1, &["scam.example"]);
    daemon.tell(&["blocklist", "push", &list]);
    assert!(!daemon.tell(&["status"]).contains("NOTHING IS BLOCKED"));
    assert!(daemon.metrics().contains("\npostern_blocking 1\n"));
    daemon.tell(&["blocking", "off", "--for", "1h", "--why", "drill"]);
    assert!(daemon.tell(&["status"]).contains("\nNOTHING IS BLOCKED: blocking is off until "));
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NOERROR);
    daemon.tell(&["blocking", "on"]);
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
}

#[test]
fn a_pushed_list_blocks_at_once_and_after_a_restart_and_can_be_rolled_back() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    // Cached before it is blocked.
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NOERROR);
    let pushed = daemon.tell(&["blocklist", "push", &build(&folder, "first", 1, &["scam.example"])]);
    assert!(pushed.starts_with("active scam serial 1: 1 names"), "{pushed}");
    let blocked = daemon.ask("scam.example", Rtype::A);
    assert_eq!((blocked.rcode(), codes(&blocked)), (Rcode::NXDOMAIN, vec![15]));
    assert_eq!((blocked.authority[0].rtype, blocked.authority[0].ttl), (Rtype::SOA, 60));
    let why = daemon.tell(&["why", "scam.example"]);
    assert!(why.contains("blocked\n  list scam (serial 1): block scam.example., first line 1"), "{why}");
    daemon.stop();

    let daemon = Daemon::start(&folder, &config);
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    daemon.tell(&["blocklist", "push", &build(&folder, "second", 2, &["other.example"])]);
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert_eq!(daemon.ask("other.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    let older = daemon.cli(&["blocklist", "push", &build(&folder, "third", 2, &["third.example"])]);
    assert_eq!(older.status.code(), Some(1));
    assert!(text(&older.stderr).contains("not newer than 2"), "{}", text(&older.stderr));
    daemon.tell(&["blocklist", "rollback"]);
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    let versions: serde_json::Value = serde_json::from_str(&daemon.tell(&["blocklist", "versions", "--json"])).unwrap();
    let active: Vec<_> =
        versions.as_array().unwrap().iter().map(|v| (v["serial"].as_u64().unwrap(), v["active"].as_bool().unwrap())).collect();
    assert_eq!(active, [(2, false), (1, true)]);
}

#[test]
fn the_boxs_own_rules_hold_for_cached_names_at_once_and_survive_a_restart() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    daemon.tell(&["blocklist", "push", &build(&folder, "list", 1, &["scam.example", "target.shop.example"])]);
    for _ in 0..2 {
        assert_eq!(daemon.ask("www.post.example", Rtype::A).rcode(), Rcode::NOERROR);
    }
    assert_eq!(upstream.count("www.post.example", Rtype::A), 1, "it is cached");
    daemon.tell(&["block", "add", "post.example", "--for", "24h", "--why", "drill"]);
    assert_eq!(daemon.ask("www.post.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    daemon.tell(&["allow", "add", "scam.example", "--exact"]);
    assert_eq!(daemon.ask("scam.example", Rtype::A).rcode(), Rcode::NOERROR);
    // A blocked target blocks its alias, unless the alias itself is allowed.
    assert_eq!(daemon.ask("alias.shop.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    assert!(daemon.tell(&["why", "alias.shop.example"]).contains("alias of target.shop.example., which is blocked"));
    daemon.tell(&["allow", "add", "alias.shop.example"]);
    assert_eq!(daemon.ask("alias.shop.example", Rtype::A).rcode(), Rcode::NOERROR);
    daemon.stop();

    let daemon = Daemon::start(&folder, &config);
    assert_eq!(daemon.ask("www.post.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    let rules: serde_json::Value = serde_json::from_str(&daemon.tell(&["block", "list", "--json"])).unwrap();
    assert_eq!((rules[0]["name"].as_str(), rules[0]["why"].as_str()), (Some("post.example."), Some("drill")));
    assert!(rules[0]["until"].as_u64().unwrap() > rules[0]["made"].as_u64().unwrap() + 86_000);
    assert!(rules[0]["by"].as_str().unwrap().starts_with("uid "));
    daemon.tell(&["block", "remove", "post.example"]);
    assert_eq!(daemon.ask("www.post.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert_eq!(daemon.cli(&["block", "remove", "post.example"]).status.code(), Some(1));
}

#[test]
fn a_reload_applies_a_good_configuration_and_refuses_a_bad_one_whole() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    daemon.tell(&["block", "add", "scam.example"]);
    let null = format!("{config}[block]\naction = \"null\"\nttl_seconds = 5\n");
    folder.write("postern.toml", &null);
    let said = daemon.tell(&["reload"]);
    assert!(said.contains("changed: block.action, block.ttl_seconds"), "{said}");
    let forged = daemon.ask("scam.example", Rtype::A);
    assert_eq!((addresses(&forged), forged.answer[0].ttl, codes(&forged)), (vec![Ipv4Addr::UNSPECIFIED], 5, vec![4]));
    assert_eq!(daemon.ask("scam.example", Rtype::MX).answer.len(), 0);

    folder.write("postern.toml", &format!("{config}[block]\naction = \"nodata\"\nttl = 5\n"));
    let refused = daemon.cli(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("block.ttl is no key"), "{}", text(&refused.stderr));
    assert_eq!(addresses(&daemon.ask("scam.example", Rtype::A)), [Ipv4Addr::UNSPECIFIED], "nothing of it is applied");

    folder.write("postern.toml", &null.replace("state_dir = \"state\"", "state_dir = \"elsewhere\""));
    let refused = daemon.cli(&["reload"]);
    assert!(text(&refused.stderr).contains("state_dir cannot change while running"), "{}", text(&refused.stderr));
    let reloads = daemon.metrics();
    assert!(reloads.contains("postern_config_reloads_total{result=\"applied\"} 1\n"), "{reloads}");
    assert!(reloads.contains("postern_config_reloads_total{result=\"refused\"} 2\n"));
}

#[test]
fn hangup_reloads_and_addresses_move_without_losing_those_that_stay() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    let fixed =
        config.replace("127.0.0.1:0\"]\n[metrics]", &format!("{}\", \"127.0.0.2:{}\"]\n[metrics]", daemon.address, daemon.address.port()));
    folder.write("postern.toml", &fixed);
    daemon.signal("-HUP");
    let second = SocketAddr::from(([127, 0, 0, 2], daemon.address.port()));
    // The signal is handled when the second address answers; a datagram sent before is refused at once.
    let start = std::time::Instant::now();
    let ask_again = || ask_within(second, "www.example", Rtype::A, Duration::from_millis(100));
    let answered = std::iter::repeat_with(ask_again).take_while(|_| start.elapsed() < PATIENCE).find_map(|answer| answer);
    assert_eq!(addresses(&answered.unwrap()), [Ipv4Addr::new(192, 0, 2, 7)]);
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
    assert_eq!(daemon.status()["listening"].as_array().unwrap().len(), 2);
}

#[test]
fn a_second_instance_is_an_error_that_names_the_first() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    let pid = daemon.child.id().to_string();
    let serve = |file: &Path| Command::new(BINARY).arg("serve").arg("--config").arg(file).output().unwrap();
    let same_state = serve(&folder.0.join("postern.toml"));
    assert_eq!(same_state.status.code(), Some(1));
    assert!(text(&same_state.stderr).contains(&format!("in use by another postern, process {pid}\n")), "{}", text(&same_state.stderr));
    let same_port = config.replace("\"state\"", "\"other\"").replace("127.0.0.1:0\"]", &format!("{}\"]", daemon.address));
    let same_port = serve(&folder.write("other.toml", &same_port));
    assert_eq!(same_port.status.code(), Some(1));
    let told = text(&same_port.stderr);
    assert!(told.contains(&format!("{} (Udp) is taken by process {pid} (postern)\n", daemon.address)), "{told}");
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
}

#[test]
fn exit_codes_tell_their_cause() {
    let folder = Folder::new();
    let nobody = Command::new(BINARY).args(["--socket", &folder.0.join("none").display().to_string(), "status"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    let bad = folder.write("bad.toml", "[listen]\naddresses = [\"localhost\"]\n");
    let serve = Command::new(BINARY).arg("serve").arg("--config").arg(bad).output().unwrap();
    assert_eq!(serve.status.code(), Some(2));
    assert!(text(&serve.stderr).contains(":2: listen.addresses \"localhost\" is no address\nhint: "), "{}", text(&serve.stderr));
    let missing = Command::new(BINARY).args(["blocklist", "show", "/nowhere/at/all"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn who_is_not_served_is_refused_or_met_with_silence() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let closed = format!("{config}[access]\nallow = [\"10.0.0.0/8\"]\nconnected = false\n");
    let daemon = Daemon::start(&folder, &closed);
    let refused = daemon.ask("www.example", Rtype::A);
    assert_eq!((refused.rcode(), codes(&refused)), (Rcode::REFUSED, vec![18]));
    folder.write("postern.toml", &format!("{closed}refuse = \"silence\"\n"));
    daemon.tell(&["reload"]);
    assert!(ask_within(daemon.address, "www.example", Rtype::A, Duration::from_millis(500)).is_none());
    folder.write("postern.toml", &config);
    daemon.tell(&["reload"]);
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
}

#[test]
fn keys_of_the_resolver_change_what_is_asked_and_answered() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    let reload = |more: &str| {
        folder.write("postern.toml", &format!("{config}{more}"));
        daemon.tell(&["reload"]);
    };
    let original = |name: &str| {
        let parsed: postern::wire::Name = name.parse().unwrap();
        let asked = upstream.asked.lock().unwrap();
        let query = asked.iter().rev().find(|q| Message::parse(q).unwrap().question.is_some_and(|q| q.name == parsed)).unwrap().clone();
        query[12..12 + parsed.wire().len()].to_vec()
    };
    let long: String = "abcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvwxyz.example".into();
    daemon.ask(&long, Rtype::A);
    assert!(original(&long).iter().any(u8::is_ascii_uppercase), "0x20 is on");
    reload("[resolve]\ncase_randomisation = false\n");
    daemon.ask(&long, Rtype::A);
    assert!(!original(&long).iter().any(u8::is_ascii_uppercase));

    assert!(addresses(&daemon.ask("private.example", Rtype::A)).is_empty(), "rebinding is stopped");
    reload("[resolve]\nprivate_domains = [\"private.example\"]\n");
    assert_eq!(addresses(&daemon.ask("private.example", Rtype::A)), [Ipv4Addr::new(10, 1, 2, 3)]);
    reload("[resolve]\nprivate_addresses = []\n");
    assert_eq!(addresses(&daemon.ask("private.example", Rtype::A)), [Ipv4Addr::new(10, 1, 2, 3)]);

    reload("[resolve]\nrecords = [\"nas.example. 120 A 192.168.1.5\"]\n");
    let nas = daemon.ask("nas.example", Rtype::A);
    assert_eq!(
        (addresses(&nas), nas.answer[0].ttl, upstream.count("nas.example", Rtype::A)),
        (vec![Ipv4Addr::new(192, 168, 1, 5)], 120, 0)
    );

    reload("[cache]\nmax_ttl_seconds = 7\n");
    assert!(daemon.ask("www.example", Rtype::A).answer[0].ttl <= 7);
    assert!(!daemon.ask("big.example", Rtype::A).flags.has(Flags::TC));
    // Listen keys stand in the middle of the file.
    folder.write("postern.toml", &config.replace("[metrics]", "udp_payload_bytes = 512\n[metrics]"));
    daemon.tell(&["reload"]);
    let cut = daemon.ask("big.example", Rtype::A);
    assert!(cut.flags.has(Flags::TC) && cut.answer.is_empty());
}

#[test]
fn a_stub_is_asked_without_recursion_and_a_forwarder_with_it() {
    let (folder, upstream, other) = (Folder::new(), Upstream::start(), Upstream::start());
    let stub = format!("{}[[stub]]\nzone = \"corp.example\"\nservers = [\"{}\"]\n", upstream.config(""), other.address);
    let daemon = Daemon::start(&folder, &stub);
    daemon.ask("www.corp.example", Rtype::A);
    daemon.ask("www.example", Rtype::A);
    assert!(other.count("www.corp.example", Rtype::A) > 0 && upstream.count("www.corp.example", Rtype::A) == 0);
    let recursive = |upstream: &Upstream, name: &str| {
        let asked = upstream.asked.lock().unwrap();
        let of_name = |q: &&Vec<u8>| Message::parse(q).unwrap().question.unwrap().name == name.parse().unwrap();
        asked.iter().filter(of_name).all(|q| Message::parse(q).unwrap().flags.has(Flags::RD))
    };
    assert!(recursive(&upstream, "www.example") && !recursive(&other, "www.corp.example"));
    let routes = daemon.status()["routes"].to_string();
    assert!(routes.contains("corp.example. is asked of") && routes.contains(". is forwarded to"), "{routes}");
}

#[test]
fn every_demo_answer_is_as_expected() {
    let demo = Command::new(BINARY).args(["demo", "--once", "--seed", "3"]).output().unwrap();
    let shown = text(&demo.stdout);
    assert!(demo.status.success(), "{shown}\n{}", text(&demo.stderr));
    for word in ["Secure", "Insecure", "Bogus", "Blocked", "no answer", "answers are as expected", "dig @127.0.0.1", "/metrics"] {
        assert!(shown.contains(word), "{word} is missing in\n{shown}");
    }
}

#[test]
fn own_and_critical_names_are_protected_at_decision_time() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    folder.write("critical.txt", "bank.example the bank\n");
    let blocks = |daemon: &Daemon, name: &str| daemon.ask(name, Rtype::A).rcode() == Rcode::NXDOMAIN;
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    daemon.tell(&["blocklist", "push", &build(&folder, "list", 1, &["www.post.example", "bank.example", "scam.example"])]);
    assert!(["www.post.example", "bank.example", "scam.example"].iter().all(|name| blocks(&daemon, name)));
    folder.write("postern.toml", &format!("{config}[block]\nown_names = [\"post.example\"]\ncritical_file = \"critical.txt\"\n"));
    daemon.tell(&["reload"]);
    assert!(!blocks(&daemon, "www.post.example") && !blocks(&daemon, "bank.example") && blocks(&daemon, "scam.example"));
    let why = daemon.tell(&["why", "bank.example"]);
    assert!(why.contains("protected\n  it is protected (critical: the bank)"), "{why}");
}

#[test]
fn a_sinkhole_answers_with_its_addresses_and_stays_silent_about_other_types() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = format!("{}[block]\naction = \"sinkhole\"\nsinkhole = [\"192.0.2.99\"]\n", upstream.config(""));
    let daemon = Daemon::start(&folder, &config);
    daemon.tell(&["block", "add", "scam.example"]);
    assert_eq!(addresses(&daemon.ask("scam.example", Rtype::A)), [Ipv4Addr::new(192, 0, 2, 99)]);
    for rtype in [Rtype::AAAA, Rtype::HTTPS, Rtype::MX] {
        let other = daemon.ask("scam.example", rtype);
        assert_eq!((other.rcode(), other.answer.len(), other.authority[0].rtype), (Rcode::NOERROR, 0, Rtype::SOA), "{rtype}");
    }
}

#[test]
fn sockets_can_be_moved_and_metrics_switched_off() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("workers = 3").replace("address = \"127.0.0.1:0\"", "address = \"\"");
    let mut daemon = Daemon::start(&folder, &format!("{config}[control]\nsocket = \"own.sock\"\n"));
    assert_eq!(daemon.said("metrics at "), None);
    daemon.socket = folder.0.join("own.sock");
    assert_eq!(daemon.status()["metrics"], serde_json::Value::Null);
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap().flatten();
    let workers = threads.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("udp-")));
    assert_eq!(workers.count(), 3);
}

#[test]
fn negative_anchors_and_special_names_follow_the_configuration() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    daemon.ask("x.localhost", Rtype::A);
    assert_eq!(upstream.count("x.localhost", Rtype::A), 0, "kept local");
    let nta = "[[nta]]\nzone = \"broken.example\"\nreason = \"ticket 4711\"\nuntil = \"2199-01-01\"\n";
    folder.write("postern.toml", &format!("{config}{nta}[resolve]\nspecial_use = false\n"));
    daemon.tell(&["reload"]);
    daemon.ask("x.localhost", Rtype::A);
    assert_eq!(upstream.count("x.localhost", Rtype::A), 1);
    assert_eq!(
        daemon.tell(&["nta", "list"]),
        "broken.example. and all below until 2199-01-01 00:00:00 UTC: ticket 4711 (the configuration)\n"
    );
    daemon.tell(&["cache", "flush", "localhost"]);
    daemon.ask("x.localhost", Rtype::A);
    assert_eq!(upstream.count("x.localhost", Rtype::A), 2, "it was forgotten");
}

#[test]
fn a_silent_connection_is_closed() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("").replace("[metrics]", "tcp_idle_seconds = 1\n[metrics]");
    let daemon = Daemon::start(&folder, &config);
    let shown = daemon.tell(&["query", "--tcp", "www.example"]);
    assert!(shown.contains("over TCP"), "{shown}");
    let mut silent = TcpStream::connect(daemon.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "the daemon closes a silent connection");
}

/// A blocked target blocks its alias before it is asked for: whether it can be resolved does not matter, and whoever serves it does not
/// learn that somebody wanted it.
#[test]
fn an_alias_of_a_blocked_name_is_blocked_though_the_target_cannot_be_resolved() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.config(""));
    assert_eq!(daemon.ask("dangling.other.example", Rtype::A).rcode(), Rcode::SERVFAIL);
    daemon.tell(&["block", "add", "gone.shop.example"]);
    for _ in 0..2 {
        let blocked = daemon.ask("dangling.shop.example", Rtype::A);
        assert_eq!((blocked.rcode(), codes(&blocked)), (Rcode::NXDOMAIN, vec![15]));
    }
    let why = daemon.tell(&["why", "dangling.shop.example"]);
    assert!(why.contains("alias of gone.shop.example., which is blocked"), "{why}");
    assert_eq!(upstream.count("gone.shop.example", Rtype::A), 0, "it was asked for");
    // Half a chain is not kept: with the block it goes.
    daemon.tell(&["block", "remove", "gone.shop.example"]);
    assert_eq!(daemon.ask("dangling.shop.example", Rtype::A).rcode(), Rcode::SERVFAIL);
    assert_eq!(daemon.ask("alias.shop.example", Rtype::A).rcode(), Rcode::NOERROR);
    daemon.tell(&["block", "add", "target.shop.example"]);
    // As before for an answer that came whole, from the cache and not.
    assert_eq!(daemon.ask("alias.shop.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    assert_eq!(daemon.ask("alias.shop.example", Rtype::AAAA).rcode(), Rcode::NXDOMAIN);
}

/// A rule may be for one client alone; `why` tells what holds for whom.
#[test]
fn why_judges_for_the_client_that_it_is_told() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let config = upstream.config("");
    let daemon = Daemon::start(&folder, &config);
    daemon.tell(&["block", "add", "game.example", "--why", "homework"]);
    daemon.stop();
    let rules = folder.0.join("state/exceptions.json");
    let text = std::fs::read_to_string(&rules).unwrap();
    let for_one = text.replacen("\"why\"", "\"client\": \"192.168.1.7\", \"why\"", 1);
    assert_ne!(text, for_one);
    std::fs::write(&rules, for_one).unwrap();
    let daemon = Daemon::start(&folder, &config);
    assert_eq!(daemon.ask("game.example", Rtype::A).rcode(), Rcode::NOERROR);
    let judged = |client: &str| {
        let why: serde_json::Value = serde_json::from_str(&daemon.tell(&["why", "game.example", "--client", client, "--json"])).unwrap();
        (why["verdict"].as_str().unwrap().to_owned(), why["served"].as_bool().unwrap())
    };
    assert_eq!(judged("192.168.1.7"), ("exception_block".into(), true));
    assert_eq!(judged("192.168.1.8"), ("allowed".into(), true));
    assert_eq!(judged("203.0.113.7"), ("allowed".into(), false));
    let shown = daemon.tell(&["why", "game.example", "--client", "203.0.113.7"]);
    assert!(shown.contains("\n  203.0.113.7 is not served: "), "{shown}");
}

#[test]
fn ends_are_told_as_dates() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let daemon = Daemon::start(&folder, &upstream.config(""));
    daemon.tell(&["block", "add", "scam.example", "--for", "24h"]);
    let is_moment = |text: &str| {
        let (_, moment) = text.split_once("until ").unwrap_or_else(|| panic!("{text}"));
        let shape: String = moment.chars().take(20).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00Z", "{text}");
    };
    is_moment(&daemon.tell(&["why", "scam.example"]));
    daemon.tell(&["blocking", "off", "--for", "1h"]);
    is_moment(&daemon.tell(&["why", "other.example"]));
}

/// What systemd waits for (sd_notify): ready, alive in time, reloading, stopping.
#[test]
fn a_supervisor_is_told_how_the_daemon_is() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let file = folder.write("postern.toml", &upstream.config(""));
    let path = folder.0.join("notify");
    let supervisor = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = |wanted: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = supervisor.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let said = text(&buffer[..length]);
            if said.lines().any(|line| line.starts_with(wanted)) {
                return said;
            }
        }
    };
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--config").arg(&file).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::launch(&mut command, folder.0.join("state/control.sock"));
    assert!(next("READY=1").contains("STATUS=answering on 1 addresses; NOTHING IS BLOCKED"));
    (0..3).for_each(|_| drop(next("WATCHDOG=1")));
    daemon.signal("-HUP");
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    daemon.signal("-TERM");
    next("STOPPING=1");
}
