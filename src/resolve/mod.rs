//! One question to one outcome: by iteration from the root, or through a forwarder, validated.
//!
//! Plain async code over two small traits, [`Exchange`] and [`Clock`], so that whole scenarios replay with a scripted network and a
//! fake clock. Every decision is a pure function in a file of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::validate::Status;
use crate::wire::{Ede, Rcode, Rrset};

/// How a query travels to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram each way, from a random port.
    Udp,
    /// A stream (RFC 7766).
    Tcp,
}

/// Why a server gave no usable bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing acceptable arrived in time. `ignored` datagrams did arrive from the server's address and did not match.
    #[error("timed out ({ignored} replies did not match)")]
    Timeout {
        /// Replies that did not match the query; many of them mean somebody is guessing.
        ignored: u32,
    },
    /// A reply matched in everything but the case of the question (0x20).
    #[error("the reply does not echo the case of the question")]
    CaseMismatch,
    /// The network said no: unreachable, connection refused or reset.
    #[error("unreachable")]
    Unreachable,
}

/// Sends one query to one server and gives back the bytes of the reply that matches it.
///
/// An implementation accepts a reply only from the address and port asked, with the query's ID and QR=1, and with the same question
/// (or none, where the RCODE is an error); it ignores everything else and goes on waiting until `timeout`.
pub trait Exchange: Send + Sync + 'static {
    /// Sends `query`, whole and without a TCP length, to `to`.
    fn exchange(
        &self,
        to: SocketAddr,
        via: Transport,
        query: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, ExchangeError>> + Send;
}

/// Time as the rooms see it.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed start; never goes back.
    fn now(&self) -> Duration;
    /// Seconds since 1970 (for signatures, expiry and schedules).
    fn wall(&self) -> u64;
    /// Whether [`Clock::wall`] is above the clock floor, so that signature times can be judged.
    fn wall_is_trusted(&self) -> bool;
    /// Resolves after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// What a client asked of validation (RFC 6840 section 5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Asked {
    /// CD: give the data even where it is Bogus.
    pub checking_disabled: bool,
}

/// The end of a resolution, whole: what respond needs to encode any client's answer from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Response code for the client.
    pub rcode: Rcode,
    /// Answer section: the CNAME and DNAME chain in order, then the final RRset, with signatures.
    pub answer: Vec<Arc<Rrset>>,
    /// Authority section: SOA, NSEC and NSEC3 with signatures, as far as a client with DO=1 may need them.
    pub authority: Vec<Arc<Rrset>>,
    /// Security status over the whole answer: the weakest step counts.
    pub status: Status,
    /// Extended errors to show, own and kept from upstream.
    pub ede: Vec<Ede>,
    /// Seconds that this outcome may be reused; 0 is not cached.
    pub ttl: u32,
    /// Served past its expiry (RFC 8767).
    pub stale: bool,
}

impl Outcome {
    /// SERVFAIL with a reason.
    pub fn servfail(status: Status, ede: Vec<Ede>) -> Outcome {
        Outcome { rcode: Rcode::SERVFAIL, answer: Vec::new(), authority: Vec::new(), status, ede, ttl: 0, stale: false }
    }
}
