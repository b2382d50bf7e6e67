//! The borrowed view of a question: what the fast path reads of a query, in place and without allocation.
//!
//! RFC 1035 section 4.1 (header, question), RFC 6891 (OPT), RFC 9619 (one question), RFC 7873 section 5.2.2 (cookie lengths).
//! Says what a packet is (to be dropped, an error, an unusual question, a plain one); what to do about it is decided by the rooms
//! behind. [`super::Message::parse`] reads whole messages; answers are written by [`crate::respond`] and [`super::patch`].
//! Not done: the question-less cookie query of RFC 7873 section 5.4, which gets FORMERR.

use std::net::{IpAddr, SocketAddr};

use super::edns::{OPTION_COOKIE, OPTION_KEEPALIVE, UDP_PAYLOAD_FLOOR};
use super::message::{Flags, HEADER};
use super::name::{self, MAX_NAME};
use super::rtype::{CLASS_IN, Rcode, Rtype};

/// Room for one lower-cased name on the caller's stack.
pub type NameBuffer = [u8; MAX_NAME];

/// An empty [`NameBuffer`].
pub const NAME_BUFFER: NameBuffer = [0; MAX_NAME];

/// Most records that an additional section of a query may hold: OPT and TSIG are all that anyone sends.
const MAX_ADDITIONAL: u16 = 4;

/// Why a packet gets no answer whatsoever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unanswerable {
    /// Shorter than a header.
    Short,
    /// QR=1: answering it could start a loop between two servers.
    Response,
    /// From port 0, where nobody can receive.
    PortZero,
    /// From an unspecified, broadcast or multicast address: forged.
    Source,
}

impl Unanswerable {
    /// Every reason, for tables of metrics.
    pub const ALL: [Unanswerable; 4] = [Unanswerable::Short, Unanswerable::Response, Unanswerable::PortZero, Unanswerable::Source];

    /// Label for metrics, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Unanswerable::Short => "short",
            Unanswerable::Response => "response",
            Unanswerable::PortZero => "port_zero",
            Unanswerable::Source => "bad_source",
        }
    }

    /// Judges a source address alone, before a byte of the packet is read.
    pub fn source(from: SocketAddr) -> Option<Unanswerable> {
        if from.port() == 0 {
            return Some(Unanswerable::PortZero);
        }
        let forged = match from.ip().to_canonical() {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast(),
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
        };
        forged.then_some(Unanswerable::Source)
    }
}

/// Why a packet is answered with an error that holds a header only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An opcode other than QUERY.
    Opcode,
    /// Not one question, or records where a query has none.
    Counts,
    /// The question's name is malformed or compressed, or the question is cut short.
    Question,
    /// The additional section is malformed, or octets follow it.
    Additional,
    /// Two OPT records, one with an owner, or an option that overruns it (RFC 6891 section 6.1.1).
    Opt,
    /// A cookie option of an impossible length (RFC 7873 section 5.2.2).
    Cookie,
    /// Longer than the receive buffer.
    TooLong,
}

impl Fault {
    /// Every fault, for tables of metrics.
    pub const ALL: [Fault; 7] =
        [Fault::Opcode, Fault::Counts, Fault::Question, Fault::Additional, Fault::Opt, Fault::Cookie, Fault::TooLong];

    /// The response code that it deserves.
    pub fn rcode(self) -> Rcode {
        if self == Fault::Opcode { Rcode::NOTIMP } else { Rcode::FORMERR }
    }

    /// Label for metrics, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Opcode => "opcode",
            Fault::Counts => "counts",
            Fault::Question => "question",
            Fault::Additional => "additional",
            Fault::Opt => "opt",
            Fault::Cookie => "cookie",
            Fault::TooLong => "too_long",
        }
    }
}

/// What keeps a well-formed question off the fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unusual {
    /// An EDNS version above 0: BADVERS (RFC 6891 section 6.1.3).
    EdnsVersion,
    /// TSIG or SIG(0): we share no key with anybody, NOTAUTH (RFC 8945 section 5.2.1).
    Signed,
    /// A class other than IN: REFUSED.
    Class,
    /// RD=0: a probe of the cache, REFUSED with EDE 20 (RFC 8914 section 4.21).
    NotRecursive,
    /// AXFR or IXFR: REFUSED.
    Transfer,
    /// OPT, type 0 or a meta type that no resolver answers: NOTIMP.
    MetaType,
    /// NXNAME, which only ever stands in an NSEC: FORMERR with EDE 30 (RFC 9824 section 3.5).
    Nxname,
    /// ANY (RFC 8482): resolved, but never from the fast path.
    Any,
    /// RRSIG on its own: the cache below keeps signatures with what they cover.
    Rrsig,
}

impl Unusual {
    /// The error that answers it, with its EDE; `None` where the resolver answers.
    pub fn error(self) -> Option<(Rcode, Option<u16>)> {
        match self {
            Unusual::EdnsVersion => Some((Rcode::BADVERS, None)),
            Unusual::Signed => Some((Rcode::NOTAUTH, None)),
            Unusual::Class | Unusual::Transfer => Some((Rcode::REFUSED, Some(21))),
            Unusual::NotRecursive => Some((Rcode::REFUSED, Some(20))),
            Unusual::MetaType => Some((Rcode::NOTIMP, None)),
            Unusual::Nxname => Some((Rcode::FORMERR, Some(30))),
            Unusual::Any | Unusual::Rrsig => None,
        }
    }
}

/// The OPT record of a query, as far as an answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOpt<'a> {
    /// UDP payload size as the client gave it.
    pub udp_size: u16,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// Payload of the cookie option: 8 octets, or 16 to 40.
    pub cookie: Option<&'a [u8]>,
    /// The client understands the TCP keepalive option (RFC 7828).
    pub keepalive: bool,
}

/// A well-formed question with its header and OPT.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    packet: &'a [u8],
    name: &'a [u8],
    /// Message ID.
    pub id: u16,
    /// Header bits as asked.
    pub flags: Flags,
    /// QTYPE.
    pub rtype: Rtype,
    /// The OPT record, where there is one.
    pub opt: Option<ClientOpt<'a>>,
    /// `None` for a plain question, which may take the fast path.
    pub unusual: Option<Unusual>,
}

/// What a packet is.
#[derive(Debug, Clone, Copy)]
pub enum Parsed<'a> {
    /// Nothing is sent back.
    Unanswerable(Unanswerable),
    /// An error is sent back, a header only.
    Fault(Fault),
    /// A question.
    Query(Query<'a>),
}

impl<'a> Query<'a> {
    /// Reads a packet; the lower-cased QNAME is put into `buffer`. Whatever the bytes, it neither panics nor reads past the end.
    pub fn parse(packet: &'a [u8], buffer: &'a mut NameBuffer) -> Parsed<'a> {
        let Some(header) = packet.first_chunk::<HEADER>() else { return Parsed::Unanswerable(Unanswerable::Short) };
        let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
        let flags = Flags(word(1));
        if flags.has(Flags::QR) {
            return Parsed::Unanswerable(Unanswerable::Response);
        }
        if flags.opcode() != 0 {
            return Parsed::Fault(Fault::Opcode);
        }
        if word(2) != 1 || word(3) != 0 || word(4) != 0 || word(5) > MAX_ADDITIONAL {
            return Parsed::Fault(Fault::Counts);
        }
        let Ok(name_len) = name::skip_uncompressed(&packet[HEADER..]) else { return Parsed::Fault(Fault::Question) };
        let name_end = HEADER + name_len;
        let Some(&[t1, t2, c1, c2]) = packet[name_end..].first_chunk::<4>() else { return Parsed::Fault(Fault::Question) };
        let (rtype, class) = (Rtype(u16::from_be_bytes([t1, t2])), u16::from_be_bytes([c1, c2]));
        let name = &mut buffer[..name_len];
        name.copy_from_slice(&packet[HEADER..name_end]);
        // Length octets are below 64, so folding the whole wire form touches letters only.
        name.make_ascii_lowercase();

        let additional = match Additional::read(packet, name_end + 4, word(5)) {
            Ok(additional) => additional,
            Err(fault) => return Parsed::Fault(fault),
        };
        let unusual = match (rtype, class) {
            _ if additional.version > 0 => Some(Unusual::EdnsVersion),
            _ if additional.signed => Some(Unusual::Signed),
            (_, class) if class != CLASS_IN => Some(Unusual::Class),
            (Rtype::AXFR | Rtype::IXFR, _) => Some(Unusual::Transfer),
            _ if !flags.has(Flags::RD) => Some(Unusual::NotRecursive),
            (Rtype::ANY, _) => Some(Unusual::Any),
            (Rtype::RRSIG, _) => Some(Unusual::Rrsig),
            (Rtype::NXNAME, _) => Some(Unusual::Nxname),
            (rtype, _) if rtype.is_meta() => Some(Unusual::MetaType),
            _ => None,
        };
        Parsed::Query(Query { packet, name, id: word(0), flags, rtype, opt: additional.opt, unusual })
    }

    /// QNAME: lower-case wire form, root label included.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The question section as the client sent it, in the client's case.
    pub fn question(&self) -> &'a [u8] {
        &self.packet[HEADER..HEADER + self.name.len() + 4]
    }

    /// Length of the whole query in octets.
    pub fn packet_len(&self) -> usize {
        self.packet.len()
    }

    /// The DO bit.
    pub fn dnssec_ok(&self) -> bool {
        self.opt.is_some_and(|opt| opt.dnssec_ok)
    }

    /// The CD bit.
    pub fn checking_disabled(&self) -> bool {
        self.flags.has(Flags::CD)
    }

    /// Largest UDP answer in octets: what the client takes, at most `setting`, never under 512 (RFC 6891 section 6.2.3).
    pub fn udp_limit(&self, setting: u16) -> usize {
        let client = self.opt.map_or(UDP_PAYLOAD_FLOOR, |opt| opt.udp_size);
        usize::from(client.min(setting).max(UDP_PAYLOAD_FLOOR))
    }
}

/// What the additional section of a query holds.
struct Additional<'a> {
    opt: Option<ClientOpt<'a>>,
    version: u8,
    signed: bool,
}

impl<'a> Additional<'a> {
    fn read(packet: &'a [u8], mut at: usize, count: u16) -> Result<Additional<'a>, Fault> {
        let mut found = Additional { opt: None, version: 0, signed: false };
        for _ in 0..count {
            let rest = packet.get(at..).ok_or(Fault::Additional)?;
            // Names here may be compressed; nothing reads them, so they are only stepped over.
            let owner = owner_len(rest).ok_or(Fault::Additional)?;
            let fixed = rest.get(owner..).and_then(|r| r.first_chunk::<10>()).ok_or(Fault::Additional)?;
            let rtype = Rtype(u16::from_be_bytes([fixed[0], fixed[1]]));
            let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let rdata = rest.get(owner + 10..owner + 10 + length).ok_or(Fault::Additional)?;
            at += owner + 10 + length;
            match rtype {
                Rtype::OPT if found.opt.is_some() || owner != 1 => return Err(Fault::Opt),
                Rtype::OPT => {
                    found.version = fixed[5];
                    found.opt = Some(read_opt(u16::from_be_bytes([fixed[2], fixed[3]]), fixed[6] & 0x80 != 0, rdata)?);
                }
                Rtype::TSIG | Rtype::SIG => found.signed = true,
                _ => {}
            }
        }
        if at == packet.len() { Ok(found) } else { Err(Fault::Additional) }
    }
}

/// Length of the possibly compressed name at the start of `bytes`, without following pointers.
fn owner_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < MAX_NAME {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return (at + 2 <= bytes.len()).then_some(at + 2),
            len @ 1..=63 => at += 1 + usize::from(len),
            _ => return None,
        }
    }
    None
}

fn read_opt(udp_size: u16, dnssec_ok: bool, mut rest: &[u8]) -> Result<ClientOpt<'_>, Fault> {
    let mut opt = ClientOpt { udp_size, dnssec_ok, cookie: None, keepalive: false };
    while !rest.is_empty() {
        let (&[c1, c2, l1, l2], tail) = rest.split_first_chunk::<4>().ok_or(Fault::Opt)?;
        let length = usize::from(u16::from_be_bytes([l1, l2]));
        if tail.len() < length {
            return Err(Fault::Opt);
        }
        let (payload, next) = tail.split_at(length);
        match u16::from_be_bytes([c1, c2]) {
            // RFC 7873 section 5.2.2: a client cookie of 8 octets, alone or with a server cookie of 8 to 32; only the first counts.
            OPTION_COOKIE if !matches!(length, 8 | 16..=40) => return Err(Fault::Cookie),
            OPTION_COOKIE if opt.cookie.is_none() => opt.cookie = Some(payload),
            OPTION_KEEPALIVE => opt.keepalive = true,
            _ => {}
        }
        rest = next;
    }
    Ok(opt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Edns, Encoder, Message, Question};
    use proptest::prelude::*;

    /// A query as a stub sends it.
    fn query(name: &str, rtype: Rtype, edns: Option<&Edns>) -> Vec<u8> {
        let question = Question::new(name.parse().unwrap(), rtype);
        let mut bytes = Encoder::new(0x1234, Flags(Flags::RD), Some(&question)).finish().bytes;
        if let Some(edns) = edns {
            edns.write(&mut bytes);
            bytes[11] = 1;
        }
        bytes
    }

    fn plain(bytes: &[u8], check: impl FnOnce(Query<'_>)) {
        match Query::parse(bytes, &mut { NAME_BUFFER }) {
            Parsed::Query(query) => check(query),
            other => panic!("{other:?}"),
        }
    }

    fn fault(bytes: &[u8]) -> Option<Fault> {
        match Query::parse(bytes, &mut { NAME_BUFFER }) {
            Parsed::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    #[test]
    fn a_plain_question_is_read_in_place_and_keeps_its_case() {
        let mut edns = Edns::new(true);
        edns.options.push((OPTION_COOKIE, [7; 8].into()));
        let mut bytes = query("www.post.example", Rtype::AAAA, Some(&edns));
        bytes[13] = b'W';
        plain(&bytes, |query| {
            assert_eq!(query.name(), b"\x03www\x04post\x07example\0");
            assert_eq!(&query.question()[..5], b"\x03Www\x04");
            assert_eq!((query.id, query.rtype, query.unusual), (0x1234, Rtype::AAAA, None));
            assert!(query.dnssec_ok() && !query.checking_disabled());
            assert_eq!(query.opt.unwrap().cookie, Some(&[7; 8][..]));
            assert_eq!(query.udp_limit(1232), 1232);
            assert_eq!(query.udp_limit(600), 600);
        });
        plain(&query("a.example", Rtype::A, None), |query| assert_eq!(query.udp_limit(1232), 512));
    }

    /// QR=1 must never be answered: two servers could bounce errors for ever.
    #[test]
    fn responses_and_forged_sources_are_dropped() {
        let mut bytes = query("a.example", Rtype::A, None);
        bytes[2] |= 0x80;
        assert!(matches!(Query::parse(&bytes, &mut { NAME_BUFFER }), Parsed::Unanswerable(Unanswerable::Response)));
        assert!(matches!(Query::parse(&bytes[..11], &mut { NAME_BUFFER }), Parsed::Unanswerable(Unanswerable::Short)));
        let source = |text: &str| Unanswerable::source(text.parse().unwrap());
        assert_eq!(source("192.0.2.1:0"), Some(Unanswerable::PortZero));
        for forged in ["0.0.0.0:5", "255.255.255.255:5", "[::]:5", "[::ffff:0.0.0.0]:5", "224.0.0.251:5353", "[ff02::fb]:5353"] {
            assert_eq!(source(forged), Some(Unanswerable::Source), "{forged}");
        }
        assert_eq!(source("192.0.2.1:5"), None);
    }

    /// RFC 9619 (QDCOUNT), RFC 6891 section 6.1.1 (one OPT), RFC 7873 section 5.2.2 (cookie length).
    #[test]
    fn malformed_queries_are_faults() {
        let bytes = query("a.example", Rtype::A, Some(&Edns::new(false)));
        let with = |at: usize, value: u8| {
            let mut changed = bytes.clone();
            changed[at] = value;
            fault(&changed)
        };
        assert_eq!(with(5, 2), Some(Fault::Counts));
        assert_eq!(with(5, 0), Some(Fault::Counts));
        assert_eq!(with(7, 1), Some(Fault::Counts));
        assert_eq!(with(2, 0x29), Some(Fault::Opcode));
        assert_eq!(with(12, 0xc0), Some(Fault::Question));
        assert_eq!(with(12, 0x40), Some(Fault::Question));
        assert_eq!(with(11, 0), Some(Fault::Additional));
        assert_eq!(fault(&[&bytes[..], &bytes[bytes.len() - 11..]].concat()), Some(Fault::Additional));
        let mut two = [&bytes[..], &bytes[bytes.len() - 11..]].concat();
        two[11] = 2;
        assert_eq!(fault(&two), Some(Fault::Opt));
        for length in [0, 7, 9, 15, 41] {
            let mut edns = Edns::new(false);
            edns.options.push((OPTION_COOKIE, vec![1; length].into()));
            assert_eq!(fault(&query("a.example", Rtype::A, Some(&edns))), Some(Fault::Cookie), "{length}");
        }
        let mut cut = query("a.example", Rtype::A, Some(&Edns { options: vec![(3, [1, 2].into())], ..Edns::new(false) }));
        let at = cut.len() - 3;
        cut[at] = 9;
        assert_eq!(fault(&cut), Some(Fault::Opt));
    }

    #[test]
    fn what_the_fast_path_must_not_answer_is_unusual() {
        let unusual = |bytes: &[u8]| match Query::parse(bytes, &mut { NAME_BUFFER }) {
            Parsed::Query(query) => query.unusual,
            other => panic!("{other:?}"),
        };
        for (rtype, expected) in [
            (Rtype::ANY, Unusual::Any),
            (Rtype::AXFR, Unusual::Transfer),
            (Rtype::IXFR, Unusual::Transfer),
            (Rtype::RRSIG, Unusual::Rrsig),
            (Rtype::OPT, Unusual::MetaType),
            (Rtype(0), Unusual::MetaType),
            (Rtype(249), Unusual::MetaType),
            (Rtype::NXNAME, Unusual::Nxname),
        ] {
            assert_eq!(unusual(&query("a.example", rtype, None)), Some(expected), "{rtype}");
        }
        let mut bytes = query("a.example", Rtype::A, None);
        bytes[2] = 0;
        assert_eq!(unusual(&bytes), Some(Unusual::NotRecursive));
        let mut bytes = query("version.bind", Rtype::TXT, None);
        *bytes.last_mut().unwrap() = 3;
        assert_eq!(unusual(&bytes), Some(Unusual::Class));
        let edns = Edns { version: 1, ..Edns::new(false) };
        assert_eq!(unusual(&query("a.example", Rtype::A, Some(&edns))), Some(Unusual::EdnsVersion));
        let mut signed = query("a.example", Rtype::A, None);
        signed[11] = 1;
        signed.extend([0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]);
        assert_eq!(unusual(&signed), Some(Unusual::Signed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Query::parse(&bytes, &mut { NAME_BUFFER });
        }

        /// Whatever the fast reader takes for a plain question, the strict reader takes for the same question.
        #[test]
        fn mutated_queries_mean_the_same_to_both_readers(at in 0usize..80, with in any::<u8>(), cut in 0usize..80) {
            let mut edns = Edns::new(true);
            edns.options.push((OPTION_COOKIE, [7; 24].into()));
            let mut bytes = query("www.post.example", Rtype::A, Some(&edns));
            let len = bytes.len();
            bytes[at % len] = with;
            bytes.truncate(len - cut % 4);
            if let Parsed::Query(query) = Query::parse(&bytes, &mut { NAME_BUFFER }) && query.unusual.is_none() {
                let parsed = Message::parse(&bytes);
                // The mutation made the OPT a record of another type, whose RDATA this reader steps over.
                prop_assume!(parsed.is_ok() || query.opt.is_some());
                let message = parsed.unwrap();
                let question = message.question.unwrap();
                prop_assert_eq!(question.name.wire(), query.name());
                prop_assert_eq!((question.rtype, message.id, message.flags), (query.rtype, query.id, query.flags));
                prop_assert_eq!(message.edns.map(|e| (e.udp_size, e.dnssec_ok)), query.opt.map(|o| (o.udp_size, o.dnssec_ok)));
            }
        }
    }
}
