//! Signature algorithms: which are known, and one check of one key on one signature.
//!
//! RSA with SHA-1, SHA-256, SHA-512 (RFC 3110, 5702), ECDSA P-256 and P-384 (RFC 6605), Ed25519 (RFC 8080), by ring; RSA keys that ring
//! finds too short are `short_rsa`'s. Not done: Ed448 and GOST, for which ring has no code: their zones are Insecure.

use ring::digest;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::short_rsa;

/// RSASHA1 (RFC 3110).
const RSASHA1: u8 = 5;
/// RSASHA1-NSEC3-SHA1 (RFC 5155).
const RSASHA1_NSEC3: u8 = 7;

/// One RSA algorithm: for ring, and as digest and DigestInfo for keys that ring does not take (RFC 8017 section 9.2).
struct Rsa {
    ring: &'static RsaParameters,
    digest: &'static digest::Algorithm,
    digest_info: &'static [u8],
}

const RSA_SHA1: Rsa = Rsa {
    ring: &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
    digest_info: &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14],
};
const RSA_SHA256: Rsa = Rsa {
    ring: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    digest: &digest::SHA256,
    digest_info: &[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20],
};
const RSA_SHA512: Rsa = Rsa {
    ring: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    digest: &digest::SHA512,
    digest_info: &[0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40],
};

/// Whether a check is possible at all with this algorithm.
pub(crate) fn is_known(algorithm: u8) -> bool {
    matches!(algorithm, RSASHA1 | RSASHA1_NSEC3 | 8 | 10 | 13 | 14 | 15)
}

/// Whether the algorithm signs with SHA-1, whose DS records are Insecure by RFC 9905 section 2.
pub(crate) fn is_sha1(algorithm: u8) -> bool {
    matches!(algorithm, RSASHA1 | RSASHA1_NSEC3)
}

/// Whether `signature` over `message` is by `public_key`. An unknown algorithm or a malformed key has signed nothing.
pub(crate) fn verifies(algorithm: u8, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        RSASHA1 | RSASHA1_NSEC3 => rsa(&RSA_SHA1, public_key, message, signature),
        8 => rsa(&RSA_SHA256, public_key, message, signature),
        10 => rsa(&RSA_SHA512, public_key, message, signature),
        13 => ecdsa(&ECDSA_P256_SHA256_FIXED, public_key, message, signature),
        14 => ecdsa(&ECDSA_P384_SHA384_FIXED, public_key, message, signature),
        15 => UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok(),
        _ => false,
    }
}

/// The key is the point without the octet that says "uncompressed" (RFC 6605 section 4).
fn ecdsa(algorithm: &'static dyn VerificationAlgorithm, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let point = [&[4], point].concat();
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
}

fn rsa(algorithm: &Rsa, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((e, n)) = rsa_parts(public_key) else { return false };
    if short_rsa::is_short(n) {
        return short_rsa::verifies(e, n, algorithm.digest, algorithm.digest_info, message, signature);
    }
    RsaPublicKeyComponents { n, e }.verify(algorithm.ring, message, signature).is_ok()
}

/// Exponent and modulus (RFC 3110 section 2). Leading zero octets are prohibited there, seen in the field, and mean nothing.
fn rsa_parts(public_key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match public_key {
        [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [length, rest @ ..] => (usize::from(*length), rest),
        [] => return None,
    };
    let (e, n) = rest.split_at_checked(length)?;
    let trim = |octets: &'_ [u8]| octets.iter().take_while(|&&o| o == 0).count();
    Some((&e[trim(e)..], &n[trim(n)..]))
}
