//! The resolver on the lab's miniature internet, signed and broken, without a socket: every telling question of many seeds.
//!
//! Expectations follow from the fault that each zone declares; `tests/lab.rs` holds the zones against NSD and ldns.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern::lab::answer::answer;
use postern::lab::{Host, Internet, Manners, Security};
use postern::resolve::{Asked, Clock, Dice, Exchange, ExchangeError, Outcome, Policy, Resolver, Route, RouteKind, Settings, Transport};
use postern::validate::{Anchors, NegativeAnchors, Settings as ValidatorSettings, Status, Validator};
use postern::wire::encode::Section;
use postern::wire::message::HEADER;
use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Rcode, Rtype};

/// Around when the zones are signed.
const NOW: u64 = 1_790_000_000;
/// Seeds of one run.
const SEEDS: std::ops::Range<u64> = 1..5;

#[derive(Debug, Clone)]
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Duration {
        Duration::from_secs(1000) + self.0.elapsed()
    }
    fn wall(&self) -> u64 {
        NOW + self.0.elapsed().as_secs()
    }
    fn wall_is_trusted(&self) -> bool {
        true
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A server of the operator's own, inside.
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));

/// The lab's hosts, asked by function call; besides, [`INSIDE`] gives every name the address 10.0.0.1, unsigned.
struct Lab {
    hosts: HashMap<IpAddr, Host>,
    packets: Arc<AtomicUsize>,
}

impl Exchange for Lab {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let message = Message::parse(query).unwrap();
        let question = message.question.clone().unwrap();
        self.packets.fetch_add(1, Ordering::Relaxed);
        if to.ip() == INSIDE {
            let mut encoder = Encoder::new(message.id, Flags(Flags::QR | Flags::RA), Some(&question));
            if question.rtype == Rtype::A {
                encoder.record(&question.name, Rtype::A, 60, &[10, 0, 0, 1]);
            }
            return Ok(encoder.finish().bytes);
        }
        let host = self.hosts.get(&to.ip());
        let manners = host.map_or(Manners::Closed, |h| h.manners);
        let Some(host) = host.filter(|_| manners != Manners::Silent) else {
            tokio::time::sleep(timeout).await;
            return Err(ExchangeError::Timeout { ignored: 0 });
        };
        if manners == Manners::Closed {
            return Err(ExchangeError::Unreachable);
        }
        tokio::time::sleep(Duration::from_millis(if manners == Manners::Slow { 200 } else { 5 })).await;
        let edns = message.edns.as_ref().filter(|_| !matches!(manners, Manners::IgnoresEdns | Manners::RefusesEdns));
        let mut reply = answer(&host.zones, &question, edns.is_some_and(|e| e.dnssec_ok));
        let mut flags = Flags(Flags::QR).with(Flags::AA, reply.authoritative);
        let refused = match manners {
            Manners::Refuses => Some(Rcode::REFUSED),
            Manners::Fails => Some(Rcode::SERVFAIL),
            Manners::RefusesEdns if message.edns.is_some() => Some(Rcode::FORMERR),
            Manners::Lame => Some(Rcode::NOERROR),
            _ => None,
        };
        if let Some(rcode) = refused {
            reply.rcode = rcode;
            flags = Flags(Flags::QR);
        }
        if manners == Manners::WrongQuestion {
            // The real exchange waits on for a reply that matches.
            tokio::time::sleep(timeout).await;
            return Err(ExchangeError::Timeout { ignored: 1 });
        }
        let truncated = manners == Manners::Truncates && via == Transport::Udp;
        flags = flags.with(Flags::TC, truncated);
        if manners == Manners::FoldsCase && query[HEADER..].iter().take_while(|b| **b != 0).any(u8::is_ascii_uppercase) {
            return Err(ExchangeError::CaseMismatch);
        }
        let mut encoder = Encoder::new(message.id, flags.with_rcode(reply.rcode), Some(&question));
        if manners == Manners::Lame {
            encoder.section(Section::Authority);
            encoder.record(&Name::root(), Rtype::NS, 3600, question.name.wire());
        }
        if refused.is_none() && !truncated {
            for (section, sets) in [Section::Answer, Section::Authority, Section::Additional].into_iter().zip([
                &reply.answer,
                &reply.authority,
                &reply.additional,
            ]) {
                encoder.section(section);
                sets.iter().for_each(|set| encoder.rrset(set, set.ttl, true));
            }
        }
        let mut bytes = encoder.finish().bytes;
        if edns.is_some() {
            let additional = u16::from_be_bytes([bytes[10], bytes[11]]) + 1;
            bytes[10..12].copy_from_slice(&additional.to_be_bytes());
            Edns::new(true).write(&mut bytes);
        }
        Ok(bytes)
    }
}

fn resolver(internet: &Internet, seed: u64, routes: Vec<Route>) -> (Arc<Resolver<Lab, Paused>>, Arc<AtomicUsize>) {
    let anchors = Anchors::parse(&internet.trust_anchors().join("\n")).unwrap();
    let validator = Arc::new(Validator::new(anchors, NegativeAnchors::default(), ValidatorSettings::default()));
    let hosts = internet.hosts().iter().map(|h| (h.address, h.clone())).collect();
    let settings = Settings {
        root_hints: internet.root_hints().to_vec(),
        allow_loopback_upstream: true,
        special_use: false,
        serve_stale: None,
        case_randomisation: true,
        routes,
        ..Settings::default()
    };
    let packets = Arc::new(AtomicUsize::new(0));
    let lab = Lab { hosts, packets: packets.clone() };
    (Resolver::with_dice(settings, validator, lab, Paused(tokio::time::Instant::now()), Dice::seeded(seed)), packets)
}

fn disagreement(telling: &postern::lab::Telling, outcome: &Outcome) -> Option<String> {
    let secure = match telling.expect.security {
        Security::Secure => outcome.status == Status::Secure,
        Security::Insecure => matches!(outcome.status, Status::Insecure(_)),
        Security::Bogus => matches!(outcome.status, Status::Bogus(_)),
        Security::Unreachable => outcome.status == Status::Indeterminate,
    };
    let mut got: Vec<Box<[u8]>> = outcome.answer.last().filter(|s| s.rtype == telling.rtype).map(|s| s.rdatas.clone()).unwrap_or_default();
    let mut want = telling.rdatas.clone();
    got.sort();
    want.sort();
    let explained = telling.expect.ede.is_empty() || outcome.ede.iter().any(|e| telling.expect.ede.contains(&e.code));
    let agrees = outcome.rcode == telling.expect.rcode && secure && got == want && explained;
    (!agrees).then(|| {
        format!(
            "{} {} ({}): want {:?}, got {:?} {:?} {:?} {:?}",
            telling.name, telling.rtype, telling.why, telling.expect, outcome.rcode, outcome.status, outcome.ede, got
        )
    })
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn every_telling_question_is_answered_as_its_zone_declares() {
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let internet = Internet::build(seed, NOW);
        run(async {
            let (resolver, _) = resolver(&internet, seed, Vec::new());
            // Twice: from the network, and from what was remembered of it.
            for round in ["cold", "warm"] {
                assert!(internet.questions().len() > 20);
                for telling in internet.questions() {
                    let outcome = resolver.resolve(&Question::new(telling.name.clone(), telling.rtype), Asked::default()).await;
                    wrong.extend(disagreement(telling, &outcome).map(|w| format!("seed {seed} {round}: {w}")));
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}

/// RFC 2308 section 3: a negative answer has its SOA, also where a referral has told before that there is no DS.
#[test]
fn a_denied_ds_comes_with_its_soa_and_its_proof() {
    let internet = Internet::build(1, NOW);
    let below_post = |z: &&Arc<postern::lab::Zone>| z.apex().to_string().ends_with("-plain.post.");
    let unsigned = internet.zones().iter().find(below_post).unwrap().apex().clone();
    run(async {
        let (resolver, _) = resolver(&internet, 1, Vec::new());
        resolver.resolve(&Question::new(unsigned.child(b"www").unwrap(), Rtype::A), Asked::default()).await;
        for asked in [Asked::default(), Asked { checking_disabled: true }] {
            let outcome = resolver.resolve(&Question::new(unsigned.clone(), Rtype::DS), asked).await;
            let types: Vec<Rtype> = outcome.authority.iter().map(|s| s.rtype).collect();
            assert!(outcome.answer.is_empty() && types.contains(&Rtype::SOA) && types.contains(&Rtype::NSEC3), "{types:?}");
        }
    });
}

/// Split horizon: the signed parent proves that the zone does not exist; the operator's route says where it is served.
#[test]
fn a_routed_zone_under_a_signed_parent_is_insecure_and_not_bogus() {
    let internet = Internet::build(1, NOW);
    let zone: Name = "corp-inside.post".parse().unwrap();
    let route = Route {
        zone: zone.clone(),
        kind: RouteKind::Forward,
        servers: vec![SocketAddr::new(INSIDE, 53)],
        fallback_to_recursion: false,
        policy: Policy::default(),
    };
    run(async {
        let (resolver, _) = resolver(&internet, 1, vec![route]);
        let host = Question::new(zone.child(b"host").unwrap(), Rtype::A);
        for round in 0..2 {
            let outcome = resolver.resolve(&host, Asked::default()).await;
            assert_eq!((outcome.rcode, outcome.answer.len()), (Rcode::NOERROR, 1), "round {round}: {:?}", outcome.ede);
            assert!(matches!(outcome.status, Status::Insecure(_)), "{:?}", outcome.status);
            // The public view of the same name is asked for DS, and does not spoil the routed one.
            let ds = resolver.resolve(&Question::new(zone.clone(), Rtype::DS), Asked::default()).await;
            assert_eq!((ds.rcode, ds.status), (Rcode::NXDOMAIN, Status::Secure));
        }
    });
}

/// RFC 8198: a flood of random names in a signed zone with NSEC ends at the cache.
#[test]
fn random_names_in_a_signed_zone_cost_its_servers_little() {
    let internet = Internet::build(1, NOW);
    let root_denied = |i: usize| Question::new(format!("nothing-{i}-here").parse().unwrap(), Rtype::A);
    run(async {
        let (resolver, packets) = resolver(&internet, 1, Vec::new());
        let mut synthesised = 0;
        for i in 0..300 {
            let outcome = resolver.resolve(&root_denied(i), Asked::default()).await;
            assert_eq!((outcome.rcode, outcome.status), (Rcode::NXDOMAIN, Status::Secure), "{:?}", outcome.ede);
            synthesised += usize::from(outcome.ede.iter().any(|e| e.code == 29));
        }
        let sent = packets.load(Ordering::Relaxed);
        assert!(sent < 20 && synthesised > 280, "{sent} packets, {synthesised} of 300 synthesised");
    });
}
