//! Every metric of the sensor moves when its cause moves: frames of our own making, put on the wire of a network of its own.
//!
//! Perl, which every Debian has, puts them there from inside the host's namespace.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern::telemetry::metrics::{self, Metric, TABLE};

use super::live::{FOREIGN, HOST, Network, OURS, must};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// More questions without a response than the sensor lets wait, and as many more than lines may wait to be written.
const UNANSWERED: u32 = 40_000;
/// More frames than the kernel keeps for a sensor that does not read: its buffer is 32 MiB, and each takes some 700 octets of it.
const TOO_MANY: u32 = 100_000;

/// Reads lines `COUNT HEX` and puts each frame on the wire so often, with a number of its own in the DNS message's ID and in the last
/// octets of the source port.
const INJECT: &str = r#"
use Socket;
my ($index, $address) = @ARGV;
socket(my $wire, 17, SOCK_RAW, 0) or die "socket: $!";
my $to = pack("S n i S C C a8", 17, 0x0800, $index, 1, 0, 6, pack("H12", $address));
while (<STDIN>) {
    my ($count, $hex) = split;
    my $frame = pack("H*", $hex);
    for my $number (0 .. $count - 1) {
        if ($count > 1) {
            substr($frame, 34, 2) = pack("n", 1024 + ($number >> 8));
            substr($frame, 42, 2) = pack("n", $number & 0xffff);
        }
        until (defined send($wire, $frame, 0, $to)) { die "send: $!" unless $!{ENOBUFS} }
    }
}
"#;

/// An Ethernet frame with an IPv4 packet from the host.
fn frame(to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 8, 0];
    let length = (20 + payload.len() as u16).to_be_bytes();
    frame.extend([0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0]);
    for address in [HOST, to] {
        frame.extend(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
    }
    frame.extend(payload);
    frame
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    [&[from, to, length, 0].map(u16::to_be_bytes).concat(), payload].concat()
}

/// A segment with `payload` behind the SYN that came with sequence number 0.
fn tcp(to: u16, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = [40_000, to].map(u16::to_be_bytes).concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x04post\x07example\0\0\x01\0\x01";

struct Sensor {
    child: Child,
    page: String,
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sensor {
    /// One whose lines nobody reads.
    fn start(network: &Network) -> Sensor {
        let mut child = network
            .inside(&network.gateway, env!("CARGO_BIN_EXE_postern"))
            .args(["sensor", "run", "-i", "lan0", "--resolver", OURS, "--metrics", "127.0.0.1:0", "--transactions", "-", "--status"])
            .arg(network.folder.join("sensor.sock"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        let page = said.split("http://").nth(1).unwrap_or_else(|| panic!("the sensor did not start: {said}")).trim().to_owned();
        Sensor { child, page }
    }

    fn signal(&self, name: &str) {
        must("kill", &[&format!("-{name}"), &self.child.id().to_string()]);
    }

    fn scrape(&self, network: &Network) -> String {
        let page = network.inside(&network.gateway, "curl").args(["-sS", &self.page]).output().unwrap();
        String::from_utf8(page.stdout).unwrap()
    }

    fn until(&self, network: &Network, metric: &Metric, labels: &str, seen: impl Fn(f64) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.scrape(network);
            if seen(value(&text, metric, labels)) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{}{labels} has not moved:\n{text}", metric.name);
        }
    }
}

/// The sum of a metric over the series that hold `labels`.
fn value(text: &str, metric: &Metric, labels: &str) -> f64 {
    let ours = |line: &&str| line.split(['{', ' ']).next() == Some(metric.name) && line.contains(labels);
    text.lines().filter(ours).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn inject(network: &Network, frames: &[(u32, Vec<u8>)]) {
    let index = must("ip", &["netns", "exec", &network.host, "cat", "/sys/class/net/eth0/ifindex"]);
    let mut perl = network
        .inside(&network.host, "perl")
        .args(["-MErrno", "-e", INJECT, index.trim(), "020000000001"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = perl.stdin.take().unwrap();
    for (count, frame) in frames {
        let hex: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        writeln!(stdin, "{count} {hex}").unwrap();
    }
    drop(stdin);
    assert!(perl.wait().unwrap().success());
}

#[test]
fn every_metric_of_the_sensor_moves_when_its_cause_moves() {
    let network = Network::new();
    let sensor = Sensor::start(&network);
    let before = sensor.scrape(&network);
    let mut moved = BTreeSet::new();
    let mut response = QUERY.to_vec();
    response[2] |= 0x80;
    let mut cut = udp(4000, 53, QUERY);
    // A length that no UDP datagram has (RFC 768).
    cut[4..6].copy_from_slice(&[0, 3]);
    inject(
        &network,
        &[
            // To ours, with a response that nobody asked for; and past us.
            (1, frame(OURS, 17, &udp(4000, 53, QUERY))),
            (1, frame(OURS, 17, &udp(53, 4001, &response))),
            (1, frame(FOREIGN, 17, &udp(4000, 53, QUERY))),
            // The name ends in the middle, the datagram before it begins.
            (1, frame(OURS, 17, &udp(4000, 53, &QUERY[..20]))),
            (1, frame(OURS, 17, &cut)),
            // A stream whose message is not whole yet.
            (1, frame(OURS, 6, &tcp(53, 2, 0, &[]))),
            (1, frame(OURS, 6, &tcp(53, 0x18, 1, &[&[0, QUERY.len() as u8], &QUERY[..20]].concat()))),
        ],
    );
    let mut check = |metric: &'static Metric, labels: &str, more: f64| {
        let then = value(&before, metric, labels);
        let now = sensor.until(&network, metric, labels, |now| now >= then + more);
        moved.insert(metric.name);
        now
    };
    for (metric, labels, more) in [
        (&metrics::SENSOR_FRAMES, "lan0", 7.0),
        (&metrics::SENSOR_KERNEL_SEEN, "lan0", 7.0),
        (&metrics::SENSOR_LAST_FRAME, "lan0", 0.000_001),
        (&metrics::SENSOR_MESSAGES, "query", 2.0),
        (&metrics::SENSOR_MESSAGES, "response", 1.0),
        (&metrics::SENSOR_MALFORMED, "", 1.0),
        (&metrics::SENSOR_TRANSACTIONS, "unsolicited", 1.0),
        (&metrics::SENSOR_BYPASS, "plain", 1.0),
        (&metrics::SENSOR_EVENTS, "", 1.0),
        (&metrics::SENSOR_UNREAD, "header", 1.0),
        (&metrics::SENSOR_HELD, "", 20.0),
    ] {
        check(metric, labels, more);
    }
    // More questions than may wait for a response, and their lines, which nobody reads.
    inject(&network, &[(UNANSWERED, frame(OURS, 17, &udp(4000, 53, QUERY)))]);
    check(&metrics::SENSOR_EVICTED, "queries", 1.0);
    check(&metrics::SENSOR_LINES_DROPPED, "", 1.0);
    // A sensor that does not come to read.
    sensor.signal("STOP");
    inject(&network, &[(TOO_MANY, frame(OURS, 17, &udp(4000, 53, QUERY)))]);
    sensor.signal("CONT");
    let dropped = check(&metrics::SENSOR_KERNEL_DROPPED, "lan0", 1.0);

    assert_eq!(value(&dropped, &metrics::SENSOR_UP, "lan0"), 1.0);
    must("ip", &["-n", &network.gateway, "link", "set", "lan0", "down"]);
    sensor.until(&network, &metrics::SENSOR_UP, "lan0", |up| up == 0.0);
    moved.insert(metrics::SENSOR_UP.name);
    let table: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).filter(|name| name.starts_with("postern_sensor_")).collect();
    assert_eq!(moved, table);
    let mut promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(dropped.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}
