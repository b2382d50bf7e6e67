//! The built binary as a newcomer meets it: help, exit codes, configuration. No daemon runs here.

#![allow(clippy::disallowed_methods, reason = "the test writes configuration files")]

use std::process::{Command, Output};

fn postern(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern")).args(arguments).output().expect("the binary was built beside this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn file(folder: &std::path::Path, text: &str) -> String {
    let path = folder.join("postern.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A folder of this test's own, gone afterwards.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("postern-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn help_is_a_success_and_a_wrong_word_is_bad_usage() {
    let help = postern(&["--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("Exit codes: 0 fine, 1 failed, 2 bad usage"));
    assert_eq!(postern(&["nonsense"]).status.code(), Some(2));
    assert_eq!(postern(&[]).status.code(), Some(2));
}

#[test]
fn a_bad_configuration_is_told_whole_with_lines_and_code_2() {
    let folder = Folder::new("bad");
    let path = file(&folder.0, "[cache]\nbytes = \"64M\"\n[acess]\nallow = []\n");
    let output = postern(&["config", "check", &path]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("{path}:2: cache.bytes is a string, not a whole number\nhint: ")), "{told}");
    assert!(told.contains(&format!("{path}:3: acess is no key of the configuration\nhint: ")), "{told}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn show_gives_the_values_of_the_file_and_the_defaults_of_the_rest() {
    let folder = Folder::new("show");
    let path = file(&folder.0, "[block]\naction = \"null\"\n[[forward]]\nzone = \".\"\nservers = [\"9.9.9.9\"]\n");
    let shown = text(&postern(&["config", "show", &path]).stdout);
    assert!(shown.contains("block.action = \"null\"\n"), "{shown}");
    assert!(shown.contains("block.ttl_seconds = 60   # default\n"), "{shown}");
    assert!(shown.contains("forward . to 9.9.9.9:53\n"), "{shown}");
    let json: serde_json::Value = serde_json::from_slice(&postern(&["config", "show", "--json", &path]).stdout).unwrap();
    assert_eq!(json["keys"]["block.action"], "null");
    assert_eq!(json["forward"][0]["servers"][0], "9.9.9.9:53");
}

#[test]
fn the_printed_example_is_accepted() {
    let folder = Folder::new("example");
    let path = file(&folder.0, &text(&postern(&["config", "schema", "--toml"]).stdout));
    assert!(postern(&["config", "check", &path]).status.success());
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let help = text(&postern(&["--help"]).stdout);
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(verbs.contains(&"config"));
    let bash = text(&postern(&["completions", "bash"]).stdout);
    let folder = Folder::new("man");
    assert!(postern(&["man", "--folder", &folder.0.display().to_string()]).status.success());
    for verb in verbs {
        assert!(bash.contains(verb), "{verb}");
        assert!(folder.0.join(format!("postern-{verb}.1")).exists(), "{verb}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_a_success() {
    use std::io::Read as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["config", "schema", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    assert_eq!(told, "");
}
