//! One written name to a [`Name`] that a list can hold: case folded, U-labels to A-labels (RFC 5891), hostile octets refused.

use std::net::IpAddr;

use super::Reason;
use crate::blocklist::key::{MAX_LABELS, is_listable};
use crate::wire::Name;
use crate::wire::name::{MAX_LABEL, MAX_NAME};

/// Reads a name as people write it; a final dot is accepted.
pub(super) fn name(word: &str) -> Result<Name, Reason> {
    if word.is_ascii() {
        return ascii(word);
    }
    // Underscores and odd hyphens pass: lists carry them, and DNS does not mind. Lengths are checked below.
    let converted = idna::domain_to_ascii(word).map_err(|_| Reason::BadIdna)?;
    ascii(&converted)
}

fn ascii(word: &str) -> Result<Name, Reason> {
    let bare = word.strip_suffix('.').unwrap_or(word);
    let mut wire = [0u8; MAX_NAME];
    let (mut at, mut labels) = (0usize, 0usize);
    for label in bare.split('.') {
        match label.len() {
            0 => return Err(Reason::EmptyLabel),
            1..=MAX_LABEL => {}
            _ => return Err(Reason::LabelTooLong),
        }
        if at + 1 + label.len() >= MAX_NAME {
            return Err(Reason::NameTooLong);
        }
        labels += 1;
        wire[at] = label.len() as u8;
        for (to, from) in wire[at + 1..].iter_mut().zip(label.bytes()) {
            *to = from.to_ascii_lowercase();
            if !is_listable(*to) {
                return Err(misplaced(word));
            }
        }
        at += 1 + label.len();
    }
    // Only an all-numeric last label can be an address, so that names are not parsed twice.
    if wire[..at].last().is_some_and(u8::is_ascii_digit) && bare.parse::<IpAddr>().is_ok() {
        return Err(Reason::Address);
    }
    if labels > MAX_LABELS {
        return Err(Reason::TooManyLabels);
    }
    Name::from_wire(&wire[..=at]).map_err(|_| Reason::NameTooLong)
}

/// What a word with an impossible character most likely is.
fn misplaced(word: &str) -> Reason {
    if word.parse::<IpAddr>().is_ok() {
        Reason::Address
    } else if word.starts_with("||") || word.starts_with("@@") || word.ends_with('^') {
        Reason::OtherSyntax
    } else if word.contains("://") || word.contains('/') {
        Reason::Url
    } else {
        Reason::BadCharacter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1035 section 2.3.4: 63 and 255 octets.
    #[test]
    fn lengths_are_held() {
        assert_eq!(name(&"a".repeat(64)), Err(Reason::LabelTooLong));
        assert!(name(&"a".repeat(63)).is_ok());
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(name(&long).unwrap().wire().len(), 255);
        assert_eq!(name(&format!("{long}d")), Err(Reason::NameTooLong));
        assert_eq!(name(&["a"; 65].join(".")), Err(Reason::TooManyLabels));
    }
}
