//! The map of the miniature internet: which zones there are, who serves them, what is wrong with each.
//!
//! [`LEAVES`] is the list to read and to add to. The rest of the file gives each zone the same contents under names and addresses
//! that the seed chooses, joins the zones by delegations, signs them from the leaves up, and asks the telling questions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::fault::{Expect, Fault, Security, Shape};
use super::keys::Algorithm;
use super::rdata;
use super::seed::{Seed, Stream};
use super::server::{Host, Manners};
use super::zone::{Denial, Nsec3, Roll, Signing, Zone};
use super::{Internet, Telling};
use crate::wire::{Name, Rtype};

/// The kind of denial chain, to be filled in from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    Nsec,
    /// As RFC 9276 section 3.1 wants it: no salt, no extra iterations.
    Nsec3,
    /// A salt and a few iterations, still acceptable.
    Salted,
    OptOut,
    /// More iterations than any validator takes (RFC 9276 section 3.2).
    Heavy,
    /// A salt and so many iterations.
    Rounds(u16),
}

impl Chain {
    fn denial(self, stream: &mut Stream) -> Denial {
        let salt = |stream: &mut Stream| stream.next().to_be_bytes().to_vec();
        match self {
            Chain::Nsec => Denial::Nsec,
            Chain::Nsec3 => Denial::Nsec3(Nsec3::default()),
            Chain::Salted => Denial::Nsec3(Nsec3 { iterations: 5, salt: salt(stream), opt_out: false }),
            Chain::OptOut => Denial::Nsec3(Nsec3 { opt_out: true, ..Nsec3::default() }),
            Chain::Heavy => Denial::Nsec3(Nsec3 { iterations: 600, salt: salt(stream), opt_out: false }),
            Chain::Rounds(iterations) => Denial::Nsec3(Nsec3 { iterations, salt: salt(stream), opt_out: false }),
        }
    }
}

use Algorithm::{EcdsaP256, Ed25519, RsaSha256, RsaSha512};
use Manners::Good;

/// Top-level domains: label, and how it is signed.
const TLDS: &[(&str, Option<(Algorithm, Chain)>)] = &[
    ("post", Some((EcdsaP256, Chain::Nsec3))),
    ("com", Some((EcdsaP256, Chain::OptOut))),
    ("net", Some((RsaSha256, Chain::OptOut))),
    ("org", Some((Ed25519, Chain::Nsec))),
    ("info", None),
];

/// A zone with the standard contents.
struct Leaf {
    /// Part of its name; the seed puts a word in front.
    label: &'static str,
    tld: &'static str,
    signing: Option<(Algorithm, Chain)>,
    fault: Option<Fault>,
    manners: &'static [Manners],
}

const fn signed(label: &'static str, tld: &'static str, algorithm: Algorithm, chain: Chain) -> Leaf {
    Leaf { label, tld, signing: Some((algorithm, chain)), fault: None, manners: &[Good] }
}

const fn broken(label: &'static str, tld: &'static str, chain: Chain, fault: Fault) -> Leaf {
    Leaf { label, tld, signing: Some((EcdsaP256, chain)), fault: Some(fault), manners: &[Good] }
}

const fn unsigned(label: &'static str, tld: &'static str, manners: &'static [Manners]) -> Leaf {
    Leaf { label, tld, signing: None, fault: None, manners }
}

const fn served(label: &'static str, tld: &'static str, manners: &'static [Manners]) -> Leaf {
    Leaf { label, tld, signing: Some((EcdsaP256, Chain::Nsec)), fault: None, manners }
}

const LEAVES: &[Leaf] = &[
    // Signed well.
    signed("ecdsa", "post", EcdsaP256, Chain::Nsec),
    signed("ed25519", "post", Ed25519, Chain::Nsec3),
    signed("rsa", "org", RsaSha256, Chain::Nsec),
    signed("rsa512", "post", RsaSha512, Chain::Salted),
    signed("optout", "com", EcdsaP256, Chain::OptOut),
    signed("under-optout", "com", Ed25519, Chain::Nsec),
    signed("dns-host", "net", EcdsaP256, Chain::Nsec3),
    // Unsigned, and proven so in each way.
    unsigned("plain", "post", &[Good]),
    unsigned("plain", "com", &[Good]),
    unsigned("plain", "org", &[Good]),
    unsigned("plain", "info", &[Good]),
    // Signed, and yet not Secure.
    signed("island", "info", EcdsaP256, Chain::Nsec),
    broken("no-ds", "post", Chain::Nsec, Fault::NoDs),
    broken("no-ds", "com", Chain::Nsec3, Fault::NoDs),
    broken("new-digest", "post", Chain::Nsec, Fault::UnassignedDigest),
    Leaf {
        label: "new-algorithm",
        tld: "post",
        signing: Some((Algorithm::Unassigned, Chain::Nsec)),
        fault: Some(Fault::UnassignedAlgorithm),
        manners: &[Good],
    },
    broken("heavy", "org", Chain::Heavy, Fault::TooManyIterations),
    // Broken.
    broken("expired", "post", Chain::Nsec, Fault::Expired),
    broken("expired3", "com", Chain::Nsec3, Fault::Expired),
    broken("future", "post", Chain::Nsec3, Fault::NotYetValid),
    broken("inverted", "org", Chain::Nsec, Fault::ExpiresBeforeItBegins),
    broken("wrong-ds", "post", Chain::Nsec, Fault::WrongDs),
    broken("wrong-ds", "com", Chain::Nsec3, Fault::WrongDs),
    broken("unsigned", "post", Chain::Nsec, Fault::Unsigned),
    broken("stripped", "post", Chain::Nsec, Fault::StrippedSignatures),
    broken("stripped3", "com", Chain::Nsec3, Fault::StrippedSignatures),
    broken("forged", "post", Chain::Nsec, Fault::BadSignature),
    broken("lost-key", "org", Chain::Nsec3, Fault::UnpublishedKey),
    broken("zone-bit", "post", Chain::Nsec, Fault::NoZoneKeyBit),
    broken("no-denial", "post", Chain::Nsec, Fault::MissingDenial),
    broken("no-denial3", "post", Chain::Nsec3, Fault::MissingDenial),
    broken("bad-denial", "post", Chain::Nsec, Fault::BadDenial),
    broken("bad-denial3", "org", Chain::Nsec3, Fault::BadDenial),
    // Served badly.
    served("slow", "post", &[Manners::Slow]),
    served("half-dead", "post", &[Manners::Silent, Good]),
    served("half-closed", "org", &[Manners::Closed, Good]),
    served("half-lame", "com", &[Manners::Lame, Good]),
    served("half-refused", "post", &[Manners::Refuses, Good]),
    served("half-failing", "post", &[Manners::Fails, Good]),
    served("truncating", "post", &[Manners::Truncates]),
    served("folding", "org", &[Manners::FoldsCase]),
    served("confused", "post", &[Manners::WrongQuestion, Good]),
    unsigned("edns-shy", "com", &[Manners::RefusesEdns]),
    unsigned("edns-deaf", "com", &[Manners::IgnoresEdns]),
    served("closed", "post", &[Manners::Closed]),
    served("dead", "org", &[Manners::Silent]),
    served("lame", "com", &[Manners::Lame, Manners::Lame]),
    served("refused", "post", &[Manners::Refuses]),
    served("failing", "com", &[Manners::Fails]),
];

/// Words for names; the seed chooses.
const WORDS: &[&str] = &[
    "parcel", "letter", "stamp", "courier", "depot", "sorting", "airmail", "postbag", "pigeon", "kolli", "paket", "colis", "correo",
    "poczta", "posta", "tracking", "doorstep", "mailbox", "satchel", "express",
];

/// Which names of a zone hold what; the questions below depend on it.
fn fill(zone: &mut Zone, stream: &mut Stream) {
    let apex = zone.apex().clone();
    let host = |name: &str| below(name, &apex);
    zone.add(&apex, Rtype::A, rdata::a(documentation_v4(stream)));
    // Mixed case in RDATA must not disturb a signature (RFC 4034 section 6.2).
    let mut exchange = host("mail").wire().to_vec();
    exchange[1..3].make_ascii_uppercase();
    zone.add(&apex, Rtype::MX, rdata::mx(10, &exchange));
    zone.add(&apex, Rtype::TXT, rdata::txt("v=spf1 -all"));
    for _ in 0..2 {
        zone.add(&host("www"), Rtype::A, rdata::a(documentation_v4(stream)));
        zone.add(&host("www"), Rtype::AAAA, rdata::aaaa(documentation_v6(stream)));
    }
    zone.add(&host("mail"), Rtype::A, rdata::a(documentation_v4(stream)));
    zone.add(&host("host.ent"), Rtype::A, rdata::a(documentation_v4(stream)));
    zone.add(&host("alias"), Rtype::CNAME, rdata::name(&host("www")));
    zone.add(&host("*.wild"), Rtype::A, rdata::a(documentation_v4(stream)));
    zone.add(&host("*.wild"), Rtype::TXT, rdata::txt("expanded from a wildcard"));
    for _ in 0..12 {
        let text: String = (0..24).map(|_| format!("{:08x}", stream.next())).collect();
        zone.add(&host("big"), Rtype::TXT, rdata::txt(&text));
    }
}

/// The questions that [`fill`] makes possible: owner, type, shape of the answer.
const QUESTIONS: &[(&str, Rtype, Shape, &str)] = &[
    ("www", Rtype::A, Shape::Positive, "an address"),
    ("alias", Rtype::AAAA, Shape::Positive, "an address behind a CNAME"),
    ("", Rtype::MX, Shape::Positive, "mixed case in RDATA"),
    ("big", Rtype::TXT, Shape::Positive, "an RRset that no UDP answer holds"),
    ("a.b.wild", Rtype::A, Shape::Wildcard, "expanded from a wildcard"),
    ("b.wild", Rtype::MX, Shape::WildcardNoData, "a wildcard without this type"),
    ("www", Rtype::SRV, Shape::NoData, "no such type"),
    ("ent", Rtype::A, Shape::NoData, "an empty non-terminal"),
    ("nothing", Rtype::A, Shape::NxDomain, "no such name"),
    ("no.such.name", Rtype::AAAA, Shape::NxDomain, "no such name, three labels down"),
];

/// The name that a seed gives to the leaf zone of this label.
pub(super) fn leaf_name(seed: &Seed, label: &str, tld: &str) -> Name {
    let word = *seed.child("words").child(label).child(tld).stream().pick(WORDS);
    format!("{word}-{label}.{tld}").parse().expect("lab names are names")
}

pub(super) fn below(labels: &str, apex: &Name) -> Name {
    labels
        .rsplit('.')
        .filter(|l| !l.is_empty())
        .fold(apex.clone(), |name, label| name.child(label.as_bytes()).expect("lab names are short"))
}

/// An address from the ranges of RFC 5737.
pub(super) fn documentation_v4(stream: &mut Stream) -> Ipv4Addr {
    let [a, b, c] = *stream.pick(&[[192, 0, 2], [198, 51, 100], [203, 0, 113]]);
    Ipv4Addr::new(a, b, c, 1 + stream.below(254) as u8)
}

/// An address from the range of RFC 3849.
pub(super) fn documentation_v6(stream: &mut Stream) -> Ipv6Addr {
    let [x, y] = [stream.next(), stream.next()].map(|n| (n & 0xffff) as u16);
    Ipv6Addr::new(0x2001, 0xdb8, x, 0, 0, 0, 0, y)
}

/// A zone in the making.
pub(super) struct Draft {
    zone: Zone,
    signing: Option<Signing>,
    fault: Option<Fault>,
    seed: Seed,
    /// Name servers of the zone, by index of their hosts.
    servers: Vec<usize>,
    pub(super) asked: Asked,
}

/// Which questions are asked about a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// One name that does not exist.
    Edges,
    /// Those of [`QUESTIONS`].
    Standard,
    /// Those that [`Plan::extra`] holds.
    Nothing,
}

/// The map while it is drawn.
pub(super) struct Plan {
    seed: Seed,
    now: u64,
    /// Of the root's key-signing key.
    roll: Roll,
    drafts: Vec<Draft>,
    hosts: Vec<Host>,
    extra: Vec<(Name, Rtype, Expect, String)>,
}

impl Plan {
    /// An empty map.
    pub(super) fn new(seed: Seed, now: u64) -> Plan {
        Plan { seed, now, roll: Roll::Before, drafts: Vec::new(), hosts: Vec::new(), extra: Vec::new() }
    }

    /// A host on a loopback address that no other host has. 127.0/16 is left to other programs.
    pub(super) fn host(&mut self, name: Name, manners: Manners) -> usize {
        let index = self.hosts.len();
        let net = 1 + self.seed.child("network").stream().below(254) as u8;
        let address = Ipv4Addr::new(127, net, (index / 250) as u8, 1 + (index % 250) as u8);
        self.hosts.push(Host { name, address: IpAddr::V4(address), manners, zones: Vec::new() });
        index
    }

    /// How the host with this index treats queries.
    pub(super) fn manners(&self, host: usize) -> Manners {
        self.hosts[host].manners
    }

    /// A zone with SOA, NS and the addresses of its servers.
    pub(super) fn zone(
        &mut self,
        apex: Name,
        signing: Option<(Algorithm, Chain)>,
        fault: Option<Fault>,
        servers: Vec<usize>,
    ) -> &mut Draft {
        let seed = self.seed.child(&apex.to_string());
        let mut zone = Zone::new(apex.clone(), &self.hosts[servers[0]].name);
        for &server in &servers {
            let host = &self.hosts[server];
            zone.add(&apex, Rtype::NS, rdata::name(&host.name));
            if let IpAddr::V4(address) = host.address
                && host.name.is_at_or_below(&apex)
            {
                zone.add(&host.name, Rtype::A, rdata::a(address));
            }
        }
        let signing = signing.map(|(algorithm, chain)| Signing::new(algorithm, chain.denial(&mut seed.child("denial").stream())));
        self.drafts.push(Draft { zone, signing, fault, seed, servers, asked: Asked::Edges });
        self.drafts.last_mut().expect("just pushed")
    }

    fn draft(&mut self, apex: &Name) -> &mut Draft {
        self.drafts.iter_mut().find(|d| d.zone.apex() == apex).expect("the plan names zones that it has")
    }

    /// Chooses the digest of the DS that the parent publishes.
    pub(super) fn set_digest(&mut self, apex: &Name, digest_type: u8) {
        if let Some(signing) = &mut self.draft(apex).signing {
            signing.digest_type = digest_type;
        }
    }

    /// A zone that is in the plan already.
    pub(super) fn zone_mut(&mut self, apex: &Name) -> &mut Zone {
        &mut self.draft(apex).zone
    }

    fn leaf_name(&self, label: &str, tld: &str) -> Name {
        leaf_name(&self.seed, label, tld)
    }

    /// The closest zone strictly above `name`.
    fn parent_of(&self, name: &Name) -> Option<usize> {
        let above = self.drafts.iter().enumerate().filter(|(_, d)| name.is_below(d.zone.apex()));
        above.max_by_key(|(_, d)| d.zone.apex().label_count()).map(|(i, _)| i)
    }

    fn draw(&mut self) {
        let roots = [1, 2].map(|i| self.host(below(&format!("ns{i}.root-servers"), &Name::root()), Good));
        self.zone(Name::root(), Some((RsaSha256, Chain::Nsec)), None, roots.to_vec());
        for (label, signing) in TLDS {
            let apex = below(label, &Name::root());
            let servers = [1, 2].map(|i| self.host(below(&format!("ns{i}.nic"), &apex), Good));
            self.zone(apex, *signing, None, servers.to_vec());
        }
        for leaf in LEAVES {
            let apex = self.leaf_name(leaf.label, leaf.tld);
            let named = leaf.manners.iter().enumerate();
            let servers = named.map(|(i, manners)| self.host(below(&format!("ns{}", i + 1), &apex), *manners)).collect();
            let draft = self.zone(apex, leaf.signing, leaf.fault, servers);
            fill(&mut draft.zone, &mut draft.seed.child("contents").stream());
            draft.asked = Asked::Standard;
        }
        self.draw_children();
        self.draw_glueless();
        self.draw_scams();
        self.draw_aliases();
    }

    /// Unsigned zones for the domains of real phishing hosts, all on one host, so that the names resolve where nothing blocks them.
    fn draw_scams(&mut self) {
        let registry = self.host(below("registry", &Name::root()), Good);
        let hoster = self.host(below("hoster", &Name::root()), Good);
        for host in [registry, hoster] {
            let (name, address) = (self.hosts[host].name.clone(), self.hosts[host].address);
            if let IpAddr::V4(address) = address {
                self.draft(&Name::root()).zone.add(&name, Rtype::A, rdata::a(address));
            }
        }
        for host in super::scam_hosts() {
            let domain = psl::domain_str(host).unwrap_or(host);
            let apex: Name = domain.parse().expect("the sample holds names");
            let tld = apex.suffix(1);
            if self.drafts.iter().all(|d| *d.zone.apex() != tld) {
                self.zone(tld, Some((Ed25519, Chain::Nsec)), None, vec![registry]);
            }
            if self.drafts.iter().all(|d| *d.zone.apex() != apex) {
                let draft = self.zone(apex.clone(), None, None, vec![hoster]);
                draft.asked = Asked::Nothing;
                draft.zone.add(&apex, Rtype::A, rdata::a(documentation_v4(&mut draft.seed.child("apex").stream())));
            }
            let name: Name = host.parse().expect("the sample holds names");
            let draft = self.draft(&apex);
            let address = documentation_v4(&mut draft.seed.child(host).stream());
            draft.zone.add(&name, Rtype::A, rdata::a(address));
            let expect = Expect::answer(Shape::Positive, Security::Insecure, &[]);
            self.extra.push((name, Rtype::A, expect, "a phishing host that nothing blocks".to_owned()));
        }
    }

    /// Zones below a leaf on the leaf's own server: the cut is seen in DS and SOA only.
    fn draw_children(&mut self) {
        let parent = self.leaf_name("ecdsa", "post");
        for (label, signing, fault) in [
            ("child", Some((Ed25519, Chain::Nsec)), None),
            ("child3", Some((EcdsaP256, Chain::Nsec3)), None),
            ("plain-child", None, None),
            ("late-child", Some((EcdsaP256, Chain::Nsec)), Some(Fault::Expired)),
        ] {
            let servers = self.draft(&parent).servers.clone();
            let draft = self.zone(below(label, &parent), signing, fault, servers);
            fill(&mut draft.zone, &mut draft.seed.child("contents").stream());
            draft.asked = Asked::Standard;
        }
    }

    /// A zone whose servers are named in another zone: their addresses must be resolved first.
    fn draw_glueless(&mut self) {
        let provider = self.leaf_name("dns-host", "net");
        for (label, tld, signing) in [("glueless", "post", Some((EcdsaP256, Chain::Nsec))), ("glueless", "info", None)] {
            let apex = self.leaf_name(label, tld);
            let name = below(&format!("{tld}.dns"), &provider);
            let server = self.host(name.clone(), Good);
            if let IpAddr::V4(address) = self.hosts[server].address {
                self.draft(&provider).zone.add(&name, Rtype::A, rdata::a(address));
            }
            let draft = self.zone(apex, signing, None, vec![server]);
            fill(&mut draft.zone, &mut draft.seed.child("contents").stream());
            draft.asked = Asked::Standard;
        }
    }

    /// A signed zone full of aliases into other zones.
    fn draw_aliases(&mut self) {
        let apex = self.leaf_name("aliases", "org");
        let server = self.host(below("ns1", &apex), Good);
        let target = |plan: &Plan, owner: &str, label: &str, tld: &str| below(owner, &plan.leaf_name(label, tld));
        let secure = target(self, "www", "ed25519", "post");
        let insecure = target(self, "www", "plain", "com");
        let expired = target(self, "www", "expired", "post");
        let nothing = target(self, "nothing", "rsa", "org");
        let dead = target(self, "www", "refused", "post");
        let scam = super::scam_hosts().next().expect("the sample is not empty").parse().expect("the sample holds names");
        let (moved, away) = (target(self, "", "rsa", "org"), target(self, "", "plain", "post"));
        let zone = &mut self.zone(apex.clone(), Some((EcdsaP256, Chain::Nsec)), None, vec![server]).zone;
        let mut alias = |owner: &str, rtype, to: &Name| zone.add(&below(owner, &apex), rtype, rdata::name(to));
        alias("secure", Rtype::CNAME, &secure);
        alias("insecure", Rtype::CNAME, &insecure);
        alias("expired", Rtype::CNAME, &expired);
        alias("nothing", Rtype::CNAME, &nothing);
        alias("dead", Rtype::CNAME, &dead);
        alias("offer", Rtype::CNAME, &scam);
        for (step, next) in [("hop1", "hop2"), ("hop2", "hop3"), ("hop3", "secure")] {
            alias(step, Rtype::CNAME, &below(next, &apex));
        }
        alias("*.any", Rtype::CNAME, &secure);
        alias("loop-a", Rtype::CNAME, &below("loop-b", &apex));
        alias("loop-b", Rtype::CNAME, &below("loop-a", &apex));
        alias("moved", Rtype::DNAME, &moved);
        alias("away", Rtype::DNAME, &away);
        let secure = Expect::answer(Shape::Positive, Security::Secure, &[]);
        let insecure = Expect { security: Security::Insecure, ..secure };
        let nxdomain = Expect::answer(Shape::NxDomain, Security::Secure, &[]);
        for (owner, expect, why) in [
            ("secure", secure, "an alias from a signed zone into another"),
            ("insecure", insecure, "an alias from a signed zone into an unsigned one"),
            ("expired", Expect::bogus(&[7]), "an alias from a signed zone into a broken one"),
            ("nothing", nxdomain, "an alias to a name that does not exist"),
            ("offer", insecure, "an alias to a phishing host that nothing blocks"),
            ("dead", Expect::unreachable(), "an alias into a zone that nobody serves"),
            ("hop1", secure, "four aliases in a row"),
            ("x.any", secure, "an alias from a wildcard"),
            ("www.moved", secure, "a DNAME into a signed zone"),
            ("www.away", insecure, "a DNAME into an unsigned zone"),
            ("nothing.moved", nxdomain, "a DNAME to a name that does not exist"),
        ] {
            self.extra.push((below(owner, &apex), Rtype::A, expect, why.to_owned()));
        }
    }

    /// Delegates and signs, leaves first, because a parent signs its children's DS.
    fn sign(&mut self) {
        self.drafts.sort_by_key(|d| d.zone.apex().label_count());
        for index in (0..self.drafts.len()).rev() {
            let (now, roll) = (self.now, self.roll);
            let draft = &mut self.drafts[index];
            if let Some(mut signing) = draft.signing.clone() {
                if draft.zone.apex().is_root() {
                    signing.roll = roll;
                }
                draft.zone.sign(signing, draft.fault, &draft.seed, now);
            }
            let (apex, ds, servers) = (draft.zone.apex().clone(), draft.zone.ds().to_vec(), draft.servers.clone());
            let Some(parent) = self.parent_of(&apex) else { continue };
            let zone = &mut self.drafts[parent].zone;
            for server in servers {
                let host = &self.hosts[server];
                zone.add(&apex, Rtype::NS, rdata::name(&host.name));
                if let IpAddr::V4(address) = host.address
                    && host.name.is_at_or_below(&apex)
                {
                    zone.add(&host.name, Rtype::A, rdata::a(address));
                }
            }
            // An unsigned parent has no use for DS: its children are islands.
            if self.drafts[parent].signing.is_some() {
                ds.into_iter().for_each(|ds| self.drafts[parent].zone.add(&apex, Rtype::DS, ds));
            }
        }
    }

    /// What a resolver must say about this draft's data, given everything above it.
    fn expect(&self, draft: &Draft, shape: Shape) -> Expect {
        let works = |m: Manners| {
            !matches!(m, Manners::Closed | Manners::Silent | Manners::Lame | Manners::Refuses | Manners::Fails | Manners::WrongQuestion)
        };
        if !draft.servers.iter().any(|&s| works(self.hosts[s].manners)) {
            // A client's time may run out before a silent server is known to be dead: the reason is then the resolver's to name.
            let silent = draft.servers.iter().any(|&s| self.hosts[s].manners == Manners::Silent);
            return if silent { Expect { ede: &[], ..Expect::unreachable() } } else { Expect::unreachable() };
        }
        let above = self.parent_of(draft.zone.apex()).map(|i| &self.drafts[i]);
        let insecure = Expect::answer(shape, Security::Insecure, &[]);
        match (&draft.signing, draft.fault) {
            _ if above.is_some_and(|parent| self.expect(parent, Shape::Positive).security == Security::Insecure) => insecure,
            (None, _) => insecure,
            (Some(_), Some(fault)) => fault.expect(shape),
            (Some(signing), None) => {
                // RFC 5155 section 9.2: no AD where an opt-out span covers the next closer name.
                let opt_out = matches!(&signing.denial, Denial::Nsec3(params) if params.opt_out);
                let spans = matches!(shape, Shape::NxDomain | Shape::Wildcard | Shape::WildcardNoData);
                if opt_out && spans { insecure } else { Expect::answer(shape, Security::Secure, &[]) }
            }
        }
    }

    fn questions(&self) -> Vec<(Name, Rtype, Expect, String)> {
        let mut out = Vec::new();
        for draft in &self.drafts {
            let apex = draft.zone.apex();
            let about = draft.fault.map_or_else(|| self.about(draft), |f| f.words().to_owned());
            for (owner, rtype, shape, why) in QUESTIONS.iter().filter(|_| draft.asked == Asked::Standard) {
                out.push((below(owner, apex), *rtype, self.expect(draft, *shape), format!("{about}: {why}")));
            }
            if let Some(parent) = self.parent_of(apex).map(|i| &self.drafts[i]).filter(|_| draft.asked != Asked::Nothing) {
                let shape = match parent.zone.rrset(apex, Rtype::DS) {
                    Some(_) => Shape::Positive,
                    // An opted-out delegation has no NSEC3 of its own, only a span over it.
                    None if parent.zone.nsec3_params().is_some_and(|p| p.opt_out) => Shape::WildcardNoData,
                    None => Shape::NoData,
                };
                out.push((apex.clone(), Rtype::DS, self.expect(parent, shape), format!("{about}: the DS in its parent")));
            }
            if draft.asked == Asked::Edges {
                let expect = self.expect(draft, Shape::NxDomain);
                out.push((below("nothing.no-such-zone", apex), Rtype::A, expect, format!("{apex}: no such name")));
            }
        }
        out.extend(self.extra.iter().cloned());
        out
    }

    fn about(&self, draft: &Draft) -> String {
        let manners = draft.servers.iter().map(|&s| self.hosts[s].manners).find(|m| *m != Good);
        let signing = match &draft.signing {
            Some(signing) => format!("signed with {:?}", signing.algorithm),
            None => "unsigned".to_owned(),
        };
        manners.map_or(signing.clone(), |m| format!("{signing}, a server that is {m:?}"))
    }

    /// Delegates, signs, and asks the questions.
    pub(super) fn finish(mut self) -> Internet {
        self.sign();
        let asked = self.questions();
        let mut zones = Vec::new();
        for draft in self.drafts {
            let zone = Arc::new(draft.zone);
            draft.servers.iter().for_each(|&s| self.hosts[s].zones.push(Arc::clone(&zone)));
            zones.push(zone);
        }
        let questions = asked
            .into_iter()
            .map(|(name, rtype, expect, why)| {
                let rdatas = if expect.security == Security::Bogus { Vec::new() } else { final_rdatas(&zones, &name, rtype) };
                let rdatas = if expect.security == Security::Unreachable { Vec::new() } else { rdatas };
                Telling { name, rtype, expect, rdatas, why }
            })
            .collect();
        let root_hosts = self.hosts.iter().filter(|h| h.zones.iter().any(|z| z.apex().is_root()));
        let roots = root_hosts.map(|h| (h.name.clone(), vec![h.address])).collect();
        Internet { seed: self.seed, zones, hosts: self.hosts, questions, roots }
    }
}

/// What all servers together know: the RDATA at the end of the chain of aliases.
fn final_rdatas(zones: &[Arc<Zone>], name: &Name, rtype: Rtype) -> Vec<Box<[u8]>> {
    let reply = super::answer::answer(zones, &crate::wire::Question::new(name.clone(), rtype), false);
    reply.answer.into_iter().filter(|s| s.rtype == rtype).flat_map(|s| s.rdatas).collect()
}

/// Draws and signs the whole map.
pub(super) fn build(seed: u64, now: u64, roll: Roll) -> Internet {
    let mut plan = Plan { roll, ..Plan::new(Seed::new(seed).child("internet"), now) };
    plan.draw();
    plan.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn the_same_seed_gives_the_same_internet_and_another_gives_another() {
        let files = |seed| build(seed, NOW, Roll::Before).zones.iter().map(|z| super::super::text::zone_file(z)).collect::<Vec<_>>();
        let first = files(1);
        assert_eq!(first, files(1));
        assert_ne!(first, files(2));
    }

    #[test]
    fn every_fault_has_a_zone_and_every_kind_of_manners_a_host() {
        let internet = build(3, NOW, Roll::Before);
        let faults: HashSet<_> = internet.zones.iter().filter_map(|z| z.fault()).collect();
        assert_eq!(faults.len(), Fault::ALL.len());
        let manners: HashSet<_> = internet.hosts.iter().map(|h| h.manners).collect();
        assert_eq!(manners.len(), 12);
        let addresses: HashSet<_> = internet.hosts.iter().map(|h| h.address).collect();
        assert_eq!(addresses.len(), internet.hosts.len());
    }

    #[test]
    fn positive_questions_have_data_and_negative_ones_have_none() {
        for telling in build(4, NOW, Roll::Before).questions {
            let answered = matches!(telling.expect.security, Security::Secure | Security::Insecure);
            let positive =
                !telling.why.contains("no such") && !telling.why.contains("not exist") && !telling.why.contains("empty non-terminal");
            let positive = positive && !telling.why.contains("without this type");
            if telling.rtype != Rtype::DS {
                assert_eq!(!telling.rdatas.is_empty(), answered && positive, "{telling:?}");
            }
        }
    }
}
