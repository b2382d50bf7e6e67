//! One small file of state: there whole or not at all, with the number of its format.
//!
//! A file that makes no sense neither stops the start nor is written over: it is put aside and reported.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blocklist::durable;

/// What such a file holds.
#[derive(Serialize, Deserialize)]
struct Form<T> {
    version: u32,
    kept: T,
}

/// The format written here; a higher one is from a later release.
const VERSION: u32 = 1;

/// A value and its file.
#[derive(Debug)]
pub(super) struct Kept<T> {
    path: PathBuf,
    value: T,
    damaged: Option<String>,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Kept<T> {
    /// Reads the file; without one the value is the default.
    ///
    /// # Errors
    /// Where the file is there and cannot be read or put aside.
    pub(super) fn open(path: &Path) -> io::Result<Kept<T>> {
        let mut kept = Kept { path: path.to_owned(), value: T::default(), damaged: None };
        let octets = match std::fs::read(path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Form<T>>(&octets) {
            Ok(form) if form.version <= VERSION => kept.value = form.kept,
            other => {
                let why = other.map_or_else(|error| error.to_string(), |form| format!("format {} is not known", form.version));
                let aside = path.with_extension("damaged");
                std::fs::rename(path, &aside)?;
                kept.damaged = Some(format!("{} cannot be read ({why}); put aside as {}", path.display(), aside.display()));
            }
        }
        Ok(kept)
    }

    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// What was wrong with the file at the start.
    pub(super) fn damaged(&self) -> Option<&str> {
        self.damaged.as_deref()
    }

    /// Takes a new value, once it is on the disk.
    ///
    /// # Errors
    /// The file cannot be written; the value is the old one then.
    pub(super) fn keep(&mut self, value: T) -> io::Result<()> {
        durable::replace(&self.path, &serde_json::to_vec_pretty(&Form { version: VERSION, kept: &value })?)?;
        self.value = value;
        Ok(())
    }

    /// Takes a new value, on the disk if that is possible.
    ///
    /// # Errors
    /// The file cannot be written; the new value holds until the end of this run.
    pub(super) fn keep_at_least_here(&mut self, value: T) -> io::Result<()> {
        self.value = value.clone();
        self.keep(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::scratch::Scratch;

    #[test]
    fn a_value_survives_and_a_damaged_file_is_put_aside() {
        let folder = Scratch::new();
        let path = folder.file("numbers.json");
        let mut kept = Kept::<Vec<u32>>::open(&path).unwrap();
        assert!(kept.value().is_empty() && kept.damaged().is_none());
        kept.keep(vec![1, 2]).unwrap();
        assert_eq!(Kept::<Vec<u32>>::open(&path).unwrap().value(), &[1, 2]);
        for nonsense in ["{\"version\":1,\"kept\":[1,", "{\"version\":2,\"kept\":[1]}", ""] {
            std::fs::write(&path, nonsense).unwrap();
            let kept = Kept::<Vec<u32>>::open(&path).unwrap();
            assert!(kept.value().is_empty() && kept.damaged().unwrap().contains("numbers.damaged"), "{nonsense}");
            assert_eq!(std::fs::read_to_string(folder.file("numbers.damaged")).unwrap(), nonsense);
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_kept_unless_that_is_said() {
        let folder = Scratch::new();
        let path = folder.file("gone/numbers.json");
        let mut kept = Kept::<Vec<u32>>::open(&path).unwrap();
        assert!(kept.keep(vec![1]).is_err() && kept.value().is_empty());
        assert!(kept.keep_at_least_here(vec![1]).is_err());
        assert_eq!(kept.value(), &[1]);
    }
}
