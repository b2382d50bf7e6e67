//! What needs a network of its own: well-known ports, addresses that are not loopback, other users. Each test runs itself again inside
//! fresh namespaces, so that nothing of the machine is touched.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

use postern::wire::{Encoder, Flags, Message, Question, Rcode, Rtype};

use crate::limits::{Crowd, FEW};
use crate::world::*;

/// Set for the run inside.
const INSIDE: &str = "POSTERN_TEST_INSIDE";

/// Whether this is the run inside; outside it makes that run, which must succeed. `users` keeps the machine's users, which takes root.
fn inside(test: &str, users: bool) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        return true;
    }
    let root = text(&Command::new("id").arg("-u").output().unwrap().stdout).trim() == "0";
    let mut command = match (users, root) {
        (false, _) => Command::new("unshare"),
        (true, true) => Command::new("unshare"),
        (true, false) => Command::new("sudo"),
    };
    match (users, root) {
        (false, _) => command.args(["--user", "--map-root-user"]),
        (true, true) => &mut command,
        (true, false) => command.args(["-n", "--preserve-env", "unshare"]),
    };
    command.args(["--net", "--mount"]).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().expect("unshare (util-linux) is there");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip (iproute2) is there");
    assert!(output.status.success(), "ip {arguments}: {}", text(&output.stderr));
}

/// A link with a public network on it, and an address that is on no link.
const LAN: [&str; 5] = [
    "link add lan type veth peer name far",
    "link set lan up",
    "link set far up",
    "address add 203.0.113.9/24 dev lan",
    "address add 198.51.100.1/32 dev lo",
];

/// Asks for localhost, which needs no other server, from an address of one's own.
fn ask_from(from: &str, server: SocketAddr) -> Rcode {
    let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let question = Question::new("localhost".parse().unwrap(), Rtype::A);
    socket.send(&Encoder::new(1, Flags(Flags::RD), Some(&question)).finish().bytes).unwrap();
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    Message::parse(&buffer[..length]).unwrap().rcode()
}

/// Without a file: the state where $STATE_DIRECTORY says, as under systemd.
fn serve(folder: &Folder, arguments: &[&str]) -> Daemon {
    let state = folder.0.join("state");
    let mut command = Command::new(BINARY);
    command.arg("serve").args(arguments).env("STATE_DIRECTORY", &state);
    Daemon::launch(&mut command, state.join("control.sock"))
}

#[test]
fn plain_serve_takes_port_53_on_loopback_and_5300_where_that_is_taken() {
    if !inside("namespaces::plain_serve_takes_port_53_on_loopback_and_5300_where_that_is_taken", false) {
        return;
    }
    let folder = Folder::new();
    let daemon = serve(&folder, &[]);
    assert!(daemon.said("postern ").unwrap().ends_with(": serving this machine on port 53"));
    for server in ["127.0.0.1:53", "[::1]:53"] {
        let server: SocketAddr = server.parse().unwrap();
        assert_eq!(ask_from(&server.ip().to_string(), server), Rcode::NOERROR);
    }
    daemon.stop();
    let holder = UdpSocket::bind("127.0.0.1:53").unwrap();
    let daemon = serve(&folder, &[]);
    let said = daemon.said("postern ").unwrap();
    assert!(said.contains(&format!(": serving this machine on port 5300: port 53 is taken by process {}", std::process::id())), "{said}");
    assert_eq!(ask_from("127.0.0.1", "127.0.0.1:5300".parse().unwrap()), Rcode::NOERROR);
    drop(holder);
}

#[test]
fn serve_lan_takes_all_addresses_for_private_and_connected_networks() {
    if !inside("namespaces::serve_lan_takes_all_addresses_for_private_and_connected_networks", false) {
        return;
    }
    for command in LAN.iter().chain(&["address add 10.7.7.1/24 dev lan"]) {
        ip(command);
    }
    let check = |daemon: &Daemon| {
        let said = daemon.said("postern ").unwrap();
        assert!(said.contains(": serving port 53 on all addresses for private networks"), "{said}");
        let rcode = |from: &str, to: &str| ask_from(from, (to.parse::<IpAddr>().unwrap(), 53).into());
        assert_eq!(rcode("10.7.7.1", "10.7.7.1"), Rcode::NOERROR);
        assert_eq!(rcode("203.0.113.9", "10.7.7.1"), Rcode::NOERROR, "directly connected");
        assert_eq!(rcode("198.51.100.1", "10.7.7.1"), Rcode::REFUSED);
        assert_eq!(rcode("::1", "::1"), Rcode::NOERROR);
    };
    let folder = Folder::new();
    let daemon = serve(&folder, &["--lan"]);
    check(&daemon);
    daemon.stop();
    let file = folder.write("lan.toml", "lan = true\n");
    check(&serve(&folder, &["--config", &file.display().to_string()]));
}

#[test]
fn who_may_ask_and_who_may_fetch_metrics_is_the_operators_word() {
    if !inside("namespaces::who_may_ask_and_who_may_fetch_metrics_is_the_operators_word", false) {
        return;
    }
    LAN.iter().for_each(|command| ip(command));
    let folder = Folder::new();
    let keys = Keys::new().with("listen.addresses", "[\"198.51.100.1:0\"]").with("metrics.address", "\"198.51.100.1:0\"");
    let daemon = Daemon::start(&folder, &keys.to_string());
    let (neighbour, stranger) = ("203.0.113.9", "198.51.100.1");
    let rcodes = || [neighbour, stranger].map(|from| ask_from(from, daemon.address));
    assert_eq!(rcodes(), [Rcode::NOERROR, Rcode::REFUSED]);
    daemon.reload(&folder, &keys.with("access.connected", false));
    assert_eq!(rcodes(), [Rcode::REFUSED, Rcode::REFUSED]);
    let everybody = keys.with("access.allow", "[\"0.0.0.0/0\"]");
    folder.write("postern.toml", &everybody.to_string());
    let refused = daemon.cli(&["reload"]);
    assert!(text(&refused.stderr).contains("access.open = true"), "{}", text(&refused.stderr));
    assert_eq!(rcodes(), [Rcode::REFUSED, Rcode::REFUSED]);
    daemon.reload(&folder, &everybody.with("access.open", true));
    assert_eq!(rcodes(), [Rcode::NOERROR, Rcode::NOERROR]);

    let fetch = || {
        let address = daemon.said("metrics at http://").unwrap().strip_suffix("/metrics").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        // Who is not let in may be cut off before he has asked.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut page = String::new();
        let _ = stream.read_to_string(&mut page);
        page.contains("postern_")
    };
    assert!(!fetch());
    daemon.reload(&folder, &keys.with("metrics.allow", "[\"198.51.100.0/24\"]"));
    assert!(fetch());
}

#[test]
fn neighbours_of_one_ipv6_prefix_share_a_limit() {
    if !inside("namespaces::neighbours_of_one_ipv6_prefix_share_a_limit", false) {
        return;
    }
    // They differ in the 64th bit.
    let (one, other) = ("2001:db8:0:10::1", "2001:db8:0:11::1");
    for address in [one, other] {
        ip(&format!("address add {address}/128 dev lo nodad"));
    }
    let folder = Folder::new();
    let keys = Keys::new()
        .with("listen.addresses", format!("[\"[{one}]:0\"]"))
        .with("access.allow", "[\"2001:db8::/32\"]")
        .with("limit.answers_per_second", 1)
        .with("limit.burst_seconds", 30);
    let daemon = Daemon::start(&folder, &keys.to_string());
    let crowd = Crowd::of(&daemon);
    let ask = |from: &str| crowd.ask(from.parse().unwrap()).answered;
    assert!(ask(one) >= 30 && ask(other) <= FEW);
    daemon.reload(&folder, &keys.with("limit.ipv6_prefix_bits", 64));
    // Another burst is another table.
    daemon.reload(&folder, &keys.with("limit.ipv6_prefix_bits", 64).with("limit.burst_seconds", 31));
    assert!(ask(one) >= 30 && ask(other) >= 30);
}

/// Started as root, it keeps the right to its port and no other.
#[test]
fn it_becomes_the_user_that_is_configured() {
    if !inside("namespaces::it_becomes_the_user_that_is_configured", true) {
        return;
    }
    let folder = Folder::new();
    let keys = Keys::new().with("listen.addresses", "[\"127.0.0.1:53\"]");
    let status = |keys: &Keys| {
        let daemon = Daemon::start(&folder, &keys.to_string());
        assert_eq!(ask_from("127.0.0.1", daemon.address), Rcode::NOERROR);
        daemon.tell(&["block", "add", "scam.example"]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
        daemon.stop();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().last().unwrap().to_owned();
        (field("Uid:"), u64::from_str_radix(&field("CapEff:"), 16).unwrap())
    };
    let (uid, rights) = status(&keys);
    assert!(uid == "0" && rights != 1 << 10);
    // CAP_NET_BIND_SERVICE is the tenth.
    assert_eq!(status(&keys.with("user", "\"nobody\"")), ("65534".into(), 1 << 10));
}
