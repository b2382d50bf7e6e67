//! A network of its own: a host and a gateway in two network namespaces, joined by a veth pair, with real clients and a real server.
//!
//! NSD holds every address: our resolver, a foreign one, and two that speak HTTPS as far as a ClientHello. Needs root, and the packages
//! iproute2, nsd, bind9-dnsutils and knot-dnsutils (tests/packages.txt).

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// The bar: a bypass is told within this.
const SOON: Duration = Duration::from_secs(5);
pub(super) const HOST: &str = "10.99.0.7";
pub(super) const OURS: &str = "10.99.0.1";
pub(super) const FOREIGN: &str = "198.51.100.53";
const FRONT: &str = "203.0.113.9";

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program} (see tests/packages.txt): {error}"))
}

pub(super) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two namespaces, gone with everything in them at the end.
pub(super) struct Network {
    pub(super) host: String,
    pub(super) gateway: String,
    pub(super) folder: PathBuf,
    children: Vec<Child>,
}

impl Network {
    pub(super) fn new() -> Network {
        // Tests of one process each have one of their own.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (host, gateway) = (format!("post-h{id}"), format!("post-g{id}"));
        let folder = std::env::temp_dir().join(format!("postern-sensor-live-{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let network = Network { host, gateway, folder, children: Vec::new() };
        let (host, gateway) = (network.host.as_str(), network.gateway.as_str());
        must("ip", &["netns", "add", host]);
        must("ip", &["netns", "add", gateway]);
        must("ip", &["link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", "lan0", "netns", gateway]);
        must("ip", &["-n", host, "addr", "add", &format!("{HOST}/24"), "dev", "eth0"]);
        must("ip", &["-n", gateway, "addr", "add", &format!("{OURS}/24"), "dev", "lan0"]);
        for address in [FOREIGN, FRONT, "8.8.8.8"] {
            must("ip", &["-n", gateway, "addr", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        for (namespace, interface) in [(host, "eth0"), (host, "lo"), (gateway, "lan0"), (gateway, "lo")] {
            must("ip", &["-n", namespace, "link", "set", interface, "up"]);
        }
        must("ip", &["-n", host, "route", "add", "default", "via", OURS]);
        network
    }

    pub(super) fn inside(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    /// A client on the host; what it says is its own affair, what is on the wire is what counts.
    fn client(&self, line: &str) -> String {
        self.client_for("30", line)
    }

    /// kdig, whose greeting nobody answers: it has no end of its own for a TLS handshake.
    fn encrypted(&self, options: &str) {
        self.client_for("2", &format!("kdig {options}"));
    }

    fn client_for(&self, seconds: &str, line: &str) -> String {
        let output = self.inside(&self.host, "timeout").arg(seconds).args(line.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn serve(&mut self) {
        let here = self.folder.display();
        let addresses: String =
            [format!("{OURS}@53"), format!("{FOREIGN}@53"), format!("{FOREIGN}@853"), format!("{FRONT}@443"), "8.8.8.8@443".into()]
                .iter()
                .map(|address| format!("  ip-address: {address}\n"))
                .collect();
        let configuration = format!(
            "server:\n{addresses}  username: \"\"\n  database: \"\"\n  zonesdir: \"{here}\"\n  pidfile: \"{here}/nsd.pid\"\n  \
             xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  logfile: \"{here}/nsd.log\"\n  server-count: 1\n\
             remote-control:\n  control-enable: no\nzone:\n  name: post.example\n  zonefile: post.zone\n"
        );
        let zone = "$ORIGIN post.example.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 10.99.0.1\nwww A 192.0.2.80\n";
        std::fs::write(self.folder.join("post.zone"), zone).unwrap();
        let path = self.folder.join("nsd.conf");
        std::fs::write(&path, configuration).unwrap();
        let child = self.inside(&self.gateway, "/usr/sbin/nsd").arg("-d").arg("-c").arg(path).stderr(Stdio::null()).spawn().unwrap();
        self.children.push(child);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in [&self.host, &self.gateway] {
            let _ = run("ip", &["netns", "delete", namespace]);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running sensor and what it tells.
struct Running {
    child: Child,
    events: Receiver<Value>,
    metrics: String,
    status: PathBuf,
    transactions: PathBuf,
}

impl Running {
    fn start(network: &Network) -> Running {
        let (status, transactions) = (network.folder.join("sensor.sock"), network.folder.join("transactions.jsonl"));
        let mut child = network
            .inside(&network.gateway, env!("CARGO_BIN_EXE_postern"))
            .args(["sensor", "run", "-i", "lan0", "--resolver", OURS, "--metrics", "127.0.0.1:0", "--status"])
            .arg(&status)
            .arg("--transactions")
            .arg(&transactions)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        let metrics = said.split("http://").nth(1).unwrap_or_else(|| panic!("the sensor did not start: {said}")).trim().to_owned();
        let events = lines(child.stdout.take().unwrap());
        Running { child, events, metrics, status, transactions }
    }

    fn event(&self) -> Value {
        self.events.recv_timeout(SOON).expect("a finding within five seconds")
    }
}

fn lines(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(serde_json::from_str(&line.unwrap()).unwrap()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A value of a Prometheus text.
fn metric(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.trim().parse().unwrap()
}

#[test]
fn a_host_that_goes_past_us_is_told_within_seconds_and_one_that_asks_us_is_not() {
    let mut network = Network::new();
    network.serve();
    // Retries until the server is up.
    let first = network.client(&format!("dig +short +tries=10 +time=2 @{OURS} www.post.example A"));
    assert_eq!(first.trim(), "192.0.2.80");
    let mut sensor = Running::start(&network);

    // The sensor keeps CAP_NET_RAW (bit 13) alone, is not root, and cannot become more.
    let process = std::fs::read_to_string(format!("/proc/{}/status", sensor.child.id())).unwrap();
    let field =
        |name: &str| process.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().next().unwrap().to_owned();
    for set in ["CapEff:", "CapPrm:"] {
        assert_eq!(field(set), "0000000000002000", "{set}");
    }
    assert_eq!((field("CapInh:"), field("NoNewPrivs:")), ("0000000000000000".into(), "1".into()));
    assert_ne!(field("Uid:"), "0");

    // Hosts that use us, over UDP and TCP, with the canary denied: nothing to tell.
    for query in ["www.post.example A", "+tcp www.post.example AAAA", "+dnssec nowhere.post.example A", "use-application-dns.net A"] {
        network.client(&format!("dig @{OURS} {query}"));
    }

    network.client(&format!("dig @{FOREIGN} Www.Scam.Example A"));
    let event = sensor.event();
    // The first event: the queries to us before it gave none.
    assert_eq!((&event["means"], &event["client"], &event["name"]), (&"plain".into(), &HOST.into(), &"www.scam.example.".into()));
    assert_eq!(event["evidence"], format!("{HOST} asked {FOREIGN} over UDP port 53 for www.scam.example. (A), past our resolvers"));

    network.encrypted(&format!("+tls +tls-hostname=dot.example @{FOREIGN} www.post.example"));
    let event = sensor.event();
    assert_eq!((&event["means"], &event["name"]), (&"dot".into(), &"dot.example.".into()), "{event}");

    network.encrypted("+https @8.8.8.8 www.post.example");
    let event = sensor.event();
    assert_eq!((&event["means"], &event["server"]), (&"doh_address".into(), &"8.8.8.8".into()), "{event}");

    network.encrypted(&format!("+https +tls-hostname=dns.google @{FRONT} www.post.example"));
    let event = sensor.event();
    assert_eq!((&event["means"], &event["name"], &event["server"]), (&"doh_name".into(), &"dns.google.".into(), &FRONT.into()), "{event}");

    // Nothing listens here: the attempt is told.
    network.encrypted(&format!("+tls @{FRONT} www.post.example"));
    let event = sensor.event();
    assert_eq!(
        event["evidence"],
        format!("{HOST} tried to connect to {FRONT}:853, the port of DNS over TLS; no greeting was seen"),
        "{event}"
    );

    // The same again is counted and not told.
    network.client(&format!("dig @{FOREIGN} www.post.example A"));
    let status: Value = serde_json::from_str(&must(
        env!("CARGO_BIN_EXE_postern"),
        &["sensor", "status", "--json", "--status", sensor.status.to_str().unwrap()],
    ))
    .unwrap();
    assert_eq!(
        (&status["bypasses"]["plain"], &status["bypasses"]["canary"], &status["clients"][0][0]),
        (&2.into(), &0.into(), &HOST.into()),
        "{status}"
    );
    assert_eq!(status["lines_dropped"], 0);
    let screen = must(env!("CARGO_BIN_EXE_postern"), &["sensor", "status", "--status", sensor.status.to_str().unwrap()]);
    assert!(screen.contains("nothing lost") && screen.contains("plain 2"), "{screen}");

    let page = network.inside(&network.gateway, "curl").args(["-sS", &sensor.metrics]).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert_eq!(metric(&page, "postern_sensor_bypass_total{means=\"plain\"}"), 2.0);
    assert_eq!(metric(&page, "postern_sensor_events_total"), 5.0);
    assert_eq!(metric(&page, "postern_sensor_kernel_dropped_total{interface=\"lan0\"}"), 0.0);
    assert!(!page.contains("postern_queries_total"), "the sensor answers no queries and must not say how many");

    must("kill", &["-TERM", &sensor.child.id().to_string()]);
    assert!(sensor.child.wait().unwrap().success());
    let mut more = String::new();
    sensor.child.stderr.take().unwrap().read_to_string(&mut more).unwrap();
    assert_eq!((sensor.events.try_recv().ok(), more.as_str()), (None, ""));
    assert_eq!(
        run(env!("CARGO_BIN_EXE_postern"), &["sensor", "status", "--status", sensor.status.to_str().unwrap()]).status.code(),
        Some(3)
    );
    transactions_are_whole(&sensor.transactions);
}

/// Six queries by dig, each with its response.
fn transactions_are_whole(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["query"].as_str().unwrap(), line["proto"].as_str().unwrap(), line["rcode"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("www.post.example.", "udp", "NOERROR"),
            ("www.post.example.", "tcp", "NOERROR"),
            ("nowhere.post.example.", "udp", "NXDOMAIN"),
            ("use-application-dns.net.", "udp", "REFUSED"),
            ("Www.Scam.Example.", "udp", "REFUSED"),
            ("www.post.example.", "udp", "NOERROR"),
        ]
    );
    assert!(lines.iter().all(|line| line["rtt"].as_f64().is_some_and(|rtt| rtt >= 0.0)), "{text}");
    assert_eq!(lines[0]["answers"][0]["data"], "192.0.2.80");
}
