//! The layout of a `.plist`: a header block, then sections, each with its digest. Everything is little-endian.
//!
//! ```text
//! 0      header, 4096 octets: magic, format version, oldest reader, length, label masks, section table, SHA-256 of the header itself
//! 4096   names    blocks of 4096 octets: entries in key order, front-coded, each block with its own checksum
//!        details  blocks of 4096 octets: a stream of provenance records that entries point into
//!        index    the lowest key of each names block, cut short
//!        filter   a Bloom filter over all names, with its seed
//!        manifest JSON: id, serial, dates, sources, counts
//! ```
//! Sections lie end to end and fill the file. A reader skips sections it does not know unless they are marked as required, and refuses
//! a file whose oldest reader is newer than itself. Since the header holds the digest of every section, it vouches for the whole file.

use ring::digest::{Context, SHA256, digest};

use super::{Action, Scope};

/// First octets of every list file. The high bit and the line ends catch transfers that are not clean.
pub const MAGIC: [u8; 8] = *b"\x89PLIST\r\n";
/// Format written by this program.
pub const VERSION: u16 = 1;
/// Size of a block, in octets: what file systems and SD cards read at once.
pub const BLOCK: usize = 4096;
/// Most sections in a file; five are known today.
pub const MAX_SECTIONS: usize = 32;
/// Largest list file, in octets: far above 10 million names, far below what fills a small disk.
pub const MAX_FILE: u64 = 2 << 30;
/// Largest manifest, in octets. It is kept in RAM.
pub const MAX_MANIFEST: u64 = 1 << 20;
/// Largest index, in octets. It is kept in RAM; 10 million names need about 1.5 MiB.
pub const MAX_INDEX: u64 = 32 << 20;
/// Largest filter, in octets. It is kept in RAM; 10 million names need 18 MiB.
pub const MAX_FILTER: u64 = 128 << 20;

const TABLE: usize = 64;
const ROW: usize = 56;
const SUM: usize = BLOCK - 32;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Names in checksummed blocks.
    Names,
    /// Provenance records in checksummed blocks.
    Details,
    /// Lowest key of each names block.
    Index,
    /// Bloom filter.
    Filter,
    /// JSON.
    Manifest,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Names, Kind::Details, Kind::Index, Kind::Filter, Kind::Manifest];

    fn code(self) -> u16 {
        match self {
            Kind::Names => 1,
            Kind::Details => 2,
            Kind::Index => 3,
            Kind::Filter => 4,
            Kind::Manifest => 5,
        }
    }

    /// Name of the section for messages.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Names => "names",
            Kind::Details => "details",
            Kind::Index => "index",
            Kind::Filter => "filter",
            Kind::Manifest => "manifest",
        }
    }

    fn largest(self) -> u64 {
        match self {
            Kind::Names | Kind::Details => MAX_FILE,
            Kind::Index => MAX_INDEX,
            Kind::Filter => MAX_FILTER,
            Kind::Manifest => MAX_MANIFEST,
        }
    }
}

/// Where a section lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// First octet in the file.
    pub offset: u64,
    /// Octets.
    pub length: u64,
    /// SHA-256 of its octets.
    pub digest: [u8; 32],
}

/// Which label counts have entries, one bit each (bit 0 is one label): a lookup passes over all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Entries that block or allow, by [`Action`] and [`Scope`].
    masks: [u64; 4],
    /// Entries in the file.
    pub entries: u64,
}

impl Shape {
    fn slot(action: Action, scope: Scope) -> usize {
        usize::from(action == Action::Allow) * 2 + usize::from(scope == Scope::Subtree)
    }

    /// Label counts of the entries with this action and scope.
    pub fn mask(&self, action: Action, scope: Scope) -> u64 {
        self.masks[Shape::slot(action, scope)]
    }

    /// Notes an entry with `labels` labels, 1 to 64.
    pub fn note(&mut self, action: Action, scope: Scope, labels: usize) {
        self.masks[Shape::slot(action, scope)] |= 1 << (labels - 1);
        self.entries += 1;
    }
}

/// The header, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Format the file was written in.
    pub version: u16,
    /// Oldest format whose readers understand it.
    pub oldest_reader: u16,
    /// Length of the whole file, in octets.
    pub length: u64,
    /// Where entries are.
    pub shape: Shape,
    sections: [Option<Section>; 5],
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The first octets are others.
    #[error("this is no list file")]
    BadMagic,
    /// Written for readers that are newer than this one.
    #[error("needs a reader of format {needed}, this one knows {VERSION}")]
    TooNew {
        /// The oldest reader that would do.
        needed: u16,
    },
    /// The header's own checksum does not match.
    #[error("the header is damaged")]
    BadChecksum,
    /// The file is shorter or longer than the header says.
    #[error("the file has {found} octets, its header says {stated}")]
    WrongLength {
        /// Stated in the header.
        stated: u64,
        /// Found.
        found: u64,
    },
    /// Larger than any list may be.
    #[error("the file is larger than {MAX_FILE} octets")]
    TooLarge,
    /// Sections overlap, leave gaps, are missing, doubled or too large.
    #[error("the section table makes no sense")]
    BadSections,
    /// A required section of a kind that this reader does not know.
    #[error("section of unknown kind {kind} is required")]
    UnknownSection {
        /// The kind.
        kind: u16,
    },
}

impl Header {
    /// A header for sections in the order of the file.
    pub(super) fn new(shape: Shape, sections: [Section; 5]) -> Header {
        let length = sections.iter().map(|s| s.length).sum::<u64>() + BLOCK as u64;
        Header { version: VERSION, oldest_reader: VERSION, length, shape, sections: sections.map(Some) }
    }

    /// Where a section is. Reading a header makes sure that all known sections are there.
    pub fn section(&self, kind: Kind) -> Section {
        self.sections[usize::from(kind.code()) - 1].expect("invariant: Header::read refuses files without a known section")
    }

    /// The header block.
    pub(super) fn write(&self) -> [u8; BLOCK] {
        let mut out = [0u8; BLOCK];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&self.version.to_le_bytes());
        out[10..12].copy_from_slice(&self.oldest_reader.to_le_bytes());
        out[12..16].copy_from_slice(&(Kind::ALL.len() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.length.to_le_bytes());
        out[24..32].copy_from_slice(&self.shape.entries.to_le_bytes());
        for (slot, mask) in out[32..TABLE].chunks_exact_mut(8).zip(self.shape.masks) {
            slot.copy_from_slice(&mask.to_le_bytes());
        }
        for (row, kind) in out[TABLE..].chunks_exact_mut(ROW).zip(Kind::ALL) {
            let section = self.section(kind);
            row[..2].copy_from_slice(&kind.code().to_le_bytes());
            row[2] = 1;
            row[8..16].copy_from_slice(&section.offset.to_le_bytes());
            row[16..24].copy_from_slice(&section.length.to_le_bytes());
            row[24..56].copy_from_slice(&section.digest);
        }
        let sum = digest(&SHA256, &out[..SUM]);
        out[SUM..].copy_from_slice(sum.as_ref());
        out
    }

    /// Reads and checks a header block of a file of `found` octets.
    ///
    /// # Errors
    /// Whatever is wrong first.
    pub fn read(block: &[u8; BLOCK], found: u64) -> Result<Header, HeaderError> {
        if block[..8] != MAGIC {
            return Err(HeaderError::BadMagic);
        }
        if digest(&SHA256, &block[..SUM]).as_ref() != &block[SUM..] {
            return Err(HeaderError::BadChecksum);
        }
        let oldest_reader = u16_at(block, 10);
        if oldest_reader > VERSION {
            return Err(HeaderError::TooNew { needed: oldest_reader });
        }
        let length = u64_at(block, 16);
        if length > MAX_FILE || found > MAX_FILE {
            return Err(HeaderError::TooLarge);
        }
        if length != found {
            return Err(HeaderError::WrongLength { stated: length, found });
        }
        let mut shape = Shape { entries: u64_at(block, 24), ..Shape::default() };
        for (i, mask) in shape.masks.iter_mut().enumerate() {
            *mask = u64_at(block, 32 + 8 * i);
        }
        let count = u32_at(block, 12) as usize;
        if count > MAX_SECTIONS {
            return Err(HeaderError::BadSections);
        }
        let mut header = Header { version: u16_at(block, 8), oldest_reader, length, shape, sections: [None; 5] };
        let mut end = BLOCK as u64;
        for row in block[TABLE..].chunks_exact(ROW).take(count) {
            let (code, required) = (u16_at(row, 0), row[2] & 1 != 0);
            let section = Section {
                offset: u64_at(row, 8),
                length: u64_at(row, 16),
                digest: row[24..56].try_into().expect("invariant: the row has 56 octets"),
            };
            if section.offset != end {
                return Err(HeaderError::BadSections);
            }
            end = end.checked_add(section.length).ok_or(HeaderError::BadSections)?;
            let Some(kind) = Kind::ALL.into_iter().find(|k| k.code() == code) else {
                if required {
                    return Err(HeaderError::UnknownSection { kind: code });
                }
                continue;
            };
            let blocks = matches!(kind, Kind::Names | Kind::Details);
            let aligned = !blocks || (section.offset.is_multiple_of(BLOCK as u64) && section.length.is_multiple_of(BLOCK as u64));
            let slot = &mut header.sections[usize::from(code) - 1];
            if section.length > kind.largest() || !aligned || slot.is_some() {
                return Err(HeaderError::BadSections);
            }
            *slot = Some(section);
        }
        if end != length || header.sections.iter().any(Option::is_none) {
            return Err(HeaderError::BadSections);
        }
        Ok(header)
    }
}

/// Writes a section and takes its digest on the way.
pub(super) struct SectionWriter {
    offset: u64,
    length: u64,
    context: Context,
}

impl SectionWriter {
    pub(super) fn new(offset: u64) -> SectionWriter {
        SectionWriter { offset, length: 0, context: Context::new(&SHA256) }
    }

    pub(super) fn write(&mut self, out: &mut impl std::io::Write, octets: &[u8]) -> std::io::Result<()> {
        self.context.update(octets);
        self.length += octets.len() as u64;
        out.write_all(octets)
    }

    pub(super) fn finish(self) -> Section {
        let sum = self.context.finish();
        Section { offset: self.offset, length: self.length, digest: sum.as_ref().try_into().expect("invariant: SHA-256 has 32 octets") }
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Appends an unsigned LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads an unsigned LEB128 of at most ten octets.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&octet, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(octet & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let mut end = BLOCK as u64;
        let sections = [2, 1, 0, 0, 0].map(|blocks| {
            let section = Section { offset: end, length: blocks * BLOCK as u64, digest: [7; 32] };
            end += section.length;
            section
        });
        let mut shape = Shape::default();
        shape.note(Action::Block, Scope::Subtree, 2);
        shape.note(Action::Allow, Scope::Exact, 64);
        Header::new(shape, sections)
    }

    fn resealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
        let sum = digest(&SHA256, &block[..SUM]);
        block[SUM..].copy_from_slice(sum.as_ref());
        block
    }

    #[test]
    fn a_header_round_trips_and_notices_every_flipped_octet() {
        let header = header();
        let block = header.write();
        assert_eq!(Header::read(&block, header.length), Ok(header.clone()));
        for at in 0..BLOCK {
            let mut bad = block;
            bad[at] ^= 1;
            assert!(Header::read(&bad, header.length).is_err(), "octet {at}");
        }
    }

    #[test]
    fn an_unknown_section_is_skipped_unless_required() {
        let header = header();
        let mut block = header.write();
        block[12] = 6;
        let row = TABLE + 5 * ROW;
        block[row..row + 2].copy_from_slice(&77u16.to_le_bytes());
        block[row + 8..row + 16].copy_from_slice(&header.length.to_le_bytes());
        block[row + 16] = 9;
        block[16..24].copy_from_slice(&(header.length + 9).to_le_bytes());
        assert!(Header::read(&resealed(block), header.length + 9).is_ok());
        block[row + 2] = 1;
        assert_eq!(Header::read(&resealed(block), header.length + 9), Err(HeaderError::UnknownSection { kind: 77 }));
    }

    #[test]
    fn a_newer_format_and_a_cut_file_are_told_apart() {
        let header = header();
        let mut block = header.write();
        assert!(matches!(Header::read(&block, header.length - 1), Err(HeaderError::WrongLength { .. })));
        block[10] = 9;
        assert_eq!(Header::read(&resealed(block), header.length), Err(HeaderError::TooNew { needed: 9 }));
    }

    proptest! {
        #[test]
        fn a_sealed_header_of_random_octets_never_panics(bytes in proptest::collection::vec(any::<u8>(), 500), length in any::<u64>()) {
            let mut block = [0u8; BLOCK];
            block[..500].copy_from_slice(&bytes);
            block[..8].copy_from_slice(&MAGIC);
            block[8..16].copy_from_slice(&[1, 0, 1, 0, bytes[12] % 34, 0, 0, 0]);
            block[16..24].copy_from_slice(&(length % MAX_FILE).to_le_bytes());
            let _ = Header::read(&resealed(block), length % MAX_FILE);
        }

        #[test]
        fn varints_round_trip(value in any::<u64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(take_varint(&mut &out[..]), Some(value));
        }
    }
}
