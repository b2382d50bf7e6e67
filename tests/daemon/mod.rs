//! A running daemon for tests: the built binary on a loopback address of its own, with a folder of its own, gone with the test.

#![allow(dead_code, reason = "each test uses its part")]

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use std::io::{Read as _, Write as _};

use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Rtype};

/// How long a test waits for what must come; far beyond what a loaded machine takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A loopback address that no other test of this run has, so that every test may use the same ports.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, high.clamp(1, 254), low.clamp(1, 254), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A scratch folder.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("postern-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
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

/// The clocks of a daemon, to be shifted while it runs; see `tests/clock/shift.c`.
pub struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    /// Clocks that are right, for a daemon whose folder is `folder`.
    pub fn new(folder: &Folder) -> Clock {
        let (library, source) = (folder.0.join("shift.so"), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/shift.c"));
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        let built = built.expect("a C compiler is there (apt-get install gcc)");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let clock = Clock { library, shift: folder.0.join("shift") };
        std::fs::write(&clock.shift, [0; 16]).unwrap();
        clock
    }

    /// Sets the shift of the wall clock and of the monotonic one, in seconds.
    pub fn shift(&self, wall: i64, monotonic: i64) {
        use std::os::unix::fs::FileExt as _;
        let octets = [wall.to_ne_bytes(), monotonic.to_ne_bytes()].concat();
        // Written in place: the daemon has the file mapped.
        std::fs::OpenOptions::new().write(true).open(&self.shift).unwrap().write_all_at(&octets, 0).unwrap();
    }
}

/// A daemon that serves.
pub struct Daemon {
    child: Child,
    clock: Option<Clock>,
    pub folder: Folder,
    pub dns: SocketAddr,
    pub metrics: SocketAddr,
    socket: PathBuf,
}

impl Daemon {
    /// Starts one with `settings` (TOML) behind the addresses, and waits until it answers.
    pub fn start(name: &str, settings: &str) -> Daemon {
        Daemon::start_in(Folder::new(name), settings, None)
    }

    /// Starts one whose clocks can be shifted.
    pub fn start_with_clock(name: &str, settings: &str) -> Daemon {
        let folder = Folder::new(name);
        let clock = Clock::new(&folder);
        Daemon::start_in(folder, settings, Some(clock))
    }

    pub fn start_in(folder: Folder, settings: &str, clock: Option<Clock>) -> Daemon {
        let address = own_address();
        let (dns, metrics) = (SocketAddr::from((address, 5300)), SocketAddr::from((address, 9353)));
        let socket = folder.0.join("control.sock");
        let config = folder.file(
            "postern.toml",
            &format!(
                "state_dir = \"{}\"\n[listen]\naddresses = [\"{dns}\"]\n[metrics]\naddress = \"{metrics}\"\n[control]\nsocket = \"{}\"\n{settings}",
                folder.0.join("state").display(),
                socket.display()
            ),
        );
        let child = Daemon::spawn(&folder, &config, clock.as_ref());
        let mut daemon = Daemon { child, clock, folder, dns, metrics, socket };
        daemon.awake();
        daemon
    }

    fn spawn(folder: &Folder, config: &Path, clock: Option<&Clock>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        if let Some(clock) = clock {
            command.env("LD_PRELOAD", &clock.library).env("CLOCK_SHIFT", &clock.shift);
        }
        serve(folder, command.args(["serve", "--config", config.to_str().unwrap()]))
    }

    /// Waits until it answers.
    fn awake(&mut self) {
        let begun = Instant::now();
        let client = Client::new(self.dns);
        while client.ask_within("localhost", Rtype::A, Duration::from_millis(200)).is_none() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the daemon does not answer ({ended:?}): {}", self.log());
        }
    }

    /// Kills it at once, as a power cut does; what it has not made durable is for the kernel to keep or not.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same state, by this program with `serve` and its arguments appended.
    pub fn start_again(&mut self, program: &mut Command) {
        let config = self.folder.0.join("postern.toml");
        self.child = serve(&self.folder, program.args(["serve", "--config", config.to_str().unwrap()]));
        self.awake();
    }

    /// Starts it again after [`Daemon::kill`].
    pub fn restart_killed(&mut self) {
        self.start_again(&mut Command::new(env!("CARGO_BIN_EXE_postern")));
    }

    /// Ends it by SIGTERM and starts it again, on the state that it left; `between` is done in between.
    pub fn restart(&mut self, between: impl FnOnce(&Daemon)) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
        between(self);
        self.child = Daemon::spawn(&self.folder, &self.folder.0.join("postern.toml"), self.clock.as_ref());
        self.awake();
    }

    /// Shifts its clocks.
    pub fn shift(&self, wall: i64, monotonic: i64) {
        self.clock.as_ref().expect("it was started with a clock").shift(wall, monotonic);
    }

    /// What `postern status --json` says.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.must(&["status", "--json"])).unwrap()
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, is: impl Fn(&Daemon) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} does not come: {}\n{}", self.must(&["status"]), self.log());
            std::thread::yield_now();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// Runs the command line against this daemon.
    pub fn postern(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The command line against this daemon, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("--socket").arg(&self.socket).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// As [`Daemon::postern`], for commands that must succeed.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.postern(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", String::from_utf8_lossy(&output.stderr), self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Octets of a field of /proc/PID/status, such as `VmRSS` or `RssAnon`.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the field is there");
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Changes the text of its configuration and has it read again; says whether it was taken.
    pub fn change(&self, change: impl FnOnce(String) -> String) -> bool {
        let path = self.folder.0.join("postern.toml");
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
        self.postern(&["reload"]).status.success()
    }

    /// The text of /metrics.
    pub fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Sum of a metric over the series whose line holds every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.scrape(), name, labels)
    }

    /// Ends it by SIGTERM and gives the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "SIGTERM does not end it: {}", self.log());
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.0.join("state")
    }
}

fn serve(folder: &Folder, program: &mut Command) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.0.join("log")).unwrap();
    program.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sum of a metric in a scraped text.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label)));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A stub resolver with one socket.
pub struct Client {
    socket: UdpSocket,
}

impl Client {
    pub fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        Client { socket }
    }

    /// Asks and waits; panics where no answer comes.
    pub fn ask(&self, name: &str, rtype: Rtype) -> Message {
        self.ask_within(name, rtype, PATIENCE).unwrap_or_else(|| panic!("no answer to {name} {rtype}"))
    }

    pub fn ask_within(&self, name: &str, rtype: Rtype, patience: Duration) -> Option<Message> {
        static ID: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let id = ID.fetch_add(1, Ordering::Relaxed);
        self.socket.send(&query(id, name, rtype)).ok()?;
        let (begun, mut buffer) = (Instant::now(), [0; 4096]);
        while begun.elapsed() < patience {
            self.socket.set_read_timeout(Some(patience)).unwrap();
            let Ok(length) = self.socket.recv(&mut buffer) else { return None };
            // What was sent before may still be answered now.
            if buffer[..2] == id.to_be_bytes() && buffer[2] & 0x80 != 0 {
                return Some(Message::parse(&buffer[..length]).unwrap());
            }
        }
        None
    }
}

/// A query as a stub sends it: with EDNS, and asking to be told of AD (RFC 6840 section 5.7).
pub fn query(id: u16, name: &str, rtype: Rtype) -> Vec<u8> {
    let question = Question::new(name.parse::<Name>().unwrap(), rtype);
    let mut bytes = Encoder::new(id, Flags(Flags::RD | Flags::AD), Some(&question)).finish().bytes;
    Edns::new(false).write(&mut bytes);
    bytes[11] = 1;
    bytes
}

/// What an upstream does with queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Answers,
    Silent,
    /// Its replies fit the query and are no messages.
    Garbles,
}

/// A recursive resolver that has an address for every name, for the daemon to forward to. Names that begin with `brief` live a second.
pub struct Upstream {
    pub address: SocketAddr,
    behaviour: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// The address that every name has there.
    pub const EVERYWHERE: [u8; 4] = [192, 0, 2, 77];

    pub fn start() -> Upstream {
        let socket = UdpSocket::bind((own_address(), 5399)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let behaviour = Arc::new(AtomicU8::new(Behaviour::Answers as u8));
        let behaves = behaviour.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(message) = Message::parse(&buffer[..length]) else { continue };
                let Some(question) = message.question else { continue };
                let behaviour = behaves.load(Ordering::Relaxed);
                if behaviour == Behaviour::Silent as u8 {
                    continue;
                }
                // The question goes back in its own case; the record points at it.
                let end = 12 + question.name.wire().len() + 4;
                let mut reply = buffer[..end].to_vec();
                reply[2..4].copy_from_slice(&(Flags::QR | Flags::RD | Flags::RA).to_be_bytes());
                reply[6..12].fill(0);
                if question.rtype == Rtype::A {
                    reply[7] = 1;
                    let ttl: u32 = if question.name.to_string().starts_with("brief") { 1 } else { 3600 };
                    reply.extend([0xc0, 0x0c, 0, 1, 0, 1]);
                    reply.extend(ttl.to_be_bytes());
                    reply.extend([0, 4]);
                    reply.extend(Upstream::EVERYWHERE);
                }
                if behaviour == Behaviour::Garbles as u8 {
                    reply.truncate(end);
                    reply[7] = 1;
                }
                let _ = socket.send_to(&reply, from);
            }
        });
        Upstream { address, behaviour, stop, thread: Some(thread) }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.store(behaviour as u8, Ordering::Relaxed);
    }

    /// Settings that forward everything here, unvalidated.
    pub fn settings(&self) -> String {
        format!(
            "[resolve]\nloopback_upstream = true\n[validate]\nbuiltin_anchors = false\n[[forward]]\nzone = \".\"\nservers = [\"{}\"]\n",
            self.address
        )
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Numbers that are the same on every run (xorshift64*, Vigna 2016).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }
}

/// Builds a list file from text.
pub fn build_list(folder: &Path, id: &str, serial: u64, text: &str) -> PathBuf {
    let (names, out) = (folder.join(format!("{id}-{serial}.txt")), folder.join(format!("{id}-{serial}.plist")));
    std::fs::write(&names, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["blocklist", "build", "--id", id, "--serial", &serial.to_string(), "--out"])
        .arg(&out)
        .arg(&names)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn wall() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A miniature internet that serves, and the settings that make a daemon resolve in it.
pub struct Miniature {
    pub script: postern::lab::demo::Script,
    /// The apex of every zone.
    pub zones: Vec<Name>,
    seed: u64,
    pub port: u16,
    // Fields are dropped in order: the servers before what runs them.
    served: Option<postern::lab::Running>,
    runtime: tokio::runtime::Runtime,
}

impl Miniature {
    pub fn start(seed: u64) -> Miniature {
        let internet = postern::lab::Internet::build(seed, wall());
        let script = postern::lab::demo::Script::new(&internet);
        let zones = internet.zones().iter().map(|zone| zone.apex().clone()).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let served = runtime.block_on(internet.start(None)).unwrap();
        Miniature { script, zones, seed, port: served.port, served: Some(served), runtime }
    }

    /// Serves the same internet as it is `after` seconds from now, with the root's key rolled over so far.
    pub fn turn(&mut self, after: i64, roll: postern::lab::Roll) {
        let internet = postern::lab::Internet::build_rolled(self.seed, wall().saturating_add_signed(after), roll);
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served.stop());
        }
        self.served = Some(self.runtime.block_on(internet.start(Some(self.port))).unwrap());
    }

    /// The question of the script with this title.
    pub fn question(&self, title: &str) -> (String, Rtype) {
        let question = self.script.questions.iter().find(|q| q.title == title).unwrap();
        (question.name.to_string(), question.rtype)
    }

    pub fn settings(&self) -> String {
        let hints: Vec<String> = self
            .script
            .hints
            .iter()
            .flat_map(|(name, addresses)| {
                addresses.iter().map(move |a| format!("\"{name} {} {a}\"", if a.is_ipv4() { "A" } else { "AAAA" }))
            })
            .collect();
        let anchors: Vec<String> = self.script.anchors.iter().map(|anchor| format!("\"{anchor}\"")).collect();
        format!(
            "[resolve]\nroot_hints = [{}]\nupstream_port = {}\nloopback_upstream = true\nipv6 = false\n\
             [validate]\nbuiltin_anchors = false\nanchors = [{}]\n",
            hints.join(", "),
            self.port,
            anchors.join(", ")
        )
    }
}

impl Drop for Miniature {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served.stop());
        }
    }
}
