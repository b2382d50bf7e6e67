//! Which module may import which: the arrows of ARCHITECTURE.md, held by reading the sources.
//!
//! Every path that starts at `crate::` or climbs there by `super::` counts, in tests as well. A room decides and never imports the
//! shell (sockets, files, threads, configuration, telemetry); the shell may import every room. A new module needs a row here.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room and all that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("guard", &["wire"]),
    ("blocklist", &["wire"]),
    ("policy", &["wire", "blocklist"]),
    ("validate", &["wire"]),
    ("cache", &["wire", "validate"]),
    ("resolve", &["wire", "cache", "validate"]),
    ("respond", &["wire", "resolve", "validate", "policy"]),
];

/// Parts of the shell that are narrower than the rest.
const NARROW: &[(&str, &[&str])] = &[
    ("sys", &["wire"]),
    ("telemetry", &["wire", "validate", "resolve", "policy", "blocklist", "cache", "guard"]),
    ("lab", &["wire"]),
    ("sensor", &["wire", "guard", "blocklist", "sys"]),
    ("plugin", &["wire", "policy", "resolve", "respond", "cache", "blocklist"]),
];

/// The shell: may import every room and the rest of the shell, but the miniature internet only where `LAB_USERS` says.
const SHELL: &[&str] = &["listen", "outbound", "app", "control", "config", "cli"];

/// Files that may import the miniature internet.
const LAB_USERS: &[&str] = &["src/cli/demo.rs", "src/cli/demo/"];

/// Why a module must not import another; `None` where it may.
fn objection(file: &str, from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    let known = |name: &str| ROOMS.iter().chain(NARROW).any(|(room, _)| *room == name) || SHELL.contains(&name);
    if !known(to) {
        // `crate::Item`, or a module without a row; the latter is found by `every_module_has_a_row`.
        return None;
    }
    if let Some((_, allowed)) = ROOMS.iter().chain(NARROW).find(|(room, _)| *room == from) {
        let arrows = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
        return (!allowed.contains(&to)).then(|| format!("{file}: {from} imports {to}, but may import only {arrows}"));
    }
    if to == "lab" && !LAB_USERS.iter().any(|user| file.starts_with(user)) {
        return Some(format!("{file}: only the demo command may import the miniature internet"));
    }
    None
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Path,
    Open,
    Close,
    Comma,
    Other,
}

/// Rust source as far as paths need it: comments, strings and character literals are gone.
fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while at < bytes.len() {
        let rest = &source[at..];
        let byte = bytes[at];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("r\"") || rest.starts_with("r#") || rest.starts_with("br\"") || rest.starts_with("br#") {
            let hashes = rest.trim_start_matches(['b', 'r']).bytes().take_while(|&b| b == b'#').count();
            let body = at + rest.find(['"', '\n']).unwrap_or(0);
            if bytes.get(body) != Some(&b'"') {
                at += 2; // r#keyword
                continue;
            }
            let close = format!("\"{}", "#".repeat(hashes));
            at = body + 1 + source[body + 1..].find(&close).map_or(source.len(), |end| end + close.len());
        } else if byte == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if byte == b'\'' {
            // A character ('x', '\n', '\u{1f}') or a lifetime ('a).
            let body = &rest[1..];
            let length =
                if body.starts_with('\\') { 2 + body[2..].find('\'').unwrap_or(0) } else { body.chars().next().map_or(0, char::len_utf8) };
            at += if body[length.min(body.len())..].starts_with('\'') { length + 2 } else { 1 };
        } else if is_word(byte) {
            let length = rest.bytes().take_while(|&b| is_word(b)).count();
            out.push(Token::Word(rest[..length].to_owned()));
            at += length;
        } else {
            out.push(match byte {
                b':' if rest.starts_with("::") => {
                    at += 1;
                    Token::Path
                }
                b'{' => Token::Open,
                b'}' => Token::Close,
                b',' => Token::Comma,
                _ => Token::Other,
            });
            at += rest.chars().next().map_or(1, char::len_utf8);
            if byte.is_ascii_whitespace() {
                out.pop();
            }
        }
    }
    out
}

/// The modules at the top of the crate that `source` names; `depth` is how deep its own module lies (`crate` is 0).
fn imports(source: &str, depth: usize) -> BTreeSet<String> {
    let tokens = tokens(source);
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(word.as_str()),
        _ => None,
    };
    let mut found = BTreeSet::new();
    let mut braces = 0;
    let mut inline_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Open => {
                braces += 1;
                if at >= 2 && word(at - 2) == Some("mod") {
                    inline_modules.push(braces);
                }
            }
            Token::Close => {
                if inline_modules.last() == Some(&braces) {
                    inline_modules.pop();
                }
                braces -= 1;
            }
            Token::Word(first) if (first == "crate" || first == "super") && tokens.get(at + 1) == Some(&Token::Path) => {
                let mut level = if first == "crate" { 0 } else { (depth + inline_modules.len()).saturating_sub(1) };
                at += 2;
                while word(at) == Some("super") && tokens.get(at + 1) == Some(&Token::Path) {
                    level = level.saturating_sub(1);
                    at += 2;
                }
                if level > 0 {
                    continue;
                }
                if let Some(name) = word(at) {
                    found.insert(name.to_owned());
                } else if tokens.get(at) == Some(&Token::Open) {
                    // crate::{a::b, c}: the first word behind the brace and behind every comma of this level.
                    let mut level = 1;
                    let mut first = true;
                    at += 1;
                    while at < tokens.len() && level > 0 {
                        match &tokens[at] {
                            Token::Open => level += 1,
                            Token::Close => level -= 1,
                            Token::Comma if level == 1 => first = true,
                            Token::Word(name) if first => {
                                found.insert(name.clone());
                                first = false;
                            }
                            _ => {}
                        }
                        at += 1;
                    }
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Every source file: its path below the package, its top module and its depth in the module tree.
fn files() -> Vec<(String, String, usize)> {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let module: Vec<&str> =
                file.trim_start_matches("src/").trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
            let depth = if module == ["lib"] || module == ["main"] { 0 } else { module.len() };
            (file.clone(), module[0].to_owned(), depth)
        })
        .collect()
}

#[test]
fn every_import_follows_an_arrow() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, module, depth) in files() {
        if depth == 0 {
            continue;
        }
        for import in imports(&std::fs::read_to_string(root().join(&file)).unwrap(), depth) {
            seen += 1;
            wrong.extend(objection(&file, &module, &import));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 10, "the reader found {seen} imports: it does not read");
}

#[test]
fn every_module_has_a_row() {
    for (file, module, depth) in files() {
        let known = ROOMS.iter().chain(NARROW).any(|(room, _)| *room == module) || SHELL.contains(&module.as_str());
        assert!(known || depth == 0, "{file}: {module} has no row in tests/layers.rs");
    }
}

#[test]
fn the_architecture_page_shows_these_arrows_and_files_that_exist() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap().replace("\n  ", " ");
    let exists = |module: &str| root().join("src").join(module).exists() || root().join(format!("src/{module}.rs")).exists();
    for (room, allowed) in ROOMS.iter().chain(NARROW).filter(|(room, _)| exists(room)) {
        let arrows = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
        assert!(page.contains(&format!("**`{room}`** [-> {arrows}]")), "ARCHITECTURE.md does not say: {room} [-> {arrows}]");
    }
    for module in SHELL.iter().filter(|module| exists(module)) {
        assert!(page.contains(&format!("**`{module}`**")), "ARCHITECTURE.md does not name {module}");
    }
    let (_, card) = page.split_once("## The card").unwrap();
    let rows: Vec<&str> = card.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    for row in &rows {
        let file = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        assert!(root().join(file).exists(), "ARCHITECTURE.md: {file} does not exist");
    }
    assert!(rows.len() > 10);
}

#[test]
fn the_table_has_no_circle() {
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for import in *allowed {
            let place = ROOMS.iter().position(|(other, _)| other == import);
            assert!(place.is_some_and(|place| place < index), "{room} -> {import} points up");
        }
    }
}

#[test]
fn the_reader_sees_wrong_arrows_however_they_are_written() {
    for source in [
        "use crate::listen::Worker;",
        "use crate::{wire::Name, listen};",
        "use crate::{wire::{Name, Rcode}, listen::udp};",
        "pub(crate) use super::super::listen;",
        "fn f() { let _ = crate::listen::start(); }",
        "mod tests { use super::super::super::listen; }",
        "fn f<'a>(x: &'a str) -> char { crate::listen::f(); '\"' }",
        "const C: char = '\\''; use crate::listen;",
        "const S: &str = r#\"a \"quoted\" word\"#; use crate::listen;",
    ] {
        assert!(imports(source, 2).contains("listen"), "{source}");
    }
    for source in [
        "// use crate::listen;",
        "/* crate::listen */",
        "const S: &str = \"crate::listen\";",
        "use super::listen;",
        "mod tests { use super::super::listen; }",
        "//! [`crate::listen`] does the rest.\nuse crate::wire::listen;",
    ] {
        assert!(!imports(source, 2).contains("listen"), "{source}");
    }
}

#[test]
fn wrong_arrows_are_named() {
    let objected = |file: &str, from: &str, to: &str| objection(file, from, to).is_some();
    assert!(objected("src/wire/name.rs", "wire", "resolve"));
    assert!(objected("src/cache/rrset.rs", "cache", "resolve"));
    assert!(objected("src/policy/engine.rs", "policy", "telemetry"));
    assert!(objected("src/resolve/mod.rs", "resolve", "config"));
    assert!(objected("src/lab/mod.rs", "lab", "resolve"));
    assert!(objected("src/listen/worker.rs", "listen", "lab"));
    assert!(objected("src/telemetry/mod.rs", "telemetry", "app"));
    assert!(!objected("src/resolve/iterate.rs", "resolve", "cache"));
    assert!(!objected("src/listen/worker.rs", "listen", "policy"));
    assert!(!objected("src/cli/demo.rs", "cli", "lab"));
}
