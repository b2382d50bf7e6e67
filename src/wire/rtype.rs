//! Record types, classes and response codes as numbers with names (IANA DNS parameters registry).
//!
//! Text comes from hickory-proto's tables, so that presentation agrees with the rest of the ecosystem; unknown numbers are
//! `TYPE123` (RFC 3597 section 5).

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::RecordType;

/// Class IN (RFC 1035 section 3.2.4). The resolver serves no other.
pub const CLASS_IN: u16 = 1;

/// A record type or QTYPE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rtype(pub u16);

#[allow(missing_docs, reason = "the names are the registry's")]
impl Rtype {
    pub const A: Rtype = Rtype(1);
    pub const NS: Rtype = Rtype(2);
    pub const CNAME: Rtype = Rtype(5);
    pub const SOA: Rtype = Rtype(6);
    pub const PTR: Rtype = Rtype(12);
    pub const HINFO: Rtype = Rtype(13);
    pub const MX: Rtype = Rtype(15);
    pub const TXT: Rtype = Rtype(16);
    pub const SIG: Rtype = Rtype(24);
    pub const KEY: Rtype = Rtype(25);
    pub const AAAA: Rtype = Rtype(28);
    pub const SRV: Rtype = Rtype(33);
    pub const NAPTR: Rtype = Rtype(35);
    pub const DNAME: Rtype = Rtype(39);
    pub const OPT: Rtype = Rtype(41);
    pub const DS: Rtype = Rtype(43);
    pub const RRSIG: Rtype = Rtype(46);
    pub const NSEC: Rtype = Rtype(47);
    pub const DNSKEY: Rtype = Rtype(48);
    pub const NSEC3: Rtype = Rtype(50);
    pub const NSEC3PARAM: Rtype = Rtype(51);
    pub const TLSA: Rtype = Rtype(52);
    pub const CDS: Rtype = Rtype(59);
    pub const CDNSKEY: Rtype = Rtype(60);
    pub const SVCB: Rtype = Rtype(64);
    pub const HTTPS: Rtype = Rtype(65);
    pub const NXNAME: Rtype = Rtype(128);
    pub const TSIG: Rtype = Rtype(250);
    pub const IXFR: Rtype = Rtype(251);
    pub const AXFR: Rtype = Rtype(252);
    pub const ANY: Rtype = Rtype(255);
    pub const CAA: Rtype = Rtype(257);
}

impl Rtype {
    /// QTYPEs and meta types that are no data in a zone (RFC 6895 section 3.1: 128 to 255, and OPT).
    pub fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }

    /// Types that belong to a zone's DNSSEC proof and are given only to clients that set DO or ask for them (RFC 3225 section 3).
    pub fn is_dnssec_proof(self) -> bool {
        matches!(self, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3)
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RecordType::from(self.0) {
            RecordType::Unknown(number) => write!(f, "TYPE{number}"),
            RecordType::ZERO => f.write_str("TYPE0"),
            known => fmt::Display::fmt(&known, f),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that names no record type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a record type (write A, AAAA, MX, … or TYPE123)")]
pub struct UnknownRtype(pub String);

impl FromStr for Rtype {
    type Err = UnknownRtype;
    fn from_str(text: &str) -> Result<Rtype, UnknownRtype> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("TYPE").and_then(|n| n.parse().ok()) {
            return Ok(Rtype(number));
        }
        // hickory-proto prints some meta types that it does not parse: the printing table decides.
        let printed = || (0..=u16::from(u8::MAX)).map(Rtype).find(|t| t.to_string() == upper);
        upper.parse::<RecordType>().map(|t| Rtype(t.into())).ok().or_else(printed).ok_or_else(|| UnknownRtype(text.to_owned()))
    }
}

/// A response code, extended ones included (RFC 6895 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

#[allow(missing_docs, reason = "the names are the registry's")]
impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    pub const YXDOMAIN: Rcode = Rcode(6);
    pub const NOTAUTH: Rcode = Rcode(9);
    pub const BADVERS: Rcode = Rcode(16);
    pub const BADCOOKIE: Rcode = Rcode(23);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            16 => "BADVERS",
            23 => "BADCOOKIE",
            other => return write!(f, "RCODE{other}"),
        })
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3597 section 5: unknown types have the form TYPE123.
    #[test]
    fn types_print_and_parse_back() {
        for number in (0..=300).chain([32769, 65280, 65535]) {
            let rtype = Rtype(number);
            assert_eq!(rtype.to_string().parse(), Ok(rtype), "{number}");
        }
        assert_eq!("aaaa".parse(), Ok(Rtype::AAAA));
        assert!("NONSENSE".parse::<Rtype>().is_err());
    }
}
