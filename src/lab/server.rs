//! The lab's name servers on loopback, each with an address and manners of its own. hickory-server owns the sockets and the codec.
//!
//! What is said is decided by [`super::answer`]; here it is put on the wire, or spoilt as the host's [`Manners`] want. One hickory
//! `Server` a host, because a handler is not told which address was asked.
#![allow(clippy::disallowed_methods, reason = "the lab owns its sockets")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns as HickoryEdns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::NULL;
use hickory_server::proto::rr::{Name as HickoryName, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use tokio::net::{TcpListener, UdpSocket};

use super::answer::{Reply, answer};
use super::zone::Zone;
use crate::wire::{Name, Question, Rcode, Rrset, Rtype, edns};

/// How long a slow host takes over an answer: longer than any loopback, shorter than any sensible timeout.
pub const SLOWNESS: Duration = Duration::from_millis(300);
/// A connection without a query for so long is closed.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Answers waiting to be written on one TCP connection.
const TCP_BACKLOG: usize = 32;
/// Ports tried where the system's first choice is taken on another of our addresses.
const PORT_ATTEMPTS: usize = 32;

/// What a host does with queries, apart from what its zones say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Manners {
    /// Answers as the RFCs say.
    Good,
    /// Answers well, but late: [`SLOWNESS`].
    Slow,
    /// Has the port open and never answers.
    Silent,
    /// Nobody listens there.
    Closed,
    /// Says REFUSED to everything.
    Refuses,
    /// Says SERVFAIL to everything.
    Fails,
    /// Knows nothing of the zone and refers to the root: a lame delegation.
    Lame,
    /// Sets TC on every UDP answer and empties it; answers over TCP.
    Truncates,
    /// Says FORMERR where a query carries EDNS (RFC 6891 section 7), and answers plain queries.
    RefusesEdns,
    /// Answers without OPT, without signatures, as before RFC 2671.
    IgnoresEdns,
    /// Echoes the question in lower case: breaks 0x20.
    FoldsCase,
    /// Puts another question into its answers.
    WrongQuestion,
}

/// One name server: an address, its manners, and the zones it holds.
#[derive(Debug, Clone)]
pub struct Host {
    /// Host name, as the NS records have it.
    pub name: Name,
    /// Loopback address.
    pub address: IpAddr,
    /// How it treats queries.
    pub manners: Manners,
    /// What it answers from.
    pub zones: Vec<Arc<Zone>>,
}

/// The hosts' servers, until stopped or dropped.
pub(crate) struct Servers(Vec<Server<Host>>);

impl Servers {
    /// Binds every host on one port: `port`, or one that is free on all addresses.
    ///
    /// # Errors
    /// No such port, or no tokio runtime with I/O.
    pub(crate) async fn start(hosts: &[Host], port: Option<u16>) -> io::Result<(Servers, u16)> {
        let attempts = if port.is_some() { 1 } else { PORT_ATTEMPTS };
        let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..attempts {
            match Self::bind(hosts, port.unwrap_or(0)).await {
                Ok(started) => return Ok(started),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn bind(hosts: &[Host], mut port: u16) -> io::Result<(Servers, u16)> {
        let mut servers = Vec::new();
        for host in hosts.iter().filter(|h| h.manners != Manners::Closed) {
            let at = |port| SocketAddr::new(host.address, port);
            // TCP first: its ephemeral ports are the scarcer ones, for connections that linger.
            let listener = TcpListener::bind(at(port)).await.map_err(|e| at_address(&e, at(port)))?;
            port = listener.local_addr()?.port();
            let socket = UdpSocket::bind(at(port)).await.map_err(|e| at_address(&e, at(port)))?;
            let mut server = Server::new(host.clone());
            server.register_socket(socket);
            server.register_listener(listener, TCP_IDLE, TCP_BACKLOG);
            servers.push(server);
        }
        Ok((Servers(servers), port))
    }

    /// Stops serving and closes the sockets.
    pub(crate) async fn stop(mut self) {
        for server in &mut self.0 {
            // A host whose loop already ended has nothing left to close.
            let _ = server.shutdown_gracefully().await;
        }
    }
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} servers", self.0.len())
    }
}

fn at_address(error: &io::Error, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[async_trait::async_trait]
impl RequestHandler for Host {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, out: R) -> ResponseInfo {
        let nothing = || Header { metadata: Metadata::response_from_request(&request.metadata), counts: HeaderCounts::default() };
        let sent = match self.reply(request) {
            Some(message) => {
                if self.manners == Manners::Slow {
                    tokio::time::sleep(SLOWNESS).await;
                }
                message.send(request, out).await
            }
            None => None,
        };
        sent.unwrap_or_else(|| nothing().into())
    }
}

impl Host {
    /// The reply that this host's manners and zones give; `None` for silence.
    fn reply(&self, request: &Request) -> Option<Outgoing> {
        let question = question(request);
        let has_edns = request.edns.is_some();
        let dnssec_ok = request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
        let mut out = Outgoing { reply: error(Rcode::FORMERR), edns: has_edns, truncated: false, question: None };
        let answered = |dnssec_ok| match &question {
            Ok(question) => answer(&self.zones, question, dnssec_ok),
            Err(rcode) => error(*rcode),
        };
        match self.manners {
            Manners::Silent | Manners::Closed => return None,
            Manners::Refuses => out.reply = error(Rcode::REFUSED),
            Manners::Fails => out.reply = error(Rcode::SERVFAIL),
            Manners::Lame => out.reply = upward_referral(),
            Manners::RefusesEdns if has_edns => out.edns = false,
            Manners::IgnoresEdns => (out.reply, out.edns) = (answered(false), false),
            Manners::Truncates if request.protocol() == Protocol::Udp => {
                out.reply = Reply { authoritative: true, ..error(Rcode::NOERROR) };
                out.truncated = true;
            }
            Manners::FoldsCase => {
                out.reply = answered(dnssec_ok);
                out.question = question.ok();
            }
            Manners::WrongQuestion => {
                out.reply = answered(dnssec_ok);
                out.question = question.ok().map(|q| Question { name: q.name.child(b"wrong").unwrap_or(q.name), ..q });
            }
            Manners::Good | Manners::Slow | Manners::Truncates | Manners::RefusesEdns => out.reply = answered(dnssec_ok),
        }
        Some(out)
    }
}

fn question(request: &Request) -> Result<Question, Rcode> {
    if request.metadata.op_code != OpCode::Query {
        return Err(Rcode::NOTIMP);
    }
    let [query] = request.queries.queries() else { return Err(Rcode::FORMERR) };
    // The name is read from the raw question: hickory's own type compares without case but keeps it.
    let name = Name::read(request.queries.as_bytes(), &mut 0).map_err(|_| Rcode::FORMERR)?;
    Ok(Question { name, rtype: Rtype(query.query_type().into()), class: query.query_class().into() })
}

fn error(rcode: Rcode) -> Reply {
    Reply { rcode, authoritative: false, answer: Vec::new(), authority: Vec::new(), additional: Vec::new() }
}

fn upward_referral() -> Reply {
    let server = Name::root().child(b"root-server").expect("a short label fits");
    let root = Rrset::new(Name::root(), Rtype::NS, 3600, vec![server.wire().into()]);
    Reply { authority: vec![root], ..error(Rcode::NOERROR) }
}

/// A reply on its way out.
struct Outgoing {
    reply: Reply,
    edns: bool,
    truncated: bool,
    /// Replaces the question as it was asked.
    question: Option<Question>,
}

impl Outgoing {
    async fn send<R: ResponseHandler>(self, request: &Request, mut out: R) -> Option<ResponseInfo> {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = self.reply.authoritative;
        metadata.truncation = self.truncated;
        metadata.response_code = ResponseCode::from(0, (self.reply.rcode.0 & 0xf) as u8);
        let replaced = self.question.as_ref().and_then(queries);
        let mut edns = HickoryEdns::new();
        edns.set_max_payload(request.max_payload().min(edns::UDP_PAYLOAD));
        edns.set_dnssec_ok(request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok));
        let builder = MessageResponseBuilder::new(replaced.as_ref().unwrap_or(&request.queries), self.edns.then_some(&edns));
        let [answer, authority, additional] = [&self.reply.answer, &self.reply.authority, &self.reply.additional]
            .map(|sets| sets.iter().flat_map(records).collect::<Vec<_>>());
        out.send_response(builder.build(metadata, &answer, &authority, &[], &additional)).await.ok()
    }
}

fn queries(question: &Question) -> Option<Queries> {
    let wire = [question.name.wire(), &question.rtype.0.to_be_bytes(), &question.class.to_be_bytes()].concat();
    Queries::read(&mut BinDecoder::new(&wire), 1).ok()
}

/// The records of an RRset and of its signatures, their RDATA octet for octet as it is here.
fn records(set: &Rrset) -> Vec<Record> {
    let Ok(owner) = HickoryName::read(&mut BinDecoder::new(set.owner.wire())) else { return Vec::new() };
    let record = |rtype: Rtype, rdata: &[u8]| {
        let code = RecordType::from(rtype.0);
        Record::from_rdata(owner.clone(), set.ttl, RData::Unknown { code, rdata: NULL::with(rdata.to_vec()) })
    };
    let data = set.rdatas.iter().map(|r| record(set.rtype, r));
    data.chain(set.sigs.iter().map(|s| record(Rtype::RRSIG, s))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Internet;
    use super::*;
    use crate::wire::{Encoder, Flags, Message};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn query(question: &Question, with_edns: bool) -> Vec<u8> {
        let mut bytes = Encoder::new(4711, Flags(0), Some(question)).finish().bytes;
        if with_edns {
            edns::Edns::new(true).write(&mut bytes);
            bytes[11] = 1;
        }
        bytes
    }

    async fn over_udp(to: SocketAddr, query: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(query, to).await.unwrap();
        let mut buffer = [0; 4096];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, to);
        Message::parse(&buffer[..length]).unwrap()
    }

    async fn over_tcp(to: SocketAddr, query: &[u8]) -> Message {
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat()).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        Message::parse(&bytes).unwrap()
    }

    #[tokio::test]
    async fn hosts_answer_on_udp_and_tcp_each_with_its_manners() {
        let internet = Internet::build(5, 1_800_000_000);
        let running = internet.start(None).await.unwrap();
        let host = |manners| {
            let host = internet.hosts().iter().find(|h| h.manners == manners).unwrap();
            (SocketAddr::new(host.address, running.port), host.zones[0].apex().clone())
        };
        let (at, apex) = host(Manners::Good);
        let root = over_udp(at, &query(&Question::new(apex, Rtype::NS), true)).await;
        assert!(root.flags.has(Flags::AA) && root.edns.is_some_and(|e| e.dnssec_ok));
        assert_eq!((root.answer.len(), root.additional.len()), (3, 4));

        let (at, apex) = host(Manners::Truncates);
        let big = Question::new(apex.child(b"big").unwrap(), Rtype::TXT);
        let short = over_udp(at, &query(&big, true)).await;
        assert!(short.flags.has(Flags::TC) && short.answer.is_empty());
        assert_eq!(over_tcp(at, &query(&big, true)).await.answer.len(), 13);

        let (at, apex) = host(Manners::RefusesEdns);
        let soa = Question::new(apex, Rtype::SOA);
        assert_eq!(over_udp(at, &query(&soa, true)).await.rcode(), Rcode::FORMERR);
        assert_eq!(over_udp(at, &query(&soa, false)).await.answer.len(), 1);

        let (at, apex) = host(Manners::WrongQuestion);
        let soa = Question::new(apex, Rtype::SOA);
        assert_ne!(over_udp(at, &query(&soa, true)).await.question, Some(soa));
        let (at, apex) = host(Manners::Lame);
        let lame = over_udp(at, &query(&Question::new(apex, Rtype::SOA), true)).await;
        assert!(!lame.flags.has(Flags::AA) && lame.authority[0].owner.is_root());
        running.stop().await;
    }

    /// RFC 6891 section 6.2.5: an answer longer than the requestor's payload size is cut and says so.
    #[tokio::test]
    async fn an_rrset_that_does_not_fit_is_cut_and_marked() {
        let internet = Internet::build(6, 1_800_000_000);
        let running = internet.start(None).await.unwrap();
        let telling = internet.questions().iter().find(|q| q.rtype == Rtype::TXT && q.expect.rcode == Rcode::NOERROR).unwrap();
        let holds = |h: &&Host| h.zones.iter().any(|z| z.rrset(&telling.name, Rtype::TXT).is_some()) && h.manners == Manners::Good;
        let host = internet.hosts().iter().find(holds).unwrap();
        let reply =
            over_udp(SocketAddr::new(host.address, running.port), &query(&Question::new(telling.name.clone(), Rtype::TXT), true)).await;
        assert!(reply.flags.has(Flags::TC));
        running.stop().await;
    }
}
