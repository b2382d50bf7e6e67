//! Lists and directories for tests.
#![allow(clippy::disallowed_methods, reason = "tests write files")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::build::{Options, Report, Source, build};
use super::parse::Reading;
use super::{List, Protected};

/// A directory that is gone when the test is.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("postern-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds `texts` into `path` without any protection but public suffixes.
pub(crate) fn build_texts(path: &Path, texts: &[(&str, Reading)], change: impl FnOnce(&mut Options)) -> Report {
    let mut options = Options { protected: Protected::default(), ..Options::new("test", 1, 1_700_000_000) };
    change(&mut options);
    let source = |(i, (text, reading)): (usize, &(&str, Reading))| Source {
        name: format!("source{i}"),
        text: Box::new(std::io::Cursor::new((*text).to_owned())),
        reading: *reading,
    };
    build(texts.iter().enumerate().map(source).collect(), &options, path, &mut |_| ()).unwrap()
}

/// An open list of `text`.
pub(crate) fn list(scratch: &Scratch, id: &str, text: &str, reading: Reading) -> List {
    let path = scratch.file(&format!("{id}.plist"));
    build_texts(&path, &[(text, reading)], |o| o.id = id.to_owned());
    List::open(&path).unwrap()
}
