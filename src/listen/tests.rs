use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::service::{Now, Step, Why};
use super::*;
use crate::guard::{Acl, Cookies, RateLimit, ratelimit};
use crate::outbound::SystemClock;
use crate::resolve::{Asked, Clock, Outcome};
use crate::respond::BlockAnswer;
use crate::telemetry::label::{Transport, Verdict};
use crate::validate::{Bogus, Status};
use crate::wire::{Ede, Edns, Encoder, Flags, Message, Name, Question, Rcode, Rrset, Rtype};

const PATIENCE: Duration = Duration::from_secs(20);
const LAN: &str = "192.168.1.7:4000";

/// Gives every name an address; `alias.*` leads to `target.example`, `bogus.*` does not validate, `slow.*` waits for the gate.
struct Scripted {
    asked: AtomicUsize,
    prefetched: AtomicUsize,
    gate: Semaphore,
}

impl Resolve for Scripted {
    fn prefetch(&self, _question: Question) {
        self.prefetched.fetch_add(1, Relaxed);
    }

    fn resolve(&self, question: Question, asked: Asked) -> Resolving<'_> {
        Box::pin(async move {
            self.asked.fetch_add(1, Relaxed);
            let name = question.name.to_string();
            if name.starts_with("slow.") {
                self.gate.acquire().await.unwrap().forget();
            }
            if name.starts_with("bogus.") && !asked.checking_disabled {
                let status = Status::Bogus(Bogus::BadSignature);
                return Outcome { ttl: 5, ..Outcome::servfail(status, vec![Bogus::BadSignature.ede()]) };
            }
            let status = if name.starts_with("bogus.") { Status::Bogus(Bogus::BadSignature) } else { Status::Secure };
            let (mut owner, mut answer) = (question.name.clone(), Vec::new());
            if name.starts_with("alias.") {
                let target: Name = "target.example".parse().unwrap();
                answer.push(Arc::new(Rrset::new(owner, Rtype::CNAME, 300, vec![target.wire().into()])));
                owner = target;
            }
            let count = if name.starts_with("big.") { 200 } else { 1 };
            let addresses = (0..count).map(|i| Box::from([192, 0, 2, i])).collect();
            answer.push(Arc::new(Rrset::new(owner, Rtype::A, 300, addresses)));
            Outcome { rcode: Rcode::NOERROR, answer, authority: vec![], status, ede: vec![Ede::new(29, "made up")], ttl: 300, stale: false }
        })
    }
}

/// Blocks the names given.
#[derive(Default)]
struct Names {
    blocked: Mutex<Vec<Name>>,
    /// The one client that may have what is blocked.
    spared: Mutex<Option<IpAddr>>,
    generation: AtomicU64,
}

impl Names {
    fn block(&self, names: &[&str]) {
        *self.blocked.lock().unwrap() = names.iter().map(|n| n.parse().unwrap()).collect();
        self.generation.fetch_add(1, Relaxed);
    }
}

impl Policy for Names {
    fn generation(&self, _wall: u64) -> u64 {
        self.generation.load(Relaxed)
    }

    fn is_same_for_all(&self) -> bool {
        self.spared.lock().unwrap().is_none()
    }

    fn judge(&self, name: &[u8], client: IpAddr, _wall: u64, may_wait: bool) -> Judgement<'_> {
        if name.starts_with(b"\x04disk") && !may_wait {
            return Judgement::WouldWait;
        }
        if *self.spared.lock().unwrap() == Some(client) || !self.blocked.lock().unwrap().iter().any(|n| n.wire() == name) {
            return Judgement::Pass(Verdict::Allowed, None);
        }
        let text = ["list=", "scam", "", ""];
        Judgement::Block(Block { answer: BlockAnswer::Nxdomain, ttl: 60, text, verdict: Verdict::Blocked, list: None })
    }
}

struct Bench {
    service: Arc<Service>,
    resolver: Arc<Scripted>,
    policy: Arc<Names>,
    metrics: Metrics,
}

fn bench() -> Bench {
    let resolver = Arc::new(Scripted { asked: AtomicUsize::new(0), prefetched: AtomicUsize::new(0), gate: Semaphore::new(0) });
    let (policy, metrics) = (Arc::new(Names::default()), Metrics::new());
    let rules = Rules {
        acl: Acl::closed([]),
        unlimited: Acl::closed([]),
        silent: false,
        udp_payload: 1232,
        rate: Arc::new(RateLimit::new(ratelimit::Settings::default())),
        cookies: Some(Cookies::new([7; 16])),
        servfail_when_full: false,
        policy: policy.clone(),
        stream_idle: Duration::from_secs(10),
    };
    let service = Service::new(rules, 1 << 20, resolver.clone(), SystemClock::new(), metrics.shared());
    Bench { service: Arc::new(service), resolver, policy, metrics }
}

fn query(name: &str, rtype: Rtype, flags: u16, edns: Option<Edns>) -> Vec<u8> {
    let mut bytes = Encoder::new(0x4242, Flags(flags | Flags::RD), Some(&Question::new(name.parse().unwrap(), rtype))).finish().bytes;
    if let Some(edns) = edns {
        edns.write(&mut bytes);
        bytes[11] = 1;
    }
    bytes
}

fn packet<'a>(bytes: &'a [u8], from: &str, transport: Transport) -> Packet<'a> {
    Packet { bytes, from: from.parse().unwrap(), transport, cut: false }
}

impl Bench {
    /// What the fast half does at once, without anything being resolved.
    fn at_once(&self, packet: &Packet<'_>, now: Now) -> (Step, Vec<u8>) {
        let mut out = Vec::new();
        let step = self.service.answer_now(&self.service.rules(), packet, &now, &mut out, self.service.counters());
        (step, out)
    }

    async fn ask_from(&self, bytes: &[u8], from: &str, transport: Transport) -> Option<Vec<u8>> {
        match self.service.answer(&packet(bytes, from, transport)).await {
            Answer::Reply(reply) => Some(reply),
            Answer::Silence => None,
        }
    }

    async fn ask(&self, bytes: &[u8]) -> Message {
        Message::parse(&self.ask_from(bytes, LAN, Transport::Udp).await.unwrap()).unwrap()
    }

    fn resolved(&self) -> usize {
        self.resolver.asked.load(Relaxed)
    }
}

/// One truth at two speeds: a miss and the hit after it give the same octets, whatever the client asked for.
#[tokio::test]
async fn slow_and_fast_half_give_the_same_octets() {
    for name in ["www.example", "alias.example", "bogus.example", "big.example"] {
        for flags in [0, Flags::AD, Flags::CD, Flags::AD | Flags::CD] {
            for edns in [None, Some(Edns::new(false)), Some(Edns::new(true))] {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let bench = bench();
                    let mut bytes = query(name, Rtype::A, flags, edns.clone());
                    bytes[13].make_ascii_uppercase();
                    let asked = packet(&bytes, LAN, transport);
                    let now = bench.service.now();
                    assert_eq!(bench.at_once(&asked, now).0, Step::Slow(Why::Miss(Verdict::Allowed)));
                    let slow = bench.ask_from(&bytes, LAN, transport).await.unwrap();
                    let (step, fast) = bench.at_once(&asked, now);
                    assert_eq!((step, &fast), (Step::Reply(crate::telemetry::label::Served::Hit), &slow), "{name} {flags:x} {edns:?}");
                    assert_eq!(bench.resolved(), 1);
                }
            }
        }
    }
}

#[tokio::test]
async fn ttls_count_down_and_the_entry_ends() {
    let bench = bench();
    let bytes = query("www.example", Rtype::A, 0, None);
    bench.ask(&bytes).await;
    let now = bench.service.now();
    let later = |seconds| Now { monotonic: now.monotonic + Duration::from_secs(seconds), ..now };
    let ttl = |reply: &[u8]| Message::parse(reply).unwrap().answer[0].ttl;
    assert!((199..=200).contains(&ttl(&bench.at_once(&packet(&bytes, LAN, Transport::Udp), later(100)).1)));
    assert_eq!(bench.at_once(&packet(&bytes, LAN, Transport::Udp), later(301)).0, Step::Slow(Why::Miss(Verdict::Allowed)));
}

#[tokio::test]
async fn a_hit_in_the_last_tenth_of_a_ttl_prefetches_once() {
    let bench = bench();
    let (bytes, unchecked) = (query("www.example", Rtype::A, 0, None), query("www.example", Rtype::A, Flags::CD, None));
    bench.ask(&bytes).await;
    let now = bench.service.now();
    let hit = |bytes: &[u8], seconds| {
        let later = Now { monotonic: now.monotonic + Duration::from_secs(seconds), ..now };
        assert!(matches!(bench.at_once(&packet(bytes, LAN, Transport::Udp), later).0, Step::Reply(_)));
        bench.resolver.prefetched.load(Relaxed)
    };
    assert_eq!((hit(&bytes, 1), hit(&bytes, 260)), (0, 0));
    assert_eq!((hit(&bytes, 290), hit(&bytes, 291), hit(&unchecked, 292)), (1, 1, 1));
}

/// An answer made while the clock stood before its floor is not kept past the clock's repair, nor the other way round.
#[tokio::test]
async fn the_answers_go_when_the_clock_begins_or_ceases_to_be_believed() {
    let bench = bench();
    let bytes = query("www.example", Rtype::A, 0, None);
    bench.ask(&bytes).await;
    let right = bench.service.now();
    let wrong = Now { wall: 100, trusted_wall: 0, ..right };
    let asked = packet(&bytes, LAN, Transport::Udp);
    assert!(matches!(bench.at_once(&asked, right).0, Step::Reply(_)));
    assert!(matches!(bench.at_once(&asked, wrong).0, Step::Slow(_)));
    assert_eq!(bench.service.cache().len(), 0);
    // Resolved by a service whose clock is right, so it is stored as such; the wrong look at the clock was the last one.
    bench.ask(&bytes).await;
    assert!(matches!(bench.at_once(&asked, right).0, Step::Reply(_)));
}

/// RFC 4035 section 3.2.2: data that failed validation is for CD=1 only, and a failure is not for CD=1.
#[tokio::test]
async fn bogus_data_reaches_only_clients_that_set_cd() {
    let bench = bench();
    let (checked, unchecked) =
        (query("bogus.example", Rtype::A, 0, Some(Edns::new(true))), query("bogus.example", Rtype::A, Flags::CD, None));
    for _ in 0..2 {
        let failed = bench.ask(&checked).await;
        assert_eq!((failed.rcode(), failed.answer.len()), (Rcode::SERVFAIL, 0));
        assert_eq!(failed.edns.unwrap().extended_errors().next().unwrap().code, 6);
        let data = bench.ask(&unchecked).await;
        assert_eq!((data.rcode(), data.answer.len(), data.flags.has(Flags::AD)), (Rcode::NOERROR, 1, false));
    }
    assert_eq!(bench.resolved(), 2);
}

#[tokio::test]
async fn strangers_are_refused_and_never_with_more_than_they_sent() {
    let bench = bench();
    let bytes = query("www.example", Rtype::A, 0, Some(Edns::new(true)));
    // Even a cached answer does not escape the access list.
    bench.ask(&bytes).await;
    let reply = bench.ask_from(&bytes, "203.0.113.9:5", Transport::Udp).await.unwrap();
    assert_eq!((Message::parse(&reply).unwrap().rcode(), reply.len()), (Rcode::REFUSED, bytes.len()));
    let mut with_room = Edns::new(false);
    with_room.options.push((65001, [0; 8].into()));
    let roomy = query("www.example", Rtype::A, 0, Some(with_room));
    let reply = bench.ask_from(&roomy, "[2001:db8::1]:5", Transport::Udp).await.unwrap();
    assert!(reply.len() <= roomy.len());
    assert_eq!(Message::parse(&reply).unwrap().edns.unwrap().extended_errors().next().unwrap().code, 18);
    // Rubbish from outside gets no better answer.
    let reply = bench.ask_from(&[0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 7], "203.0.114.9:5", Transport::Udp).await.unwrap();
    assert_eq!((reply.len(), reply[3] & 15), (12, Rcode::REFUSED.0 as u8));
    // Refusals are limited in rate, and silence is a setting.
    let mut refused = 0;
    while bench.ask_from(&bytes, "198.51.100.9:5", Transport::Udp).await.is_some() {
        refused += 1;
    }
    assert!((5..=20).contains(&refused), "{refused}");
    bench.service.change_rules(|rules| rules.silent = true);
    assert_eq!(bench.ask_from(&bytes, "192.0.2.9:5", Transport::Udp).await, None);
    assert_eq!(bench.resolved(), 1);
}

#[tokio::test]
async fn what_must_not_be_answered_is_not() {
    let bench = bench();
    let mut bytes = query("www.example", Rtype::A, 0, None);
    assert_eq!(bench.ask_from(&bytes, "192.168.1.7:0", Transport::Udp).await, None);
    assert_eq!(bench.ask_from(&bytes, "0.0.0.0:5", Transport::Udp).await, None);
    bytes[2] |= 0x80;
    assert_eq!(bench.ask_from(&bytes, LAN, Transport::Udp).await, None);
    assert_eq!(bench.ask_from(&bytes[..11], LAN, Transport::Udp).await, None);
}

#[tokio::test]
async fn errors_are_answered_with_their_codes_and_never_longer_than_the_query() {
    let bench = bench();
    let plain = query("www.example", Rtype::A, 0, Some(Edns::new(false)));
    let with = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        bytes
    };
    let class = plain.len() - 12;
    let cases = [
        (with(2, 0x29), Rcode::NOTIMP),
        (with(5, 2), Rcode::FORMERR),
        (with(12, 200), Rcode::FORMERR),
        (with(2, 0), Rcode::REFUSED),
        (with(class, 3), Rcode::REFUSED),
        (query("www.example", Rtype::AXFR, 0, None), Rcode::REFUSED),
        (query("www.example", Rtype(249), 0, None), Rcode::NOTIMP),
        (query("www.example", Rtype::A, 0, Some(Edns { version: 1, ..Edns::new(false) })), Rcode::BADVERS),
        (query("www.example", Rtype::A, 0, Some(Edns { options: vec![(10, [1; 9].into())], ..Edns::new(false) })), Rcode::FORMERR),
    ];
    for (bytes, rcode) in cases {
        let reply = bench.ask_from(&bytes, LAN, Transport::Udp).await.unwrap();
        assert_eq!(Message::parse(&reply).unwrap().rcode(), rcode);
        assert!(reply.len() <= bytes.len() && reply[..2] == bytes[..2]);
    }
    assert_eq!(bench.resolved(), 0);
}

#[tokio::test]
async fn a_block_is_felt_at_once_and_lifted_at_once_also_by_cname() {
    let bench = bench();
    let (direct, alias) = (query("bad.example", Rtype::A, 0, None), query("alias.example", Rtype::A, 0, None));
    assert_eq!(bench.ask(&direct).await.rcode(), Rcode::NOERROR);
    assert_eq!(bench.ask(&alias).await.answer.len(), 2);
    bench.policy.block(&["bad.example", "target.example"]);
    for _ in 0..2 {
        assert_eq!(bench.ask(&direct).await.rcode(), Rcode::NXDOMAIN);
        assert_eq!(bench.ask(&alias).await.rcode(), Rcode::NXDOMAIN);
    }
    bench.policy.block(&[]);
    assert_eq!(bench.ask(&direct).await.rcode(), Rcode::NOERROR);
    assert_eq!(bench.ask(&alias).await.answer.len(), 2);
    assert_eq!((bench.resolved(), bench.service.cache().len()), (2, 2));
}

/// The first answer behind a blocked target must not slip out either.
#[tokio::test]
async fn a_target_that_is_blocked_when_first_resolved_is_blocked() {
    let bench = bench();
    bench.policy.block(&["target.example"]);
    let alias = query("alias.example", Rtype::A, Flags::CD | Flags::AD, Some(Edns::new(true)));
    for _ in 0..2 {
        let message = bench.ask(&alias).await;
        assert_eq!((message.rcode(), message.flags.has(Flags::AD)), (Rcode::NXDOMAIN, false));
        assert_eq!(message.edns.unwrap().extended_errors().next().unwrap(), Ede::new(15, "list=scam"));
    }
    assert_eq!(bench.resolved(), 1);
    // Asking for the CNAME itself gives the name away, not the address.
    assert_eq!(bench.ask(&query("alias.example", Rtype::CNAME, 0, None)).await.rcode(), Rcode::NOERROR);
}

/// What one client was let through to, by a rule of its own, is still kept from the others.
#[tokio::test]
async fn a_judgement_for_one_client_is_not_kept_for_another() {
    let bench = bench();
    bench.policy.block(&["target.example"]);
    *bench.policy.spared.lock().unwrap() = "192.168.1.8".parse().ok();
    let alias = query("alias.example", Rtype::A, 0, None);
    for _ in 0..2 {
        let spared = bench.ask_from(&alias, "192.168.1.8:9", Transport::Udp).await.unwrap();
        assert_eq!(Message::parse(&spared).unwrap().answer.len(), 2);
        assert_eq!(bench.ask(&alias).await.rcode(), Rcode::NXDOMAIN);
    }
    assert_eq!(bench.resolved(), 1);
}

#[tokio::test]
async fn a_name_that_needs_the_disk_is_judged_by_the_slow_half() {
    let bench = bench();
    bench.policy.block(&["disk.example"]);
    let bytes = query("disk.example", Rtype::A, 0, None);
    let (step, _) = bench.at_once(&packet(&bytes, LAN, Transport::Udp), bench.service.now());
    assert_eq!(step, Step::Slow(Why::Disk));
    assert_eq!((bench.ask(&bytes).await.rcode(), bench.resolved()), (Rcode::NXDOMAIN, 0));
    bench.policy.block(&[]);
    assert_eq!((bench.ask(&bytes).await.rcode(), bench.resolved()), (Rcode::NOERROR, 1));
    assert_eq!((bench.ask(&bytes).await.rcode(), bench.resolved()), (Rcode::NOERROR, 1));
}

/// RFC 7873 section 5.2: a cookie of ours lifts the rate limit, and so does a stream; everybody else comes back over TCP.
#[tokio::test]
async fn the_rate_limit_spares_private_clients_cookies_and_streams() {
    let bench = bench();
    bench.service.change_rules(|rules| rules.acl = Acl::new(["0.0.0.0/0".parse().unwrap()]));
    let outside = "198.51.100.1:53";
    let cookie = |payload: &[u8]| query("www.example", Rtype::A, 0, Some(Edns { options: vec![(10, payload.into())], ..Edns::new(false) }));
    let first = bench.ask_from(&cookie(&[1; 8]), outside, Transport::Udp).await.unwrap();
    let ours = Message::parse(&first).unwrap().edns.unwrap().option(10).unwrap().to_vec();
    assert_eq!((ours.len(), &ours[..8]), (24, &[1; 8][..]));
    let plain = query("www.example", Rtype::A, 0, None);
    let mut fates = [0; 3];
    for _ in 0..1000 {
        match bench.ask_from(&plain, outside, Transport::Udp).await {
            None => fates[0] += 1,
            Some(reply) if Message::parse(&reply).unwrap().flags.has(Flags::TC) => fates[1] += 1,
            Some(_) => fates[2] += 1,
        }
    }
    assert!(fates.iter().all(|count| *count >= 100), "dropped, slipped, answered: {fates:?}");
    for (bytes, from, transport) in
        [(cookie(&ours), outside, Transport::Udp), (plain.clone(), outside, Transport::Tcp), (plain.clone(), LAN, Transport::Udp)]
    {
        for _ in 0..500 {
            let reply = bench.ask_from(&bytes, from, transport).await.unwrap();
            assert_eq!(Message::parse(&reply).unwrap().answer.len(), 1);
        }
    }
}

#[tokio::test]
async fn any_is_resolved_every_time() {
    let bench = bench();
    for asked in 1..3 {
        assert_eq!(bench.ask(&query("www.example", Rtype::ANY, 0, None)).await.rcode(), Rcode::NOERROR);
        assert_eq!(bench.resolved(), asked);
    }
}

fn serve(bench: &Bench, addresses: &[&str], settings: Settings) -> Listeners {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let bound = Bound::open(&addresses, settings).unwrap();
    bound.serve(bench.service.clone(), bench.metrics.clone(), Handle::current()).unwrap()
}

fn small() -> Settings {
    Settings { workers: 2, udp: UdpOptions { wait: Duration::from_millis(20), ..UdpOptions::default() }, ..Settings::default() }
}

async fn over_udp(to: SocketAddr, bytes: &[u8]) -> Message {
    let local = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = tokio::net::UdpSocket::bind(local).await.unwrap();
    socket.connect(to).await.unwrap();
    socket.send(bytes).await.unwrap();
    let mut buffer = vec![0; 4096];
    let len = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::parse(&buffer[..len]).unwrap()
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()).await.unwrap();
}

/// The next answer; `None` where the server has closed.
async fn hear(stream: &mut TcpStream) -> Option<Message> {
    let read = async {
        let length = stream.read_u16().await.ok()?;
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.ok()?;
        Some(Message::parse(&reply).unwrap())
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_and_tcp_answer_on_every_address() {
    let bench = bench();
    let listeners = serve(&bench, &["127.0.0.1:0", "[::1]:0"], small());
    assert_eq!(listeners.workers(), 4);
    for to in listeners.local_addrs() {
        // A miss, a hit, and one too big for UDP.
        for _ in 0..2 {
            assert_eq!(over_udp(to, &query("www.example", Rtype::A, 0, None)).await.answer.len(), 1);
        }
        let big = query("big.example", Rtype::A, 0, Some(Edns { udp_size: 65535, ..Edns::new(false) }));
        let cut = over_udp(to, &big).await;
        assert!(cut.flags.has(Flags::TC) && cut.answer.is_empty());
        let mut stream = TcpStream::connect(to).await.unwrap();
        say(&mut stream, &big).await;
        assert_eq!(hear(&mut stream).await.unwrap().answer.len(), 200);
    }
    assert_eq!(bench.resolved(), 2);
    let text = bench.metrics.text();
    assert!(text.contains("postern_queries_total{transport=\"tcp\",qtype=\"A\"} 2"), "{text}");
    listeners.stop(PATIENCE).await;
}

/// RFC 7766 section 7: answers leave as they are ready, and a slow one holds up none behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_pipelined_and_answered_out_of_order() {
    let bench = bench();
    let listeners = serve(&bench, &["127.0.0.1:0"], small());
    let mut stream = TcpStream::connect(listeners.local_addrs()[0]).await.unwrap();
    for name in ["slow.example", "www.example", "two.example"] {
        say(&mut stream, &query(name, Rtype::A, 0, None)).await;
    }
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(hear(&mut stream).await.unwrap().question.unwrap().name.to_string());
    }
    names.sort();
    assert_eq!(names, ["two.example.", "www.example."]);
    bench.resolver.gate.add_permits(1);
    assert_eq!(hear(&mut stream).await.unwrap().question.unwrap().name.to_string(), "slow.example.");
    // Many at once, more than the pipeline takes, in one piece and cut at odd places.
    let one = query("www.example", Rtype::A, 0, None);
    let many: Vec<u8> = (0..3000).flat_map(|_| [&(one.len() as u16).to_be_bytes()[..], &one].concat()).collect();
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move {
        for piece in many.chunks(1001) {
            write.write_all(piece).await.unwrap();
        }
        write
    });
    for _ in 0..3000 {
        let length = tokio::time::timeout(PATIENCE, read.read_u16()).await.unwrap().unwrap();
        read.read_exact(&mut vec![0; usize::from(length)]).await.unwrap();
    }
    writing.await.unwrap();
    listeners.stop(PATIENCE).await;
}

/// A client that stops sending still gets what it asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_stream_gets_its_answers() {
    let bench = bench();
    let listeners = serve(&bench, &["127.0.0.1:0"], small());
    let mut stream = TcpStream::connect(listeners.local_addrs()[0]).await.unwrap();
    say(&mut stream, &query("slow.example", Rtype::A, 0, None)).await;
    stream.shutdown().await.unwrap();
    bench.resolver.gate.add_permits(1);
    assert!(hear(&mut stream).await.is_some());
    assert!(hear(&mut stream).await.is_none());
    listeners.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_limited_and_the_longest_idle_leaves_first() {
    let bench = bench();
    let settings = Settings { streams: stream::Limits { connections: 2, per_client: 3, ..stream::Limits::default() }, ..small() };
    let listeners = serve(&bench, &["127.0.0.1:0"], settings);
    let to = listeners.local_addrs()[0];
    let bytes = query("www.example", Rtype::A, 0, None);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        say(&mut stream, &bytes).await;
        assert!(hear(&mut stream).await.is_some());
        open.push(stream);
    }
    let mut third = TcpStream::connect(to).await.unwrap();
    say(&mut third, &bytes).await;
    assert!(hear(&mut third).await.is_some());
    // The first has been closed for it; the second goes on.
    assert!(hear(&mut open[0]).await.is_none());
    say(&mut open[1], &bytes).await;
    assert!(hear(&mut open[1]).await.is_some());
    listeners.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_or_trickling_stream_is_closed_and_so_is_one_that_breaks_the_protocol() {
    let bench = bench();
    let limits = stream::Limits { idle: Duration::from_millis(100), ..stream::Limits::default() };
    let listeners = serve(&bench, &["127.0.0.1:0"], Settings { streams: limits, ..small() });
    let to = listeners.local_addrs()[0];
    for said in [&[][..], &[0, 30, 1, 2, 3], &[0, 3, 1, 2, 3]] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert!(hear(&mut stream).await.is_none());
    }
    let text = bench.metrics.text();
    assert!(text.contains("postern_dropped_total{reason=\"stream_timeout\"} 1"), "{text}");
    listeners.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_beyond_the_places_are_dropped_and_counted() {
    let bench = bench();
    let listeners = serve(&bench, &["127.0.0.1:0"], Settings { resolving: 8, ..small() });
    let to = listeners.local_addrs()[0];
    // One of eight places is what a single client may hold.
    let mut holder = TcpStream::connect(to).await.unwrap();
    say(&mut holder, &query("slow.example", Rtype::A, 0, None)).await;
    say(&mut holder, &query("other.example", Rtype::A, 0, None)).await;
    assert_eq!(hear(&mut holder).await.unwrap().rcode(), Rcode::SERVFAIL);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let full = || {
        let text = bench.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix("postern_dropped_total{reason=\"queue_full\"} "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = full();
    socket.send_to(&query("other.example", Rtype::A, 0, None), to).await.unwrap();
    // The worker is another thread: its count tells that it has judged the datagram, while the place is still held.
    let judged = async {
        while full() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, judged).await.unwrap();
    bench.resolver.gate.add_permits(1);
    assert_eq!(hear(&mut holder).await.unwrap().rcode(), Rcode::NOERROR);
    listeners.stop(PATIENCE).await;
    assert_eq!(bench.resolved(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconfiguring_keeps_the_sockets_that_stay() {
    let bench = bench();
    let mut listeners = serve(&bench, &["127.0.0.1:0", "127.0.0.2:0"], small());
    let [stays, goes] = listeners.local_addrs()[..] else { panic!("two addresses") };
    let mut stream = TcpStream::connect(stays).await.unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.4:0").unwrap();
    let refused = listeners.reconfigure(&[stays, taken.local_addr().unwrap()]).await;
    assert_eq!(refused.unwrap_err().0, taken.local_addr().unwrap());
    assert_eq!(listeners.local_addrs(), [stays, goes]);
    let new: SocketAddr = ("127.0.0.3".parse::<IpAddr>().unwrap(), stays.port()).into();
    listeners.reconfigure(&[stays, new]).await.unwrap();
    assert_eq!(listeners.local_addrs(), [stays, new]);
    let bytes = query("www.example", Rtype::A, 0, None);
    assert_eq!(over_udp(new, &bytes).await.rcode(), Rcode::NOERROR);
    assert_eq!(over_udp(stays, &bytes).await.rcode(), Rcode::NOERROR);
    say(&mut stream, &bytes).await;
    assert!(hear(&mut stream).await.is_some());
    assert!(TcpStream::connect(goes).await.is_err());
    listeners.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lets_what_is_being_resolved_be_answered() {
    let bench = bench();
    let listeners = serve(&bench, &["127.0.0.1:0"], small());
    let to = listeners.local_addrs()[0];
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&query("slow.example", Rtype::A, 0, None), to).await.unwrap();
    while bench.resolved() == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(listeners.stop(PATIENCE));
    bench.resolver.gate.add_permits(1);
    let mut buffer = [0; 512];
    let (len, _) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(Message::parse(&buffer[..len]).unwrap().answer.len(), 1);
    stopping.await.unwrap();
}

#[test]
fn a_foreign_server_on_the_port_is_found_even_if_it_would_share() {
    let foreign = sys::bind_udp("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let address = foreign.local_addr().unwrap();
    let (refused, error) = Bound::open(&[address], small()).err().unwrap();
    assert_eq!((refused, error.kind()), (address, io::ErrorKind::AddrInUse));
}

#[test]
fn the_wall_clock_below_its_floor_is_zero_for_policy() {
    let clock = SystemClock::new();
    clock.raise_floor(u64::MAX);
    assert!(!clock.wall_is_trusted());
    let resolver = Arc::new(Scripted { asked: AtomicUsize::new(0), prefetched: AtomicUsize::new(0), gate: Semaphore::new(0) });
    let rules = Rules::clone(&bench().service.rules());
    let service = Service::new(rules, 1 << 20, resolver, clock, Metrics::new().shared());
    assert_eq!(service.now().trusted_wall, 0);
    assert!(service.now().wall > 0);
}
