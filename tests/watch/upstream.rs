//! What other servers cause: a forwarder that answers, falls silent, talks nonsense and is gone, and zones made to cost work.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use postern::telemetry::metrics::{self, Metric};
use postern::wire::{Message, Rcode, Rtype};

use super::daemon::{Behaviour, Client, Daemon, Upstream, own_address, query};
use super::ledger::{Ledger, scrape_until, value};

pub(crate) static FORWARDER: &[&Metric] = &[
    &metrics::FORWARDER_RTT,
    &metrics::FORWARDER_UP,
    &metrics::UPSTREAM_ERRORS,
    &metrics::CACHE_LOOKUPS,
    &metrics::QUEUE_DEPTH,
    &metrics::DROPPED,
];

pub(crate) static LIMITS: &[&Metric] = &[&metrics::BUDGET_EXHAUSTED];

#[test]
fn a_forwarder_that_comes_and_goes_moves_what_is_said_of_it() {
    let upstream = Upstream::start();
    let daemon = Daemon::start("watch-forwarder", &upstream.settings());
    let client = Client::new(daemon.dns);
    let address = upstream.address.to_string();
    let (label, mut ledger) = ([address.as_str()], Ledger::default());
    let start = daemon.scrape();
    assert!(!start.contains(&format!("{}{{", metrics::FORWARDER_UP.name)), "it was never asked");

    assert_eq!(client.ask("brief.post.net", Rtype::A).rcode(), Rcode::NOERROR);
    let up = daemon.scrape();
    ledger.went(&metrics::FORWARDER_UP, &label, (&start, 0.0), (&up, 1.0));
    ledger.grew(&metrics::FORWARDER_RTT, &label, &start, &up);

    upstream.behave(Behaviour::Silent);
    // The record has lived its second by the time it is given as stale, and until then it is fresh.
    let stale = |text: &str| value(text, &metrics::CACHE_LOOKUPS, &["rrset", "stale"]) > 0.0;
    let down = scrape_until(&daemon, "a stale answer", || drop(client.ask("brief.post.net", Rtype::A)), stale);
    ledger.grew(&metrics::CACHE_LOOKUPS, &["rrset", "stale"], &up, &down);
    let mut asked = 0;
    let ask = || {
        client.ask(&format!("unknown{asked}.post.net"), Rtype::A);
        asked += 1;
    };
    let down = scrape_until(&daemon, "the silence", ask, |text| value(text, &metrics::FORWARDER_UP, &label) == 0.0);
    ledger.went(&metrics::FORWARDER_UP, &label, (&up, 1.0), (&down, 0.0));
    ledger.grew(&metrics::UPSTREAM_ERRORS, &["timeout"], &up, &down);

    upstream.behave(Behaviour::Garbles);
    let garbled = scrape_until(
        &daemon,
        "nonsense",
        || drop(client.ask("garbled.post.net", Rtype::A)),
        |text| value(text, &metrics::UPSTREAM_ERRORS, &["malformed"]) > 0.0,
    );
    ledger.grew(&metrics::UPSTREAM_ERRORS, &["malformed"], &down, &garbled);

    upstream.behave(Behaviour::Answers);
    let mut asked = 0;
    let ask = || {
        client.ask(&format!("back{asked}.post.net"), Rtype::A);
        asked += 1;
    };
    let again = scrape_until(&daemon, "the return", ask, |text| value(text, &metrics::FORWARDER_UP, &label) == 1.0);

    // More questions that wait for one client than it may hold.
    upstream.behave(Behaviour::Silent);
    let crowd = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    crowd.connect(daemon.dns).unwrap();
    let mut number = 0;
    let flood = || {
        for _ in 0..200 {
            crowd.send(&query(1, &format!("flood{number}.post.net"), Rtype::A)).unwrap();
            number += 1;
        }
    };
    let full = scrape_until(&daemon, "a full queue", flood, |text| {
        value(text, &metrics::DROPPED, &["queue_full"]) > 0.0 && value(text, &metrics::QUEUE_DEPTH, &[]) > 0.0
    });
    ledger.grew(&metrics::DROPPED, &["queue_full"], &again, &full);

    // They are given up one by one, and the client has its places again.
    drop(upstream);
    let given_up = scrape_until(&daemon, "an empty queue", || (), |text| value(text, &metrics::QUEUE_DEPTH, &[]) == 0.0);
    ledger.went(&metrics::QUEUE_DEPTH, &[], (&full, value(&full, &metrics::QUEUE_DEPTH, &[])), (&given_up, 0.0));
    let mut asked = 0;
    let ask = || {
        client.ask(&format!("gone{asked}.post.net"), Rtype::A);
        asked += 1;
    };
    let gone = scrape_until(&daemon, "a closed port", ask, |text| value(text, &metrics::UPSTREAM_ERRORS, &["unreachable"]) > 0.0);
    ledger.grew(&metrics::UPSTREAM_ERRORS, &["unreachable"], &full, &gone);
    ledger.keeps(FORWARDER);
}

/// A root that knows of every name only that others know more: each referral names servers without addresses, whose names lead to
/// further such referrals (NXNSAttack, USENIX Security 2020).
struct Labyrinth {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Labyrinth {
    fn start() -> Labyrinth {
        let socket = UdpSocket::bind((own_address(), 5398)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut buffer, mut number) = ([0; 4096], 0u32);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some(question) = Message::parse(&buffer[..length]).ok().and_then(|message| message.question) else { continue };
                let end = 12 + question.name.wire().len() + 4;
                let mut reply = buffer[..end].to_vec();
                reply[2] |= 0x80;
                reply[6..12].fill(0);
                if !question.name.is_root() {
                    // The last label of the question, by a pointer: it and the root take the last octets of the name.
                    let labels: Vec<usize> = std::iter::successors(Some(12), |at| Some(at + 1 + usize::from(reply[*at])))
                        .take_while(|at| reply[*at] != 0)
                        .collect();
                    let top = *labels.last().unwrap() as u8;
                    reply[9] = 8;
                    for _ in 0..8 {
                        number += 1;
                        let target = format!("ns.z{number}.");
                        let target = target.parse::<postern::wire::Name>().unwrap();
                        reply.extend([0xc0, top, 0, 2, 0, 1, 0, 0, 14, 16]);
                        reply.extend((target.wire().len() as u16).to_be_bytes());
                        reply.extend(target.wire());
                    }
                }
                let _ = socket.send_to(&reply, from);
            }
        });
        Labyrinth { address, stop, thread: Some(thread) }
    }
}

impl Drop for Labyrinth {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_question_that_costs_more_than_one_may_is_counted() {
    let labyrinth = Labyrinth::start();
    let settings = format!(
        "[resolve]\nroot_hints = [\"ns.maze. A {}\"]\nupstream_port = {}\nloopback_upstream = true\nipv6 = false\nqname_minimisation = false\n\
         [validate]\nbuiltin_anchors = false\n",
        labyrinth.address.ip(),
        labyrinth.address.port()
    );
    let daemon = Daemon::start("watch-budget", &settings);
    let before = daemon.scrape();
    assert_eq!(Client::new(daemon.dns).ask("www.way.out", Rtype::A).rcode(), Rcode::SERVFAIL);
    let mut ledger = Ledger::default();
    ledger.went(&metrics::BUDGET_EXHAUSTED, &[], (&before, 0.0), (&daemon.scrape(), 1.0));
    ledger.keeps(LIMITS);
}
