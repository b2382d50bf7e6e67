#![allow(clippy::disallowed_methods, reason = "tests read files")]

use std::fs;
use std::slice::from_ref;

use super::*;
use crate::blocklist::parse::Reading;
use crate::blocklist::scratch::{Scratch, build_texts, list};
use crate::blocklist::signature::sha256;

fn key(signer: &Signer, lists: &[&str]) -> Key {
    Key {
        public: signer.public(),
        owner: "curator".into(),
        lists: lists.iter().map(|l| (*l).to_owned()).collect(),
        may_block: true,
        may_allow: false,
        largest_change_percent: None,
        revoked: None,
    }
}

struct Case {
    scratch: Scratch,
    signers: [Signer; 2],
}

impl Case {
    fn new() -> Case {
        Case { scratch: Scratch::new(), signers: [Signer::generate().unwrap(), Signer::generate().unwrap()] }
    }

    fn list(&self, id: &str, text: &str) -> (List, File) {
        let list = list(&self.scratch, id, text, Reading::default());
        (list, File::open(self.scratch.file(&format!("{id}.plist"))).unwrap())
    }

    fn set(&self, needed: usize, change: impl FnOnce(&mut Vec<Key>)) -> KeySet {
        let mut keys = self.signers.iter().map(|s| key(s, &["scam"])).collect();
        change(&mut keys);
        KeySet::new(1, needed, keys).unwrap()
    }
}

#[test]
fn each_reason_to_refuse_a_signature_is_told_apart() {
    let case = Case::new();
    let [a, b] = &case.signers;
    let (scam, file) = case.list("scam", "scam.example\n");
    let (by_a, by_b) = (a.sign(&scam, &file).unwrap(), b.sign(&scam, &file).unwrap());
    let stranger = Signer::generate().unwrap().sign(&scam, &file).unwrap();
    let admit = |set: &KeySet, list: &List, file: &File, signatures: &[Signature]| {
        set.admit(list, file, sha256(file).unwrap(), signatures, None).map_err(|r| r.label())
    };
    let refused = |set: &KeySet, signatures: &[Signature]| admit(set, &scam, &file, signatures);

    let one = case.set(1, |_| ());
    assert_eq!(refused(&one, from_ref(&by_a)).unwrap(), [0]);
    assert_eq!(refused(&one, &[]), Err("unsigned"));
    assert_eq!(refused(&one, from_ref(&stranger)), Err("unknown_key"));
    assert_eq!(refused(&one, &[stranger, by_a.clone()]).unwrap(), [1], "a stranger's signature beside ours harms nothing");
    let two = case.set(2, |_| ());
    assert_eq!(refused(&two, &[by_a.clone(), by_a.clone()]), Err("too_few_signatures"), "the same key twice is one key");
    assert_eq!(refused(&two, &[by_a.clone(), by_b.clone()]).unwrap().len(), 2);
    assert_eq!(refused(&case.set(1, |k| k[0].revoked = Some("stolen".into())), &[by_a.clone(), by_b]), Err("revoked_key"));
    assert_eq!(refused(&case.set(1, |k| k[0].may_block = false), from_ref(&by_a)), Err("not_entitled"));
    assert_eq!(refused(&case.set(1, |k| k[0].lists = vec!["other".into()]), from_ref(&by_a)), Err("not_entitled"));

    let (allow, allow_file) = {
        let path = case.scratch.file("scam-allow.plist");
        build_texts(&path, &[("fine.example\n", Reading { action: Action::Allow, ..Reading::default() })], |o| o.id = "scam".into());
        (List::open(&path).unwrap(), File::open(path).unwrap())
    };
    let signed = a.sign(&allow, &allow_file).unwrap();
    assert_eq!(admit(&one, &allow, &allow_file, &[signed]), Err("not_entitled"), "it may block, not allow");
    // The right signature for the wrong file, and a comment that lies about the right one.
    assert_eq!(admit(&one, &allow, &allow_file, from_ref(&by_a)), Err("other_file"));
    let (other, other_file) = case.list("other", "scam.example\n");
    let of_other = case.set(1, |k| k[0].lists = vec!["other".into()]);
    assert_eq!(admit(&of_other, &other, &other_file, &[by_a]), Err("other_file"));
    let mut lie = Comment::of(&scam, &file).unwrap();
    lie.serial += 1;
    let lying = a.sign_with(&file, &lie.to_string()).unwrap();
    assert_eq!(refused(&one, &[lying]), Err("other_file"));
    assert_eq!(refused(&one, &[a.sign_with(&file, "postern-keys serial=1").unwrap()]), Err("other_file"));
}

#[test]
fn a_key_may_change_only_so_much_at_once() {
    let case = Case::new();
    let text: String = (0..100).map(|i| format!("n{i}.example\n")).collect();
    let (old, _) = case.list("scam", &text);
    let path = case.scratch.file("next.plist");
    build_texts(&path, &[(&text.replace("n1.", "m1.").replace("n2.", "m2."), Reading::default())], |o| {
        (o.id, o.serial) = ("scam".into(), 2)
    });
    let (new, file) = (List::open(&path).unwrap(), File::open(path).unwrap());
    let signed = [case.signers[0].sign(&new, &file).unwrap()];
    let set = |percent| case.set(1, |k| k[0].largest_change_percent = Some(percent));
    let admit = |set: &KeySet, old: Option<&List>| set.admit(&new, &file, sha256(&file).unwrap(), &signed, old);
    let refusal = admit(&set(3), Some(&old)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooMuchChange { percent: 4, allowed: 3, .. }), "{refusal}");
    admit(&set(4), Some(&old)).unwrap();
    admit(&set(0), None).unwrap();
}

#[test]
fn a_key_set_travels_under_the_root_key_and_never_backwards() {
    let case = Case::new();
    let root = Signer::generate().unwrap();
    let set = KeySet::new(5, 1, vec![key(&case.signers[0], &["scam"])]).unwrap();
    let json = set.to_json().unwrap();
    let sign = |signer: &Signer, comment: &str| signer.sign_with(Cursor::new(&json), comment).unwrap();
    let signed = sign(&root, &set.comment());
    assert_eq!(KeySet::accept(&json, &signed, &root.public(), 5).unwrap(), set);
    assert!(matches!(KeySet::accept(&json, &signed, &root.public(), 6), Err(KeySetError::NotNewer { serial: 5, least: 6 })));
    let by_other = sign(&case.signers[0], &set.comment());
    assert!(matches!(KeySet::accept(&json, &by_other, &root.public(), 4), Err(KeySetError::NotByRoot)));
    let other_kind = sign(&root, "postern-list id=scam");
    assert!(matches!(KeySet::accept(&json, &other_kind, &root.public(), 4), Err(KeySetError::NotByRoot)));
}

#[test]
fn a_key_set_that_makes_no_sense_is_refused_whole() {
    let case = Case::new();
    let one = key(&case.signers[0], &["scam"]);
    let revoked = Key { revoked: Some("lost".into()), ..one.clone() };
    assert!(matches!(KeySet::new(1, 1, vec![one.clone(), one.clone()]), Err(KeySetError::Twice(_))));
    assert!(matches!(KeySet::new(1, 0, vec![one.clone()]), Err(KeySetError::Needed { .. })));
    assert!(matches!(KeySet::new(1, 1, vec![revoked]), Err(KeySetError::Needed { needed: 1, there: 0 })));
    assert!(matches!(KeySet::new(1, 1, vec![Key { public: "AAAA".into(), ..one.clone() }]), Err(KeySetError::BadKey(_))));
    assert!(matches!(KeySet::new(1, 1, vec![Key { lists: vec!["../x".into()], ..one }]), Err(KeySetError::BadList(_))));
    assert!(matches!(KeySet::read(b"{\"version\":1}"), Err(KeySetError::Json(_))));
}

#[test]
fn the_key_of_the_box_is_made_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let path = scratch.file("box.key");
    let first = box_key(&path).unwrap().key();
    assert_eq!(box_key(&path).unwrap().key(), first);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(box_key(&path), Err(SignerError::Loose(_))));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "junk").unwrap();
    assert!(box_key(&path).is_err());
}

/// Debian's minisign verifies what we sign, and we verify what it signs.
#[test]
fn minisign_agrees_both_ways() {
    use std::process::Command;
    let case = Case::new();
    let (scam, file) = case.list("scam", "scam.example\n");
    let plist = case.scratch.file("scam.plist");
    let signed = case.signers[0].sign(&scam, &file).unwrap();
    fs::write(case.scratch.file("scam.plist.minisig"), signed.text()).unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let done = Command::new("minisign").args(arguments).output().expect("minisign is in tests/packages.txt");
        (done.status.success(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
    };
    let public = case.signers[0].public();
    let (good, said) = run(&["-V".as_ref(), "-P".as_ref(), public.as_ref(), "-m".as_ref(), plist.as_ref()]);
    assert!(good && said.contains("postern-list id=scam serial=1 expires=never format=1"), "{said}");

    let secret = case.scratch.file("minisign.key");
    fs::write(&secret, case.signers[1].to_text().unwrap()).unwrap();
    let comment = Comment::of(&scam, &file).unwrap().to_string();
    let out = case.scratch.file("theirs.minisig");
    let (good, said) = run(&[
        "-S".as_ref(),
        "-W".as_ref(),
        "-H".as_ref(),
        "-s".as_ref(),
        secret.as_ref(),
        "-t".as_ref(),
        comment.as_ref(),
        "-x".as_ref(),
        out.as_ref(),
        "-m".as_ref(),
        plist.as_ref(),
    ]);
    assert!(good, "{said}");
    let theirs = Signature::read(&fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(case.set(1, |_| ()).admit(&scam, &file, sha256(&file).unwrap(), &[theirs], None).unwrap(), [0]);
}
