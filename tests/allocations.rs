//! A cached or blocked answer over UDP allocates nothing: counted over the whole process while a real worker serves real packets.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test with sockets of its own")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use postern::blocklist::List;
use postern::blocklist::build::{Options, Source, build};
use postern::blocklist::parse::Reading;
use postern::guard::{Acl, Cookies, RateLimit, ratelimit};
use postern::listen::{Block, Bound, Judgement, PageCache, Policy, Resolve, Resolving, Rules, Service, Settings};
use postern::outbound::SystemClock;
use postern::policy::{self, Engine, Parts};
use postern::resolve::{Asked, Outcome};
use postern::respond::BlockAnswer;
use postern::telemetry::Metrics;
use postern::telemetry::label::Verdict;
use postern::validate::Status;
use postern::wire::{Edns, Encoder, Flags, Message, Question, Rcode, Rrset, Rtype};

/// The system's allocator with a count.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator; the counter has no part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promise about `layout` is the system allocator's condition.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct OneAddress;

impl Resolve for OneAddress {
    fn prefetch(&self, question: Question) {
        panic!("{question} is far from its end");
    }

    fn resolve(&self, question: Question, _asked: Asked) -> Resolving<'_> {
        Box::pin(async move {
            let set = Rrset::new(question.name, Rtype::A, 300, vec![Box::from([192, 0, 2, 1])]);
            let status = Status::Secure;
            Outcome { rcode: Rcode::NOERROR, answer: vec![Arc::new(set)], authority: vec![], status, ede: vec![], ttl: 300, stale: false }
        })
    }
}

/// The policy room with a real list on disk.
struct Listed(Engine);

impl Listed {
    fn new() -> Listed {
        let path = std::env::temp_dir().join(format!("postern-allocations-{}.plist", std::process::id()));
        let text = (0..50_000).map(|i| format!("bad{i}.example\n")).collect::<String>();
        let source = Source { name: "test".into(), text: Box::new(std::io::Cursor::new(text)), reading: Reading::default() };
        build(vec![source], &Options::new("scam", 1, 1), &path, &mut |_| ()).unwrap();
        let list = List::open_file(std::fs::File::open(&path).unwrap(), Arc::new(PageCache), 1 << 20).unwrap();
        std::fs::remove_file(&path).unwrap();
        Listed(Engine::new(Parts { lists: vec![Arc::new(list)], ..Parts::default() }, 1))
    }
}

impl Policy for Listed {
    fn generation(&self, wall: u64) -> u64 {
        self.0.generation_at(wall)
    }

    fn judge(&self, name: &[u8], client: IpAddr, wall: u64, may_wait: bool) -> Judgement<'_> {
        let verdict = self.0.decide_wire(name, client, wall, may_wait);
        if verdict == policy::Verdict::WouldWait {
            return Judgement::WouldWait;
        }
        if !verdict.blocks() {
            return Judgement::Pass(Verdict::Allowed, None);
        }
        let [first, second] = verdict.pieces(&self.0);
        let text = [first, second, "", ""];
        Judgement::Block(Block { answer: BlockAnswer::Nxdomain, ttl: 60, text, verdict: Verdict::Blocked, list: None })
    }
}

fn query(name: &str) -> Vec<u8> {
    let question = Question::new(name.parse().unwrap(), Rtype::A);
    let mut bytes = Encoder::new(7, Flags(Flags::RD), Some(&question)).finish().bytes;
    let mut edns = Edns::new(true);
    edns.options.push((10, [7; 8].into()));
    edns.write(&mut bytes);
    bytes[11] = 1;
    bytes
}

#[test]
fn a_hit_and_a_block_allocate_nothing() {
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = Metrics::new();
    let rules = Rules {
        acl: Acl::closed([]),
        // The limit applies, and a cookie is made each time, so that their code is counted as well.
        unlimited: Acl::default(),
        silent: false,
        udp_payload: 1232,
        rate: Arc::new(RateLimit::new(ratelimit::Settings { answers_per_second: 1_000_000, ..Default::default() })),
        cookies: Some(Cookies::new([1; 16])),
        servfail_when_full: false,
        policy: Arc::new(Listed::new()),
        stream_idle: Duration::from_secs(10),
    };
    let service = Service::new(rules, 1 << 20, Arc::new(OneAddress), SystemClock::new(), metrics.shared());
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let bound = Bound::open(&[local], Settings { workers: 1, ..Settings::default() }).unwrap();
    let listeners = bound.serve(Arc::new(service), metrics, tasks.handle().clone()).unwrap();

    let client = UdpSocket::bind(local).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.connect(listeners.local_addrs()[0]).unwrap();
    let (hit, block) = (query("www.example"), query("www.bad4711.example"));
    let mut buffer = [0; 1500];
    let mut ask = |bytes: &[u8]| {
        client.send(bytes).unwrap();
        client.recv(&mut buffer).unwrap()
    };
    // What is needed once: the answer itself, and each thread's corner of the pointer that the rules hang on.
    for _ in 0..100 {
        ask(&hit);
        ask(&block);
    }
    let before = ALLOCATIONS.load(SeqCst);
    for _ in 0..5_000 {
        ask(&hit);
        ask(&block);
    }
    assert_eq!(ALLOCATIONS.load(SeqCst) - before, 0);

    let len = ask(&hit);
    assert_eq!(Message::parse(&buffer[..len]).unwrap().answer.len(), 1);
    let len = {
        client.send(&block).unwrap();
        client.recv(&mut buffer).unwrap()
    };
    assert_eq!(Message::parse(&buffer[..len]).unwrap().rcode(), Rcode::NXDOMAIN);
    tasks.block_on(listeners.stop(Duration::from_secs(5)));
}
