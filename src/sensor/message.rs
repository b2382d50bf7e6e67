//! DNS messages as a bystander reads them: everything that can be read, and what is wrong with the rest.
//!
//! RFC 1035 section 4, RFC 6891. [`crate::wire::Message`] refuses a malformed message, as a resolver must; a sensor has to tell what was
//! in it, since the malformed ones are the interesting ones. The reader goes on behind RDATA that does not fit its type, stops where
//! it no longer knows where it is, and keeps the first thing that was wrong ([`Flaw`]) apart from what is only odd ([`Oddity`]).

use std::fmt;

use crate::wire::message::HEADER;
use crate::wire::name::{MAX_NAME, expand};
use crate::wire::{Edns, Flags, Malformed, Name, NameError, Rcode, Rtype, rdata};

/// Questions kept of one message; one is all that RFC 9619 allows, and mDNS asks several.
const MAX_QUESTIONS: usize = 16;
/// Octets kept of an EDNS option's payload while a query waits for its response.
const OPTION_KEPT: usize = 64;

/// A section of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of RFC 1035 section 4.1")]
pub enum Section {
    Header,
    Question,
    Answer,
    Authority,
    Additional,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Header => "header",
            Section::Question => "question",
            Section::Answer => "answer",
            Section::Authority => "authority",
            Section::Additional => "additional",
        })
    }
}

/// The first thing wrong with a message, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flaw {
    /// The section.
    pub section: Section,
    /// Which entry of it, from 0.
    pub index: u16,
    /// What is wrong.
    pub what: Malformed,
}

impl Flaw {
    /// Every value of [`Flaw::label`].
    pub const LABELS: &'static [&'static str] = &["truncated", "name", "rdata", "opt"];

    /// A short word for counters.
    pub fn label(&self) -> &'static str {
        Flaw::LABELS[self.index()]
    }

    /// Place of [`Flaw::label`] among [`Flaw::LABELS`].
    pub fn index(&self) -> usize {
        match self.what {
            Malformed::Truncated => 0,
            Malformed::Name(NameError::Truncated) => 2,
            Malformed::Name(_) => 1,
            _ => 3,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.section {
            Section::Header => write!(f, "header: {}", self.what),
            section => write!(f, "{section} entry {}: {}", self.index, self.what),
        }
    }
}

/// What a message should not have and can be read in spite of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// Octets behind the last record.
    TrailingOctets,
    /// More than one question (RFC 9619).
    ManyQuestions,
    /// An OPT record outside the additional section, a second one, or one whose owner is not the root (RFC 6891 section 6.1.1).
    MisplacedOpt,
    /// The last reserved bit of the header is set (RFC 6895 section 2.1).
    ReservedBit,
    /// A length in a TCP stream that is shorter than a header.
    BadFrame,
}

impl Oddity {
    /// A short word.
    pub fn label(self) -> &'static str {
        match self {
            Oddity::TrailingOctets => "trailing_octets",
            Oddity::ManyQuestions => "many_questions",
            Oddity::MisplacedOpt => "misplaced_opt",
            Oddity::ReservedBit => "reserved_bit",
            Oddity::BadFrame => "bad_frame",
        }
    }
}

/// A question, with the case it was asked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// QNAME, lower case.
    pub name: Name,
    /// QNAME in wire form as sent: random case and tunnels live in the difference.
    pub spelled: Box<[u8]>,
    /// QTYPE.
    pub rtype: Rtype,
    /// QCLASS.
    pub class: u16,
}

/// A resource record as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Owner, lower case.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: u16,
    /// TTL in seconds, all 32 bits of it.
    pub ttl: u32,
    /// RDLENGTH.
    pub length: u16,
    /// RDATA with its names expanded; as sent where it does not fit its type.
    pub rdata: Box<[u8]>,
}

/// A DNS message as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Message ID.
    pub id: u16,
    /// Header bits.
    pub flags: Flags,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT as the header claims.
    pub counts: [u16; 4],
    /// Questions, at most 16.
    pub questions: Vec<Asked>,
    /// Answer section.
    pub answer: Vec<Seen>,
    /// Authority section.
    pub authority: Vec<Seen>,
    /// Additional section, OPT included.
    pub additional: Vec<Seen>,
    /// The OPT record, where it can be read.
    pub edns: Option<Edns>,
    /// What is wrong first.
    pub flaw: Option<Flaw>,
    /// What is odd.
    pub oddities: Vec<Oddity>,
    /// Octets of the message.
    pub length: usize,
}

impl Dns {
    /// Reads what can be read, whatever the bytes are.
    pub fn read(bytes: &[u8]) -> Dns {
        let mut dns = Dns { length: bytes.len(), ..Dns::default() };
        let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        dns.id = word(0).unwrap_or(0);
        dns.flags = Flags(word(2).unwrap_or(0));
        if bytes.len() < HEADER {
            dns.flaw = Some(Flaw { section: Section::Header, index: 0, what: Malformed::Truncated });
            return dns;
        }
        dns.counts = [4, 6, 8, 10].map(|at| word(at).expect("invariant: the header is whole"));
        if dns.flags.0 & 0x40 != 0 {
            dns.odd(Oddity::ReservedBit);
        }
        if dns.counts[0] > 1 {
            dns.odd(Oddity::ManyQuestions);
        }
        let mut at = HEADER;
        if dns.sections(bytes, &mut at).is_some() && at < bytes.len() {
            dns.odd(Oddity::TrailingOctets);
        }
        dns
    }

    /// A stand-in for a TCP frame too short to be a message.
    pub(super) fn bad_frame(bytes: &[u8]) -> Dns {
        let mut dns = Dns::read(bytes);
        dns.odd(Oddity::BadFrame);
        dns
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flags.has(Flags::QR)
    }

    /// The first question.
    pub fn question(&self) -> Option<&Asked> {
        self.questions.first()
    }

    /// The whole response code, EDNS bits included.
    pub fn rcode(&self) -> Rcode {
        let high = self.edns.as_ref().map_or(0, |edns| u16::from(edns.rcode_high));
        Rcode(high << 4 | u16::from(self.flags.rcode_low()))
    }

    /// Lets go of everything that a waiting query need not keep, so that what waits is bounded.
    pub(super) fn trim(&mut self) {
        (self.answer, self.authority, self.additional) = (Vec::new(), Vec::new(), Vec::new());
        self.questions.truncate(1);
        self.questions.shrink_to_fit();
        if let Some(edns) = &mut self.edns {
            edns.options.truncate(OPTION_KEPT);
            edns.options.shrink_to_fit();
            for (_, payload) in &mut edns.options {
                *payload = payload[..payload.len().min(OPTION_KEPT)].into();
            }
        }
    }

    fn odd(&mut self, oddity: Oddity) {
        if !self.oddities.contains(&oddity) {
            self.oddities.push(oddity);
        }
    }

    fn flawed(&mut self, section: Section, index: u16, what: Malformed) {
        self.flaw.get_or_insert(Flaw { section, index, what });
    }

    /// Reads all sections; `None` where the place of the next entry is lost.
    fn sections(&mut self, bytes: &[u8], at: &mut usize) -> Option<()> {
        for index in 0..self.counts[0] {
            match question(bytes, at) {
                Ok(asked) if self.questions.len() < MAX_QUESTIONS => self.questions.push(asked),
                Ok(_) => {}
                Err(what) => {
                    self.flawed(Section::Question, index, what);
                    return None;
                }
            }
        }
        for (section, count) in
            [(Section::Answer, self.counts[1]), (Section::Authority, self.counts[2]), (Section::Additional, self.counts[3])]
        {
            for index in 0..count {
                match record(bytes, at) {
                    Ok((seen, fits)) => {
                        if let Err(what) = fits {
                            self.flawed(section, index, what.into());
                        }
                        self.keep(section, index, seen);
                    }
                    Err(what) => {
                        self.flawed(section, index, what);
                        return None;
                    }
                }
            }
        }
        Some(())
    }

    fn keep(&mut self, section: Section, index: u16, seen: Seen) {
        if seen.rtype == Rtype::OPT {
            if section != Section::Additional || self.edns.is_some() || !seen.owner.is_root() {
                self.odd(Oddity::MisplacedOpt);
            } else {
                match Edns::parse(seen.class, seen.ttl, &seen.rdata) {
                    Some(edns) => self.edns = Some(edns),
                    None => {
                        self.edns = Edns::parse(seen.class, seen.ttl, &[]);
                        self.flawed(section, index, Malformed::BadOpt);
                    }
                }
            }
        }
        match section {
            Section::Answer => self.answer.push(seen),
            Section::Authority => self.authority.push(seen),
            _ => self.additional.push(seen),
        }
    }
}

fn question(bytes: &[u8], at: &mut usize) -> Result<Asked, Malformed> {
    let mut buffer = [0; MAX_NAME];
    let length = expand(bytes, at, &mut buffer)?;
    let spelled = &buffer[..length];
    let name = Name::from_wire(spelled)?;
    let [rtype, class] = words(bytes, at)?;
    Ok(Asked { name, spelled: spelled.into(), rtype: Rtype(rtype), class })
}

/// One record, and whether its RDATA fits its type.
fn record(bytes: &[u8], at: &mut usize) -> Result<(Seen, Result<(), NameError>), Malformed> {
    let owner = Name::read(bytes, at)?;
    let [rtype, class, high, low, length] = words(bytes, at)?;
    let rtype = Rtype(rtype);
    let end = *at + usize::from(length);
    let raw = bytes.get(*at..end).ok_or(Malformed::Truncated)?;
    let (rdata, fits) = match read_rdata(bytes, *at, raw, rtype) {
        Ok(rdata) => (rdata, Ok(())),
        // An update may name a type and give no data (RFC 2136 section 2.5.2): an empty RDATA is not one that does not fit.
        Err(_) if raw.is_empty() => (raw.into(), Ok(())),
        Err(why) => (raw.into(), Err(why)),
    };
    *at = end;
    Ok((Seen { owner, rtype, class, ttl: u32::from(high) << 16 | u32::from(low), length, rdata }, fits))
}

fn read_rdata(bytes: &[u8], at: usize, raw: &[u8], rtype: Rtype) -> Result<Box<[u8]>, NameError> {
    if matches!(rtype, Rtype::SVCB | Rtype::HTTPS) {
        service_parameters(raw)?;
    }
    rdata::read(bytes, at, raw.len(), rtype)
}

/// The form of SVCB and HTTPS (RFC 9460 section 2.2), and of `alpn` in them (section 7.1.1), which the wire room leaves opaque.
fn service_parameters(raw: &[u8]) -> Result<(), NameError> {
    let mut at = 2;
    expand(raw, &mut at, &mut [0; MAX_NAME])?;
    let mut rest = raw.get(at..).ok_or(NameError::Truncated)?;
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(NameError::Truncated)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (mut value, tail) = tail.split_at_checked(length).ok_or(NameError::Truncated)?;
        if head[..2] == [0, 1] {
            while let Some((&length, more)) = value.split_first() {
                value = more.get(usize::from(length)..).ok_or(NameError::Truncated)?;
            }
        }
        rest = tail;
    }
    Ok(())
}

fn words<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u16; N], Malformed> {
    let chunk = bytes.get(*at..*at + 2 * N).ok_or(Malformed::Truncated)?;
    *at += 2 * N;
    Ok(std::array::from_fn(|i| u16::from_be_bytes([chunk[2 * i], chunk[2 * i + 1]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Encoder, Message, Question};
    use proptest::prelude::*;

    fn reply() -> Vec<u8> {
        let question = Question::new("www.post.example".parse().unwrap(), Rtype::A);
        let mut encoder = Encoder::new(7, Flags(Flags::QR), Some(&question));
        encoder.record(&question.name, Rtype::A, 300, &[192, 0, 2, 1]);
        encoder.record(&question.name, Rtype::TXT, 300, b"\x02hi");
        encoder.finish().bytes
    }

    #[test]
    fn a_record_that_does_not_fit_its_type_does_not_hide_the_next() {
        let mut bytes = reply();
        let txt = bytes.len() - 3;
        let a_length = bytes.windows(6).position(|w| w == [0, 4, 192, 0, 2, 1]).unwrap();
        bytes[a_length + 1] = 3;
        bytes.remove(a_length + 5);
        let dns = Dns::read(&bytes);
        assert_eq!(dns.flaw.unwrap().to_string(), "answer entry 0: bad name or RDATA: the name is cut short");
        assert_eq!((dns.answer.len(), &dns.answer[1].rdata[..]), (2, &b"\x02hi"[..]));
        let mut bytes = reply();
        bytes[txt] = 9;
        assert_eq!(Dns::read(&bytes).flaw.unwrap().index, 1);
    }

    #[test]
    fn what_could_be_read_is_kept() {
        let bytes = reply();
        let dns = Dns::read(&bytes[..bytes.len() - 1]);
        assert_eq!((dns.id, dns.questions.len(), dns.answer.len()), (7, 1, 1));
        assert_eq!(dns.flaw, Some(Flaw { section: Section::Answer, index: 1, what: Malformed::Truncated }));
        assert_eq!(Dns::read(&[1, 2, 0x80]).id, 0x102);
        let mut spelled = reply();
        spelled[13] = b'W';
        let dns = Dns::read(&spelled);
        assert_eq!((dns.questions[0].spelled[1], dns.questions[0].name.wire()[1]), (b'W', b'w'));
    }

    proptest! {
        #[test]
        fn what_the_strict_reader_takes_has_no_flaw_and_says_the_same(at in 0usize..70, with in any::<u8>()) {
            let mut bytes = reply();
            let length = bytes.len();
            bytes[at % length] = with;
            let dns = Dns::read(&bytes);
            match Message::parse(&bytes) {
                Ok(strict) => {
                    prop_assert_eq!(dns.flaw, None);
                    prop_assert_eq!((dns.id, dns.flags, dns.rcode()), (strict.id, strict.flags, strict.rcode()));
                    prop_assert_eq!(dns.question().map(|q| q.name.clone()), strict.question.map(|q| q.name));
                    prop_assert!(dns.answer.iter().map(|r| &r.rdata).eq(strict.answer.iter().map(|r| &r.rdata)));
                }
                Err(_) => prop_assert!(dns.flaw.is_some() || !dns.oddities.is_empty() || dns.answer.iter().any(|r| r.length == 0)),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_waits_is_small(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
            let mut dns = Dns::read(&bytes);
            dns.trim();
            prop_assert!(dns.questions.len() <= 1 && dns.answer.is_empty());
        }
    }
}
