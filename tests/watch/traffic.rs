//! What clients cause, and what the zones they ask for are like: the miniature internet with its broken zones, and a list of scams.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use postern::lab::demo::DemoQuestion;
use postern::telemetry::metrics::{self, Metric};
use postern::wire::Rtype;

use super::daemon::{Client, Daemon, Miniature, PATIENCE, build_list, query};
use super::ledger::{Ledger, scrape_until, value};

pub(crate) static MOVES: &[&Metric] = &[
    &metrics::QUERIES,
    &metrics::RESPONSES,
    &metrics::DROPPED,
    &metrics::REFUSED,
    &metrics::TRUNCATED,
    &metrics::RESPONSE_SECONDS,
    &metrics::OPEN_STREAMS,
    &metrics::CACHE_LOOKUPS,
    &metrics::CACHE_ENTRIES,
    &metrics::CACHE_BYTES,
    &metrics::UPSTREAM_SECONDS,
    &metrics::VALIDATIONS,
    &metrics::BOGUS,
    &metrics::VALIDATION_SECONDS,
    &metrics::EDE,
    &metrics::LIST_ACTIONS,
];

/// A stream on which one query was answered.
fn stream(daemon: &Daemon, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.dns).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let query = query(1, name, Rtype::A);
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    stream
}

fn is_blocked(client: &Client, question: &DemoQuestion) -> bool {
    let answer = client.ask(&question.name.to_string(), question.rtype);
    answer.edns.is_some_and(|edns| edns.extended_errors().any(|ede| ede.code == 15))
}

#[test]
fn what_clients_ask_moves_what_is_counted_of_it() {
    let miniature = Miniature::start(11);
    let many: Vec<String> = (0..120).map(|i| format!("\"many.test. 60 A 192.0.2.{i}\"")).collect();
    let records = format!("[resolve]\nrecords = [\"own.test. 60 A 192.0.2.1\", {}]\n", many.join(", "));
    let daemon = Daemon::start("watch-traffic", &miniature.settings().replace("[resolve]\n", &records));
    let client = Client::new(daemon.dns);
    let list = build_list(&daemon.folder.0, "scam", 7, &miniature.script.blocklist_text);
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    let before = daemon.scrape();

    for question in &miniature.script.questions {
        for _ in 0..2 {
            client.ask(&question.name.to_string(), question.rtype);
        }
    }
    let blocked = miniature.script.questions.iter().find(|question| is_blocked(&client, question)).expect("the script has a blocked name");
    daemon.must(&["allow", "add", &blocked.name.to_string(), "--for", "1h"]);
    daemon.must(&["block", "add", "unwanted.test", "--for", "1h"]);
    for name in [&blocked.name.to_string(), "unwanted.test", "own.test", "many.test"] {
        client.ask(name, Rtype::A);
    }
    // A transfer, which a resolver does not do.
    client.ask("own.test", Rtype(252));
    let open = stream(&daemon, "own.test");
    // Too short, a response, and a question cut off.
    let noise = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    noise.connect(daemon.dns).unwrap();
    let mut response = query(3, "own.test", Rtype::A);
    response[2] |= 0x80;
    for packet in [&b"short"[..], &response, &query(4, "own.test", Rtype::A)[..20]] {
        noise.send(packet).unwrap();
    }
    let all_counted = |text: &str| value(text, &metrics::DROPPED, &[]) >= 2.0 && value(text, &metrics::RESPONSES, &["FORMERR"]) >= 1.0;
    let after = scrape_until(&daemon, "the broken packets", || (), all_counted);

    let mut ledger = Ledger::default();
    let causes: &[(&'static Metric, &[&str])] = &[
        (&metrics::QUERIES, &["udp", "\"A\""]),
        (&metrics::QUERIES, &["tcp"]),
        (&metrics::RESPONSES, &["\"allowed\"", "NOERROR"]),
        (&metrics::RESPONSES, &["\"allowed\"", "SERVFAIL"]),
        (&metrics::RESPONSES, &["\"blocked\"", "NXDOMAIN"]),
        (&metrics::RESPONSES, &["exception_allow"]),
        (&metrics::RESPONSES, &["exception_block", "NXDOMAIN"]),
        (&metrics::RESPONSES, &["local"]),
        (&metrics::RESPONSES, &["\"none\"", "FORMERR"]),
        (&metrics::DROPPED, &["malformed"]),
        (&metrics::DROPPED, &["\"response\""]),
        (&metrics::REFUSED, &["not_served"]),
        (&metrics::REFUSED, &["malformed"]),
        (&metrics::TRUNCATED, &[]),
        (&metrics::RESPONSE_SECONDS, &["hit"]),
        (&metrics::RESPONSE_SECONDS, &["miss"]),
        (&metrics::RESPONSE_SECONDS, &["blocked"]),
        (&metrics::CACHE_LOOKUPS, &["answer", "hit"]),
        (&metrics::CACHE_LOOKUPS, &["answer", "miss"]),
        (&metrics::CACHE_LOOKUPS, &["rrset", "hit"]),
        (&metrics::CACHE_LOOKUPS, &["rrset", "miss"]),
        (&metrics::CACHE_ENTRIES, &["answer"]),
        (&metrics::CACHE_ENTRIES, &["rrset"]),
        (&metrics::CACHE_BYTES, &["answer"]),
        (&metrics::CACHE_BYTES, &["rrset"]),
        (&metrics::UPSTREAM_SECONDS, &["udp"]),
        (&metrics::VALIDATIONS, &["\"secure\""]),
        (&metrics::VALIDATIONS, &["insecure"]),
        (&metrics::VALIDATIONS, &["bogus"]),
        (&metrics::BOGUS, &["signature_expired"]),
        (&metrics::BOGUS, &["signature_not_yet_valid"]),
        (&metrics::BOGUS, &["bad_signature"]),
        (&metrics::VALIDATION_SECONDS, &[]),
        (&metrics::EDE, &["\"7\""]),
        (&metrics::EDE, &["\"15\""]),
        (&metrics::LIST_ACTIONS, &["scam", "nxdomain"]),
    ];
    for (metric, labels) in causes {
        ledger.grew(metric, labels, &before, &after);
    }
    drop(open);
    let closed = scrape_until(&daemon, "the end of the stream", || (), |text| value(text, &metrics::OPEN_STREAMS, &[]) == 0.0);
    ledger.went(&metrics::OPEN_STREAMS, &[], (&after, 1.0), (&closed, 0.0));
    ledger.keeps(MOVES);

    assert!(!after.contains("own.test") && !after.contains("unwanted") && !after.contains("127.0.0.1"), "a name or client is a label");
    let mut promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("apt: prometheus");
    promtool.stdin.take().unwrap().write_all(after.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Who is not served is refused at a bounded rate, and not at all where silence is set.
#[test]
fn strangers_are_counted_as_refused_and_as_dropped() {
    let daemon = Daemon::start("watch-strangers", "[validate]\nbuiltin_anchors = false\n");
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.connect(daemon.dns).unwrap();
    let ask = || assert!(stranger.send(&query(1, "localhost", Rtype::A)).is_ok());
    let access = "[access]\nallow = [\"10.0.0.0/8\"]\nconnected = false\n";
    assert!(daemon.change(|text| text + access), "{}", daemon.log());
    scrape_until(&daemon, "REFUSED", ask, |text| value(text, &metrics::REFUSED, &["acl"]) > 0.0);
    scrape_until(
        &daemon,
        "the limit of refusals",
        || (0..100).for_each(|_| ask()),
        |text| value(text, &metrics::DROPPED, &["rate_limit"]) > 0.0,
    );
    assert!(daemon.change(|text| text + "refuse = \"silence\"\n"), "{}", daemon.log());
    scrape_until(&daemon, "silence", ask, |text| value(text, &metrics::DROPPED, &["acl"]) > 0.0);
}

/// What outsiders choose, names and addresses, makes no series: the page has as many lines after a crowd as before it.
#[test]
fn a_crowd_of_clients_and_names_adds_no_series() {
    /// Enough that a label made of either would show at once; a million takes a minute and says the same.
    const NAMES: usize = 6_000;
    const CLIENTS: usize = 600;
    /// Octets of a page with one list and one forwarder.
    const PAGE: usize = 200 << 10;
    let upstream = super::daemon::Upstream::start();
    let daemon = Daemon::start("watch-crowd", &upstream.settings());
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    Client::new(daemon.dns).ask("first.post.net", Rtype::A);
    let before = daemon.scrape();
    let mut asked = 0;
    for client in 0..CLIENTS {
        let [.., high, low] = (client as u32 + 1).to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 200, high, low), 0)).unwrap();
        socket.connect(daemon.dns).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for name in 0..NAMES / CLIENTS {
            socket.send(&query(name as u16, &format!("n{name}.c{client}.post.net"), Rtype::A)).unwrap();
        }
        // Windows of one client's names: all are answered before the next asks.
        for _ in 0..NAMES / CLIENTS {
            asked += usize::from(socket.recv(&mut [0; 512]).is_ok());
        }
    }
    let after = daemon.scrape();
    assert_eq!((asked, value(&after, &metrics::QUERIES, &[]) as usize >= NAMES), (NAMES, true));
    assert_eq!(series(&before), series(&after));
    assert!(after.len() < PAGE, "{} octets", after.len());
}
