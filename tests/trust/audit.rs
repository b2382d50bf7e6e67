//! The audit log of the built binary: every change with who made it, chained, and what was tampered with shows.

use std::fs;

use crate::curator::text;
use crate::daemon::{Daemon, Upstream, build_list};

#[test]
fn every_change_is_recorded_and_a_cut_or_changed_log_shows() {
    let upstream = Upstream::start();
    let mut daemon = Daemon::start("audit", &upstream.settings());
    let list = build_list(&daemon.folder.0, "scam", 3, "scam.example\n");
    let list = list.to_str().unwrap();
    daemon.must(&["blocklist", "push", list]);
    assert_eq!(daemon.postern(&["blocklist", "push", list]).status.code(), Some(1));
    daemon.must(&["block", "add", "parcel.example", "--why", "ticket 4711"]);
    daemon.must(&["blocking", "off", "--for", "1h", "--why", "drill"]);
    daemon.must(&["blocking", "on"]);
    daemon.must(&["status"]);
    let shown = daemon.must(&["log", "show"]);
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 5, "asking leaves no entry: {shown}");
    let told = [
        "-> list scam serial 3 is in force",
        "-> refused (not_newer): list scam serial 3",
        "block add parcel.example: ticket 4711 -> ",
        "blocking off for 3600 s: drill -> ",
        "blocking on -> blocking is on again",
    ];
    for (line, words) in lines.iter().zip(told) {
        assert!(line.contains(words) && line.contains(&format!(" uid {uid}: ")), "{line}");
    }
    assert_eq!(daemon.metric("postern_audit_entries", &[]), 5.0);
    let verified = daemon.must(&["log", "verify"]);
    let head = verified.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(verified.starts_with("5 entries, unbroken") && head.starts_with("5:"), "{verified}");
    let short = u64::from_str_radix(&head[2..14], 16).unwrap();
    assert_eq!(daemon.metric("postern_audit_head", &[]), short as f64, "the metric carries the head");

    // It goes on over a restart.
    daemon.kill();
    daemon.restart_killed();
    daemon.must(&["block", "remove", "parcel.example"]);
    daemon.must(&["log", "verify", "--head", &head]);
    assert_eq!(daemon.must(&["log", "show", "--last", "1"]).lines().count(), 1);

    let path = daemon.state().join("audit.log");
    let (whole, copy) = (fs::read_to_string(&path).unwrap(), daemon.folder.0.join("copy.log"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let verify = |text_of_log: &str, more: &[&str]| {
        fs::write(&copy, text_of_log).unwrap();
        let output = daemon.postern(&[&["log", "verify", copy.to_str().unwrap()], more].concat());
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(verify(&whole, &[]).0, Some(0));
    assert_eq!(
        verify(&whole.replace("ticket 4711", "ticket 4712"), &[]),
        (Some(1), "postern: the audit log is broken at line 3: the entry was changed\n".into())
    );
    let without = |n: usize| whole.lines().enumerate().filter(|(i, _)| *i != n).map(|(_, line)| format!("{line}\n")).collect::<String>();
    assert!(verify(&without(2), &[]).1.contains("line 3: an entry is missing before it"));
    let cut: String = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
    assert_eq!(verify(&cut, &[]).0, Some(0), "a cut tail is whole in itself");
    assert!(verify(&cut, &["--head", &head]).1.contains("entry 5 is not there: the log was cut"));

    // The daemon finds it broken at its start, says so and goes on.
    daemon.kill();
    fs::write(&path, whole.replace("drill", "trill")).unwrap();
    daemon.restart_killed();
    assert!(daemon.must(&["status"]).contains("the audit log is broken at line 4"));
    daemon.must(&["block", "add", "other.example"]);
    assert!(daemon.must(&["log", "show", "--last", "1"]).contains("block add other.example"));
}
