//! What a test of the daemon stands in: a folder of its own, one scripted upstream on loopback for an Internet, and the built binary.
//! Ports are 0 and read back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::wire::encode::Section;
use postern::wire::{Edns, Encoder, Flags, Message, Question, Rcode, Rtype};

pub const BINARY: &str = env!("CARGO_BIN_EXE_postern");
/// Far more than any answer takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of one test, gone afterwards.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let path = std::env::temp_dir().join(format!("postern-serve-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
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

/// A configuration, key by key.
#[derive(Clone)]
pub struct Keys {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    repeated: Vec<String>,
}

impl Keys {
    /// What every test needs: ports of its own and a folder of its own, and no anchors, because the Internet here is not signed.
    pub fn new() -> Keys {
        Keys { sections: BTreeMap::new(), repeated: Vec::new() }
            .with("state_dir", "\"state\"")
            .with("listen.addresses", "[\"127.0.0.1:0\"]")
            .with("metrics.address", "\"127.0.0.1:0\"")
            .with("validate.builtin_anchors", "false")
    }

    /// The same with this key; the value is TOML.
    pub fn with(&self, path: &str, value: impl Display) -> Keys {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut keys = self.clone();
        keys.sections.entry(section.into()).or_default().insert(name.into(), value.to_string());
        keys
    }

    /// The same with one more of a repeated section, given as the TOML of its keys.
    pub fn and(&self, section: &str, body: impl Display) -> Keys {
        let mut keys = self.clone();
        keys.repeated.push(format!("[[{section}]]\n{body}\n"));
        keys
    }
}

impl Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                writeln!(f, "[{section}]")?;
            }
            keys.iter().try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))?;
        }
        self.repeated.iter().try_for_each(|text| f.write_str(text))
    }
}

/// A name server that knows every name, and remembers what it was asked.
pub struct Upstream {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Vec<u8>>>>,
    silent: Arc<AtomicBool>,
}

impl Upstream {
    /// A recursive resolver, for the daemon to forward to.
    pub fn start() -> Upstream {
        Upstream::serve("127.0.0.1:0".parse().unwrap(), false, Duration::ZERO)
    }

    /// A recursive resolver that takes its time.
    pub fn slow(delay: Duration) -> Upstream {
        Upstream::serve("127.0.0.1:0".parse().unwrap(), false, delay)
    }

    /// A root server that is authoritative for everything below.
    pub fn root(address: SocketAddr) -> Upstream {
        Upstream::serve(address, true, Duration::ZERO)
    }

    fn serve(address: SocketAddr, authoritative: bool, delay: Duration) -> Upstream {
        let socket = UdpSocket::bind(address).unwrap();
        let upstream = Upstream { address: socket.local_addr().unwrap(), asked: Arc::default(), silent: Arc::default() };
        let (asked, silent) = (upstream.asked.clone(), upstream.silent.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = &buffer[..length];
                asked.lock().unwrap().push(query.to_vec());
                if !silent.load(Ordering::Relaxed) {
                    std::thread::sleep(delay);
                    let _ = reply(query, authoritative).map(|reply| socket.send_to(&reply, from));
                }
            }
        });
        upstream
    }

    /// From now on it answers nothing.
    pub fn silence(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// How often it was asked for this name and type.
    pub fn count(&self, name: &str, rtype: Rtype) -> usize {
        let name = name.parse().unwrap();
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|q| Message::parse(q).unwrap().question.is_some_and(|q| q.name == name && q.rtype == rtype)).count()
    }

    /// How often it was asked at all.
    pub fn total(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub fn config(&self, more: &str) -> String {
        format!(
            "state_dir = \"state\"\n{more}\n[listen]\naddresses = [\"127.0.0.1:0\"]\n[metrics]\naddress = \"127.0.0.1:0\"\n\
             [validate]\nbuiltin_anchors = false\n[[forward]]\nzone = \".\"\nservers = [\"{}\"]\n",
            self.address
        )
    }

    /// Everything is forwarded here.
    pub fn keys(&self) -> Keys {
        Keys::new().and("forward", format!("zone = \".\"\nservers = [\"{}\"]", self.address))
    }

    /// This is the root.
    pub fn root_keys(&self) -> Keys {
        let rtype = if self.address.is_ipv4() { "A" } else { "AAAA" };
        Keys::new()
            .with("resolve.root_hints", format!("[\"ns. {rtype} {}\"]", self.address.ip()))
            .with("resolve.upstream_port", self.address.port())
            .with("resolve.loopback_upstream", true)
    }
}

/// An address for every name, but for those whose first label says otherwise: `alias` leads to `target`, `dangling` to `gone` without
/// a word about it, for which there is no answer, `private` into a private network, `big` has many, `nothing` does not exist, `brief` lives
/// for two seconds; `silent` gets no reply at all.
fn reply(query: &[u8], authoritative: bool) -> Option<Vec<u8>> {
    let message = Message::parse(query).unwrap();
    let question = message.question.unwrap();
    let label = String::from_utf8(question.name.labels().next().unwrap_or_default().to_vec()).unwrap();
    let rcode = match label.as_str() {
        "silent" => return None,
        "gone" if !authoritative => Rcode::SERVFAIL,
        "nothing" => Rcode::NXDOMAIN,
        _ => Rcode::NOERROR,
    };
    let flags = if authoritative { Flags::QR | Flags::AA } else { Flags::QR | Flags::RD | Flags::RA };
    let mut encoder = Encoder::new(message.id, Flags(flags).with_rcode(rcode), Some(&question));
    let beside = |label: &[u8]| question.name.parent().unwrap().child(label).unwrap();
    match label.as_str() {
        "gone" if !authoritative => {}
        "nothing" => {
            encoder.section(Section::Authority);
            encoder.record(&question.name.parent().unwrap(), Rtype::SOA, 5000, &SOA);
        }
        "alias" => {
            let target = beside(b"target");
            encoder.record(&question.name, Rtype::CNAME, 300, target.wire());
            if question.rtype == Rtype::A {
                encoder.record(&target, Rtype::A, 300, &[192, 0, 2, 8]);
            }
        }
        "dangling" => encoder.record(&question.name, Rtype::CNAME, 300, beside(b"gone").wire()),
        "private" => address(&mut encoder, &question, 300, [10, 1, 2, 3]),
        "big" => (0..60).for_each(|i| address(&mut encoder, &question, 300, [192, 0, 2, i])),
        "brief" => address(&mut encoder, &question, 2, [192, 0, 2, 7]),
        _ => address(&mut encoder, &question, 300, [192, 0, 2, 7]),
    }
    let mut bytes = encoder.finish().bytes;
    // The question goes back in the case it came in (0x20).
    let end = 12 + question.name.wire().len();
    bytes[12..end].copy_from_slice(&query[12..end]);
    if message.edns.is_some() {
        Edns::new(false).write(&mut bytes);
        bytes[11] = 1;
    }
    Some(bytes)
}

fn address(encoder: &mut Encoder, question: &Question, ttl: u32, address: [u8; 4]) {
    if question.rtype == Rtype::A {
        encoder.record(&question.name, Rtype::A, ttl, &address);
    }
}

/// RDATA of a SOA: two root names, serial, refresh, retry, expire, and a MINIMUM of 5000 s.
const SOA: [u8; 22] = [0, 0, 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0x13, 0x88];

pub struct Daemon {
    pub child: Child,
    greeting: Vec<String>,
    pub address: SocketAddr,
    pub socket: PathBuf,
}

impl Daemon {
    pub fn start(folder: &Folder, config: &str) -> Daemon {
        let file = folder.write("postern.toml", config);
        Daemon::launch(Command::new(BINARY).arg("serve").arg("--config").arg(&file), folder.0.join("state/control.sock"))
    }

    /// Starts it by this command, and waits until it says that it is ready.
    pub fn launch(command: &mut Command, socket: PathBuf) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
        Daemon { child, greeting, address, socket }
    }

    pub fn said(&self, prefix: &str) -> Option<&str> {
        self.greeting.iter().find_map(|line| line.strip_prefix(prefix))
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).arg("--socket").arg(&self.socket).args(arguments).output().unwrap()
    }

    /// A command that succeeds, and its output.
    pub fn tell(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.tell(&["status", "--json"])).unwrap()
    }

    pub fn ask(&self, name: &str, rtype: Rtype) -> Message {
        ask(self.address, name, rtype).expect("the daemon answers")
    }

    pub fn metrics(&self) -> String {
        let address = self.said("metrics at http://").unwrap().strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Applies this configuration while it runs.
    pub fn reload(&self, folder: &Folder, keys: &Keys) {
        folder.write("postern.toml", &keys.to_string());
        self.tell(&["reload"]);
    }

    /// Sum of a metric over the series whose line holds `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        crate::daemon::sum(&self.metrics(), name, &[label])
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub fn stop(mut self) {
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

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One question over UDP; `None` where no answer comes within `patience`.
pub fn ask_within(server: SocketAddr, name: &str, rtype: Rtype, patience: Duration) -> Option<Message> {
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

pub fn ask(server: SocketAddr, name: &str, rtype: Rtype) -> Option<Message> {
    ask_within(server, name, rtype, PATIENCE)
}

pub fn codes(message: &Message) -> Vec<u16> {
    message.edns.iter().flat_map(Edns::extended_errors).map(|e| e.code).collect()
}

pub fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let ours = message.answer.iter().filter(|r| r.rtype == Rtype::A);
    ours.map(|r| Ipv4Addr::from(<[u8; 4]>::try_from(&r.rdata[..]).unwrap())).collect()
}

pub fn build(folder: &Folder, name: &str, serial: u64, names: &[&str]) -> String {
    let hosts = folder.write(name, &names.iter().map(|name| format!("0.0.0.0 {name}\n")).collect::<String>());
    let out = folder.0.join(format!("{name}.plist")).display().to_string();
    let arguments = ["blocklist", "build", &hosts.display().to_string(), "--id", "scam", "--serial", &serial.to_string(), "--out", &out];
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    out
}
