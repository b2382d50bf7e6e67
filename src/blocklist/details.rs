//! Provenance beyond source and line: who reported a name, why, in which campaign. A stream of records in checksummed blocks, read only
//! when somebody asks why.

use std::collections::HashMap;
use std::io;

use super::block::{is_intact, seal};
use super::format::{BLOCK, Kind, SectionWriter, put_varint, take_varint};

/// Octets of a block that carry the stream.
const ROOM: usize = BLOCK - 8;
/// Longest record, in octets; longer texts are refused where they are parsed.
pub(super) const MAX_RECORD: usize = 8 * 1024;
/// Equal records are written once as long as they lie within so many different ones: it bounds the memory of a build.
const REMEMBERED: usize = 65_536;

/// What a curator knows about an entry. All fields are for people; none decides anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Detail {
    /// Who reported the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// Why it is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The campaign it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Where more can be read: a URL, an event id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Traffic Light Protocol label: how far this record may travel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlp: Option<String>,
}

impl Detail {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Detail::default()
    }
}

/// Collects records while a list is built.
pub(super) struct Writer {
    known: HashMap<Vec<u8>, u64>,
    stream: Vec<u8>,
    start: u64,
    blocks: u32,
    spool: std::io::BufWriter<std::fs::File>,
}

impl Writer {
    /// Blocks go to `spool` until the names are written.
    pub(super) fn new(spool: std::fs::File) -> Writer {
        Writer { known: HashMap::new(), stream: Vec::new(), start: 0, blocks: 0, spool: std::io::BufWriter::new(spool) }
    }

    /// Writes a record, or finds it again, and gives its place in the stream.
    pub(super) fn add(&mut self, detail: &Detail) -> io::Result<u64> {
        let json = serde_json::to_vec(detail)?;
        if let Some(&place) = self.known.get(&json) {
            return Ok(place);
        }
        let place = self.start + self.stream.len() as u64;
        put_varint(&mut self.stream, json.len() as u64);
        self.stream.extend_from_slice(&json);
        if self.known.len() == REMEMBERED {
            self.known.clear();
        }
        self.known.insert(json, place);
        while self.stream.len() >= ROOM {
            self.spill()?;
        }
        Ok(place)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut block = [0u8; BLOCK];
        let take = self.stream.len().min(ROOM);
        block[8..8 + take].copy_from_slice(&self.stream[..take]);
        seal(Kind::Details, self.blocks, &mut block);
        self.stream.drain(..take);
        self.start += take as u64;
        self.blocks += 1;
        io::Write::write_all(&mut self.spool, &block)
    }

    /// Copies all blocks to `out`.
    pub(super) fn finish(mut self, out: &mut impl io::Write, section: &mut SectionWriter) -> io::Result<()> {
        if !self.stream.is_empty() {
            self.spill()?;
        }
        let mut spool = self.spool.into_inner().map_err(io::IntoInnerError::into_error)?;
        io::Seek::rewind(&mut spool)?;
        let mut block = [0u8; BLOCK];
        for _ in 0..self.blocks {
            io::Read::read_exact(&mut spool, &mut block)?;
            section.write(out, &block)?;
        }
        Ok(())
    }
}

/// Reads the record at `place`; `fetch` gives block after block, checked here. `None` where there is no sound record.
pub(super) fn read(place: u64, mut fetch: impl FnMut(u32) -> io::Result<Box<[u8; BLOCK]>>) -> io::Result<Option<Detail>> {
    let mut number = match u32::try_from(place / ROOM as u64) {
        Ok(number) => number,
        Err(_) => return Ok(None),
    };
    let mut stream = Vec::new();
    let mut skip = (place % ROOM as u64) as usize;
    loop {
        let block = fetch(number)?;
        if !is_intact(Kind::Details, number, &block) {
            return Ok(None);
        }
        stream.extend_from_slice(&block[8 + skip..]);
        (skip, number) = (0, number + 1);
        let mut rest = &stream[..];
        let Some(length) = take_varint(&mut rest) else { if stream.len() > 16 { return Ok(None) } else { continue } };
        match usize::try_from(length) {
            Ok(length) if length > MAX_RECORD => return Ok(None),
            Ok(length) if rest.len() >= length => return Ok(serde_json::from_slice(&rest[..length]).ok()),
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
    }
}
