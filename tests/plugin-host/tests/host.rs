//! The filter in a stranger's program: a real list blocks over real UDP, the host's own answers pass, and postern brings neither its
//! sensor nor its listeners along.

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::proto::rr::Name as HostName;
use plugin_host::{ADDRESS, catalog, serve};
use postern::blocklist::build::{Options, Source, build};
use postern::blocklist::parse::Reading;
use postern::plugin::{Gate, Settings};
use postern::wire::{Edns, Encoder, Flags, Message, Question, Rcode, Rtype};

/// Real phishing hosts (MIT, see the licence beside it).
const SAMPLE: &str = include_str!("../../../src/lab/phishing-sample.txt");

fn scams() -> Vec<&'static str> {
    SAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn list(file: &str, serial: u64, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{file}-{}.plist", std::process::id()));
    let source: Box<dyn std::io::BufRead> = Box::new(std::io::BufReader::new(text.as_bytes().chain(std::io::empty())));
    build(
        vec![Source { name: "sample".into(), text: source, reading: Reading::default() }],
        &Options::new("sample", serial, 1),
        &path,
        &mut |_| {},
    )
    .unwrap();
    path
}

fn ask(server: SocketAddr, name: &str) -> Message {
    let question = Question::new(name.parse().unwrap(), Rtype::A);
    let mut query = Encoder::new(9, Flags(Flags::RD), Some(&question)).finish().bytes;
    Edns::new(false).write(&mut query);
    query[11] = 1;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(&query, server).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Message::parse(&buffer[..length]).unwrap()
}

fn is_blocked(message: &Message) -> bool {
    let says_so = message.edns.iter().flat_map(|e| e.extended_errors()).any(|e| e.code == 15 && e.text.contains("list=sample"));
    message.rcode() == Rcode::NXDOMAIN && message.answer.is_empty() && says_so
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_list_blocks_over_udp_and_everything_else_is_the_hosts() {
    let scams = scams();
    let gate = Arc::new(Gate::open(&list("first", 1, SAMPLE), Settings::default()).unwrap());
    let target = HostName::from_ascii(format!("{}.", scams[0])).unwrap();
    let (server, at) = serve(Arc::clone(&gate), catalog(&target)).await.unwrap();
    for scam in &scams {
        assert!(is_blocked(&ask(at, scam)), "{scam}");
        assert!(is_blocked(&ask(at, &format!("below.{scam}"))), "{scam}: a plain list reaches below");
    }
    // One letter more, and the name is nobody's business.
    for scam in &scams {
        let other = ask(at, &format!("x{scam}"));
        assert_eq!((other.rcode(), &other.answer[0].rdata[..]), (Rcode::NOERROR, &ADDRESS.octets()[..]), "{scam}");
    }
    assert!(is_blocked(&ask(at, "alias.host")), "an alias to a listed name");
    assert_eq!(gate.blocked_total(), 2 * scams.len() as u64 + 1);

    // A new version of the list takes effect without a restart.
    gate.load(&list("second", 2, "another-name.example\n")).unwrap();
    assert_eq!(&ask(at, scams[0]).answer[0].rdata[..], &ADDRESS.octets()[..]);
    assert!(is_blocked(&ask(at, "another-name.example")));
    drop(server);
}

#[test]
fn postern_brings_neither_its_sensor_nor_its_listeners() {
    let tree =
        Command::new(env!("CARGO")).args(["tree", "--locked", "--offline", "-e", "normal,features", "--prefix", "none"]).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let has = |crate_name: &str| tree.lines().any(|line| line.starts_with(&format!("{crate_name} v")));
    assert!(has("postern") && has("hickory-server"));
    for unwanted in ["pnet", "clap", "prometheus", "signal-hook", "indicatif", "p256"] {
        assert!(!has(unwanted), "{unwanted}");
    }
    for feature in ["server", "lab"] {
        assert!(!tree.contains(&format!("postern feature \"{feature}\"")), "{feature}");
    }
}
