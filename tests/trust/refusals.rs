//! Every reason to refuse a list, each produced by its real cause: exit code, reason, remedy, metric and log line, and what was in force
//! goes on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;

use ring::digest::{SHA256, digest};

use crate::curator::{Curator, box_of, is_blocked, must, rename, run, text};
use crate::daemon::{Client, Daemon, Upstream};
use postern::wire::Rtype;

/// Pushes what must be refused, and looks at everything that has to be said and to stay.
#[track_caller]
fn refused(daemon: &Daemon, reason: &str, arguments: &[&str]) -> String {
    let label = format!("reason=\"{reason}\"");
    let count = || daemon.metric("postern_list_refused_total", &[&label]);
    let (before, versions) = (count(), daemon.must(&["blocklist", "versions"]));
    assert!(is_blocked(daemon, "marker.example"), "the marker is blocked before");
    let output = daemon.postern(&[&["blocklist", "push"], arguments].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stdout));
    assert!(said.contains(&format!("postern: refused ({reason}): ")) && said.contains("\nhint: "), "{reason}: {said}");
    assert_eq!(count(), before + 1.0, "{reason} is counted");
    assert!(daemon.log().contains(&format!("list refused: reason={reason} by uid ")), "{reason}: {}", daemon.log());
    assert!(is_blocked(daemon, "marker.example"), "the marker is blocked after {reason}");
    assert_eq!(daemon.must(&["blocklist", "versions"]), versions, "{reason} changes nothing");
    assert!(!fs::read_dir(daemon.state().join("lists")).unwrap().any(|e| e.unwrap().path().is_file()), "{reason} leaves nothing behind");
    said
}

fn copy(curator: &Curator, from: &str, to: &str) -> String {
    let to = curator.word(to);
    fs::copy(from, &to).unwrap();
    fs::copy(format!("{from}.minisig"), format!("{to}.minisig")).unwrap();
    to
}

#[test]
fn what_is_wrong_with_file_serial_or_dates_is_refused() {
    let (curator, upstream) = (Curator::new("file"), Upstream::start());
    curator.add("ann", &[]);
    let daemon = box_of("refuse-file", &curator, &upstream);
    let list = |serial, more: &[&str]| curator.list(serial, "marker.example\nsecond.example\n", &["ann"], more);
    let first = list(10, &[]);
    daemon.must(&["blocklist", "push", &first]);
    refused(&daemon, "not_newer", &[&first]);
    refused(&daemon, "not_newer", &[&list(9, &[])]);
    let second = list(11, &[]);
    daemon.must(&["blocklist", "push", &second]);
    daemon.must(&["blocklist", "rollback"]);
    refused(&daemon, "rolled_back", &[&second]);
    refused(&daemon, "too_far_ahead", &[&list(9_999_999_999_999_999, &[])]);
    refused(&daemon, "expired", &[&list(20, &["--expires-days", "0"])]);
    refused(&daemon, "not_yet_valid", &[&list(20, &["--not-before-days", "2"])]);

    let good = list(20, &[]);
    let octets = fs::read(&good).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let file = copy(&curator, &good, "changed.plist");
        let mut octets = octets.clone();
        change(&mut octets);
        fs::write(&file, octets).unwrap();
        file
    };
    refused(&daemon, "cut_short", &[&changed(&|o| o.truncate(o.len() - 100))]);
    refused(&daemon, "unsound", &[&changed(&|o| o[4096 + 30] ^= 1)]);
    refused(&daemon, "unsound", &[&changed(&|o| o[70] ^= 1)]);
    refused(&daemon, "unsound", &[&changed(&|o| *o = b"0.0.0.0 scam.example\n".to_vec())]);
    // A header for readers of format 9, its own checksum right: octets 10 and 11, and the last 32 of the block.
    refused(
        &daemon,
        "wrong_format",
        &[&changed(&|o| {
            o[10..12].copy_from_slice(&9u16.to_le_bytes());
            let sum = digest(&SHA256, &o[..4096 - 32]);
            o[4096 - 32..4096].copy_from_slice(sum.as_ref());
        })],
    );
    let huge = changed(&|_| ());
    fs::File::options().write(true).open(&huge).unwrap().set_len((2 << 30) + 1).unwrap();
    refused(&daemon, "too_large", &[&huge]);
    // What was refused for its octets alone is welcome when it comes whole.
    daemon.must(&["blocklist", "push", &good]);
    assert!(is_blocked(&daemon, "second.example"));
}

#[test]
fn what_is_wrong_with_signatures_is_refused() {
    let (curator, upstream, stranger) = (Curator::new("signatures"), Upstream::start(), Curator::new("stranger"));
    curator.add("ann", &[]);
    curator.add("ben", &["--largest-change", "50"]);
    curator.add("other", &["--list", "scam2"]);
    curator.add("allower", &["--no-block", "--allow"]);
    stranger.add("eve", &[]);
    let daemon = box_of("refuse-signatures", &curator, &upstream);
    let names = "marker.example\nsecond.example\n";
    daemon.must(&["blocklist", "push", &curator.list(1, names, &["ann"], &[])]);

    refused(&daemon, "unsigned", &[&curator.list(2, names, &[], &[])]);
    let by_eve = stranger.list(2, names, &["eve"], &[]);
    refused(&daemon, "unknown_key", &[&by_eve]);
    // The key set is by the root key alone: a stranger's does not count, however high its serial.
    let output = daemon.postern(&["keys", "push", &stranger.keys()]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("the root key did not sign"), "{}", text(&output.stderr));
    refused(&daemon, "not_entitled", &[&curator.list(2, names, &["allower"], &[])]);
    refused(&daemon, "not_entitled", &[&curator.list(2, names, &["ann"], &["--id", "elsewhere"])]);
    let other = curator.list(3, names, &["other"], &["--id", "scam2"]);
    let list = curator.list(2, names, &["ann"], &[]);
    fs::copy(format!("{other}.minisig"), format!("{list}.minisig")).unwrap();
    let said = refused(&daemon, "other_file", &[&list]);
    assert!(said.contains("list id differs"), "{said}");
    let list = curator.list(2, names, &["ann"], &[]);
    let signature = fs::read_to_string(format!("{list}.minisig")).unwrap();
    fs::write(format!("{list}.minisig"), signature.replace("serial=2", "serial=3")).unwrap();
    refused(&daemon, "bad_signature", &[&list]);
    let many: String = (0..9).map(|n| format!("n{n}.example\n")).collect();
    refused(&daemon, "too_much_change", &[&curator.list(2, &format!("{names}{many}"), &["ben"], &[])]);

    // Two of them from now on.
    must(&["keys", "add", &curator.keys(), "--owner", "cat", "--new", &curator.word("cat.key"), "--list", "scam", "--needed", "2"]);
    daemon.must(&["keys", "push", &curator.keys()]);
    refused(&daemon, "too_few_signatures", &[&curator.list(2, names, &["ann"], &[])]);
    // A thief has one key and signs twice.
    let twice = curator.list(2, names, &["ann"], &[]);
    must(&["blocklist", "sign", &twice, "--key", &curator.word("ann.key")]);
    refused(&daemon, "too_few_signatures", &[&twice]);
    must(&["blocklist", "sign", &twice, "--key", &curator.word("cat.key")]);
    daemon.must(&["blocklist", "push", &twice]);
    let shown = daemon.must(&["blocklist", "versions"]);
    let active = shown.lines().find(|line| line.starts_with("active scam serial 2:")).unwrap();
    assert_eq!(active.rsplit("signed by ").next().unwrap().split(", ").count(), 2, "{shown}");

    must(&["keys", "revoke", &curator.keys(), "ann", "--why", "stolen laptop"]);
    daemon.must(&["keys", "push", &curator.keys()]);
    refused(&daemon, "revoked_key", &[&curator.list(3, names, &["ann", "cat"], &[])]);
    daemon.must(&["blocklist", "push", &curator.list(3, names, &["ben", "cat"], &[])]);
}

#[test]
fn what_would_hurt_the_post_is_held() {
    let (curator, upstream) = (Curator::new("impact"), Upstream::start());
    curator.add("ann", &[]);
    let daemon = box_of("refuse-impact", &curator, &upstream);
    daemon.must(&["blocklist", "push", &curator.list(1, "marker.example\n", &["ann"], &[])]);

    // The curator's own critical list is empty; the box has one all the same.
    let critical = curator.folder.file("critical.txt", "nothing.example nothing\n").display().to_string();
    let wide = curator.list(2, "marker.example\ngoogle.com\n", &["ann"], &["--critical", &critical]);
    let said = refused(&daemon, "protected_name", &[&wide]);
    assert!(said.contains("google.com."), "{said}");
    refused(&daemon, "protected_name", &[&wide, "--force", "--why", "no reason is good enough"]);

    // Twenty-one names that clients had answers for, against the limit of twenty.
    let client = Client::new(daemon.dns);
    let names: Vec<String> = (0..21).map(|n| format!("img{n}.cdn.example")).collect();
    for name in &names {
        assert_eq!(client.ask(name, Rtype::A).answer.len(), 1);
    }
    let cdn = curator.list(2, "marker.example\ncdn.example\n", &["ann"], &[]);
    let said = refused(&daemon, "impact", &[&cdn]);
    assert!(said.contains("21 names") && said.contains(".cdn.example."), "{said}");
    refused(&daemon, "impact", &[&cdn, "--dry-run"]);
    assert!(!is_blocked(&daemon, "img1.cdn.example"));
    // A few of them are let in, and a dry run leaves everything as it was.
    let few = curator.list(2, "marker.example\nimg0.cdn.example\nimg1.cdn.example\n", &["ann"], &[]);
    let said = daemon.must(&["blocklist", "push", &few, "--dry-run"]);
    assert!(said.contains("would be taken: 2 names added, 0 removed") && said.contains("newly blocks 2 names"), "{said}");
    assert!(!is_blocked(&daemon, "img1.cdn.example") && is_blocked(&daemon, "marker.example"));
    let forced = daemon.postern(&["blocklist", "push", &cdn, "--force"]);
    assert_eq!(forced.status.code(), Some(2), "a reason is asked for");
    let cdn = curator.list(3, "marker.example\ncdn.example\n", &["ann"], &[]);
    daemon.must(&["blocklist", "push", &cdn, "--force", "--why", "the whole of it serves scams"]);
    assert!(is_blocked(&daemon, "img1.cdn.example"));
    assert!(daemon.log().contains("why: the whole of it serves scams"), "{}", daemon.log());
    // What is blocked already is not newly blocked: the next version needs no force.
    daemon.must(&["blocklist", "push", &curator.list(4, "marker.example\ncdn.example\n", &["ann"], &[])]);

    // The limits are settings.
    let config = daemon.folder.0.join("postern.toml");
    let text = fs::read_to_string(&config).unwrap();
    client.ask("one.other.example", Rtype::A);
    fs::write(&config, text.replace("[trust]\n", "[trust]\nmax_new_names = 0\n")).unwrap();
    daemon.must(&["reload"]);
    let one = curator.list(5, "marker.example\nother.example\n", &["ann"], &[]);
    refused(&daemon, "impact", &[&one]);
    fs::write(&config, text.replace("[trust]\n", "[trust]\nmax_new_clients = 0\n")).unwrap();
    daemon.must(&["reload"]);
    refused(&daemon, "impact", &[&one]);
    fs::write(&config, text).unwrap();
    daemon.must(&["reload"]);
    daemon.must(&["blocklist", "push", &one]);
}

/// Without battery and network the clock stands in the past: below the last known time no date can be judged.
#[test]
fn a_list_with_dates_waits_for_the_clock() {
    let (curator, upstream) = (Curator::new("clock"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("refuse-clock", &curator, &upstream);
    daemon.must(&["blocklist", "push", &curator.list(1, "marker.example\n", &["ann"], &[])]);
    daemon.kill();
    fs::write(daemon.state().join("clock"), "4000000000\n").unwrap();
    daemon.restart_killed();
    refused(&daemon, "clock_untrusted", &[&curator.list(2, "marker.example\n", &["ann"], &["--expires-days", "30"])]);
    daemon.must(&["blocklist", "push", &curator.list(2, "marker.example\nnew.example\n", &["ann"], &[])]);
    assert!(is_blocked(&daemon, "new.example"), "a list without dates needs no clock");
}

/// A state directory of 400 KiB: the first list fits, the second does not, and a third that fits is welcome.
#[test]
fn a_full_disk_refuses_and_the_list_in_force_goes_on() {
    let (curator, upstream) = (Curator::new("disk"), Upstream::start());
    curator.add("ann", &[]);
    let mut daemon = box_of("refuse-disk", &curator, &upstream);
    daemon.kill();
    let state = daemon.state();
    let mount = format!("mount -t tmpfs -o size=400k,mode=700 tmpfs {} && exec \"$0\" \"$@\"", state.display());
    let mut program = Command::new("unshare");
    program.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, env!("CARGO_BIN_EXE_postern")]);
    daemon.start_again(&mut program);
    daemon.must(&["keys", "push", &curator.keys()]);
    daemon.must(&["blocklist", "push", &curator.list(1, "marker.example\n", &["ann"], &[])]);
    let many: String = (0..40_000).map(|n| format!("name-of-scam-{n}.example\n")).collect();
    let large = curator.list(2, &format!("marker.example\n{many}"), &["ann"], &[]);
    assert!(fs::metadata(&large).unwrap().len() > 400 << 10, "the list is larger than the disk");
    refused(&daemon, "disk_full", &[&large]);
    daemon.must(&["blocklist", "push", &curator.list(3, "marker.example\nthird.example\n", &["ann"], &[])]);
    assert!(is_blocked(&daemon, "third.example"));
}

/// What root pushes without a signature is signed by the box, for the box: elsewhere, and here once a fleet's keys count, it is worth
/// nothing.
#[test]
fn the_key_of_the_box_speaks_for_this_box_alone() {
    let upstream = Upstream::start();
    let daemon = Daemon::start("refuse-peer", &upstream.settings());
    let folder = &daemon.folder.0;
    let list = crate::daemon::build_list(folder, "local", 1, "marker.example\n");
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    let own = fs::read_to_string(daemon.state().join("box.key")).unwrap();
    assert!(own.starts_with("untrusted comment:"));
    assert!(daemon.must(&["status"]).contains("list local serial 1: 1 names"));
    // Nobody knows the box's key but the box: what it signed for itself is worth nothing elsewhere.
    let mut kept = fs::read_dir(daemon.state().join("lists/local")).unwrap().map(|e| e.unwrap().path());
    let signature = kept.find(|path| path.extension().is_some_and(|e| e == "minisig")).unwrap();
    let taken = folder.join("taken.plist");
    fs::copy(&list, &taken).unwrap();
    fs::copy(signature, folder.join("taken.plist.minisig")).unwrap();
    refused(&daemon, "unknown_key", &[taken.to_str().unwrap()]);
}

#[test]
fn minisign_verifies_what_we_sign_and_we_take_what_it_signs() {
    let (curator, upstream) = (Curator::new("minisign"), Upstream::start());
    curator.add("ann", &[]);
    curator.add("ben", &[]);
    let list = curator.list(1, "marker.example\n", &["ann", "ben"], &["--expires-days", "30"]);
    let minisign = |arguments: &[&str]| {
        let output = Command::new("minisign").args(arguments).output().expect("minisign is in tests/packages.txt");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = minisign(&["-V", "-p", &curator.word("ann.pub"), "-m", &list]);
    assert!(said.contains("postern-list id=scam serial=1 expires=1") && said.contains(" sha256="), "{said}");
    let mut files = fs::read_dir(&curator.folder.0).unwrap().map(|e| e.unwrap().path().display().to_string());
    let by_ben = files.find(|p| p.ends_with(".minisig") && !p.ends_with("1.plist.minisig")).unwrap();
    minisign(&["-V", "-p", &curator.word("ben.pub"), "-m", &list, "-x", &by_ben]);
    minisign(&["-V", "-p", &curator.word("keys/root.pub"), "-m", &curator.word("keys/keys.json")]);
    assert_ne!(run(&["blocklist", "sign", &list, "--key", &curator.word("ann.pub")]).status.code(), Some(0), "a public key does not sign");

    // A key that minisign made, with the comment of our own signature: the box takes it.
    minisign(&["-G", "-W", "-p", &curator.word("cat.pub"), "-s", &curator.word("cat.key")]);
    must(&["keys", "add", &curator.keys(), "--owner", "cat", "--public", &curator.word("cat.pub"), "--list", "scam"]);
    let comment = said.lines().find_map(|line| line.strip_prefix("Trusted comment: ")).unwrap();
    let theirs = curator.path("theirs.minisig");
    minisign(&["-S", "-W", "-s", &curator.word("cat.key"), "-t", comment, "-x", theirs.to_str().unwrap(), "-m", &list]);
    fs::remove_file(by_ben).unwrap();
    rename(&theirs, &curator.path("1.plist.minisig"));
    let daemon = box_of("minisign", &curator, &upstream);
    daemon.must(&["blocklist", "push", &list]);
    assert!(is_blocked(&daemon, "marker.example"));
}

/// A pusher that dies in the middle, and one that falls silent for good: the list is not taken, and the next push is.
#[test]
fn half_a_push_is_no_push() {
    let (curator, upstream) = (Curator::new("half"), Upstream::start());
    curator.add("ann", &[]);
    let daemon = box_of("refuse-half", &curator, &upstream);
    daemon.must(&["blocklist", "push", &curator.list(1, "marker.example\n", &["ann"], &[])]);
    let second = curator.list(2, "marker.example\nsecond.example\n", &["ann"], &[]);
    let (octets, signature) = (fs::read(&second).unwrap(), fs::read_to_string(format!("{second}.minisig")).unwrap());
    let request = serde_json::json!({"ask": "push", "octets": octets.len(), "signatures": [signature]});
    for part in [0, 10, 4096, 5000, octets.len() - 1] {
        let mut stream = UnixStream::connect(daemon.folder.0.join("control.sock")).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        stream.write_all(&octets[..part]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.contains("\"cut_short\"") && reply.contains(&format!("ended after {part} of")), "{part}: {reply}");
        assert!(is_blocked(&daemon, "marker.example") && !is_blocked(&daemon, "second.example"));
    }
    assert_eq!(daemon.metric("postern_list_refused_total", &["cut_short"]), 5.0);
    daemon.must(&["blocklist", "push", &second]);
    assert!(is_blocked(&daemon, "second.example"));
}

/// Two pushers at once take turns: whichever comes first, the higher serial is in force in the end, and nobody is told otherwise.
#[test]
fn two_pushers_at_once_end_with_the_higher_serial() {
    let (curator, upstream) = (Curator::new("two"), Upstream::start());
    curator.add("ann", &[]);
    let daemon = box_of("refuse-two", &curator, &upstream);
    for round in 0..5 {
        let lists = [2 * round + 1, 2 * round + 2].map(|n| curator.list(n, &format!("marker.example\nv{n}.example\n"), &["ann"], &[]));
        let pushed = std::thread::scope(|scope| {
            lists.each_ref().map(|list| scope.spawn(|| daemon.postern(&["blocklist", "push", list]))).map(|thread| thread.join().unwrap())
        });
        assert!(pushed[1].status.success(), "{}", text(&pushed[1].stderr));
        assert!(pushed[0].status.success() || text(&pushed[0].stderr).contains("refused (not_newer)"), "{}", text(&pushed[0].stderr));
        assert!(
            is_blocked(&daemon, &format!("v{}.example", 2 * round + 2)) && !is_blocked(&daemon, &format!("v{}.example", 2 * round + 1))
        );
    }
}
