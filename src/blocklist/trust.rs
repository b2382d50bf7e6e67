//! What a box trusts: the root key it was told of, the key set in force under it, and a key of its own.
//!
//! ```text
//! STATE/box.key         the box's own key, made on first use; it never leaves the box
//! STATE/box.pub         its public half, so that what it has signed is known again when the key itself is damaged
//! STATE/keyset.json     the key set in force with the root key's signature: one file, there whole or not at all
//! STATE/keyset-serials.json   by root key, the highest serial ever taken: kept apart, so that a lost set brings no revoked key back
//! ```
//! No unsigned list exists inside. A list that a key of the set is bound to is taken only with signatures of the set's keys; any other
//! may be pushed by root on the box itself, and is signed with the box's own key. What a store from before signatures holds is signed in
//! the same way, once: as long as no key has been used here.
#![allow(clippy::disallowed_methods, reason = "keys are files")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use minisign::PublicKey;
use serde::{Deserialize, Serialize};

use super::durable;
use super::file::List;
use super::keys::{KeySet, KeySetError, box_key};
use super::refusal::Refusal;
use super::signature::{Comment, Signature, Signer, key_id, sha256};
use super::store::{Arriving, Kept};

const OWN: &str = "box.key";
const OWN_PUBLIC: &str = "box.pub";
const SET: &str = "keyset.json";
const SERIALS: &str = "keyset-serials.json";

/// The file in which a key set is kept.
#[derive(Serialize, Deserialize)]
struct Bundle {
    /// The octets that were signed.
    set: String,
    /// The `.minisig`.
    signature: String,
}

/// The trust of one box.
#[derive(Debug)]
pub struct Trust {
    state: PathBuf,
    root: Option<String>,
    own: Option<Signer>,
    /// The public half of the own key, also where that cannot be used any more.
    own_public: Option<String>,
    set: Option<KeySet>,
    /// By public root key.
    highest: BTreeMap<String, u64>,
    /// A key set that is there and cannot be used, in words.
    warning: Option<String>,
    /// The same of the own key.
    own_warning: Option<String>,
    /// No key had been used here at the start: unsigned lists are from before there were signatures.
    adopting: bool,
}

impl Trust {
    /// What lies in the state directory, under `root`, the public root key as `minisign -P` takes it. A damaged own key or key set is no
    /// error, but a warning: new lists need a sound one.
    pub fn open(state: &Path, root: Option<String>) -> Trust {
        let own = state.join(OWN);
        // Neither has a key of its own been used here nor one of a set: whatever list is here is from before there were signatures.
        let adopting = [OWN, OWN_PUBLIC, SERIALS].iter().all(|name| !state.join(name).exists());
        let (own, own_warning) = match own.exists().then(|| box_key(&own)) {
            None => (None, None),
            Some(Ok(own)) => (Some(own), None),
            Some(Err(error)) => (None, Some(format!("the key of this box cannot be used: {error}"))),
        };
        let kept = || fs::read_to_string(state.join(OWN_PUBLIC)).ok().map(|text| text.trim().to_owned());
        let own_public = own.as_ref().map(Signer::public).or_else(kept);
        if let Some(own) = own.as_ref().filter(|_| !state.join(OWN_PUBLIC).exists()) {
            // A disk that is full costs the copy, not the start.
            let _ = durable::replace(&state.join(OWN_PUBLIC), own.public().as_bytes());
        }
        let highest = fs::read(state.join(SERIALS)).ok().and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or_default();
        let mut trust =
            Trust { state: state.to_owned(), root: None, own, own_public, set: None, highest, warning: None, own_warning, adopting };
        trust.believe(root);
        trust
    }

    /// From now on this is the root key; the kept key set counts only if it is by that.
    pub fn believe(&mut self, root: Option<String>) {
        (self.root, self.set, self.warning) = (root, None, None);
        if let Some(root) = &self.root {
            match self.kept_set(root) {
                Ok(set) => {
                    if let Some(set) = &set {
                        let highest = self.highest.entry(root.clone()).or_default();
                        *highest = set.serial.max(*highest);
                    }
                    self.set = set;
                }
                Err(why) => self.warning = Some(format!("the key set cannot be used: {why}; push it again with `postern keys push`")),
            }
        }
    }

    fn kept_set(&self, root: &str) -> Result<Option<KeySet>, String> {
        let octets = match fs::read(self.state.join(SET)) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let bundle: Bundle = serde_json::from_slice(&octets).map_err(|e| e.to_string())?;
        let signature = Signature::read(&bundle.signature).map_err(|e| e.to_string())?;
        KeySet::accept(bundle.set.as_bytes(), &signature, root, self.highest(root)).map(Some).map_err(|e| e.to_string())
    }

    fn highest(&self, root: &str) -> u64 {
        self.highest.get(root).copied().unwrap_or(0)
    }

    /// The public root key.
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// The key set in force.
    pub fn set(&self) -> Option<&KeySet> {
        self.set.as_ref()
    }

    /// What needs somebody's attention, in words.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warning.iter().chain(&self.own_warning).map(String::as_str)
    }

    /// Takes a key set: by the root key, and newer than any that was in force here. The same again is taken where none is in force.
    ///
    /// # Errors
    /// [`KeySetError`]; the set in force stays.
    pub fn take(&mut self, json: &str, signature: &str) -> Result<&KeySet, KeySetError> {
        let root = self.root.as_ref().ok_or(KeySetError::NoRoot)?;
        let parsed = Signature::read(signature).map_err(|_| KeySetError::NotByRoot)?;
        let least = self.highest(root) + u64::from(self.set.is_some());
        let set = KeySet::accept(json.as_bytes(), &parsed, root, least)?;
        let bundle = Bundle { set: json.to_owned(), signature: signature.to_owned() };
        let mut highest = self.highest.clone();
        highest.insert(root.clone(), set.serial);
        durable::replace(&self.state.join(SET), &serde_json::to_vec(&bundle)?)?;
        // A power loss in between costs nothing: the set that is kept says its serial itself.
        durable::replace(&self.state.join(SERIALS), &serde_json::to_vec(&highest)?)?;
        (self.highest, self.warning) = (highest, None);
        Ok(self.set.insert(set))
    }

    /// What can be said of the signatures before the list has come. `local` says that root on this box pushes it.
    ///
    /// # Errors
    /// As [`KeySet::foresee`].
    pub fn foresee(&self, signatures: &[Signature], local: bool) -> Result<(), Refusal> {
        match (signatures.first(), &self.set) {
            (None, _) if local => Ok(()),
            (None, _) => Err(Refusal::Unsigned),
            (Some(first), None) => Err(Refusal::UnknownKey { key: first.key().to_owned() }),
            (Some(_), Some(set)) => set.foresee(signatures).map(drop),
        }
    }

    /// Whether an arriving list may be taken with these signatures. Gives those to keep with it.
    ///
    /// # Errors
    /// As [`KeySet::admit`].
    pub fn admit(&mut self, arriving: &Arriving<'_>, signatures: &[Signature], local: bool) -> Result<Vec<Kept>, Refusal> {
        self.foresee(signatures, local)?;
        let Arriving { list, file, sha256, in_force } = arriving;
        match &self.set {
            _ if signatures.is_empty() => {
                if self.set.as_ref().is_some_and(|set| set.speaks_of(&list.manifest().id)) {
                    return Err(Refusal::Unsigned);
                }
                Ok(vec![self.sign(list, file, *sha256)?])
            }
            Some(set) => {
                let counting = set.admit(list, file, *sha256, signatures, in_force.map(|list| &**list))?;
                Ok(counting.into_iter().map(|place| kept(&signatures[place])).collect())
            }
            None => Err(Refusal::UnknownKey { key: signatures[0].key().to_owned() }),
        }
    }

    /// Whether a list from the store is what was taken: its signatures fit. Gives signatures to add, for one from before there were any.
    ///
    /// # Errors
    /// The list is not to be served.
    pub fn vouch(&mut self, list: &List, file: &File, signatures: &[Kept]) -> Result<Vec<Kept>, Refusal> {
        let sha256 = sha256(file)?;
        if signatures.is_empty() && self.adopting {
            return Ok(vec![self.sign(list, file, sha256)?]);
        }
        let read = signatures.iter().map(|kept| Signature::read(&kept.text)).collect::<Result<Vec<_>, _>>()?;
        let own = self.own_public.as_ref().and_then(|own| PublicKey::from_base64(own).ok());
        let by_own = own.as_ref().and_then(|own| read.iter().find(|signature| signature.key() == key_id(own.keynum())));
        if let (Some(own), Some(by_own)) = (&own, by_own) {
            let fits = by_own.check(own, file)? == Comment::with(list, sha256).to_string();
            return if fits { Ok(Vec::new()) } else { Err(Refusal::BadSignature { key: by_own.key().to_owned() }) };
        }
        match (&self.set, read.first()) {
            (None, Some(first)) => Err(Refusal::UnknownKey { key: first.key().to_owned() }),
            (None, None) => Err(Refusal::Unsigned),
            (Some(set), _) => set.still_fits(list, file, sha256, &read).map(|()| Vec::new()),
        }
    }

    /// Those of the signers that have been revoked since, where no other is left.
    pub fn revoked(&self, signers: &[String]) -> bool {
        let is_revoked = |id: &String| self.set.iter().flat_map(|set| &set.keys).any(|key| key.revoked.is_some() && key.id() == *id);
        !signers.is_empty() && signers.iter().all(is_revoked)
    }

    fn sign(&mut self, list: &List, file: &File, sha256: [u8; 32]) -> Result<Kept, Refusal> {
        let own = match self.own.take() {
            Some(own) => own,
            None => box_key(&self.state.join(OWN)).map_err(Refusal::from)?,
        };
        let own = self.own.insert(own);
        // The first list that a key signs brings its public half with it.
        if self.own_public.as_ref() != Some(&own.public()) || !self.state.join(OWN_PUBLIC).exists() {
            durable::replace(&self.state.join(OWN_PUBLIC), own.public().as_bytes())?;
            (self.own_public, self.own_warning) = (Some(own.public()), None);
        }
        Ok(kept(&own.sign_with(file, &Comment::with(list, sha256).to_string()).map_err(Refusal::from)?))
    }
}

fn kept(signature: &Signature) -> Kept {
    Kept { key: signature.key().to_owned(), text: signature.text().to_owned() }
}
