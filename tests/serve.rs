//! The built daemon over real sockets: start, answers, lists, rules, reload, restart, refusals. Ports are 0 and read back, the
//! Internet is one scripted upstream on loopback, and waiting is for a line or an answer, never for a time.

#![allow(clippy::disallowed_methods, reason = "a test of sockets and files")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::wire::{Edns, Encoder, Flags, Message, Question, Rcode, Rtype};

const BINARY: &str = env!("CARGO_BIN_EXE_postern");
/// Far more than any answer takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of one test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let path = std::env::temp_dir().join(format!("postern-serve-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A recursive resolver that knows every name, and remembers what it was asked.
struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Upstream {
    fn start() -> Upstream {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let upstream = Upstream { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let asked = upstream.asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = &buffer[..length];
                asked.lock().unwrap().push(query.to_vec());
                let _ = socket.send_to(&reply(query), from);
            }
        });
        upstream
    }

    /// How often it was asked for this name and type.
    fn count(&self, name: &str, rtype: Rtype) -> usize {
        let name = name.parse().unwrap();
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|q| Message::parse(q).unwrap().question.is_some_and(|q| q.name == name && q.rtype == rtype)).count()
    }

    fn config(&self, more: &str) -> String {
        format!(
            "state_dir = \"state\"\n{more}\n[listen]\naddresses = [\"127.0.0.1:0\"]\n[metrics]\naddress = \"127.0.0.1:0\"\n\
             [validate]\nbuiltin_anchors = false\n[[forward]]\nzone = \".\"\nservers = [\"{}\"]\n",
            self.address
        )
    }
}

/// An address for every name; `alias.` leads to `target.`, `private.` into a private network, `big.` has many.
fn reply(query: &[u8]) -> Vec<u8> {
    let message = Message::parse(query).unwrap();
    let question = message.question.unwrap();
    let mut encoder = Encoder::new(message.id, Flags(Flags::QR | Flags::RD | Flags::RA), Some(&question));
    let label = String::from_utf8(question.name.labels().next().unwrap_or_default().to_vec()).unwrap();
    if question.rtype == Rtype::A {
        match label.as_str() {
            "alias" => {
                let target = question.name.parent().unwrap().child(b"target").unwrap();
                encoder.record(&question.name, Rtype::CNAME, 300, target.wire());
                encoder.record(&target, Rtype::A, 300, &[192, 0, 2, 8]);
            }
            "private" => encoder.record(&question.name, Rtype::A, 300, &[10, 1, 2, 3]),
            "big" => (0..60).for_each(|i| encoder.record(&question.name, Rtype::A, 300, &[192, 0, 2, i])),
            _ => encoder.record(&question.name, Rtype::A, 300, &[192, 0, 2, 7]),
        }
    }
    let mut bytes = encoder.finish().bytes;
    // The question goes back in the case it came in (0x20).
    let end = 12 + question.name.wire().len();
    bytes[12..end].copy_from_slice(&query[12..end]);
    if message.edns.is_some() {
        Edns::new(false).write(&mut bytes);
        bytes[11] = 1;
    }
    bytes
}

struct Daemon {
    child: Child,
    greeting: Vec<String>,
    address: SocketAddr,
    socket: PathBuf,
}

impl Daemon {
    fn start(folder: &Folder, config: &str) -> Daemon {
        let file = folder.write("postern.toml", config);
        let mut child = Command::new(BINARY).arg("serve").arg("--config").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut greeting = Vec::new();
        loop {
            let line = lines.next().expect("the daemon says ready before it ends").unwrap();
            if line == "ready" {
                break;
            }
            greeting.push(line);
        }
        // Somebody must go on reading, or the daemon's next line would break.
        std::thread::spawn(move || lines.for_each(drop));
        let address = greeting.iter().find_map(|line| line.strip_prefix("listening on ")).unwrap().parse().unwrap();
        Daemon { child, greeting, address, socket: folder.0.join("state/control.sock") }
    }

    fn said(&self, prefix: &str) -> Option<&str> {
        self.greeting.iter().find_map(|line| line.strip_prefix(prefix))
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).arg("--socket").arg(&self.socket).args(arguments).output().unwrap()
    }

    /// A command that succeeds, and its output.
    fn tell(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.tell(&["status", "--json"])).unwrap()
    }

    fn ask(&self, name: &str, rtype: Rtype) -> Message {
        ask(self.address, name, rtype).expect("the daemon answers")
    }

    fn metrics(&self) -> String {
        let address = self.said("metrics at http://").unwrap().strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One question over UDP; `None` where no answer comes within `patience`.
fn ask_within(server: SocketAddr, name: &str, rtype: Rtype, patience: Duration) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut query = Encoder::new(7, Flags(Flags::RD), Some(&Question::new(name.parse().unwrap(), rtype))).finish().bytes;
    // Octets to spare, so that an error with its reason is no longer than its query.
    let mut edns = Edns::new(true);
    edns.options.push((12, vec![0; 64].into()));
    edns.write(&mut query);
    query[11] = 1;
    socket.send(&query).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::parse(&buffer[..length]).unwrap())
}

fn ask(server: SocketAddr, name: &str, rtype: Rtype) -> Option<Message> {
    ask_within(server, name, rtype, PATIENCE)
}

fn codes(message: &Message) -> Vec<u16> {
    message.edns.iter().flat_map(Edns::extended_errors).map(|e| e.code).collect()
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let ours = message.answer.iter().filter(|r| r.rtype == Rtype::A);
    ours.map(|r| Ipv4Addr::from(<[u8; 4]>::try_from(&r.rdata[..]).unwrap())).collect()
}

fn build(folder: &Folder, name: &str, serial: u64, names: &[&str]) -> String {
    let hosts = folder.write(name, &names.iter().map(|name| format!("0.0.0.0 {name}\n")).collect::<String>());
    let out = folder.0.join(format!("{name}.plist")).display().to_string();
    let arguments = ["blocklist", "build", &hosts.display().to_string(), "--id", "scam", "--serial", &serial.to_string(), "--out", &out];
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    out
}

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
