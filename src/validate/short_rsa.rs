//! RSA signatures by keys of 512 to 1023 bits, which ring does not check.
//!
//! RFC 5702 section 2 allows them, RFC 5155's own example zone has them, and other validators accept them; a zone is not to go dark for
//! using one. Verification only: there is no secret here, so nothing needs to take constant time. PKCS#1 v1.5 (RFC 8017 section 8.2.2) is
//! checked by building the one encoding that is right and comparing it whole.

use std::cmp::Ordering;

use ring::digest::{Algorithm, digest};

/// Shortest and longest modulus taken here, in octets.
const OCTETS: std::ops::RangeInclusive<usize> = 64..=127;
/// Longest public exponent in octets: the 33 bits that ring takes fit.
const EXPONENT: usize = 5;
/// Most 64-bit limbs of a number.
const LIMBS: usize = 16;

/// A number below 2^1024, least significant limb first.
type Number = [u64; LIMBS];

/// Whether a modulus is short enough to be checked here.
pub(crate) fn is_short(n: &[u8]) -> bool {
    OCTETS.contains(&n.len())
}

/// Whether `signature` over `message` is by the key (`e`, `n`), with the digest whose DigestInfo starts with `prefix`.
pub(crate) fn verifies(e: &[u8], n: &[u8], hash: &'static Algorithm, prefix: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let odd = |octets: &[u8]| octets.last().is_some_and(|o| o & 1 == 1);
    if !is_short(n) || !odd(n) || !odd(e) || e.len() > EXPONENT || e == [1] || signature.len() != n.len() {
        return false;
    }
    let (modulus, base) = (number(n), number(signature));
    if compare(&base, &modulus) != Ordering::Less {
        return false;
    }
    let digest = digest(hash, message);
    let padding = n.len().checked_sub(3 + prefix.len() + digest.as_ref().len()).filter(|&p| p >= 8);
    let Some(padding) = padding else { return false };
    let encoded = [&[0, 1][..], &vec![0xff; padding], &[0], prefix, digest.as_ref()].concat();
    power(&base, e, &modulus) == number(&encoded)
}

fn number(octets: &[u8]) -> Number {
    let mut out = [0; LIMBS];
    for (i, octet) in octets.iter().rev().enumerate() {
        out[i / 8] |= u64::from(*octet) << (8 * (i % 8));
    }
    out
}

fn compare(a: &Number, b: &Number) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

/// `a + b` modulo `m`; both are below `m`, and `m` below 2^1016, so that no sum leaves its 1024 bits.
fn add(a: &Number, b: &Number, m: &Number) -> Number {
    let (mut sum, mut carry) = ([0; LIMBS], false);
    for (i, out) in sum.iter_mut().enumerate() {
        let (low, first) = a[i].overflowing_add(b[i]);
        let (low, second) = low.overflowing_add(u64::from(carry));
        (*out, carry) = (low, first || second);
    }
    if compare(&sum, m) != Ordering::Less {
        let mut borrow = false;
        for (out, part) in sum.iter_mut().zip(m) {
            let (low, first) = out.overflowing_sub(*part);
            let (low, second) = low.overflowing_sub(u64::from(borrow));
            (*out, borrow) = (low, first || second);
        }
    }
    sum
}

/// `a * b` modulo `m`, bit by bit from the top.
fn multiply(a: &Number, b: &Number, m: &Number) -> Number {
    let bits = (0..LIMBS * 64).rev().map(|i| b[i / 64] >> (i % 64) & 1 == 1);
    bits.skip_while(|bit| !bit).fold([0; LIMBS], |product, bit| {
        let doubled = add(&product, &product, m);
        if bit { add(&doubled, a, m) } else { doubled }
    })
}

fn power(base: &Number, exponent: &[u8], m: &Number) -> Number {
    let bits = exponent.iter().flat_map(|octet| (0..8).rev().map(move |i| octet >> i & 1 == 1));
    bits.skip_while(|bit| !bit).fold(number(&[1]), |result, bit| {
        let squared = multiply(&result, &result, m);
        if bit { multiply(&squared, base, m) } else { squared }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against arithmetic that the machine has: powers modulo numbers of 32 bits.
        #[test]
        fn powers_are_those_of_machine_arithmetic(base in any::<u32>(), exponent in 1u16.., m in 2u32..) {
            let small = |n: u32| number(&n.to_be_bytes());
            let base = base % m;
            let expected = (0..exponent).fold(1u64, |r, _| r * u64::from(base) % u64::from(m));
            prop_assert_eq!(power(&small(base), &exponent.to_be_bytes(), &small(m)), number(&expected.to_be_bytes()));
        }

        /// (a + b) mod m for numbers that fill the limbs: adding back what is missing gives zero.
        #[test]
        fn sums_of_large_numbers_stay_below_the_modulus(octets in proptest::collection::vec(any::<u8>(), 127)) {
            let mut top = octets.clone();
            top[0] |= 0x80;
            let m = number(&top);
            let minus_one = add(&number(&[]), &{ let mut n = m; n[0] ^= 1; n }, &m);
            if octets[126] & 1 == 1 {
                prop_assert_eq!(add(&minus_one, &number(&[1]), &m), number(&[]));
                prop_assert_eq!(multiply(&minus_one, &minus_one, &m), number(&[1]));
            }
        }
    }
}
