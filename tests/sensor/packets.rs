//! Captures of our own making: every layer the sensor takes off, in shapes that real captures seldom have together.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use postern::wire::encode::Section;
use postern::wire::{Edns, Encoder, Flags, Name, Question, Rtype};

/// Numbers that look random and are the same every time (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll(256) as u8).collect()
    }

    /// A name of letters, digits and now and then any octet.
    fn name(&mut self) -> Name {
        let mut wire = Vec::new();
        for _ in 0..1 + self.roll(4) {
            let length = 1 + self.roll(12);
            wire.push(length as u8);
            for _ in 0..length {
                // Octets above ASCII are left out: tshark shows them as whatever UTF-8 they happen to be.
                wire.push(if self.roll(40) == 0 { self.roll(0x7f) as u8 } else { b"abcdefghij0123456789-_"[self.roll(22)] });
            }
        }
        wire.push(0);
        Name::from_wire(&wire).unwrap()
    }
}

/// RDATA of a type that both sides know.
fn record(dice: &mut Dice) -> (Rtype, Vec<u8>) {
    let named = |dice: &mut Dice| dice.name().wire().to_vec();
    let kinds = [
        Rtype::A,
        Rtype::AAAA,
        Rtype::NS,
        Rtype::CNAME,
        Rtype::PTR,
        Rtype::MX,
        Rtype::TXT,
        Rtype::SOA,
        Rtype::SRV,
        Rtype::DS,
        Rtype::DNSKEY,
        Rtype::RRSIG,
        Rtype::NSEC,
        Rtype::NSEC3,
        Rtype::DNAME,
    ];
    let rtype = kinds[dice.roll(kinds.len())];
    let rdata = match rtype {
        Rtype::A => dice.bytes(4),
        Rtype::AAAA => dice.bytes(16),
        Rtype::MX => [dice.bytes(2), named(dice)].concat(),
        Rtype::TXT => (0..1 + dice.roll(3))
            .flat_map(|_| {
                let n = 1 + dice.roll(60);
                [vec![n as u8], dice.bytes(n)].concat()
            })
            .collect(),
        Rtype::SOA => [named(dice), named(dice), dice.bytes(20)].concat(),
        Rtype::SRV => [dice.bytes(6), named(dice)].concat(),
        Rtype::DS => [dice.bytes(2), vec![8, 2], dice.bytes(32)].concat(),
        Rtype::DNSKEY => [vec![1, 1, 3, 13], dice.bytes(64)].concat(),
        Rtype::RRSIG => [vec![0, 1, 13, 2], dice.bytes(14), named(dice), dice.bytes(64)].concat(),
        Rtype::NSEC => [named(dice), vec![0, 1, 0x40]].concat(),
        Rtype::NSEC3 => [vec![1, 0, 0, 0, 4], dice.bytes(4), vec![20], dice.bytes(20), vec![0, 1, 0x40]].concat(),
        _ => named(dice),
    };
    (rtype, rdata)
}

/// A query and its response, with `records` in it.
pub(crate) fn exchange(dice: &mut Dice, records: usize) -> (Vec<u8>, Vec<u8>) {
    let question = Question::new(dice.name(), [Rtype::A, Rtype::AAAA, Rtype::MX, Rtype::TXT, Rtype::HTTPS][dice.roll(5)]);
    let id = dice.roll(65536) as u16;
    let flags = Flags(Flags::RD).with(Flags::CD, dice.roll(4) == 0).with(Flags::AD, dice.roll(4) == 0);
    let mut query = Encoder::new(id, flags, Some(&question)).finish().bytes;
    if dice.roll(2) == 0 {
        let mut edns = Edns::new(dice.roll(2) == 0);
        for _ in 0..dice.roll(3) {
            let length = dice.roll(20);
            edns.options.push((65001, dice.bytes(length).into()));
        }
        edns.write(&mut query);
        query[11] = 1;
    }
    let answered = flags.with(Flags::QR | Flags::RA, true).with(Flags::AA, dice.roll(2) == 0);
    let mut encoder = Encoder::new(id, answered, Some(&question));
    for section in [Section::Answer, Section::Authority, Section::Additional] {
        encoder.section(section);
        for _ in 0..records {
            let (rtype, rdata) = record(dice);
            encoder.record(&dice.name(), rtype, dice.roll(1 << 31) as u32, &rdata);
        }
    }
    (query, encoder.finish().bytes)
}

/// What an exchange looks like on the wire, packet by packet.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let head = [from.port().to_be_bytes(), to.port().to_be_bytes(), (8 + payload.len() as u16).to_be_bytes(), [0, 0]].concat();
    let mut datagram = [&head, payload].concat();
    if from.is_ipv6() {
        // IPv6 needs a checksum; of the right form is enough for all readers here.
        datagram[7] = 1;
    }
    datagram
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN: u8 = 1;

pub(crate) fn tcp(from: SocketAddr, to: SocketAddr, sequence: u32, acknowledgment: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgment.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// The IP packets that carry `payload`: one, or fragments of at most `size` octets.
pub(crate) fn packets(from: IpAddr, to: IpAddr, protocol: u8, id: u16, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let size = size / 8 * 8;
    let pieces = payload.chunks(size).enumerate();
    let last = payload.len().div_ceil(size).max(1) - 1;
    pieces
        .map(|(index, piece)| {
            let (more, offset) = (index < last, (index * size / 8) as u16);
            match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let mut packet = vec![0x45, 0];
                    packet.extend((20 + piece.len() as u16).to_be_bytes());
                    packet.extend(id.to_be_bytes());
                    packet.extend((offset | u16::from(more) << 13).to_be_bytes());
                    packet.extend([64, protocol, 0, 0]);
                    packet.extend(from.octets());
                    packet.extend(to.octets());
                    packet.extend(piece);
                    packet
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    // Hop-by-hop options first, then a fragment header where it is needed.
                    let fragmented = last > 0;
                    let mut rest = vec![if fragmented { 44 } else { protocol }, 0, 1, 4, 0, 0, 0, 0];
                    if fragmented {
                        rest.extend([protocol, 0]);
                        rest.extend((offset << 3 | u16::from(more)).to_be_bytes());
                        rest.extend([0, 0]);
                        rest.extend(id.to_be_bytes());
                    }
                    rest.extend(piece);
                    let mut packet = vec![0x60, 0, 0, 0];
                    packet.extend((rest.len() as u16).to_be_bytes());
                    packet.extend([0, 64]);
                    packet.extend(from.octets());
                    packet.extend(to.octets());
                    packet.extend(rest);
                    packet
                }
                _ => panic!("one family"),
            }
        })
        .collect()
}

/// An Ethernet frame with these VLAN tags, the outermost first.
pub(crate) fn ethernet(vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (index, vlan) in vlans.iter().enumerate() {
        frame.extend(if index + 1 < vlans.len() { [0x88, 0xa8] } else { [0x81, 0] });
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}

/// A Linux cooked header of version 1 or 2.
pub(crate) fn cooked(version: u8, packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    let head = if version == 1 {
        [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &kind].concat()
    } else {
        [&kind[..], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]].concat()
    };
    [head, packet.to_vec()].concat()
}

/// A capture file of this test's own, gone afterwards. A millisecond lies between two frames.
pub(crate) struct Capture(pub(crate) PathBuf);

impl Capture {
    pub(crate) fn pcap(name: &str, link: u32, frames: &[Vec<u8>]) -> Capture {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link] {
            file.extend(word.to_le_bytes());
        }
        for (index, frame) in frames.iter().enumerate() {
            let millis = index as u32;
            for word in [1_700_000_000 + millis / 1000, millis % 1000 * 1000, frame.len() as u32, frame.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(frame);
        }
        Capture::write(name, &file)
    }

    /// pcapng, big-endian, with nanoseconds and an option on every packet.
    pub(crate) fn pcapng(name: &str, link: u16, frames: &[Vec<u8>]) -> Capture {
        let mut file = Vec::new();
        let mut block = |kind: u32, body: Vec<u8>| {
            let padded = body.len().next_multiple_of(4);
            let total = (12 + padded as u32).to_be_bytes();
            file.extend(kind.to_be_bytes());
            file.extend(total);
            file.extend(&body);
            file.resize(file.len() + padded - body.len(), 0);
            file.extend(total);
        };
        block(0x0a0d_0d0a, [&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
        block(1, [&link.to_be_bytes()[..], &[0; 6], &[0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]].concat());
        for (index, frame) in frames.iter().enumerate() {
            let nanos = 1_700_000_000_000_000_000 + index as u64 * 1_000_001;
            let length = (frame.len() as u32).to_be_bytes();
            let mut body = [&[0; 4][..], &nanos.to_be_bytes(), &length, &length, frame].concat();
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend([0, 1, 0, 2, b'h', b'i', 0, 0, 0, 0, 0, 0]);
            block(6, body);
        }
        Capture::write(name, &file)
    }

    fn write(name: &str, file: &[u8]) -> Capture {
        let path = std::env::temp_dir().join(format!("postern-sensor-{}-{name}", std::process::id()));
        std::fs::write(&path, file).unwrap();
        Capture(path)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Kept where a test fails, to be looked at.
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
