//! The scenario format, line by line; indented lines belong to the one above that is not. `#` starts a comment.
//!
//! ```text
//! cites RFC 1034 section 5.3.3
//! config minimise off                       settings, see `Scenario::config`
//! zone post.example. at 192.0.2.3 [ttl 60]  a zone and its servers; SOA, NS and the delegation with glue come by themselves
//!   www A 198.51.100.1                      owner [ttl] TYPE rdata; relative names end in the zone; `\# hex` for any RDATA
//! server 192.0.2.3 silent [from 10 to 60]   behaviour of a server, in seconds since the start (see `Behaviour`)
//! reply 192.0.2.3 www.post.example. A [via tcp] [from 0 to 9]    an exact reply instead of what the zones say
//!   flags AA / rcode NXDOMAIN / question none / no-opt / answer / authority / additional, then records
//! ask www.post.example. A [cd] [times 1000]
//!   rcode NOERROR / answer … / authority SOA post.example. / ede 22 / status insecure / packets 3 / packets-to 192.0.2.3 at most 2 / …
//! pass 30                                   seconds
//! ```

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use postern::resolve::{Policy, Route, RouteKind, Settings};
use postern::wire::{Flags, Name, Question, Rcode, Rtype};

#[derive(Debug, Clone)]
pub struct Record {
    pub owner: Name,
    pub rtype: Rtype,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Zone {
    pub apex: Name,
    pub servers: Vec<IpAddr>,
    pub records: Vec<Record>,
}

/// What a server does instead of plainly answering.
#[derive(Debug, Clone, PartialEq)]
pub enum Behaviour {
    /// Answers nothing.
    Silent,
    /// The network refuses.
    Unreachable,
    /// This RCODE to everything.
    Rcode(Rcode),
    /// FORMERR without OPT to queries with OPT.
    NoEdns,
    /// Nothing to queries with OPT.
    DropsEdns,
    /// TC=1 and no records over UDP.
    Truncates,
    /// Nothing over TCP.
    NoTcp,
    /// Answers with the question in lower case.
    LowersCase,
    /// Answers with this delay in milliseconds.
    Delay(u64),
    /// Loses one packet in so many.
    Loses(u64),
    /// AA=0, RA=1.
    Recursive,
    /// AA=0.
    NoAa,
    /// This RCODE to questions it does not hold whole: shortened ones get it.
    RefusesShortened(Rcode),
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub server: IpAddr,
    pub name: Option<Name>,
    pub rtype: Option<Rtype>,
    pub tcp: Option<bool>,
    pub time: RangeInclusive<u64>,
    pub flags: u16,
    pub rcode: Rcode,
    /// `None`: as asked; `Some(None)`: none.
    pub question: Option<Option<Question>>,
    pub opt: bool,
    pub sections: [Vec<Record>; 3],
}

#[derive(Debug, Clone)]
pub enum Check {
    Rcode(Rcode),
    Answer(Vec<Record>),
    Authority(Name, Rtype),
    Ede(u16),
    NoEde,
    Status(String),
    Ttl(u32),
    Stale(bool),
    Packets(RangeInclusive<usize>),
    PacketsTo(IpAddr, RangeInclusive<usize>),
    Saw(IpAddr, Name, Option<Rtype>),
    Never(IpAddr, Name),
    Within(Duration),
}

#[derive(Debug, Clone)]
pub struct Ask {
    pub line: usize,
    pub question: Question,
    pub checking_disabled: bool,
    pub times: usize,
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Ask(Ask),
    Pass(Duration),
    Flush,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub settings: Settings,
    pub zones: Vec<Zone>,
    pub behaviours: Vec<(IpAddr, Behaviour, RangeInclusive<u64>)>,
    pub replies: Vec<Reply>,
    pub steps: Vec<Step>,
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Scenario, String> {
        let settings = Settings { root_hints: Vec::new(), ..Settings::default() };
        let mut scenario = Scenario { settings, zones: Vec::new(), behaviours: Vec::new(), replies: Vec::new(), steps: Vec::new() };
        let mut section = 0;
        let mut head = String::new();
        for (number, raw) in text.lines().enumerate() {
            let line = raw.split(" # ").next().unwrap_or("");
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() || words[0].starts_with('#') {
                continue;
            }
            let result = if raw.starts_with(char::is_whitespace) {
                scenario.inner(&head, &words, &mut section)
            } else {
                (head, section) = (words[0].to_owned(), 0);
                scenario.outer(&words, number + 1)
            };
            result.map_err(|why| format!("{}: {why}: {raw}", number + 1))?;
        }
        scenario.finish();
        Ok(scenario)
    }

    fn outer(&mut self, words: &[&str], line: usize) -> Result<(), String> {
        match words {
            ["cites", ..] => {}
            ["config", rest @ ..] => self.config(rest)?,
            ["hint", name, addresses @ ..] => {
                let addresses = addresses.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
                self.settings.root_hints.push((parse(name)?, addresses));
            }
            ["zone", apex, "at", servers @ ..] => {
                let servers = servers.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
                self.zones.push(Zone { apex: parse(apex)?, servers, records: Vec::new() });
            }
            ["server", address, rest @ ..] => {
                let (what, time) = times(rest)?;
                let behaviour = match what {
                    ["silent"] => Behaviour::Silent,
                    ["unreachable"] => Behaviour::Unreachable,
                    ["rcode", code] => Behaviour::Rcode(rcode(code)?),
                    ["no-edns"] => Behaviour::NoEdns,
                    ["drops-edns"] => Behaviour::DropsEdns,
                    ["truncates"] => Behaviour::Truncates,
                    ["no-tcp"] => Behaviour::NoTcp,
                    ["lowers-case"] => Behaviour::LowersCase,
                    ["delay", ms] => Behaviour::Delay(parse(ms)?),
                    ["loses", "1", "in", n] => Behaviour::Loses(parse(n)?),
                    ["recursive"] => Behaviour::Recursive,
                    ["no-aa"] => Behaviour::NoAa,
                    ["refuses-shortened", code] => Behaviour::RefusesShortened(rcode(code)?),
                    _ => return Err("an unknown behaviour".into()),
                };
                self.behaviours.push((parse(address)?, behaviour, time));
            }
            ["reply", server, name, rtype, rest @ ..] => {
                let (rest, time) = times(rest)?;
                let tcp = match rest {
                    [] => None,
                    ["via", "tcp"] => Some(true),
                    ["via", "udp"] => Some(false),
                    _ => return Err("via udp or via tcp".into()),
                };
                self.replies.push(Reply {
                    server: parse(server)?,
                    name: if *name == "*" { None } else { Some(parse(name)?) },
                    rtype: if *rtype == "*" { None } else { Some(parse(rtype)?) },
                    tcp,
                    time,
                    flags: Flags::QR,
                    rcode: Rcode::NOERROR,
                    question: None,
                    opt: true,
                    sections: Default::default(),
                });
            }
            ["ask", name, rtype, options @ ..] => {
                let question = Question::new(parse(name)?, parse(rtype)?);
                let mut ask = Ask { line, question, checking_disabled: false, times: 1, checks: Vec::new() };
                match options {
                    [] => {}
                    ["cd"] => ask.checking_disabled = true,
                    ["times", n] => ask.times = parse(n)?,
                    _ => return Err("cd or times N".into()),
                }
                self.steps.push(Step::Ask(ask));
            }
            ["pass", seconds] => self.steps.push(Step::Pass(Duration::from_secs_f64(parse(seconds)?))),
            ["flush"] => self.steps.push(Step::Flush),
            _ => return Err("an unknown line".into()),
        }
        Ok(())
    }

    fn inner(&mut self, head: &str, words: &[&str], section: &mut usize) -> Result<(), String> {
        match head {
            "zone" => {
                let zone = self.zones.last_mut().ok_or("no zone")?;
                let record = record(words, &zone.apex)?;
                zone.records.push(record);
            }
            "reply" => {
                let reply = self.replies.last_mut().ok_or("no reply")?;
                match words {
                    ["flags", bits @ ..] => {
                        for bit in bits {
                            reply.flags |= match *bit {
                                "AA" => Flags::AA,
                                "TC" => Flags::TC,
                                "RA" => Flags::RA,
                                "AD" => Flags::AD,
                                "not-QR" => {
                                    reply.flags &= !Flags::QR;
                                    0
                                }
                                _ => return Err("an unknown flag".into()),
                            };
                        }
                    }
                    ["rcode", code] => reply.rcode = rcode(code)?,
                    ["question", "none"] => reply.question = Some(None),
                    ["question", name, rtype] => reply.question = Some(Some(Question::new(parse(name)?, parse(rtype)?))),
                    ["no-opt"] => reply.opt = false,
                    ["answer"] => *section = 0,
                    ["authority"] => *section = 1,
                    ["additional"] => *section = 2,
                    _ => reply.sections[*section].push(record(words, &Name::root())?),
                }
            }
            "ask" => {
                let Some(Step::Ask(ask)) = self.steps.last_mut() else { return Err("no ask".into()) };
                let check = match words {
                    ["rcode", code] => Check::Rcode(rcode(code)?),
                    ["answer", "none"] => Check::Answer(Vec::new()),
                    ["answer", rest @ ..] => {
                        let record = record(rest, &Name::root())?;
                        if let Some(Check::Answer(records)) = ask.checks.iter_mut().find(|c| matches!(c, Check::Answer(_))) {
                            records.push(record);
                            return Ok(());
                        }
                        Check::Answer(vec![record])
                    }
                    ["authority", rtype, owner] => Check::Authority(parse(owner)?, parse(rtype)?),
                    ["ede", "none"] => Check::NoEde,
                    ["ede", code] => Check::Ede(parse(code)?),
                    ["status", label] => Check::Status((*label).to_owned()),
                    ["ttl", ttl] => Check::Ttl(parse(ttl)?),
                    ["stale"] => Check::Stale(true),
                    ["not-stale"] => Check::Stale(false),
                    ["packets", rest @ ..] => Check::Packets(amount(rest)?),
                    ["packets-to", address, rest @ ..] => Check::PacketsTo(parse(address)?, amount(rest)?),
                    ["saw", address, name] => Check::Saw(parse(address)?, parse(name)?, None),
                    ["saw", address, name, rtype] => Check::Saw(parse(address)?, parse(name)?, Some(parse(rtype)?)),
                    ["never", address, name] => Check::Never(parse(address)?, parse(name)?),
                    ["within", ms] => Check::Within(Duration::from_millis(parse(ms)?)),
                    _ => return Err("an unknown check".into()),
                };
                ask.checks.push(check);
            }
            _ => return Err("nothing may be indented here".into()),
        }
        Ok(())
    }

    fn config(&mut self, words: &[&str]) -> Result<(), String> {
        let s = &mut self.settings;
        let on = |word: &str| word == "on";
        match words {
            ["minimise", x] => s.minimise = on(x),
            ["ipv4", x] => s.ipv4 = on(x),
            ["ipv6", x] => s.ipv6 = on(x),
            ["case", x] => s.case_randomisation = on(x),
            ["loopback", x] => s.allow_loopback_upstream = on(x),
            ["special", x] => s.special_use = on(x),
            ["stale", "off"] => s.serve_stale = None,
            ["max-ttl", n] => s.max_ttl = parse(n)?,
            ["min-ttl", n] => s.min_ttl = parse(n)?,
            ["max-negative-ttl", n] => s.max_negative_ttl = parse(n)?,
            ["concurrent", n] => s.concurrent = parse(n)?,
            ["limit", "queries", n] => s.limits.queries = parse(n)?,
            ["limit", "aliases", n] => s.limits.aliases = parse(n)?,
            ["private", prefix] => {
                let (address, length) = prefix.split_once('/').ok_or("address/length")?;
                s.private_addresses.push((parse(address)?, parse(length)?));
            }
            ["private-exempt", name] => s.private_exempt.push(parse(name)?),
            [kind @ ("forward" | "stub"), zone, servers @ ..] => {
                let fallback = servers.last() == Some(&"fallback");
                let servers: Result<Vec<SocketAddr>, String> =
                    servers.iter().filter(|a| **a != "fallback").map(|a| Ok(SocketAddr::new(parse(a)?, 53))).collect();
                s.routes.push(Route {
                    zone: parse(zone)?,
                    kind: if *kind == "forward" { RouteKind::Forward } else { RouteKind::Stub },
                    servers: servers?,
                    fallback_to_recursion: fallback,
                    policy: Policy::FirstWorking,
                });
            }
            _ => return Err("an unknown setting".into()),
        }
        Ok(())
    }

    /// Adds what zones have without saying: SOA, NS with addresses, and delegations from the zone above.
    fn finish(&mut self) {
        for i in 0..self.zones.len() {
            let Zone { apex, servers, records } = self.zones[i].clone();
            let has = |rtype| records.iter().any(|r| r.owner == apex && r.rtype == rtype);
            let ns = if apex.is_root() { "ns.root".parse() } else { apex.child(b"ns") }.expect("a short name");
            let mut own = Vec::new();
            if !has(Rtype::SOA) {
                let rdata = [ns.wire(), ns.wire(), &[1u32, 3600, 600, 86_400, 300].map(u32::to_be_bytes).concat()].concat();
                own.push(Record { owner: apex.clone(), rtype: Rtype::SOA, ttl: 3600, rdata });
            }
            let mut delegation = Vec::new();
            if !has(Rtype::NS) {
                delegation.push(Record { owner: apex.clone(), rtype: Rtype::NS, ttl: 3600, rdata: ns.wire().to_vec() });
                for server in &servers {
                    let (rtype, rdata) = address(*server);
                    delegation.push(Record { owner: ns.clone(), rtype, ttl: 3600, rdata });
                }
                own.extend(delegation.clone());
            }
            self.zones[i].records.extend(own);
            let parent = self.zones.iter_mut().filter(|z| apex.is_below(&z.apex)).max_by_key(|z| z.apex.label_count());
            if let Some(parent) = parent.filter(|p| !p.records.iter().any(|r| r.owner == apex && r.rtype == Rtype::NS)) {
                parent.records.extend(delegation);
            }
            if apex.is_root() && self.settings.root_hints.is_empty() {
                self.settings.root_hints.push((ns, servers));
            }
        }
    }
}

fn address(address: IpAddr) -> (Rtype, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (Rtype::A, a.octets().to_vec()),
        IpAddr::V6(a) => (Rtype::AAAA, a.octets().to_vec()),
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not understood"))
}

fn rcode(text: &str) -> Result<Rcode, String> {
    (0..24).map(Rcode).find(|r| r.to_string() == text).ok_or_else(|| format!("{text} is no rcode"))
}

fn amount(words: &[&str]) -> Result<RangeInclusive<usize>, String> {
    match words {
        ["at", "most", n] => Ok(0..=parse(n)?),
        ["at", "least", n] => Ok(parse(n)?..=usize::MAX),
        [n] => Ok(parse(n)?..=parse(n)?),
        _ => Err("N, at most N or at least N".into()),
    }
}

fn times<'a, 'b>(words: &'a [&'b str]) -> Result<(&'a [&'b str], RangeInclusive<u64>), String> {
    match words {
        [rest @ .., "from", from, "to", to] => Ok((rest, parse(from)?..=parse(to)?)),
        [rest @ .., "from", from] => Ok((rest, parse(from)?..=u64::MAX)),
        rest => Ok((rest, 0..=u64::MAX)),
    }
}

fn record(words: &[&str], origin: &Name) -> Result<Record, String> {
    let name = |text: &str| -> Result<Name, String> {
        if text == "@" {
            return Ok(origin.clone());
        }
        if text.ends_with('.') || origin.is_root() {
            return parse(text);
        }
        parse(&format!("{text}.{origin}"))
    };
    let (owner, rest) = words.split_first().ok_or("no owner")?;
    let (ttl, rest) = match rest {
        [ttl, rest @ ..] if ttl.bytes().all(|b| b.is_ascii_digit()) => (parse(ttl)?, rest),
        rest => (3600, rest),
    };
    let (rtype, rest) = rest.split_first().ok_or("no type")?;
    let rtype: Rtype = parse(rtype)?;
    let rdata = match (rtype, rest) {
        (_, ["\\#", hex @ ..]) => {
            let hex = hex.concat();
            (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16))
                .collect::<Result<Vec<u8>, _>>()
                .map_err(|e| e.to_string())?
        }
        (Rtype::A | Rtype::AAAA, [text]) => address(parse(text)?).1,
        (Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR, [text]) => name(text)?.wire().to_vec(),
        (Rtype::MX, [preference, text]) => [&parse::<u16>(preference)?.to_be_bytes()[..], name(text)?.wire()].concat(),
        (Rtype::TXT, [text]) => [&[text.len() as u8][..], text.as_bytes()].concat(),
        (Rtype::SOA, [primary, minimum]) => {
            let numbers = [1u32, 3600, 600, 86_400, parse(minimum)?].map(u32::to_be_bytes).concat();
            [name(primary)?.wire(), name(primary)?.wire(), &numbers].concat()
        }
        _ => return Err("RDATA of this type needs \\# and hexadecimal".into()),
    };
    Ok(Record { owner: name(owner)?, rtype, ttl, rdata })
}
