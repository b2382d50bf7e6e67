//! Zone keys of the lab: made from a seed, with their DNSKEY and DS records, and the signatures they give.
//!
//! RFC 4034 sections 2, 3 and 5 and appendix B; algorithms of RFC 5702, 6605 and 8080. Signatures are deterministic (RFC 6979 for
//! ECDSA), so that the same seed gives the same zone to the octet. RSA keys come from a small pool: see `rsa/README.md`.

use p256::ecdsa::signature::Signer;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest};
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair, RsaPublicKeyComponents};

use super::rdata::Rdata;
use super::seed::Seed;
use crate::wire::Name;

/// How a lab zone is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASHA256, number 8.
    RsaSha256,
    /// RSASHA512, number 10.
    RsaSha512,
    /// ECDSAP256SHA256, number 13.
    EcdsaP256,
    /// ECDSAP384SHA384, number 14.
    EcdsaP384,
    /// ED25519, number 15.
    Ed25519,
    /// A number that nobody has assigned: validators must treat the zone as unsigned (RFC 4035 section 5.2).
    Unassigned,
}

impl Algorithm {
    /// The IANA number.
    pub fn number(self) -> u8 {
        match self {
            Algorithm::RsaSha256 => 8,
            Algorithm::RsaSha512 => 10,
            Algorithm::EcdsaP256 => 13,
            Algorithm::EcdsaP384 => 14,
            Algorithm::Ed25519 => 15,
            Algorithm::Unassigned => 123,
        }
    }
}

/// Bit 7 of the DNSKEY flags: the key signs zones (RFC 4034 section 2.1.1).
pub(crate) const ZONE_KEY: u16 = 0x0100;
/// Bit 8 of the DNSKEY flags: the key is revoked (RFC 5011 section 3).
pub(crate) const REVOKE: u16 = 0x0080;
/// Bit 15 of the DNSKEY flags: secure entry point.
pub(crate) const SEP: u16 = 0x0001;

const RSA_POOL: [&[u8]; 8] = [
    include_bytes!("rsa/0.der"),
    include_bytes!("rsa/1.der"),
    include_bytes!("rsa/2.der"),
    include_bytes!("rsa/3.der"),
    include_bytes!("rsa/4.der"),
    include_bytes!("rsa/5.der"),
    include_bytes!("rsa/6.der"),
    include_bytes!("rsa/7.der"),
];

enum Secret {
    Rsa(RsaKeyPair),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    Ed25519(Ed25519KeyPair),
}

/// One key pair and the DNSKEY record that publishes it.
pub(crate) struct ZoneKey {
    secret: Secret,
    algorithm: Algorithm,
    dnskey: Rdata,
}

impl ZoneKey {
    /// The key that `seed` gives. `pool_index` chooses among the RSA keys, so that the keys of one zone differ.
    pub(crate) fn new(algorithm: Algorithm, flags: u16, seed: &Seed, pool_index: usize) -> ZoneKey {
        let (secret, public) = match algorithm {
            Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
                let pair = RsaKeyPair::from_der(RSA_POOL[pool_index % RSA_POOL.len()]).expect("the pool holds well-formed keys");
                let RsaPublicKeyComponents { e, n } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                // RFC 3110 section 2: one octet of exponent length, exponent, modulus.
                let public = [&[e.len() as u8], &e[..], &n].concat();
                (Secret::Rsa(pair), public)
            }
            Algorithm::EcdsaP256 | Algorithm::Unassigned => {
                let pair = p256::ecdsa::SigningKey::from_slice(&seed.bytes()).expect("a hash is a valid scalar but once in 2^32 seeds");
                // RFC 6605 section 4: the point without the leading 4.
                let public = pair.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
                (Secret::P256(Box::new(pair)), public)
            }
            Algorithm::EcdsaP384 => {
                let scalar = [&seed.bytes()[..], &seed.child("rest").bytes()[..16]].concat();
                let pair = p384::ecdsa::SigningKey::from_slice(&scalar).expect("48 octets are a valid scalar but for very few");
                let public = pair.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
                (Secret::P384(Box::new(pair)), public)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed.bytes()).expect("any 32 octets are a seed");
                let public = pair.public_key().as_ref().to_vec();
                (Secret::Ed25519(pair), public)
            }
        };
        let dnskey = [&flags.to_be_bytes()[..], &[3, algorithm.number()], &public].concat().into();
        ZoneKey { secret, algorithm, dnskey }
    }

    /// RDATA of the DNSKEY record.
    pub(crate) fn dnskey(&self) -> &Rdata {
        &self.dnskey
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key tag of RFC 4034 appendix B.
    pub(crate) fn tag(&self) -> u16 {
        key_tag(&self.dnskey)
    }

    /// The signature over `data`, as the RRSIG carries it.
    pub(crate) fn sign(&self, data: &[u8]) -> Vec<u8> {
        match &self.secret {
            Secret::Rsa(pair) => {
                let padding = if self.algorithm == Algorithm::RsaSha512 { &RSA_PKCS1_SHA512 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                // PKCS #1 v1.5 uses no randomness; the argument is for PSS and blinding.
                let rng = ring::rand::SystemRandom::new();
                pair.sign(padding, &rng, data, &mut signature).expect("a whole key signs");
                signature
            }
            Secret::P256(pair) => {
                let signature: p256::ecdsa::Signature = pair.sign(data);
                signature.to_bytes().to_vec()
            }
            Secret::P384(pair) => {
                let signature: p384::ecdsa::Signature = pair.sign(data);
                signature.to_bytes().to_vec()
            }
            Secret::Ed25519(pair) => pair.sign(data).as_ref().to_vec(),
        }
    }

    /// RDATA of a DS record for this key at `owner` (RFC 4034 section 5.1.4).
    pub(crate) fn ds(&self, owner: &Name, digest_type: u8) -> Rdata {
        let input = [owner.wire(), &self.dnskey].concat();
        let algorithm = match digest_type {
            1 => &SHA1_FOR_LEGACY_USE_ONLY,
            4 => &SHA384,
            // Digest types that nobody has assigned carry a SHA-256 all the same: nobody can check it.
            _ => &SHA256,
        };
        let value = digest(algorithm, &input);
        [&self.tag().to_be_bytes()[..], &[self.algorithm.number(), digest_type], value.as_ref()].concat().into()
    }
}

impl std::fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZoneKey({:?}, tag {})", self.algorithm, self.tag())
    }
}

/// The key tag of a DNSKEY's RDATA (RFC 4034 appendix B; algorithm 1 is not used here).
pub(crate) fn key_tag(dnskey: &[u8]) -> u16 {
    let sum =
        dnskey.iter().enumerate().fold(0u32, |sum, (i, &octet)| sum + if i % 2 == 0 { u32::from(octet) << 8 } else { u32::from(octet) });
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    #[test]
    fn every_algorithm_gives_signatures_that_ring_verifies_and_repeats_them() {
        let seed = Seed::new(1).child("key");
        let key = |algorithm| ZoneKey::new(algorithm, ZONE_KEY, &seed, 0);
        let ec = key(Algorithm::EcdsaP256);
        let point = [&[4], &ec.dnskey()[4..]].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(b"data", &ec.sign(b"data")).unwrap();
        assert_eq!(ec.sign(b"data"), key(Algorithm::EcdsaP256).sign(b"data"));
        let larger = key(Algorithm::EcdsaP384);
        let point = [&[4], &larger.dnskey()[4..]].concat();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &point).verify(b"data", &larger.sign(b"data")).unwrap();
        assert_eq!(larger.sign(b"data"), key(Algorithm::EcdsaP384).sign(b"data"));
        let ed = key(Algorithm::Ed25519);
        UnparsedPublicKey::new(&ED25519, &ed.dnskey()[4..]).verify(b"data", &ed.sign(b"data")).unwrap();
        let rsa = key(Algorithm::RsaSha256);
        let public = RsaPublicKeyComponents { e: &rsa.dnskey()[5..8], n: &rsa.dnskey()[8..] };
        public.verify(&RSA_PKCS1_2048_8192_SHA256, b"data", &rsa.sign(b"data")).unwrap();
    }

    /// RFC 8080 section 6.1: this key has tag 3613.
    #[test]
    fn key_tags_are_those_of_rfc_4034_appendix_b() {
        let dnskey = [
            1, 1, 3, 15, 0x97, 0x4d, 0x96, 0xa2, 0x2d, 0x22, 0x4b, 0xc0, 0x1a, 0xdb, 0x91, 0x50, 0x91, 0x47, 0x7d, 0x44, 0xcc, 0xd9, 0x1c,
            0x9a, 0x41, 0xa1, 0x14, 0x30, 0x01, 0x01, 0x17, 0xd5, 0x2c, 0x59, 0x24, 0x0e,
        ];
        assert_eq!(key_tag(&dnskey), 3613);
    }
}
