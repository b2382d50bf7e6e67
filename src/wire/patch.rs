//! Changing an encoded response in place: its header, the case of its question, its TTLs, and a fresh OPT behind it.
//!
//! RFC 1035 section 4.1 (header), RFC 2181 section 8 (TTLs count down), RFC 6891 section 6.1.1 (OPT is hop by hop, never cached).
//! [`super::encode`] wrote the body and remembered where its TTLs stand; [`crate::respond`] decides what the header says.

use super::edns::UDP_PAYLOAD;
use super::message::{Flags, HEADER};
use super::rtype::{Rcode, Rtype};

/// Octets of an OPT record without options.
pub const OPT_LEN: usize = 11;

/// An encoded response without OPT, and what must be known to send it to one more client.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// Header, question and records.
    pub bytes: &'a [u8],
    /// Offset of each TTL field, big-endian, so that it can live in the same allocation as the bytes.
    pub ttl_offsets: &'a [[u8; 2]],
    /// Extended DNS Errors as encoded options (RFC 8914).
    pub ede: &'a [u8],
    /// Response code, extended bits included.
    pub rcode: Rcode,
    /// Every RRset in it is Secure; AD is made of this and of what the client asked (RFC 6840 section 5.8).
    pub secure: bool,
}

/// Writes ID and flags over the header of `message`; the low bits of the response code stay those in `flags`.
pub fn header(message: &mut [u8], id: u16, flags: Flags) {
    message[..2].copy_from_slice(&id.to_be_bytes());
    message[2..4].copy_from_slice(&flags.0.to_be_bytes());
}

/// Writes the client's own question over the body's: same length, same letters, the client's case (0x20).
pub fn question(message: &mut [u8], question: &[u8]) {
    message[HEADER..HEADER + question.len()].copy_from_slice(question);
}

/// Lowers every TTL by `age` seconds; none goes below 0.
pub fn age_ttls(message: &mut [u8], offsets: &[[u8; 2]], age: u32) {
    for at in offsets.iter().map(|o| usize::from(u16::from_be_bytes(*o))) {
        if let Some(field) = message.get_mut(at..at + 4).and_then(|f| f.first_chunk_mut::<4>()) {
            *field = u32::from_be_bytes(*field).saturating_sub(age).to_be_bytes();
        }
    }
}

/// Appends an OPT record of ours that holds `options` (already encoded) and counts it in the header.
pub fn append_opt(message: &mut Vec<u8>, rcode: Rcode, dnssec_ok: bool, options: &[&[u8]]) {
    let length: usize = options.iter().map(|o| o.len()).sum();
    message.push(0);
    message.extend_from_slice(&Rtype::OPT.0.to_be_bytes());
    message.extend_from_slice(&UDP_PAYLOAD.to_be_bytes());
    message.extend_from_slice(&[(rcode.0 >> 4) as u8, 0, u8::from(dnssec_ok) << 7, 0]);
    message.extend_from_slice(&(length as u16).to_be_bytes());
    for option in options {
        message.extend_from_slice(option);
    }
    let count = u16::from_be_bytes([message[10], message[11]]).saturating_add(1);
    message[10..12].copy_from_slice(&count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode::Section;
    use crate::wire::{Ede, Encoder, Message, Name, Question};
    use proptest::prelude::*;

    proptest! {
        /// Patched bytes read back as the same records with TTLs lowered, and nothing else changed.
        #[test]
        fn ttls_count_down_and_nothing_else_moves(ttls in proptest::collection::vec(0u32..700_000, 1..20), age in 0u32..800_000) {
            let question = Question::new("www.Post.example".parse().unwrap(), Rtype::MX);
            let mut encoder = Encoder::new(1, Flags(Flags::QR), Some(&question));
            for (i, ttl) in ttls.iter().enumerate() {
                let exchange: Name = format!("mail{i}.post.example").parse().unwrap();
                encoder.record(&question.name, Rtype::MX, *ttl, &[&[0, 10][..], exchange.wire()].concat());
            }
            encoder.section(Section::Authority);
            encoder.record(&Name::root(), Rtype::NS, 5, question.name.wire());
            let encoded = encoder.finish();
            let before = Message::parse(&encoded.bytes).unwrap();
            let mut bytes = encoded.bytes.clone();
            let offsets: Vec<[u8; 2]> = encoded.ttl_offsets.iter().map(|o| o.to_be_bytes()).collect();
            age_ttls(&mut bytes, &offsets, age);
            let ede = Ede::new(3, "old").to_option();
            let option = [&ede.0.to_be_bytes()[..], &(ede.1.len() as u16).to_be_bytes()[..], &ede.1[..]].concat();
            append_opt(&mut bytes, Rcode::BADVERS, true, &[&option]);
            header(&mut bytes, 77, Flags(Flags::QR | Flags::RD));
            let mut after = Message::parse(&bytes).unwrap();
            prop_assert_eq!((after.id, after.rcode()), (77, Rcode::BADVERS));
            prop_assert_eq!(after.edns.take().unwrap().extended_errors().next(), Some(Ede::new(3, "old")));
            for (old, new) in before.answer.iter().zip(&mut after.answer) {
                prop_assert_eq!(old.ttl.saturating_sub(age), new.ttl);
                new.ttl = old.ttl;
            }
            after.authority[0].ttl = before.authority[0].ttl;
            prop_assert_eq!((before.answer, before.authority, before.question), (after.answer, after.authority, after.question));
        }
    }
}
