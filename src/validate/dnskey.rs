//! DNSKEY and DS records: reading, key tags, digests, and which DS of a set count.
//!
//! RFC 4034 sections 2, 5 and appendix B; RFC 4509 and RFC 6840 section 5.2 (downgrade); which algorithms are known is `crypto`'s.

use crate::wire::Name;

/// The Zone Key bit (RFC 4034 section 2.1.1).
const ZONE_KEY: u16 = 0x0100;
/// The REVOKE bit (RFC 5011 section 7).
const REVOKED: u16 = 0x0080;

/// The Secure Entry Point bit (RFC 4034 section 2.1.1).
const SEP: u16 = 0x0001;

/// A DNSKEY, borrowed from its RDATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dnskey<'a> {
    rdata: &'a [u8],
}

impl<'a> Dnskey<'a> {
    /// Reads the RDATA; `None` when it is too short to hold a key.
    pub(crate) fn read(rdata: &'a [u8]) -> Option<Dnskey<'a>> {
        (rdata.len() > 4).then_some(Dnskey { rdata })
    }

    pub(crate) fn rdata(&self) -> &'a [u8] {
        self.rdata
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.rdata[0], self.rdata[1]])
    }

    pub(crate) fn algorithm(&self) -> u8 {
        self.rdata[3]
    }

    pub(crate) fn public_key(&self) -> &'a [u8] {
        &self.rdata[4..]
    }

    /// Whether the key may sign zone data at all: Zone Key bit, protocol 3 (RFC 4034 sections 2.1.1, 2.1.2).
    pub(crate) fn is_zone_key(&self) -> bool {
        self.flags() & ZONE_KEY != 0 && self.rdata[2] == 3
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.flags() & REVOKED != 0
    }

    pub(crate) fn is_entry_point(&self) -> bool {
        self.flags() & SEP != 0
    }

    /// The RDATA without the REVOKE bit: what the key was before it was revoked.
    pub(crate) fn unrevoked(&self) -> Vec<u8> {
        let mut rdata = self.rdata.to_vec();
        rdata[1] &= !(REVOKED as u8);
        rdata
    }

    /// Key tag (RFC 4034 appendix B; algorithm 1 with its own rule is not supported and so not special here).
    pub(crate) fn tag(&self) -> u16 {
        key_tag(self.rdata)
    }
}

fn key_tag(rdata: &[u8]) -> u16 {
    let sum: u32 = rdata.iter().enumerate().map(|(i, &octet)| if i % 2 == 0 { u32::from(octet) << 8 } else { u32::from(octet) }).sum();
    (sum + (sum >> 16)) as u16
}

/// A DS, borrowed from its RDATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ds<'a> {
    pub(crate) tag: u16,
    pub(crate) algorithm: u8,
    pub(crate) digest_type: u8,
    digest: &'a [u8],
    rdata: &'a [u8],
}

/// SHA-1 as DS digest type.
const SHA1: u8 = 1;
/// SHA-256 as DS digest type (RFC 4509).
const SHA256: u8 = 2;
/// SHA-384 as DS digest type (RFC 6605).
const SHA384: u8 = 4;

impl<'a> Ds<'a> {
    /// Reads the RDATA; `None` when it is cut short.
    pub(crate) fn read(rdata: &'a [u8]) -> Option<Ds<'a>> {
        let (head, digest) = rdata.split_first_chunk::<4>()?;
        Some(Ds { tag: u16::from_be_bytes([head[0], head[1]]), algorithm: head[2], digest_type: head[3], digest, rdata })
    }

    pub(crate) fn rdata(&self) -> Box<[u8]> {
        self.rdata.into()
    }

    pub(crate) fn digest_is_supported(&self) -> bool {
        digest_algorithm(self.digest_type).is_some()
    }

    /// Whether this DS is the digest of that key at `owner` (RFC 4034 section 5.1.4). Tag and algorithm must agree as well.
    pub(crate) fn matches(&self, owner: &Name, key: &Dnskey<'_>) -> bool {
        let Some(algorithm) = digest_algorithm(self.digest_type) else { return false };
        if self.algorithm != key.algorithm() || self.tag != key.tag() {
            return false;
        }
        let mut context = ring::digest::Context::new(algorithm);
        context.update(owner.wire());
        context.update(key.rdata());
        context.finish().as_ref() == self.digest
    }
}

fn digest_algorithm(digest_type: u8) -> Option<&'static ring::digest::Algorithm> {
    match digest_type {
        SHA1 => Some(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY),
        SHA256 => Some(&ring::digest::SHA256),
        SHA384 => Some(&ring::digest::SHA384),
        _ => None,
    }
}

/// The DS records of a set that may lead to a key: known digest, algorithm accepted by `algorithm_counts`, and no SHA-1 where a
/// stronger one that counts is there too (RFC 4509 section 3).
pub(crate) fn usable<'a>(all: &[Ds<'a>], algorithm_counts: impl Fn(u8) -> bool) -> Vec<Ds<'a>> {
    let mut usable: Vec<_> = all.iter().copied().filter(|d| d.digest_is_supported() && algorithm_counts(d.algorithm)).collect();
    if usable.iter().any(|d| d.digest_type != SHA1) {
        usable.retain(|d| d.digest_type != SHA1);
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ds(digest_type: u8, algorithm: u8) -> Ds<'static> {
        Ds { tag: 1, algorithm, digest_type, digest: &[0; 32], rdata: &[] }
    }

    /// RFC 4509 section 3: SHA-1 is ignored where SHA-256 is present; RFC 4035 section 5.2: what is unknown does not count.
    #[test]
    fn sha1_does_not_count_beside_a_stronger_digest_that_does() {
        let known = |algorithm| algorithm != 99;
        assert_eq!(usable(&[ds(1, 8), ds(2, 8)], known), [ds(2, 8)]);
        assert_eq!(usable(&[ds(1, 8), ds(2, 99)], known), [ds(1, 8)]);
        assert_eq!(usable(&[ds(3, 8), ds(2, 99)], known), []);
        assert_eq!(usable(&[ds(1, 8)], known), [ds(1, 8)]);
    }
}
