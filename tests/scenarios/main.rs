//! The resolver against scripted name servers: every `*.scn` beside this file is one behaviour.
//!
//! Time is tokio's paused clock, so ten minutes of retries pass in milliseconds. `script` has the format, `world` plays the servers.
//! `SCENARIO=part-of-a-name cargo test --test scenarios` runs some of them and prints the packets.

#![allow(clippy::disallowed_methods, reason = "a test reads its scenario files")]

mod script;
mod sign;
mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern::resolve::{Asked, Dice, Exchange, ExchangeError, Outcome, Resolver, Settings, Transport};
use postern::validate::{Status, Validator};
use postern::wire::{Flags, Question, Rcode, Rtype};
use script::{Check, Scenario, Step};
use world::{Packet, ScriptClock, World};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "scn"));
    files.sort();
    files
}

fn play(scenario: &Arc<Scenario>, seed: u64, show: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = ScriptClock::start(scenario);
        let world = World::new(scenario.clone(), clock.clone());
        let log = world.log();
        let validator = Arc::new(Validator::new(scenario.anchors.clone(), scenario.negative.clone(), scenario.validator));
        let resolver = Resolver::with_dice(scenario.settings.clone(), validator, world, clock, Dice::seeded(seed));
        for step in &scenario.steps {
            match step {
                Step::Pass(time) => tokio::time::sleep(*time).await,
                Step::Flush => drop(resolver.flush(None, false)),
                Step::Ask(ask) => {
                    let (before, start) = (log.lock().unwrap().len(), tokio::time::Instant::now());
                    let spent = || [&resolver.counters().signature_checks, &resolver.counters().nsec3_rounds].map(|c| c.value() as usize);
                    let spent_before = spent();
                    let asked = Asked { checking_disabled: ask.checking_disabled };
                    let clients: Vec<_> = (0..ask.times)
                        .map(|_| {
                            let (resolver, question) = (resolver.clone(), ask.question.clone());
                            tokio::spawn(async move { resolver.resolve(&question, asked).await })
                        })
                        .collect();
                    let mut outcomes: Vec<Outcome> = Vec::new();
                    for client in clients {
                        outcomes.push(client.await.unwrap());
                    }
                    let took = start.elapsed();
                    let work = [spent()[0] - spent_before[0], spent()[1] - spent_before[1]];
                    let packets = log.lock().unwrap()[before..].to_vec();
                    if show {
                        println!("ask {} -> {:#?}", ask.question, outcomes[0]);
                        packets.iter().for_each(|p| println!("   {p:?}"));
                    }
                    for outcome in &outcomes {
                        for check in &ask.checks {
                            judge(check, outcome, &packets, took, work)
                                .map_err(|why| format!("line {}: ask {}: {why}", ask.line, ask.question))?;
                        }
                    }
                }
            }
        }
        Ok(())
    })
}

fn judge(check: &Check, outcome: &Outcome, packets: &[Packet], took: Duration, work: [usize; 2]) -> Result<(), String> {
    let describe = || {
        let sets = outcome.answer.iter().map(|s| format!("{} {} {:?}", s.owner, s.rtype, s.rdatas)).collect::<Vec<_>>().join("; ");
        format!(
            "(got {:?}, answer [{sets}], {:?}, ede {:?}, ttl {}, {} packets)",
            outcome.rcode,
            outcome.status,
            outcome.ede,
            outcome.ttl,
            packets.len()
        )
    };
    let fail = |what: String| Err(format!("{what} {}", describe()));
    let holds = match check {
        Check::Rcode(rcode) => outcome.rcode == *rcode,
        Check::Answer(records) => {
            let mut got: Vec<_> =
                outcome.answer.iter().flat_map(|s| s.rdatas.iter().map(|r| (s.owner.clone(), s.rtype, r.to_ascii_lowercase()))).collect();
            let mut want: Vec<_> = records.iter().map(|r| (r.owner.clone(), r.rtype, r.rdata.to_ascii_lowercase())).collect();
            got.sort();
            want.sort();
            got == want
        }
        Check::Authority(owner, rtype) => outcome.authority.iter().any(|s| s.owner == *owner && s.rtype == *rtype),
        Check::NoAuthority(rtype) => !outcome.authority.iter().any(|s| s.rtype == *rtype),
        Check::NotEde(code) => !outcome.ede.iter().any(|e| e.code == *code),
        Check::Reason(label) => match outcome.status {
            Status::Bogus(why) => why.label() == label,
            Status::Insecure(why) => why.label() == label,
            _ => false,
        },
        Check::Signed(signed) => !outcome.answer.is_empty() && outcome.answer.iter().all(|s| s.sigs.is_empty() != *signed),
        Check::Sent(address, bits) => {
            let mut to = packets.iter().filter(|p| p.to.ip() == *address).peekable();
            let carries = |p: &Packet, bit: &str| match bit {
                "RD" => Flags(p.flags).has(Flags::RD),
                "CD" => Flags(p.flags).has(Flags::CD),
                "AD" => Flags(p.flags).has(Flags::AD),
                "DO" => p.dnssec_ok,
                "EDNS" => p.edns,
                other => panic!("{other} is no bit of a query"),
            };
            to.peek().is_some() && to.all(|p| bits.iter().all(|b| b.strip_prefix("not-").map_or_else(|| carries(p, b), |b| !carries(p, b))))
        }
        Check::Signatures(range) => range.contains(&work[0]),
        Check::Nsec3Rounds(range) => range.contains(&work[1]),
        Check::Ede(code) => outcome.ede.iter().any(|e| e.code == *code),
        Check::NoEde => outcome.ede.is_empty(),
        Check::Status(label) => outcome.status.label() == label,
        Check::Ttl(ttl) => outcome.ttl == *ttl,
        Check::Stale(stale) => outcome.stale == *stale,
        Check::Packets(range) => range.contains(&packets.len()),
        Check::PacketsTo(address, range) => range.contains(&packets.iter().filter(|p| p.to.ip() == *address).count()),
        Check::Saw(address, name, rtype) => {
            packets.iter().any(|p| p.to.ip() == *address && p.question.name == *name && rtype.is_none_or(|t| t == p.question.rtype))
        }
        Check::Never(address, name) => !packets.iter().any(|p| p.to.ip() == *address && p.question.name == *name),
        Check::Within(limit) => took <= *limit,
    };
    if holds { Ok(()) } else { fail(format!("{check:?} does not hold")) }
}

/// Three seeds each, because the choice of servers is random.
#[test]
fn every_scenario_holds() {
    let filter = std::env::var("SCENARIO").ok();
    let (mut failures, mut played) = (Vec::new(), 0);
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if filter.as_ref().is_some_and(|f| !name.contains(f.as_str())) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario = Arc::new(Scenario::parse(&text).unwrap_or_else(|e| panic!("{name}.scn:{e}")));
        played += 1;
        for seed in 1..=3 {
            if let Err(why) = play(&scenario, seed, filter.is_some()) {
                failures.push(format!("{name}.scn (seed {seed}): {why}"));
                break;
            }
        }
    }
    assert!(played > 0, "no scenario matches");
    assert!(failures.is_empty(), "{} of {played} scenarios fail:\n{}", failures.len(), failures.join("\n"));
}

/// The scenarios that the project promises to hold at least.
const AT_LEAST: usize = 250;

/// Answers nothing, and knows how many queries waited for it at once.
#[derive(Default)]
struct Silence {
    waiting: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl Exchange for Silence {
    async fn exchange(&self, _: SocketAddr, _: Transport, _: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        self.most.fetch_max(self.waiting.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::time::sleep(timeout).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Err(ExchangeError::Timeout { ignored: 0 })
    }
}

/// Whatever outsiders delegate to whatever silence, half of the places for queries is left for servers that answer (outbound has 1024).
#[test]
fn silence_takes_half_of_the_places() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let root_hints = (0..100).map(|i| (format!("ns{i}.root").parse().unwrap(), vec![[192, 0, 2, i].into()])).collect();
        let settings = Settings { root_hints, ..Settings::default() };
        let nothing = Scenario::parse("").unwrap();
        let silence = Silence::default();
        let most = silence.most.clone();
        let validator = Arc::new(Validator::new(nothing.anchors.clone(), nothing.negative.clone(), nothing.validator));
        let resolver = Resolver::with_dice(settings, validator, silence, ScriptClock::start(&nothing), Dice::seeded(1));
        let clients: Vec<_> = (0..1500)
            .map(|i| {
                let (resolver, question) = (resolver.clone(), Question::new(format!("x{i}.example").parse().unwrap(), Rtype::A));
                tokio::spawn(async move { resolver.resolve(&question, Asked::default()).await })
            })
            .collect();
        for client in clients {
            assert_eq!(client.await.unwrap().rcode, Rcode::SERVFAIL);
        }
        assert_eq!(most.load(Ordering::Relaxed), 512);
    });
}

/// Each scenario cites what it holds to, and either one of its citations is no other scenario's or it names the mutant that it kills.
#[test]
fn every_scenario_has_a_source_of_its_own() {
    let mut cited: HashMap<String, Vec<String>> = HashMap::new();
    let (mut own_mutants, mut problems) = (Vec::new(), Vec::new());
    let files = files();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let of = |key: &str| text.lines().filter_map(|l| l.strip_prefix(key)).map(|l| l.trim().to_owned()).collect::<Vec<_>>();
        for citation in of("cites ") {
            cited.entry(citation).or_default().push(name.clone());
        }
        if !text.lines().any(|l| l.starts_with("cites ")) {
            problems.push(format!("{name} cites nothing"));
        }
        for mutant in of("kills ") {
            if !Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/mutants/{mutant}.mutant")).exists() {
                problems.push(format!("{name}: there is no mutant {mutant}"));
            }
            own_mutants.push(name.clone());
        }
    }
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if !own_mutants.contains(&name) && !cited.values().any(|names| *names == [name.clone()]) {
            let shared = cited.iter().find(|(_, names)| names.contains(&name)).map(|(_, names)| names.join(", ")).unwrap_or_default();
            problems.push(format!("every citation of {name} is another's too: {shared}"));
        }
    }
    assert!(files.len() >= AT_LEAST, "{} scenarios", files.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
