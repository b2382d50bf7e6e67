//! One daemon for each state directory: a locked file that names the process.
//!
//! The lock belongs to the open file (flock) and ends with the process however it ends, so a file that is left behind is harmless.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why the state directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{folder} is in use by another postern, process {pid}\nhint: stop it with `kill {pid}`, or give this one its own state_dir")]
    Held {
        /// The state directory.
        folder: PathBuf,
        /// Its process, as the file says.
        pid: String,
    },
    /// The file cannot be made or locked.
    #[error("the lock {path} cannot be taken: {source}\nhint: check who owns the state directory")]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Takes the lock of a state directory, or says who has it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(folder: &Path) -> Result<Lock, LockError> {
        let path = folder.join("lock");
        let broken = |source| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(broken)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may be writing it just now: then the file is empty, and it is held all the same.
                let _ = file.take(20).read_to_string(&mut pid);
                let pid = Some(pid.trim().to_owned()).filter(|p| !p.is_empty()).unwrap_or_else(|| "unknown".into());
                return Err(LockError::Held { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(broken(source)),
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(broken)?;
        Ok(Lock(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_and_a_left_over_file_is_no_lock() {
        let folder = std::env::temp_dir().join(format!("postern-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let held = Lock::take(&folder).unwrap();
        let refused = Lock::take(&folder).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}\nhint: stop it", std::process::id())), "{refused}");
        drop(held);
        drop(Lock::take(&folder).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
