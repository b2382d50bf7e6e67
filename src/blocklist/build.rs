//! From lists of names to one `.plist`: parsed, protected names held back, sorted, made unique, written with provenance.
//!
//! The same sources and options give the same octets. Memory is bounded by [`Options::memory_bytes`] and the filter; what does not fit
//! is spooled beside the output. The file appears whole or not at all.
#![allow(clippy::disallowed_methods, reason = "a list is built into a file: writing and reading it back is this module's duty")]

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::block::{self, Cursor, Malformed};
use super::details::{self, Detail};
use super::file::{Counts, Entry, Manifest, SourceNote};
use super::filter::Filter;
use super::format::{BLOCK, Header, MAX_MANIFEST, Section, SectionWriter, Shape};
use super::parse::{self, BadLine, Found, Reading, Rule};
use super::protected::{Held, Protected};
use super::sorter::{RANK, Sorter, spool};
use super::{Action, Scope, key};
use crate::wire::Name;

/// Memory for sorting, in octets, unless told otherwise: a million names need about 50 MiB.
pub const MEMORY: usize = 128 << 20;
/// Bad lines and held names kept for the report; all are counted.
pub const MAX_REPORTED: usize = 10_000;
/// Most source files of one list.
pub const MAX_SOURCES: usize = 1000;
/// Longest list id.
pub const MAX_ID: usize = 64;

/// One list of names to build from.
pub struct Source<'a> {
    /// Name kept in the manifest; give the file name without directories.
    pub name: String,
    /// The text.
    pub text: Box<dyn BufRead + 'a>,
    /// How to read it.
    pub reading: Reading,
}

/// How to build.
pub struct Options {
    /// Id of the list: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Serial; must grow with every update.
    pub serial: u64,
    /// When it is built, in seconds since 1970. An argument, so that building twice gives the same octets.
    pub created: u64,
    /// Not to be accepted before, in seconds since 1970.
    pub not_before: Option<u64>,
    /// Not to be accepted after, in seconds since 1970.
    pub expires: Option<u64>,
    /// For people.
    pub about: String,
    /// Protected names to let in, exact only.
    pub accept: HashSet<Name>,
    /// What is protected.
    pub protected: Protected,
    /// Memory for sorting, in octets.
    pub memory_bytes: usize,
}

impl Options {
    /// Options with the shipped protection and nothing accepted.
    pub fn new(id: impl Into<String>, serial: u64, created: u64) -> Options {
        Options {
            id: id.into(),
            serial,
            created,
            not_before: None,
            expires: None,
            about: String::new(),
            accept: HashSet::new(),
            protected: Protected::shipped(),
            memory_bytes: MEMORY,
        }
    }
}

/// How far a build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Octets of the sources read so far.
    Reading {
        /// Octets.
        bytes: u64,
    },
    /// Entries written so far, of at most so many.
    Writing {
        /// Written.
        done: u64,
        /// At most.
        of: u64,
    },
    /// Entries put into the filter so far, of so many.
    Filtering {
        /// Done.
        done: u64,
        /// Of.
        of: u64,
    },
}

/// An entry that was held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The name.
    pub name: Name,
    /// Why.
    pub why: Held,
    /// Index of the source.
    pub source: usize,
    /// Line in it.
    pub line: u32,
}

/// What came of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Counts, as in the manifest.
    pub counts: Counts,
    /// Entries held back, at most [`MAX_REPORTED`].
    pub held_back: Vec<HeldBack>,
    /// Protected names that were let in.
    pub accepted: Vec<Name>,
    /// Lines left out with the index of their source, at most [`MAX_REPORTED`].
    pub bad_lines: Vec<(usize, BadLine)>,
    /// All lines left out, by reason.
    pub bad_by_reason: BTreeMap<parse::Reason, u64>,
    /// Names such as `localhost` that hosts files carry for the machine itself.
    pub housekeeping: u64,
    /// Length of the file, in octets.
    pub file_bytes: u64,
}

/// Why a list was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Reading a source failed.
    #[error("cannot read {name}")]
    Source {
        /// The source.
        name: String,
        /// What the file system said.
        #[source]
        error: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the file system said.
        #[source]
        error: io::Error,
    },
    /// The id cannot be used.
    #[error("list id {0:?} must be 1 to {MAX_ID} letters, digits, '-', '_' or '.', the first a letter or digit")]
    BadId(String),
    /// More than [`MAX_SOURCES`].
    #[error("more than {MAX_SOURCES} sources")]
    TooManySources,
    /// The manifest is larger than a reader accepts.
    #[error("the manifest is larger than {MAX_MANIFEST} octets")]
    ManifestTooLarge,
}

/// Whether `id` can be a list id: it is part of file names and of metric labels.
pub fn is_id(id: &str) -> bool {
    id.len() <= MAX_ID
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Builds a list from `sources` into the file `out`.
///
/// # Errors
/// [`BuildError`]; `out` is then as it was before.
pub fn build(sources: Vec<Source<'_>>, options: &Options, out: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Report, BuildError> {
    if !is_id(&options.id) {
        return Err(BuildError::BadId(options.id.clone()));
    }
    if sources.len() > MAX_SOURCES {
        return Err(BuildError::TooManySources);
    }
    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |error| BuildError::Write { path: out.to_owned(), error };
    let details = details::Writer::new(spool(directory).map_err(failed)?);
    let mut gather = Gather {
        options,
        details,
        sorter: Sorter::new(directory, options.memory_bytes),
        report: Report::default(),
        error: None,
        scratch: (Vec::new(), Vec::new()),
    };
    let notes = gather.read(sources, progress)?;
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(name);
    let result = write(gather, notes, &temporary, progress);
    match result.and_then(|report| std::fs::rename(&temporary, out).map(|()| report).map_err(Unwritten::Io)) {
        Ok(report) => Ok(report),
        Err(unwritten) => {
            let _ = std::fs::remove_file(&temporary);
            Err(match unwritten {
                Unwritten::Io(error) => failed(error),
                Unwritten::ManifestTooLarge => BuildError::ManifestTooLarge,
            })
        }
    }
}

enum Unwritten {
    Io(io::Error),
    ManifestTooLarge,
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Unwritten {
        Unwritten::Io(error)
    }
}

/// Takes rules in and sorts them.
struct Gather<'a> {
    options: &'a Options,
    sorter: Sorter<'a>,
    details: details::Writer,
    report: Report,
    /// The first failure of a spool file, kept while the parser runs on.
    error: Option<io::Error>,
    scratch: (Vec<u8>, Vec<u8>),
}

impl Gather<'_> {
    fn read(&mut self, sources: Vec<Source<'_>>, progress: &mut dyn FnMut(Progress)) -> Result<Vec<SourceNote>, BuildError> {
        let (mut notes, mut base) = (Vec::new(), 0);
        for (index, source) in sources.into_iter().enumerate() {
            let mut rules = 0u64;
            let read = parse::read(source.text, source.reading, &mut |found, bytes| {
                rules += u64::from(matches!(found, Found::Rule(_)));
                if rules.is_multiple_of(8192) {
                    progress(Progress::Reading { bytes: base + bytes });
                }
                self.take(index, found);
            });
            let read = match (read, self.error.take()) {
                (Ok(read), None) => read,
                (Err(error), _) | (Ok(_), Some(error)) => return Err(BuildError::Source { name: source.name, error }),
            };
            base += read.bytes;
            progress(Progress::Reading { bytes: base });
            notes.push(SourceNote { name: source.name, format: read.format, lines: read.lines, rules });
        }
        Ok(notes)
    }

    fn take(&mut self, source: usize, found: Found) {
        match found {
            Found::Rule(rule) => {
                if let Err(error) = self.rule(source, rule) {
                    self.error.get_or_insert(error);
                }
            }
            Found::Bad(bad) => {
                self.report.counts.bad_lines += 1;
                *self.report.bad_by_reason.entry(bad.reason).or_default() += 1;
                if self.report.bad_lines.len() < MAX_REPORTED {
                    self.report.bad_lines.push((source, bad));
                }
            }
            Found::Housekeeping => self.report.housekeeping += 1,
        }
    }

    fn rule(&mut self, source: usize, rule: Rule) -> io::Result<()> {
        let (mut scope, mut accepted) = (rule.scope, false);
        if rule.action == Action::Block
            && let Some(why) = self.options.protected.judge(&rule.name, rule.scope)
        {
            if !(why.can_be_accepted() && self.options.accept.contains(&rule.name)) {
                self.report.counts.held_back += 1;
                if self.report.held_back.len() < MAX_REPORTED {
                    self.report.held_back.push(HeldBack { name: rule.name, why, source, line: rule.line });
                }
                return Ok(());
            }
            (scope, accepted) = (Scope::Exact, true);
            self.report.counts.accepted += 1;
            self.report.accepted.push(rule.name.clone());
        }
        let detail = rule.detail.as_deref().filter(|d| !d.is_empty()).map(|d: &Detail| self.details.add(d)).transpose()?;
        let source = u16::try_from(source).expect("invariant: there are at most MAX_SOURCES sources");
        let (line, action) = (rule.line, rule.action);
        let entry = Entry { labels: 0, scope, action, accepted, source, line, first_seen: rule.first_seen, expires: rule.expires, detail };
        let (key, meta) = &mut self.scratch;
        key.clear();
        meta.clear();
        if key::write(&rule.name, key).is_none() {
            return Ok(());
        }
        key.push(block::action_octet(action));
        block::put_meta(meta, &entry);
        self.sorter.push(key, rank(&entry), meta)
    }
}

/// Which of several entries for one name is kept: the widest scope, then the one met first.
fn rank(entry: &Entry) -> [u8; RANK] {
    let mut rank = [u8::from(entry.scope == Scope::Exact); RANK];
    rank[1..3].copy_from_slice(&entry.source.to_be_bytes());
    rank[3..].copy_from_slice(&entry.line.to_be_bytes());
    rank
}

/// Writes the names blocks and remembers the lowest key of each.
struct Names<'a> {
    out: &'a mut BufWriter<File>,
    section: SectionWriter,
    writer: block::Writer,
    shape: Shape,
    counts: Counts,
    index_ends: Vec<u32>,
    index_keys: Vec<u8>,
}

impl Names<'_> {
    fn add(&mut self, key: &[u8], meta: &[u8]) -> io::Result<()> {
        if self.writer.last() == key {
            self.counts.duplicates += 1;
            return Ok(());
        }
        let labels = key.iter().filter(|&&o| o == 0).count();
        let action = if key.last() == Some(&block::action_octet(Action::Allow)) { Action::Allow } else { Action::Block };
        let entry = block::take_meta(&mut &meta[..], action, labels as u8).expect("invariant: the sorter gives back what was put in");
        let count = match (action, entry.scope) {
            (Action::Block, Scope::Exact) => &mut self.counts.block_exact,
            (Action::Block, Scope::Subtree) => &mut self.counts.block_subtree,
            (Action::Allow, Scope::Exact) => &mut self.counts.allow_exact,
            (Action::Allow, Scope::Subtree) => &mut self.counts.allow_subtree,
        };
        *count += 1;
        self.shape.note(action, entry.scope, labels);
        // The lowest key of a block is cut to what tells it from the key before: shorter keys, smaller index.
        let cut = |last: &[u8]| last.iter().zip(key).take_while(|(a, b)| a == b).count() + 1;
        if self.writer.is_empty() {
            self.index(&key[..cut(self.writer.last()).min(key.len())]);
        }
        if !self.writer.push(key, meta) {
            let fence = cut(self.writer.last()).min(key.len());
            self.flush()?;
            self.index(&key[..fence]);
            let fits = self.writer.push(key, meta);
            debug_assert!(fits, "an entry is far shorter than a block");
        }
        Ok(())
    }

    fn index(&mut self, key: &[u8]) {
        self.index_keys.extend_from_slice(key);
        self.index_ends.push(self.index_keys.len() as u32);
    }

    fn flush(&mut self) -> io::Result<()> {
        let block = self.writer.finish(self.index_ends.len() as u32 - 1);
        self.section.write(self.out, &block[..])
    }
}

fn write(gather: Gather<'_>, sources: Vec<SourceNote>, path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Report, Unwritten> {
    let Gather { options, sorter, details, mut report, .. } = gather;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    out.write_all(&[0; BLOCK])?;
    let of = sorter.len();
    let mut names = Names {
        out: &mut out,
        section: SectionWriter::new(BLOCK as u64),
        writer: block::Writer::new(),
        shape: Shape::default(),
        counts: report.counts,
        index_ends: Vec::new(),
        index_keys: Vec::new(),
    };
    sorter.drain(|key, meta| {
        if names.shape.entries.is_multiple_of(8192) {
            progress(Progress::Writing { done: names.shape.entries, of });
        }
        names.add(key, meta)
    })?;
    if !names.writer.is_empty() {
        names.flush()?;
    }
    let Names { section, shape, mut counts, index_ends, index_keys, .. } = names;
    counts.entries = shape.entries;
    let names = section.finish();
    let mut section = SectionWriter::new(names.offset + names.length);
    details.finish(&mut out, &mut section)?;
    let details = section.finish();
    let index = put(&mut out, &details, &index_section(&index_ends, &index_keys))?;
    out.flush()?;
    let filled = filter(out.get_ref(), &names, shape.entries, progress)?;
    let filter = put(&mut out, &index, filled.as_bytes())?;
    let Options { id, serial, created, not_before, expires, about, .. } = options;
    let (id, about, serial, created) = (id.clone(), about.clone(), *serial, *created);
    let manifest = Manifest { id, serial, created, not_before: *not_before, expires: *expires, about, sources, counts };
    let manifest = serde_json::to_vec(&manifest).map_err(io::Error::from)?;
    if manifest.len() as u64 > MAX_MANIFEST {
        return Err(Unwritten::ManifestTooLarge);
    }
    let manifest = put(&mut out, &filter, &manifest)?;
    let header = Header::new(shape, [names, details, index, filter, manifest]);
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header.write())?;
    out.flush()?;
    out.get_ref().sync_all()?;
    report.counts = counts;
    report.file_bytes = header.length;
    Ok(report)
}

fn put(out: &mut BufWriter<File>, after: &Section, bytes: &[u8]) -> io::Result<Section> {
    let mut section = SectionWriter::new(after.offset + after.length);
    section.write(out, bytes)?;
    Ok(section.finish())
}

fn index_section(ends: &[u32], keys: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + 4 * ends.len() + keys.len());
    out.extend_from_slice(&(ends.len() as u32).to_le_bytes());
    ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
    out.extend_from_slice(keys);
    out
}

/// Reads the names back: only now is their number known, and with it the right size of the filter.
fn filter(file: &File, names: &Section, entries: u64, progress: &mut dyn FnMut(Progress)) -> io::Result<Filter> {
    let mut filter = Filter::new(entries);
    let (mut block, mut done) = ([0u8; BLOCK], 0);
    for offset in (names.offset..names.offset + names.length).step_by(BLOCK) {
        file.read_exact_at(&mut block, offset)?;
        let garbled = |Malformed| io::Error::from(io::ErrorKind::InvalidData);
        let mut cursor = Cursor::new(&block).map_err(garbled)?;
        while let Some(entry) = cursor.next().map_err(garbled)? {
            filter.add(key::hash(&cursor.key()[..cursor.key().len() - 1]), entry.scope);
            done += 1;
        }
        if (offset / BLOCK as u64).is_multiple_of(64) {
            progress(Progress::Filtering { done, of: entries });
        }
    }
    progress(Progress::Filtering { done, of: entries });
    Ok(filter)
}
