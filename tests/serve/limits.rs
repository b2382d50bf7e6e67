//! Who may ask how often and how much at once: rates, cookies, places, connections. A limit is met by many queries sent at once; what
//! time passes meanwhile on a slow machine is worth a few more answers, and the bounds below leave room for that.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use postern::wire::{Edns, Encoder, Flags, Message, Question, Rcode, Rtype};

use crate::world::*;

const MANY: usize = 40;
/// Hardly any of them: one a second, on a machine that takes its time.
pub const FEW: usize = 10;

/// A client that asks for a name which is always answered at once, because it is blocked.
pub struct Crowd<'d> {
    daemon: &'d Daemon,
    cookie: Vec<u8>,
}

/// What became of [`MANY`] queries.
#[derive(Debug, Default)]
pub struct Fates {
    pub answered: usize,
    truncated: usize,
    dropped: usize,
}

impl<'d> Crowd<'d> {
    pub fn of(daemon: &'d Daemon) -> Crowd<'d> {
        daemon.tell(&["block", "add", "crowd.example"]);
        Crowd { daemon, cookie: Vec::new() }
    }

    fn query(&self) -> Vec<u8> {
        let question = Question::new("crowd.example".parse().unwrap(), Rtype::A);
        let mut bytes = Encoder::new(7, Flags(Flags::RD), Some(&question)).finish().bytes;
        let mut edns = Edns::new(false);
        if !self.cookie.is_empty() {
            edns.options.push((10, self.cookie.clone().into()));
        }
        edns.write(&mut bytes);
        bytes[11] = 1;
        bytes
    }

    pub fn ask(&self, from: IpAddr) -> Fates {
        let dropped = || self.daemon.metric("postern_dropped_total", "rate_limit") as usize;
        let before = dropped();
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(self.daemon.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for _ in 0..MANY {
            socket.send(&self.query()).unwrap();
        }
        let (mut fates, mut buffer, begun) = (Fates::default(), [0; 4096], std::time::Instant::now());
        while fates.answered + fates.truncated + fates.dropped < MANY {
            assert!(begun.elapsed() < PATIENCE, "{fates:?}");
            match socket.recv(&mut buffer) {
                Ok(length) if Message::parse(&buffer[..length]).unwrap().flags.has(Flags::TC) => fates.truncated += 1,
                Ok(_) => fates.answered += 1,
                Err(_) => fates.dropped = dropped() - before,
            }
        }
        fates
    }

    /// A query whose answer is looked at: the cookie in it.
    fn fetch_cookie(&self, client: [u8; 8]) -> Option<Vec<u8>> {
        let crowd = Crowd { daemon: self.daemon, cookie: client.to_vec() };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.daemon.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&crowd.query()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let edns = Message::parse(&buffer[..length]).unwrap().edns.unwrap();
        edns.options.iter().find(|(code, _)| *code == 10).map(|(_, cookie)| cookie.to_vec())
    }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn answers_are_limited_by_prefix_rate_burst_and_slip() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let one = upstream.keys().with("limit.answers_per_second", 1).with("limit.burst_seconds", 1);
    let daemon = Daemon::start(&folder, &one.to_string());
    let crowd = Crowd::of(&daemon);
    assert_eq!(crowd.ask(HERE).answered, MANY, "private clients are spared");
    let limited = one.with("limit.private", true);
    daemon.reload(&folder, &limited);
    let fates = crowd.ask(HERE);
    assert!(fates.answered <= FEW && fates.truncated > 0 && fates.dropped > 0, "{fates:?}");
    daemon.reload(&folder, &limited.with("limit.slip", 0));
    assert_eq!(crowd.ask(HERE).truncated, 0);
    daemon.reload(&folder, &limited.with("limit.slip", 1));
    assert_eq!(crowd.ask(HERE).dropped, 0);
    daemon.reload(&folder, &limited.with("limit.answers_per_second", 0));
    assert_eq!(crowd.ask(HERE).answered, MANY);

    // A bucket of 30; the clients differ in the 24th bit of their addresses.
    let bucket = limited.with("limit.burst_seconds", 30);
    let other = IpAddr::from([127, 0, 1, 1]);
    daemon.reload(&folder, &bucket);
    assert!(crowd.ask(HERE).answered >= 30 && crowd.ask(other).answered >= 30);
    daemon.reload(&folder, &bucket.with("limit.ipv4_prefix_bits", 16));
    assert!(crowd.ask(HERE).answered >= 30);
    let second = crowd.ask(other);
    assert!(second.answered <= FEW, "{second:?}");
}

#[test]
fn refusals_have_a_limit_of_their_own() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let closed = upstream.keys().with("access.allow", "[\"10.0.0.0/8\"]").with("access.connected", false);
    let one = closed.with("limit.errors_per_second", 1).with("limit.burst_seconds", 1);
    let daemon = Daemon::start(&folder, &one.to_string());
    let crowd = Crowd::of(&daemon);
    let fates = crowd.ask(HERE);
    assert!(fates.answered <= FEW && fates.dropped > 0, "{fates:?}");
    daemon.reload(&folder, &one.with("limit.errors_per_second", 0));
    assert_eq!(crowd.ask(HERE).answered, MANY);
}

/// RFC 7873 section 5.2.3: a valid server cookie shows that the address is not forged; so does TCP.
#[test]
fn a_cookie_or_a_stream_lifts_the_limit() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let limited = upstream.keys().with("limit.answers_per_second", 1).with("limit.burst_seconds", 1).with("limit.private", true);
    let daemon = Daemon::start(&folder, &limited.with("access.cookies", false).to_string());
    assert_eq!(Crowd::of(&daemon).fetch_cookie([1; 8]), None);
    daemon.reload(&folder, &limited);
    // The limit may have been spent by the question before: then the answer is short, and says its cookie at another time.
    let mut crowd = Crowd::of(&daemon);
    let begun = std::time::Instant::now();
    while crowd.cookie.is_empty() && begun.elapsed() < PATIENCE {
        daemon.reload(&folder, &limited.with("limit.answers_per_second", 0));
        crowd.cookie = crowd.fetch_cookie([1; 8]).unwrap_or_default();
    }
    daemon.reload(&folder, &limited);
    assert_eq!((crowd.cookie.len(), crowd.ask(HERE).answered), (24, MANY));
    crowd.cookie[23] ^= 1;
    let forged = crowd.ask(HERE);
    assert!(forged.answered <= FEW, "{forged:?}");
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..MANY {
        let query = crowd.query();
        stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&query).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(Message::parse(&answer).unwrap().rcode(), Rcode::NXDOMAIN);
    }
}

#[test]
fn a_connection_too_many_closes_the_one_that_was_idle_longest() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let keys = upstream.keys().with("listen.tcp_idle_seconds", 600);
    let ends = |limit: usize| {
        let daemon = Daemon::start(&folder, &keys.with("listen.tcp_connections", limit).to_string());
        let mut first = TcpStream::connect(daemon.address).unwrap();
        let shown = daemon.tell(&["query", "--tcp", "www.example"]);
        assert!(shown.contains("over TCP"), "{shown}");
        // An answered query shows that the connection is there; one that was closed gives the end instead.
        let query = Crowd { daemon: &daemon, cookie: Vec::new() }.query();
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = first.write_all(&(query.len() as u16).to_be_bytes()).and_then(|()| first.write_all(&query));
        let ended = sent.is_err() || first.read(&mut [0; 1]).map_or(true, |octets| octets == 0);
        daemon.stop();
        ended
    };
    assert!(ends(1) && !ends(2));
}

#[test]
fn without_a_place_a_client_gets_stale_data_or_nothing_or_servfail() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    // One client gets an eighth of the places: one here. What is asked for first keeps it for a minute.
    let full = upstream.keys().with("listen.resolving_queries", 8).with("budget.seconds", 60).with("cache.stale_seconds", 86400);
    let daemon = Daemon::start(&folder, &full.to_string());
    assert_eq!(daemon.ask("brief.example", Rtype::A).rcode(), Rcode::NOERROR);
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let hold = |daemon: &Daemon, name: &str| {
        let question = Question::new(name.parse().unwrap(), Rtype::A);
        holder.send_to(&Encoder::new(9, Flags(Flags::RD), Some(&question)).finish().bytes, daemon.address).unwrap();
    };
    // What is held for nobody's sake may end before we look; then it is held anew, under a name that has not failed yet.
    let until = |what: &dyn Fn(usize) -> bool| {
        let begun = std::time::Instant::now();
        for i in 0.. {
            assert!(begun.elapsed() < PATIENCE);
            hold(&daemon, &format!("silent.{i}.example"));
            if what(i) {
                return;
            }
        }
    };
    let short = Duration::from_millis(300);
    until(&|i| {
        let nothing = ask_within(daemon.address, &format!("www.{i}.example"), Rtype::A, short).is_none();
        nothing && daemon.metric("postern_dropped_total", "queue_full") >= 1.0
    });
    until(&|_| ask_within(daemon.address, "brief.example", Rtype::A, short).is_some_and(|answer| codes(&answer) == [3]));
    daemon.reload(&folder, &full.with("listen.when_full", "\"servfail\""));
    until(&|i| ask_within(daemon.address, &format!("mail.{i}.example"), Rtype::A, short).is_some_and(|a| a.rcode() == Rcode::SERVFAIL));
    assert!(daemon.metric("postern_refused_total", "overload") >= 1.0);
    daemon.stop();

    let daemon = Daemon::start(&folder, &full.with("listen.resolving_queries", 4096).to_string());
    hold(&daemon, "silent.example");
    assert_eq!(daemon.ask("www.example", Rtype::A).rcode(), Rcode::NOERROR);
}
