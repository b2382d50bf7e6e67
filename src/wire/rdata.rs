//! Where names stand inside RDATA, type by type: to expand compression on the way in and to fold case for signatures.
//!
//! RFC 3597 section 4 (which types a receiver must decompress), RFC 4034 section 6.2 with RFC 6840 section 5.1 (canonical form).
//! A record whose RDATA does not fit its type exactly is malformed: it is refused here and so never relayed or cached.
//! Types not in the table are opaque (RFC 3597 section 3).

use super::name::{self, MAX_NAME, NameError};
use super::rtype::Rtype;

/// One field of an RDATA layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Exactly so many octets.
    Octets(usize),
    /// A domain name; decompressed on the way in.
    Name,
    /// One character-string (RFC 1035 section 3.3).
    CharString,
    /// One or more character-strings up to the end.
    CharStrings,
    /// A length octet and that many octets (NSEC3 salt and hash).
    Counted,
    /// Type bit maps up to the end (RFC 4034 section 4.1.2).
    TypeBitMaps,
    /// Anything up to the end, at least so many octets.
    Rest(usize),
}

use Field::{CharString, CharStrings, Counted, Name, Octets, Rest, TypeBitMaps};

/// The layout of the types that postern knows; `None` is opaque.
fn layout(rtype: Rtype) -> Option<&'static [Field]> {
    Some(match rtype.0 {
        1 => &[Octets(4)],
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => &[Name],
        6 => &[Name, Name, Octets(20)],
        13 => &[CharString, CharString],
        14 | 17 => &[Name, Name],
        15 | 18 | 21 => &[Octets(2), Name],
        16 | 99 => &[CharStrings],
        24 | 46 => &[Octets(18), Name, Rest(1)],
        26 => &[Octets(2), Name, Name],
        28 => &[Octets(16)],
        33 => &[Octets(6), Name],
        35 => &[Octets(4), CharString, CharString, CharString, Name],
        36 => &[Octets(2), Name],
        43 | 59 => &[Octets(4), Rest(1)],
        47 => &[Name, TypeBitMaps],
        48 | 60 => &[Octets(4), Rest(0)],
        50 => &[Octets(4), Counted, Counted, TypeBitMaps],
        51 => &[Octets(4), Counted],
        44 => &[Octets(2), Rest(1)],
        52 | 53 => &[Octets(3), Rest(1)],
        64 | 65 => &[Octets(2), Name, Rest(0)],
        108 => &[Octets(6)],
        109 => &[Octets(8)],
        257 => &[Octets(1), Counted, Rest(0)],
        _ => return None,
    })
}

/// Whether names in this type are folded to lower case in canonical form (RFC 4034 section 6.2; NSEC is not, RFC 6840 section 5.1).
fn folds_case(rtype: Rtype) -> bool {
    matches!(rtype.0, 2..=9 | 12 | 14 | 15 | 17 | 18 | 21 | 24 | 26 | 33 | 35 | 36 | 39 | 46)
}

/// Reads the RDATA of `rtype` at `message[start..start + length]`, names expanded, case kept.
///
/// # Errors
/// RDATA that does not have the form of its type, to the octet.
pub(crate) fn read(message: &[u8], start: usize, length: usize, rtype: Rtype) -> Result<Box<[u8]>, NameError> {
    let end = start.checked_add(length).filter(|&e| e <= message.len()).ok_or(NameError::Truncated)?;
    let Some(fields) = layout(rtype) else { return Ok(message[start..end].into()) };
    let mut out = Vec::with_capacity(length + 32);
    let mut at = start;
    for field in fields {
        if *field == Name {
            let mut buf = [0u8; MAX_NAME];
            // Pointers may lead anywhere before, but the name's own octets end inside this RDATA.
            let len = name::expand(&message[..end], &mut at, &mut buf)?;
            out.extend_from_slice(&buf[..len]);
        } else {
            let next = skip(*field, &message[..end], at)?;
            out.extend_from_slice(&message[at..next]);
            at = next;
        }
    }
    if at == end { Ok(out.into()) } else { Err(NameError::Truncated) }
}

/// Steps over one field other than a name; `bytes` ends where the RDATA ends.
fn skip(field: Field, bytes: &[u8], at: usize) -> Result<usize, NameError> {
    let counted = |at: usize| bytes.get(at).map(|&n| at + 1 + usize::from(n)).ok_or(NameError::Truncated);
    let next = match field {
        Octets(n) => at + n,
        CharString | Counted => counted(at)?,
        CharStrings => {
            let mut next = counted(at)?;
            while next < bytes.len() {
                next = counted(next)?;
            }
            next
        }
        TypeBitMaps => {
            let mut next = at;
            let mut last_window = None;
            while next < bytes.len() {
                let (window, length) = (bytes[next], *bytes.get(next + 1).ok_or(NameError::Truncated)?);
                if !(1..=32).contains(&length) || last_window.is_some_and(|last| window <= last) {
                    return Err(NameError::Truncated);
                }
                last_window = Some(window);
                next += 2 + usize::from(length);
            }
            next
        }
        Rest(least) => bytes.len().max(at + least),
        Name => name::skip_uncompressed(bytes.get(at..).ok_or(NameError::Truncated)?)? + at,
    };
    if next <= bytes.len() { Ok(next) } else { Err(NameError::Truncated) }
}

/// Ranges of the (uncompressed) names in `rdata`; empty for opaque types or RDATA that does not fit.
pub(crate) fn name_ranges(rtype: Rtype, rdata: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let Some(fields) = layout(rtype) else { return ranges };
    if !fields.contains(&Name) {
        return ranges;
    }
    let mut at = 0;
    for field in fields {
        let Ok(next) = skip(*field, rdata, at) else { return Vec::new() };
        if *field == Name {
            ranges.push(at..next);
        }
        at = next;
    }
    ranges
}

/// The canonical form of uncompressed RDATA: names folded to lower case where the type asks for it (RFC 4034 section 6.2).
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Vec<u8> {
    let mut out = rdata.to_vec();
    if folds_case(rtype) {
        for range in name_ranges(rtype, rdata) {
            out[range].make_ascii_lowercase();
        }
    }
    out
}

/// Whether names of this type may be compressed when sent: only those of RFC 1035 (RFC 3597 section 4).
pub(crate) fn compresses(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::NS | Rtype::CNAME | Rtype::SOA | Rtype::PTR | Rtype::MX)
}

/// Whether uncompressed `rdata` has exactly the form of `rtype`. Opaque types always do.
pub fn is_well_formed(rtype: Rtype, rdata: &[u8]) -> bool {
    let Some(fields) = layout(rtype) else { return true };
    fields.iter().try_fold(0, |at, field| skip(*field, rdata, at)).is_ok_and(|end| end == rdata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_wrong_length_is_malformed() {
        assert!(is_well_formed(Rtype::A, &[192, 0, 2, 1]));
        assert!(!is_well_formed(Rtype::A, &[192, 0, 2]));
        assert!(!is_well_formed(Rtype::A, &[192, 0, 2, 1, 0]));
        assert!(!is_well_formed(Rtype::AAAA, &[0; 15]));
        assert!(!is_well_formed(Rtype::CAA, &[0, 9, b'i']));
        assert!(is_well_formed(Rtype::CAA, &[0, 5, b'i', b's', b's', b'u', b'e']));
        assert!(!is_well_formed(Rtype::HTTPS, &[0, 1]));
        assert!(is_well_formed(Rtype(65280), &[1, 2, 3]));
        assert!(!is_well_formed(Rtype::TXT, &[]));
        assert!(!is_well_formed(Rtype::TXT, &[5, b'a']));
    }

    /// RFC 4034 section 6.2 item 3, and RFC 6840 section 5.1: names in NSEC keep their case.
    #[test]
    fn canonical_form_folds_the_case_of_old_types_only() {
        let upper = [0, 10, 1, b'A', 0];
        assert_eq!(canonical(Rtype::MX, &upper), [0, 10, 1, b'a', 0]);
        let nsec = [1, b'A', 0, 0, 1, 0x40];
        assert_eq!(canonical(Rtype::NSEC, &nsec), nsec);
        let svcb = [0, 1, 1, b'A', 0];
        assert_eq!(canonical(Rtype::SVCB, &svcb), svcb);
    }

    #[test]
    fn type_bit_maps_must_be_ordered_and_full() {
        assert!(is_well_formed(Rtype::NSEC, &[0, 0, 1, 0x40, 1, 1, 0x80]));
        assert!(!is_well_formed(Rtype::NSEC, &[0, 1, 1, 0x80, 0, 1, 0x40]));
        assert!(!is_well_formed(Rtype::NSEC, &[0, 0, 33]));
        assert!(!is_well_formed(Rtype::NSEC, &[0, 0, 0]));
    }
}
