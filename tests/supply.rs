//! The dependencies, held to `deny.toml`: licences, banned crates and where the code comes from.
//!
//! Asks `cargo metadata`, so that it runs wherever the package builds; `cargo deny` reads the same file and says more.

#![cfg(feature = "server")]
#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::process::Command;

use serde_json::Value;

fn strings(value: &toml::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap().parse().unwrap()
}

fn packages() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is how old manifests write OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "_WITH_");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1; // the closing parenthesis
        return met;
    }
    allowed.contains(&word.replace("_WITH_", " WITH "))
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let rules = rules();
    let allowed = strings(&rules["licenses"]["allow"]);
    let packages = packages();
    assert!(packages.len() > 50, "cargo names only {} packages", packages.len());
    for package in &packages {
        let licence = package["license"].as_str().unwrap_or("");
        assert!(satisfied(licence, &allowed), "{} {}: licence {licence:?}", package["name"], package["version"]);
    }
}

#[test]
fn no_dependency_is_banned_or_comes_from_elsewhere() {
    let rules = rules();
    let banned: Vec<&str> = rules["bans"]["deny"].as_array().unwrap().iter().map(|entry| entry["crate"].as_str().unwrap()).collect();
    let registries: Vec<String> = strings(&rules["sources"]["allow-registry"]).iter().map(|url| format!("registry+{url}")).collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(&name), "{name} is banned by deny.toml");
        match package["source"].as_str() {
            None => assert_eq!(name, "postern", "{name} is a path dependency"),
            Some(source) => assert!(registries.iter().any(|known| known == source), "{name} comes from {source}"),
        }
    }
}

#[test]
fn expressions_are_judged_as_spdx_has_it() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for good in
        ["MIT", "GPL-3.0 OR MIT", "MIT/Unlicense", "MIT AND ISC", "(MIT OR GPL-3.0) AND ISC", "Apache-2.0 WITH LLVM-exception OR GPL-2.0"]
    {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT MIT"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
