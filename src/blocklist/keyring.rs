//! The curator's folder: the root key, and the key set that it signs. It is kept off the network; boxes are given copies of the set.
//!
//! ```text
//! root.key            the root key: whoever has it decides whose lists count
//! root.pub            its public half, for the configuration of the boxes and for `minisign -p`
//! keys.json           the key set, a new serial with every change
//! keys.json.minisig   the root key's signature over it
//! ```
//! A copy of the folder is a folder: that is what a backup is.
#![allow(clippy::disallowed_methods, reason = "keys are files")]

use std::fs;
use std::io::{self, Cursor};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::durable;
use super::keys::{KeySet, KeySetError};
use super::signature::{Signature, Signer, SignerError};

/// Name of the root key's file.
pub const ROOT: &str = "root.key";
/// Name of its public half.
pub const ROOT_PUBLIC: &str = "root.pub";
/// Name of the key set.
pub const SET: &str = "keys.json";
/// Name of its signature.
pub const SET_SIGNATURE: &str = "keys.json.minisig";

/// Why a folder of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is a root key already.
    #[error("{} has a root key already\nhint: use it, or choose another folder; the boxes that trust it know no other", .0.display())]
    There(PathBuf),
    /// There is none.
    #[error("{} holds no key set\nhint: make one with `postern keys init`", .0.display())]
    Missing(PathBuf),
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The root key.
    #[error("the root key cannot be used: {0}")]
    Root(#[from] SignerError),
    /// The set.
    #[error(transparent)]
    Set(#[from] KeySetError),
    /// No key of the set has this id or owner.
    #[error("no key {0} is in the set that is not revoked\nhint: `postern keys list` shows them")]
    NoSuchKey(String),
    /// What was written does not read back.
    #[error("{} does not read back as it was written", .0.display())]
    BadCopy(PathBuf),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::Io { path, source }
}

/// A folder with a root key and its key set.
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
    /// The set as it stands.
    pub set: KeySet,
}

impl Keyring {
    /// A new root key with an empty set, of which `needed` keys are to sign each list.
    ///
    /// # Errors
    /// [`KeyringError`]; a root key that is there is never replaced.
    pub fn create(folder: &Path, needed: usize) -> Result<Keyring, KeyringError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let path = folder.join(ROOT);
        if path.exists() {
            return Err(KeyringError::There(folder.to_owned()));
        }
        let set = KeySet::new(1, needed, Vec::new())?;
        let root = Signer::create(&path)?;
        let public = folder.join(ROOT_PUBLIC);
        durable::replace(&public, root.public_file()?.as_bytes()).map_err(at(&public))?;
        let keyring = Keyring { folder: folder.to_owned(), set };
        keyring.write(&root)?;
        Ok(keyring)
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn open(folder: &Path) -> Result<Keyring, KeyringError> {
        let path = folder.join(SET);
        match fs::read(&path) {
            Ok(json) => Ok(Keyring { folder: folder.to_owned(), set: KeySet::read(&json)? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyringError::Missing(folder.to_owned())),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// The root key.
    ///
    /// # Errors
    /// [`KeyringError::Root`].
    pub fn root(&self) -> Result<Signer, KeyringError> {
        Ok(Signer::open(&self.folder.join(ROOT), None)?)
    }

    /// The set and its signature, as a box takes them.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn signed(&self) -> Result<(Vec<u8>, String), KeyringError> {
        let (set, signature) = (self.folder.join(SET), self.folder.join(SET_SIGNATURE));
        Ok((fs::read(&set).map_err(at(&set))?, fs::read_to_string(&signature).map_err(at(&signature))?))
    }

    /// Changes the set: the next serial, signed by the root key. The root key is not needed for anything else.
    ///
    /// # Errors
    /// [`KeyringError`]; the set stays as it was.
    pub fn change(&mut self, change: impl FnOnce(&mut KeySet) -> Result<(), KeyringError>) -> Result<(), KeyringError> {
        let mut next = self.set.clone();
        change(&mut next)?;
        let root = self.root()?;
        self.set = KeySet::new(self.set.serial + 1, next.needed, next.keys)?;
        self.write(&root)
    }

    /// Revokes a key by its id or owner, for ever.
    ///
    /// # Errors
    /// [`KeyringError`], also where fewer keys than are needed would be left.
    pub fn revoke(&mut self, key: &str, why: &str, needed: Option<usize>) -> Result<(), KeyringError> {
        self.change(|set| {
            let mut found = false;
            for known in set.keys.iter_mut().filter(|k| k.revoked.is_none() && (k.id() == key || k.owner == key)) {
                (known.revoked, found) = (Some(why.to_owned()), true);
            }
            set.needed = needed.unwrap_or(set.needed);
            if found { Ok(()) } else { Err(KeyringError::NoSuchKey(key.to_owned())) }
        })
    }

    /// Copies everything to a new folder and proves that the copy can do what this one can. Gives the number of files.
    ///
    /// # Errors
    /// [`KeyringError`], also where `to` has keys already.
    pub fn backup(&self, to: &Path) -> Result<usize, KeyringError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(at(to))?;
        if to.join(ROOT).exists() {
            return Err(KeyringError::There(to.to_owned()));
        }
        let mut copied = 0;
        for entry in fs::read_dir(&self.folder).map_err(at(&self.folder))? {
            let path = entry.map_err(at(&self.folder))?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                let copy = to.join(name);
                let octets = fs::read(&path).map_err(at(&path))?;
                durable::replace(&copy, &octets).map_err(at(&copy))?;
                if fs::read(&copy).map_err(at(&copy))? != octets {
                    return Err(KeyringError::BadCopy(copy));
                }
                copied += 1;
            }
        }
        let copy = Keyring::open(to)?;
        let (json, signature) = copy.signed()?;
        let bad = || KeyringError::BadCopy(to.to_owned());
        let signature = Signature::read(&signature).map_err(|_| bad())?;
        KeySet::accept(&json, &signature, &copy.root()?.public(), self.set.serial).map_err(|_| bad())?;
        Ok(copied)
    }

    /// Writes set and signature. A box refuses the two if the power goes in between; the next change sets it right.
    fn write(&self, root: &Signer) -> Result<(), KeyringError> {
        let json = self.set.to_json()?;
        let signature = root.sign_with(Cursor::new(&json), &self.set.comment())?;
        for (name, octets) in [(SET, &json[..]), (SET_SIGNATURE, signature.text().as_bytes())] {
            let path = self.folder.join(name);
            durable::replace(&path, octets).map_err(at(&path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::keys::Key;
    use crate::blocklist::scratch::Scratch;

    fn key(owner: &str) -> Key {
        let public = Signer::generate().unwrap().public();
        let lists = vec!["scam".into()];
        Key { public, owner: owner.into(), lists, may_block: true, may_allow: false, largest_change_percent: None, revoked: None }
    }

    /// Makes these the keys of the set, all of them needed.
    fn hold(keyring: &mut Keyring, owners: &[&str]) {
        let change = |set: &mut KeySet| {
            (set.keys, set.needed) = (owners.iter().map(|owner| key(owner)).collect(), owners.len());
            Ok(())
        };
        keyring.change(change).unwrap();
    }

    #[test]
    fn each_change_is_a_new_serial_under_the_root_key() {
        let scratch = Scratch::new();
        let mut keyring = Keyring::create(scratch.path(), 1).unwrap();
        assert!(matches!(Keyring::create(scratch.path(), 1), Err(KeyringError::There(_))), "a root key is never replaced");
        hold(&mut keyring, &["ann"]);
        let again = Keyring::open(scratch.path()).unwrap();
        assert_eq!((again.set.serial, &again.set.keys[0].owner[..]), (2, "ann"));
        let (json, signature) = again.signed().unwrap();
        KeySet::accept(&json, &Signature::read(&signature).unwrap(), &again.root().unwrap().public(), 2).unwrap();
    }

    #[test]
    fn revoking_leaves_as_many_keys_as_are_needed_or_nothing_changes() {
        let scratch = Scratch::new();
        let mut keyring = Keyring::create(scratch.path(), 1).unwrap();
        hold(&mut keyring, &["ann"]);
        hold(&mut keyring, &["ann", "ben"]);
        assert!(matches!(keyring.revoke("ann", "stolen", None), Err(KeyringError::Set(KeySetError::Needed { needed: 2, there: 1 }))));
        assert_eq!(Keyring::open(scratch.path()).unwrap().set.serial, 3);
        keyring.revoke("ann", "stolen", Some(1)).unwrap();
        assert!(matches!(keyring.revoke("ann", "again", None), Err(KeyringError::NoSuchKey(_))));
        assert_eq!(keyring.set.keys[0].revoked.as_deref(), Some("stolen"));
    }

    #[test]
    fn a_backup_can_do_all_that_the_folder_could() {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let keyring = Keyring::create(scratch.path(), 1).unwrap();
        assert_eq!(keyring.backup(&other.file("copy")).unwrap(), 4);
        let mut copy = Keyring::open(&other.file("copy")).unwrap();
        hold(&mut copy, &["ann"]);
        assert_eq!(copy.root().unwrap().public(), keyring.root().unwrap().public());
        assert!(matches!(copy.backup(scratch.path()), Err(KeyringError::There(_))), "a backup overwrites no keys");
        fs::write(scratch.file(SET), "{}").unwrap();
        assert!(Keyring::open(scratch.path()).is_err());
    }
}
