use super::super::scratch::{Scratch, build_texts};
use super::super::{Action, Lookup, Suffixes};
use super::*;
use crate::blocklist::parse::Reading;

/// A list of one name that tells its serial.
fn plist(scratch: &Scratch, serial: u64, dates: (Option<u64>, Option<u64>)) -> Vec<u8> {
    let path = scratch.file("made.plist");
    build_texts(&path, &[(&format!("v{serial}.example\n"), Reading::default())], |o| {
        (o.id, o.serial) = ("scam".into(), serial);
        (o.not_before, o.expires) = dates;
    });
    fs::read(path).unwrap()
}

fn store(scratch: &Scratch) -> Store {
    Store::open(Settings { keep: 3, ..Settings::below(scratch.path()) }).unwrap()
}

fn push(store: &mut Store, octets: &[u8]) -> Result<Arc<List>, Refusal> {
    store.accept(&mut &octets[..], octets.len() as u64, Some(1000))
}

/// The serial whose marker name is blocked.
fn in_force(store: &Store) -> Option<u64> {
    let list = store.current("scam")?;
    (0..100).find(|s| {
        let name = Suffixes::of(&format!("v{s}.example").parse().unwrap());
        matches!(list.lookup(&name, Action::Block, 0, true), Lookup::Listed(_))
    })
}

#[test]
fn a_pushed_list_is_in_force_and_survives_a_restart() {
    let scratch = Scratch::new();
    let mut first = store(&scratch);
    assert!(first.lists().is_empty());
    push(&mut first, &plist(&scratch, 7, (None, None))).unwrap();
    assert_eq!(in_force(&first), Some(7));
    let since = first.activated("scam");
    assert!(since.is_some());
    drop(first);
    let again = store(&scratch);
    assert_eq!((in_force(&again), again.warnings().len(), again.activated("scam")), (Some(7), 0, since));
}

#[test]
fn old_serials_are_refused_also_after_rollback_and_loss_of_the_store() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    for serial in [5, 6] {
        push(&mut s, &plist(&scratch, serial, (None, None))).unwrap();
    }
    let refused = |s: &mut Store, serial| push(s, &plist(&scratch, serial, (None, None))).unwrap_err().label();
    assert_eq!((refused(&mut s, 6), refused(&mut s, 4)), ("not_newer", "not_newer"));
    assert_eq!(refused(&mut s, 6 + MAX_STEP + 1), "too_far_ahead");
    s.rollback("scam", None).unwrap();
    assert_eq!((in_force(&s), refused(&mut s, 6), refused(&mut s, 5)), (Some(5), "rolled_back", "not_newer"));
    assert_eq!(s.rollback("scam", None).unwrap_err().label(), "no_such_version");
    // The rolled-back version is not deleted, and does not come back by itself.
    assert_eq!(in_force(&store(&scratch)), Some(5));
    fs::remove_dir_all(scratch.file("lists")).unwrap();
    let mut s = store(&scratch);
    assert_eq!((in_force(&s), refused(&mut s, 6)), (None, "not_newer"));
    push(&mut s, &plist(&scratch, 7, (None, None))).unwrap();
    assert_eq!(in_force(&s), Some(7));
}

#[test]
fn only_so_many_versions_are_kept_and_an_operator_may_go_forward_again() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    for serial in 1..=5 {
        push(&mut s, &plist(&scratch, serial, (None, None))).unwrap();
    }
    let kept = |s: &Store| s.versions().unwrap().iter().map(|v| (v.serial, v.active)).collect::<Vec<_>>();
    assert_eq!(kept(&s), [(5, true), (4, false), (3, false)]);
    s.rollback("scam", Some(3)).unwrap();
    s.rollback("scam", Some(5)).unwrap();
    assert_eq!((in_force(&s), kept(&s).len()), (Some(5), 3));
}

#[test]
fn dates_are_judged_by_a_trusted_clock_only() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    let expired = plist(&scratch, 1, (None, Some(1000)));
    assert_eq!(push(&mut s, &expired).unwrap_err().label(), "expired");
    let early = plist(&scratch, 1, (Some(1001), None));
    assert_eq!(push(&mut s, &early).unwrap_err().label(), "not_yet_valid");
    let good = plist(&scratch, 1, (Some(1000), Some(1001)));
    assert_eq!(s.accept(&mut &good[..], good.len() as u64, None).unwrap_err().label(), "clock_untrusted");
    push(&mut s, &good).unwrap();
}

#[test]
fn a_refused_push_leaves_files_and_list_as_they_were() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    push(&mut s, &plist(&scratch, 1, (None, None))).unwrap();
    let good = plist(&scratch, 2, (None, None));
    let files = |s: &Store| {
        (fs::read_dir(scratch.file("lists")).unwrap().count(), s.versions().unwrap(), fs::read(scratch.file("serials.json")).unwrap())
    };
    let before = files(&s);
    let mut flipped = good.clone();
    flipped[4096 + 30] ^= 4;
    for (octets, length, label) in [
        (&flipped[..], flipped.len() as u64, "unsound"),
        (&good[..good.len() - 1], good.len() as u64, "cut_short"),
        (&good[..good.len() - 1], good.len() as u64 - 1, "cut_short"),
        (&good[..4000], 4000, "unsound"),
        (&b"junk"[..], 4, "unsound"),
        (&good[..], MAX_FILE + 1, "too_large"),
    ] {
        let refusal = s.accept(&mut &*octets, length, Some(1000)).unwrap_err();
        assert_eq!(refusal.label(), label, "{refusal}");
        assert!(!refusal.remedy().is_empty());
        assert_eq!((files(&s), in_force(&s)), (before.clone(), Some(1)));
    }
}

#[test]
fn a_damaged_version_at_start_gives_way_to_the_last_good_one() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    for serial in [1, 2] {
        push(&mut s, &plist(&scratch, serial, (None, None))).unwrap();
    }
    drop(s);
    let newest = scratch.file("lists/scam/0000000000000002.plist");
    let mut octets = fs::read(&newest).unwrap();
    octets[4096 + 30] ^= 1;
    fs::write(&newest, &octets).unwrap();
    let s = store(&scratch);
    assert_eq!(in_force(&s), Some(1));
    assert_eq!(s.warnings()[0].to_string(), "list scam serial 2 is damaged, serial 1 serves");
    fs::write(scratch.file("lists/scam/0000000000000001.plist"), b"").unwrap();
    let s = store(&scratch);
    assert!(in_force(&s).is_none() && s.warnings()[1].to_string().contains("NOTHING"));
}

#[test]
fn an_unreadable_file_of_serials_warns_and_the_versions_at_hand_count() {
    let scratch = Scratch::new();
    push(&mut store(&scratch), &plist(&scratch, 4, (None, None))).unwrap();
    fs::write(scratch.file("serials.json"), b"{").unwrap();
    let mut s = store(&scratch);
    assert!(matches!(s.warnings(), [Warning::Serials(_)]));
    assert_eq!(push(&mut s, &plist(&scratch, 4, (None, None))).unwrap_err().label(), "not_newer");
}

/// The process dies after each step of a push and of a rollback: what starts next has the state before or the state after.
#[test]
fn dying_at_any_step_leaves_the_state_before_or_after() {
    use Step::*;
    for (step, after) in [(Created, 1), (Written, 1), (Verified, 1), (Renamed, 1), (Named, 2), (Noted, 2), (Pruned, 2)] {
        let scratch = Scratch::new();
        let mut s = store(&scratch);
        push(&mut s, &plist(&scratch, 1, (None, None))).unwrap();
        let octets = plist(&scratch, 2, (None, None));
        let arriving = scratch.file("lists").join(format!("arriving{UNFINISHED}"));
        let mut die = |at| if at == step { Err(io::Error::other("killed")) } else { Ok(()) };
        let mut gate = |_: &Arriving<'_>| Ok(vec![Kept { key: "KEY".into(), text: "signature".into() }]);
        s.take(&arriving, &mut &octets[..], octets.len() as u64, Some(1000), &mut gate, &mut die).unwrap_err();
        drop(s);
        let mut s = store(&scratch);
        assert_eq!((in_force(&s), s.warnings().len()), (Some(after), 0), "{step:?}");
        // A push that did not count can be made again; one that did is known.
        assert_eq!(push(&mut s, &octets).is_ok(), after == 1, "{step:?}");
        assert_eq!(in_force(&s), Some(2), "{step:?}");
        for (step, back) in [(Named, 1), (Noted, 1)] {
            let mut die = |at| if at == step { Err(io::Error::other("killed")) } else { Ok(()) };
            s.go_back("scam", Some(1), &mut |_, _, _| Ok(Vec::new()), &mut die).unwrap_err();
            s = store(&scratch);
            assert_eq!((in_force(&s), s.highest("scam")), (Some(back), 2), "{step:?}");
        }
    }
}

#[test]
fn signatures_are_kept_with_their_version_and_go_with_it() {
    let scratch = Scratch::new();
    let mut s = store(&scratch);
    for serial in 1..=4 {
        let octets = plist(&scratch, serial, (None, None));
        let mut gate = |arriving: &Arriving<'_>| {
            assert_eq!(arriving.in_force.map(|l| l.manifest().serial), (serial > 1).then(|| serial - 1));
            Ok(vec![Kept { key: format!("KEY{serial}"), text: "signature".into() }])
        };
        s.accept_through(&mut &octets[..], octets.len() as u64, Some(1000), &mut gate).unwrap();
    }
    let signers: Vec<_> = s.versions().unwrap().into_iter().map(|v| (v.serial, v.signers)).collect();
    assert_eq!(signers, [(4, vec!["KEY4".to_owned()]), (3, vec!["KEY3".to_owned()]), (2, vec!["KEY2".to_owned()])]);
    let refused = plist(&scratch, 5, (None, None));
    let refusal = s.accept_through(&mut &refused[..], refused.len() as u64, Some(1000), &mut |_| Err(Refusal::Unsigned)).unwrap_err();
    assert_eq!((refusal.label(), in_force(&s), s.highest("scam")), ("unsigned", Some(4), 4));
    let left = fs::read_dir(scratch.file("lists/scam")).unwrap().count();
    assert_eq!(left, 3 * 2 + 1, "three versions, three signatures, the file that names one");
}
