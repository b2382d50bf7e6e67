//! Making RDATA: each function gives the uncompressed wire form of one type.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::{Name, Rtype};

pub(crate) use crate::wire::rdata::{canonical, is_well_formed};

pub(crate) type Rdata = Box<[u8]>;

pub(crate) fn a(address: Ipv4Addr) -> Rdata {
    address.octets().into()
}

pub(crate) fn aaaa(address: Ipv6Addr) -> Rdata {
    address.octets().into()
}

/// NS, CNAME, DNAME and PTR: just a name.
pub(crate) fn name(target: &Name) -> Rdata {
    target.wire().into()
}

/// MX; the exchange is given in wire form, so that a test can keep its case.
pub(crate) fn mx(preference: u16, exchange: &[u8]) -> Rdata {
    [&preference.to_be_bytes()[..], exchange].concat().into()
}

/// TXT of one or more strings; longer text is cut into strings of 255 octets.
pub(crate) fn txt(text: &str) -> Rdata {
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(255) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
    out.into()
}

/// SOA with timers that suit short tests; `minimum` bounds negative answers (RFC 2308 section 4).
pub(crate) fn soa(mname: &Name, rname: &Name, serial: u32, minimum: u32) -> Rdata {
    let mut out = [mname.wire(), rname.wire()].concat();
    for number in [serial, 3600, 600, 86400, minimum] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.into()
}

/// Type bit maps of NSEC and NSEC3 (RFC 4034 section 4.1.2). `types` may come in any order.
pub(crate) fn type_bit_maps(types: &[Rtype]) -> Vec<u8> {
    let mut sorted: Vec<u16> = types.iter().map(|t| t.0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut out = Vec::new();
    for window in sorted.chunk_by(|a, b| a >> 8 == b >> 8) {
        let mut bits = [0u8; 32];
        for number in window {
            let low = usize::from(number & 0xff);
            bits[low / 8] |= 0x80 >> (low % 8);
        }
        let length = usize::from(window[window.len() - 1] & 0xff) / 8 + 1;
        out.push((window[0] >> 8) as u8);
        out.push(length as u8);
        out.extend_from_slice(&bits[..length]);
    }
    out
}

/// NSEC (RFC 4034 section 4).
pub(crate) fn nsec(next: &Name, types: &[Rtype]) -> Rdata {
    [next.wire(), &type_bit_maps(types)].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4034 section 4.3 gives this bit map for A, MX, RRSIG, NSEC and TYPE1234.
    #[test]
    fn type_bit_maps_are_those_of_rfc_4034_4_3() {
        let mut expected = vec![0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 0x1b];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(type_bit_maps(&[Rtype(1234), Rtype::MX, Rtype::A, Rtype::RRSIG, Rtype::NSEC]), expected);
    }
}
