//! From an outcome, a block or a refusal to the bytes one client gets.
//!
//! RFC 1035 section 4 (header, TC), RFC 2181 section 9 (no partial RRset), RFC 2308 section 3 (SOA of negative answers), RFC 6840
//! sections 5.7 to 5.9 (AD and CD), RFC 6891 (OPT), RFC 7873 (cookies), RFC 8914 (EDE). An outcome is encoded once for DO=0 and once
//! for DO=1 by [`encode`]; [`answer`] fits the encoding to one query by a copy and a few patches, whether it comes from the cache or
//! straight from the resolver, so that both give the same bytes. Nothing but [`encode`] allocates.
//! ANY (RFC 8482) is the resolver's; padding (RFC 8467) is the encrypted transports'.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::resolve::Outcome;
use crate::validate::Status;
use crate::wire::edns::{EDE_TEXT_MAX, OPTION_COOKIE, OPTION_EDE, OPTION_KEEPALIVE};
use crate::wire::encode::{Encoded, Section};
use crate::wire::message::HEADER;
use crate::wire::patch::{self, Body, OPT_LEN};
use crate::wire::{CLASS_IN, Ede, Encoder, Flags, Query, Question, Rcode, Rtype};

/// Longest DNS message on any transport, in octets (RFC 1035 section 4.2.2).
pub const MESSAGE_MAX: usize = u16::MAX as usize;
/// TTL of records served past their expiry, in seconds (RFC 8767 section 4).
const STALE_TTL: u32 = 30;
/// Pointer to the QNAME, which always stands right behind the header (RFC 1035 section 4.1.4).
const POINTER_TO_QNAME: u16 = 0xc000 | HEADER as u16;

/// What the transport and the client allow an answer to be.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Longest answer in octets: [`Query::udp_limit`] over UDP, [`MESSAGE_MAX`] over streams.
    pub limit: usize,
    /// Client and server cookie to give back (RFC 7873 section 5.2).
    pub cookie: Option<[u8; 24]>,
    /// Idle timeout to announce on a stream, in units of 100 ms (RFC 7828); sent only to clients that sent the option.
    pub keepalive: Option<u16>,
}

/// An outcome encoded for clients of one DO value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    bytes: Vec<u8>,
    ttl_offsets: Vec<[u8; 2]>,
    ede: Vec<u8>,
    rcode: Rcode,
    secure: bool,
}

impl Encoding {
    /// The borrowed form that [`answer`] and the answer cache take.
    pub fn body(&self) -> Body<'_> {
        Body { bytes: &self.bytes, ttl_offsets: &self.ttl_offsets, ede: &self.ede, rcode: self.rcode, secure: self.secure }
    }
}

/// Encodes an outcome. DNSSEC proof is left out for DO=0, but for answers of the type asked for (RFC 3225 section 3, RFC 4035 section
/// 3.2.1).
/// One that would not fit 64 KiB becomes SERVFAIL.
pub fn encode(question: &Question, outcome: &Outcome, dnssec_ok: bool) -> Encoding {
    let flags = Flags(Flags::QR | Flags::RA).with_rcode(outcome.rcode);
    let mut encoder = Encoder::new(0, flags, Some(question));
    let cap = if outcome.stale { STALE_TTL } else { u32::MAX };
    for (section, sets) in [(Section::Answer, &outcome.answer), (Section::Authority, &outcome.authority)] {
        encoder.section(section);
        let asked_for = |rtype: Rtype| section == Section::Answer && (question.rtype == rtype || question.rtype == Rtype::ANY);
        let wanted = |rtype: Rtype| dnssec_ok || !rtype.is_dnssec_proof() || asked_for(rtype);
        for set in sets.iter().filter(|set| wanted(set.rtype)) {
            encoder.rrset(set, set.ttl.min(cap), dnssec_ok);
        }
    }
    let Encoded { bytes, ttl_offsets } = encoder.finish();
    // Room for OPT with its options: the biggest message must still fit a stream with them.
    if bytes.len() > MESSAGE_MAX - 1024 {
        return encode(question, &Outcome::servfail(Status::Indeterminate, vec![Ede::new(0, "the answer is too long")]), dnssec_ok);
    }
    Encoding {
        bytes,
        ttl_offsets: ttl_offsets.into_iter().map(u16::to_be_bytes).collect(),
        ede: outcome.ede.iter().flat_map(encode_ede).collect(),
        rcode: outcome.rcode,
        secure: outcome.status == Status::Secure,
    }
}

fn encode_ede(ede: &Ede) -> Vec<u8> {
    let (code, payload) = ede.to_option();
    [&code.to_be_bytes()[..], &(payload.len() as u16).to_be_bytes(), &payload].concat()
}

/// Writes the answer to `query` into `out`: the body with the client's ID, flags, case and TTLs lowered by `age` seconds, and a fresh
/// OPT where the client sent one. What exceeds `terms.limit` becomes TC with an empty answer; EDE goes before records do.
pub fn answer(out: &mut Vec<u8>, query: &Query<'_>, body: &Body<'_>, age: u32, terms: &Terms) {
    let (head, head_len) = leading_options(query, terms);
    let bare = body.bytes.len() + if query.opt.is_some() { OPT_LEN + head_len } else { 0 };
    if bare > terms.limit {
        return truncated(out, query, terms);
    }
    out.clear();
    out.extend_from_slice(body.bytes);
    let asked_for_ad = query.flags.has(Flags::AD) || query.dnssec_ok();
    let flags = flags(query).with_rcode(body.rcode).with(Flags::AD, body.secure && asked_for_ad);
    patch::header(out, query.id, flags);
    patch::question(out, query.question());
    if age > 0 {
        patch::age_ttls(out, body.ttl_offsets, age);
    }
    if query.opt.is_some() {
        let ede = if bare + body.ede.len() <= terms.limit { body.ede } else { &[] };
        patch::append_opt(out, body.rcode, query.dnssec_ok(), &[&head[..head_len], ede]);
    }
}

/// Writes an empty answer with TC=1: the client is to ask again over TCP (RFC 1035 section 4.2.1, RFC 2181 section 9).
pub fn truncated(out: &mut Vec<u8>, query: &Query<'_>, terms: &Terms) {
    start(out, query, flags(query).with(Flags::TC, true));
    if query.opt.is_some() {
        let (head, head_len) = leading_options(query, terms);
        patch::append_opt(out, Rcode::NOERROR, query.dnssec_ok(), &[&head[..head_len]]);
    }
}

/// Writes an error that holds no records. With the question and OPT it is exactly as long as a bare query; the EDE is
/// added only as far as the answer stays no longer than its query, so that an error never amplifies.
pub fn error(out: &mut Vec<u8>, query: &Query<'_>, rcode: Rcode, ede: Option<u16>) {
    start(out, query, flags(query).with_rcode(rcode));
    if query.opt.is_some() {
        let [high, low] = ede.unwrap_or(0).to_be_bytes();
        let option = [0, OPTION_EDE as u8, 0, 2, high, low];
        let fits = ede.is_some() && out.len() + OPT_LEN + option.len() <= query.packet_len();
        patch::append_opt(out, rcode, query.dnssec_ok(), &[if fits { &option } else { &[] }]);
    }
}

/// Writes the header-only error for a packet that is no readable question; `packet` holds a header at least.
pub fn fault(out: &mut Vec<u8>, packet: &[u8], rcode: Rcode) {
    out.clear();
    out.extend_from_slice(&packet[..4]);
    out.extend_from_slice(&[0; HEADER - 4]);
    let asked = Flags(u16::from_be_bytes([packet[2], packet[3]]));
    const OPCODE: u16 = 0xf << 11;
    out[2..4].copy_from_slice(&Flags(asked.0 & (OPCODE | Flags::RD | Flags::CD) | Flags::QR | Flags::RA).with_rcode(rcode).0.to_be_bytes());
}

/// What a blocked name answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockAnswer {
    /// The name does not exist.
    #[default]
    Nxdomain,
    /// The name exists and has no data of any type.
    Nodata,
    /// A gives 0.0.0.0, AAAA gives ::, other types NODATA.
    Null,
    /// A and AAAA give these addresses; other types, and a family without an address, NODATA.
    Sinkhole(Option<Ipv4Addr>, Option<Ipv6Addr>),
}

/// A block as the client is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Blocked<'a> {
    /// The form of the answer.
    pub answer: BlockAnswer,
    /// TTL of the forged record, or of the SOA that bounds the negative answer, in seconds.
    pub ttl: u32,
    /// EXTRA-TEXT in pieces, so that nobody has to format on the way of a packet.
    pub text: &'a [&'a str],
}

/// Writes the template answer for a blocked name (no AD, no RRSIG, whatever DO and CD say): it is our word, not the zone's.
pub fn blocked(out: &mut Vec<u8>, query: &Query<'_>, block: &Blocked<'_>, terms: &Terms) {
    let mut address = [0u8; 16];
    let forged = match (block.answer, query.rtype) {
        (BlockAnswer::Null, Rtype::A) => Some(4),
        (BlockAnswer::Null, Rtype::AAAA) => Some(16),
        (BlockAnswer::Sinkhole(Some(v4), _), Rtype::A) => {
            address[..4].copy_from_slice(&v4.octets());
            Some(4)
        }
        (BlockAnswer::Sinkhole(_, Some(v6)), Rtype::AAAA) => {
            address = v6.octets();
            Some(16)
        }
        _ => None,
    };
    let rcode = if block.answer == BlockAnswer::Nxdomain { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    start(out, query, flags(query).with_rcode(rcode));
    match forged {
        Some(len) => {
            record(out, query.rtype, block.ttl, &address[..len]);
            out[7] = 1;
        }
        None => {
            let mut soa = *SOA;
            soa[SOA_MINIMUM_AT..].copy_from_slice(&block.ttl.to_be_bytes());
            record(out, Rtype::SOA, block.ttl, &soa);
            out[9] = 1;
        }
    }
    if query.opt.is_none() {
        return;
    }
    let (head, head_len) = leading_options(query, terms);
    let mut ede = [0u8; 6 + EDE_TEXT_MAX];
    // RFC 8914 section 4.5 and 4.16: Forged Answer where an address is made up, Blocked otherwise.
    let len = ede_option(&mut ede, if forged.is_some() { 4 } else { 15 }, block.text);
    let fits = out.len() + OPT_LEN + head_len + len <= terms.limit;
    patch::append_opt(out, rcode, query.dnssec_ok(), &[&head[..head_len], if fits { &ede[..len] } else { &[] }]);
}

/// RDATA of the SOA in negative block answers: MNAME and RNAME as RFC 6303 section 3 has them, then serial, refresh, retry, expire,
/// and the minimum, which is overwritten with the block's TTL (RFC 2308 section 5).
const SOA: &[u8; 11 + 16 + 20] = b"\x09localhost\0\x06nobody\x07invalid\0\0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\0\0";
const SOA_MINIMUM_AT: usize = SOA.len() - 4;

/// Appends one record owned by the QNAME.
fn record(out: &mut Vec<u8>, rtype: Rtype, ttl: u32, rdata: &[u8]) {
    out.extend_from_slice(&POINTER_TO_QNAME.to_be_bytes());
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(rdata);
}

/// Encodes an EDE option whose text is the concatenation of `text`, cut at a character boundary below [`EDE_TEXT_MAX`].
fn ede_option(option: &mut [u8; 6 + EDE_TEXT_MAX], code: u16, text: &[&str]) -> usize {
    let mut len = 6;
    for piece in text {
        let mut end = piece.len().min(option.len() - len);
        while !piece.is_char_boundary(end) {
            end -= 1;
        }
        option[len..len + end].copy_from_slice(&piece.as_bytes()[..end]);
        len += end;
        if end < piece.len() {
            break;
        }
    }
    option[..2].copy_from_slice(&OPTION_EDE.to_be_bytes());
    option[2..4].copy_from_slice(&((len - 4) as u16).to_be_bytes());
    option[4..6].copy_from_slice(&code.to_be_bytes());
    len
}

/// Flags that every answer to `query` has: QR and RA set, RD and CD copied (RFC 1035 section 4.1.1, RFC 4035 section 3.2.2).
fn flags(query: &Query<'_>) -> Flags {
    Flags(query.flags.0 & (Flags::RD | Flags::CD) | Flags::QR | Flags::RA)
}

/// Starts a message that holds the client's question only.
fn start(out: &mut Vec<u8>, query: &Query<'_>, flags: Flags) {
    out.clear();
    out.extend_from_slice(&query.id.to_be_bytes());
    out.extend_from_slice(&flags.0.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(query.question());
}

/// The cookie and keepalive options of an answer, encoded, and their length.
fn leading_options(query: &Query<'_>, terms: &Terms) -> ([u8; 34], usize) {
    let (mut options, mut len) = ([0u8; 34], 0);
    if let Some(cookie) = &terms.cookie {
        options[..4].copy_from_slice(&[0, OPTION_COOKIE as u8, 0, 24]);
        options[4..28].copy_from_slice(cookie);
        len = 28;
    }
    if let Some(timeout) = terms.keepalive.filter(|_| query.opt.is_some_and(|opt| opt.keepalive)) {
        let [high, low] = timeout.to_be_bytes();
        options[len..len + 6].copy_from_slice(&[0, OPTION_KEEPALIVE as u8, 0, 2, high, low]);
        len += 6;
    }
    (options, len)
}

#[cfg(test)]
mod tests;
