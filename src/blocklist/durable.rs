//! Small files that are there whole or not at all, also after a power loss.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// End of the name of a file that is being written. Found at start, it is left over from a crash and goes.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Replaces `path` by a file with these octets (mode 0600): written beside it, synced, renamed, and the directory synced.
///
/// # Errors
/// What the file system says; `path` is then as it was.
pub(crate) fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(UNFINISHED);
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(path)
}

/// Syncs the directory that `path` lies in, so that a rename in it survives a power loss.
///
/// # Errors
/// What the file system says.
#[allow(clippy::disallowed_methods, reason = "a directory is opened to be synced")]
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
