//! The planted defects of `tests/mutants` still fit the code: each text occurs exactly once, and the test that must find it exists.
//! Planting them is the work of `tests/mutants/run`.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::path::{Path, PathBuf};

/// The defects that the project promises to plant at least.
const AT_LEAST: usize = 40;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn all_sources(directory: &Path, out: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            all_sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&read(&path));
        }
    }
}

#[test]
fn every_mutant_fits_the_code() {
    let mut sources = String::new();
    all_sources(&root().join("src"), &mut sources);
    all_sources(&root().join("tests"), &mut sources);
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "mutant") {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = read(&path);
        let field =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{name} has no {key}")).trim();
        let (head, change) = text.split_once("--- old\n").unwrap_or_else(|| panic!("{name} has no old text"));
        let (old, new) = change.split_once("--- new\n").unwrap_or_else(|| panic!("{name} has no new text"));
        assert!(head.lines().any(|line| line.starts_with("# ") && line.len() > 12), "{name} does not say what the defect is");
        assert_ne!(old, new, "{name} changes nothing");
        let file = read(&root().join(field("file:")));
        assert_eq!(file.matches(old).count(), 1, "{name}: the old text must occur exactly once in {}", field("file:"));
        let test = field("test:").rsplit([' ', ':']).next().unwrap();
        assert!(sources.contains(&format!("fn {test}(")), "{name}: no test is named {test}");
    }
    assert!(count >= AT_LEAST, "{count} mutants");
}
