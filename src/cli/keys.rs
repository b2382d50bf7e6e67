//! `postern keys …`: the curator's folder of keys, and the key set that boxes are given.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::Context as _;

use super::args::{KeysAdd, KeysVerb};
use super::{Failure, daemon, render};
use crate::blocklist::build::is_id;
use crate::blocklist::keyring::{self, Keyring};
use crate::blocklist::keys::{Key, KeySet};
use crate::blocklist::signature::{Signer, public_key};
use crate::control::api::{Keys, Reply, Request};

pub(super) fn run(socket: Option<&Path>, verb: KeysVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        KeysVerb::Init { folder, needed } => init(&folder, needed, out),
        KeysVerb::Add(arguments) => add(*arguments, out),
        KeysVerb::Revoke { folder, key, why, needed } => {
            let mut keyring = Keyring::open(&folder)?;
            keyring.revoke(&key, &why, needed)?;
            writeln!(out, "{key} is revoked: {why}")?;
            next(&folder, &keyring.set, out)
        }
        KeysVerb::Backup { folder, to } => {
            let copied = Keyring::open(&folder)?.backup(&to)?;
            Ok(writeln!(out, "{copied} files copied to {} and read back: it can do all that {} can", to.display(), folder.display())?)
        }
        KeysVerb::Push { folder } => {
            let (set, signature) = Keyring::open(&folder)?.signed()?;
            let request = Request::KeysPush { octets: set.len() as u64, signature };
            match daemon::ask_with(socket, &request, &mut Cursor::new(set))? {
                Reply::Done { said } => Ok(writeln!(out, "{said}")?),
                other => Err(daemon::unexpected(&other)),
            }
        }
        KeysVerb::List { folder: Some(folder), json } => {
            let set = Keyring::open(&folder)?.set;
            if json {
                return render::json(out, &serde_json::to_value(&set).map_err(anyhow::Error::from)?);
            }
            show(&set, out)
        }
        KeysVerb::List { folder: None, json } => match daemon::ask(socket, &Request::Keys)? {
            Reply::Keys(keys) if json => render::json(out, &serde_json::to_value(&keys).map_err(anyhow::Error::from)?),
            Reply::Keys(keys) => show_box(&keys, out),
            other => Err(daemon::unexpected(&other)),
        },
    }
}

fn init(folder: &Path, needed: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let keyring = Keyring::create(folder, needed)?;
    let root = keyring.root()?;
    writeln!(out, "root key {} made in {}", root.key(), folder.join(keyring::ROOT).display())?;
    writeln!(out, "Keep this folder off the network and make a copy: `postern keys backup {} FOLDER`.", folder.display())?;
    writeln!(out, "In the configuration of each box:\n\n[trust]\nroot_key = \"{}\"", root.public())?;
    Ok(())
}

fn add(arguments: KeysAdd, out: &mut dyn Write) -> Result<(), Failure> {
    let KeysAdd { folder, owner, lists, new, public, no_block, allow, largest_change, needed } = arguments;
    if let Some(bad) = lists.iter().find(|list| !is_id(list)) {
        return Err(Failure::Usage(format!("{bad:?} is no list id\nhint: give the --id that the list is built with")));
    }
    let mut keyring = Keyring::open(&folder)?;
    let (public, made) = match (new, public) {
        (Some(path), _) => {
            let signer = Signer::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            let half = path.with_extension("pub");
            std::fs::write(&half, signer.public_file()?).with_context(|| format!("cannot write {}", half.display()))?;
            (signer.public(), Some(path))
        }
        (None, Some(word)) => (read_public(&word)?, None),
        (None, None) => return Err(Failure::Usage("no key is given\nhint: --new FILE makes one, --public takes one that is there".into())),
    };
    let key = Key { public, owner, lists, may_block: !no_block, may_allow: allow, largest_change_percent: largest_change, revoked: None };
    let id = key.id();
    keyring.change(|set| {
        set.needed = needed.unwrap_or(set.needed);
        set.keys.push(key);
        Ok(())
    })?;
    match made {
        Some(path) => writeln!(out, "key {id} made in {}: give it to its owner", path.display())?,
        None => writeln!(out, "key {id} added")?,
    }
    next(&folder, &keyring.set, out)
}

fn next(folder: &Path, set: &KeySet, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(writeln!(out, "key set {} waits in {}: `postern keys push {}` on each box", set.serial, folder.display(), folder.display())?)
}

/// A public key as it stands, or the last line of the file that holds it.
fn read_public(word: &str) -> Result<String, Failure> {
    let text = if public_key(word).is_some() {
        word.to_owned()
    } else {
        let text = std::fs::read_to_string(word).with_context(|| format!("{word} is neither a public key nor a file that can be read"))?;
        text.lines().last().unwrap_or_default().trim().to_owned()
    };
    match public_key(&text) {
        Some(_) => Ok(text),
        None => Err(Failure::Usage(format!("{word} holds no public key\nhint: give the .pub file that minisign or `postern keys` made"))),
    }
}

fn show_box(keys: &Keys, out: &mut dyn Write) -> Result<(), Failure> {
    match &keys.root {
        Some(root) => writeln!(out, "root key {root}")?,
        None => writeln!(out, "no root key: only root on this box can push lists (trust.root_key names one)")?,
    }
    match &keys.set {
        Some(set) => show(set, out),
        None if keys.root.is_some() => Ok(writeln!(out, "no key set yet: `postern keys push FOLDER` gives one")?),
        None => Ok(()),
    }
}

fn show(set: &KeySet, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "key set {}: {} of its keys must sign each list", set.serial, set.needed)?;
    for key in &set.keys {
        let mut rights = Vec::new();
        rights.extend(key.may_block.then(|| "block".to_owned()));
        rights.extend(key.may_allow.then(|| "allow".to_owned()));
        rights.extend(key.largest_change_percent.map(|percent| format!("change {percent} % at once")));
        let rights = if rights.is_empty() { "nothing".into() } else { rights.join(", ") };
        let revoked = key.revoked.as_ref().map(|why| format!(" REVOKED: {why}")).unwrap_or_default();
        writeln!(out, "{} {} for {}; may {rights}{revoked}", key.id(), key.owner, key.lists.join(", "))?;
    }
    Ok(())
}
