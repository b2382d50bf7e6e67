//! From captured frames to observations: DNS messages, TLS greetings, and connections that ask for either.
//!
//! Pure: frames and their times go in, observations come out, and all state between is bounded by [`Limits`]. [`super::link`],
//! [`super::ip`] and [`super::stream`] each take off one layer; joining queries with responses is [`super::join`]'s work.

use std::time::Duration;

use super::ip::{self, Fragments, Outcome};
use super::link::{self, Carried, LinkType};
use super::message::Dns;
use super::stream::{self, Framing, Key, Piece, Streams};
use super::tls::Hello;
use super::{Flow, Proto};

/// Port of DNS over TLS (RFC 7858) and over QUIC (RFC 9250).
pub(super) const DOT: u16 = 853;
/// Port of HTTPS, where DNS over HTTPS hides (RFC 8484).
pub(super) const HTTPS: u16 = 443;

/// What the dissector looks for, and how much it may remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Ports read as DNS over UDP and TCP. Default: 53.
    pub ports: Vec<u16>,
    /// Datagrams that wait for fragments. Default 256: DNS over fragments is rare, a flood of them is not.
    pub fragmented: usize,
    /// Bytes of waiting fragments. Default 2 MiB.
    pub fragment_bytes: usize,
    /// Directions of TCP connections followed. Default 16,384: two a DNS connection, one a greeting.
    pub streams: usize,
    /// Bytes of TCP streams. Default 16 MiB.
    pub stream_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { ports: vec![53], fragmented: 256, fragment_bytes: 2 << 20, streams: 16_384, stream_bytes: 16 << 20 }
    }
}

/// Something seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When, since 1970.
    pub at: Duration,
    /// From where to where.
    pub flow: Flow,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A DNS message.
    Message(Box<Dns>),
    /// A TLS ClientHello to port 443 or 853.
    Hello(Hello),
    /// A connection asked for on port 443 or 853: a TCP SYN, or the first packet of QUIC.
    Opened,
}

/// What became of the frames, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames seen.
    pub frames: u64,
    /// Octets of them, as captured.
    pub bytes: u64,
    /// Frames that carry no IP.
    pub not_ip: u64,
    /// Frames and packets whose headers do not fit them.
    pub unreadable: u64,
    /// Fragments.
    pub fragments: u64,
    /// Datagrams discarded because their fragments contradict each other.
    pub contradictions: u64,
    /// Datagrams let go, for want of room, before they were whole.
    pub fragments_evicted: u64,
    /// Streams let go for want of room.
    pub streams_evicted: u64,
    /// Holes in TCP streams: octets that were never captured.
    pub stream_holes: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.not_ip += other.not_ip;
        self.unreadable += other.unreadable;
        self.fragments += other.fragments;
        self.contradictions += other.contradictions;
        self.fragments_evicted += other.fragments_evicted;
        self.streams_evicted += other.streams_evicted;
        self.stream_holes += other.stream_holes;
    }
}

/// Takes frames apart.
#[derive(Debug)]
pub struct Dissector {
    limits: Limits,
    fragments: Fragments,
    streams: Streams,
    counts: Counts,
}

impl Dissector {
    /// A dissector that has seen nothing.
    pub fn new(limits: Limits) -> Dissector {
        let fragments = Fragments::new(limits.fragmented, limits.fragment_bytes);
        let streams = Streams::new(limits.streams, limits.stream_bytes);
        Dissector { limits, fragments, streams, counts: Counts::default() }
    }

    /// What became of the frames so far.
    pub fn counts(&self) -> Counts {
        let (fragments, streams) = (&self.fragments, &self.streams);
        Counts { fragments_evicted: fragments.evicted, streams_evicted: streams.evicted, stream_holes: streams.holes, ..self.counts }
    }

    /// Bytes of fragments and streams held now; never above the limits.
    pub fn held_bytes(&self) -> usize {
        self.fragments.bytes() + self.streams.bytes()
    }

    /// Takes one frame apart. `at` is when it was captured, since 1970.
    pub fn frame(&mut self, at: Duration, link: LinkType, frame: &[u8], out: &mut dyn FnMut(Observation)) {
        self.counts.frames += 1;
        self.counts.bytes += frame.len() as u64;
        let (packet, vlan) = match link::carried(link, frame) {
            Carried::Ip(packet, vlan) => (packet, vlan),
            Carried::Other => return self.counts.not_ip += 1,
            Carried::Cut => return self.counts.unreadable += 1,
        };
        let datagram = match self.fragments.packet(at, packet) {
            Outcome::Whole(datagram) => datagram,
            Outcome::Waiting => return self.counts.fragments += 1,
            Outcome::Contradiction => return self.counts.contradictions += 1,
            Outcome::Unreadable => return self.counts.unreadable += 1,
        };
        let ends = |(from, to)| Key { source: (datagram.source, from).into(), destination: (datagram.destination, to).into() };
        match datagram.protocol {
            ip::UDP => match udp(&datagram.payload) {
                Some((from, to, payload)) => self.udp(at, ends((from, to)), vlan, payload, out),
                None => self.counts.unreadable += 1,
            },
            ip::TCP => match stream::segment(&datagram.payload) {
                Some((from, to, segment)) => self.tcp(at, ends((from, to)), vlan, &segment, out),
                None => self.counts.unreadable += 1,
            },
            _ => {}
        }
    }

    /// Ends every stream: at the end of a capture file, or before the sensor stops.
    pub fn finish(&mut self, at: Duration, out: &mut dyn FnMut(Observation)) {
        self.streams.finish(at, &mut |key, at, piece| out(observation(at, *key, None, piece)));
    }

    fn is_dns(&self, ends: &Key) -> bool {
        self.limits.ports.contains(&ends.source.port()) || self.limits.ports.contains(&ends.destination.port())
    }

    fn udp(&self, at: Duration, ends: Key, vlan: Option<u16>, payload: &[u8], out: &mut dyn FnMut(Observation)) {
        let flow = flow(ends, Proto::Udp, vlan);
        if self.is_dns(&ends) {
            out(Observation { at, flow, what: What::Message(Box::new(Dns::read(payload))) });
        } else if matches!(ends.destination.port(), HTTPS | DOT) && payload.first().is_some_and(|octet| octet & 0xf0 == 0xc0) {
            // A long header of type Initial (RFC 9000 section 17.2.2).
            out(Observation { at, flow, what: What::Opened });
        }
    }

    fn tcp(&mut self, at: Duration, ends: Key, vlan: Option<u16>, segment: &stream::Segment<'_>, out: &mut dyn FnMut(Observation)) {
        let framing = if self.is_dns(&ends) {
            Framing::Dns
        } else if matches!(ends.destination.port(), HTTPS | DOT) {
            Framing::Tls
        } else {
            return;
        };
        if framing == Framing::Tls && segment.syn && segment.acknowledgment.is_none() {
            out(Observation { at, flow: flow(ends, Proto::Tcp, vlan), what: What::Opened });
        }
        self.streams.take(at, ends, segment, framing, &mut |key, at, piece| {
            // Streams that end for other reasons meanwhile may belong to another network.
            let vlan = vlan.filter(|_| *key == ends);
            out(observation(at, *key, vlan, piece));
        });
    }
}

fn flow(ends: Key, proto: Proto, vlan: Option<u16>) -> Flow {
    Flow { source: ends.source, destination: ends.destination, proto, vlan }
}

fn observation(at: Duration, ends: Key, vlan: Option<u16>, piece: Piece<'_>) -> Observation {
    let what = match piece {
        Piece::Message(bytes) => What::Message(Box::new(Dns::read(bytes))),
        Piece::BadLength(bytes) => What::Message(Box::new(Dns::bad_frame(bytes))),
        Piece::Hello(hello) => What::Hello(hello),
    };
    Observation { at, flow: flow(ends, Proto::Tcp, vlan), what }
}

/// Ports and payload of a UDP datagram (RFC 768); one longer than what is there is read as far as it goes.
fn udp(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Zero is what a card has yet to fill in.
    let length = match word(4) {
        0 => rest.len(),
        length => usize::from(length).checked_sub(8)?,
    };
    Some((word(0), word(2), &rest[..length.min(rest.len())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::ip::tests::v4;
    use crate::sensor::tls;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1);

    fn udp_packet(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let head = [from.to_be_bytes(), to.to_be_bytes(), (8 + payload.len() as u16).to_be_bytes(), [0, 0]].concat();
        v4(ip::UDP, 1, 0, false, &[&head, payload].concat())
    }

    fn tcp_packet(from: u16, to: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut head = [from.to_be_bytes(), to.to_be_bytes()].concat();
        head.extend(sequence.to_be_bytes());
        head.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        head.extend(payload);
        v4(ip::TCP, 1, 0, false, &head)
    }

    fn seen(packets: &[Vec<u8>]) -> Vec<What> {
        let mut dissector = Dissector::new(Limits::default());
        let mut out = Vec::new();
        for packet in packets {
            dissector.frame(NOW, LinkType::RAW, packet, &mut |observation| out.push(observation.what));
        }
        out
    }

    #[test]
    fn dns_and_greetings_are_seen_and_the_rest_is_not() {
        let query = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
        let out = seen(&[udp_packet(4000, 53, &query), udp_packet(4000, 5353, &query)]);
        assert!(matches!(&out[..], [What::Message(dns)] if dns.id == 7 && dns.flaw.is_none()));
        let hello = tls::tests::hello("dns.example", 9000);
        let out = seen(&[
            tcp_packet(4000, 443, 9, 2, &[]),
            tcp_packet(4000, 443, 10, 0x10, &hello[..20]),
            tcp_packet(443, 4000, 10, 0x10, &hello),
            tcp_packet(4000, 443, 30, 0x10, &hello[20..]),
            tcp_packet(4000, 443, 30, 0x10, &hello[20..]),
        ]);
        assert!(matches!(&out[..], [What::Opened, What::Hello(hello)] if hello.server_name == Some("dns.example".parse().unwrap())));
        assert_eq!(seen(&[udp_packet(4000, 443, &[0xc3, 0]), udp_packet(4000, 443, &[0x43, 0])]), [What::Opened]);
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic_and_memory_is_bounded(
            frames in proptest::collection::vec((0u32..300, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..100)), 0..60),
        ) {
            let limits = Limits { fragmented: 4, fragment_bytes: 10_000, streams: 4, stream_bytes: 10_000, ..Limits::default() };
            let mut dissector = Dissector::new(limits);
            for (link, at, frame) in frames {
                dissector.frame(Duration::from_secs(at.into()), LinkType(link), &frame, &mut |_| {});
                prop_assert!(dissector.held_bytes() <= 20_000);
            }
        }

        /// Starts from frames that mean something, so that the deeper layers are reached.
        #[test]
        fn mutated_frames_never_panic_and_memory_is_bounded(
            steps in proptest::collection::vec((0usize..5, 0usize..120, any::<u8>(), any::<u8>(), 20usize..400), 1..80),
        ) {
            let hello = tls::tests::hello("dns.example", 60);
            let query = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 2, 0, 1];
            let framed = [&[0, 19][..], &query].concat();
            let limits = Limits { fragmented: 4, fragment_bytes: 10_000, streams: 4, stream_bytes: 10_000, ..Limits::default() };
            let mut dissector = Dissector::new(limits);
            for (kind, at, with, port, length) in steps {
                let port = 4000 + u16::from(port % 8);
                let mut packet = match kind {
                    0 => udp_packet(port, 53, &query),
                    1 => tcp_packet(port, 53, u32::from(with), 0x10, &framed),
                    2 => tcp_packet(port, 443, u32::from(with), 0x10, &hello),
                    3 => tcp_packet(port, 853, 0, 2, &[]),
                    _ => v4(ip::UDP, port, usize::from(with) * 8, with & 1 == 0, &query),
                };
                let size = packet.len();
                packet[at % size] ^= with;
                packet.truncate(length);
                dissector.frame(NOW, LinkType::RAW, &packet, &mut |_| {});
                prop_assert!(dissector.held_bytes() <= 20_000);
            }
            dissector.finish(NOW, &mut |_| {});
        }
    }
}
