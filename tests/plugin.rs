//! The plugin on the miniature internet: postern's resolver and filter inside a plain hickory-server, over real sockets.
//!
//! Every telling question of a new internet gets the code, the AD bit, the EDE and the data that follow from the faults which its zones
//! declare; then the demo's list is put in front and changed while it runs.
#![allow(clippy::disallowed_methods, reason = "tests own their sockets, files and the clock")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_server::Server;
use hickory_server::server::RequestHandler;
use postern::blocklist::build::{Options, Source, build};
use postern::blocklist::parse::{Format, Reading};
use postern::lab::demo::{DemoExpect, Script};
use postern::lab::{Expect, Internet, Running, Security};
use postern::outbound::{Network, SystemClock};
use postern::plugin::{Filter, Gate, Recursive, Settings};
use postern::resolve::{self, Resolver};
use postern::respond::BlockAnswer;
use postern::validate::{self, Anchors, Validator};
use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Rcode, Record, Rtype};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Patience for one answer; the slowest questions wait for dead servers.
const PATIENCE: Duration = Duration::from_secs(30);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A resolver over the lab, as a request handler.
fn recursive(running: &Running) -> Recursive<Network, SystemClock> {
    let anchors = Anchors::parse(&running.trust_anchors.join("\n")).unwrap();
    let validator = Arc::new(Validator::new(anchors, validate::NegativeAnchors::new(), validate::Settings::default()));
    let settings = resolve::Settings {
        root_hints: running.root_hints.clone(),
        upstream_port: running.port,
        allow_loopback_upstream: true,
        ipv6: false,
        ..resolve::Settings::default()
    };
    Recursive::new(Resolver::new(settings, validator, Network::new(postern::outbound::Settings::default()), SystemClock::new()))
}

async fn serve(handler: impl RequestHandler) -> (Server<impl RequestHandler>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut server = Server::new(handler);
    server.register_socket(UdpSocket::bind(at).await.unwrap());
    server.register_listener(listener, PATIENCE, 8);
    (server, at)
}

/// Asks over UDP, and over TCP where the answer was cut.
async fn ask(server: SocketAddr, name: &Name, rtype: Rtype) -> Message {
    let question = Question::new(name.clone(), rtype);
    let mut query = Encoder::new(4711, Flags(Flags::RD), Some(&question)).finish().bytes;
    Edns::new(true).write(&mut query);
    query[11] = 1;
    let over_udp = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query, server).await.unwrap();
        let mut buffer = vec![0; 4096];
        let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
        Message::parse(&buffer[..length]).unwrap()
    };
    let message = tokio::time::timeout(PATIENCE, over_udp).await.unwrap_or_else(|_| panic!("no answer to {question}"));
    if !message.flags.has(Flags::TC) {
        return message;
    }
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).await.unwrap();
    let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::parse(&bytes).unwrap()
}

fn ede(message: &Message) -> Vec<u16> {
    message.edns.iter().flat_map(|e| e.extended_errors()).map(|e| e.code).collect()
}

/// What is wrong with an answer; `None` where it is as expected.
fn objection(expect: &Expect, message: &Message) -> Option<String> {
    let (secure, codes) = (message.flags.has(Flags::AD), ede(message));
    let as_expected = message.rcode() == expect.rcode
        && secure == (expect.security == Security::Secure)
        && (expect.ede.is_empty() || codes.iter().any(|code| expect.ede.contains(code)));
    (!as_expected).then(|| format!("{expect:?}, but got {} AD={secure} EDE {codes:?}", message.rcode()))
}

fn rdatas(records: &[Record], rtype: Rtype) -> BTreeSet<Box<[u8]>> {
    records.iter().filter(|r| r.rtype == rtype).map(|r| r.rdata.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_telling_question_gets_what_its_zone_declares() {
    let seed = u64::from(now().subsec_nanos());
    let internet = Arc::new(Internet::build(seed, now().as_secs()));
    let running = internet.start(None).await.unwrap();
    let (server, at) = serve(recursive(&running)).await;
    let mut objections = Vec::new();
    // A few at a time: the questions that wait for dead servers shall not stand in line.
    for chunk in internet.questions().chunks(16) {
        let asked: Vec<_> = chunk.iter().cloned().map(|t| tokio::spawn(async move { (ask(at, &t.name, t.rtype).await, t) })).collect();
        for task in asked {
            let (message, telling) = task.await.unwrap();
            let wrong_data = (!telling.rdatas.is_empty()
                && rdatas(&message.answer, telling.rtype) != telling.rdatas.iter().cloned().collect())
            .then(|| "other data than the zone has".to_owned());
            if let Some(objection) = objection(&telling.expect, &message).or(wrong_data) {
                objections.push(format!("{} {} ({}): {objection}", telling.name, telling.rtype, telling.why));
            }
        }
    }
    drop(server);
    running.stop().await;
    assert!(objections.is_empty(), "seed {seed}, {} of {}:\n{}", objections.len(), internet.questions().len(), objections.join("\n"));
}

/// A `.plist` built from text, as `postern blocklist build` would.
fn list(directory: &Path, serial: u64, hosts: &str) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    let path = directory.join(format!("{serial}.plist"));
    let source = Source {
        name: "scams".into(),
        text: Box::new(hosts.as_bytes()),
        reading: Reading { format: Some(Format::Hosts), ..Reading::default() },
    };
    build(vec![source], &Options::new("scams", serial, now().as_secs()), &path, &mut |_| {}).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_blocks_listed_names_and_aliases_to_them_and_changes_while_it_runs() {
    let seed = u64::from(now().subsec_nanos());
    let internet = Internet::build(seed, now().as_secs());
    let running = internet.start(None).await.unwrap();
    let script = Script::new(&internet);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{}", std::process::id()));
    let gate = Arc::new(Gate::open(&list(&directory, 1, &script.blocklist_text), Settings::default()).unwrap());
    let (server, at) = serve(Filter::new(Arc::clone(&gate), recursive(&running))).await;
    let blocked: Vec<_> = script.questions.iter().filter(|q| q.expect == DemoExpect::Blocked).collect();
    for question in &script.questions {
        let message = ask(at, &question.name, question.rtype).await;
        match &question.expect {
            DemoExpect::Answered(expect) => assert_eq!(objection(expect, &message), None, "seed {seed}: {}", question.name),
            DemoExpect::Blocked => {
                assert_eq!((message.rcode(), ede(&message)), (Rcode::NXDOMAIN, vec![15]), "seed {seed}: {}", question.name);
                assert!(message.answer.is_empty() && message.authority[0].rtype == Rtype::SOA && !message.flags.has(Flags::AD));
            }
        }
    }
    assert_eq!(gate.judged_total(), script.questions.len() as u64);
    assert_eq!(gate.blocked_total(), blocked.len() as u64);

    gate.set(Settings { answer: BlockAnswer::Null, ttl: 7 });
    let null = ask(at, &blocked[0].name, Rtype::A).await;
    assert_eq!((&null.answer[0].rdata[..], null.answer[0].ttl, ede(&null)), (&[0u8; 4][..], 7, vec![4]));

    gate.load(&list(&directory, 2, "0.0.0.0 not-a-lab-name.example\n")).unwrap();
    for question in blocked {
        let message = ask(at, &question.name, question.rtype).await;
        assert_eq!((message.rcode(), ede(&message)), (Rcode::NOERROR, vec![]), "seed {seed}: {}", question.name);
    }
    assert!(gate.load(&directory.join("missing.plist")).is_err());
    drop(server);
    running.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
}
