//! Which keys may sign which lists: a numbered set that an offline root key signs, so that a revocation reaches every box.
//!
//! A key is bound to lists and rights. Whether a list may be taken because of its signatures is decided by [`KeySet::admit`]: enough
//! distinct keys, all known, none revoked, each entitled, all speaking of this file. The box's own key signs what root pushes over the
//! local socket; it is made on first use and never leaves the box, so that no unsigned list exists inside.
#![allow(clippy::disallowed_methods, reason = "keys are files")]

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use minisign::PublicKey;
use serde::{Deserialize, Serialize};

use super::file::List;
use super::refusal::Refusal;
use super::signature::{Comment, MAX_SIGNATURES, Signature, Signer, SignerError, key_id};
use super::{Action, build::is_id};

/// Most keys of a set.
pub const MAX_KEYS: usize = 100;
/// Largest key set file, in octets.
pub const MAX_KEY_SET: usize = 256 * 1024;
/// Format of the key set file.
const VERSION: u32 = 1;

/// A key and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The public key, as `minisign -P` takes it.
    pub public: String,
    /// Whose it is, for people.
    pub owner: String,
    /// Ids of the lists that it may sign.
    pub lists: Vec<String>,
    /// It may sign lists that block.
    #[serde(default)]
    pub may_block: bool,
    /// It may sign lists that allow.
    #[serde(default)]
    pub may_allow: bool,
    /// Entries that may be new or gone at once, in percent of the list in force; unlimited where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_change_percent: Option<u64>,
    /// Why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

/// The keys of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// Format of the file.
    version: u32,
    /// Grows with every change; a lower one is refused.
    pub serial: u64,
    /// Distinct keys that must sign a list.
    pub needed: usize,
    /// The keys.
    pub keys: Vec<Key>,
}

/// Why a key set is refused. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// No JSON of the right form.
    #[error("the key set cannot be read")]
    Json(#[from] serde_json::Error),
    /// Written by a newer program.
    #[error("the key set has format {0}, this program knows {VERSION}")]
    Version(u32),
    /// Larger than one may be.
    #[error("the key set is larger than {MAX_KEY_SET} octets or has more than {MAX_KEYS} keys")]
    TooLarge,
    /// A public key is none.
    #[error("the key of {0} is no minisign public key")]
    BadKey(String),
    /// The same key twice.
    #[error("key {0} is there twice")]
    Twice(String),
    /// More keys are needed than there are, or none.
    #[error("{needed} keys are needed, and {there} are there that are not revoked")]
    Needed {
        /// Needed.
        needed: usize,
        /// There.
        there: usize,
    },
    /// A list id that no list can have.
    #[error("{0:?} is no list id")]
    BadList(String),
    /// Not signed by the root key.
    #[error("the root key did not sign this key set")]
    NotByRoot,
    /// The serial is not above the one in force.
    #[error("key set {serial} is not newer than {highest}")]
    NotNewer {
        /// Its serial.
        serial: u64,
        /// The highest accepted.
        highest: u64,
    },
}

impl KeySet {
    /// A set; see [`KeySet::read`] for what it must keep to.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn new(serial: u64, needed: usize, keys: Vec<Key>) -> Result<KeySet, KeySetError> {
        let set = KeySet { version: VERSION, serial, needed, keys };
        set.check()?;
        Ok(set)
    }

    /// Reads a set from JSON.
    ///
    /// # Errors
    /// [`KeySetError`]: a set is used whole or not at all.
    pub fn read(json: &[u8]) -> Result<KeySet, KeySetError> {
        if json.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let set: KeySet = serde_json::from_slice(json)?;
        set.check()?;
        Ok(set)
    }

    /// The set as JSON, the same octets each time.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_json(&self) -> Result<Vec<u8>, KeySetError> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    fn check(&self) -> Result<(), KeySetError> {
        if self.version != VERSION {
            return Err(KeySetError::Version(self.version));
        }
        if self.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooLarge);
        }
        let mut ids = BTreeSet::new();
        for key in &self.keys {
            let public = key.parsed().ok_or_else(|| KeySetError::BadKey(key.owner.clone()))?;
            let id = key_id(public.keynum());
            if ids.contains(&id) {
                return Err(KeySetError::Twice(id));
            }
            ids.insert(id);
            if let Some(bad) = key.lists.iter().find(|l| !is_id(l)) {
                return Err(KeySetError::BadList(bad.clone()));
            }
        }
        let there = self.keys.iter().filter(|k| k.revoked.is_none()).count();
        // An empty set is one that trusts nobody yet.
        if self.needed == 0 || (self.needed > there && !self.keys.is_empty()) {
            return Err(KeySetError::Needed { needed: self.needed, there });
        }
        Ok(())
    }

    /// Takes a new set that came in `file`: signed by `root`, and newer than `highest`.
    ///
    /// # Errors
    /// [`KeySetError`]; the set in force stays.
    pub fn accept(file: &File, signature: &Signature, root: &str, highest: u64) -> Result<KeySet, KeySetError> {
        let root = PublicKey::from_base64(root).map_err(|_| KeySetError::BadKey("root".into()))?;
        let said = signature.check(&root, file).map_err(|_| KeySetError::NotByRoot)?;
        let mut json = Vec::new();
        let mut bounded = io::Read::take(file, MAX_KEY_SET as u64 + 1);
        io::Seek::rewind(&mut &*file).and_then(|()| io::Read::read_to_end(&mut bounded, &mut json)).map_err(serde_json::Error::io)?;
        let set = KeySet::read(&json)?;
        // The comment says what was signed, so that a signed list never passes for a key set.
        if said != set.comment() {
            return Err(KeySetError::NotByRoot);
        }
        if set.serial <= highest {
            return Err(KeySetError::NotNewer { serial: set.serial, highest });
        }
        Ok(set)
    }

    /// The trusted comment under which the root key signs this set.
    pub fn comment(&self) -> String {
        format!("postern-keys serial={}", self.serial)
    }

    fn key(&self, id: &str) -> Option<(&Key, PublicKey)> {
        self.keys.iter().filter_map(|k| Some((k, k.parsed()?))).find(|(_, public)| key_id(public.keynum()) == id)
    }

    /// Whether `list`, in `file`, may be taken with these signatures; `in_force` is the version it would replace. Gives the keys.
    ///
    /// # Errors
    /// The reason why not, the gravest first: a signature that does not fit, a revoked key, rights, number.
    pub fn admit(&self, list: &List, file: &File, signatures: &[Signature], in_force: Option<&List>) -> Result<Vec<String>, Refusal> {
        if signatures.is_empty() {
            return Err(Refusal::Unsigned);
        }
        let of_file = Comment::of(list, file)?;
        let (mut signers, mut unknown) = (BTreeSet::new(), None);
        for signature in signatures.iter().take(MAX_SIGNATURES) {
            let id = signature.key().to_owned();
            let Some((key, public)) = self.key(&id) else {
                unknown = Some(id);
                continue;
            };
            let said = signature.check(&public, file)?;
            if key.revoked.is_some() {
                return Err(Refusal::RevokedKey { key: id });
            }
            let said: Comment = said.parse().map_err(|_| Refusal::OtherFile { what: "kind of file" })?;
            if let Some(what) = said.difference(&of_file) {
                return Err(Refusal::OtherFile { what });
            }
            key.entitled(&id, list)?;
            if let (Some(allowed), Some(old)) = (key.largest_change_percent, in_force) {
                let percent = super::diff::percent(old, list)?;
                if percent > allowed {
                    return Err(Refusal::TooMuchChange { key: id, percent, allowed });
                }
            }
            signers.insert(id);
        }
        match unknown {
            Some(key) if signers.is_empty() => Err(Refusal::UnknownKey { key }),
            _ if signers.len() < self.needed => Err(Refusal::TooFewSignatures { have: signers.len(), needed: self.needed }),
            _ => Ok(signers.into_iter().collect()),
        }
    }
}

impl Key {
    fn parsed(&self) -> Option<PublicKey> {
        PublicKey::from_base64(&self.public).ok()
    }

    /// Id of the key; `?` where the public key is none.
    pub fn id(&self) -> String {
        self.parsed().map_or_else(|| "?".into(), |p| key_id(p.keynum()))
    }

    fn entitled(&self, id: &str, list: &List) -> Result<(), Refusal> {
        let what = if !self.lists.contains(&list.manifest().id) {
            format!("sign list {}", list.manifest().id)
        } else if list.has(Action::Block) && !self.may_block {
            "block".to_owned()
        } else if list.has(Action::Allow) && !self.may_allow {
            "allow".to_owned()
        } else {
            return Ok(());
        };
        Err(Refusal::NotEntitled { key: id.to_owned(), what })
    }
}

/// The box's own key in `path`, made (mode 0600) where there is none.
///
/// # Errors
/// Where the file can be neither read nor made. A file that is there and is no key is an error, not a reason to make another.
pub fn box_key(path: &Path) -> Result<Signer, SignerError> {
    match std::fs::read_to_string(path) {
        Ok(text) => return Signer::read(&text, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let signer = Signer::generate()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(signer.to_text()?.as_bytes())?;
    file.sync_all()?;
    super::durable::sync_directory(path)?;
    Ok(signer)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
