//! A curator for tests: a folder of keys, lists built and signed by the commands, and what minisign says of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::daemon::{Client, Daemon, Folder, Upstream};
use postern::wire::{Rcode, Rtype};

pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern")).args(arguments).output().unwrap()
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A command that must succeed.
pub fn must(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub struct Curator {
    pub folder: Folder,
}

impl Curator {
    pub fn new(name: &str) -> Curator {
        let curator = Curator { folder: Folder::new(&format!("curator-{name}")) };
        must(&["keys", "init", &curator.keys()]);
        curator
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    pub fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The folder of keys.
    pub fn keys(&self) -> String {
        self.word("keys")
    }

    /// The configuration that makes a box believe this curator.
    pub fn trust(&self) -> String {
        let public = std::fs::read_to_string(self.path("keys/root.pub")).unwrap();
        format!("[trust]\nroot_key = \"{}\"\n", public.lines().last().unwrap())
    }

    /// A new key for `scam`, with more arguments of `keys add`.
    pub fn add(&self, owner: &str, more: &[&str]) {
        let (keys, new) = (self.keys(), self.word(&format!("{owner}.key")));
        must(&[&["keys", "add", &keys, "--owner", owner, "--new", &new, "--list", "scam"], more].concat());
    }

    /// A list of these names, signed by the keys of these owners.
    pub fn list(&self, serial: u64, names: &str, signers: &[&str], more: &[&str]) -> String {
        let (text, out) = (self.folder.file("names.txt", names), self.word(&format!("{serial}.plist")));
        let signers: Vec<String> = signers.iter().map(|owner| self.word(&format!("{owner}.key"))).collect();
        let serial = serial.to_string();
        let mut arguments = vec!["blocklist", "build", text.to_str().unwrap(), "--out", &out, "--serial", &serial];
        if !more.contains(&"--id") {
            arguments.extend(["--id", "scam"]);
        }
        signers.iter().for_each(|key| arguments.extend(["--sign", key]));
        must(&[&arguments, more].concat());
        out
    }
}

/// A box that believes a curator, with a key set pushed and a list in force.
pub fn box_of(name: &str, curator: &Curator, upstream: &Upstream) -> Daemon {
    let daemon = Daemon::start(name, &format!("{}{}", upstream.settings(), curator.trust()));
    daemon.must(&["keys", "push", &curator.keys()]);
    daemon
}

/// Whether the name is blocked, and not merely without an answer.
pub fn is_blocked(daemon: &Daemon, name: &str) -> bool {
    let answer = Client::new(daemon.dns).ask(name, Rtype::A);
    match answer.rcode() {
        Rcode::NXDOMAIN => answer.edns.as_ref().unwrap().extended_errors().any(|ede| ede.code == 15),
        Rcode::NOERROR => false,
        other => panic!("{name}: {other}"),
    }
}

pub fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}
