//! What postern promises of its lists, measured at the built program: build, push, memory and what is blocked.
//!
//! `cargo bench --bench bars` takes a synthetic million, the last part in a box of 128 MiB (a memory cgroup, so as root);
//! `cargo bench --bench bars -- --hosts FILE` also takes real names, one a line. Each figure is printed with its bar; the exit code is 1
//! where one is missed. Run it alone on the machine: building is bound to one core.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads files and the clock, and prints")]

#[path = "../tests/daemon/mod.rs"]
mod daemon;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use daemon::{Daemon, Dice, Folder, Upstream, query};
use postern::wire::{Edns, Message, Rcode, Rtype};

const POSTERN: &str = env!("CARGO_BIN_EXE_postern");
const MIB: f64 = 1048576.0;
/// Queries on their way at once: fewer than any socket buffer holds.
const WINDOW: usize = 64;
/// Names asked in the parts that need not ask all.
const SOME: usize = 100_000;
/// What systemd's `MemoryMax=128M` says.
const BOX: u64 = 128 << 20;

/// The bars and whether each was met.
#[derive(Default)]
struct Bars {
    missed: u32,
}

impl Bars {
    fn at_most(&mut self, what: &str, figure: f64, bar: f64, unit: &str) {
        self.met(&format!("{what}: {figure:.2} {unit} (bar: {bar} {unit})"), figure < bar);
    }

    fn equal(&mut self, what: &str, figure: usize, wanted: usize) {
        self.met(&format!("{what}: {figure} of {wanted}"), figure == wanted);
    }

    fn met(&mut self, line: &str, met: bool) {
        self.missed += u32::from(!met);
        println!("{}  {line}", if met { "ok    " } else { "MISSED" });
    }
}

/// What became of a set of names.
#[derive(Default)]
struct Answers {
    blocked: usize,
    free: usize,
    other: usize,
    first_other: Option<String>,
}

/// Asks every name once; nothing is asked again, so that a lost answer shows.
fn ask(daemon: &Daemon, names: &[String]) -> Answers {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(daemon.dns).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut answers, mut buffer) = (Answers::default(), [0; 4096]);
    for window in names.chunks(WINDOW) {
        for (id, name) in window.iter().enumerate() {
            socket.send(&query(id as u16, name, Rtype::A)).unwrap();
        }
        let mut open: HashSet<u16> = (0..window.len() as u16).collect();
        while !open.is_empty() {
            let Ok(length) = socket.recv(&mut buffer) else { break };
            let message = Message::parse(&buffer[..length]).unwrap();
            if !open.remove(&message.id) {
                continue;
            }
            let told = message.edns.iter().flat_map(Edns::extended_errors).any(|error| error.code == 15);
            match (message.rcode(), told) {
                (Rcode::NXDOMAIN, true) => answers.blocked += 1,
                (Rcode::NOERROR, false) => answers.free += 1,
                (rcode, _) => {
                    answers.other += 1;
                    answers.first_other.get_or_insert(format!("{}: {rcode}", window[usize::from(message.id)]));
                }
            }
        }
        answers.other += open.len();
        if let Some(id) = open.iter().next() {
            answers.first_other.get_or_insert(format!("{}: no answer", window[usize::from(*id)]));
        }
    }
    if let Some(other) = &answers.first_other {
        println!("        {} were neither blocked nor resolved, one is {other}", answers.other);
    }
    answers
}

fn must(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a list; gives the file, seconds and the report.
fn build(folder: &Folder, id: &str, serial: u32, names: &Path, scope: &str) -> (PathBuf, f64, serde_json::Value) {
    let out = folder.0.join(format!("{id}-{serial}.plist"));
    let start = Instant::now();
    let output = Command::new(POSTERN)
        .args(["blocklist", "build", "--json", scope, "--id", id, "--serial", &serial.to_string(), "--out"])
        .args([&out, names])
        .output()
        .unwrap();
    let took = start.elapsed().as_secs_f64();
    (out, took, serde_json::from_str(&must(output)).unwrap())
}

fn push(daemon: &Daemon, file: &Path) -> f64 {
    let start = Instant::now();
    daemon.must(&["blocklist", "push", &file.display().to_string()]);
    start.elapsed().as_secs_f64()
}

/// Real names: all that were not held back are blocked, and 100,000 near them that are not listed are not.
fn real(bars: &mut Bars, hosts: &Path) {
    let upstream = Upstream::start();
    let daemon = Daemon::start("bars-real", &upstream.settings());
    let text = std::fs::read_to_string(hosts).expect("the file of hosts can be read");
    let names: Vec<String> = text.lines().map(|line| line.split_whitespace().next().unwrap_or("").to_ascii_lowercase()).collect();
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty() && !name.starts_with('#')).collect();
    let (file, took, report) = build(&daemon.folder, "real", 1, hosts, "--exact");
    println!("\n{} real names", names.len());
    bars.at_most("build", took, 3.0, "s");
    bars.at_most("push", push(&daemon, &file), 1.0, "s");

    let held: HashSet<String> = report["held_back"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap().to_owned()).collect();
    let mut reasons = BTreeMap::<String, usize>::new();
    report["held_back"].as_array().unwrap().iter().for_each(|h| *reasons.entry(h["why"].as_str().unwrap().to_owned()).or_default() += 1);
    println!("        {} held back:", held.len());
    reasons.iter().for_each(|(why, count)| println!("        {count:>6} {why}"));

    let kept: Vec<String> = names.iter().filter(|name| !held.contains(&format!("{name}."))).cloned().collect();
    bars.equal("names not held back are blocked", ask(&daemon, &kept).blocked, kept.len());
    let listed: HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut dice = Dice(7);
    let mut near = |kind: usize| {
        let mut found = HashSet::new();
        for name in kept.iter().cycle().take(kept.len() * 4) {
            let parent = name.split_once('.').map_or("", |(_, parent)| parent);
            let other = match (kind, dice.below(2)) {
                (0, 0) => parent.to_owned(),
                (0, _) => format!("sibling-{}.{parent}", dice.below(1000)),
                (1, _) => {
                    let mut octets = name.clone().into_bytes();
                    let at = dice.below(name.find('.').unwrap_or(1).max(1));
                    octets[at] = b'a' + dice.below(26) as u8;
                    String::from_utf8(octets).unwrap()
                }
                _ => format!("below.{name}"),
            };
            // A name of another length or form is no near miss, but no name at all.
            if !other.is_empty() && !listed.contains(other.as_str()) && other.parse::<postern::wire::Name>().is_ok() {
                found.insert(other);
            }
            if found.len() == SOME.div_ceil(3) {
                break;
            }
        }
        found.into_iter().collect::<Vec<_>>()
    };
    for (kind, what) in ["parents and siblings", "one character changed", "names below an exact entry"].into_iter().enumerate() {
        let names = near(kind);
        bars.equal(&format!("unlisted, {what}, resolved"), ask(&daemon, &names).free, names.len());
    }
}

/// A synthetic million: size, memory, and the whole box in 128 MiB.
fn million(bars: &mut Bars) {
    let upstream = Upstream::start();
    let group = Group::new();
    let daemon = group.within(|| Daemon::start("bars-million", &upstream.settings()));
    let (mut dice, mut names) = (Dice(1), Vec::new());
    let text = daemon.folder.0.join("million.txt");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&text).unwrap());
    for i in 0..1_000_000u64 {
        let word = ["track", "parcel", "post-fee", "delivery", "usps-com", "redeliver"][dice.below(6)];
        let tld = ["com", "top", "xyz", "info", "cfd", "live"][dice.below(6)];
        let name = format!("{word}-{i:x}-{:x}.{tld}", dice.roll() >> 40);
        writeln!(out, "{name}").unwrap();
        if i % 10 == 0 {
            names.push(name);
        }
    }
    out.flush().unwrap();
    drop(out);
    println!("\n1,000,000 synthetic names");
    let (file, took, _) = build(&daemon.folder, "million", 1, &text, "--subtree");
    bars.at_most("build", took, 8.0, "s");
    bars.at_most("file", std::fs::metadata(&file).unwrap().len() as f64 / MIB, 60.0, "MiB");
    ask(&daemon, &["before.example".to_owned()]);
    let before = daemon.memory("RssAnon");
    println!("        push took {:.2} s", push(&daemon, &file));
    bars.equal("listed names are blocked", ask(&daemon, &names).blocked, names.len());
    bars.at_most("the daemon's RssAnon grew by", daemon.memory("RssAnon").saturating_sub(before) as f64 / MIB, 12.0, "MiB");
    println!("        RSS in all {:.1} MiB", daemon.memory("VmRSS") as f64 / MIB);

    println!("\nthe same in a box of 128 MiB");
    let again = build(&daemon.folder, "million", 2, &text, "--exact").0;
    println!("        a second push took {:.2} s", push(&daemon, &again));
    let misses: Vec<String> = (0..SOME).map(|i| format!("w{i}.free-{}.example", dice.below(1 << 20))).collect();
    bars.equal("misses resolved", ask(&daemon, &misses).free, misses.len());
    bars.equal("hits resolved", ask(&daemon, &misses).free, misses.len());
    bars.equal("blocked after it", ask(&daemon, &names).blocked, names.len());
    println!("        greatest use of memory, page cache with it: {:.1} MiB", group.peak() as f64 / MIB);
    assert_eq!(daemon.stop(), Some(0));
}

/// A memory cgroup of our own, of version 1 or 2.
struct Group {
    folder: PathBuf,
    peak: &'static str,
}

impl Group {
    fn new() -> Group {
        let (root, limit, peak) = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.peak"),
        ]
        .into_iter()
        .find(|(root, ..)| Path::new(root).join("cgroup.procs").exists())
        .expect("a memory cgroup is mounted");
        let folder = Path::new(root).join(format!("postern-bars-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("only root makes a memory cgroup");
        std::fs::write(folder.join(limit), BOX.to_string()).expect("the group takes a limit of memory");
        Group { folder, peak }
    }

    /// Starts a process inside: what it allocates is charged to the group from its first page on.
    fn within<T>(&self, start: impl FnOnce() -> T) -> T {
        let own = std::process::id().to_string();
        std::fs::write(self.folder.join("cgroup.procs"), &own).unwrap();
        let started = start();
        std::fs::write(self.folder.parent().unwrap().join("cgroup.procs"), own).unwrap();
        started
    }

    fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(self.folder.join(self.peak)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut bars = Bars::default();
    while let Some(argument) = arguments.next() {
        let file = arguments.next().filter(|_| argument == "--hosts").expect("usage: bars [--hosts FILE]");
        real(&mut bars, Path::new(&file));
    }
    million(&mut bars);
    println!("\n{}", if bars.missed == 0 { "every bar met".to_owned() } else { format!("{} bars MISSED", bars.missed) });
    ExitCode::from(u8::from(bars.missed > 0))
}
