//! Trust anchors: keys and digests that are believed without proof, at the root or at any other name.
//!
//! RFC 4035 section 4.4. The built-in ones are both current root KSKs as IANA publishes them; following a roll-over (RFC 5011) is
//! `rollover`'s. Reads lines in zone-file form (RFC 1035 section 5.1); files are the shell's.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};

use crate::wire::{Name, Rtype};

/// The root zone's KSKs as DS records: KSK-2017 (20326) and KSK-2024 (38696), from <https://data.iana.org/root-anchors/>.
pub const ROOT_ANCHORS: &str = "\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// One trust anchor, as the RDATA of the record that it is written as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// DS RDATA.
    Ds(Box<[u8]>),
    /// DNSKEY RDATA.
    Dnskey(Box<[u8]>),
}

/// All trust anchors, by owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors(BTreeMap<Name, Vec<Anchor>>);

/// A line that is no trust anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The owner is not a domain name.
    #[error("line {line}: {text:?} is not a domain name")]
    Owner {
        /// Line number from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// Neither DS nor DNSKEY.
    #[error("line {line}: a trust anchor is a DS or a DNSKEY record")]
    NotAnAnchor {
        /// Line number from 1.
        line: usize,
    },
    /// Too few fields, a number out of range, or bad base64 or hexadecimal digits.
    #[error("line {line}: the {rtype} record does not parse: {what}")]
    Field {
        /// Line number from 1.
        line: usize,
        /// DS or DNSKEY.
        rtype: Rtype,
        /// Which field.
        what: &'static str,
    },
    /// A parenthesis that is not closed.
    #[error("line {line}: an open parenthesis")]
    OpenParenthesis {
        /// Line number from 1.
        line: usize,
    },
}

impl Anchors {
    /// None: nothing can be Secure.
    pub fn none() -> Anchors {
        Anchors::default()
    }

    /// The built-in root anchors ([`ROOT_ANCHORS`]).
    pub fn builtin() -> Anchors {
        Anchors::parse(ROOT_ANCHORS).expect("invariant: the built-in anchors parse, a test says so")
    }

    /// Reads DS and DNSKEY records, one a line or in parentheses, with comments, TTL and class as wanted. Other lines are errors.
    ///
    /// # Errors
    /// The first line that is not a trust anchor.
    pub fn parse(text: &str) -> Result<Anchors, AnchorError> {
        let mut anchors = Anchors::none();
        for (line, record) in logical_lines(text)? {
            let (owner, anchor) = parse_record(line, &record)?;
            anchors.add(owner, anchor);
        }
        Ok(anchors)
    }

    /// Adds one anchor.
    pub fn add(&mut self, owner: Name, anchor: Anchor) {
        let at = self.0.entry(owner).or_default();
        if !at.contains(&anchor) {
            at.push(anchor);
        }
    }

    /// Replaces all anchors at `owner`; none removes the name.
    pub fn replace(&mut self, owner: Name, anchors: Vec<Anchor>) {
        if anchors.is_empty() {
            self.0.remove(&owner);
        } else {
            self.0.insert(owner, anchors);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Anchors) {
        for (owner, anchors) in other.0 {
            for anchor in anchors {
                self.add(owner.clone(), anchor);
            }
        }
    }

    /// The deepest anchored name at or above `name`, with its anchors.
    pub fn closest(&self, name: &Name) -> Option<(&Name, &[Anchor])> {
        name.self_and_ancestors().find_map(|n| self.0.get_key_value(&n)).map(|(name, anchors)| (name, anchors.as_slice()))
    }

    /// Every anchored name with its anchors.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &[Anchor])> {
        self.0.iter().map(|(name, anchors)| (name, anchors.as_slice()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Joins parenthesised records and drops comments; gives each record's fields with the number of its first line.
fn logical_lines(text: &str) -> Result<Vec<(usize, Vec<String>)>, AnchorError> {
    let (mut records, mut open) = (Vec::new(), None::<(usize, Vec<String>)>);
    for (number, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        let (opens, closes) = (line.contains('('), line.contains(')'));
        let fields = line.replace(['(', ')'], " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (first, mut record) = open.take().unwrap_or((number + 1, Vec::new()));
        let was_open = !record.is_empty();
        record.extend(fields);
        if (opens || was_open) && !closes {
            open = Some((first, record));
        } else if !record.is_empty() {
            records.push((first, record));
        }
    }
    match open {
        Some((line, _)) => Err(AnchorError::OpenParenthesis { line }),
        None => Ok(records),
    }
}

fn parse_record(line: usize, fields: &[String]) -> Result<(Name, Anchor), AnchorError> {
    let owner = fields[0].parse().map_err(|_| AnchorError::Owner { line, text: fields[0].clone() })?;
    // TTL and class stand in either order before the type.
    let skip = fields[1..].iter().take_while(|f| f.eq_ignore_ascii_case("IN") || f.parse::<u32>().is_ok()).count();
    let rtype = match fields.get(1 + skip).map(|f| f.to_ascii_uppercase()).as_deref() {
        Some("DS") => Rtype::DS,
        Some("DNSKEY") => Rtype::DNSKEY,
        _ => return Err(AnchorError::NotAnAnchor { line }),
    };
    let rest = &fields[2 + skip..];
    let bad = |what| AnchorError::Field { line, rtype, what };
    let [first, second, third, payload @ ..] = rest else { return Err(bad("too few fields")) };
    let mut rdata = first.parse::<u16>().map_err(|_| bad("the first number"))?.to_be_bytes().to_vec();
    let payload = payload.concat();
    if rtype == Rtype::DS {
        rdata.push(second.parse().map_err(|_| bad("the algorithm"))?);
        rdata.push(third.parse().map_err(|_| bad("the digest type"))?);
        rdata.extend(HEXUPPER_PERMISSIVE.decode(payload.as_bytes()).ok().filter(|d| !d.is_empty()).ok_or(bad("the digest"))?);
        Ok((owner, Anchor::Ds(rdata.into())))
    } else {
        rdata.push(second.parse().map_err(|_| bad("the protocol"))?);
        rdata.push(third.parse().map_err(|_| bad("the algorithm"))?);
        rdata.extend(BASE64.decode(payload.as_bytes()).ok().filter(|k| !k.is_empty()).ok_or(bad("the key"))?);
        Ok((owner, Anchor::Dnskey(rdata.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::dnskey::{Dnskey, Ds};

    #[test]
    fn anchors_read_as_zone_file_lines() {
        let text = "; two names\n. 172800 IN DNSKEY 257 3 13 (\n  AAEC ; tag\n  Aw== )\nexample.com. DS 1 8 2 00ff 01\n";
        let anchors = Anchors::parse(text).unwrap();
        let root = Name::root();
        assert_eq!(anchors.closest(&root), Some((&root, &[Anchor::Dnskey([1, 1, 3, 13, 0, 1, 2, 3].into())][..])));
        let below: Name = "www.example.com".parse().unwrap();
        let (at, found) = anchors.closest(&below).unwrap();
        assert_eq!((at.to_string().as_str(), found), ("example.com.", &[Anchor::Ds([0, 1, 8, 2, 0, 255, 1].into())][..]));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(Anchors::parse("\n. IN A 1.2.3.4").unwrap_err().to_string(), "line 2: a trust anchor is a DS or a DNSKEY record");
        assert!(matches!(Anchors::parse(". DS 1 8 2 0g"), Err(AnchorError::Field { line: 1, .. })));
        assert!(matches!(Anchors::parse("a..b DS 1 8 2 00"), Err(AnchorError::Owner { .. })));
        assert!(matches!(Anchors::parse(". DS 1 8 2 ("), Err(AnchorError::OpenParenthesis { .. })));
        assert!(matches!(Anchors::parse(". DNSKEY 257 3 8 !"), Err(AnchorError::Field { .. })));
    }

    /// The built-in anchors against those of Debian's dns-root-data, as DS and as the keys that they are digests of.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test reads the files of apt's dns-root-data")]
    fn the_built_in_anchors_are_those_of_dns_root_data() {
        let read = |path| std::fs::read_to_string(path).expect("install dns-root-data (apt-get install dns-root-data)");
        assert_eq!(Anchors::parse(&read("/usr/share/dns/root.ds")).unwrap(), Anchors::builtin());
        let keys = Anchors::parse(&read("/usr/share/dns/root.key")).unwrap();
        let builtin = Anchors::builtin();
        let (_, digests) = builtin.closest(&Name::root()).unwrap();
        let (_, keys) = keys.closest(&Name::root()).unwrap();
        assert_eq!(keys.len(), digests.len());
        for digest in digests {
            let Anchor::Ds(digest) = digest else { panic!("a DS") };
            let digest = Ds::read(digest).unwrap();
            let is_its_key = |a: &Anchor| matches!(a, Anchor::Dnskey(k) if digest.matches(&Name::root(), &Dnskey::read(k).unwrap()));
            assert!(keys.iter().any(is_its_key), "{}", digest.tag);
        }
    }

    #[test]
    fn the_built_in_anchors_are_both_root_keys() {
        let anchors = Anchors::builtin();
        let (owner, at) = anchors.closest(&"post".parse().unwrap()).unwrap();
        assert!(owner.is_root());
        assert_eq!(at.len(), 2);
    }
}
