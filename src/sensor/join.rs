//! Queries and responses joined into transactions.
//!
//! A response belongs to the query with its addresses, ports, protocol and ID; its question must be the query's (RFC 5452 section 9).
//! One that does not match leaves the query waiting, as a resolver would. Queries without a response leave after [`PATIENCE`].

use std::net::SocketAddr;
use std::time::Duration;

use super::message::{Dns, Flaw, Oddity};
use super::table::Table;
use super::{Flow, Proto};

/// How long a query waits for its response: no stub resolver does so longer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Queries that may wait at once, by default: 10 s of 1,600 unanswered a second, about 10 MB.
pub const PENDING: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    server: SocketAddr,
    proto: Proto,
    id: u16,
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// When the query was seen, since 1970; the response where no query was.
    pub at: Duration,
    /// Who asked.
    pub client: SocketAddr,
    /// Who was asked.
    pub server: SocketAddr,
    /// Over what.
    pub proto: Proto,
    /// Innermost VLAN identifier.
    pub vlan: Option<u16>,
    /// The query, without its records; `None` where only a response was seen.
    pub query: Option<Box<Dns>>,
    /// The response.
    pub response: Option<Box<Dns>>,
    /// From the first sight of the query to the response.
    pub rtt: Option<Duration>,
    /// How often the same query was seen again while it waited.
    pub repeats: u32,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A response came.
    Answered,
    /// None came in time.
    Unanswered,
    /// A response without a query.
    Unsolicited,
}

impl Ending {
    /// Every value of [`Ending::label`].
    pub const LABELS: &'static [&'static str] = &["answered", "unanswered", "unsolicited"];

    /// The word for logs and counters.
    pub fn label(self) -> &'static str {
        Ending::LABELS[self as usize]
    }
}

impl Transaction {
    /// How it ended.
    pub fn ending(&self) -> Ending {
        match (&self.query, &self.response) {
            (Some(_), Some(_)) => Ending::Answered,
            (Some(_), None) => Ending::Unanswered,
            (None, _) => Ending::Unsolicited,
        }
    }

    /// The message that has the question: the query, or a response without one.
    pub fn first(&self) -> Option<&Dns> {
        self.query.as_deref().or(self.response.as_deref())
    }

    /// The first thing wrong, in the response before the query.
    pub fn flaw(&self) -> Option<Flaw> {
        self.messages().find_map(|dns| dns.flaw)
    }

    /// Everything odd, in both messages.
    pub fn oddities(&self) -> impl Iterator<Item = Oddity> {
        self.messages().flat_map(|dns| dns.oddities.iter().copied())
    }

    fn messages(&self) -> impl Iterator<Item = &Dns> {
        self.response.as_deref().into_iter().chain(self.query.as_deref())
    }

    /// A name for this transaction that is the same in every run over the same packets.
    pub fn uid(&self) -> String {
        // FNV-1a, 64 bits: short, stable, and nobody's secret.
        let id = self.first().map_or(0, |dns| dns.id);
        let ends = format!("{} {} {:?} {} {}", self.client, self.server, self.proto, id, self.at.as_nanos());
        let hash = ends.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3));
        format!("Q{hash:016x}")
    }
}

/// The queries that wait.
#[derive(Debug)]
pub struct Joiner {
    pending: Table<Key, Transaction>,
    /// Queries given up, for want of room, before their time.
    pub evicted: u64,
}

impl Joiner {
    /// Room for so many waiting queries.
    pub fn new(pending: usize) -> Joiner {
        Joiner { pending: Table::new(pending), evicted: 0 }
    }

    /// Queries that wait now.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes in one message; gives what it completes and what has waited too long.
    pub fn message(&mut self, at: Duration, flow: Flow, mut dns: Box<Dns>, out: &mut dyn FnMut(Transaction)) {
        self.expire(at, out);
        let response = dns.is_response();
        let (client, server) = if response { (flow.destination, flow.source) } else { (flow.source, flow.destination) };
        let key = Key { client, server, proto: flow.proto, id: dns.id };
        let fresh = |query, response| Transaction {
            at,
            client,
            server,
            proto: flow.proto,
            vlan: flow.vlan,
            query,
            response,
            rtt: None,
            repeats: 0,
        };
        if response {
            if self.pending.peek(&key).is_some_and(|waiting| waiting.query.as_deref().is_some_and(|query| answers(query, &dns)))
                && let Some(mut transaction) = self.pending.remove(&key)
            {
                transaction.rtt = Some(at.saturating_sub(transaction.at));
                transaction.response = Some(dns);
                out(transaction);
            } else {
                out(fresh(None, Some(dns)));
            }
            return;
        }
        dns.trim();
        match self.pending.touch(&key, at) {
            Some(waiting) if waiting.query.as_deref().is_some_and(|query| query.questions == dns.questions) => waiting.repeats += 1,
            Some(_) => {
                // The ID is in use again for something else: the old query will not be answered any more.
                out(self.pending.remove(&key).expect("invariant: just touched"));
                self.wait(at, key, fresh(Some(dns), None), out);
            }
            None => self.wait(at, key, fresh(Some(dns), None), out),
        }
    }

    fn wait(&mut self, at: Duration, key: Key, transaction: Transaction, out: &mut dyn FnMut(Transaction)) {
        if let Some((_, evicted)) = self.pending.insert(key, transaction, at) {
            self.evicted += 1;
            out(evicted);
        }
    }

    /// Gives the queries that have waited too long.
    pub fn expire(&mut self, at: Duration, out: &mut dyn FnMut(Transaction)) {
        while let Some((_, transaction)) = self.pending.pop_expired(at, PATIENCE) {
            out(transaction);
        }
    }

    /// Gives every query that still waits.
    pub fn finish(&mut self, out: &mut dyn FnMut(Transaction)) {
        while let Some((_, transaction)) = self.pending.pop_oldest() {
            out(transaction);
        }
    }
}

/// Whether a response can be the query's: the same question, or none (RFC 1035 section 7.3; a FORMERR may come without).
fn answers(query: &Dns, response: &Dns) -> bool {
    match (query.question(), response.question()) {
        (Some(asked), Some(answered)) => (&asked.name, asked.rtype, asked.class) == (&answered.name, answered.rtype, answered.class),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Encoder, Flags, Question, Rtype};

    const SECOND: Duration = Duration::from_secs(1);

    fn message(id: u16, name: &str, response: bool) -> Box<Dns> {
        let flags = Flags(0).with(Flags::QR, response);
        Box::new(Dns::read(&Encoder::new(id, flags, Some(&Question::new(name.parse().unwrap(), Rtype::A))).finish().bytes))
    }

    fn run(joiner: &mut Joiner, at: Duration, dns: Box<Dns>) -> Vec<Transaction> {
        let (client, server) = ("192.0.2.1:4000".parse().unwrap(), "192.0.2.53:53".parse().unwrap());
        let (source, destination) = if dns.is_response() { (server, client) } else { (client, server) };
        let mut out = Vec::new();
        joiner.message(at, Flow { source, destination, proto: Proto::Udp, vlan: None }, dns, &mut |transaction| out.push(transaction));
        out
    }

    #[test]
    fn a_response_is_joined_with_the_first_of_equal_queries() {
        let mut joiner = Joiner::new(4);
        assert_eq!(run(&mut joiner, SECOND, message(7, "a.example", false)), []);
        assert_eq!(run(&mut joiner, 2 * SECOND, message(7, "A.example", false)), []);
        let out = run(&mut joiner, 3 * SECOND, message(7, "a.example", true));
        assert_eq!((out[0].ending(), out[0].rtt, out[0].repeats, out[0].at), (Ending::Answered, Some(2 * SECOND), 1, SECOND));
        assert_eq!(run(&mut joiner, 3 * SECOND, message(7, "a.example", true))[0].ending(), Ending::Unsolicited);
    }

    /// RFC 5452 section 9.1: a response must answer the question that was asked.
    #[test]
    fn a_response_to_another_question_leaves_the_query_waiting() {
        let mut joiner = Joiner::new(4);
        run(&mut joiner, SECOND, message(7, "a.example", false));
        assert_eq!(run(&mut joiner, SECOND, message(7, "b.example", true))[0].ending(), Ending::Unsolicited);
        assert_eq!(run(&mut joiner, SECOND, message(7, "a.example", true))[0].ending(), Ending::Answered);
    }

    #[test]
    fn queries_without_a_response_leave_after_their_time_or_for_want_of_room() {
        let mut joiner = Joiner::new(2);
        run(&mut joiner, SECOND, message(1, "a.example", false));
        run(&mut joiner, SECOND, message(2, "a.example", false));
        let out = run(&mut joiner, SECOND, message(3, "a.example", false));
        assert_eq!((out[0].ending(), out[0].query.as_ref().unwrap().id, joiner.evicted), (Ending::Unanswered, 1, 1));
        let out = run(&mut joiner, SECOND * 12, message(4, "a.example", false));
        assert_eq!((out.len(), joiner.waiting()), (2, 1));
    }
}
