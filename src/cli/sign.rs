//! Signing list files, and finding the signatures that lie beside one.
//!
//! The first signature of `FILE` is `FILE.minisig`, where minisign looks for it; those of further keys are `FILE.KEYID.minisig`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Failure;
use crate::blocklist::List;
use crate::blocklist::signature::{MAX_SIGNATURE, MAX_SIGNATURES, Signature, Signer};

/// Signs the list with each of the keys.
pub(super) fn sign(path: &Path, keys: &[PathBuf], password: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    let list = List::open(path).with_context(|| path.display().to_string())?;
    list.verify().with_context(|| path.display().to_string())?;
    let file = File::open(path)?;
    let password =
        password.map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))).transpose()?;
    for key in keys {
        let password = password.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
        let signer = Signer::open(key, password).with_context(|| format!("cannot sign with {}", key.display()))?;
        let signature = signer.sign(&list, &file).map_err(anyhow::Error::from)?;
        let place = place(path, &signature)?;
        std::fs::write(&place, signature.text()).with_context(|| format!("cannot write {}", place.display()))?;
        writeln!(out, "{}: signed by key {}", place.display(), signer.key())?;
    }
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn place(path: &Path, signature: &Signature) -> Result<PathBuf, Failure> {
    let first = beside(path, ".minisig");
    let free = match read(&first) {
        Ok(text) => Signature::read(&text).is_ok_and(|there| there.key() == signature.key()),
        Err(_) => !first.exists(),
    };
    Ok(if free { first } else { beside(path, &format!(".{}.minisig", signature.key())) })
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(File::open(path)?, MAX_SIGNATURE as u64 + 1), &mut text)?;
    Ok(text)
}

/// The files with signatures of `path`, in order.
fn found(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let rest = entry.file_name().to_str().and_then(|n| n.strip_prefix(&name)).map(str::to_owned);
        let middle = rest.as_deref().and_then(|rest| rest.strip_suffix(".minisig"));
        // A key id between dots, or nothing: `list.plist.minisig` is no signature of `list`.
        if middle.is_some_and(|m| m.is_empty() || m.strip_prefix('.').is_some_and(|id| id.len() == 16 && !id.contains('.'))) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The signatures beside a list, as text.
pub(super) fn signatures(path: &Path) -> anyhow::Result<Vec<String>> {
    let paths = found(path)?;
    anyhow::ensure!(paths.len() <= MAX_SIGNATURES, "{} has more than {MAX_SIGNATURES} signatures", path.display());
    paths.iter().map(|path| read(path).with_context(|| format!("cannot read {}", path.display()))).collect()
}

/// Removes the signatures of a list that has been built anew: they speak of what was there before.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    for old in found(path)? {
        std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}
