//! Writing a DNS message, names compressed, TTL positions remembered.
//!
//! RFC 1035 section 4.1.4. The one place that encodes records: queries to servers and answers to clients both come from here.
//! OPT is appended last with [`super::Edns::write`], because it belongs to the hop and never to the cached body.

use std::collections::HashMap;

use super::message::{Flags, HEADER, Question};
use super::name::Name;
use super::rdata;
use super::rrset::Rrset;
use super::rtype::{CLASS_IN, Rtype};

/// Section of a message that a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answer section.
    Answer,
    /// Authority section.
    Authority,
    /// Additional section.
    Additional,
}

/// An encoded message without OPT, and where its TTLs stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The message.
    pub bytes: Vec<u8>,
    /// Offset of each record's TTL field.
    pub ttl_offsets: Vec<u16>,
}

/// Writes one message, section by section in order.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    ttl_offsets: Vec<u16>,
    /// Suffixes written so far, by their lower-case wire form; only offsets that a pointer can reach.
    seen: HashMap<Box<[u8]>, u16, ahash::RandomState>,
    section: Section,
}

impl Encoder {
    /// Starts a message with its header and question.
    pub fn new(id: u16, flags: Flags, question: Option<&Question>) -> Encoder {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&flags.0.to_be_bytes());
        bytes.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
        let mut encoder = Encoder { bytes, ttl_offsets: Vec::new(), seen: HashMap::default(), section: Section::Answer };
        if let Some(question) = question {
            encoder.name(question.name.wire());
            encoder.bytes.extend_from_slice(&question.rtype.0.to_be_bytes());
            encoder.bytes.extend_from_slice(&question.class.to_be_bytes());
        }
        encoder
    }

    /// Records written from now on belong to `section`; sections only move forward.
    pub fn section(&mut self, section: Section) {
        debug_assert!(section as u8 >= self.section as u8, "sections are written in order");
        self.section = section;
    }

    /// Writes one record of class IN.
    pub fn record(&mut self, owner: &Name, rtype: Rtype, ttl: u32, rdata: &[u8]) {
        self.name(owner.wire());
        self.bytes.extend_from_slice(&rtype.0.to_be_bytes());
        self.bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        // A message over 64 KiB is refused as a whole later; its offsets are never used.
        self.ttl_offsets.push(u16::try_from(self.bytes.len()).unwrap_or(u16::MAX));
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        let mut written = 0;
        if rdata::compresses(rtype) {
            for range in rdata::name_ranges(rtype, rdata) {
                self.bytes.extend_from_slice(&rdata[written..range.start]);
                written = range.end;
                self.name(&rdata[range]);
            }
        }
        self.bytes.extend_from_slice(&rdata[written..]);
        let length = (self.bytes.len() - length_at - 2) as u16;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        let count_at = 6 + 2 * self.section as usize;
        let count = u16::from_be_bytes([self.bytes[count_at], self.bytes[count_at + 1]]).saturating_add(1);
        self.bytes[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Writes an RRset, and its signatures where `with_sigs`.
    pub fn rrset(&mut self, set: &Rrset, ttl: u32, with_sigs: bool) {
        for rdata in &set.rdatas {
            self.record(&set.owner, set.rtype, ttl, rdata);
        }
        if with_sigs {
            for sig in &set.sigs {
                self.record(&set.owner, Rtype::RRSIG, ttl, sig);
            }
        }
    }

    /// The message so far.
    pub fn finish(self) -> Encoded {
        debug_assert!(self.bytes.len() >= HEADER);
        Encoded { bytes: self.bytes, ttl_offsets: self.ttl_offsets }
    }

    /// Writes a name given in uncompressed wire form, as labels and at most one pointer.
    fn name(&mut self, wire: &[u8]) {
        let lower = wire.to_ascii_lowercase();
        let mut at = 0;
        while lower[at] != 0 {
            if let Some(&offset) = self.seen.get(&lower[at..]) {
                self.bytes.extend_from_slice(&(0xc000 | offset).to_be_bytes());
                return;
            }
            let here = self.bytes.len();
            if here < 0x4000 {
                self.seen.insert(lower[at..].into(), here as u16);
            }
            let next = at + 1 + usize::from(lower[at]);
            self.bytes.extend_from_slice(&wire[at..next]);
            at = next;
        }
        self.bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn names_are_compressed_and_every_ttl_is_where_it_says() {
        let question = Question::new("www.post.example".parse().unwrap(), Rtype::MX);
        let mut encoder = Encoder::new(1, Flags(Flags::QR), Some(&question));
        let exchange: Name = "mail.post.example".parse().unwrap();
        let rdata = [&[0, 10][..], exchange.wire()].concat();
        encoder.record(&question.name, Rtype::MX, 3600, &rdata);
        encoder.section(Section::Additional);
        encoder.record(&exchange, Rtype::A, 60, &[192, 0, 2, 7]);
        let encoded = encoder.finish();
        let message = Message::parse(&encoded.bytes).unwrap();
        assert_eq!(&message.answer[0].rdata[..], rdata);
        assert_eq!(message.additional[0].owner, exchange);
        let ttl = |i: usize| u32::from_be_bytes(encoded.bytes[usize::from(encoded.ttl_offsets[i])..][..4].try_into().unwrap());
        assert_eq!((ttl(0), ttl(1)), (3600, 60));
        assert!(encoded.bytes.len() < 12 + 18 + 4 + 12 + 2 + 7 + 2 + 16 + 1);
    }

    /// RFC 3597 section 4: names in types newer than RFC 1035 MUST NOT be compressed.
    #[test]
    fn names_in_newer_types_are_not_compressed() {
        let question = Question::new("a.example".parse().unwrap(), Rtype::SRV);
        let mut encoder = Encoder::new(1, Flags(0), Some(&question));
        let rdata = [&[0; 6][..], question.name.wire()].concat();
        encoder.record(&question.name, Rtype::SRV, 1, &rdata);
        assert!(encoder.finish().bytes.ends_with(&rdata));
    }
}
