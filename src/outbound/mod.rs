//! The way out: sockets and the system's clock behind the resolver's [`Exchange`] and [`crate::resolve::Clock`].
//!
//! [`udp`] sends each query from a port of its own (RFC 5452), [`tcp`] keeps streams open and pipelines (RFC 7766), [`clock`] knows the
//! time below which the machine's clock is not believed. Encrypted forwarders are not here yet.

pub mod clock;
pub mod tcp;
pub mod udp;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

pub use clock::SystemClock;

use crate::resolve::{Exchange, ExchangeError, Transport};
use crate::wire::message::HEADER;
use crate::wire::{Flags, Rcode};

/// Limits of what goes out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// UDP queries in flight, a socket each. Default 1024: below the usual soft limit of open files with all else.
    pub udp_sockets: usize,
    /// Source ports to choose from. Default 32768 to 60999, the kernel's own range.
    pub ports: RangeInclusive<u16>,
    /// Source address of IPv4 queries; unspecified lets the kernel choose.
    pub source_v4: Ipv4Addr,
    /// Source address of IPv6 queries; unspecified lets the kernel choose.
    pub source_v6: Ipv6Addr,
    /// Streams open at once, one a server. Default 128.
    pub streams: usize,
    /// Queries in flight on one stream. Default 64.
    pub pipeline: usize,
    /// How long an idle stream is kept. Default 10 s: as long as many name servers do.
    pub stream_idle: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            udp_sockets: 1024,
            ports: 32768..=60999,
            source_v4: Ipv4Addr::UNSPECIFIED,
            source_v6: Ipv6Addr::UNSPECIFIED,
            streams: 128,
            pipeline: 64,
            stream_idle: Duration::from_secs(10),
        }
    }
}

/// The network as the resolver sees it.
#[derive(Debug)]
pub struct Network {
    udp: udp::Udp,
    tcp: tcp::Tcp,
}

impl Network {
    /// A network of these limits. Nothing is opened yet.
    pub fn new(settings: Settings) -> Network {
        Network { udp: udp::Udp::new(&settings), tcp: tcp::Tcp::new(&settings) }
    }
}

impl Exchange for Network {
    async fn exchange(&self, to: SocketAddr, via: Transport, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        match via {
            Transport::Udp => self.udp.exchange(to, query, timeout).await,
            Transport::Tcp => self.tcp.exchange(to, query, timeout).await,
        }
    }
}

/// How a datagram or frame from the server's address relates to the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    /// In everything but the case of the question.
    Case,
    No,
}

/// Compares a reply with `query` (RFC 5452 section 4.2): QR, and the question octet by octet. Equal IDs are the caller's to check. A question
/// without capital letters leans on no case, so the server may echo it in any (RFC 4343 section 3).
fn answers(query: &[u8], reply: &[u8]) -> Match {
    let Some(header) = reply.first_chunk::<HEADER>() else { return Match::No };
    let flags = Flags(u16::from_be_bytes([header[2], header[3]]));
    if !flags.has(Flags::QR) {
        return Match::No;
    }
    // Some servers answer what they cannot read with a bare header.
    if header[4..6] == [0, 0] {
        return if flags.rcode_low() != Rcode::NOERROR.0 as u8 { Match::Yes } else { Match::No };
    }
    let Ok(name_len) = crate::wire::name::skip_uncompressed(&query[HEADER..]) else { return Match::No };
    let question = HEADER..HEADER + name_len + 4;
    let (Some(asked), Some(echoed)) = (query.get(question.clone()), reply.get(question)) else { return Match::No };
    if header[4..6] != [0, 1] || asked[name_len..] != echoed[name_len..] {
        Match::No
    } else if asked == echoed {
        Match::Yes
    } else if asked.eq_ignore_ascii_case(echoed) {
        if asked[..name_len].iter().any(u8::is_ascii_uppercase) { Match::Case } else { Match::Yes }
    } else {
        Match::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03wWw\x02ex\0\0\x01\0\x01";

    fn with(at: usize, value: u8) -> Vec<u8> {
        let mut reply = QUERY.to_vec();
        reply[2] |= 0x80;
        reply[at] = value;
        reply
    }

    /// RFC 5452 section 4.2 and 9.1: what a reply must repeat.
    #[test]
    fn a_reply_repeats_the_question_to_the_letter() {
        assert_eq!(answers(QUERY, &with(2, 0x81)), Match::Yes);
        assert_eq!(answers(QUERY, &with(13, b'W')), Match::Case);
        assert_eq!(answers(QUERY, &with(13, b'v')), Match::No);
        let plain = QUERY.to_ascii_lowercase();
        assert_eq!(answers(&plain, &with(13, b'W')), Match::Yes);
        assert_eq!(answers(&plain, &with(13, b'v')), Match::No);
        assert_eq!(answers(QUERY, &with(2, 1)), Match::No);
        assert_eq!(answers(QUERY, &with(QUERY.len() - 3, 2)), Match::No);
        assert_eq!(answers(QUERY, &with(5, 2)), Match::No);
        assert_eq!(answers(QUERY, &with(2, 0x81)[..20]), Match::No);
        let mut bare = with(5, 0)[..12].to_vec();
        assert_eq!(answers(QUERY, &bare), Match::No);
        bare[3] = 1;
        assert_eq!(answers(QUERY, &bare), Match::Yes);
    }
}
