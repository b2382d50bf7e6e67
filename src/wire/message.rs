//! Reading a whole DNS message from outside bytes (RFC 1035 section 4).
//!
//! Strict: counts must be met, every RDATA must fit its type, at most one OPT with the root as owner (RFC 6891 section 6.1.1).
//! Octets behind the last record are an error too. The fast path does not use this reader.

use super::edns::Edns;
use super::name::{Name, NameError};
use super::rdata;
use super::rtype::{Rcode, Rtype};

/// Length of the fixed header in octets (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// Why bytes are not a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its header or its counts say.
    #[error("the message is cut short")]
    Truncated,
    /// A name in it is not a name, or RDATA does not fit its type.
    #[error("bad name or RDATA: {0}")]
    Name(#[from] NameError),
    /// Two OPT records, one outside the additional section or with an owner, or an option that overruns it.
    #[error("a bad OPT record")]
    BadOpt,
    /// More than one question (RFC 9619).
    #[error("more than one question")]
    ManyQuestions,
    /// Octets behind the last record.
    #[error("octets behind the last record")]
    TrailingOctets,
}

/// The second 16 bits of the header (RFC 1035 section 4.1.1, RFC 4035 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

#[allow(missing_docs, reason = "the names are those of the header bits")]
impl Flags {
    pub const QR: u16 = 1 << 15;
    pub const AA: u16 = 1 << 10;
    pub const TC: u16 = 1 << 9;
    pub const RD: u16 = 1 << 8;
    pub const RA: u16 = 1 << 7;
    pub const AD: u16 = 1 << 5;
    pub const CD: u16 = 1 << 4;

    pub fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }
    #[must_use]
    pub fn with(self, bit: u16, on: bool) -> Flags {
        Flags(if on { self.0 | bit } else { self.0 & !bit })
    }
    pub fn opcode(self) -> u8 {
        (self.0 >> 11 & 0xf) as u8
    }
    pub fn rcode_low(self) -> u8 {
        (self.0 & 0xf) as u8
    }
    #[must_use]
    pub fn with_rcode(self, rcode: Rcode) -> Flags {
        Flags(self.0 & !0xf | rcode.0 & 0xf)
    }
}

/// A question of class IN unless `class` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// QNAME, lower case.
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// QCLASS.
    pub class: u16,
}

impl Question {
    /// A question of class IN.
    pub fn new(name: Name, rtype: Rtype) -> Question {
        Question { name, rtype, class: super::CLASS_IN }
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)
    }
}

/// One resource record; names in its RDATA are expanded, their case is as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Owner, lower case.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: u16,
    /// TTL in seconds; a value with its highest bit set has become 2^31 - 1 (RFC 8767 section 4).
    pub ttl: u32,
    /// RDATA without compression.
    pub rdata: Box<[u8]>,
}

/// A message in parts. The OPT record is in `edns`, not in `additional`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Message ID.
    pub id: u16,
    /// Header bits.
    pub flags: Flags,
    /// The question; `None` where QDCOUNT is 0.
    pub question: Option<Question>,
    /// Answer section.
    pub answer: Vec<Record>,
    /// Authority section.
    pub authority: Vec<Record>,
    /// Additional section without OPT.
    pub additional: Vec<Record>,
    /// The OPT record.
    pub edns: Option<Edns>,
}

impl Message {
    /// Reads a whole message.
    ///
    /// # Errors
    /// [`Malformed`], whatever the bytes; nothing is believed about lengths or counts before it is seen.
    pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
        let mut pos = HEADER;
        let question = match word(2) {
            0 => None,
            1 => {
                let name = Name::read(bytes, &mut pos)?;
                let [t, c] = read_words(bytes, &mut pos)?;
                Some(Question { name, rtype: Rtype(t), class: c })
            }
            _ => return Err(Malformed::ManyQuestions),
        };
        let mut edns = None;
        let mut section = |count: u16, opt_allowed: bool| -> Result<Vec<Record>, Malformed> {
            let mut records = Vec::new();
            for _ in 0..count {
                let mut record = read_record(bytes, &mut pos)?;
                if record.rtype != Rtype::OPT {
                    // A TTL with its high bit set is large, not zero (RFC 8767 section 4); in an OPT those bits are flags.
                    record.ttl = record.ttl.min(i32::MAX as u32);
                    records.push(record);
                } else if !opt_allowed || edns.is_some() || !record.owner.is_root() {
                    return Err(Malformed::BadOpt);
                } else {
                    edns = Some(Edns::parse(record.class, record.ttl, &record.rdata).ok_or(Malformed::BadOpt)?);
                }
            }
            Ok(records)
        };
        let (answer, authority, additional) = (section(word(3), false)?, section(word(4), false)?, section(word(5), true)?);
        if pos != bytes.len() {
            return Err(Malformed::TrailingOctets);
        }
        Ok(Message { id: word(0), flags: Flags(word(1)), question, answer, authority, additional, edns })
    }

    /// The whole response code, EDNS bits included (RFC 6891 section 6.1.3).
    pub fn rcode(&self) -> Rcode {
        let high = self.edns.as_ref().map_or(0, |e| u16::from(e.rcode_high));
        Rcode(high << 4 | u16::from(self.flags.rcode_low()))
    }
}

fn read_words<const N: usize>(bytes: &[u8], pos: &mut usize) -> Result<[u16; N], Malformed> {
    let mut words = [0; N];
    for word in &mut words {
        let pair = bytes.get(*pos..*pos + 2).ok_or(Malformed::Truncated)?;
        *word = u16::from_be_bytes([pair[0], pair[1]]);
        *pos += 2;
    }
    Ok(words)
}

fn read_record(bytes: &[u8], pos: &mut usize) -> Result<Record, Malformed> {
    let owner = Name::read(bytes, pos)?;
    let [rtype, class, high, low, length] = read_words(bytes, pos)?;
    let rtype = Rtype(rtype);
    let rdata = rdata::read(bytes, *pos, usize::from(length), rtype)?;
    *pos += usize::from(length);
    Ok(Record { owner, rtype, class, ttl: u32::from(high) << 16 | u32::from(low), rdata })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Encoder;
    use proptest::prelude::*;

    fn reply() -> Vec<u8> {
        let question = Question::new("www.post.example".parse().unwrap(), Rtype::A);
        let mut encoder = Encoder::new(7, Flags(Flags::QR), Some(&question));
        encoder.record(&question.name, Rtype::A, 300, &[192, 0, 2, 1]);
        encoder.finish().bytes
    }

    #[test]
    fn a_message_reads_back_as_written() {
        let message = Message::parse(&reply()).unwrap();
        assert_eq!((message.id, message.answer.len(), message.answer[0].ttl), (7, 1, 300));
        assert_eq!(&message.answer[0].rdata[..], [192, 0, 2, 1]);
    }

    #[test]
    fn an_rdlength_that_does_not_fit_its_type_spoils_the_message() {
        let mut bytes = reply();
        let at = bytes.len() - 5;
        bytes[at] = 3;
        bytes.pop();
        assert!(matches!(Message::parse(&bytes), Err(Malformed::Name(_))));
        let mut bytes = reply();
        bytes.push(0);
        assert_eq!(Message::parse(&bytes), Err(Malformed::TrailingOctets));
    }

    /// RFC 8767 section 4: a TTL with the high-order bit set is to be taken as large.
    #[test]
    fn a_ttl_with_the_high_bit_set_is_large() {
        let mut bytes = reply();
        let at = bytes.len() - 10;
        bytes[at] = 0x80;
        assert_eq!(Message::parse(&bytes).unwrap().answer[0].ttl, i32::MAX as u32);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn mutated_messages_never_panic(at in 0usize..60, with in any::<u8>()) {
            let mut bytes = reply();
            let len = bytes.len();
            bytes[at % len] = with;
            let _ = Message::parse(&bytes);
        }
    }
}
