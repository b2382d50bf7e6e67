//! Domain names in lower-cased, uncompressed wire form.
//!
//! RFC 1035 section 3.1 and 4.1.4 (compression), RFC 4343 (case), RFC 4034 section 6.1 (canonical order).
//! A [`Name`] is always lower case: two names are equal exactly when their bytes are. The case a client asked in lives in the
//! client's own question bytes, and RDATA keeps the case it was received in (see [`super::rdata`]).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name on the wire, in octets, root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// Longest label, in octets (RFC 1035 section 2.3.4).
pub const MAX_LABEL: usize = 63;
/// Most compression pointers followed in one name: a legal name has at most 127 labels, each may be behind one.
const MAX_POINTERS: usize = 127;

/// Why bytes or text are not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameError {
    /// The bytes end inside the name.
    #[error("the name is cut short")]
    Truncated,
    /// A label is longer than 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// The name is longer than 255 octets.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A compression pointer points at itself, forwards, or too many follow each other.
    #[error("a compression pointer does not point backwards")]
    BadPointer,
    /// A label type other than 00 and 11 (RFC 6891 section 5 retires 01).
    #[error("an unknown label type")]
    BadLabelType,
    /// Text with an empty label inside, such as `a..b`.
    #[error("an empty label")]
    EmptyLabel,
    /// A backslash escape that is neither `\DDD` nor `\X`.
    #[error("a bad backslash escape")]
    BadEscape,
}

/// A domain name: lower-case, uncompressed wire form, root label included. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The root name, one zero octet.
    pub fn root() -> Name {
        Name(Arc::from(&[0u8][..]))
    }

    /// A name from exactly its uncompressed wire form; upper case is folded.
    ///
    /// # Errors
    /// Anything that is not one whole name, trailing bytes included ([`NameError::Truncated`]).
    pub fn from_wire(bytes: &[u8]) -> Result<Name, NameError> {
        let end = skip_uncompressed(bytes)?;
        if end != bytes.len() {
            return Err(NameError::Truncated);
        }
        Ok(Name(bytes.to_ascii_lowercase().into()))
    }

    /// Reads a possibly compressed name of `message` at `*pos` and moves `*pos` behind it (RFC 1035 section 4.1.4).
    ///
    /// # Errors
    /// Any malformed name; `*pos` is then unspecified.
    pub fn read(message: &[u8], pos: &mut usize) -> Result<Name, NameError> {
        let mut buf = [0u8; MAX_NAME];
        let len = expand(message, pos, &mut buf)?;
        buf[..len].make_ascii_lowercase();
        Ok(Name(Arc::from(&buf[..len])))
    }

    /// The lower-case wire form, root label included.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels, leftmost first, without the root label.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// Number of labels without the root, as in RRSIG's Labels field for a name without a wildcard (RFC 4034 section 3.1.3).
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        (!self.is_root()).then(|| Name(Arc::from(&self.0[1 + usize::from(self.0[0])..])))
    }

    /// The ancestor (or self) made of the rightmost `labels` labels; self when it has no more than that.
    pub fn suffix(&self, labels: usize) -> Name {
        let skip = self.label_count().saturating_sub(labels);
        let mut at = 0;
        for _ in 0..skip {
            at += 1 + usize::from(self.0[at]);
        }
        if at == 0 { self.clone() } else { Name(Arc::from(&self.0[at..])) }
    }

    /// Self, then each ancestor up to and including the root.
    pub fn self_and_ancestors(&self) -> impl Iterator<Item = Name> + use<> {
        std::iter::successors(Some(self.clone()), Name::parent)
    }

    /// Whether this name is `ancestor` or below it.
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let (own, other) = (self.wire(), ancestor.wire());
        if own.len() < other.len() || !own.ends_with(other) {
            return false;
        }
        // The byte suffix must also start at a label boundary.
        let start = own.len() - other.len();
        let mut at = 0;
        while at < start {
            at += 1 + usize::from(own[at]);
        }
        at == start
    }

    /// Whether this name is strictly below `ancestor`.
    pub fn is_below(&self, ancestor: &Name) -> bool {
        self.0.len() != ancestor.0.len() && self.is_at_or_below(ancestor)
    }

    /// How many labels the two names share, counted from the root.
    pub fn common_labels(&self, other: &Name) -> usize {
        let (mine, theirs): (Vec<_>, Vec<_>) = (self.labels().collect(), other.labels().collect());
        mine.iter().rev().zip(theirs.iter().rev()).take_while(|(a, b)| a == b).count()
    }

    /// `label` in front of this name.
    ///
    /// # Errors
    /// [`NameError::LabelTooLong`], [`NameError::EmptyLabel`] or [`NameError::NameTooLong`].
    pub fn child(&self, label: &[u8]) -> Result<Name, NameError> {
        match label.len() {
            0 => return Err(NameError::EmptyLabel),
            1..=MAX_LABEL => {}
            _ => return Err(NameError::LabelTooLong),
        }
        if 1 + label.len() + self.0.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        let mut wire = Vec::with_capacity(1 + label.len() + self.0.len());
        wire.push(label.len() as u8);
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
        wire.extend_from_slice(&self.0);
        Ok(Name(wire.into()))
    }

    /// `*.` in front of this name (RFC 4592); `None` where that would be longer than 255 octets.
    pub fn wildcard(&self) -> Option<Name> {
        self.child(b"*").ok()
    }

    /// Whether the leftmost label is the single octet `*` (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// Replaces the suffix `from` by `to`, as a DNAME does (RFC 6672 section 2.2).
    ///
    /// # Errors
    /// [`NameError::NameTooLong`] (the answer is then YXDOMAIN); [`NameError::Truncated`] when this name is not below `from`.
    pub fn rebase(&self, from: &Name, to: &Name) -> Result<Name, NameError> {
        if !self.is_below(from) {
            return Err(NameError::Truncated);
        }
        let keep = &self.0[..self.0.len() - from.0.len()];
        if keep.len() + to.0.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        Ok(Name([keep, to.wire()].concat().into()))
    }
}

/// The lower-case wire form.
impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Walks an uncompressed name and gives its length in octets.
///
/// # Errors
/// Any malformed or compressed name.
pub fn skip_uncompressed(bytes: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let len = *bytes.get(at).ok_or(NameError::Truncated)?;
        match len {
            0 => return if at < MAX_NAME { Ok(at + 1) } else { Err(NameError::NameTooLong) },
            1..=63 => at += 1 + usize::from(len),
            0xc0..=0xff => return Err(NameError::BadPointer),
            _ => return Err(NameError::BadLabelType),
        }
        if at >= MAX_NAME {
            return Err(NameError::NameTooLong);
        }
    }
}

/// Expands the possibly compressed name at `*pos` into `out`, case kept, and moves `*pos` behind it. Gives its length.
pub(crate) fn expand(message: &[u8], pos: &mut usize, out: &mut [u8; MAX_NAME]) -> Result<usize, NameError> {
    let (mut at, mut len, mut pointers, mut behind) = (*pos, 0usize, 0usize, None);
    loop {
        let octet = *message.get(at).ok_or(NameError::Truncated)?;
        match octet {
            0..=63 => {
                let whole = 1 + usize::from(octet);
                let label = message.get(at..at + whole).ok_or(NameError::Truncated)?;
                if len + whole > MAX_NAME {
                    return Err(NameError::NameTooLong);
                }
                out[len..len + whole].copy_from_slice(label);
                len += whole;
                at += whole;
                if octet == 0 {
                    *pos = behind.unwrap_or(at);
                    return Ok(len);
                }
            }
            0xc0..=0xff => {
                let low = *message.get(at + 1).ok_or(NameError::Truncated)?;
                let target = usize::from(u16::from_be_bytes([octet & 0x3f, low]));
                pointers += 1;
                // Strictly backwards, so that every walk ends; the count stops long backward chains of pointers to pointers.
                if target >= at || pointers > MAX_POINTERS {
                    return Err(NameError::BadPointer);
                }
                behind.get_or_insert(at + 2);
                at = target;
            }
            _ => return Err(NameError::BadLabelType),
        }
    }
}

/// The labels of a name, leftmost first, root label left out.
#[derive(Debug, Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Labels<'a> {
    /// The labels of a name in uncompressed wire form; ends where the form does.
    pub fn new(wire: &'a [u8]) -> Labels<'a> {
        Labels(wire)
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(*self.0.first()?);
        if len == 0 {
            return None;
        }
        let label = self.0.get(1..=len)?;
        self.0 = &self.0[1 + len..];
        Some(label)
    }
}

/// Canonical order: by label from the right, each as octets (RFC 4034 section 6.1).
impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        // 127 labels at most: the starts fit a small array and nothing is allocated.
        let (mut a, mut b) = ([0u8; 128], [0u8; 128]);
        let (na, nb) = (label_starts(&self.0, &mut a), label_starts(&other.0, &mut b));
        for i in 1..=na.min(nb) {
            let (x, y) = (label_at(&self.0, a[na - i]), label_at(&other.0, b[nb - i]));
            match x.cmp(y) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        na.cmp(&nb)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn label_starts(wire: &[u8], starts: &mut [u8; 128]) -> usize {
    let (mut at, mut n) = (0usize, 0usize);
    while wire[at] != 0 {
        starts[n] = at as u8;
        n += 1;
        at += 1 + usize::from(wire[at]);
    }
    n
}

fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    &wire[start + 1..=start + usize::from(wire[start])]
}

/// Presentation form with a final dot and `\DDD` escapes (RFC 1035 section 5.1, RFC 4343 section 2.1).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Spelled(self.labels()).fmt(f)
    }
}

/// Presentation form of labels in the case they are in, which [`Name`] does not keep.
#[derive(Debug, Clone)]
pub struct Spelled<'a>(pub Labels<'a>);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.clone().next().is_none() {
            return f.write_str(".");
        }
        for label in self.0.clone() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads presentation form; a missing final dot is accepted, every name is absolute.
impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Name, NameError> {
        if text == "." {
            return Ok(Name::root());
        }
        let (mut wire, mut label) = (Vec::with_capacity(text.len() + 2), Vec::new());
        let mut bytes = text.bytes();
        let mut ended = false;
        while let Some(octet) = bytes.next() {
            ended = false;
            match octet {
                b'.' => {
                    push_label(&mut wire, &mut label)?;
                    ended = true;
                }
                b'\\' => label.push(unescape(&mut bytes)?),
                other => label.push(other.to_ascii_lowercase()),
            }
        }
        if !ended {
            push_label(&mut wire, &mut label)?;
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        Ok(Name(wire.into()))
    }
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    match label.len() {
        0 => return Err(NameError::EmptyLabel),
        1..=MAX_LABEL => {}
        _ => return Err(NameError::LabelTooLong),
    }
    wire.push(label.len() as u8);
    wire.append(label);
    Ok(())
}

fn unescape(bytes: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map(|v| v.to_ascii_lowercase()).map_err(|_| NameError::BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_compare_without_case_and_print_with_escapes() {
        assert_eq!(name("WwW.Post.EXAMPLE"), name("www.post.example."));
        assert_eq!(name(r"a\.b.c").label_count(), 2);
        assert_eq!(name(r"a\.b\032.c").to_string(), r"a\.b\032.c.");
        assert_eq!("a..b".parse::<Name>(), Err(NameError::EmptyLabel));
        assert_eq!(format!("{}.x", "a".repeat(64)).parse::<Name>(), Err(NameError::LabelTooLong));
        assert_eq!(name("."), Name::root());
    }

    /// RFC 4034 section 6.1 gives this list in canonical order.
    #[test]
    fn canonical_order_is_that_of_rfc_4034_6_1() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            r"\001.z.example.",
            "*.z.example.",
            r"\200.z.example.",
        ];
        let names: Vec<Name> = sorted.iter().map(|s| name(s)).collect();
        let mut shuffled = names.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, names);
    }

    #[test]
    fn a_suffix_counts_only_at_a_label_boundary() {
        assert!(name("a.post.example").is_at_or_below(&name("post.example")));
        assert!(!name("notpost.example").is_at_or_below(&name("post.example")));
        assert!(name("x").is_at_or_below(&Name::root()));
        assert!(!name("post.example").is_below(&name("post.example")));
        assert_eq!(name("a.b.c.d").suffix(2), name("c.d"));
        assert_eq!(name("a.b.c").common_labels(&name("x.b.c")), 2);
    }

    /// RFC 6672 section 2.2: the substitution that a DNAME makes, and YXDOMAIN where it no longer fits.
    #[test]
    fn rebase_swaps_the_suffix_or_says_that_it_no_longer_fits() {
        assert_eq!(name("a.x.old.example").rebase(&name("old.example"), &name("new.test")), Ok(name("a.x.new.test")));
        let long = name(&["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join("."));
        assert_eq!(name("0123456789.x.old").rebase(&name("old"), &long), Err(NameError::NameTooLong));
    }

    /// RFC 1035 section 4.1.4: "a pointer to a prior occurrence".
    #[test]
    fn pointers_must_point_backwards() {
        let message = [1, b'a', 0, 1, b'b', 0xc0, 0, 0xc0, 7, 0xc0, 12];
        assert_eq!(Name::read(&message, &mut 3), Ok(name("b.a")));
        assert_eq!(Name::read(&message, &mut 7), Err(NameError::BadPointer));
        assert_eq!(Name::read(&message, &mut 9), Err(NameError::BadPointer));
        assert_eq!(Name::read(&[0x40, 0], &mut 0), Err(NameError::BadLabelType));
        assert_eq!(Name::read(&[3, b'a'], &mut 0), Err(NameError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_read_as_a_name_print_and_parse_back(bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..300) {
            let mut pos = start;
            if let Ok(read) = Name::read(&bytes, &mut pos) {
                prop_assert!(pos <= bytes.len());
                prop_assert_eq!(read.to_string().parse::<Name>().unwrap(), read.clone());
                prop_assert_eq!(Name::from_wire(read.wire()).unwrap(), read);
            }
        }

        #[test]
        fn order_agrees_with_equality(a in "[a-cA-C]{1,3}(\\.[a-c]{1,3}){0,3}", b in "[a-cA-C]{1,3}(\\.[a-c]{1,3}){0,3}") {
            let (a, b) = (name(&a), name(&b));
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        }
    }
}
