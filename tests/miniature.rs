//! The resolver on the lab's miniature internet, signed and broken, without a socket: every telling question of many seeds.
//!
//! Expectations follow from the fault that each zone declares; `tests/lab.rs` holds the zones against NSD and ldns.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postern::lab::answer::answer;
use postern::lab::{Host, Internet, Manners, Security};
use postern::resolve::{Asked, Clock, Dice, Exchange, ExchangeError, Outcome, Resolver, Settings, Transport};
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

/// The lab's hosts, asked by function call.
struct Lab(HashMap<IpAddr, Host>);

impl Exchange for Lab {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let message = Message::parse(query).unwrap();
        let question = message.question.clone().unwrap();
        let host = self.0.get(&to.ip());
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

fn resolver(internet: &Internet, seed: u64) -> Arc<Resolver<Lab, Paused>> {
    let anchors = Anchors::parse(&internet.trust_anchors().join("\n")).unwrap();
    let validator = Arc::new(Validator::new(anchors, NegativeAnchors::default(), ValidatorSettings::default()));
    let hosts = internet.hosts().iter().map(|h| (h.address, h.clone())).collect();
    let settings = Settings {
        root_hints: internet.root_hints().to_vec(),
        allow_loopback_upstream: true,
        special_use: false,
        serve_stale: None,
        ..Settings::default()
    };
    Resolver::with_dice(settings, validator, Lab(hosts), Paused(tokio::time::Instant::now()), Dice::seeded(seed))
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
    // Behind an unsigned CNAME the missing proof that it is no zone cut may be told instead of the missing signature.
    let unsigned_alias = telling.expect.ede == [10] && outcome.ede.iter().any(|e| e.code == 12);
    let explained = unsigned_alias || telling.expect.ede.is_empty() || outcome.ede.iter().any(|e| telling.expect.ede.contains(&e.code));
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
            let resolver = resolver(&internet, seed);
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
