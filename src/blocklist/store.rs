//! The lists a box has taken: each version a file, one of them in force, older ones kept to go back to.
//!
//! ```text
//! DIR/ID/0000000000000012.plist         a version
//! DIR/ID/0000000000000012.KEY.minisig   a signature that came with it
//! DIR/ID/current                        the serial in force; writing it is the moment a push counts
//! SERIALS                               the highest serial ever accepted of each list: kept apart, it survives the loss of DIR
//! ```
//! A push is streamed to a file of its own, verified whole, synced and renamed before `current` names it, so a power loss leaves the
//! state before or after. At start a damaged version is passed over for the newest sound one, and [`Store::warnings`] says so.
//! Who may sign a list and what it would newly block are judged by the [`Gate`] that is passed in.
#![allow(clippy::disallowed_methods, reason = "the store owns its files")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use super::build::is_id;
use super::durable::{self, UNFINISHED};
use super::file::{BlockReader, HOT_BYTES, List, Manifest, OpenError, Waiting};
use super::format::{BLOCK, Header, MAX_FILE};
pub use super::refusal::Refusal;

/// Versions kept of each list, unless told otherwise.
pub const KEEP: usize = 5;
/// Most lists in force at once: each costs a filter probe per query and its filter in RAM.
pub const MAX_LISTS: usize = 16;
/// Largest serial: ten digits fewer than what would need care when written.
pub const MAX_SERIAL: u64 = 9_999_999_999_999_999;

/// Furthest that a serial may be above the highest accepted: room for dates of twelve digits, while a thief with a key cannot use up all
/// serials at once and leave none for the list that mends what he did.
pub const MAX_STEP: u64 = 1_000_000_000_000;
/// Most octets read of a signature file; one has about 350.
const SIGNATURE_OCTETS: u64 = 4096;

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of the lists; made if missing (mode 0700).
    pub directory: PathBuf,
    /// File with the highest serials. Not in `directory`, so that losing that does not open the door to old lists.
    pub serials: PathBuf,
    /// Versions kept of each list, the one in force included; at least 2, or there is nothing to go back to.
    pub keep: usize,
    /// Octets of blocks kept in RAM for each list in force.
    pub hot_bytes: usize,
}

impl Settings {
    /// The usual places below a state directory.
    pub fn below(state: &Path) -> Settings {
        Settings { directory: state.join("lists"), serials: state.join("serials.json"), keep: KEEP, hot_bytes: HOT_BYTES }
    }
}

/// What the gate is shown before a list is taken: sound, its dates and serial judged, not yet in its place.
#[derive(Debug)]
pub struct Arriving<'a> {
    /// The list.
    pub list: &'a List,
    /// Its file.
    pub file: &'a File,
    /// SHA-256 of the file, made while it came in.
    pub sha256: [u8; 32],
    /// The version in force that it would replace.
    pub in_force: Option<&'a Arc<List>>,
}

/// A signature that is kept with its list: id of the key, and the text of the `.minisig` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Id of the key: letters and digits.
    pub key: String,
    /// The text.
    pub text: String,
}

/// Decides whether a list may be taken by what is not in the file itself: signatures, impact. Gives the signatures to keep with it.
pub type Gate<'a> = &'a mut dyn FnMut(&Arriving<'_>) -> Result<Vec<Kept>, Refusal>;

/// Decides by the signatures beside a kept version whether it is what was taken. Gives signatures to write beside one that has none.
pub type Witness<'a> = &'a mut dyn FnMut(&List, &File, &[Kept]) -> Result<Vec<Kept>, Refusal>;

/// Something found wrong at start that did not stop it.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A version cannot be used; another serves if there is one.
    #[error("list {id} serial {serial} {}{}", if matches!(error, Refusal::Unsound(_) | Refusal::CutShort { .. }) { "is damaged" } else { "is not trusted" }, served.map_or_else(|| ": NOTHING of this list is blocked".to_owned(), |s| format!(", serial {s} serves")))]
    Damaged {
        /// The list.
        id: String,
        /// The version.
        serial: u64,
        /// The version that serves instead.
        served: Option<u64>,
        /// What is wrong with it.
        #[source]
        error: Refusal,
    },
    /// The file with the highest serials cannot be read or written; those of the versions at hand count.
    #[error("the file of highest serials cannot be read or written: {0}")]
    Serials(String),
}

/// A version that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The list.
    pub id: String,
    /// Its serial.
    pub serial: u64,
    /// Length of the file, in octets.
    pub file_bytes: u64,
    /// Whether it is in force.
    pub active: bool,
    /// Entries and build time; `None` where the file cannot be read.
    pub known: Option<(u64, u64)>,
    /// Ids of the keys whose signatures came with it.
    pub signers: Vec<String>,
}

/// A step of taking a list, in order; drills stop after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Created,
    Written,
    Verified,
    Renamed,
    Named,
    Noted,
    Pruned,
}

type Drill<'a> = &'a mut dyn FnMut(Step) -> io::Result<()>;

/// The store. One process owns it (the state directory is locked); one thread at a time changes it.
pub struct Store {
    settings: Settings,
    reader: Arc<dyn BlockReader>,
    lists: BTreeMap<String, Arc<List>>,
    activated: BTreeMap<String, u64>,
    highest: BTreeMap<String, u64>,
    warnings: Vec<Warning>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("directory", &self.settings.directory).field("lists", &self.lists).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store and the lists in force; damaged ones are replaced by the newest sound version and reported.
    ///
    /// # Errors
    /// Only where the directory cannot be made or read.
    pub fn open(settings: Settings) -> io::Result<Store> {
        Store::open_with(settings, Arc::new(Waiting))
    }

    /// As [`Store::open`], with the reader that lists read their blocks by.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(settings: Settings, reader: Arc<dyn BlockReader>) -> io::Result<Store> {
        Store::open_before(settings, reader, &mut |_, _, _| Ok(Vec::new()))
    }

    /// As [`Store::open_with`], for versions that `witness` must know again.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_before(settings: Settings, reader: Arc<dyn BlockReader>, witness: Witness<'_>) -> io::Result<Store> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.directory)?;
        let (lists, activated, highest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut store = Store { settings, reader, lists, activated, highest, warnings: Vec::new() };
        match fs::read(&store.settings.serials) {
            Ok(octets) => match serde_json::from_slice(&octets) {
                Ok(highest) => store.highest = highest,
                Err(error) => store.warnings.push(Warning::Serials(error.to_string())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => store.warnings.push(Warning::Serials(error.to_string())),
        }
        let mut ids: Vec<String> = Vec::new();
        for entry in fs::read_dir(&store.settings.directory)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok();
            if name.as_ref().is_some_and(|n| n.ends_with(UNFINISHED)) {
                fs::remove_file(entry.path())?;
            } else if entry.file_type()?.is_dir() {
                ids.extend(name.filter(|id| is_id(id)));
            }
        }
        ids.sort();
        ids.truncate(MAX_LISTS);
        let noted = store.highest.clone();
        ids.iter().try_for_each(|id| store.start(id, witness))?;
        // A push that counted, but whose serial was not noted before the power went.
        if store.highest != noted
            && let Err(error) = store.note_serials()
        {
            store.warnings.push(Warning::Serials(error.to_string()));
        }
        Ok(store)
    }

    /// Sweeps up after a crash and opens the version in force of one list, or the newest sound one.
    fn start(&mut self, id: &str, witness: Witness<'_>) -> io::Result<()> {
        let directory = self.settings.directory.join(id);
        let current = fs::read_to_string(directory.join("current")).ok().and_then(|text| text.trim().parse::<u64>().ok());
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(&path)?;
            }
        }
        let highest = self.highest.entry(id.to_owned()).or_default();
        let mut serials = serials(&directory)?;
        match current {
            // A version above both was renamed, but its push never counted.
            Some(current) => {
                *highest = (*highest).max(current);
                let counted = *highest;
                for serial in serials.extract_if(.., |s| *s > counted) {
                    remove_version(&directory, serial)?;
                }
            }
            None => *highest = serials.iter().copied().fold(*highest, u64::max),
        }
        serials.sort_unstable_by_key(|&s| (Some(s) != current, std::cmp::Reverse(s)));
        let (mut damaged, mut served) = (Vec::new(), None);
        for serial in serials {
            match self.load(&directory, serial, witness) {
                Ok(list) => {
                    self.lists.insert(id.to_owned(), Arc::new(list));
                    served = Some(serial);
                    if let Some(since) = modified(&directory.join("current")).filter(|_| current == served) {
                        self.activated.insert(id.to_owned(), since);
                    }
                    break;
                }
                Err(error) => damaged.push((serial, error)),
            }
        }
        let id = id.to_owned();
        self.warnings.extend(damaged.into_iter().map(|(serial, error)| Warning::Damaged { id: id.clone(), serial, served, error }));
        Ok(())
    }

    fn load(&self, directory: &Path, serial: u64, witness: Witness<'_>) -> Result<List, Refusal> {
        let path = version_path(directory, serial);
        let list = List::open_file(File::open(&path)?, self.reader.clone(), self.settings.hot_bytes)?;
        list.verify()?;
        let added = witness(&list, &File::open(&path)?, &signatures(directory, serial)?)?;
        write_signatures(directory, serial, &added)?;
        Ok(list)
    }

    /// The lists in force, by id.
    pub fn lists(&self) -> Vec<Arc<List>> {
        self.lists.values().cloned().collect()
    }

    /// The list in force with this id.
    pub fn current(&self, id: &str) -> Option<&Arc<List>> {
        self.lists.get(id)
    }

    /// When the version in force of a list became so, in seconds since 1970, restarts passed over; `None` where that is not known,
    /// because another version was damaged and passed over at start.
    pub fn activated(&self, id: &str) -> Option<u64> {
        self.activated.get(id).copied()
    }

    /// What was found wrong at start.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The highest serial ever accepted of a list; 0 where there was none.
    pub fn highest(&self, id: &str) -> u64 {
        self.highest.get(id).copied().unwrap_or(0)
    }

    /// Takes a list of `length` octets from `input` and puts it in force. `now` is in seconds since 1970, `None` where the clock is not
    /// trusted. Returns when everything is on the disk; who serves then swaps to [`Store::lists`].
    ///
    /// # Errors
    /// The reason it is not taken; files and lists in force are then as before.
    pub fn accept(&mut self, input: &mut dyn Read, length: u64, now: Option<u64>) -> Result<Arc<List>, Refusal> {
        self.accept_through(input, length, now, &mut |_| Ok(Vec::new()))
    }

    /// As [`Store::accept`], for a list that `gate` must let through.
    ///
    /// # Errors
    /// As [`Store::accept`], and what `gate` gives.
    pub fn accept_through(&mut self, input: &mut dyn Read, length: u64, now: Option<u64>, gate: Gate<'_>) -> Result<Arc<List>, Refusal> {
        let arriving = self.settings.directory.join(format!("arriving{UNFINISHED}"));
        let result = self.take(&arriving, input, length, now, gate, &mut |_| Ok(()));
        if result.is_err() {
            let _ = fs::remove_file(&arriving);
        }
        result
    }

    /// Judges a list as [`Store::accept_through`] does, and forgets it.
    ///
    /// # Errors
    /// As [`Store::accept_through`].
    pub fn judge(&mut self, input: &mut dyn Read, length: u64, now: Option<u64>, gate: Gate<'_>) -> Result<Manifest, Refusal> {
        let arriving = self.settings.directory.join(format!("arriving{UNFINISHED}"));
        let result = self.receive(&arriving, input, length, now, gate, &mut |_| Ok(()));
        let _ = fs::remove_file(&arriving);
        Ok(result?.0.manifest().clone())
    }

    fn take(
        &mut self,
        arriving: &Path,
        input: &mut dyn Read,
        length: u64,
        now: Option<u64>,
        gate: Gate<'_>,
        drill: Drill<'_>,
    ) -> Result<Arc<List>, Refusal> {
        let (list, signatures) = self.receive(arriving, input, length, now, gate, drill)?;
        drill(Step::Verified)?;
        let (id, serial) = (list.manifest().id.clone(), list.manifest().serial);
        let directory = self.settings.directory.join(&id);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        File::open(arriving)?.sync_all()?;
        // A push of the same serial that died may have left signatures.
        remove_version(&directory, serial)?;
        write_signatures(&directory, serial, &signatures)?;
        fs::rename(arriving, version_path(&directory, serial))?;
        durable::sync_directory(&version_path(&directory, serial))?;
        durable::sync_directory(&directory)?;
        drill(Step::Renamed)?;
        let list = self.put_in_force(&id, serial, list, drill)?;
        self.prune(&id)?;
        drill(Step::Pruned)?;
        Ok(list)
    }

    /// Everything that is done before the first thing changes that anybody would find.
    fn receive(
        &self,
        arriving: &Path,
        input: &mut dyn Read,
        length: u64,
        now: Option<u64>,
        gate: Gate<'_>,
        drill: Drill<'_>,
    ) -> Result<(List, Vec<Kept>), Refusal> {
        if length > MAX_FILE {
            return Err(Refusal::TooLarge);
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(arriving)?;
        drill(Step::Created)?;
        let sha256 = receive(input, length, &mut file)?;
        drill(Step::Written)?;
        let list = List::open_file(file, self.reader.clone(), self.settings.hot_bytes)?;
        self.entitled(list.manifest(), now)?;
        list.verify()?;
        let in_force = self.lists.get(&list.manifest().id);
        let signatures = gate(&Arriving { list: &list, file: &File::open(arriving)?, sha256, in_force })?;
        Ok((list, signatures))
    }

    /// Whether a list with this manifest may be taken at all.
    fn entitled(&self, manifest: &Manifest, now: Option<u64>) -> Result<(), Refusal> {
        let (id, serial) = (manifest.id.clone(), manifest.serial);
        if !is_id(&id) || serial > MAX_SERIAL {
            return Err(Refusal::BadIdentity { id, serial });
        }
        let highest = self.highest(&id);
        if serial > highest.saturating_add(MAX_STEP) {
            return Err(Refusal::TooFarAhead { id, serial, highest });
        }
        if serial <= highest && (highest > 0 || self.lists.contains_key(&id)) {
            if serial == highest && self.lists.get(&id).is_some_and(|l| l.manifest().serial < serial) {
                return Err(Refusal::RolledBack { id, serial });
            }
            return Err(Refusal::NotNewer { id, serial, highest });
        }
        if !self.lists.contains_key(&id) && self.lists.len() >= MAX_LISTS {
            return Err(Refusal::TooManyLists);
        }
        match (manifest.not_before, manifest.expires, now) {
            (None, None, _) => Ok(()),
            (_, _, None) => Err(Refusal::ClockUntrusted { id }),
            (Some(not_before), _, Some(now)) if now < not_before => Err(Refusal::NotYetValid { id, not_before }),
            (_, Some(expires), Some(now)) if expires <= now => Err(Refusal::Expired { id, expires }),
            _ => Ok(()),
        }
    }

    fn put_in_force(&mut self, id: &str, serial: u64, list: List, drill: Drill<'_>) -> Result<Arc<List>, Refusal> {
        let current = self.settings.directory.join(id).join("current");
        durable::replace(&current, serial.to_string().as_bytes())?;
        drill(Step::Named)?;
        // From here on the list is in force, whatever else fails.
        let list = Arc::new(list);
        match modified(&current) {
            Some(since) => self.activated.insert(id.to_owned(), since),
            None => self.activated.remove(id),
        };
        self.lists.insert(id.to_owned(), list.clone());
        let highest = self.highest.entry(id.to_owned()).or_default();
        *highest = (*highest).max(serial);
        self.note_serials()?;
        drill(Step::Noted)?;
        Ok(list)
    }

    fn note_serials(&self) -> io::Result<()> {
        durable::replace(&self.settings.serials, &serde_json::to_vec(&self.highest)?)
    }

    /// Puts another kept version in force: `serial`, or the newest one older than the one in force. The highest serial stays.
    ///
    /// # Errors
    /// Where there is none, or it is damaged; nothing has changed then.
    pub fn rollback(&mut self, id: &str, serial: Option<u64>) -> Result<Arc<List>, Refusal> {
        self.rollback_before(id, serial, &mut |_, _, _| Ok(Vec::new()))
    }

    /// As [`Store::rollback`], to a version that `witness` must know again.
    ///
    /// # Errors
    /// As [`Store::rollback`], and what `witness` gives.
    pub fn rollback_before(&mut self, id: &str, serial: Option<u64>, witness: Witness<'_>) -> Result<Arc<List>, Refusal> {
        self.go_back(id, serial, witness, &mut |_| Ok(()))
    }

    fn go_back(&mut self, id: &str, serial: Option<u64>, witness: Witness<'_>, drill: Drill<'_>) -> Result<Arc<List>, Refusal> {
        let missing = || Refusal::NoSuchVersion { id: id.to_owned(), serial };
        let current = self.lists.get(id).map_or(u64::MAX, |l| l.manifest().serial);
        let directory = self.settings.directory.join(id);
        if !is_id(id) || !directory.is_dir() {
            return Err(missing());
        }
        let kept = serials(&directory)?;
        let target = match serial {
            Some(serial) => kept.into_iter().find(|&s| s == serial),
            None => kept.into_iter().filter(|&s| s < current).max(),
        };
        let target = target.ok_or_else(missing)?;
        let list = self.load(&directory, target, witness)?;
        self.put_in_force(id, target, list, drill)
    }

    /// Ids of the keys that signed the version in force, as far as can be read.
    pub fn signers(&self, id: &str) -> Vec<String> {
        let serial = self.lists.get(id).map(|list| list.manifest().serial);
        serial.and_then(|serial| signers(&self.settings.directory.join(id), serial).ok()).unwrap_or_default()
    }

    /// All kept versions, newest first within a list.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn versions(&self) -> io::Result<Vec<Version>> {
        let mut versions = Vec::new();
        for (id, _) in self.highest.iter().filter(|(id, _)| is_id(id)) {
            let directory = self.settings.directory.join(id);
            let mut kept = if directory.is_dir() { serials(&directory)? } else { Vec::new() };
            kept.sort_unstable_by_key(|&s| std::cmp::Reverse(s));
            for serial in kept {
                let path = version_path(&directory, serial);
                let active = self.lists.get(id).is_some_and(|l| l.manifest().serial == serial);
                let known = List::open(&path).ok().map(|l| (l.len(), l.manifest().created));
                let (id, file_bytes, signers) = (id.clone(), fs::metadata(&path)?.len(), signers(&directory, serial)?);
                versions.push(Version { id, serial, file_bytes, active, known, signers });
            }
        }
        Ok(versions)
    }

    /// Removes the oldest versions above the number to keep; never the one in force.
    fn prune(&self, id: &str) -> Result<(), Refusal> {
        let directory = self.settings.directory.join(id);
        let current = self.lists.get(id).map(|l| l.manifest().serial);
        let mut kept = serials(&directory)?;
        kept.sort_unstable_by_key(|&s| (Some(s) != current, std::cmp::Reverse(s)));
        for serial in kept.into_iter().skip(self.settings.keep.max(2)) {
            remove_version(&directory, serial)?;
        }
        Ok(())
    }
}

/// When a file was written, in seconds since 1970: the clock of the file system is the box's own.
fn modified(path: &Path) -> Option<u64> {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    written.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn version_path(directory: &Path, serial: u64) -> PathBuf {
    directory.join(format!("{serial:016}.plist"))
}

/// Removes a version with its signatures; the list goes last, so that none is ever without the signatures it came with.
fn remove_version(directory: &Path, serial: u64) -> io::Result<()> {
    for key in signers(directory, serial)? {
        fs::remove_file(signature_path(directory, serial, &key))?;
    }
    match fs::remove_file(version_path(directory, serial)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Receives a file of `length` octets and gives its SHA-256. What its first block shows to be no list is refused before the rest comes.
fn receive(input: &mut dyn Read, length: u64, file: &mut File) -> Result<[u8; 32], Refusal> {
    let (mut context, mut buffer, mut found) = (Context::new(&SHA256), vec![0; 64 * 1024], 0);
    while found < length {
        // The first block alone, then as much as comes.
        let room = if found < BLOCK as u64 { BLOCK - found as usize } else { buffer.len() }.min((length - found) as usize);
        let octets = match input.read(&mut buffer[..room]) {
            Ok(0) => return Err(Refusal::CutShort { stated: length, found }),
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A peer that fell silent or broke off; our own disk is asked below.
            Err(_) => return Err(Refusal::CutShort { stated: length, found }),
        };
        file.write_all(&buffer[..octets])?;
        context.update(&buffer[..octets]);
        found += octets as u64;
        if found == BLOCK as u64 {
            let mut block = [0; BLOCK];
            file.read_exact_at(&mut block, 0)?;
            Header::read(&block, length).map_err(OpenError::from)?;
        }
    }
    Ok(context.finish().as_ref().try_into().expect("invariant: SHA-256 has 32 octets"))
}

fn signature_path(directory: &Path, serial: u64, key: &str) -> PathBuf {
    directory.join(format!("{serial:016}.{key}.minisig"))
}

fn write_signatures(directory: &Path, serial: u64, signatures: &[Kept]) -> io::Result<()> {
    let mut usable = signatures.iter().filter(|s| is_id(&s.key));
    usable.try_for_each(|s| durable::replace(&signature_path(directory, serial, &s.key), s.text.as_bytes()))
}

/// The signatures beside a version.
fn signatures(directory: &Path, serial: u64) -> io::Result<Vec<Kept>> {
    let read = |key: String| {
        let mut text = String::new();
        File::open(signature_path(directory, serial, &key))?.take(SIGNATURE_OCTETS).read_to_string(&mut text)?;
        Ok(Kept { key, text })
    };
    signers(directory, serial)?.into_iter().map(read).collect()
}

/// Ids of the keys whose signatures lie beside a version, in order.
fn signers(directory: &Path, serial: u64) -> io::Result<Vec<String>> {
    let (mut keys, start) = (Vec::new(), format!("{serial:016}."));
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let key = name.to_str().and_then(|n| n.strip_prefix(&start)).and_then(|n| n.strip_suffix(".minisig"));
        keys.extend(key.map(str::to_owned));
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Serials of the versions in a list's directory, in no order.
fn serials(directory: &Path) -> io::Result<Vec<u64>> {
    let mut serials = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let serial = name.to_str().and_then(|n| n.strip_suffix(".plist")).and_then(|n| n.parse::<u64>().ok());
        serials.extend(serial.filter(|&s| s <= MAX_SERIAL));
    }
    Ok(serials)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
