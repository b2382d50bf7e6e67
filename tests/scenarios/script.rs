//! The scenario format, line by line; indented lines belong to the one above that is not. `#` starts a comment.
//!
//! ```text
//! cites RFC 1034 section 5.3.3              one citation a line; one of them is no other scenario's
//! kills NAME                                or the mutant of tests/mutants that this scenario finds
//! config minimise off                       settings, see `Scenario::config`
//! zone post.example. at 192.0.2.3           a zone and its servers; SOA, NS and the delegation with glue come by themselves
//!   www 60 A 198.51.100.1                   owner [ttl] TYPE rdata; relative names end in the zone; `\# hex` for any RDATA
//! sign post.example. nsec3 opt-out          keys, chain and signatures, and the DS in the parent; see `Signing::parse`
//! key post.example. zsk flags 256           keys of one's own instead of the one that comes by itself; see `Key::parse`
//! decoys post.example. 20 like default      keys without an owner that share its key tag
//! ds post.example. of zsk [digest 4] / ds post.example. \# hex      instead of the DS that come by themselves
//! anchor post.example. [digest 2 | dnskey] / anchor none            instead of the one at the topmost signed zone
//! mend post.example. www A unsigned         after signing: unsigned, gone, rdata …, or signed … as in `Made::parse`
//! server 192.0.2.3 silent [from 10 to 60]   behaviour of a server, in seconds since the start (see `Behaviour`)
//! reply 192.0.2.3 www.post.example. A [via tcp] [from 0 to 9]    an exact reply instead of what the zones say
//!   flags AA / rcode NXDOMAIN / question none / no-opt / ede 15 / answer / authority / additional, then records
//!   take post.example. www A [as x.post.example.]   an RRset with its signatures; `match NAME`, `cover NAME`: an NSEC or NSEC3
//!   sign post.example. [options of `Made::parse`]   signs the RRset just added
//! edit 192.0.2.3 www.post.example. A        the same, but begins with what the zones say; `drop TYPE [OWNER]`, `drop-rrsig TYPE`, `clear`
//! ask www.post.example. A [cd] [times 1000]
//!   rcode NOERROR / answer … / authority SOA post.example. / no-authority NSEC / ede 22 / status insecure / reason no_ds /
//!   packets 3 / packets-to 192.0.2.3 at most 2 / sent 192.0.2.3 DO CD …
//! pass 30                                   seconds
//! ```

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use postern::resolve::{Policy, Route, RouteKind, Settings};
use postern::validate::{Anchor, Anchors, NegativeAnchor, NegativeAnchors, Settings as ValidatorSettings};
use postern::wire::{Flags, Name, Question, Rcode, Rrset, Rtype};

use crate::sign::{self, Key, Made, START, Signing};

#[derive(Debug, Clone, PartialEq)]
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
    pub signing: Option<Arc<Signing>>,
    /// NSEC3 records with their signatures: their owners are no names of the zone.
    pub denial: Vec<Record>,
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
    /// A recursive resolver that does not validate: answers from all zones, aliases followed.
    Resolves,
    /// Gives a server cookie to whoever sends a COOKIE option.
    Cookie,
    /// Gives the COOKIE option back as it came.
    EchoesCookie,
    /// FORMERR, with OPT, to queries with a COOKIE option.
    ChokesOnCookie,
    /// Leaves DNSSEC records out, as a server that knows nothing of them.
    Strips,
}

/// One thing done to a reply, in the order written.
#[derive(Debug, Clone)]
pub enum Op {
    Add(usize, Record),
    /// Section, zone, what, and the owner that it is given.
    Take(usize, Name, Take, Option<Name>),
    /// Signs the RRset just added.
    Sign(Name, Made),
    Drop(Rtype, Option<Name>),
    DropSignatures(Rtype),
    Clear,
    Ttl(u32),
}

#[derive(Debug, Clone)]
pub enum Take {
    Set(Name, Rtype),
    Match(Name),
    Cover(Name),
}

/// What is done to a zone after it was signed.
#[derive(Debug, Clone)]
enum Mend {
    Unsigned,
    Gone,
    Rdata(Vec<u8>),
    Signed(Made),
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub server: IpAddr,
    pub name: Option<Name>,
    pub rtype: Option<Rtype>,
    pub tcp: Option<bool>,
    pub time: RangeInclusive<u64>,
    /// Begins with what the zones say.
    pub edits: bool,
    pub flags: u16,
    pub not_flags: u16,
    pub rcode: Option<Rcode>,
    /// `None`: as asked; `Some(None)`: none.
    pub question: Option<Option<Question>>,
    pub opt: bool,
    pub ede: Option<u16>,
    pub ops: Vec<Op>,
}

#[derive(Debug, Clone)]
pub enum Check {
    Rcode(Rcode),
    Answer(Vec<Record>),
    Authority(Name, Rtype),
    NoAuthority(Rtype),
    Ede(u16),
    NotEde(u16),
    NoEde,
    Status(String),
    Reason(String),
    Signed(bool),
    Ttl(u32),
    Stale(bool),
    Packets(RangeInclusive<usize>),
    PacketsTo(IpAddr, RangeInclusive<usize>),
    Saw(IpAddr, Name, Option<Rtype>),
    Never(IpAddr, Name),
    /// Queries to this server carried these bits: RD, CD, DO, EDNS, not-RD, …
    Sent(IpAddr, Vec<String>),
    /// Signature checks and NSEC3 rounds that it cost.
    Signatures(RangeInclusive<usize>),
    Nsec3Rounds(RangeInclusive<usize>),
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

#[derive(Debug)]
pub struct Scenario {
    pub settings: Settings,
    pub zones: Vec<Zone>,
    pub behaviours: Vec<(IpAddr, Behaviour, RangeInclusive<u64>)>,
    pub replies: Vec<Reply>,
    pub steps: Vec<Step>,
    pub validator: ValidatorSettings,
    pub anchors: Anchors,
    pub negative: NegativeAnchors,
    /// Unix time at the start, and the second from which it is trusted.
    pub wall: u64,
    pub trusted_from: u64,
    signing: Vec<(Name, Signing)>,
    ds: Vec<(Name, Vec<String>)>,
    anchored: Vec<Vec<String>>,
    mends: Vec<(Name, Name, Option<Rtype>, Mend)>,
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Scenario, String> {
        let settings = Settings { root_hints: Vec::new(), ..Settings::default() };
        let mut scenario = Scenario {
            settings,
            zones: Vec::new(),
            behaviours: Vec::new(),
            replies: Vec::new(),
            steps: Vec::new(),
            validator: ValidatorSettings::default(),
            anchors: Anchors::none(),
            negative: NegativeAnchors::default(),
            wall: START,
            trusted_from: 0,
            signing: Vec::new(),
            ds: Vec::new(),
            anchored: Vec::new(),
            mends: Vec::new(),
        };
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
        scenario.finish()?;
        Ok(scenario)
    }

    fn outer(&mut self, words: &[&str], line: usize) -> Result<(), String> {
        match words {
            ["cites" | "kills", ..] => {}
            ["config", rest @ ..] => self.config(rest)?,
            ["hint", name, addresses @ ..] => {
                let addresses = addresses.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
                self.settings.root_hints.push((parse(name)?, addresses));
            }
            ["zone", apex, "at", servers @ ..] => {
                let servers = servers.iter().map(|a| parse(a)).collect::<Result<_, _>>()?;
                self.zones.push(Zone { apex: parse(apex)?, servers, records: Vec::new(), signing: None, denial: Vec::new() });
            }
            ["sign", zone, options @ ..] => {
                let zone: Name = parse(zone)?;
                self.signing.push((zone.clone(), Signing::parse(&zone, options)?));
            }
            ["key", zone, label, options @ ..] => {
                let zone: Name = parse(zone)?;
                let key = Key::parse(&zone, label, options)?;
                let (_, signing) = self.signing.iter_mut().find(|(z, _)| *z == zone).ok_or("sign the zone first")?;
                signing.keys.retain(|k| k.label != "default");
                signing.keys.push(key);
            }
            ["decoys", zone, count, "like", label] => {
                let zone: Name = parse(zone)?;
                let (_, signing) = self.signing.iter_mut().find(|(z, _)| *z == zone).ok_or("sign the zone first")?;
                signing.decoys.push(((*label).to_owned(), parse(count)?));
            }
            ["ds", zone, rest @ ..] => self.ds.push((parse(zone)?, rest.iter().map(|w| (*w).to_owned()).collect())),
            ["anchor", rest @ ..] => self.anchored.push(rest.iter().map(|w| (*w).to_owned()).collect()),
            ["mend", zone, "all", "unsigned"] => {
                let zone: Name = parse(zone)?;
                self.mends.push((zone, Name::root(), None, Mend::Unsigned));
            }
            ["mend", zone, owner, rtype, how, rest @ ..] => {
                let zone: Name = parse(zone)?;
                let dummy = [&[*owner, *rtype], rest].concat();
                let (owner, rtype) = (relative(owner, &zone)?, parse(rtype)?);
                let mend = match *how {
                    "unsigned" => Mend::Unsigned,
                    "gone" => Mend::Gone,
                    "rdata" => Mend::Rdata(record(&dummy, &zone)?.rdata),
                    "signed" => Mend::Signed(Made::parse(rest)?),
                    _ => return Err("unsigned, gone, rdata or signed".into()),
                };
                self.mends.push((zone, owner, Some(rtype), mend));
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
                    ["resolves"] => Behaviour::Resolves,
                    ["strips"] => Behaviour::Strips,
                    ["cookie"] => Behaviour::Cookie,
                    ["echoes-cookie"] => Behaviour::EchoesCookie,
                    ["chokes-on-cookie"] => Behaviour::ChokesOnCookie,
                    _ => return Err("an unknown behaviour".into()),
                };
                self.behaviours.push((parse(address)?, behaviour, time));
            }
            [kind @ ("reply" | "edit"), server, name, rtype, rest @ ..] => {
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
                    edits: *kind == "edit",
                    flags: Flags::QR,
                    not_flags: 0,
                    rcode: None,
                    question: None,
                    opt: true,
                    ede: None,
                    ops: Vec::new(),
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
            "reply" | "edit" => {
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
                                    reply.not_flags |= Flags::QR;
                                    0
                                }
                                "not-AA" => {
                                    reply.not_flags |= Flags::AA;
                                    0
                                }
                                _ => return Err("an unknown flag".into()),
                            };
                        }
                    }
                    ["rcode", code] => reply.rcode = Some(rcode(code)?),
                    ["question", "none"] => reply.question = Some(None),
                    ["question", name, rtype] => reply.question = Some(Some(Question::new(parse(name)?, parse(rtype)?))),
                    ["no-opt"] => reply.opt = false,
                    ["ede", code] => reply.ede = Some(parse(code)?),
                    ["take", zone, rest @ ..] => {
                        let zone: Name = parse(zone)?;
                        let (rest, new) = match rest {
                            [rest @ .., "as", new] => (rest, Some(parse(new)?)),
                            rest => (rest, None),
                        };
                        let take = match rest {
                            ["match", name] => Take::Match(relative(name, &zone)?),
                            ["cover", name] => Take::Cover(relative(name, &zone)?),
                            [name, rtype] => Take::Set(relative(name, &zone)?, parse(rtype)?),
                            _ => return Err("OWNER TYPE, match NAME or cover NAME".into()),
                        };
                        reply.ops.push(Op::Take(*section, zone, take, new));
                    }
                    ["sign", zone, options @ ..] => reply.ops.push(Op::Sign(parse(zone)?, Made::parse(options)?)),
                    ["drop", rtype] => reply.ops.push(Op::Drop(parse(rtype)?, None)),
                    ["drop", rtype, owner] => reply.ops.push(Op::Drop(parse(rtype)?, Some(parse(owner)?))),
                    ["drop-rrsig", rtype] => reply.ops.push(Op::DropSignatures(parse(rtype)?)),
                    ["clear"] => reply.ops.push(Op::Clear),
                    ["ttl", n] => reply.ops.push(Op::Ttl(parse(n)?)),
                    ["answer"] => *section = 0,
                    ["authority"] => *section = 1,
                    ["additional"] => *section = 2,
                    _ => reply.ops.push(Op::Add(*section, record(words, &Name::root())?)),
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
                    ["no-authority", rtype] => Check::NoAuthority(parse(rtype)?),
                    ["ede", "none"] => Check::NoEde,
                    ["ede", "not", code] => Check::NotEde(parse(code)?),
                    ["ede", code] => Check::Ede(parse(code)?),
                    ["status", label] => Check::Status((*label).to_owned()),
                    ["reason", label] => Check::Reason((*label).to_owned()),
                    ["signed"] => Check::Signed(true),
                    ["not-signed"] => Check::Signed(false),
                    ["sent", address, bits @ ..] => Check::Sent(parse(address)?, bits.iter().map(|b| (*b).to_owned()).collect()),
                    ["signatures", rest @ ..] => Check::Signatures(amount(rest)?),
                    ["nsec3-rounds", rest @ ..] => Check::Nsec3Rounds(amount(rest)?),
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
            ["prefetch", x] => s.prefetch = on(x),
            ["loopback", x] => s.allow_loopback_upstream = on(x),
            ["special", x] => s.special_use = on(x),
            ["stale", "off"] => s.serve_stale = None,
            ["aggressive", x] => s.aggressive_nsec = on(x),
            ["cookies", x] => s.cookies = on(x),
            ["wall", n] => self.wall = parse(n)?,
            ["clockless", "until", n] => self.trusted_from = parse(n)?,
            ["sha1", x] => self.validator.sha1_signatures = on(x),
            ["nsec3-iterations", n] => self.validator.nsec3_iterations = parse(n)?,
            ["nsec3-iterations-bogus", x] => self.validator.nsec3_iterations_bogus = on(x),
            ["nta", name] => self.negative.add(NegativeAnchor { name: parse(name)?, reason: "by the scenario".into(), expires: None }),
            ["nta", name, "until", n] => {
                let expires = Some(START + parse::<u64>(n)?);
                self.negative.add(NegativeAnchor { name: parse(name)?, reason: "by the scenario".into(), expires });
            }
            ["limit", "retries", n] => s.limits.bogus_retries = parse(n)?,
            ["max-ttl", n] => s.max_ttl = parse(n)?,
            ["min-ttl", n] => s.min_ttl = parse(n)?,
            ["max-negative-ttl", n] => s.max_negative_ttl = parse(n)?,
            ["concurrent", n] => s.concurrent = parse(n)?,
            ["limit", "queries", n] => s.limits.queries = parse(n)?,
            ["limit", "time", ms] => s.limits.time = Duration::from_millis(parse(ms)?),
            ["limit", "aliases", n] => s.limits.aliases = parse(n)?,
            ["private", prefix] => {
                let (address, length) = prefix.split_once('/').ok_or("address/length")?;
                s.private_addresses.push((parse(address)?, parse(length)?));
            }
            ["local", rest @ ..] => {
                let Record { owner, rtype, ttl, rdata } = record(rest, &Name::root())?;
                s.local.push(Rrset::new(owner, rtype, ttl, vec![rdata.into()]));
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

    /// Adds what zones have without saying: SOA, NS with addresses, and delegations from the zone above; then signs.
    fn finish(&mut self) -> Result<(), String> {
        for i in 0..self.zones.len() {
            let Zone { apex, servers, records, .. } = self.zones[i].clone();
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
        self.sign()
    }

    fn sign(&mut self) -> Result<(), String> {
        for (apex, signing) in &self.signing {
            let written: Vec<&Vec<String>> = self.ds.iter().filter(|(zone, _)| zone == apex).map(|(_, words)| words).collect();
            let mut ds: Vec<Vec<u8>> = Vec::new();
            if written.is_empty() && signing.delegated {
                for key in signing.keys.iter().filter(|k| k.named) {
                    ds.extend(signing.digests.iter().map(|digest| key.ds(apex, *digest)));
                }
            }
            for words in written {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                ds.push(match words.as_slice() {
                    ["of", label] => signing.key(label)?.ds(apex, 2),
                    ["of", label, "digest", digest] => signing.key(label)?.ds(apex, parse(digest)?),
                    ["\\#", hex] => hexadecimal(hex)?,
                    _ => return Err(format!("ds {apex}: of KEY [digest N] or \\# hex")),
                });
            }
            let parent = self.zones.iter_mut().filter(|z| apex.is_below(&z.apex)).max_by_key(|z| z.apex.label_count());
            if let Some(parent) = parent {
                let record = |rdata| Record { owner: apex.clone(), rtype: Rtype::DS, ttl: 3600, rdata };
                parent.records.extend(ds.into_iter().map(record));
            }
        }
        for (apex, signing) in std::mem::take(&mut self.signing) {
            let zone = self.zones.iter_mut().find(|z| z.apex == apex).ok_or_else(|| format!("no zone {apex}"))?;
            zone.signing = Some(Arc::new(signing));
        }
        for zone in &mut self.zones {
            zone.sign(START)?;
        }
        if self.anchored.is_empty() {
            let top = self.zones.iter().filter(|z| z.signing.is_some()).min_by_key(|z| z.apex.label_count());
            self.anchored.extend(top.map(|z| vec![z.apex.to_string()]));
        }
        for words in &self.anchored {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let [apex, how @ ..] = words.as_slice() else { return Err("anchor ZONE".into()) };
            if *apex == "none" {
                continue;
            }
            let apex: Name = parse(apex)?;
            let zone = self.zones.iter().find(|z| z.apex == apex).ok_or_else(|| format!("no zone {apex}"))?;
            let signing = zone.signing.as_ref().ok_or_else(|| format!("{apex} is not signed"))?;
            for key in signing.keys.iter().filter(|k| k.named) {
                let anchor = match how {
                    [] => Anchor::Ds(key.ds(&apex, 2).into()),
                    ["digest", digest] => Anchor::Ds(key.ds(&apex, parse(digest)?).into()),
                    ["dnskey"] => Anchor::Dnskey(key.dnskey().into()),
                    _ => return Err("anchor ZONE [digest N | dnskey]".into()),
                };
                self.anchors.add(apex.clone(), anchor);
            }
        }
        for (apex, owner, rtype, mend) in std::mem::take(&mut self.mends) {
            let zone = self.zones.iter_mut().find(|z| z.apex == apex).ok_or_else(|| format!("no zone {apex}"))?;
            let Some(rtype) = rtype else {
                zone.records.retain(|r| r.rtype != Rtype::RRSIG);
                zone.denial.retain(|r| r.rtype != Rtype::RRSIG);
                continue;
            };
            let set: Vec<Record> = zone.records.iter().filter(|r| r.owner == owner && r.rtype == rtype).cloned().collect();
            if set.is_empty() {
                return Err(format!("mend: there is no {owner} {rtype}"));
            }
            let is_signature = |r: &Record| r.owner == owner && r.rtype == Rtype::RRSIG && sign::covered(r) == rtype;
            match mend {
                Mend::Unsigned => zone.records.retain(|r| !is_signature(r)),
                Mend::Gone => zone.records.retain(|r| !(is_signature(r) || r.owner == owner && r.rtype == rtype)),
                Mend::Rdata(rdata) => {
                    zone.records.retain(|r| !(r.owner == owner && r.rtype == rtype));
                    zone.records.push(Record { rdata, ..set[0].clone() });
                }
                Mend::Signed(made) => {
                    if !made.also {
                        zone.records.retain(|r| !is_signature(r));
                    }
                    let signatures = sign::sign_set(zone, START, &set, &made)?;
                    zone.records.extend(signatures);
                }
            }
        }
        Ok(())
    }
}

fn address(address: IpAddr) -> (Rtype, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (Rtype::A, a.octets().to_vec()),
        IpAddr::V6(a) => (Rtype::AAAA, a.octets().to_vec()),
    }
}

pub fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
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

fn relative(text: &str, origin: &Name) -> Result<Name, String> {
    if text == "@" {
        return Ok(origin.clone());
    }
    if text.ends_with('.') || origin.is_root() {
        return parse(text);
    }
    parse(&format!("{text}.{origin}"))
}

pub fn hexadecimal(hex: &str) -> Result<Vec<u8>, String> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|e| e.to_string())
}

fn record(words: &[&str], origin: &Name) -> Result<Record, String> {
    let name = |text: &str| relative(text, origin);
    let (owner, rest) = words.split_first().ok_or("no owner")?;
    let (ttl, rest) = match rest {
        [ttl, rest @ ..] if ttl.bytes().all(|b| b.is_ascii_digit()) => (parse(ttl)?, rest),
        rest => (3600, rest),
    };
    let (rtype, rest) = rest.split_first().ok_or("no type")?;
    let rtype: Rtype = parse(rtype)?;
    let rdata = match (rtype, rest) {
        (_, ["\\#", hex @ ..]) => hexadecimal(&hex.concat())?,
        (Rtype::NSEC, [next, types @ ..]) => sign::nsec(&name(next)?, types)?,
        (Rtype::A | Rtype::AAAA, [text]) => address(parse(text)?).1,
        (Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR, [text]) => name(text)?.wire().to_vec(),
        (Rtype::MX, [preference, text]) => [&parse::<u16>(preference)?.to_be_bytes()[..], name(text)?.wire()].concat(),
        (Rtype::SRV, [priority, weight, port, text]) => {
            let numbers = [priority, weight, port].map(|n| parse::<u16>(n).map(u16::to_be_bytes));
            let [priority, weight, port] = numbers;
            [&[priority?, weight?, port?].concat()[..], name(text)?.wire()].concat()
        }
        (Rtype::TXT, [text]) => [&[text.len() as u8][..], text.as_bytes()].concat(),
        (Rtype::SOA, [primary, minimum]) => {
            let numbers = [1u32, 3600, 600, 86_400, parse(minimum)?].map(u32::to_be_bytes).concat();
            [name(primary)?.wire(), name(primary)?.wire(), &numbers].concat()
        }
        _ => return Err("RDATA of this type needs \\# and hexadecimal".into()),
    };
    Ok(Record { owner: name(owner)?, rtype, ttl, rdata })
}
