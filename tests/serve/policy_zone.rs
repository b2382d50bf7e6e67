//! A response policy zone: what a file says of names, and what a client gets.

use std::net::Ipv4Addr;
use std::time::Duration;

use postern::wire::{Flags, Rcode, Rtype};

use crate::world::*;

const ZONE: &str = "$TTL 60\n$ORIGIN rpz.post.\n@ SOA localhost. root.localhost. ( 1 3600 600 86400 60 )\n@ NS localhost.\n\
    bad.example CNAME .\n*.bad.example CNAME *.\nfine.bad.example CNAME rpz-passthru.\nquiet.example CNAME rpz-drop.\n\
    local.example A 192.0.2.53\n*.garden.example CNAME walled.example.\ntarget.shop.example CNAME .\n32.1.2.0.192.rpz-ip CNAME .\n";

#[test]
fn a_policy_zone_says_what_is_answered() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    folder.write("policy.rpz", ZONE);
    let with = upstream.keys().and("rpz", "file = \"policy.rpz\"");
    let daemon = Daemon::start(&folder, &upstream.keys().to_string());
    for name in ["bad.example", "quiet.example", "local.example", "x.garden.example", "alias.shop.example"] {
        // Cached before there is a rule.
        assert_eq!(daemon.ask(name, Rtype::A).rcode(), Rcode::NOERROR, "{name}");
    }
    daemon.reload(&folder, &with);
    assert!(daemon.tell(&["status"]).contains("line 12: rpz-ip triggers are not supported"));
    let bad = daemon.ask("bad.example", Rtype::A);
    assert_eq!((bad.rcode(), codes(&bad), bad.authority[0].rtype), (Rcode::NXDOMAIN, vec![15], Rtype::SOA));
    let below = daemon.ask("www.bad.example", Rtype::A);
    assert_eq!((below.rcode(), below.answer.len(), codes(&below)), (Rcode::NOERROR, 0, vec![15]));
    assert_eq!(addresses(&daemon.ask("fine.bad.example", Rtype::A)), [Ipv4Addr::new(192, 0, 2, 7)]);
    assert!(ask_within(daemon.address, "quiet.example", Rtype::A, Duration::from_millis(500)).is_none());
    assert!(daemon.metric("postern_dropped_total", "policy_zone") >= 1.0);

    let local = daemon.ask("local.example", Rtype::A);
    assert_eq!((addresses(&local), local.answer[0].ttl, codes(&local)), (vec![Ipv4Addr::new(192, 0, 2, 53)], 60, vec![4]));
    assert!(!local.flags.has(Flags::AD));
    assert_eq!(daemon.ask("local.example", Rtype::AAAA).answer.len(), 0);
    let garden = daemon.ask("x.garden.example", Rtype::A);
    assert_eq!(garden.answer[0].owner, "x.garden.example".parse().unwrap());
    assert_eq!((garden.answer[0].rtype, addresses(&garden)), (Rtype::CNAME, vec![Ipv4Addr::new(192, 0, 2, 7)]));
    // What an answer leads to is judged as well.
    assert_eq!(daemon.ask("alias.shop.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
    let why = daemon.tell(&["why", "bad.example"]);
    assert!(why.contains("policy.rpz, line 5: bad.example. gets no such name"), "{why}");

    // The box's own rule stands above the zone; without the zone its names are as any other.
    daemon.tell(&["allow", "add", "bad.example", "--exact"]);
    assert_eq!(addresses(&daemon.ask("bad.example", Rtype::A)), [Ipv4Addr::new(192, 0, 2, 7)]);
    daemon.tell(&["allow", "remove", "bad.example"]);
    daemon.reload(&folder, &upstream.keys());
    for name in ["bad.example", "www.bad.example", "quiet.example", "local.example"] {
        assert_eq!(addresses(&daemon.ask(name, Rtype::A)), [Ipv4Addr::new(192, 0, 2, 7)], "{name}");
    }
}

#[test]
fn a_policy_zone_that_cannot_be_read_is_refused_and_the_old_one_stays() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    folder.write("policy.rpz", ZONE);
    let daemon = Daemon::start(&folder, &upstream.keys().and("rpz", "file = \"policy.rpz\"").to_string());
    folder.write("policy.rpz", "bad.example CNAME .\n");
    let refused = daemon.cli(&["reload"]);
    assert!(text(&refused.stderr).contains("has no SOA record"), "{}", text(&refused.stderr));
    assert_eq!(daemon.ask("bad.example", Rtype::A).rcode(), Rcode::NXDOMAIN);
}
