//! Bypass: a host of the network that asks any resolver but ours.
//!
//! Seen are plain DNS on port 53 (with the name), DNS over TLS and QUIC on port 853, and DNS over HTTPS at the endpoints in
//! `endpoints.txt`, by server name in the ClientHello and by address; and that Firefox's canary name was answered, which leaves its
//! DNS over HTTPS on. Resolvers of ours and forwarders that we use are excluded by [`Settings`]. Each finding is an [`Event`] with one
//! sentence of evidence; the same finding is told again only after [`Settings::again`]. Not seen: DNS over HTTPS at an endpoint nobody
//! has listed, or behind a shared front end with an encrypted server name; virtual private networks.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::dissect::{DOT, HTTPS, Observation, What};
use super::join::Transaction;
use super::line;
use super::message::Asked;
use super::table::Table;
use super::tls::Hello;
use super::{Flow, Proto};
use crate::guard::acl::{Acl, PRIVATE};
use crate::wire::{Name, Rcode, Rtype};

/// Findings remembered, so that they are not told twice; a client has a handful.
const REMEMBERED: usize = 8192;
/// Connections that wait for their ClientHello.
const OPENED: usize = 8192;
/// How long a connection waits for it before it is told as it is: most greet within one round trip.
const GREETING: Duration = Duration::from_secs(2);
/// Clients counted one by one; beyond them the least active make way.
const CLIENTS: usize = 256;

/// Who is watched, and what is right.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts that are ours to watch. Default: private networks.
    pub hosts: Acl,
    /// Our resolvers, and forwarders known to be good: may be asked by everybody, and may ask everybody. Default: none.
    pub resolvers: Acl,
    /// Hosts that may ask whom they like, such as a mail gateway with a resolver of its own. Default: none.
    pub exempt: Acl,
    /// A finding is told again after this. Default: an hour.
    pub again: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let nobody = Acl::default;
        Settings { hosts: Acl::new(PRIVATE), resolvers: nobody(), exempt: nobody(), again: Duration::from_secs(3600) }
    }
}

/// How a host goes past us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// Plain DNS on port 53.
    Plain,
    /// DNS over TLS.
    Dot,
    /// DNS over QUIC.
    Doq,
    /// HTTPS to an address that serves nothing but DNS.
    DohAddress,
    /// HTTPS to a server name that serves DNS.
    DohName,
    /// The canary name was answered, so that Firefox keeps DNS over HTTPS on.
    Canary,
}

impl Means {
    /// Every value of [`Means::label`].
    pub const LABELS: &'static [&'static str] = &["plain", "dot", "doq", "doh_address", "doh_name", "canary"];

    /// The word for events and counters.
    pub fn label(self) -> &'static str {
        Means::LABELS[self as usize]
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, since 1970.
    pub at: Duration,
    /// How.
    pub means: Means,
    /// Who.
    pub client: IpAddr,
    /// Whom they asked.
    pub server: SocketAddr,
    /// The name asked for, or the server name, where it can be seen.
    pub name: Option<Name>,
    /// On which of our lists the name is.
    pub listed: Option<String>,
    /// How often this was seen since it was last told, this time included.
    pub count: u64,
    /// One sentence.
    pub evidence: String,
}

impl Event {
    /// As one line of JSON, without a line end.
    pub fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            ts: f64,
            event: &'static str,
            means: &'static str,
            client: IpAddr,
            server: IpAddr,
            server_port: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            listed: &'a Option<String>,
            count: u64,
            evidence: &'a str,
        }
        let line = Line {
            ts: line::seconds(self.at),
            event: "bypass",
            means: self.means.label(),
            client: self.client,
            server: self.server.ip(),
            server_port: self.server.port(),
            name: self.name.as_ref().map(Name::to_string),
            listed: &self.listed,
            count: self.count,
            evidence: &self.evidence,
        };
        serde_json::to_string(&line).expect("invariant: strings, numbers and lists always serialise")
    }
}

/// Known endpoints of DNS over HTTPS.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    names: HashSet<Name>,
    addresses: HashSet<IpAddr>,
    canaries: HashSet<Name>,
}

impl Endpoints {
    /// Those that come with the program.
    pub fn shipped() -> Endpoints {
        Endpoints::parse(include_str!("endpoints.txt")).expect("invariant: a test reads the shipped file")
    }

    /// Reads a file of the form of `endpoints.txt`.
    ///
    /// # Errors
    /// The first line that is neither a name nor an address, with its number from 1.
    pub fn parse(text: &str) -> Result<Endpoints, (usize, String)> {
        let mut endpoints = Endpoints::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let bad = |_| (number + 1, line.to_owned());
            if line.is_empty() {
            } else if let Some(name) = line.strip_prefix("doh-canary ") {
                endpoints.canaries.insert(name.trim().parse().map_err(bad)?);
            } else if let Ok(address) = line.parse() {
                endpoints.addresses.insert(address);
            } else {
                endpoints.names.insert(line.parse().map_err(bad)?);
            }
        }
        Ok(endpoints)
    }

    fn has_name(&self, name: &Name) -> bool {
        name.self_and_ancestors().any(|ancestor| self.names.contains(&ancestor))
    }
}

/// Says on which of our lists a name is.
pub type Listed = Box<dyn Fn(&Name) -> Option<String> + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Finding {
    means: Means,
    client: IpAddr,
    server: SocketAddr,
    /// Keyed hash of a listed name: each such name is told by itself.
    listed: u64,
}

/// Watches observations for hosts that go past us.
pub struct Detector {
    settings: Settings,
    endpoints: Endpoints,
    listed: Listed,
    /// When each finding was last told, and how often it was seen since.
    told: Table<Finding, (Duration, u64)>,
    opened: Table<(SocketAddr, SocketAddr), ()>,
    clients: Table<IpAddr, u64>,
    counts: [u64; Means::LABELS.len()],
    hasher: ahash::RandomState,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(settings: Settings, endpoints: Endpoints, listed: Listed) -> Detector {
        Detector {
            settings,
            endpoints,
            listed,
            told: Table::new(REMEMBERED),
            opened: Table::new(OPENED),
            clients: Table::new(CLIENTS),
            counts: [0; Means::LABELS.len()],
            hasher: ahash::RandomState::new(),
        }
    }

    /// How often each means was seen, in the order of [`Means::LABELS`].
    pub fn counts(&self) -> [u64; Means::LABELS.len()] {
        self.counts
    }

    /// The clients that went past us most, with how often, of those still remembered.
    pub fn clients(&self, most: usize) -> Vec<(IpAddr, u64)> {
        let mut clients: Vec<_> = self.clients.iter().map(|(client, count)| (*client, *count)).collect();
        clients.sort_unstable_by_key(|(client, count)| (std::cmp::Reverse(*count), *client));
        clients.truncate(most);
        clients
    }

    /// Looks at one observation.
    pub fn observe(&mut self, observation: &Observation, out: &mut dyn FnMut(Event)) {
        let Observation { at, flow, what } = observation;
        self.tick(*at, out);
        if !self.is_past_us(flow.source.ip(), flow.destination.ip()) {
            return;
        }
        match what {
            What::Message(dns) if !dns.is_response() && flow.destination.port() == 53 => self.plain(*at, flow, dns.question(), out),
            What::Hello(hello) => {
                self.opened.remove(&(flow.source, flow.destination));
                self.hello(*at, flow, hello, out);
            }
            What::Opened => self.opened(*at, flow, out),
            What::Message(_) => {}
        }
    }

    /// Looks at one transaction, for the canary: only its answer says what the browser will do.
    pub fn transaction(&mut self, transaction: &Transaction, out: &mut dyn FnMut(Event)) {
        let (client, server) = (transaction.client, transaction.server);
        let Some(asked) = transaction.query.as_deref().and_then(|query| query.question()) else { return };
        let Some(response) = transaction.response.as_deref() else { return };
        let positive = response.rcode() == Rcode::NOERROR && response.answer.iter().any(|r| matches!(r.rtype, Rtype::A | Rtype::AAAA));
        let watched = self.settings.hosts.contains(client.ip())
            && !self.settings.exempt.contains(client.ip())
            && !self.settings.resolvers.contains(client.ip());
        if watched && positive && self.endpoints.canaries.contains(&asked.name) {
            let evidence = format!(
                "{} asked {} for {}, and was given an address: Firefox there may use DNS over HTTPS past our resolvers; NXDOMAIN would switch it off",
                client.ip(),
                server.ip(),
                asked.name,
            );
            self.found(transaction.at, Means::Canary, client.ip(), server, Some(&asked.name), evidence, out);
        }
    }

    /// Tells the connections that have not greeted in time: a firewall may hold them, or the server name is encrypted beyond us.
    pub fn tick(&mut self, now: Duration, out: &mut dyn FnMut(Event)) {
        while let Some(((client, server), ())) = self.opened.pop_expired(now, GREETING) {
            self.attempt(now, client, server, out);
        }
    }

    /// Tells the connections that still wait.
    pub fn finish(&mut self, now: Duration, out: &mut dyn FnMut(Event)) {
        while let Some(((client, server), ())) = self.opened.pop_oldest() {
            self.attempt(now, client, server, out);
        }
    }

    /// Whether `client` is ours to watch and `server` is not one that it may ask.
    fn is_past_us(&self, client: IpAddr, server: IpAddr) -> bool {
        let settings = &self.settings;
        settings.hosts.contains(client)
            && !settings.exempt.contains(client)
            && !settings.resolvers.contains(client)
            && !settings.resolvers.contains(server)
            && !server.is_multicast()
            && !server.is_loopback()
            && !matches!(server, IpAddr::V4(v4) if v4.is_broadcast())
    }

    fn plain(&mut self, at: Duration, flow: &Flow, asked: Option<&Asked>, out: &mut dyn FnMut(Event)) {
        let over = if flow.proto == Proto::Tcp { "TCP" } else { "UDP" };
        let (client, server) = (flow.source.ip(), flow.destination);
        let what = asked.map_or_else(|| "something unreadable".to_owned(), |asked| format!("{} ({})", asked.name, asked.rtype));
        let evidence = format!("{client} asked {} over {over} port 53 for {what}, past our resolvers", server.ip());
        self.found(at, Means::Plain, client, server, asked.map(|asked| &asked.name), evidence, out);
    }

    fn hello(&mut self, at: Duration, flow: &Flow, hello: &Hello, out: &mut dyn FnMut(Event)) {
        let (client, server) = (flow.source.ip(), flow.destination);
        let name = hello.server_name.as_ref();
        let called = name.map_or_else(|| "no server name".to_owned(), |name| format!("server name {name}"));
        if server.port() == DOT {
            let evidence = format!("{client} speaks DNS over TLS to {server} ({called}), past our resolvers");
            self.found(at, Means::Dot, client, server, name, evidence, out);
        } else if let Some(name) = name.filter(|name| self.endpoints.has_name(name)) {
            let evidence = format!("{client} greeted {server} as {name}, a known DNS over HTTPS endpoint");
            self.found(at, Means::DohName, client, server, Some(name), evidence, out);
        } else if self.endpoints.addresses.contains(&server.ip()) {
            let evidence = format!("{client} speaks HTTPS to {server} ({called}), an address of a known DNS over HTTPS endpoint");
            self.found(at, Means::DohAddress, client, server, name, evidence, out);
        }
    }

    fn opened(&mut self, at: Duration, flow: &Flow, out: &mut dyn FnMut(Event)) {
        let (client, server) = (flow.source, flow.destination);
        let known = self.endpoints.addresses.contains(&server.ip());
        match (flow.proto, server.port()) {
            (Proto::Udp, DOT) => {
                let evidence = format!("{} speaks DNS over QUIC to {server}, past our resolvers", client.ip());
                self.found(at, Means::Doq, client.ip(), server, None, evidence, out);
            }
            (Proto::Udp, HTTPS) if known => {
                let evidence = format!("{} speaks QUIC to {server}, an address of a known DNS over HTTPS endpoint", client.ip());
                self.found(at, Means::DohAddress, client.ip(), server, None, evidence, out);
            }
            (Proto::Tcp, port) if port == DOT || known => {
                if self.opened.touch(&(client, server), at).is_none()
                    && let Some(((client, server), ())) = self.opened.insert((client, server), (), at)
                {
                    self.attempt(at, client, server, out);
                }
            }
            _ => {}
        }
    }

    /// A connection without a greeting.
    fn attempt(&mut self, at: Duration, client: SocketAddr, server: SocketAddr, out: &mut dyn FnMut(Event)) {
        let (means, what) = match server.port() {
            DOT => (Means::Dot, "the port of DNS over TLS"),
            _ => (Means::DohAddress, "an address of a known DNS over HTTPS endpoint"),
        };
        let evidence = format!("{} tried to connect to {server}, {what}; no greeting was seen", client.ip());
        self.found(at, means, client.ip(), server, None, evidence, out);
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one event")]
    fn found(
        &mut self,
        at: Duration,
        means: Means,
        client: IpAddr,
        server: SocketAddr,
        name: Option<&Name>,
        evidence: String,
        out: &mut dyn FnMut(Event),
    ) {
        self.counts[means as usize] += 1;
        match self.clients.touch(&client, at) {
            Some(count) => *count += 1,
            None => drop(self.clients.insert(client, 1, at)),
        }
        let listed = name.and_then(|name| (self.listed)(name));
        let hash = if listed.is_some() { self.hasher.hash_one(name) } else { 0 };
        let finding = Finding { means, client, server: SocketAddr::new(server.ip(), server.port()), listed: hash };
        let mut count = 1;
        if let Some((last, since)) = self.told.touch(&finding, at) {
            *since += 1;
            if at.saturating_sub(*last) < self.settings.again {
                return;
            }
            count = *since;
            (*last, *since) = (at, 0);
        } else {
            self.told.insert(finding, (at, 0), at);
        }
        let evidence = match &listed {
            Some(list) => format!("{evidence}; the name is on our list {list}"),
            None => evidence,
        };
        out(Event { at, means, client, server, name: name.cloned(), listed, count, evidence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::Dns;
    use crate::wire::{Encoder, Flags, Question};

    const SECOND: Duration = Duration::from_secs(1);
    const HOST: &str = "192.168.1.7:4000";

    fn detector() -> Detector {
        let acl = |text: &str| Acl::new([text.parse().unwrap()]);
        let settings = Settings { resolvers: acl("192.168.1.1"), exempt: acl("192.168.1.9"), ..Settings::default() };
        let scam: Name = "scam.example".parse().unwrap();
        Detector::new(settings, Endpoints::shipped(), Box::new(move |name| name.is_at_or_below(&scam).then(|| "smishing".to_owned())))
    }

    fn flow(source: &str, destination: &str, proto: Proto) -> Flow {
        Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap(), proto, vlan: None }
    }

    fn query(name: &str, response: bool, address: bool) -> Box<Dns> {
        let question = Question::new(name.parse().unwrap(), Rtype::A);
        let mut encoder = Encoder::new(1, Flags(0).with(Flags::QR, response), Some(&question));
        if address {
            encoder.record(&question.name, Rtype::A, 60, &[192, 0, 2, 1]);
        }
        Box::new(Dns::read(&encoder.finish().bytes))
    }

    fn asked(source: &str, destination: &str, name: &str) -> Observation {
        Observation { at: SECOND, flow: flow(source, destination, Proto::Udp), what: What::Message(query(name, false, false)) }
    }

    fn greeted(at: Duration, destination: &str, name: Option<&str>) -> Observation {
        let hello = Hello { server_name: name.map(|name| name.parse().unwrap()), protocols: Vec::new() };
        Observation { at, flow: flow(HOST, destination, Proto::Tcp), what: What::Hello(hello) }
    }

    fn opened(at: Duration, destination: &str, proto: Proto) -> Observation {
        Observation { at, flow: flow(HOST, destination, proto), what: What::Opened }
    }

    fn events(detector: &mut Detector, observations: &[Observation]) -> Vec<Event> {
        let mut out = Vec::new();
        for observation in observations {
            detector.observe(observation, &mut |event| out.push(event));
        }
        out
    }

    #[test]
    fn plain_dns_to_another_resolver_is_found_with_its_name() {
        let out = events(&mut detector(), &[asked(HOST, "8.8.8.8:53", "www.example")]);
        assert_eq!(out[0].evidence, "192.168.1.7 asked 8.8.8.8 over UDP port 53 for www.example. (A), past our resolvers");
        assert_eq!((out[0].means, &out[0].listed, out.len()), (Means::Plain, &None, 1));
        let json: serde_json::Value = serde_json::from_str(&out[0].line()).unwrap();
        assert_eq!((&json["client"], &json["means"], &json["name"]), (&"192.168.1.7".into(), &"plain".into(), &"www.example.".into()));
    }

    #[test]
    fn what_is_right_is_not_found() {
        let mut detector = detector();
        let right = [
            asked(HOST, "192.168.1.1:53", "www.example"),
            asked("192.168.1.1:4000", "8.8.8.8:53", "www.example"),
            asked("192.168.1.9:4000", "8.8.8.8:53", "www.example"),
            asked("198.51.100.1:4000", "8.8.8.8:53", "www.example"),
            asked(HOST, "224.0.0.251:53", "www.example"),
            greeted(SECOND, "198.51.100.80:443", Some("www.example")),
            opened(SECOND, "198.51.100.80:443", Proto::Tcp),
            opened(SECOND, "198.51.100.80:443", Proto::Udp),
        ];
        assert_eq!(events(&mut detector, &right), []);
        detector.finish(60 * SECOND, &mut |event| panic!("{event:?}"));
        assert_eq!(detector.counts(), [0; 6]);
    }

    #[test]
    fn encrypted_dns_is_found_by_port_by_name_and_by_address() {
        let out = events(
            &mut detector(),
            &[
                greeted(SECOND, "203.0.113.5:853", Some("dot.example")),
                greeted(SECOND, "203.0.113.6:443", Some("Chrome.Cloudflare-DNS.com")),
                greeted(SECOND, "8.8.8.8:443", None),
                opened(SECOND, "9.9.9.9:443", Proto::Udp),
                opened(SECOND, "203.0.113.5:853", Proto::Udp),
            ],
        );
        let means: Vec<Means> = out.iter().map(|event| event.means).collect();
        assert_eq!(means, [Means::Dot, Means::DohName, Means::DohAddress, Means::DohAddress, Means::Doq]);
        assert_eq!(out[0].name, Some("dot.example".parse().unwrap()));
    }

    #[test]
    fn a_connection_without_a_greeting_is_told_after_a_while() {
        let mut detector = detector();
        assert_eq!(events(&mut detector, &[opened(SECOND, "203.0.113.5:853", Proto::Tcp)]), []);
        assert_eq!(events(&mut detector, &[greeted(2 * SECOND, "203.0.113.5:853", None)]).len(), 1);
        assert_eq!(events(&mut detector, &[opened(3 * SECOND, "203.0.113.6:853", Proto::Tcp)]), []);
        let mut out = Vec::new();
        detector.tick(6 * SECOND, &mut |event| out.push(event));
        assert!(out[0].evidence.ends_with("no greeting was seen"), "{out:?}");
    }

    #[test]
    fn a_finding_is_told_once_an_hour_but_each_listed_name_at_once() {
        let mut detector = detector();
        let again =
            |name: &str, hours: u32| Observation { at: SECOND + hours * Duration::from_secs(3600), ..asked(HOST, "8.8.8.8:53", name) };
        let out = events(&mut detector, &[again("a.example", 0), again("b.example", 0), again("x.scam.example", 0), again("c.example", 1)]);
        let told: Vec<_> = out.iter().map(|event| (event.name.clone().unwrap().to_string(), event.count)).collect();
        assert_eq!(told, [("a.example.".to_owned(), 1), ("x.scam.example.".to_owned(), 1), ("c.example.".to_owned(), 2)]);
        assert!(out[1].evidence.ends_with("; the name is on our list smishing"));
        assert_eq!((detector.counts()[0], detector.clients(9)), (4, vec![("192.168.1.7".parse().unwrap(), 4)]));
    }

    /// support.mozilla.org, "Canary domain": any answer but NOERROR with an address switches DNS over HTTPS off.
    #[test]
    fn an_answered_canary_is_told_and_a_denied_one_is_not() {
        let mut detector = detector();
        for (address, expected) in [(false, 0), (true, 1)] {
            let name = "use-application-dns.net";
            let transaction = Transaction {
                at: SECOND,
                client: HOST.parse().unwrap(),
                server: "192.168.1.1:53".parse().unwrap(),
                proto: Proto::Udp,
                vlan: None,
                query: Some(query(name, false, false)),
                response: Some(query(name, true, address)),
                rtt: None,
                repeats: 0,
            };
            let mut out = Vec::new();
            detector.transaction(&transaction, &mut |event| out.push(event));
            assert_eq!(out.len(), expected);
        }
    }

    #[test]
    fn the_shipped_endpoints_are_read_and_a_bad_line_is_named() {
        let endpoints = Endpoints::shipped();
        assert!(endpoints.names.len() > 60 && endpoints.addresses.len() > 60 && endpoints.canaries.len() == 1);
        assert!(endpoints.has_name(&"abc123.dns.nextdns.io".parse().unwrap()));
        assert!(!endpoints.has_name(&"google.com".parse().unwrap()));
        assert_eq!(Endpoints::parse("dns.google\na..b\n").unwrap_err(), (2, "a..b".to_owned()));
    }
}
