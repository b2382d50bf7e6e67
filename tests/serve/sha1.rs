//! A zone signed with SHA-1 by ldns and served by NSD: our own laboratory makes no such signatures.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postern::wire::{Flags, Rcode, Rtype};

use crate::world::*;

/// Ended with its guard.
struct Nsd(Child);

impl Drop for Nsd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (see tests/packages.txt): {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Makes a key, signs the zone, and gives its DS.
fn sign(folder: &Folder, zone: &str, algorithm: &str, bits: &str, records: &str) -> String {
    let soa = format!("@ 300 IN SOA ns.{zone}. root.{zone}. 1 3600 600 86400 300\n@ 300 IN NS ns.{zone}.\nns 300 IN A 127.0.0.1\n");
    let file = format!("{zone}.zone");
    folder.write(&file, &format!("$ORIGIN {zone}.\n{soa}{records}"));
    let key = run(&folder.0, "ldns-keygen", &["-k", "-a", algorithm, "-b", bits, "-r", "/dev/urandom", zone]);
    run(&folder.0, "ldns-signzone", &["-n", &file, &key]);
    std::fs::read_to_string(folder.0.join(format!("{key}.ds"))).unwrap().trim().to_owned()
}

/// RFC 9905 section 2.
#[test]
fn zones_signed_with_sha1_are_unsigned_unless_that_is_wanted() {
    let folder = Folder::new();
    let old = sign(&folder, "old.lab", "RSASHA1-NSEC3-SHA1", "2048", "www 300 IN A 192.0.2.1\n");
    let anchor = sign(&folder, "lab", "ECDSAP256SHA256", "256", &format!("old 300 IN NS ns.old.lab.\nns.old 300 IN A 127.0.0.1\n{old}\n"));
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = folder.0.display();
    let config = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  database: \"\"\n  zonesdir: \"{here}\"\n  pidfile: \"{here}/nsd.pid\"\n  \
         xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  logfile: \"{here}/nsd.log\"\n  server-count: 1\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: \"lab\"\n  zonefile: \"lab.zone.signed\"\nzone:\n  name: \"old.lab\"\n  zonefile: \"old.lab.zone.signed\"\n"
    );
    let file = folder.write("nsd.conf", &config);
    let command = if Path::new("/usr/sbin/nsd").exists() { "/usr/sbin/nsd" } else { "nsd" };
    let _nsd = Nsd(Command::new(command).args(["-d", "-c"]).arg(file).stdin(Stdio::null()).spawn().expect("nsd (see tests/packages.txt)"));
    let server = format!("127.0.0.1:{port}").parse().unwrap();
    let begun = std::time::Instant::now();
    while ask_within(server, "lab", Rtype::SOA, std::time::Duration::from_millis(200)).is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "nsd does not answer: {}",
            std::fs::read_to_string(folder.0.join("nsd.log")).unwrap_or_default()
        );
    }
    // The anchor as the file has it, with tabs and a class; without its comment.
    let anchor = anchor.split(';').next().unwrap().split_whitespace().filter(|word| *word != "IN").collect::<Vec<_>>().join(" ");
    let keys = Keys::new()
        .with("validate.anchors", format!("[\"{anchor}\"]"))
        .with("resolve.loopback_upstream", true)
        .with("resolve.upstream_port", port)
        .and("stub", format!("zone = \"lab\"\nservers = [\"127.0.0.1:{port}\"]"));
    let secure = |keys: &Keys| {
        let daemon = Daemon::start(&folder, &keys.to_string());
        let answer = daemon.ask("www.old.lab", Rtype::A);
        assert_eq!(answer.rcode(), Rcode::NOERROR, "{answer:?}");
        let parent = daemon.ask("ns.lab", Rtype::A);
        assert!(parent.flags.has(Flags::AD), "the zone above is signed as usual: {parent:?}");
        daemon.stop();
        answer.flags.has(Flags::AD)
    };
    assert!(!secure(&keys) && secure(&keys.with("validate.sha1", true)));
}
