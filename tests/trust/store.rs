//! The store on disk against the built binary: killed at any step, tampered with, from an older version, rolled back.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::curator::{Curator, box_of, is_blocked, text};
use crate::daemon::{Daemon, PATIENCE, Upstream, build_list};

/// The serial in force.
fn serial(daemon: &Daemon) -> u64 {
    let versions: serde_json::Value = serde_json::from_str(&daemon.must(&["blocklist", "versions", "--json"])).unwrap();
    let active = versions.as_array().unwrap().iter().find(|version| version["active"] == true).unwrap();
    active["serial"].as_u64().unwrap()
}

fn warnings(daemon: &Daemon) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&daemon.must(&["status", "--json"])).unwrap();
    status["warnings"].clone()
}

/// Kills the daemon when `seen` shows in its state directory, or when the command has ended, whichever is first.
fn killed_while(daemon: &mut Daemon, arguments: &[&str], seen: impl Fn(&Path) -> bool) {
    let (state, begun) = (daemon.state(), Instant::now());
    let mut command = daemon.command(arguments).spawn().unwrap();
    while !seen(&state) && command.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "{arguments:?} does not end");
        std::hint::spin_loop();
    }
    daemon.kill();
    command.wait().unwrap();
    daemon.restart_killed();
}

/// What shows on the disk after each step of a push, in order. Whatever was reached when the kill came, the list before or the list after
/// is in force, whole, and the push can be made again.
#[test]
fn killed_at_any_step_of_push_and_rollback_it_is_the_state_before_or_after() {
    let (curator, upstream) = (Curator::new("kill"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("kill", &curator, &upstream);
    let many: String = (0..3000).map(|n| format!("name-{n}.example\n")).collect();
    let list = |serial: u64| curator.list(serial, &format!("marker.example\nv{serial}.example\n{many}"), &["ann"], &[]);
    daemon.must(&["blocklist", "push", &list(1)]);
    type Seen = fn(&Path, u64) -> bool;
    let steps: [Seen; 6] = [
        |_, _| true,
        |state, _| state.join("lists/arriving.unfinished").exists(),
        |state, _| fs::metadata(state.join("lists/arriving.unfinished")).is_ok_and(|facts| facts.len() > 8192),
        |state, serial| fs::read_dir(state.join("lists/scam")).unwrap().flatten().any(|e| names(&e.file_name(), serial, "minisig")),
        |state, serial| fs::read_dir(state.join("lists/scam")).unwrap().flatten().any(|e| names(&e.file_name(), serial, "plist")),
        |state, serial| fs::read_to_string(state.join("lists/scam/current")).is_ok_and(|text| text == serial.to_string()),
    ];
    let mut next = 2;
    for step in steps.iter().chain(&steps) {
        let before = serial(&daemon);
        let file = list(next);
        killed_while(&mut daemon, &["blocklist", "push", &file], |state| step(state, next));
        let after = serial(&daemon);
        assert!(after == before || after == next, "{before}, {next}: {after} is in force");
        assert!(is_blocked(&daemon, "marker.example") && is_blocked(&daemon, &format!("v{after}.example")));
        assert_eq!(is_blocked(&daemon, &format!("v{next}.example")), after == next, "no mix of two lists");
        assert!(!warnings(&daemon).to_string().contains("scam"), "{}", warnings(&daemon));
        assert!(!daemon.state().join("lists/arriving.unfinished").exists(), "what was left over is gone");
        let again = daemon.postern(&["blocklist", "push", &file]);
        match after == next {
            true => assert!(text(&again.stderr).contains("refused (not_newer)"), "{}", text(&again.stderr)),
            false => assert!(again.status.success(), "{}", text(&again.stderr)),
        }
        next += 1;
    }
    // Back and forth, killed as soon as `current` changes or before.
    for round in 0..4 {
        let (before, highest) = (serial(&daemon), next - 1);
        let target = if before == highest { highest - 1 } else { highest };
        let word = target.to_string();
        killed_while(&mut daemon, &["blocklist", "rollback", &word], |state| {
            round % 2 == 0 || fs::read_to_string(state.join("lists/scam/current")).is_ok_and(|text| text == word)
        });
        let after = serial(&daemon);
        assert!((after == before || after == target) && is_blocked(&daemon, &format!("v{after}.example")), "{before} {target} {after}");
        let old = daemon.postern(&["blocklist", "push", &list(highest)]);
        assert_eq!(old.status.code(), Some(1), "the highest serial stands: {}", text(&old.stderr));
    }
}

/// The same for a key set: after a revocation that was killed in between, the old set or the new one is in force, and the new one can be
/// pushed again or is there.
#[test]
fn killed_at_any_step_of_a_key_set_it_is_the_set_before_or_after() {
    let (curator, upstream) = (Curator::new("kill-keys"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("kill-keys", &curator, &upstream);
    daemon.must(&["blocklist", "push", &curator.list(1, "marker.example\n", &["ann"], &[])]);
    let in_force = |daemon: &Daemon| {
        let keys: serde_json::Value = serde_json::from_str(&daemon.must(&["keys", "list", "--json"])).unwrap();
        keys["set"]["serial"].as_u64().unwrap()
    };
    let serials = fs::read_to_string(daemon.state().join("keyset-serials.json")).unwrap();
    for round in 0..6 {
        let before = in_force(&daemon);
        curator.add(&format!("key{round}"), &[]);
        let (set, said) =
            (fs::read(daemon.state().join("keyset.json")).unwrap(), fs::read(daemon.state().join("keyset-serials.json")).unwrap());
        killed_while(&mut daemon, &["keys", "push", &curator.keys()], |state| match round % 3 {
            0 => true,
            1 => fs::read(state.join("keyset.json")).is_ok_and(|now| now != set),
            _ => fs::read(state.join("keyset-serials.json")).is_ok_and(|now| now != said),
        });
        let after = in_force(&daemon);
        assert!(after == before || after == before + 1, "{before} {after}");
        assert!(is_blocked(&daemon, "marker.example") && !warnings(&daemon).to_string().contains("key set"), "{}", warnings(&daemon));
        assert_eq!(daemon.postern(&["keys", "push", &curator.keys()]).status.success(), after == before);
        assert_eq!(in_force(&daemon), before + 1);
    }
    assert_ne!(fs::read_to_string(daemon.state().join("keyset-serials.json")).unwrap(), serials);
}

fn names(file: &std::ffi::OsStr, serial: u64, end: &str) -> bool {
    file.to_str().is_some_and(|name| name.starts_with(&format!("{serial:016}.")) && name.ends_with(end))
}

#[test]
fn a_list_without_a_fitting_signature_is_not_served_at_start() {
    let (curator, upstream) = (Curator::new("tamper"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("tamper", &curator, &upstream);
    for serial in [1, 2, 3] {
        daemon.must(&["blocklist", "push", &curator.list(serial, &format!("v{serial}.example\n"), &["ann"], &[])]);
    }
    let scam = daemon.state().join("lists/scam");
    let kept = |serial: u64, end: &str| fs::read_dir(&scam).unwrap().flatten().find(|e| names(&e.file_name(), serial, end)).unwrap().path();
    daemon.kill();
    fs::remove_file(kept(3, "minisig")).unwrap();
    daemon.restart_killed();
    assert_eq!(serial(&daemon), 2);
    assert!(is_blocked(&daemon, "v2.example") && !is_blocked(&daemon, "v3.example"));
    assert!(warnings(&daemon)[0].as_str().unwrap().contains("serial 3 is not trusted, serial 2 serves"), "{}", warnings(&daemon));
    // A sound list that somebody put in the place of another: the signature is not for it.
    daemon.kill();
    fs::copy(kept(1, "plist"), kept(2, "plist")).unwrap();
    daemon.restart_killed();
    assert!(is_blocked(&daemon, "v1.example") && !is_blocked(&daemon, "v2.example"));
    // Rolling back to it is refused as well.
    let back = daemon.postern(&["blocklist", "rollback", "2"]);
    assert!(text(&back.stderr).contains("refused (bad_signature)"), "{}", text(&back.stderr));
    // A new version sets everything right.
    daemon.must(&["blocklist", "push", &curator.list(4, "v4.example\n", &["ann"], &[])]);
    assert!(is_blocked(&daemon, "v4.example"));
}

/// The store as 0.1 wrote it before lists were signed: `tests/data/store-unsigned`. It serves, is signed with the box's own key once, and
/// what turns up unsigned after that does not serve.
#[test]
fn a_store_from_before_signatures_serves_and_is_signed() {
    let upstream = Upstream::start();
    let mut daemon = Daemon::start("old-store", &upstream.settings());
    daemon.kill();
    let (state, old) = (daemon.state(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store-unsigned"));
    assert!(!state.join("box.key").exists(), "the own key is made on first use");
    fs::create_dir_all(state.join("lists/scam")).unwrap();
    for file in ["serials.json", "lists/scam/current", "lists/scam/0000000000000004.plist", "lists/scam/0000000000000005.plist"] {
        fs::copy(old.join(file), state.join(file)).unwrap();
    }
    daemon.restart_killed();
    assert!(is_blocked(&daemon, "old.example") && !warnings(&daemon).to_string().contains("scam"), "{}", warnings(&daemon));
    assert!(state.join("box.key").exists() && serial(&daemon) == 5);
    let status = daemon.must(&["status"]);
    let signer = status.lines().find_map(|line| line.strip_prefix("list scam serial 5")).unwrap().rsplit("signed by ").next().unwrap();
    assert_eq!(signer.len(), 16, "{status}");
    daemon.kill();
    fs::remove_file(state.join(format!("lists/scam/{:016}.{signer}.minisig", 5))).unwrap();
    daemon.restart_killed();
    assert!(!is_blocked(&daemon, "old.example"), "unsigned lists are taken over once, not for ever");
    let list = build_list(&daemon.folder.0, "scam", 6, "new.example\n");
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    assert!(is_blocked(&daemon, "new.example"));
}

#[test]
fn the_highest_serial_survives_the_loss_of_the_store() {
    let (curator, upstream) = (Curator::new("loss"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("loss", &curator, &upstream);
    let lists: Vec<String> = (1..=2).map(|serial| curator.list(serial, &format!("v{serial}.example\n"), &["ann"], &[])).collect();
    lists.iter().for_each(|list| drop(daemon.must(&["blocklist", "push", list])));
    daemon.kill();
    fs::remove_dir_all(daemon.state().join("lists")).unwrap();
    daemon.restart_killed();
    for old in &lists {
        let output = daemon.postern(&["blocklist", "push", old]);
        assert!(text(&output.stderr).contains("refused (not_newer)"), "{}", text(&output.stderr));
    }
    daemon.must(&["blocklist", "push", &curator.list(3, "v3.example\n", &["ann"], &[])]);
    assert!(is_blocked(&daemon, "v3.example"));
}

/// The box's own key is damaged: what it signed blocks on, nothing more can be signed, and a new key is the operator's word.
#[test]
fn a_damaged_key_of_the_box_costs_new_lists_not_the_one_in_force() {
    let upstream = Upstream::start();
    let mut daemon = Daemon::start("own-key", &upstream.settings());
    let list = |daemon: &Daemon, serial| build_list(&daemon.folder.0, "own", serial, &format!("v{serial}.example\n")).display().to_string();
    daemon.must(&["blocklist", "push", &list(&daemon, 1)]);
    daemon.kill();
    let key = daemon.state().join("box.key");
    fs::write(&key, "untrusted comment: gone\n").unwrap();
    daemon.restart_killed();
    assert!(is_blocked(&daemon, "v1.example"));
    assert!(warnings(&daemon).to_string().contains("the key of this box cannot be used"), "{}", warnings(&daemon));
    let second = list(&daemon, 2);
    let refused = daemon.postern(&["blocklist", "push", &second]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("refused (own_key)") && said.contains("\nhint: "), "{said}");
    assert!(is_blocked(&daemon, "v1.example"));
    fs::remove_file(&key).unwrap();
    daemon.must(&["blocklist", "push", &second]);
    assert!(is_blocked(&daemon, "v2.example") && !warnings(&daemon).to_string().contains("the key of this box"));
    daemon.kill();
    daemon.restart_killed();
    assert!(is_blocked(&daemon, "v2.example"));
}

/// Expiry keeps a list from being taken, not from blocking: it was good when it was taken, and no network may be there to bring another.
#[test]
fn a_list_that_has_expired_since_it_was_taken_blocks_on_and_status_warns() {
    let (curator, upstream) = (Curator::new("expired"), Upstream::start());
    let mut daemon = Daemon::start("expired", &upstream.settings());
    daemon.kill();
    let folder = daemon.state().join("lists/scam");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(curator.list(2, "v2.example\n", &[], &["--expires-days", "0"]), folder.join(format!("{:016}.plist", 2))).unwrap();
    fs::write(folder.join("current"), "2").unwrap();
    daemon.restart_killed();
    assert!(is_blocked(&daemon, "v2.example"));
    let shown = warnings(&daemon).to_string();
    assert!(shown.contains("list scam serial 2 has expired and blocks on"), "{shown}");
    let metric = daemon.metric("postern_list_expiry_timestamp_seconds", &["scam"]);
    assert!(metric > 0.0);

    // For ever is the default; who sets an end gets one, and the other lists go on.
    let fresh = build_list(&daemon.folder.0, "fresh", 1, "fresh.example\n");
    daemon.must(&["blocklist", "push", fresh.to_str().unwrap()]);
    let config = daemon.folder.0.join("postern.toml");
    let settings = fs::read_to_string(&config).unwrap();
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    while second() <= metric as u64 + 1 {
        std::thread::yield_now();
    }
    for (stale, blocked) in [(1, false), (1_000_000, true), (1, false)] {
        fs::write(&config, format!("{settings}[block]\nmax_stale_seconds = {stale}\n")).unwrap();
        daemon.must(&["reload"]);
        assert_eq!((is_blocked(&daemon, "v2.example"), is_blocked(&daemon, "fresh.example")), (blocked, true), "{stale}");
    }
    assert!(warnings(&daemon).to_string().contains("list scam serial 2 has expired and BLOCKS NO MORE"), "{}", warnings(&daemon));
    daemon.kill();
    daemon.restart_killed();
    assert!(!is_blocked(&daemon, "v2.example") && is_blocked(&daemon, "fresh.example"));
}
