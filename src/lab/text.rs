//! Zone files (RFC 1035 section 5, RFC 3597 section 5), so that other programs can judge the lab's zones.

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::zone::{Zone, base32hex};
use crate::wire::{Name, Rrset, Rtype};

/// The whole zone as a master file.
pub(crate) fn zone_file(zone: &Zone) -> String {
    let mut out = format!("; {}\n", zone.fault().map_or("nothing is wrong with this zone", |f| f.words()));
    // RFC 1035 section 5.2 wants no order; readers like the SOA first.
    let (first, rest): (Vec<&Rrset>, Vec<&Rrset>) = zone.rrsets().partition(|s| s.rtype == Rtype::SOA);
    for set in first.into_iter().chain(rest) {
        for rdata in &set.rdatas {
            write_record(&mut out, &set.owner, set.ttl, set.rtype, rdata).expect("a string takes any text");
        }
        for sig in &set.sigs {
            write_record(&mut out, &set.owner, set.ttl, Rtype::RRSIG, sig).expect("a string takes any text");
        }
    }
    out
}

fn write_record(out: &mut String, owner: &Name, ttl: u32, rtype: Rtype, rdata: &[u8]) -> fmt::Result {
    writeln!(out, "{owner} {ttl} IN {rtype} {}", presentation(rtype, rdata))
}

/// RDATA as text; types the lab has no form for are written as RFC 3597 section 5 says.
pub(crate) fn presentation(rtype: Rtype, rdata: &[u8]) -> String {
    known(rtype, rdata).unwrap_or_else(|| format!("\\# {} {}", rdata.len(), hex(rdata)))
}

fn known(rtype: Rtype, rdata: &[u8]) -> Option<String> {
    let short = |at: usize| Some(u16::from_be_bytes([*rdata.get(at)?, *rdata.get(at + 1)?]));
    let long = |at: usize| Some(u32::from_be_bytes(rdata.get(at..at + 4)?.try_into().ok()?));
    Some(match rtype {
        Rtype::A => Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).to_string(),
        Rtype::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).to_string(),
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => Name::from_wire(rdata).ok()?.to_string(),
        Rtype::SOA => {
            let mut at = 0;
            let (mname, rname) = (Name::read(rdata, &mut at).ok()?, Name::read(rdata, &mut at).ok()?);
            let numbers: Option<Vec<String>> = (0..5).map(|i| Some(long(at + 4 * i)?.to_string())).collect();
            format!("{mname} {rname} {}", numbers?.join(" "))
        }
        Rtype::TXT => {
            let (mut out, mut rest) = (String::new(), rdata);
            while let [length, tail @ ..] = rest {
                let (text, more) = tail.split_at_checked(usize::from(*length))?;
                out.push_str(if out.is_empty() { "\"" } else { " \"" });
                for &octet in text {
                    match octet {
                        b'"' | b'\\' => write!(out, "\\{}", char::from(octet)).ok()?,
                        0x20..=0x7e => out.push(char::from(octet)),
                        _ => write!(out, "\\{octet:03}").ok()?,
                    }
                }
                out.push('"');
                rest = more;
            }
            out
        }
        Rtype::DS => format!("{} {} {} {}", short(0)?, rdata[2], rdata[3], hex(&rdata[4..])),
        Rtype::DNSKEY => format!("{} {} {} {}", short(0)?, rdata[2], rdata[3], base64(&rdata[4..])),
        Rtype::RRSIG => {
            let mut at = 18;
            let signer = Name::read(rdata, &mut at).ok()?;
            let covered = Rtype(short(0)?);
            let (ttl, until, from) = (long(4)?, calendar(long(8)?), calendar(long(12)?));
            format!("{covered} {} {} {ttl} {until} {from} {} {signer} {}", rdata[2], rdata[3], short(16)?, base64(&rdata[at..]))
        }
        Rtype::NSEC => {
            let mut at = 0;
            let next = Name::read(rdata, &mut at).ok()?;
            format!("{next}{}", types(&rdata[at..]))
        }
        Rtype::NSEC3 => {
            let salt_end = 5 + usize::from(rdata[4]);
            let hash_end = salt_end + 1 + usize::from(rdata[salt_end]);
            let next = base32hex(&rdata[salt_end + 1..hash_end]);
            format!("{} {} {} {} {next}{}", rdata[0], rdata[1], short(2)?, salt(&rdata[5..salt_end]), types(&rdata[hash_end..]))
        }
        Rtype::NSEC3PARAM => format!("{} {} {} {}", rdata[0], rdata[1], short(2)?, salt(&rdata[5..])),
        _ => return None,
    })
}

fn salt(salt: &[u8]) -> String {
    if salt.is_empty() { "-".to_owned() } else { hex(salt) }
}

fn types(mut maps: &[u8]) -> String {
    let mut out = String::new();
    while let [window, length, rest @ ..] = maps {
        let (bits, more) = rest.split_at(usize::from(*length).min(rest.len()));
        for (i, octet) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| octet & 0x80 >> bit != 0) {
                let number = u16::from(*window) << 8 | (i as u16 * 8 + bit);
                out.push_str(&format!(" {}", Rtype(number)));
            }
        }
        maps = more;
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, octet| {
        let _ = write!(out, "{octet:02x}");
        out
    })
}

/// Base 64 with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &octet| word << 8 | u32::from(octet)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = DIGITS[(word >> (18 - 6 * digit) & 63) as usize];
            out.push(if digit <= chunk.len() { char::from(value) } else { '=' });
        }
    }
    out
}

/// YYYYMMDDHHmmSS in UTC (RFC 4034 section 3.2), of seconds since 1970.
fn calendar(seconds: u32) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u32::from(leap(year)) {
        days -= 365 + u32::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let length = |month: usize| [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
    while days >= length(month) {
        days -= length(month);
        month += 1;
    }
    format!("{year:04}{:02}{:02}{:02}{:02}{:02}", month + 1, days + 1, second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(calendar(0), "19700101000000");
        assert_eq!(calendar(951_782_400), "20000229000000");
        assert_eq!(calendar(1_735_689_599), "20241231235959");
        assert_eq!(calendar(u32::MAX), "21060207062815");
    }

    /// RFC 4648 section 10.
    #[test]
    fn base64_pads_as_the_rfc_shows() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn unknown_types_are_written_in_generic_form() {
        assert_eq!(presentation(Rtype(65280), &[0xab, 1]), "\\# 2 ab01");
        assert_eq!(presentation(Rtype::TXT, b"\x03a\"b\x01c"), "\"a\\\"b\" \"c\"");
    }
}
