//! The sensor: what a bystander sees of DNS on the wire.
//!
//! Frames come from interfaces (`capture`, with a kernel filter) or capture files ([`replay`]), [`dissect`] takes them apart, [`join`]
//! makes transactions of queries and responses, [`mod@line`] writes them, and [`bypass`] looks for hosts that go past our resolvers.
//! Everything on the wire is hostile: every table has a size, every buffer a limit, and nothing here panics, whatever a frame says.
//! All but `capture` is pure. Not done: tunnels (GRE, VXLAN), DNS inside QUIC and TLS.

pub mod bypass;
#[cfg(target_os = "linux")]
pub mod capture;
pub mod dissect;
#[cfg(target_os = "linux")]
pub mod filter;
mod ip;
pub mod join;
pub mod line;
pub mod link;
pub mod message;
pub mod present;
pub mod replay;
mod stream;
mod table;
pub mod tls;

use std::net::SocketAddr;
use std::time::Duration;

pub use bypass::{Detector, Event, Means};
pub use dissect::{Counts, Dissector, Limits, Observation, What};
pub use join::{Ending, Joiner, Transaction};
pub use link::LinkType;
pub use message::{Asked, Dns, Flaw, Oddity, Section, Seen};

/// The protocol under a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Proto {
    Udp,
    Tcp,
}

impl Proto {
    /// `udp` or `tcp`.
    pub fn label(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
        }
    }
}

/// From where to where something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// The protocol.
    pub proto: Proto,
    /// Innermost VLAN identifier.
    pub vlan: Option<u16>,
}

/// What a sensor has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A query and what came of it.
    Transaction(Transaction),
    /// A host went past us.
    Bypass(Event),
}

impl Report {
    /// As one line of JSON, without a line end.
    pub fn line(&self) -> String {
        match self {
            Report::Transaction(transaction) => line::transaction(transaction),
            Report::Bypass(event) => event.line(),
        }
    }
}

/// What was counted since the start. Arrays are in the order of the labels of what they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Frames and packets.
    pub frames: Counts,
    /// DNS queries seen.
    pub queries: u64,
    /// DNS responses seen.
    pub responses: u64,
    /// Messages with a flaw, by [`Flaw::label`].
    pub malformed: [u64; Flaw::LABELS.len()],
    /// Transactions by [`Ending`].
    pub endings: [u64; Ending::LABELS.len()],
    /// Queries given up for want of room.
    pub queries_evicted: u64,
    /// Bypasses by [`Means`], told or not.
    pub bypasses: [u64; Means::LABELS.len()],
    /// Bytes of fragments and streams held now.
    pub held_bytes: usize,
    /// Queries that wait for a response now.
    pub waiting: usize,
}

/// Frames in, reports out.
pub struct Sensor {
    dissector: Dissector,
    rest: Rest,
}

/// All that is behind the dissector, which lends itself to its own sink.
struct Rest {
    joiner: Joiner,
    detector: Option<Detector>,
    tally: Tally,
}

impl Sensor {
    /// A sensor that has seen nothing; with a detector it looks for bypass.
    pub fn new(limits: Limits, detector: Option<Detector>) -> Sensor {
        let rest = Rest { joiner: Joiner::new(join::PENDING), detector, tally: Tally::default() };
        Sensor { dissector: Dissector::new(limits), rest }
    }

    /// Takes in one frame, captured at `at` (since 1970).
    pub fn frame(&mut self, at: Duration, link: LinkType, frame: &[u8], out: &mut dyn FnMut(Report)) {
        let rest = &mut self.rest;
        self.dissector.frame(at, link, frame, &mut |observation| rest.observe(observation, out));
    }

    /// Lets time pass where no frame does: what has waited too long is told.
    pub fn tick(&mut self, now: Duration, out: &mut dyn FnMut(Report)) {
        let Rest { joiner, detector, tally } = &mut self.rest;
        joiner.expire(now, &mut |transaction| ended(tally, detector, transaction, out));
        if let Some(detector) = detector {
            detector.tick(now, &mut |event| out(Report::Bypass(event)));
        }
    }

    /// Ends streams and gives up on what waits.
    pub fn finish(&mut self, now: Duration, out: &mut dyn FnMut(Report)) {
        let rest = &mut self.rest;
        self.dissector.finish(now, &mut |observation| rest.observe(observation, out));
        let Rest { joiner, detector, tally } = rest;
        joiner.finish(&mut |transaction| ended(tally, detector, transaction, out));
        if let Some(detector) = detector {
            detector.finish(now, &mut |event| out(Report::Bypass(event)));
        }
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        let Rest { joiner, detector, tally } = &self.rest;
        Tally {
            frames: self.dissector.counts(),
            queries_evicted: joiner.evicted,
            bypasses: detector.as_ref().map(Detector::counts).unwrap_or_default(),
            held_bytes: self.dissector.held_bytes(),
            waiting: joiner.waiting(),
            ..*tally
        }
    }

    /// The detector, if there is one.
    pub fn detector(&self) -> Option<&Detector> {
        self.rest.detector.as_ref()
    }
}

impl Rest {
    fn observe(&mut self, observation: Observation, out: &mut dyn FnMut(Report)) {
        let Rest { joiner, detector, tally } = self;
        if let Some(detector) = detector {
            detector.observe(&observation, &mut |event| out(Report::Bypass(event)));
        }
        let Observation { at, flow, what: What::Message(dns) } = observation else { return };
        *(if dns.is_response() { &mut tally.responses } else { &mut tally.queries }) += 1;
        if let Some(flaw) = dns.flaw {
            tally.malformed[flaw.index()] += 1;
        }
        joiner.message(at, flow, dns, &mut |transaction| ended(tally, detector, transaction, out));
    }
}

fn ended(tally: &mut Tally, detector: &mut Option<Detector>, transaction: Transaction, out: &mut dyn FnMut(Report)) {
    tally.endings[transaction.ending() as usize] += 1;
    if let Some(detector) = detector {
        detector.transaction(&transaction, &mut |event| out(Report::Bypass(event)));
    }
    out(Report::Transaction(transaction));
}
