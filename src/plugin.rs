//! postern inside any hickory-server program: its filter in front of another request handler, and its resolver as a request handler.
//!
//! [`Filter`] asks [`crate::policy`] before the handler behind it is asked, and again about the aliases in that handler's answer; a blocked
//! name gets the same answer as from the daemon, with its EDE. The [`Gate`] holds lists and rules, and changes while queries run.
//! [`Recursive`] answers from [`crate::resolve`]. Sockets, access control and rate limits are the host program's.
//!
//! Knowingly missing: a `ZoneHandler` for hickory's `Catalog`, which cannot say EDE; put [`Filter`] around the catalog instead. Answers to
//! signed requests (TSIG) and zone transfers pass unread: to write them anew would break their signatures.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::net::{DnsError, NetError};
use hickory_server::proto::op::{Edns, Header, HeaderCounts, Message, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::NULL;
use hickory_server::proto::rr::rdata::opt::EdnsOption;
use hickory_server::proto::rr::{Name as HickoryName, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder, Queries};

use crate::blocklist::file::OpenError;
use crate::blocklist::{List, Protected};
use crate::policy::{Engine, Live, Parts, Verdict, inspect};
use crate::resolve::{Asked, Clock, Exchange, Resolver};
use crate::respond::{self, BlockAnswer, Blocked, MESSAGE_MAX, Terms};
use crate::wire::edns::UDP_PAYLOAD;
use crate::wire::message::HEADER;
use crate::wire::query::{NAME_BUFFER, NameBuffer, Unusual};
use crate::wire::{self, Name, Parsed, Query, Question};

/// How blocked names are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The form of the answer. NXDOMAIN.
    pub answer: BlockAnswer,
    /// TTL of the answer, in seconds. 60: short, so that a wrong block is soon undone.
    pub ttl: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { answer: BlockAnswer::Nxdomain, ttl: 60 }
    }
}

/// Lists and rules, shared between the filters of a program and whoever changes them.
#[derive(Debug)]
pub struct Gate {
    policy: Live,
    settings: ArcSwap<Settings>,
    judged: AtomicU64,
    blocked: AtomicU64,
}

impl Gate {
    /// A gate with one list file (`.plist`, as `postern blocklist build` writes it) and the shipped protected names.
    ///
    /// # Errors
    /// The file cannot be read, or is no whole list.
    pub fn open(list: &Path, settings: Settings) -> Result<Gate, OpenError> {
        let lists = vec![Arc::new(List::open(list)?)];
        Ok(Gate::new(Parts { lists, protected: Arc::new(Protected::shipped()), ..Parts::default() }, settings))
    }

    /// A gate with rules of the caller's making.
    pub fn new(parts: Parts, settings: Settings) -> Gate {
        Gate { policy: Live::new(parts), settings: ArcSwap::from_pointee(settings), judged: AtomicU64::new(0), blocked: AtomicU64::new(0) }
    }

    /// Puts a list file in force, in place of the list with the same id or beside the others. Queries under way keep what they began with.
    ///
    /// # Errors
    /// The file cannot be read, or is no whole list; then nothing changes.
    pub fn load(&self, list: &Path) -> Result<(), OpenError> {
        let list = Arc::new(List::open(list)?);
        self.policy.change(|parts| match parts.lists.iter_mut().find(|old| old.manifest().id == list.manifest().id) {
            Some(old) => *old = list,
            None => parts.lists.push(list),
        });
        Ok(())
    }

    /// The rules in force, for exceptions, protected names and own records.
    pub fn policy(&self) -> &Live {
        &self.policy
    }

    /// Changes how blocked names are answered.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Names judged since the start: questions, not aliases in answers.
    pub fn judged_total(&self) -> u64 {
        self.judged.load(Ordering::Relaxed)
    }

    /// Questions answered with a block since the start.
    pub fn blocked_total(&self) -> u64 {
        self.blocked.load(Ordering::Relaxed)
    }

    /// The answer that blocks `query`.
    fn refusal(&self, query: &Query<'_>, engine: &Engine, verdict: &Verdict, limit: usize) -> Vec<u8> {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        let settings = self.settings.load();
        let block = Blocked { answer: settings.answer, ttl: settings.ttl, text: &verdict.pieces(engine) };
        let mut bytes = Vec::new();
        respond::blocked(&mut bytes, query, &block, &Terms { limit, cookie: None, keepalive: None });
        bytes
    }
}

/// A request handler that blocks what its [`Gate`] says, and leaves everything else to the handler behind it.
#[derive(Debug)]
pub struct Filter<H> {
    gate: Arc<Gate>,
    inner: H,
}

impl<H: RequestHandler> Filter<H> {
    /// `gate` in front of `inner`.
    pub fn new(gate: Arc<Gate>, inner: H) -> Filter<H> {
        Filter { gate, inner }
    }
}

#[async_trait::async_trait]
impl<H: RequestHandler> RequestHandler for Filter<H> {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, out: R) -> ResponseInfo {
        let mut buffer = NAME_BUFFER;
        let Some(query) = filtered(request, &mut buffer) else {
            return self.inner.handle_request::<R, T>(request, out).await;
        };
        let Ok(name) = Name::from_wire(query.name()) else {
            return self.inner.handle_request::<R, T>(request, out).await;
        };
        let (client, now) = (request.src().ip(), T::current_time());
        self.gate.judged.fetch_add(1, Ordering::Relaxed);
        // One snapshot for the question and for its aliases: never a mix of two policies.
        let engine = Arc::clone(&self.gate.policy.load());
        let asked = name.clone();
        let verdict = decide(&engine, move |engine, may_wait| engine.decide(&asked, client, now, may_wait)).await;
        let limit = limit(request, &query);
        if verdict.blocks() {
            let refusal = self.gate.refusal(&query, &engine, &verdict, limit);
            return sent(request, send_own(out, &refusal, MESSAGE_MAX).await);
        }
        let request_bytes = request.as_slice().into();
        let gate = Arc::clone(&self.gate);
        let watched = Watched { out, gate, engine, verdict, request: request_bytes, name, client, now, limit };
        self.inner.handle_request::<Watched<R>, T>(request, watched).await
    }
}

/// Runs a decision, on a thread that may wait where it needs the disk.
async fn decide(engine: &Arc<Engine>, decision: impl Fn(&Engine, bool) -> Verdict + Send + 'static) -> Verdict {
    match decision(engine, false) {
        Verdict::WouldWait => {
            let engine = Arc::clone(engine);
            // A runtime that is shutting down cancels the read: nothing is blocked then, and nothing is answered either.
            tokio::task::spawn_blocking(move || decision(&engine, true)).await.unwrap_or(Verdict::Unlisted)
        }
        verdict => verdict,
    }
}

/// A query that policy has a say in; `None` for all that passes unread.
fn filtered<'a>(request: &'a Request, buffer: &'a mut NameBuffer) -> Option<Query<'a>> {
    match Query::parse(request.as_slice(), buffer) {
        Parsed::Query(query) => {
            (!matches!(query.unusual, Some(Unusual::Class | Unusual::Signed | Unusual::Transfer | Unusual::EdnsVersion))).then_some(query)
        }
        Parsed::Fault(_) | Parsed::Unanswerable(_) => None,
    }
}

fn limit(request: &Request, query: &Query<'_>) -> usize {
    if request.protocol() == Protocol::Udp { query.udp_limit(UDP_PAYLOAD) } else { MESSAGE_MAX }
}

/// The way back to the client, on which the aliases of an answer are judged.
#[derive(Clone)]
struct Watched<R> {
    out: R,
    gate: Arc<Gate>,
    engine: Arc<Engine>,
    /// What let the question through.
    verdict: Verdict,
    request: Arc<[u8]>,
    name: Name,
    client: IpAddr,
    now: u64,
    limit: usize,
}

#[async_trait::async_trait]
impl<R: ResponseHandler> ResponseHandler for Watched<R> {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        // hickory gives a response only to be written: it is written, read, judged, and handed on as read.
        let mut bytes = Vec::with_capacity(usize::from(UDP_PAYLOAD));
        response.destructive_emit(&mut BinEncoder::new(&mut bytes))?;
        let message = Message::from_vec(&bytes).map_err(|e| NetError::from(e.to_string()))?;
        let targets: Vec<Name> = message.answers.iter().filter_map(alias_target).collect();
        if !targets.is_empty() {
            let (name, own, client, now) = (self.name.clone(), self.verdict, self.client, self.now);
            let decision = move |engine: &Engine, may_wait| inspect::targets(engine, &name, &own, &targets, client, now, may_wait).0;
            let verdict = decide(&self.engine, decision).await;
            let mut buffer = NAME_BUFFER;
            if verdict.blocks()
                && let Parsed::Query(query) = Query::parse(&self.request, &mut buffer)
            {
                let refusal = self.gate.refusal(&query, &self.engine, &verdict, self.limit);
                return send_own(self.out.clone(), &refusal, self.limit).await;
            }
        }
        let queries = Queries::read(&mut BinDecoder::new(&bytes[HEADER..]), message.queries.len())?;
        let builder = MessageResponseBuilder::new(&queries, message.edns.as_ref());
        let mut again = builder.build(message.metadata, &message.answers, &message.authorities, [], &message.additionals);
        if let Some(signature) = message.signature {
            again.set_signature(signature);
        }
        self.out.send_response(again).await
    }
}

fn alias_target(record: &Record) -> Option<Name> {
    let name = match &record.data {
        RData::CNAME(alias) => &alias.0,
        RData::ANAME(alias) => &alias.0,
        _ => return None,
    };
    Name::from_wire(&name.to_bytes().ok()?).ok()
}

/// postern's resolver as a request handler: the whole of a resolving server, or what stands behind a [`Filter`].
pub struct Recursive<E, C>(Arc<Resolver<E, C>>);

impl<E: Exchange, C: Clock> Recursive<E, C> {
    /// Answers from `resolver`, which brings its own way to the network and its own clock.
    pub fn new(resolver: Arc<Resolver<E, C>>) -> Recursive<E, C> {
        Recursive(resolver)
    }
}

impl<E, C> std::fmt::Debug for Recursive<E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recursive")
    }
}

#[async_trait::async_trait]
impl<E: Exchange, C: Clock> RequestHandler for Recursive<E, C> {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, out: R) -> ResponseInfo {
        let mut buffer = NAME_BUFFER;
        let mut bytes = Vec::new();
        let mut most = MESSAGE_MAX;
        match Query::parse(request.as_slice(), &mut buffer) {
            Parsed::Unanswerable(_) => return failed(request),
            Parsed::Fault(fault) => respond::fault(&mut bytes, request.as_slice(), fault.rcode()),
            Parsed::Query(query) => match (query.unusual.and_then(Unusual::error), Name::from_wire(query.name())) {
                (Some((rcode, ede)), _) => respond::error(&mut bytes, &query, rcode, ede),
                (None, Err(_)) => respond::fault(&mut bytes, request.as_slice(), wire::Rcode::FORMERR),
                (None, Ok(name)) => {
                    let question = Question::new(name, query.rtype);
                    let asked = Asked { checking_disabled: query.checking_disabled() };
                    let outcome = self.0.resolve(&question, asked).await;
                    let encoding = respond::encode(&question, &outcome, query.dnssec_ok());
                    most = limit(request, &query);
                    let terms = Terms { limit: most, cookie: None, keepalive: None };
                    respond::answer(&mut bytes, &query, &encoding.body(), 0, &terms);
                }
            },
        }
        sent(request, send_own(out, &bytes, most).await)
    }
}

fn sent(request: &Request, result: Result<ResponseInfo, NetError>) -> ResponseInfo {
    result.unwrap_or_else(|_| failed(request))
}

/// For hickory's log only: nothing was sent.
fn failed(request: &Request) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = ResponseCode::ServFail;
    Header { metadata, counts: HeaderCounts::default() }.into()
}

/// Hands a message that `respond` wrote to hickory. RDATA passes octet for octet, whatever hickory thinks of its type. So hickory does not
/// compress the names in it: what is too long that way is cut here, because hickory leaves octets of the record that it cuts behind.
async fn send_own<R: ResponseHandler>(mut out: R, bytes: &[u8], limit: usize) -> Result<ResponseInfo, NetError> {
    let unreadable = |_| NetError::from(DnsError::ResponseCode(ResponseCode::ServFail));
    let message = wire::Message::parse(bytes).map_err(unreadable)?;
    let header = Header::read(&mut BinDecoder::new(bytes))?;
    let queries = Queries::read(&mut BinDecoder::new(&bytes[HEADER..]), usize::from(message.question.is_some()))?;
    let edns = message.edns.as_ref().map(|own| {
        let mut edns = Edns::new();
        edns.set_max_payload(own.udp_size).set_dnssec_ok(own.dnssec_ok);
        for (code, payload) in &own.options {
            edns.options_mut().insert(EdnsOption::Unknown(*code, payload.to_vec()));
        }
        edns
    });
    let mut metadata = header.metadata;
    metadata.response_code = ResponseCode::from((message.rcode().0 >> 4) as u8, (message.rcode().0 & 0xf) as u8);
    let [mut answer, mut authority, mut additional] = [&message.answer, &message.authority, &message.additional]
        .map(|records| records.iter().filter_map(hickory_record).collect::<Vec<_>>());
    let mut whole = Vec::with_capacity(bytes.len());
    MessageResponseBuilder::new(&queries, edns.as_ref())
        .build(metadata, &answer, &authority, [], &additional)
        .destructive_emit(&mut BinEncoder::new(&mut whole))?;
    if whole.len() > limit {
        metadata.truncation = true;
        [&mut answer, &mut authority, &mut additional].into_iter().for_each(Vec::clear);
    }
    let builder = MessageResponseBuilder::new(&queries, edns.as_ref());
    out.send_response(builder.build(metadata, &answer, &authority, [], &additional)).await
}

fn hickory_record(record: &wire::Record) -> Option<Record> {
    let owner = HickoryName::read(&mut BinDecoder::new(record.owner.wire())).ok()?;
    let code = RecordType::from(record.rtype.0);
    Some(Record::from_rdata(owner, record.ttl, RData::Unknown { code, rdata: NULL::with(record.rdata.to_vec()) }))
}
