//! postern beside Unbound on internets drawn at random: the same questions, and whatever differs is a bug or stands in `accepted.txt`.
//!
//! Both built programs resolve from the same root on port 53 of loopback addresses, in a network namespace of their own (`unshare`), so
//! that nothing outside is asked or disturbed. Every run draws new seeds and prints them. To repeat or to ask more, by environment:
//! `DIFFERENTIAL_SEED` the first seed, `DIFFERENTIAL_QUESTIONS` how many in all, `DIFFERENTIAL_ASK` one question such as
//! `"www.a.alpha. A do cd"`, asked of freshly started programs and shown with all there is to know. Needs the Debian package `unbound`
//! (tests/packages.txt) and the right to make a network namespace; without them the test fails.
#![allow(clippy::disallowed_methods, reason = "tests own their sockets, files and the clock")]

#[path = "../daemon/mod.rs"]
mod daemon;

mod accepted;
mod ask;
mod unbound;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use postern::lab::{Internet, Running};
use postern::wire::{Name, Rcode};

use accepted::Accepted;
use ask::{Ask, Client, Seen};
use daemon::Daemon;
use unbound::Unbound;

/// Questions of one run.
const QUESTIONS: usize = 50_000;
/// Questions about one internet; many, because what was asked before is half of what can go wrong.
const QUESTIONS_PER_INTERNET: usize = 5_000;
/// Questions under way at once.
const AT_ONCE: usize = 24;
/// Of so many questions one may have had no answer the first time and the same answer as the other program's later: both give up on
/// servers that are slow, which here they are when the machine is busy.
const TRANSIENT_ONE_IN: usize = 500;
/// Disagreements shown of one internet.
const SHOWN: usize = 10;
/// Set in the process that runs inside the namespace.
const INSIDE: &str = "DIFFERENTIAL_INSIDE";
const TEST: &str = "postern_and_unbound_agree_on_random_internets";

#[test]
fn postern_and_unbound_agree_on_random_internets() {
    if std::env::var_os(INSIDE).is_none() {
        return inside_a_namespace(TEST);
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("DIFFERENTIAL_SEED").unwrap_or(since_1970.as_micros() as u64 % 1_000_000_007);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(one) = std::env::var("DIFFERENTIAL_ASK") {
        return runtime.block_on(ask_one(first, since_1970.as_secs(), &one.parse().unwrap()));
    }
    let total = number("DIFFERENTIAL_QUESTIONS").map_or(QUESTIONS, |n| n as usize);
    let (mut sum, begun) = (Tally::default(), std::time::Instant::now());
    for seed in first..first + total.div_ceil(QUESTIONS_PER_INTERNET) as u64 {
        let tally = runtime.block_on(compare(seed, since_1970.as_secs(), QUESTIONS_PER_INTERNET.min(total - sum.asked)));
        tally.disagreements.iter().take(SHOWN).for_each(|text| println!("{text}"));
        sum.add(tally);
        println!("seed {seed}: {} questions so far, {} disagreements, {} s", sum.asked, sum.disagreements.len(), begun.elapsed().as_secs());
    }
    println!("first seed {first}: {} questions, answered {:?}", sum.asked, sum.rcodes);
    println!("accepted: {:?}; agreed on asking again: {}", sum.accepted, sum.transient);
    assert!(sum.disagreements.is_empty(), "first seed {first}: {} disagreements, see above", sum.disagreements.len());
    assert!(sum.transient <= sum.asked / TRANSIENT_ONE_IN, "first seed {first}: {} of {} went unanswered", sum.transient, sum.asked);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Runs one test of this program again, alone with a loopback interface.
fn inside_a_namespace(test: &str) {
    let script = r#"ip link set lo up && exec "$0" --exact "$1" --nocapture"#;
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .status();
    let status = status.unwrap_or_else(|e| panic!("unshare (util-linux): {e}"));
    assert!(status.success(), "inside the namespace: {status}");
}

/// What came of many questions.
#[derive(Default)]
struct Tally {
    asked: usize,
    transient: usize,
    rcodes: BTreeMap<String, usize>,
    accepted: BTreeMap<&'static str, usize>,
    disagreements: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.asked += other.asked;
        self.transient += other.transient;
        other.rcodes.into_iter().for_each(|(rcode, n)| *self.rcodes.entry(rcode).or_default() += n);
        other.accepted.into_iter().for_each(|(name, n)| *self.accepted.entry(name).or_default() += n);
        self.disagreements.extend(other.disagreements);
    }
}

/// Both programs at work in one internet.
struct Stage {
    internet: Internet,
    seed: u64,
    running: Option<Running>,
    postern: Daemon,
    unbound: Unbound,
}

impl Stage {
    async fn new(seed: u64, now: u64) -> Stage {
        let internet = Internet::random(seed, now);
        let running = internet.start(Some(53)).await.unwrap();
        let settings = settings(&running);
        let postern = tokio::task::spawn_blocking(move || Daemon::start(&format!("differential-{seed}"), &settings)).await.unwrap();
        let unbound = Unbound::start(&postern.folder.0, &running).await;
        Stage { internet, seed, running: Some(running), postern, unbound }
    }

    fn servers(&self) -> [SocketAddr; 2] {
        [self.postern.dns, self.unbound.at]
    }

    async fn end(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// All there is to know about a disagreement.
    fn report(&self, ask: &Ask, ours: &Seen, theirs: &Seen) -> String {
        let mut out = format!("\n{ask}\n  postern: {ours}\n  unbound: {theirs}\n");
        let names = std::iter::once(&ask.question.name).chain(ours.names()).chain(theirs.names());
        let mut told: Vec<&Name> = Vec::new();
        for name in names {
            let zones = self.internet.zones().iter().filter(|z| name.is_at_or_below(z.apex()) && !z.apex().is_root());
            for zone in zones {
                if !told.contains(&zone.apex()) {
                    told.push(zone.apex());
                    let _ = writeln!(out, "  {}", self.internet.about(zone.apex()));
                }
            }
        }
        let _ = writeln!(out, "  DIFFERENTIAL_SEED={} DIFFERENTIAL_ASK=\"{ask}\" cargo test --test differential -- --nocapture", self.seed);
        out
    }
}

fn settings(running: &Running) -> String {
    let hints = running.root_hints.iter().flat_map(|(name, addresses)| addresses.iter().map(move |a| format!("\"{name} A {a}\"")));
    let anchors: Vec<String> = running.trust_anchors.iter().map(|anchor| format!("\"{anchor}\"")).collect();
    format!(
        "[resolve]\nroot_hints = [{}]\nloopback_upstream = true\nipv6 = false\nprivate_addresses = []\n\
         [validate]\nbuiltin_anchors = false\nanchors = [{}]\n",
        hints.collect::<Vec<_>>().join(", "),
        anchors.join(", ")
    )
}

/// Asks both `count` questions about one internet.
async fn compare(seed: u64, now: u64, count: usize) -> Tally {
    let stage = Arc::new(Stage::new(seed, now).await);
    let asks = Arc::new(Ask::random(&stage.internet, seed, count));
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..AT_ONCE {
        let (stage, asks, next) = (stage.clone(), asks.clone(), next.clone());
        workers.push(tokio::spawn(async move {
            let clients = Client::both(stage.servers()).await;
            let (mut tally, mut doubtful) = (Tally::default(), Vec::new());
            while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let [ours, theirs] = Client::ask_both(&clients, ask).await;
                *tally.rcodes.entry(ours.rcode.to_string()).or_default() += 1;
                tally.asked += 1;
                match accepted::judge(&stage.internet, ask, &ours, &theirs) {
                    Accepted::Agreed => {}
                    Accepted::ByName(name) => *tally.accepted.entry(name).or_default() += 1,
                    Accepted::No => doubtful.push((ask.clone(), ours, theirs)),
                }
            }
            (tally, doubtful)
        }));
    }
    let (mut sum, mut doubtful) = (Tally::default(), Vec::new());
    for worker in workers {
        let (tally, more) = worker.await.unwrap();
        sum.add(tally);
        doubtful.extend(more);
    }
    // Once more, one at a time: a server may have been too slow for one of the two and not for the other.
    let clients = Client::both(stage.servers()).await;
    for (ask, ours, theirs) in doubtful {
        let [ours_again, theirs_again] = Client::ask_both(&clients, &ask).await;
        let unanswered =
            ours.rcode == Rcode::SERVFAIL && ours.tells_of_no_answer() || matches!(theirs.rcode, Rcode::SERVFAIL | ask::NO_ANSWER);
        match accepted::judge(&stage.internet, &ask, &ours_again, &theirs_again) {
            Accepted::No => sum.disagreements.push(stage.report(&ask, &ours_again, &theirs_again)),
            _ if unanswered => sum.transient += 1,
            _ => sum.disagreements.push(stage.report(&ask, &ours, &theirs) + "  (they agreed later)\n"),
        }
    }
    Arc::into_inner(stage).expect("the workers have ended").end().await;
    sum
}

/// Asks both one question and shows everything.
async fn ask_one(seed: u64, now: u64, ask: &Ask) {
    let stage = Stage::new(seed, now).await;
    let [ours, theirs] = Client::ask_both(&Client::both(stage.servers()).await, ask).await;
    println!("{}", stage.report(ask, &ours, &theirs));
    let (postern, name, rtype) = (&stage.postern, ask.question.name.to_string(), ask.question.rtype.to_string());
    println!("postern why:\n{}", String::from_utf8_lossy(&postern.postern(&["why", &name, &rtype]).stdout));
    println!("unbound's log:\n{}", stage.unbound.log());
    let agreed = !matches!(accepted::judge(&stage.internet, ask, &ours, &theirs), Accepted::No);
    stage.end().await;
    assert!(agreed, "they disagree");
}
