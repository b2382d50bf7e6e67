//! RDATA as text, for JSON lines: the presentation form of zone files.
//!
//! RFC 1035 section 5, RFC 3597 section 5 (`\# length hex` for what is unknown or does not fit). The types that matter to a reader of
//! logs are written here, names in the case they came in; for the others hickory-proto's text serves.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use crate::wire::name::{Labels, Spelled, skip_uncompressed};
use crate::wire::{Rtype, rdata as layout};

/// RDATA (names expanded) as text.
pub fn rdata(rtype: Rtype, rdata: &[u8]) -> String {
    if !layout::is_well_formed(rtype, rdata) {
        return unknown(rdata);
    }
    known(rtype, rdata).or_else(|| other(rtype, rdata)).unwrap_or_else(|| unknown(rdata))
}

/// A name in wire form, in the case it came in.
pub fn name(wire: &[u8]) -> String {
    Spelled(Labels::new(wire)).to_string()
}

fn known(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes([*rdata.get(at)?, *rdata.get(at + 1)?]));
    let long = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    Some(match rtype {
        Rtype::A => Ipv4Addr::from(*rdata.first_chunk::<4>()?).to_string(),
        Rtype::AAAA => Ipv6Addr::from(*rdata.first_chunk::<16>()?).to_string(),
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => name(rdata),
        Rtype::MX => format!("{} {}", word(0)?, name(&rdata[2..])),
        Rtype::SRV => format!("{} {} {} {}", word(0)?, word(2)?, word(4)?, name(&rdata[6..])),
        Rtype::TXT => strings(rdata),
        Rtype::SOA => {
            let second = skip_uncompressed(rdata).ok()?;
            let numbers = second + skip_uncompressed(&rdata[second..]).ok()?;
            let mut text = format!("{} {}", name(rdata), name(&rdata[second..]));
            for index in 0..5 {
                write!(text, " {}", long(&rdata[numbers..], 4 * index)?).expect("a String takes every write");
            }
            text
        }
        _ => return None,
    })
}

fn strings(mut rdata: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&length, rest)) = rdata.split_first() {
        let (string, rest) = rest.split_at(usize::from(length).min(rest.len()));
        if !text.is_empty() {
            text.push(' ');
        }
        text.push('"');
        for &octet in string {
            match octet {
                b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
                0x20..=0x7e => text.push(char::from(octet)),
                _ => write!(text, "\\{octet:03}").expect("a String takes every write"),
            }
        }
        text.push('"');
        rdata = rest;
    }
    text
}

fn other(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let kind = RecordType::from(rtype.0);
    if matches!(kind, RecordType::Unknown(_)) || rtype.is_meta() {
        return None;
    }
    let length = u16::try_from(rdata.len()).ok()?;
    let mut decoder = BinDecoder::new(rdata);
    let data = RData::read(&mut decoder, kind, Restrict::new(length)).ok()?;
    (decoder.is_empty() && !matches!(data, RData::Unknown { .. })).then(|| data.to_string())
}

fn unknown(rdata: &[u8]) -> String {
    format!("\\# {} {}", rdata.len(), data_encoding::HEXLOWER.encode(rdata)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_read_as_in_a_zone_file() {
        assert_eq!(rdata(Rtype::A, &[192, 0, 2, 1]), "192.0.2.1");
        assert_eq!(rdata(Rtype::A, &[192, 0, 2]), r"\# 3 c00002");
        assert_eq!(rdata(Rtype::MX, b"\x00\x0a\x04Mail\x00"), "10 Mail.");
        assert_eq!(rdata(Rtype::TXT, b"\x05v=\"a\x00\x01b"), r#""v=\"a\000" "b""#);
        let soa = [&b"\x01a\x00\x01b\x00"[..], &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]].concat();
        assert_eq!(rdata(Rtype::SOA, &soa), "a. b. 1 2 3 4 5");
        assert_eq!(rdata(Rtype::DS, &[0, 1, 8, 2, 0xab, 0xcd]), "1 8 2 ABCD");
        assert_eq!(rdata(Rtype(65534), &[1]), r"\# 1 01");
    }

    proptest! {
        #[test]
        fn any_rdata_has_a_text(number in 0u16..300, bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            prop_assert!(!rdata(Rtype(number), &bytes).contains('\n') || number != 16);
        }
    }
}
