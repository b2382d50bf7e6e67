//! IP packets and their fragments: from a packet to what UDP or TCP gets.
//!
//! IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200 section 4), reassembly with a bound on everything. Overlapping fragments
//! that agree are taken, ones that do not discard the datagram (RFC 5722): a sensor must not guess which one the host believed.
//! Checksums are not looked at: on the capturing host they are often not yet filled in. Not done: tunnels, ESP, jumbograms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::table::Table;

/// Protocol numbers that lead on.
pub(super) const TCP: u8 = 6;
/// See [`TCP`].
pub(super) const UDP: u8 = 17;

/// Most extension headers in a row: RFC 8200 section 4.1 knows seven.
const MAX_EXTENSIONS: usize = 8;
/// Longest datagram that fragments can make.
const MAX_DATAGRAM: usize = 65_535;
/// Most fragments of one datagram: 64 KiB in pieces of 576 octets is 118.
const MAX_FRAGMENTS: usize = 128;
/// How long a fragment waits for the others (RFC 8200 section 4.5: 60 s; DNS has given up long before).
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole datagram, or as much of one as was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) payload: std::borrow::Cow<'a, [u8]>,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// A datagram is whole.
    Whole(Datagram<'a>),
    /// A fragment that waits for others.
    Waiting,
    /// Not a packet, or one that carries nothing readable.
    Unreadable,
    /// Fragments that contradict each other, or too many of them.
    Contradiction,
}

/// One IP packet, perhaps a fragment.
struct Packet<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &'a [u8],
    fragment: Option<Fragment>,
}

struct Fragment {
    id: u32,
    offset: usize,
    more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    /// Ranges present, ordered and apart from each other.
    have: Vec<(usize, usize)>,
    length: Option<usize>,
    count: usize,
    /// Bytes of memory this was last reckoned at.
    weight: usize,
}

/// Datagrams that are not whole yet.
#[derive(Debug)]
pub(super) struct Fragments {
    pending: Table<Key, Pieces>,
    bytes: usize,
    limit_bytes: usize,
    /// Datagrams given up because there was no room.
    pub(super) evicted: u64,
}

impl Fragments {
    /// Room for so many datagrams and so many bytes of them.
    pub(super) fn new(datagrams: usize, limit_bytes: usize) -> Fragments {
        Fragments { pending: Table::new(datagrams), bytes: 0, limit_bytes, evicted: 0 }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in one packet.
    pub(super) fn packet<'a>(&mut self, at: Duration, bytes: &'a [u8]) -> Outcome<'a> {
        while let Some((_, pieces)) = self.pending.pop_expired(at, PATIENCE) {
            self.bytes -= pieces.weight;
        }
        let Some(packet) = read(bytes) else { return Outcome::Unreadable };
        let Packet { source, destination, protocol, payload, fragment } = packet;
        let Some(fragment) = fragment else {
            return Outcome::Whole(Datagram { source, destination, protocol, payload: payload.into() });
        };
        let key = Key { source, destination, protocol, id: fragment.id };
        if self.pending.peek(&key).is_none()
            && let Some((_, pieces)) = self.pending.insert(key, Pieces::default(), at)
        {
            self.evicted += 1;
            self.bytes -= pieces.weight;
        }
        let pieces = self.pending.touch(&key, at).expect("invariant: put there above");
        let result = pieces.add(&fragment, payload);
        self.bytes -= pieces.weight;
        pieces.weight = pieces.bytes.capacity() + pieces.have.capacity() * size_of::<(usize, usize)>();
        self.bytes += pieces.weight;
        let outcome = match result {
            None => {
                self.forget(&key);
                Outcome::Contradiction
            }
            Some(false) => Outcome::Waiting,
            Some(true) => {
                let pieces = self.forget(&key).expect("invariant: just touched");
                reassembled(key, pieces.bytes)
            }
        };
        while self.bytes > self.limit_bytes {
            let Some((_, pieces)) = self.pending.pop_oldest() else { break };
            self.evicted += 1;
            self.bytes -= pieces.weight;
        }
        outcome
    }

    fn forget(&mut self, key: &Key) -> Option<Pieces> {
        let pieces = self.pending.remove(key)?;
        self.bytes -= pieces.weight;
        Some(pieces)
    }
}

impl Pieces {
    /// Adds one fragment; `true` when the datagram is whole, `None` when it cannot become so.
    fn add(&mut self, fragment: &Fragment, payload: &[u8]) -> Option<bool> {
        let (start, end) = (fragment.offset, fragment.offset + payload.len());
        self.count += 1;
        if end > MAX_DATAGRAM || self.count > MAX_FRAGMENTS || (fragment.more && payload.is_empty()) {
            return None;
        }
        if !fragment.more {
            if self.length.is_some_and(|length| length != end) {
                return None;
            }
            self.length = Some(end);
        }
        if self.length.is_some_and(|length| end > length || self.bytes.len() > length) {
            return None;
        }
        for &(from, to) in &self.have {
            let (from, to) = (from.max(start), to.min(end));
            if from < to && self.bytes[from..to] != payload[from - start..to - start] {
                return None;
            }
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(payload);
        self.have.push((start, end));
        self.have.sort_unstable();
        self.have.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1;
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        Some(self.length.is_some_and(|length| self.have == [(0, length)]))
    }
}

/// The datagram that fragments have made; in IPv6 extension headers may stand behind the fragment header.
fn reassembled(key: Key, mut bytes: Vec<u8>) -> Outcome<'static> {
    let Key { source, destination, mut protocol, .. } = key;
    if source.is_ipv6() {
        let Some((next, rest, None)) = walk(protocol, &bytes) else { return Outcome::Unreadable };
        protocol = next;
        let skip = bytes.len() - rest.len();
        bytes.drain(..skip);
    }
    Outcome::Whole(Datagram { source, destination, protocol, payload: bytes.into() })
}

fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => read_v4(bytes),
        6 => read_v6(bytes),
        _ => None,
    }
}

fn read_v4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header = bytes.first_chunk::<20>()?;
    let start = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // Zero is what segmentation offload leaves before the card has filled it in.
    let total = if total == 0 { bytes.len() } else { total };
    if start < 20 || total < start {
        return None;
    }
    // Behind the packet may be padding; a packet longer than what was captured is read as far as it goes.
    let payload = bytes.get(start..total.min(bytes.len()))?;
    let bits = u16::from_be_bytes([header[6], header[7]]);
    let (more, offset) = (bits & 0x2000 != 0, usize::from(bits & 0x1fff) * 8);
    let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
    Some(Packet {
        source: IpAddr::V4(Ipv4Addr::from(*header[12..].first_chunk::<4>()?)),
        destination: IpAddr::V4(Ipv4Addr::from(*header[16..].first_chunk::<4>()?)),
        protocol: header[9],
        payload,
        fragment: (more || offset > 0).then_some(Fragment { id, offset, more }),
    })
}

fn read_v6(bytes: &[u8]) -> Option<Packet<'_>> {
    let header = bytes.first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut rest = &bytes[40..];
    if length != 0 {
        rest = &rest[..length.min(rest.len())];
    }
    let (protocol, payload, fragment) = walk(header[6], rest)?;
    Some(Packet {
        source: IpAddr::V6(Ipv6Addr::from(*header[8..].first_chunk::<16>()?)),
        destination: IpAddr::V6(Ipv6Addr::from(*header[24..].first_chunk::<16>()?)),
        protocol,
        payload,
        fragment,
    })
}

/// Walks extension headers from `next` on; stops at the first fragment header that means it.
fn walk(mut next: u8, mut rest: &[u8]) -> Option<(u8, &[u8], Option<Fragment>)> {
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in units of 8 beyond the first 8.
            0 | 43 | 60 | 135 | 139 | 140 => {
                let skip = (usize::from(*rest.get(1)?) + 1) * 8;
                next = rest[0];
                rest = rest.get(skip..)?;
            }
            // Authentication: units of 4, less two (RFC 4302 section 2.2).
            51 => {
                let skip = (usize::from(*rest.get(1)?) + 2) * 4;
                next = rest[0];
                rest = rest.get(skip..)?;
            }
            44 => {
                let (head, tail) = rest.split_first_chunk::<8>()?;
                let bits = u16::from_be_bytes([head[2], head[3]]);
                let (more, offset) = (bits & 1 != 0, usize::from(bits >> 3) * 8);
                let id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                next = head[0];
                rest = tail;
                // An atomic fragment is a whole packet (RFC 6946).
                if more || offset > 0 {
                    return Some((next, rest, Some(Fragment { id, offset, more })));
                }
            }
            _ => break,
        }
    }
    Some((next, rest, None))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1);

    /// An IPv4 packet from 192.0.2.1 to 192.0.2.2; `offset` in octets.
    pub(in super::super) fn v4(protocol: u8, id: u16, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
        let bits = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        let mut packet = vec![0x45, 0];
        packet.extend((20 + payload.len() as u16).to_be_bytes());
        packet.extend(id.to_be_bytes());
        packet.extend(bits.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(payload);
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend([0x20; 32]);
        packet.extend(payload);
        packet
    }

    fn whole(outcome: Outcome<'_>) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Whole(datagram) => Some(datagram.payload.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn fragments_make_a_datagram_in_any_order() {
        let payload: Vec<u8> = (0..40).collect();
        let pieces: Vec<Vec<u8>> = [(0, 16), (16, 32), (32, 40)].map(|(from, to)| v4(UDP, 9, from, to < 40, &payload[from..to])).into();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let mut fragments = Fragments::new(4, 1 << 20);
            let outcomes: Vec<_> = order.iter().map(|&i| whole(fragments.packet(NOW, &pieces[i]))).collect();
            assert_eq!(outcomes, [None, None, Some(payload.clone())], "{order:?}");
            assert_eq!((fragments.bytes(), fragments.pending.len()), (0, 0));
        }
    }

    /// RFC 5722: overlapping fragments of one datagram are a reason to discard all of it; equal repeats are what networks do.
    #[test]
    fn contradicting_fragments_are_discarded_and_repeats_are_not() {
        let mut fragments = Fragments::new(4, 1 << 20);
        assert_eq!(fragments.packet(NOW, &v4(UDP, 1, 0, true, &[1; 16])), Outcome::Waiting);
        assert_eq!(fragments.packet(NOW, &v4(UDP, 1, 0, true, &[1; 16])), Outcome::Waiting);
        assert_eq!(fragments.packet(NOW, &v4(UDP, 1, 8, false, &[2; 16])), Outcome::Contradiction);
        assert_eq!(fragments.pending.len(), 0);
    }

    /// RFC 8200 section 4.1: extension headers in their order, a fragment header among them; RFC 6946: atomic fragments.
    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut fragments = Fragments::new(4, 1 << 20);
        let options = [44, 0, 0, 0, 0, 0, 0, 0];
        let atomic = [UDP, 0, 0, 0, 0, 0, 0, 9];
        let packet = v6(0, &[&options[..], &atomic, b"payload"].concat());
        assert_eq!(whole(fragments.packet(NOW, &packet)), Some(b"payload".to_vec()));
        let first = v6(44, &[&[UDP, 0, 0, 1, 0, 0, 0, 7][..], b"12345678"].concat());
        let second = v6(44, &[&[UDP, 0, 0, 8, 0, 0, 0, 7][..], b"9"].concat());
        assert_eq!(fragments.packet(NOW, &second), Outcome::Waiting);
        assert_eq!(whole(fragments.packet(NOW, &first)), Some(b"123456789".to_vec()));
    }

    proptest! {
        #[test]
        fn hostile_fragments_stay_within_bounds(steps in proptest::collection::vec((0u16..50, 0usize..8000, any::<bool>(), 0usize..1400), 1..120)) {
            let mut fragments = Fragments::new(8, 100_000);
            for (id, offset, more, length) in steps {
                let _ = fragments.packet(NOW, &v4(UDP, id, offset * 8, more, &vec![id as u8; length]));
                prop_assert!(fragments.bytes() <= 100_000 && fragments.pending.len() <= 8);
            }
        }

        #[test]
        fn arbitrary_packets_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..120), six in any::<bool>()) {
            bytes[0] = if six { 0x60 } else { 0x45 };
            let _ = Fragments::new(8, 10_000).packet(NOW, &bytes);
        }
    }
}
