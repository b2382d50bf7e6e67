//! The miniature internet before strangers: `nsd-checkzone` reads every zone file, `ldns-verify-zone` finds each zone as good or as
//! broken as it declares itself, and NSD answers from the same files what the lab answers. So no bug of ours can be our oracle.
//!
//! Needs the Debian packages `nsd` and `ldnsutils` (tests/packages.txt); without them these tests fail.
#![allow(clippy::disallowed_methods, reason = "tests own their sockets, files and the clock")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern::lab::{Fault, Host, Internet, Manners, Zone};
use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Record, Rtype, rdata};

/// A new internet on each run: the number is printed by a failing test.
fn internet() -> (u64, Internet) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = u64::from(now.subsec_nanos());
    (seed, Internet::build(seed, now.as_secs()))
}

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a tool to its end; its exit code and all that it printed.
fn run(tool: &str, arguments: &[&str]) -> (bool, String) {
    let path = format!("{}:/usr/sbin:/usr/bin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(tool).env("PATH", path).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{tool} (see tests/packages.txt): {e}"));
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// What `ldns-verify-zone` says about a zone with this fault; `None` where the zone in itself is whole.
fn complaint(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::Expired => Some("DNSSEC signature has expired"),
        Fault::NotYetValid => Some("DNSSEC signature not incepted yet"),
        Fault::ExpiresBeforeItBegins => Some("expiration date earlier than inception"),
        Fault::StrippedSignatures => Some("has no signatures"),
        Fault::BadSignature => Some("Bogus DNSSEC signature"),
        Fault::UnpublishedKey => Some("No keys with the keytag"),
        Fault::MissingDenial => Some("there is no NSEC(3)"),
        Fault::BadDenial => Some("points to the wrong next"),
        Fault::UnassignedAlgorithm => Some("Unknown cryptographic algorithm"),
        // These lie between the parent and the zone, in flags or in parameters: looked at below.
        Fault::WrongDs | Fault::NoDs | Fault::UnassignedDigest | Fault::NoZoneKeyBit | Fault::TooManyIterations => None,
        Fault::Unsigned => unreachable!("such a zone is not signed"),
    }
}

#[test]
fn ldns_finds_each_zone_as_good_or_as_broken_as_it_declares() {
    let (seed, internet) = internet();
    let directory = directory("ldns");
    let files = internet.write_zone_files(&directory).unwrap();
    let mut faults = BTreeSet::new();
    for (zone, (apex, path)) in internet.zones().iter().zip(&files) {
        let file = path.to_str().unwrap();
        let (read, said) = run("nsd-checkzone", &[&apex.to_string(), file]);
        assert!(read, "seed {seed}: {apex}: {said}");
        if zone.signing().is_none() {
            assert!(zone.fault().is_none_or(|f| f == Fault::Unsigned) && !std::fs::read_to_string(path).unwrap().contains("RRSIG"));
            faults.extend(zone.fault().map(|f| format!("{f:?}")));
            continue;
        }
        let (whole, said) = run("ldns-verify-zone", &[file]);
        let expected = zone.fault().and_then(complaint);
        assert_eq!(whole, expected.is_none(), "seed {seed}: {apex} {:?}: {said}", zone.fault());
        assert!(said.contains(expected.unwrap_or("Zone is verified and complete")), "seed {seed}: {apex} {:?}: {said}", zone.fault());
        faults.extend(zone.fault().map(|f| format!("{f:?}")));
        // The DS in the parent leads to the zone's key, except where the fault is just that.
        let trusted = directory.join("trusted");
        let lines: Vec<String> = zone.ds().iter().map(|ds| format!("{apex} 300 IN DS {}\n", ds_text(ds))).collect();
        std::fs::write(&trusted, lines.concat()).unwrap();
        if expected.is_none() && !lines.is_empty() {
            let (matches, said) = run("ldns-verify-zone", &["-k", trusted.to_str().unwrap(), file]);
            let leads = !matches!(zone.fault(), Some(Fault::WrongDs | Fault::UnassignedDigest));
            assert_eq!(matches, leads, "seed {seed}: {apex} {:?}: {said}", zone.fault());
        }
        let keys = &zone.rrset(apex, Rtype::DNSKEY).unwrap().rdatas;
        assert_eq!(keys.iter().all(|k| k[0] == 1), zone.fault() != Some(Fault::NoZoneKeyBit));
        assert_eq!(lines.is_empty(), zone.fault() == Some(Fault::NoDs));
    }
    assert_eq!(faults.len(), Fault::ALL.len(), "a fault that no zone shows");
    std::fs::remove_dir_all(directory).unwrap();
}

fn ds_text(ds: &[u8]) -> String {
    let digest: String = ds[4..].iter().map(|b| format!("{b:02x}")).collect();
    format!("{} {} {} {digest}", u16::from_be_bytes([ds[0], ds[1]]), ds[2], ds[3])
}

/// NSD in the foreground with the zones of one lab host, ended with its guard.
struct Nsd(Child);

impl Nsd {
    fn start(directory: &Path, at: SocketAddr, host: &Host, files: &[(Name, PathBuf)]) -> Nsd {
        let here = directory.display();
        let mut config = format!(
            "server:\n  ip-address: {}@{}\n  username: \"\"\n  database: \"\"\n  zonesdir: \"{here}\"\n  pidfile: \"{here}/nsd.pid\"\n  \
             xfrdfile: \"{here}/xfrd.state\"\n  zonelistfile: \"{here}/zone.list\"\n  logfile: \"{here}/nsd.log\"\n  server-count: 1\n  \
             minimal-responses: yes\n  tcp-timeout: 60\n  tcp-query-count: 0\nremote-control:\n  control-enable: no\n",
            at.ip(),
            at.port()
        );
        for zone in &host.zones {
            let (_, file) = files.iter().find(|(apex, _)| apex == zone.apex()).unwrap();
            config += &format!("zone:\n  name: \"{}\"\n  zonefile: \"{}\"\n", zone.apex(), file.display());
        }
        let path = directory.join("nsd.conf");
        std::fs::write(&path, config).unwrap();
        let command = if Path::new("/usr/sbin/nsd").exists() { "/usr/sbin/nsd" } else { "nsd" };
        let child = Command::new(command).args(["-d", "-c"]).arg(path).stdin(Stdio::null()).spawn();
        Nsd(child.unwrap_or_else(|e| panic!("nsd (see tests/packages.txt): {e}")))
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // SIGTERM, so that NSD ends its own children too.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A connection that questions go over one after the other.
struct Connection(TcpStream);

impl Connection {
    fn open(to: SocketAddr) -> Connection {
        // A server that was just started may not listen yet; the connection itself is the signal.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(to) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    stream.set_nodelay(true).unwrap();
                    return Connection(stream);
                }
                Err(e) if std::time::Instant::now() > deadline => panic!("{to}: {e}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn ask(&mut self, question: &Question, dnssec_ok: bool) -> Message {
        let mut query = Encoder::new(7, Flags(0), Some(question)).finish().bytes;
        Edns::new(dnssec_ok).write(&mut query);
        query[11] = 1;
        self.0.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).unwrap();
        let mut length = [0; 2];
        self.0.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut reply).unwrap();
        Message::parse(&reply).unwrap()
    }
}

/// Names in and around a zone: every owner, the wildcard's children, a name below and beside each, and the parent side.
fn names(zone: &Zone) -> BTreeSet<Name> {
    // The hashed owners of NSEC3 are no names to ask for: RFC 5155 section 7.2.8 lets servers differ.
    let owners = zone.rrsets().filter(|s| s.rtype != Rtype::NSEC3).map(|s| s.owner.clone()).collect::<BTreeSet<_>>();
    let mut names = owners.clone();
    for owner in owners {
        names.extend(owner.parent().filter(|p| p.is_at_or_below(zone.apex())));
        names.extend([&b"zz"[..], b"0-none"].iter().filter_map(|label| owner.child(label).ok()));
    }
    // NSD adds a record that proves nothing where the wildcard itself is asked for a type it lacks (RFC 5155 section 7.2.3 wants one).
    names.retain(|n| !n.is_wildcard());
    names
}

/// A reply in a form that fits a failure message.
fn brief(message: &Message) -> String {
    let section = |records: &[Record]| records.iter().map(|r| format!("{} {} {}", r.owner, r.ttl, r.rtype)).collect::<Vec<_>>().join(", ");
    let authoritative = if message.flags.has(Flags::AA) { "AA" } else { "" };
    format!("{} {authoritative} [{}] [{}]", message.rcode(), section(&message.answer), section(&message.authority))
}

/// A section without order, each RDATA in canonical form: NSD folds the case of names.
fn section(records: &[Record]) -> BTreeSet<(Name, Rtype, u32, Vec<u8>)> {
    records.iter().map(|r| (r.owner.clone(), r.rtype, r.ttl, rdata::canonical(r.rtype, &r.rdata))).collect()
}

#[test]
fn nsd_gives_the_same_answers_from_the_same_zone_files() {
    const TYPES: [Rtype; 9] =
        [Rtype::A, Rtype::TXT, Rtype::SRV, Rtype::NS, Rtype::DS, Rtype::SOA, Rtype::DNSKEY, Rtype::CNAME, Rtype::NSEC];
    let (seed, internet) = internet();
    let directory = directory("nsd");
    let files = internet.write_zone_files(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(internet.start(None)).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut seen: Vec<Vec<Name>> = Vec::new();
    let mut asked = 0;
    for host in internet.hosts().iter().filter(|h| h.manners == Manners::Good) {
        let apexes: Vec<Name> = host.zones.iter().map(|z| z.apex().clone()).collect();
        if seen.contains(&apexes) {
            continue;
        }
        seen.push(apexes);
        let nsd_at = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        let nsd = Nsd::start(&directory, nsd_at, host, &files);
        let mut theirs = Connection::open(nsd_at);
        let mut ours = Connection::open(SocketAddr::new(host.address, running.port));
        let all: BTreeSet<Name> = host.zones.iter().flat_map(|z: &Arc<Zone>| names(z)).collect();
        for name in &all {
            for (rtype, dnssec_ok) in TYPES.into_iter().flat_map(|t| [(t, false), (t, true)]) {
                let question = Question::new(name.clone(), rtype);
                let (a, b) = (ours.ask(&question, dnssec_ok), theirs.ask(&question, dnssec_ok));
                let same = a.rcode() == b.rcode()
                    && a.flags.has(Flags::AA) == b.flags.has(Flags::AA)
                    && section(&a.answer) == section(&b.answer)
                    && section(&a.authority) == section(&b.authority);
                assert!(same, "seed {seed}, {}: {question} DO={dnssec_ok}\nours: {}\nNSD:  {}", host.name, brief(&a), brief(&b));
                asked += 1;
            }
        }
        drop(nsd);
    }
    assert!(asked > 10_000, "only {asked} questions");
    runtime.block_on(running.stop());
    std::fs::remove_dir_all(directory).unwrap();
}

/// The product must not know the internet that it is tested on. Who may import the lab is for tests/layers.rs; this looks for names.
#[test]
fn nothing_outside_the_lab_and_the_demo_knows_a_lab_name() {
    let (_, internet) = internet();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let own = ["lab", "cli/demo", "cli/demo.rs"].iter().any(|p| path == root.join(p));
            match path.is_dir() {
                _ if own => {}
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    assert!(files.len() > 20);
    // Without the word that the seed puts in front: `-ecdsa.post`.
    let own_names = internet.zones().iter().map(|z| z.apex().to_string()).filter(|n| n.matches('.').count() == 2);
    let labels: Vec<String> = own_names.map(|n| n[n.find('-').unwrap_or(0)..].trim_end_matches('.').to_owned()).collect();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let known = labels.iter().find(|label| text.contains(label.as_str()));
        assert_eq!(known, None, "{} knows a name of the lab", file.display());
    }
}
