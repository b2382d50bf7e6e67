//! Plays the name servers of a scenario: an `Exchange` that answers from zones and exact replies, in tokio's time.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::resolve::{Clock, Exchange, ExchangeError, Transport};
use postern::wire::edns::OPTION_COOKIE;
use postern::wire::encode::Section;
use postern::wire::message::HEADER;
use postern::wire::{Ede, Edns, Encoder, Flags, Message, Name, Question, Rcode, Rtype};

use crate::script::{Behaviour, Op, Record, Reply, Scenario, Take, Zone};
use crate::sign;

/// Tokio's clock as the resolver sees it; the wall starts in November 2023 unless the scenario says otherwise.
#[derive(Debug, Clone)]
pub struct ScriptClock {
    start: tokio::time::Instant,
    wall: u64,
    trusted_from: u64,
}

impl ScriptClock {
    pub fn start(scenario: &Scenario) -> ScriptClock {
        ScriptClock { start: tokio::time::Instant::now(), wall: scenario.wall, trusted_from: scenario.trusted_from }
    }
}

impl Clock for ScriptClock {
    fn now(&self) -> Duration {
        // Not from zero, so that nothing leans on it.
        Duration::from_secs(100_000) + self.start.elapsed()
    }
    fn wall(&self) -> u64 {
        let passed = self.start.elapsed().as_secs();
        // A clock that was wrong is set right by then.
        let from = if passed >= self.trusted_from { sign::START.max(self.wall) } else { self.wall };
        from + passed
    }
    fn wall_is_trusted(&self) -> bool {
        self.start.elapsed().as_secs() >= self.trusted_from
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
    pub edns: bool,
    pub dnssec_ok: bool,
    pub flags: u16,
}

#[derive(Debug)]
pub struct World {
    scenario: Arc<Scenario>,
    clock: ScriptClock,
    log: Arc<Mutex<Vec<Packet>>>,
}

struct Answer {
    flags: u16,
    rcode: Rcode,
    question: Option<Question>,
    opt: bool,
    ede: Option<u16>,
    sections: [Vec<Record>; 3],
}

impl World {
    pub fn new(scenario: Arc<Scenario>, clock: ScriptClock) -> World {
        World { scenario, clock, log: Arc::default() }
    }

    pub fn log(&self) -> Arc<Mutex<Vec<Packet>>> {
        self.log.clone()
    }

    fn zone(&self, apex: &Name) -> &Zone {
        self.scenario.zones.iter().find(|z| z.apex == *apex).unwrap_or_else(|| panic!("the scenario has no zone {apex}"))
    }

    fn written(&self, server: IpAddr, question: &Question, via: Transport, second: u64) -> Option<&Reply> {
        self.scenario.replies.iter().find(|r| {
            r.server == server
                && r.time.contains(&second)
                && r.name.as_ref().is_none_or(|n| *n == question.name)
                && r.rtype.is_none_or(|t| t == question.rtype)
                && r.tcp.is_none_or(|tcp| tcp == (via == Transport::Tcp))
        })
    }

    fn exact(&self, reply: &Reply, question: &Question, plain: Answer) -> Answer {
        let mut answer = match reply.edits {
            true => plain,
            false => Answer { flags: 0, rcode: Rcode::NOERROR, sections: Default::default(), ..plain },
        };
        answer.flags = (answer.flags | reply.flags) & !reply.not_flags;
        answer.rcode = reply.rcode.unwrap_or(answer.rcode);
        answer.question = reply.question.clone().unwrap_or_else(|| Some(question.clone()));
        (answer.opt, answer.ede) = (reply.opt, reply.ede);
        let mut last = 0;
        for op in &reply.ops {
            match op {
                Op::Add(section, record) => {
                    last = *section;
                    answer.sections[*section].push(record.clone());
                }
                Op::Take(section, apex, take, new) => {
                    last = *section;
                    let zone = self.zone(apex);
                    let mut set = match take {
                        Take::Set(owner, rtype) => zone.set(owner, *rtype),
                        Take::Match(name) => zone.matching(name),
                        Take::Cover(name) => zone.covering(name),
                    };
                    assert!(!set.is_empty(), "{apex} has nothing to take: {take:?}");
                    if let Some(new) = new {
                        set.iter_mut().for_each(|r| r.owner = new.clone());
                    }
                    answer.sections[*section].extend(set);
                }
                Op::Sign(apex, made) => {
                    let records = &answer.sections[last];
                    let newest = records.last().expect("a record to sign");
                    let of_the_set = |r: &&Record| r.owner == newest.owner && r.rtype == newest.rtype;
                    let set: Vec<Record> = records.iter().filter(of_the_set).cloned().collect();
                    let signatures = sign::sign_set(self.zone(apex), sign::START, &set, made).unwrap();
                    answer.sections[last].extend(signatures);
                }
                Op::Drop(rtype, owner) => {
                    let gone = |r: &Record| {
                        let own = r.rtype == *rtype || r.rtype == Rtype::RRSIG && sign::covered(r) == *rtype;
                        own && owner.as_ref().is_none_or(|o| *o == r.owner)
                    };
                    answer.sections.iter_mut().for_each(|s| s.retain(|r| !gone(r)));
                }
                Op::DropSignatures(rtype) => {
                    let gone = |r: &Record| r.rtype == Rtype::RRSIG && sign::covered(r) == *rtype;
                    answer.sections.iter_mut().for_each(|s| s.retain(|r| !gone(r)));
                }
                Op::Clear => answer.sections = Default::default(),
                Op::Ttl(ttl) => answer.sections.iter_mut().flatten().for_each(|r| r.ttl = *ttl),
            }
        }
        answer
    }

    fn by_zones(&self, server: IpAddr, question: &Question) -> Answer {
        let zone = self.holder(question, |z| z.servers.contains(&server));
        let (flags, rcode, sections) = match zone {
            Some(zone) => lookup(zone, question),
            None => (0, Rcode::REFUSED, Default::default()),
        };
        Answer { flags: Flags::QR | flags, rcode, question: Some(question.clone()), opt: true, ede: None, sections }
    }

    fn holder(&self, question: &Question, counts: impl Fn(&Zone) -> bool) -> Option<&Zone> {
        let holds = |z: &&Zone| {
            let parent_side = question.rtype == Rtype::DS && question.name == z.apex && !z.apex.is_root();
            counts(z) && question.name.is_at_or_below(&z.apex) && !parent_side
        };
        self.scenario.zones.iter().filter(holds).max_by_key(|z| z.apex.label_count())
    }

    /// As a recursive resolver that knows every zone and validates nothing.
    fn resolved(&self, question: &Question) -> Answer {
        let (mut rcode, mut sections): (Rcode, [Vec<Record>; 3]) = (Rcode::NOERROR, Default::default());
        let mut asked = question.clone();
        for _ in 0..12 {
            let Some(zone) = self.holder(&asked, |_| true) else { break };
            let (_, code, found) = lookup(zone, &asked);
            rcode = code;
            let alias = found[0].iter().rev().find(|r| r.rtype == Rtype::CNAME).filter(|_| question.rtype != Rtype::CNAME).cloned();
            let ended = found[0].iter().any(|r| r.rtype == question.rtype);
            sections[0].extend(found[0].iter().cloned());
            sections[1].extend(found[1].iter().filter(|r| r.rtype != Rtype::NS).cloned());
            match alias.filter(|_| !ended && code == Rcode::NOERROR) {
                Some(alias) => asked.name = Name::from_wire(&alias.rdata).unwrap(),
                None => break,
            }
        }
        let flags = Flags::QR | Flags::RA;
        Answer { flags, rcode, question: Some(question.clone()), opt: true, ede: None, sections }
    }
}

/// RFC 1034 section 4.3.2 for one zone, with the signatures and proofs of RFC 4035 section 3.1 and RFC 5155 section 7.2.
fn lookup(zone: &Zone, question: &Question) -> (u16, Rcode, [Vec<Record>; 3]) {
    let mut sections: [Vec<Record>; 3] = Default::default();
    let mut name = question.name.clone();
    let at = |name: &Name, rtype: Rtype| zone.set(name, rtype);
    let soa = at(&zone.apex, Rtype::SOA);
    let glue = |ns: &[Record]| -> Vec<Record> {
        let targets = ns.iter().filter(|r| r.rtype == Rtype::NS).map(|r| Name::from_wire(&r.rdata).unwrap());
        targets.flat_map(|t| [at(&t, Rtype::A), at(&t, Rtype::AAAA)].concat()).collect()
    };
    for _ in 0..20 {
        let ancestors: Vec<Name> = name.self_and_ancestors().take_while(|n| n.is_below(&zone.apex)).collect();
        let cut = ancestors.iter().rev().find(|n| !(at(n, Rtype::NS).is_empty() || question.rtype == Rtype::DS && **n == question.name));
        if let Some(cut) = cut {
            let ns = at(cut, Rtype::NS);
            sections[2].extend(glue(&ns));
            sections[1] = ns;
            let ds = at(cut, Rtype::DS);
            sections[1].extend(if ds.is_empty() { zone.no_type(cut) } else { ds });
            return (if sections[0].is_empty() { 0 } else { Flags::AA }, Rcode::NOERROR, sections);
        }
        let dname = ancestors.iter().skip(1).chain([&zone.apex]).map(|n| at(n, Rtype::DNAME)).find(|d| !d.is_empty());
        if let Some(dname) = dname.filter(|d| name.is_below(&d[0].owner)) {
            let target = Name::from_wire(&dname[0].rdata).unwrap();
            sections[0].extend(dname.iter().cloned());
            let dname = dname[0].clone();
            let Ok(next) = name.rebase(&dname.owner, &target) else { return (Flags::AA, Rcode::YXDOMAIN, sections) };
            sections[0].push(Record { owner: name, rtype: Rtype::CNAME, rdata: next.wire().to_vec(), ..dname });
            name = next;
        } else {
            let exists = |n: &Name| zone.records.iter().any(|r| r.owner.is_at_or_below(n));
            let mut source = name.clone();
            if !exists(&name) {
                let encloser = name.self_and_ancestors().find(exists).expect("the apex exists");
                source = encloser.wildcard().unwrap();
                if !exists(&source) {
                    sections[1].extend([soa, zone.no_closer(&name), zone.covering(&source)].concat());
                    return (Flags::AA, Rcode::NXDOMAIN, distinct(sections));
                }
            }
            let expanded = source != name;
            let own = |records: Vec<Record>| records.into_iter().map(|r| Record { owner: name.clone(), ..r });
            let mut found = at(&source, question.rtype);
            if found.is_empty() && question.rtype != Rtype::CNAME {
                found = at(&source, Rtype::CNAME);
            }
            let Some(first) = found.first().cloned() else {
                let closer = if expanded { zone.no_closer(&name) } else { Vec::new() };
                sections[1].extend([soa, zone.no_type(&source), closer].concat());
                return (Flags::AA, Rcode::NOERROR, distinct(sections));
            };
            sections[2].extend(glue(&found));
            sections[0].extend(own(found));
            if expanded {
                sections[1].extend(zone.no_closer(&name));
            }
            if first.rtype != Rtype::CNAME || matches!(question.rtype, Rtype::CNAME | Rtype::ANY) {
                return (Flags::AA, Rcode::NOERROR, sections);
            }
            name = Name::from_wire(&first.rdata).unwrap();
        }
        if !name.is_at_or_below(&zone.apex) || sections[0].iter().any(|r| r.owner == name) {
            break;
        }
    }
    (Flags::AA, Rcode::NOERROR, distinct(sections))
}

/// One record may prove two things.
fn distinct(mut sections: [Vec<Record>; 3]) -> [Vec<Record>; 3] {
    for section in &mut sections {
        let mut seen: Vec<Record> = Vec::new();
        for record in section.drain(..) {
            if !seen.contains(&record) {
                seen.push(record);
            }
        }
        *section = seen;
    }
    sections
}

impl Exchange for World {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let query_message = Message::parse(query).expect("the resolver sends whole messages");
        let question = query_message.question.clone().expect("queries have a question");
        let edns = query_message.edns.is_some();
        let count = {
            let mut log = self.log.lock().unwrap();
            let dnssec_ok = query_message.edns.as_ref().is_some_and(|e| e.dnssec_ok);
            log.push(Packet { to, question: question.clone(), via, edns, dnssec_ok, flags: query_message.flags.0 });
            log.len() as u64
        };
        let second = (self.clock.now() - Duration::from_secs(100_000)).as_secs();
        let behaviours: Vec<&Behaviour> =
            self.scenario.behaviours.iter().filter(|(a, _, time)| *a == to.ip() && time.contains(&second)).map(|(_, b, _)| b).collect();
        let does = |b: Behaviour| behaviours.contains(&&b);
        let delay = behaviours.iter().find_map(|b| if let Behaviour::Delay(ms) = b { Some(*ms) } else { None }).unwrap_or(10);
        // A stream needs a handshake first.
        let delay = Duration::from_millis(if via == Transport::Tcp { 2 * delay } else { delay });
        let known = self.scenario.zones.iter().any(|z| z.servers.contains(&to.ip()))
            || self.scenario.replies.iter().any(|r| r.server == to.ip())
            || self.scenario.behaviours.iter().any(|(a, _, _)| *a == to.ip());
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
        let mut answer = if does(Behaviour::Resolves) { self.resolved(&question) } else { self.by_zones(to.ip(), &question) };
        if let Some(reply) = self.written(to.ip(), &question, via, second) {
            answer = self.exact(reply, &question, answer);
        }
        let dnssec_ok = query_message.edns.as_ref().is_some_and(|e| e.dnssec_ok) && !does(Behaviour::Strips);
        if !dnssec_ok {
            let extra = |r: &Record| matches!(r.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3) && r.rtype != question.rtype;
            answer.sections.iter_mut().for_each(|s| s.retain(|r| !extra(r)));
            answer.sections[1].retain(|r| r.rtype != Rtype::DS);
        }
        let cookie = query_message.edns.as_ref().and_then(|e| e.option(OPTION_COOKIE)).map(Vec::from);
        for behaviour in &behaviours {
            match behaviour {
                Behaviour::ChokesOnCookie if cookie.is_some() => (answer.rcode, answer.sections) = (Rcode::FORMERR, Default::default()),
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
        let cookie = match cookie {
            Some(cookie) if does(Behaviour::Cookie) => Some([&cookie[..8], &[7; 16]].concat()),
            cookie => cookie.filter(|_| does(Behaviour::EchoesCookie)),
        };
        Ok(encode(query_message.id, answer, opt, cookie))
    }
}

fn encode(id: u16, answer: Answer, opt: bool, cookie: Option<Vec<u8>>) -> Vec<u8> {
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
        let mut edns = Edns::new(true);
        if let Some(code) = answer.ede {
            edns.options.push(Ede::new(code, "said the server").to_option());
        }
        edns.options.extend(cookie.map(|c| (OPTION_COOKIE, c.into())));
        edns.write(&mut bytes);
    }
    bytes
}
