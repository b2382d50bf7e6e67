//! Which keys may sign which lists: a numbered set that an offline root key signs, so that a revocation reaches every box.
//!
//! A key is bound to lists and rights. Whether a list may be taken because of its signatures is decided by [`KeySet::admit`]: enough
//! distinct keys, all known, none revoked, each entitled, all speaking of this file. Where the set and its root key are kept is in
//! [`super::keyring`] for the curator and in [`super::trust`] for the box, which has a key of its own besides.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Cursor};
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
    #[error("key set {serial} is older than {least}, the least that is accepted here")]
    NotNewer {
        /// Its serial.
        serial: u64,
        /// The least accepted.
        least: u64,
    },
    /// This box was told of no root key.
    #[error("this box knows no root key\nhint: give it one with trust.root_key in its configuration")]
    NoRoot,
    /// It cannot be kept.
    #[error("the key set cannot be kept")]
    Io(#[from] io::Error),
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

    /// Takes a new set: signed by `root`, and not older than `least`.
    ///
    /// # Errors
    /// [`KeySetError`]; the set in force stays.
    pub fn accept(json: &[u8], signature: &Signature, root: &str, least: u64) -> Result<KeySet, KeySetError> {
        if json.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let root = PublicKey::from_base64(root).map_err(|_| KeySetError::BadKey("root".into()))?;
        let said = signature.check(&root, Cursor::new(json)).map_err(|_| KeySetError::NotByRoot)?;
        let set = KeySet::read(json)?;
        // The comment says what was signed, so that a signed list never passes for a key set.
        if said != set.comment() {
            return Err(KeySetError::NotByRoot);
        }
        if set.serial < least {
            return Err(KeySetError::NotNewer { serial: set.serial, least });
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

    /// Whether a key of this set, revoked or not, is bound to the list: then nobody else may sign it.
    pub fn speaks_of(&self, list: &str) -> bool {
        self.keys.iter().any(|key| key.lists.iter().any(|l| l == list))
    }

    /// What can be said of the signatures before the file has come: each by its key, none revoked, enough of them. Gives what they say.
    ///
    /// # Errors
    /// The reason why not, the gravest first.
    pub fn foresee(&self, signatures: &[Signature]) -> Result<Vec<Word>, Refusal> {
        if signatures.is_empty() {
            return Err(Refusal::Unsigned);
        }
        let (mut words, mut unknown): (Vec<Word>, _) = (Vec::new(), None);
        for (place, signature) in signatures.iter().take(MAX_SIGNATURES).enumerate() {
            let id = signature.key().to_owned();
            let Some((key, public)) = self.key(&id) else {
                unknown = Some(id);
                continue;
            };
            let said = signature.said(&public)?;
            if key.revoked.is_some() {
                return Err(Refusal::RevokedKey { key: id });
            }
            let said: Comment = said.parse().map_err(|_| Refusal::OtherFile { what: "kind of file" })?;
            if !words.iter().any(|w| w.key == id) {
                words.push(Word { place, key: id, said });
            }
        }
        match unknown {
            Some(key) if words.is_empty() => Err(Refusal::UnknownKey { key }),
            _ if words.len() < self.needed => Err(Refusal::TooFewSignatures { have: words.len(), needed: self.needed }),
            _ => Ok(words),
        }
    }

    /// Whether `list`, in `file` with this digest, may be taken with these signatures; `in_force` is the version it would replace. Gives
    /// the places of the signatures that count.
    ///
    /// # Errors
    /// As [`KeySet::foresee`], then: the signature is for another file, does not fit this one, the key lacks the right.
    pub fn admit(
        &self,
        list: &List,
        file: &File,
        sha256: [u8; 32],
        signatures: &[Signature],
        in_force: Option<&List>,
    ) -> Result<Vec<usize>, Refusal> {
        let of_file = Comment::with(list, sha256);
        let words = self.foresee(signatures)?;
        for Word { place, key: id, said } in &words {
            if let Some(what) = said.difference(&of_file) {
                return Err(Refusal::OtherFile { what });
            }
            let (key, public) = self.key(id).expect("invariant: only known keys have a word");
            signatures[*place].check(&public, file)?;
            key.entitled(id, list)?;
            if let (Some(allowed), Some(old)) = (key.largest_change_percent, in_force) {
                let percent = super::diff::percent(old, list)?;
                if percent > allowed {
                    return Err(Refusal::TooMuchChange { key: id.clone(), percent, allowed });
                }
            }
        }
        Ok(words.into_iter().map(|word| word.place).collect())
    }

    /// Whether the signatures that were kept with a list still fit it. A key that was revoked since still proves that this is the file
    /// that was taken; what to do about it is for a person to say.
    ///
    /// # Errors
    /// The first that does not fit; [`Refusal::UnknownKey`] where no key is known.
    pub fn still_fits(&self, list: &List, file: &File, sha256: [u8; 32], signatures: &[Signature]) -> Result<(), Refusal> {
        let of_file = Comment::with(list, sha256).to_string();
        let mut known = 0;
        for signature in signatures {
            let Some((_, public)) = self.key(signature.key()) else { continue };
            if signature.check(&public, file)? != of_file {
                return Err(Refusal::BadSignature { key: signature.key().to_owned() });
            }
            known += 1;
        }
        match signatures.first() {
            None => Err(Refusal::Unsigned),
            Some(first) if known == 0 => Err(Refusal::UnknownKey { key: first.key().to_owned() }),
            Some(_) => Ok(()),
        }
    }
}

/// What a key of the set said about a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Which of the signatures it was.
    place: usize,
    /// Id of the key.
    pub key: String,
    /// What it said.
    pub said: Comment,
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

/// The box's own key in `path`, made where there is none.
///
/// # Errors
/// Where the file can be neither read nor made. A file that is there and is no key is an error, not a reason to make another.
pub fn box_key(path: &Path) -> Result<Signer, SignerError> {
    match Signer::open(path, None) {
        Err(SignerError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Signer::create(path),
        opened => opened,
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
