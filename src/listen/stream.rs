//! DNS over TCP: pipelined, answered out of order, bounded in every direction (RFC 7766).
//!
//! One task a connection; it answers by itself what the fast half can and spawns a task for each query that must wait. An idle
//! connection costs its task and no buffer. Limits: connections in all and per client, queries in flight on one, time in silence (a
//! message that trickles in counts as silence), time in all, time to take our answers. Where all places are taken the connection
//! longest idle is closed first. Clients that are not served get few places and one answer each.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::queue::Places;
use super::service::{Answer, Packet, Service, Step, Why};
use crate::telemetry::label::{Dropped, Transport};
use crate::wire::message::HEADER;

/// Octets taken from the kernel at once.
const READ_CHUNK: usize = 4096;
/// Answers are written when they reach this size, and no query is read before they are taken.
const WRITE_CHUNK: usize = 16 << 10;
/// The part of all connections that clients who are not served may hold is one in this many.
const STRANGERS: usize = 16;
/// Wait after the system refused to accept, which it does when it runs out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of streams.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all. Default 10,000: idle ones are cheap.
    pub connections: usize,
    /// Connections of one client address. Default 100: a forwarder behind us opens a few.
    pub per_client: usize,
    /// Queries in flight on one connection; more are not read before one is answered. Default 32.
    pub pipeline: usize,
    /// Silence after which a connection is closed. Default 10 s (RFC 7766 section 6.2.3).
    pub idle: Duration,
    /// Life of a connection in all. Default one hour: nobody holds a place for ever.
    pub total: Duration,
    /// Time for the client to take our answers. Default 5 s.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let [idle, total, write] = [10, 3600, 5].map(Duration::from_secs);
        Limits { connections: 10_000, per_client: 100, pipeline: 32, idle, total, write }
    }
}

/// The open connections.
pub(super) struct Streams {
    limits: Mutex<Arc<Limits>>,
    table: Mutex<Table>,
    places: Arc<Places>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    clients: HashMap<IpAddr, usize>,
    strangers: usize,
}

struct Open {
    client: IpAddr,
    stranger: bool,
    state: Arc<State>,
}

/// What the table sees of a connection.
struct State {
    /// Since when it is silent, in milliseconds of the service's time.
    since: AtomicU64,
    busy: AtomicBool,
    close: Notify,
}

/// A place in the table; given back when dropped.
struct Seat {
    streams: Arc<Streams>,
    id: u64,
    state: Arc<State>,
    stranger: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.streams.table();
        if let Some(open) = table.open.remove(&self.id) {
            table.strangers -= usize::from(open.stranger);
            if let Some(count) = table.clients.get_mut(&open.client) {
                *count -= 1;
                if *count == 0 {
                    table.clients.remove(&open.client);
                }
            }
        }
    }
}

impl Streams {
    pub(super) fn new(limits: Limits, places: Arc<Places>) -> Streams {
        Streams { limits: Mutex::new(Arc::new(limits)), table: Mutex::default(), places }
    }

    pub(super) fn limit(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    pub(super) fn open(&self) -> usize {
        self.table().open.len()
    }

    /// Closes the connections on which nothing is in flight.
    pub(super) fn close_idle(&self) {
        self.table().open.values().filter(|open| !open.state.busy.load(Relaxed)).for_each(|open| open.state.close.notify_one());
    }

    /// Closes every connection.
    pub(super) fn close_all(&self) {
        self.table().open.values().for_each(|open| open.state.close.notify_one());
    }

    fn limits(&self) -> Arc<Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection; where all are taken, the one longest idle has to leave. `None` where none is to be had.
    fn seat(self: &Arc<Self>, client: IpAddr, stranger: bool, now: Duration) -> Option<Seat> {
        let limits = self.limits();
        let mut table = self.table();
        if table.clients.get(&client).is_some_and(|count| *count >= limits.per_client)
            || stranger && table.strangers >= (limits.connections / STRANGERS).max(1)
        {
            return None;
        }
        if table.open.len() >= limits.connections {
            // The scan is long, but it happens to a full table only, once a connection.
            // Of two that fell idle in the same millisecond the older connection leaves.
            let idle = table.open.iter().filter(|(_, open)| !open.state.busy.load(Relaxed));
            let (_, longest) = idle.min_by_key(|(id, open)| (open.state.since.load(Relaxed), **id))?;
            longest.state.close.notify_one();
            // It leaves in its own time; far above the limit, newcomers wait for that.
            if stranger || table.open.len() > limits.connections + limits.connections / 8 {
                return None;
            }
        }
        let id = table.next;
        table.next += 1;
        let state = Arc::new(State { since: AtomicU64::new(now.as_millis() as u64), busy: AtomicBool::new(false), close: Notify::new() });
        table.open.insert(id, Open { client, stranger, state: state.clone() });
        *table.clients.entry(client).or_default() += 1;
        table.strangers += usize::from(stranger);
        Some(Seat { streams: self.clone(), id, state, stranger })
    }
}

/// Accepts connections for ever.
pub(super) async fn accept(listener: TcpListener, service: Arc<Service>, streams: Arc<Streams>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let rules = service.rules();
        let stranger = !rules.acl.contains(from.ip());
        if stranger && rules.silent {
            service.counters().dropped(Dropped::Acl);
            continue;
        }
        drop(rules);
        match streams.seat(from.ip().to_canonical(), stranger, service.now().monotonic) {
            Some(seat) => drop(tokio::spawn(converse(stream, from, service.clone(), seat))),
            None => service.counters().dropped(Dropped::StreamLimit),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed it, or broke the protocol.
    Closed,
    /// Too slow or silent for too long, with a message half sent or answers not taken.
    Slow,
}

/// Serves one connection to its end.
async fn converse(stream: TcpStream, from: SocketAddr, service: Arc<Service>, seat: Seat) {
    // Small answers must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let limits = seat.streams.limits();
    let mut conversation =
        Conversation { stream, from, service, seat, limits, input: Vec::new(), output: Vec::new(), resolving: JoinSet::new() };
    if conversation.run().await == End::Slow {
        conversation.service.counters().dropped(Dropped::StreamTimeout);
    }
    // What is being resolved still fills the cache.
    conversation.resolving.detach_all();
}

struct Conversation {
    stream: TcpStream,
    from: SocketAddr,
    service: Arc<Service>,
    seat: Seat,
    limits: Arc<Limits>,
    input: Vec<u8>,
    output: Vec<u8>,
    resolving: JoinSet<Answer>,
}

impl Conversation {
    async fn run(&mut self) -> End {
        let end = Instant::now() + self.limits.total;
        let mut silent_since = Instant::now();
        loop {
            let reading = self.resolving.len() < self.limits.pipeline;
            let idle = if self.resolving.is_empty() { silent_since + self.limits.idle } else { end };
            tokio::select! {
                () = self.seat.state.close.notified() => return End::Closed,
                Some(done) = self.resolving.join_next(), if !self.resolving.is_empty() => match done {
                    Ok(Answer::Reply(reply)) => push_frame(&mut self.output, &reply),
                    // A query that must not be answered, or a defect: the client gets no answer to it.
                    Ok(Answer::Silence) | Err(_) => {}
                },
                ready = self.stream.readable(), if reading => {
                    if ready.is_err() || !self.read() {
                        return self.finish().await;
                    }
                }
                () = sleep_until(idle.min(end)) => return if self.input.is_empty() { End::Closed } else { End::Slow },
            }
            loop {
                let before = self.input.len();
                if !self.take_queries() {
                    return self.finish().await;
                }
                let progress = self.input.len() != before;
                if progress || !self.output.is_empty() {
                    silent_since = Instant::now();
                }
                if !self.flush().await {
                    return End::Slow;
                }
                // What was left because of the answers before it is taken now.
                if !progress {
                    break;
                }
            }
            let state = &self.seat.state;
            state.busy.store(!self.resolving.is_empty(), Relaxed);
            state.since.store(self.service.now().monotonic.as_millis() as u64, Relaxed);
        }
    }

    /// Takes what the kernel has; `false` at the end of the stream.
    fn read(&mut self) -> bool {
        let mut chunk = [0; READ_CHUNK];
        match self.stream.try_read(&mut chunk) {
            Ok(0) => false,
            Ok(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Answers every whole message of the input, as far as the limits allow; `false` where the client must be let go.
    fn take_queries(&mut self) -> bool {
        let mut taken = 0;
        let goes_on = loop {
            let rest = &self.input[taken..];
            let Some(length) = rest.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length))) else { break true };
            // Nobody who speaks DNS sends less than a header.
            if length < HEADER {
                break false;
            }
            if rest.len() < 2 + length || self.resolving.len() >= self.limits.pipeline || self.output.len() >= WRITE_CHUNK {
                break true;
            }
            let message = self.input[taken + 2..taken + 2 + length].to_vec();
            taken += 2 + length;
            if !self.query(message) || self.seat.stranger {
                break false;
            }
        };
        self.input.drain(..taken);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        goes_on
    }

    /// Answers one query or has it resolved; `false` for one that breaks the protocol.
    fn query(&mut self, bytes: Vec<u8>) -> bool {
        let (now, mut reply) = (self.service.now(), Vec::with_capacity(512));
        let packet = Packet { bytes: &bytes, from: self.from, transport: Transport::Tcp, cut: false };
        let step = self.service.answer_now(&self.service.rules(), &packet, &now, &mut reply, self.service.counters());
        match step {
            Step::Reply(served) => {
                push_frame(&mut self.output, &reply);
                self.service.counters().latency(served, self.service.now().monotonic.saturating_sub(now.monotonic));
            }
            Step::Error => push_frame(&mut self.output, &reply),
            Step::Dropped => return false,
            Step::Slow(why) => self.resolve(bytes, why, now.monotonic),
        }
        true
    }

    fn resolve(&mut self, bytes: Vec<u8>, why: Why, started: Duration) {
        let Some(place) = self.seat.streams.places.take(self.from.ip()) else {
            let (rules, now, mut reply) = (self.service.rules(), self.service.now(), Vec::new());
            let packet = Packet { bytes: &bytes, from: self.from, transport: Transport::Tcp, cut: false };
            let counters = self.service.counters();
            self.service.answer_without_place(&rules, &packet, why, &now, &mut reply, counters);
            return push_frame(&mut self.output, &reply);
        };
        let (service, from) = (self.service.clone(), self.from);
        self.resolving.spawn(async move {
            let packet = Packet { bytes: &bytes, from, transport: Transport::Tcp, cut: false };
            let answer = service.answer_slowly(&packet, why, started).await;
            drop(place);
            answer
        });
    }

    /// Sends what is still to be said to a client that has stopped asking.
    async fn finish(&mut self) -> End {
        let all = async {
            while let Some(done) = self.resolving.join_next().await {
                if let Ok(Answer::Reply(reply)) = done {
                    push_frame(&mut self.output, &reply);
                }
            }
        };
        tokio::select! {
            _ = timeout(self.limits.idle, all) => {}
            () = self.seat.state.close.notified() => {}
        }
        if self.flush().await { End::Closed } else { End::Slow }
    }

    async fn flush(&mut self) -> bool {
        if self.output.is_empty() {
            return true;
        }
        let written = timeout(self.limits.write, self.stream.write_all(&self.output)).await;
        self.output = Vec::new();
        matches!(written, Ok(Ok(())))
    }
}

/// Appends a message with its length (RFC 1035 section 4.2.2).
fn push_frame(output: &mut Vec<u8>, message: &[u8]) {
    output.extend_from_slice(&(message.len() as u16).to_be_bytes());
    output.extend_from_slice(message);
}
