//! The sensor: what a bystander sees of DNS on the wire.
//!
//! Frames go in ([`replay`] reads them from capture files), [`dissect`] takes them apart, [`join`] makes transactions of queries and
//! responses, [`line`] writes them. Everything on the wire is hostile: every table has a size, every buffer a limit, and nothing here
//! panics, whatever a frame says. Rooms and shell meet at [`Sensor`]. Not done: tunnels (GRE, VXLAN), DNS inside QUIC and TLS.

pub mod bypass;
pub mod dissect;
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

/// Frames in, transactions out.
#[derive(Debug)]
pub struct Sensor {
    dissector: Dissector,
    joiner: Joiner,
}

impl Sensor {
    /// A sensor that has seen nothing.
    pub fn new(limits: Limits) -> Sensor {
        Sensor { dissector: Dissector::new(limits), joiner: Joiner::new(join::PENDING) }
    }

    /// Takes in one frame, captured at `at` (since 1970).
    pub fn frame(&mut self, at: Duration, link: LinkType, frame: &[u8], out: &mut dyn FnMut(Transaction)) {
        let joiner = &mut self.joiner;
        self.dissector.frame(at, link, frame, &mut |observation| observe(joiner, observation, out));
    }

    /// Ends streams and gives up on queries that wait.
    pub fn finish(&mut self, at: Duration, out: &mut dyn FnMut(Transaction)) {
        let joiner = &mut self.joiner;
        self.dissector.finish(at, &mut |observation| observe(joiner, observation, out));
        joiner.finish(out);
    }

    /// What became of the frames.
    pub fn counts(&self) -> Counts {
        self.dissector.counts()
    }
}

fn observe(joiner: &mut Joiner, observation: Observation, out: &mut dyn FnMut(Transaction)) {
    if let What::Message(dns) = observation.what {
        joiner.message(observation.at, observation.flow, dns, out);
    }
}
