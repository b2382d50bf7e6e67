//! Plays the name servers of a scenario: an `Exchange` that answers from zones and exact replies, in tokio's time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::resolve::{Clock, Exchange, ExchangeError, Transport};
use postern::wire::encode::Section;
use postern::wire::message::HEADER;
use postern::wire::{Edns, Encoder, Flags, Message, Name, Question, Rcode, Rtype};

use crate::script::{Behaviour, Record, Scenario, Zone};

/// Tokio's clock as the resolver sees it; the wall starts in November 2023.
#[derive(Debug, Clone)]
pub struct ScriptClock(tokio::time::Instant);

impl ScriptClock {
    pub fn start() -> ScriptClock {
        ScriptClock(tokio::time::Instant::now())
    }
}

impl Clock for ScriptClock {
    fn now(&self) -> Duration {
        // Not from zero, so that nothing leans on it.
        Duration::from_secs(100_000) + self.0.elapsed()
    }
    fn wall(&self) -> u64 {
        1_700_000_000 + self.0.elapsed().as_secs()
    }
    fn wall_is_trusted(&self) -> bool {
        true
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A packet that a server saw.
#[derive(Debug, Clone)]
pub struct Packet {
    pub to: SocketAddr,
    pub question: Question,
    #[allow(dead_code, reason = "shown when one scenario is run alone")]
    pub via: Transport,
    #[allow(dead_code, reason = "shown when one scenario is run alone")]
    pub edns: bool,
}

#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    clock: ScriptClock,
    log: Arc<Mutex<Vec<Packet>>>,
}

struct Answer {
    flags: u16,
    rcode: Rcode,
    question: Option<Question>,
    opt: bool,
    sections: [Vec<Record>; 3],
}

impl World {
    pub fn new(scenario: Scenario, clock: ScriptClock) -> World {
        World { scenario, clock, log: Arc::default() }
    }

    pub fn log(&self) -> Arc<Mutex<Vec<Packet>>> {
        self.log.clone()
    }

    fn exact(&self, server: IpAddr, question: &Question, via: Transport, second: u64) -> Option<Answer> {
        let reply = self.scenario.replies.iter().find(|r| {
            r.server == server
                && r.time.contains(&second)
                && r.name.as_ref().is_none_or(|n| *n == question.name)
                && r.rtype.is_none_or(|t| t == question.rtype)
                && r.tcp.is_none_or(|tcp| tcp == (via == Transport::Tcp))
        })?;
        Some(Answer {
            flags: reply.flags,
            rcode: reply.rcode,
            question: reply.question.clone().unwrap_or_else(|| Some(question.clone())),
            opt: reply.opt,
            sections: reply.sections.clone(),
        })
    }

    fn by_zones(&self, server: IpAddr, question: &Question) -> Answer {
        let holds = |z: &&Zone| {
            let parent_side = question.rtype == Rtype::DS && question.name == z.apex && !z.apex.is_root();
            z.servers.contains(&server) && question.name.is_at_or_below(&z.apex) && !parent_side
        };
        let zone = self.scenario.zones.iter().filter(holds).max_by_key(|z| z.apex.label_count());
        let (flags, rcode, sections) = match zone {
            Some(zone) => lookup(zone, question),
            None => (0, Rcode::REFUSED, Default::default()),
        };
        Answer { flags: Flags::QR | flags, rcode, question: Some(question.clone()), opt: true, sections }
    }
}

/// RFC 1034 section 4.3.2, for one zone.
fn lookup(zone: &Zone, question: &Question) -> (u16, Rcode, [Vec<Record>; 3]) {
    let mut sections: [Vec<Record>; 3] = Default::default();
    let mut name = question.name.clone();
    let at = |name: &Name, rtype: Rtype| -> Vec<Record> {
        zone.records.iter().filter(|r| r.owner == *name && (r.rtype == rtype || rtype == Rtype::ANY)).cloned().collect()
    };
    let soa = at(&zone.apex, Rtype::SOA);
    for _ in 0..20 {
        let ancestors: Vec<Name> = name.self_and_ancestors().take_while(|n| n.is_below(&zone.apex)).collect();
        let cut = ancestors.iter().rev().find(|n| !(at(n, Rtype::NS).is_empty() || question.rtype == Rtype::DS && **n == question.name));
        if let Some(cut) = cut {
            sections[1] = [at(cut, Rtype::NS), at(cut, Rtype::DS)].concat();
            for ns in at(cut, Rtype::NS) {
                let target = Name::from_wire(&ns.rdata).unwrap();
                sections[2].extend([at(&target, Rtype::A), at(&target, Rtype::AAAA)].concat());
            }
            return (if sections[0].is_empty() { 0 } else { Flags::AA }, Rcode::NOERROR, sections);
        }
        let dname = ancestors
            .iter()
            .skip(1)
            .chain([&zone.apex])
            .find_map(|n| at(n, Rtype::DNAME).first().cloned().filter(|d| name.is_below(&d.owner)));
        if let Some(dname) = dname {
            let target = Name::from_wire(&dname.rdata).unwrap();
            sections[0].push(dname.clone());
            let Ok(next) = name.rebase(&dname.owner, &target) else { return (Flags::AA, Rcode::YXDOMAIN, sections) };
            sections[0].push(Record { owner: name, rtype: Rtype::CNAME, rdata: next.wire().to_vec(), ..dname });
            name = next;
        } else {
            let source = if zone.records.iter().any(|r| r.owner.is_at_or_below(&name)) {
                name.clone()
            } else {
                let exists = |n: &Name| zone.records.iter().any(|r| r.owner.is_at_or_below(n));
                let encloser = name.self_and_ancestors().find(exists).expect("the apex exists");
                let wildcard = encloser.wildcard().unwrap();
                if at(&wildcard, Rtype::ANY).is_empty() {
                    sections[1] = soa;
                    return (Flags::AA, Rcode::NXDOMAIN, sections);
                }
                wildcard
            };
            let own = |mut record: Record| {
                record.owner = name.clone();
                record
            };
            let found: Vec<Record> = at(&source, question.rtype).into_iter().map(own).collect();
            if !found.is_empty() {
                for ns in found.iter().filter(|r| r.rtype == Rtype::NS) {
                    let target = Name::from_wire(&ns.rdata).unwrap();
                    sections[2].extend([at(&target, Rtype::A), at(&target, Rtype::AAAA)].concat());
                }
                sections[0].extend(found);
                return (Flags::AA, Rcode::NOERROR, sections);
            }
            match at(&source, Rtype::CNAME).into_iter().next() {
                Some(cname) => {
                    let next = Name::from_wire(&cname.rdata).unwrap();
                    sections[0].push(own(cname));
                    name = next;
                }
                None => {
                    sections[1] = soa;
                    return (Flags::AA, Rcode::NOERROR, sections);
                }
            }
        }
        if !name.is_at_or_below(&zone.apex) || sections[0].iter().any(|r| r.owner == name) {
            break;
        }
    }
    (Flags::AA, Rcode::NOERROR, sections)
}

impl Exchange for World {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let query_message = Message::parse(query).expect("the resolver sends whole messages");
        let question = query_message.question.clone().expect("queries have a question");
        let edns = query_message.edns.is_some();
        let count = {
            let mut log = self.log.lock().unwrap();
            log.push(Packet { to, question: question.clone(), via, edns });
            log.len() as u64
        };
        let second = (self.clock.now() - Duration::from_secs(100_000)).as_secs();
        let behaviours: Vec<&Behaviour> =
            self.scenario.behaviours.iter().filter(|(a, _, time)| *a == to.ip() && time.contains(&second)).map(|(_, b, _)| b).collect();
        let does = |b: Behaviour| behaviours.contains(&&b);
        let delay = behaviours.iter().find_map(|b| if let Behaviour::Delay(ms) = b { Some(*ms) } else { None }).unwrap_or(10);
        // A stream needs a handshake first.
        let delay = Duration::from_millis(if via == Transport::Tcp { 2 * delay } else { delay });
        let known =
            self.scenario.zones.iter().any(|z| z.servers.contains(&to.ip())) || self.scenario.replies.iter().any(|r| r.server == to.ip());
        let lost = behaviours.iter().any(|b| matches!(b, Behaviour::Loses(n) if count % n == 0));
        let silent = !known
            || does(Behaviour::Silent)
            || lost
            || (does(Behaviour::DropsEdns) && edns)
            || (does(Behaviour::NoTcp) && via == Transport::Tcp)
            || delay > timeout;
        if does(Behaviour::Unreachable) {
            return Err(ExchangeError::Unreachable);
        }
        if silent {
            tokio::time::sleep(timeout).await;
            return Err(ExchangeError::Timeout { ignored: 0 });
        }
        tokio::time::sleep(delay).await;
        let mixed = query[HEADER..].iter().take_while(|b| **b != 0).any(u8::is_ascii_uppercase);
        if does(Behaviour::LowersCase) && mixed {
            return Err(ExchangeError::CaseMismatch);
        }
        let mut answer = self.exact(to.ip(), &question, via, second).unwrap_or_else(|| self.by_zones(to.ip(), &question));
        for behaviour in &behaviours {
            match behaviour {
                Behaviour::Rcode(rcode) => (answer.rcode, answer.sections) = (*rcode, Default::default()),
                Behaviour::NoEdns if edns => (answer.rcode, answer.sections) = (Rcode::FORMERR, Default::default()),
                Behaviour::Truncates if via == Transport::Udp => {
                    (answer.flags, answer.sections) = (answer.flags | Flags::TC, Default::default())
                }
                Behaviour::Recursive => answer.flags = answer.flags & !Flags::AA | Flags::RA,
                Behaviour::NoAa => answer.flags &= !Flags::AA,
                Behaviour::RefusesShortened(rcode) if answer.sections[0].is_empty() => {
                    (answer.rcode, answer.sections) = (*rcode, Default::default())
                }
                _ => {}
            }
        }
        let opt = answer.opt && edns && !does(Behaviour::NoEdns);
        Ok(encode(query_message.id, answer, opt))
    }
}

fn encode(id: u16, answer: Answer, opt: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(id, Flags(answer.flags).with_rcode(answer.rcode), answer.question.as_ref());
    for (section, records) in [Section::Answer, Section::Authority, Section::Additional].into_iter().zip(&answer.sections) {
        encoder.section(section);
        for record in records {
            encoder.record(&record.owner, record.rtype, record.ttl, &record.rdata);
        }
    }
    let mut bytes = encoder.finish().bytes;
    if opt {
        let additional = u16::from_be_bytes([bytes[10], bytes[11]]) + 1;
        bytes[10..12].copy_from_slice(&additional.to_be_bytes());
        Edns::new(true).write(&mut bytes);
    }
    bytes
}
