//! The audit log: who changed what, and when. Only ever appended to, and each line holds the hash of the one before, so that nothing can
//! be changed or taken out in the middle without a break. A tail that was cut off shows against a head that was written down elsewhere:
//! the metrics carry the number of entries and the beginning of the newest hash.

#![allow(clippy::disallowed_methods, reason = "the log is a file")]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Size at which the file is put aside as `audit.old.log` and a new one goes on with the chain, in octets: some 60,000 entries.
const MAX_OCTETS: u64 = 16 << 20;
/// Longest text of an entry that is kept, in characters.
const MAX_TEXT: usize = 2000;
/// The hash before the first entry.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// When, in seconds since 1970, as the box had it.
    pub time: u64,
    /// Who asked, as the kernel says.
    pub uid: u32,
    /// What was asked.
    pub asked: String,
    /// What came of it.
    pub outcome: String,
    /// Hash of the entry before.
    pub before: String,
    /// SHA-256 of this entry as it stands with an empty hash.
    pub hash: String,
}

impl Entry {
    fn sealed(mut self) -> Entry {
        self.hash = self.sum();
        self
    }

    fn sum(&self) -> String {
        let open = Entry { hash: String::new(), ..self.clone() };
        let octets = serde_json::to_vec(&open).expect("invariant: plain data is JSON");
        HEXLOWER.encode(digest(&SHA256, &octets).as_ref())
    }
}

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of the newest entry; 0 where there is none.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// The first 48 bits of the hash as a number, which a metric carries exactly.
    pub fn short(&self) -> u64 {
        u64::from_str_radix(&self.hash[..12], 16).unwrap_or(0)
    }
}

/// Why a log is not whole.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file system said no.
    #[error("the audit log {path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no entry.
    #[error("line {line} of the audit log is no entry")]
    NoEntry {
        /// Line, from 1.
        line: usize,
    },
    /// A line is not what was written, or is not the next.
    #[error("the audit log is broken at line {line}: {what}")]
    Broken {
        /// Line, from 1.
        line: usize,
        /// In words.
        what: &'static str,
    },
}

/// Reads a chain and checks each link. The first entry may be any: what was before it may have been put aside.
///
/// # Errors
/// The first line that is wrong.
pub fn verify(text: &str) -> Result<Vec<Entry>, AuditError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let broken = |what| AuditError::Broken { line: line_number, what };
        let entry: Entry = serde_json::from_str(line).map_err(|_| AuditError::NoEntry { line: line_number })?;
        if entry.hash != entry.sum() {
            return Err(broken("the entry was changed"));
        }
        match entries.last() {
            Some(last) if last.hash != entry.before || last.number + 1 != entry.number => {
                return Err(broken("an entry is missing before it"));
            }
            None if entry.number == 1 && entry.before != NOTHING => return Err(broken("the first entry follows nothing")),
            _ => entries.push(entry),
        }
    }
    Ok(entries)
}

/// The log of a box.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    head: Head,
    warning: Option<String>,
}

impl Log {
    /// Opens the log in the state directory; one that is broken is gone on with, and said aloud.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(state: &Path) -> io::Result<Log> {
        let path = state.join("audit.log");
        let mut log = Log { path, head: Head { number: 0, hash: NOTHING.into() }, warning: None };
        log.repair()?;
        let text = log.text()?;
        match verify(&text) {
            Ok(_) => {}
            Err(error) => log.warning = Some(format!("{error}; `postern log show` has what is left")),
        }
        if let Some(last) = text.lines().rev().find_map(|line| serde_json::from_str::<Entry>(line).ok()) {
            log.head = Head { number: last.number, hash: last.hash };
        }
        Ok(log)
    }

    /// Takes away the beginning of a line that the power cut off: it was never an entry.
    fn repair(&self) -> io::Result<()> {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&self.path) else { return Ok(()) };
        let (mut reader, mut whole, mut line) = (BufReader::new(&file), 0, Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            whole += line.len() as u64;
            line.clear();
        }
        if file.metadata()?.len() > whole { file.set_len(whole).and_then(|()| file.sync_all()) } else { Ok(()) }
    }

    /// What is kept, the part that was put aside first.
    ///
    /// # Errors
    /// What the file system says.
    pub fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        for path in [self.put_aside(), self.path.clone()] {
            match std::fs::read(&path) {
                Ok(octets) => text.push_str(&String::from_utf8_lossy(&octets)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }

    fn put_aside(&self) -> PathBuf {
        self.path.with_file_name("audit.old.log")
    }

    /// Where the chain ends.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What needs somebody's attention, in words.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Appends an entry, on the disk when this returns. A disk that is full costs the entry, never the deed: the warning says so.
    pub fn note(&mut self, time: u64, uid: u32, asked: &str, outcome: &str) {
        let short = |text: &str| text.chars().take(MAX_TEXT).collect();
        let (number, before) = (self.head.number + 1, self.head.hash.clone());
        let entry = Entry { number, time, uid, asked: short(asked), outcome: short(outcome), before, hash: String::new() }.sealed();
        match self.append(&entry) {
            Ok(()) => self.head = Head { number, hash: entry.hash },
            Err(error) => self.warning = Some(format!("the audit log cannot be written: {error}")),
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if std::fs::metadata(&self.path).is_ok_and(|facts| facts.len() + line.len() as u64 > MAX_OCTETS) {
            std::fs::rename(&self.path, self.put_aside())?;
        }
        let mut file: File = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let before = file.metadata()?.len();
        // Half a line would break the chain for whoever reads it next.
        file.write_all(&line).and_then(|()| file.sync_all()).inspect_err(|_| drop(file.set_len(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("postern-audit-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn three(folder: &Folder) -> String {
        let mut log = Log::open(&folder.0).unwrap();
        for number in 1..=3 {
            log.note(1000 + number, 0, &format!("block add n{number}.example"), "done");
        }
        log.text().unwrap()
    }

    #[test]
    fn entries_are_chained_and_go_on_after_a_restart() {
        let folder = Folder::new("chain");
        let text = three(&folder);
        let mut log = Log::open(&folder.0).unwrap();
        assert_eq!((log.head().number, log.warning()), (3, None));
        log.note(2000, 7, "reload", "refused");
        let entries = verify(&log.text().unwrap()).unwrap();
        assert!(log.text().unwrap().starts_with(&text) && entries[3].uid == 7 && entries[3].before == entries[2].hash);
        assert_eq!(format!("{:012x}", log.head().short()), entries[3].hash[..12]);
    }

    #[test]
    fn what_was_changed_or_taken_out_shows() {
        let text = three(&Folder::new("tamper"));
        let lines: Vec<&str> = text.lines().collect();
        let what = |lines: &[&str]| verify(&lines.join("\n")).unwrap_err().to_string();
        assert_eq!(what(&[lines[0], &lines[1].replace("n2", "n9"), lines[2]]), "the audit log is broken at line 2: the entry was changed");
        assert!(what(&[lines[0], lines[2]]).contains("line 2: an entry is missing"));
        assert!(what(&[lines[0], "{}", lines[2]]).contains("line 2 of the audit log is no entry"));
        assert_eq!(verify(&lines[..2].join("\n")).unwrap().len(), 2, "a cut tail shows only against a head from elsewhere");
    }

    #[test]
    fn a_line_cut_by_a_power_loss_goes_and_a_broken_log_is_gone_on_with() {
        let folder = Folder::new("cut");
        let text = three(&folder);
        let path = folder.0.join("audit.log");
        std::fs::write(&path, format!("{text}{}", &text[..40])).unwrap();
        let log = Log::open(&folder.0).unwrap();
        assert_eq!((log.head().number, log.warning(), log.text().unwrap()), (3, None, text.clone()));
        std::fs::write(&path, text.replace("n2", "n9")).unwrap();
        let mut log = Log::open(&folder.0).unwrap();
        assert!(log.warning().unwrap().contains("broken at line 2"));
        log.note(1, 0, "a", "b");
        assert_eq!(log.head().number, 4);
    }
}
