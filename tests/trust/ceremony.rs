//! docs/keys.md, walked through: every command shown is run, in order, by one person with one box.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::curator::{is_blocked, text};
use crate::daemon::{Daemon, Folder, Upstream, build_list};

/// The commands of one part of the page.
fn commands(part: &str) -> Vec<String> {
    let page = include_str!("../../docs/keys.md");
    let section = page.split("\n## ").find(|section| section.starts_with(part)).expect("the page has the part");
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

struct Person {
    folder: Folder,
    daemon: Daemon,
}

impl Person {
    /// Runs a block of commands as it stands.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let binaries = Path::new(env!("CARGO_BIN_EXE_postern")).parent().unwrap().display().to_string();
        let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-euc", script])
            .current_dir(&self.folder.0)
            .env("PATH", path)
            .env("POSTERN_SOCKET", self.daemon.folder.0.join("control.sock"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Pushes what a key signs, and gives what the box says.
    fn push_by(&self, key: &str, serial: u64) -> String {
        let list = build_list(&self.folder.0, "scam", serial, "thief.example\n");
        let key = self.folder.0.join(key);
        let signed = Command::new(env!("CARGO_BIN_EXE_postern")).args(["blocklist", "sign"]).arg(&list).arg("--key").arg(key).output();
        assert!(signed.unwrap().status.success());
        text(&self.daemon.postern(&["blocklist", "push", list.to_str().unwrap()]).stderr)
    }
}

#[test]
fn one_person_can_do_the_ceremony_and_survive_a_lost_and_a_stolen_key() {
    let upstream = Upstream::start();
    let person = Person { folder: Folder::new("ceremony"), daemon: Daemon::start("ceremony-box", &upstream.settings()) };
    person.folder.file("scams.txt", "scam.example\n");

    let [init, push, list] = &commands("The ceremony")[..] else { panic!("the ceremony has three steps") };
    person.run(init);
    let public = fs::read_to_string(person.folder.0.join("keys/root.pub")).unwrap();
    let config = person.daemon.folder.0.join("postern.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{settings}[trust]\nroot_key = \"{}\"\n", public.lines().last().unwrap())).unwrap();
    let shown = person.run(push);
    assert!(shown.contains("key set 2: 1 of its keys must sign each list") && shown.contains(" ann for scam; may block"), "{shown}");
    person.run(list);
    assert!(is_blocked(&person.daemon, "scam.example"));
    for file in ["keys/root.key", "ann.key"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(person.folder.0.join(file)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    commands("Backup").iter().for_each(|script| drop(person.run(script)));
    // The original burns; the backup takes its place, and goes on where it was.
    fs::remove_dir_all(person.folder.0.join("keys")).unwrap();
    fs::rename(person.folder.0.join("usb/keys"), person.folder.0.join("keys")).unwrap();

    person.folder.file("scams.txt", "scam.example\nlater.example\n");
    // Serials are the seconds in which lists are built; a test is faster than a person.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let built = second();
    while second() == built {
        std::thread::yield_now();
    }
    commands("A lost key").iter().for_each(|script| drop(person.run(script)));
    assert!(is_blocked(&person.daemon, "later.example"));
    let by_ann = person.push_by("ann.key", 90_000_000_000);
    assert!(by_ann.contains("refused (revoked_key)"), "{by_ann}");

    // The thief has ann-2.key and pushes a list with a serial of the year 4821.
    let by_thief = person.push_by("ann-2.key", 90_000_000_000);
    assert!(by_thief.is_empty() && is_blocked(&person.daemon, "thief.example"), "{by_thief}");
    let [rollback, revoke, rebuild] = &commands("A stolen key")[..] else { panic!("a stolen key has three steps") };
    person.run(rollback);
    assert!(!is_blocked(&person.daemon, "thief.example") && is_blocked(&person.daemon, "later.example"));
    person.run(revoke);
    assert_eq!(person.daemon.metric("postern_key_set_serial", &[]), 6.0);
    assert!(person.push_by("ann-2.key", 90_000_000_001).contains("refused (revoked_key)"));
    let status = person.daemon.must(&["status"]);
    assert!(status.contains("signed by a key that has been revoked since"), "{status}");
    person.folder.file("scams.txt", "scam.example\nlatest.example\n");
    let rebuild = rebuild.replace("--out", "--serial 90000000001 --out");
    person.run(&rebuild);
    assert!(is_blocked(&person.daemon, "latest.example"));
    assert!(!person.daemon.must(&["status"]).contains("revoked"));
    // The revocation outlives the box's own restart, and an older key set does not undo it.
    let mut person = person;
    person.daemon.kill();
    person.daemon.restart_killed();
    assert!(person.push_by("ann-2.key", 90_000_000_002).contains("refused (revoked_key)"));
    assert!(is_blocked(&person.daemon, "latest.example"));
}

/// Whoever has an old copy of the key set cannot bring a revoked key back with it.
#[test]
fn an_older_key_set_is_refused_also_after_the_loss_of_the_newer() {
    let upstream = Upstream::start();
    let curator = crate::curator::Curator::new("older-set");
    curator.add("ann", &[]);
    curator.add("ben", &[]);
    let mut daemon = crate::curator::box_of("older-set", &curator, &upstream);
    let old = curator.word("old-keys");
    crate::curator::must(&["keys", "backup", &curator.keys(), &old]);
    crate::curator::must(&["keys", "revoke", &curator.keys(), "ann", "--why", "stolen"]);
    daemon.must(&["keys", "push", &curator.keys()]);
    let refused = |daemon: &Daemon| {
        let output = daemon.postern(&["keys", "push", &old]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    assert!(refused(&daemon).contains("key set 3 is older than 5"), "{}", refused(&daemon));
    daemon.kill();
    fs::remove_file(daemon.state().join("keyset.json")).unwrap();
    daemon.restart_killed();
    assert!(refused(&daemon).contains("key set 3 is older than 4"), "{}", refused(&daemon));
    daemon.must(&["keys", "push", &curator.keys()]);
    // A set that was changed on its way does not carry the root key's signature.
    let set = curator.path("keys/keys.json");
    fs::write(&set, fs::read_to_string(&set).unwrap().replace("\"stolen\"", "\"found\"")).unwrap();
    let output = daemon.postern(&["keys", "push", &curator.keys()]);
    assert!(text(&output.stderr).contains("the root key did not sign this key set"), "{}", text(&output.stderr));
}
