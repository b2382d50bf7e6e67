//! Whole judgements over scripted zones: what is Secure, what is proven Insecure, and what breaks how.

use super::testzone::{Denying, Key, NOW, TTL, World, Zone, at, name, question};
use super::*;
use crate::wire::Rtype;

const NSEC: Denying = Denying::Nsec;

fn nsec3() -> Denying {
    Denying::Nsec3 { salt: vec![0xab, 0xcd], iterations: 5, opt_out: false }
}

fn opt_out() -> Denying {
    Denying::Nsec3 { salt: Vec::new(), iterations: 0, opt_out: true }
}

/// The root, `post.` by `denying`, and below it a signed and an unsigned zone with the same data.
fn world(denying: Denying) -> World {
    let root = Zone::signed(".", NSEC);
    let mut post = Zone::signed("post.", denying.clone());
    post.add("info.post.", Rtype::A, &[192, 0, 2, 1]);
    let mut signed = Zone::signed("signed.post.", denying);
    let mut unsigned = Zone::unsigned("unsigned.post.");
    for (zone, apex) in [(&mut signed, "signed.post."), (&mut unsigned, "unsigned.post.")] {
        zone.add(&format!("www.{apex}"), Rtype::A, &[192, 0, 2, 2]);
        zone.add(&format!("alias.{apex}"), Rtype::CNAME, name("www.elsewhere.test").wire());
        zone.add(&format!("*.wild.{apex}"), Rtype::A, &[192, 0, 2, 3]);
        zone.add(&format!("deep.under.empty.{apex}"), Rtype::A, &[192, 0, 2, 4]);
        zone.add(&format!("old.{apex}"), Rtype::DNAME, name("new.test").wire());
    }
    World::new(vec![root, post, signed, unsigned])
}

fn validator(world: &World, settings: Settings) -> Validator {
    let mut anchors = Anchors::none();
    anchors.add(Name::root(), world.zones[0].anchor());
    Validator::new(anchors, NegativeAnchors::new(), settings)
}

async fn judged(world: &World, asked: &str, rtype: Rtype) -> Verdict {
    judged_at(world, asked, rtype, at(NOW)).await
}

async fn judged_at(world: &World, asked: &str, rtype: Rtype, when: When) -> Verdict {
    let validator = validator(world, Settings::default());
    let reply = world.ask(&question(asked, rtype));
    validator.judge(&reply, world, when, &validator.work()).await
}

async fn status(world: &World, asked: &str, rtype: Rtype) -> Status {
    judged(world, asked, rtype).await.status
}

const INSECURE: Status = Status::Insecure(Insecurity::NoDs);

/// RFC 4035 section 5: a chain from the anchor to every kind of answer, with and without known zone cuts.
#[tokio::test]
async fn every_answer_of_a_signed_zone_is_secure_and_of_an_unsigned_one_insecure() {
    for denying in [NSEC, nsec3()] {
        for tells_cuts in [true, false] {
            let mut world = world(denying.clone());
            world.tells_cuts = tells_cuts;
            for (host, rtype) in [
                ("www", Rtype::A),
                ("www", Rtype::MX),
                ("missing", Rtype::A),
                ("missing.under.www", Rtype::A),
                ("alias", Rtype::A),
                ("alias", Rtype::CNAME),
                ("anything.wild", Rtype::A),
                ("any.thing.wild", Rtype::A),
                ("anything.wild", Rtype::MX),
                ("empty", Rtype::A),
                ("under.empty", Rtype::TXT),
                ("x.old", Rtype::A),
                ("old", Rtype::DNAME),
                ("www", Rtype::DS),
                ("missing", Rtype::DS),
            ] {
                let ask = |zone: &str| format!("{host}.{zone}.post");
                assert_eq!(status(&world, &ask("signed"), rtype).await, Status::Secure, "{host} {rtype} {denying:?} {tells_cuts}");
                assert_eq!(status(&world, &ask("unsigned"), rtype).await, INSECURE, "{host} {rtype} {denying:?} {tells_cuts}");
            }
            for rtype in [Rtype::DNSKEY, Rtype::SOA, Rtype::NS, Rtype::MX, Rtype::DS] {
                assert_eq!(status(&world, "signed.post", rtype).await, Status::Secure, "{rtype} {denying:?} {tells_cuts}");
            }
            assert_eq!(status(&world, "unsigned.post", Rtype::SOA).await, INSECURE);
            assert_eq!(status(&world, "unsigned.post", Rtype::DS).await, Status::Secure, "the parent denies it");
        }
    }
}

/// RFC 4035 section 5.3.3: the TTL is bounded by the Original TTL and by what is left of the signature.
#[tokio::test]
async fn the_ttl_ends_with_the_signature() {
    let mut world = world(NSEC);
    assert_eq!(judged(&world, "www.signed.post", Rtype::A).await.ttl_cap, TTL);
    world.zone("signed.post.").expiration = NOW + 100;
    assert_eq!(judged(&world, "www.signed.post", Rtype::A).await.ttl_cap, 100);
    assert_eq!(judged(&world, "www.unsigned.post", Rtype::A).await.ttl_cap, u32::MAX);
}

fn bogus(reason: Bogus) -> Status {
    Status::Bogus(reason)
}

/// RFC 4035 section 5.3.1: Bogus for each kind of broken signature, each with its own reason (RFC 8914 section 4).
#[tokio::test]
async fn a_broken_signature_is_bogus_with_its_reason() {
    let www = || question("www.signed.post", Rtype::A);
    type Break = fn(&mut World);
    let cases: [(Bogus, u16, Break); 6] = [
        (Bogus::SignatureExpired, 7, |w| w.tamper(question("www.signed.post", Rtype::A), |r| set_times(r, NOW - 100, NOW - 1))),
        (Bogus::SignatureNotYetValid, 8, |w| w.tamper(question("www.signed.post", Rtype::A), |r| set_times(r, NOW + 1, NOW + 100))),
        (Bogus::SignatureExpiredBeforeValid, 25, |w| w.tamper(question("www.signed.post", Rtype::A), |r| set_times(r, NOW, NOW - 1))),
        (Bogus::BadSignature, 6, |w| w.tamper(question("www.signed.post", Rtype::A), |r| r.answer[0].rdatas[0][3] ^= 1)),
        (Bogus::RrsigsMissing, 10, |w| w.tamper(question("www.signed.post", Rtype::A), |r| r.answer[0].sigs.clear())),
        (Bogus::DnskeyMissing, 9, |w| w.tamper(question("www.signed.post", Rtype::A), |r| r.answer[0].sigs[0][17] ^= 1)),
    ];
    for (reason, code, break_it) in cases {
        let mut world = world(NSEC);
        break_it(&mut world);
        let verdict = judged(&world, "www.signed.post", Rtype::A).await;
        assert_eq!((verdict.status, verdict.ede[0].code), (bogus(reason), code));
        assert!(verdict.ede[0].text.starts_with(&www().to_string()), "{}", verdict.ede[0].text);
    }
}

/// Gives the answer's signature other times. Times are checked before the signature itself, which these break.
fn set_times(reply: &mut Reply, inception: u64, expiration: u64) {
    let sig = &mut reply.answer[0].sigs[0];
    sig[8..12].copy_from_slice(&(expiration as u32).to_be_bytes());
    sig[12..16].copy_from_slice(&(inception as u32).to_be_bytes());
}

/// RFC 4035 section 5.2: below a secure zone, nothing is Insecure without proof.
#[tokio::test]
async fn a_missing_link_of_the_chain_is_bogus() {
    for denying in [NSEC, nsec3()] {
        let without_proof = |r: &mut Reply| r.authority.retain(|s| s.rtype == Rtype::SOA);
        let mut stripped = world(denying.clone());
        stripped.tamper(question("unsigned.post", Rtype::DS), without_proof);
        assert_eq!(status(&stripped, "www.unsigned.post", Rtype::A).await, bogus(Bogus::NsecMissing));

        let mut no_ds = world(denying.clone());
        no_ds.tamper(question("signed.post", Rtype::DS), |r| r.answer.clear());
        assert_eq!(status(&no_ds, "www.signed.post", Rtype::A).await, bogus(Bogus::NsecMissing));

        // The denial of another delegation's DS does not serve.
        let mut swapped = world(denying.clone());
        let other = swapped.ask(&question("unsigned.post", Rtype::DS)).authority;
        swapped.tamper(question("signed.post", Rtype::DS), move |r| (r.answer, r.authority) = (Vec::new(), other.clone()));
        assert!(matches!(status(&swapped, "www.signed.post", Rtype::A).await, Status::Bogus(_)));

        let mut dead = world(denying.clone());
        dead.kill(question("signed.post", Rtype::DNSKEY));
        assert_eq!(status(&dead, "www.signed.post", Rtype::A).await, bogus(Bogus::NoKeys));

        let mut wrong_key = world(denying.clone());
        let stranger = Zone::signed_with("signed.post.", denying.clone(), vec![Key::ed25519(99)]);
        let theirs = stranger.answer(&question("signed.post", Rtype::DNSKEY));
        wrong_key.tamper(question("signed.post", Rtype::DNSKEY), move |r| r.answer = theirs.answer.clone());
        let verdict = judged(&wrong_key, "www.signed.post", Rtype::A).await;
        assert_eq!((verdict.status, verdict.ede[0].code), (bogus(Bogus::DnskeyMissing), 9));
    }
}

/// RFC 4035 section 5.2: only where every DS is of an unknown algorithm or digest is the child Insecure.
#[tokio::test]
async fn a_zone_of_unknown_algorithms_only_is_insecure() {
    for (keys, digest, expected, code) in [
        (vec![Key::unknown(16)], 2, Status::Insecure(Insecurity::UnsupportedAlgorithm), 1),
        (vec![Key::unknown(7)], 2, Status::Insecure(Insecurity::UnsupportedAlgorithm), 1), // RFC 9905 section 2
        (vec![Key::ed25519(5)], 3, Status::Insecure(Insecurity::UnsupportedDigest), 2),
        (vec![Key::ed25519(5), Key::unknown(16)], 2, Status::Secure, 0),
        (vec![Key::unknown(16), Key::ecdsa()], 4, Status::Secure, 0),
        (vec![Key::ecdsa()], 1, Status::Secure, 0),
    ] {
        let mut child = Zone::signed_with("child.", NSEC, keys);
        child.add("www.child.", Rtype::A, &[192, 0, 2, 9]);
        let mut root = Zone::signed(".", NSEC);
        root.add("child.", Rtype::NS, name("ns.invalid").wire());
        for key in &child.keys {
            let mut ds = key.ds(&child.apex, digest);
            ds[3] = digest;
            root.add("child.", Rtype::DS, &ds);
        }
        let world = World { zones: vec![root, child], tells_cuts: true, ..World::default() };
        let verdict = judged(&world, "www.child", Rtype::A).await;
        assert_eq!((verdict.status, verdict.ede.first().map_or(0, |e| e.code)), (expected, code));
    }
}

/// RFC 4509 section 3: a forged SHA-1 DS does not help where there is a SHA-256 one.
#[tokio::test]
async fn a_sha1_ds_is_ignored_beside_sha256() {
    let mut child = Zone::signed_with("child.", NSEC, vec![Key::ed25519(5)]);
    child.add("www.child.", Rtype::A, &[192, 0, 2, 9]);
    let mut root = Zone::signed(".", NSEC);
    root.add("child.", Rtype::NS, name("ns.invalid").wire());
    root.add("child.", Rtype::DS, &child.keys[0].ds(&child.apex, 1));
    root.add("child.", Rtype::DS, &Key::ed25519(6).ds(&child.apex, 2));
    let world = World { zones: vec![root, child], tells_cuts: true, ..World::default() };
    assert_eq!(status(&world, "www.child", Rtype::A).await, bogus(Bogus::DnskeyMissing));
}

/// RFC 5155 sections 8.6 and 9.2: what an opt-out span may hide is Insecure, and AD is never set over it.
#[tokio::test]
async fn opt_out_spans_make_insecure_never_secure() {
    for tells_cuts in [true, false] {
        let mut world = world(opt_out());
        world.tells_cuts = tells_cuts;
        let opted_out = Status::Insecure(Insecurity::OptOut);
        assert_eq!(status(&world, "www.unsigned.post", Rtype::A).await, opted_out);
        assert_eq!(status(&world, "www.signed.post", Rtype::A).await, Status::Secure);
        assert_eq!(status(&world, "missing.post", Rtype::A).await, opted_out);
        assert_eq!(status(&world, "unsigned.post", Rtype::DS).await, opted_out);
        assert_eq!(status(&world, "info.post", Rtype::MX).await, Status::Secure);
        assert_eq!(status(&world, "a.wild.signed.post", Rtype::A).await, opted_out, "RFC 5155 section 9.2 for wildcards");
    }
}

/// RFC 4035 section 5.3.4: a wildcard answer needs the proof that nothing closer exists.
#[tokio::test]
async fn a_wildcard_answer_without_its_proof_is_bogus() {
    for denying in [NSEC, nsec3()] {
        let asked = || question("a.wild.signed.post", Rtype::A);
        let mut world = world(denying);
        let verdict = judged(&world, "a.wild.signed.post", Rtype::A).await;
        assert_eq!((verdict.status, verdict.proof.unwrap().denied), (Status::Secure, Denied::ExactName));
        world.tamper(asked(), |r| r.authority.clear());
        let verdict = judged(&world, "a.wild.signed.post", Rtype::A).await;
        assert_eq!((verdict.status, verdict.ede[0].code), (bogus(Bogus::NsecMissing), 12));
    }
}

/// The wildcard's data given for a name that exists: the proof for another name does not cover it.
#[tokio::test]
async fn a_wildcard_does_not_answer_for_a_name_that_exists() {
    for denying in [NSEC, nsec3()] {
        let mut world = world(denying);
        world.zone("signed.post.").add("real.wild.signed.post.", Rtype::TXT, b"\x01x");
        let forged = world.ask(&question("other.wild.signed.post", Rtype::A));
        world.tamper(question("real.wild.signed.post", Rtype::A), move |r| {
            (r.answer, r.authority) = (forged.answer.clone(), forged.authority.clone());
            r.answer[0].owner = name("real.wild.signed.post");
        });
        assert!(matches!(status(&world, "real.wild.signed.post", Rtype::A).await, Status::Bogus(_)));
    }
}

/// Every record of a negative answer is needed: leave out any one and it is Bogus. The response code is not signed: one that claims less
/// than is proven is Bogus, one that claims more is put right.
#[tokio::test]
async fn no_record_of_a_denial_can_be_left_out() {
    for denying in [NSEC, nsec3()] {
        for (asked, rtype) in [("missing.signed.post", Rtype::A), ("x.wild.signed.post", Rtype::MX), ("www.signed.post", Rtype::MX)] {
            let count = world(denying.clone()).ask(&question(asked, rtype)).authority.len();
            for left_out in 1..count {
                let mut world = world(denying.clone());
                world.tamper(question(asked, rtype), move |r| drop(r.authority.remove(left_out)));
                assert!(matches!(status(&world, asked, rtype).await, Status::Bogus(_)), "{asked} {rtype} without {left_out}");
            }
            let mut other_rcode = world(denying.clone());
            other_rcode.tamper(question(asked, rtype), |r| r.rcode = Rcode(r.rcode.0 ^ Rcode::NXDOMAIN.0));
            let verdict = judged(&other_rcode, asked, rtype).await;
            match rtype {
                Rtype::A => assert!(matches!(verdict.status, Status::Bogus(_)), "{asked} {rtype}"),
                _ => assert_eq!((verdict.status, verdict.rcode), (Status::Secure, Rcode::NOERROR), "{asked} {rtype}"),
            }
            let mut unsigned_soa = world(denying.clone());
            unsigned_soa.tamper(question(asked, rtype), |r| r.authority[0].sigs.clear());
            assert_eq!(status(&unsigned_soa, asked, rtype).await, bogus(Bogus::RrsigsMissing));
        }
    }
}

/// RFC 6840 section 4.1: the parent's NSEC at a cut, or at a DNAME, says nothing about names below.
#[tokio::test]
async fn a_parents_denial_does_not_reach_below_a_cut() {
    for denying in [NSEC, nsec3()] {
        let mut world = world(denying);
        let at_cut = world.ask(&question("unsigned.post", Rtype::DS)).authority;
        world.tamper(question("www.signed.post", Rtype::TXT), move |r| r.authority = at_cut.clone());
        assert!(matches!(status(&world, "www.signed.post", Rtype::TXT).await, Status::Bogus(_)));
        // The parent side has no A at the cut, and must not say so (RFC 6840 section 4.4).
        let own = world.zones[1].answer(&question("signed.post", Rtype::TXT)).authority;
        world.tamper(question("signed.post", Rtype::A), move |r| r.authority = own.clone());
        assert_eq!(status(&world, "signed.post", Rtype::A).await, bogus(Bogus::BadDenial));
    }
}

/// RFC 9276 section 3.2: above the limit Insecure with EDE 27, or Bogus by setting; but not before the signature has verified.
#[tokio::test]
async fn nsec3_iterations_above_the_limit_are_insecure_only_when_signed() {
    let many = Denying::Nsec3 { salt: Vec::new(), iterations: 51, opt_out: false };
    let mut world = world(many);
    let work_of = |v: &Validator| v.work();
    for (settings, expected) in [
        (Settings::default(), Status::Insecure(Insecurity::Nsec3Iterations)),
        (Settings { nsec3_iterations_bogus: true, ..Settings::default() }, bogus(Bogus::Nsec3Iterations)),
        (Settings { nsec3_iterations: 51, ..Settings::default() }, Status::Secure),
    ] {
        let validator = validator(&world, settings);
        let work = work_of(&validator);
        let verdict = validator.judge(&world.ask(&question("missing.signed.post", Rtype::A)), &world, at(NOW), &work).await;
        assert_eq!(verdict.status, expected);
        assert!(expected == Status::Secure || (verdict.ede[0].code == 27 && work.nsec3_rounds() == 0));
    }
    world.tamper(question("missing.signed.post", Rtype::A), |r| {
        for set in r.authority.iter_mut().filter(|s| s.rtype == Rtype::NSEC3) {
            *set.sigs[0].last_mut().unwrap() ^= 1;
        }
    });
    assert_eq!(status(&world, "missing.signed.post", Rtype::A).await, bogus(Bogus::BadSignature));
}

/// RFC 6672 section 5.3.1: the unsigned CNAME must be exactly what the signed DNAME makes of the name.
#[tokio::test]
async fn a_cname_that_its_dname_does_not_make_is_bogus() {
    let mut world = world(NSEC);
    world.tamper(question("x.old.signed.post", Rtype::A), |r| r.answer[1].rdatas[0] = name("evil.test").wire().into());
    assert_eq!(status(&world, "x.old.signed.post", Rtype::A).await, bogus(Bogus::RrsigsMissing));
    world.tamper(question("y.old.signed.post", Rtype::A), |r| r.answer[0].sigs.clear());
    assert_eq!(status(&world, "y.old.signed.post", Rtype::A).await, bogus(Bogus::RrsigsMissing));
}

/// A signature said to be by a zone above the anchor must not lead around it.
#[tokio::test]
async fn a_made_up_signer_above_the_anchor_is_not_followed() {
    let mut world = world(NSEC);
    let mut anchors = Anchors::none();
    anchors.add(name("signed.post"), world.zone("signed.post.").anchor());
    let validator = Validator::new(anchors, NegativeAnchors::new(), Settings::default());
    let reply = world.ask(&question("www.signed.post", Rtype::A));
    assert_eq!(validator.judge(&reply, &world, at(NOW), &validator.work()).await.status, Status::Secure);
    let mut forged = world.ask(&question("info.post", Rtype::A));
    forged.question.name = name("www.signed.post");
    forged.answer[0].owner = name("www.signed.post");
    assert_eq!(validator.judge(&forged, &world, at(NOW), &validator.work()).await.status, bogus(Bogus::WrongSigner));
    let outside = world.ask(&question("info.post", Rtype::A));
    let verdict = validator.judge(&outside, &world, at(NOW), &validator.work()).await;
    assert_eq!(verdict.status, Status::Insecure(Insecurity::NoAnchor));
}

/// RFC 6840 section 5.10, as Unbound has it: the closest anchor governs, but its zone may be denied by one under an anchor above.
#[tokio::test]
async fn the_zone_of_an_anchor_may_be_denied_from_above_but_only_beyond_doubt() {
    for denying in [NSEC, nsec3(), opt_out()] {
        let mut world = world(denying.clone());
        let mut anchors = Anchors::none();
        anchors.add(name("post"), world.zone("post.").anchor());
        anchors.add(name("gone.post"), world.zone("signed.post.").anchor());
        anchors.add(name("signed.post"), world.zone("signed.post.").anchor());
        let validator = Validator::new(anchors, NegativeAnchors::new(), Settings::default());
        let reply = world.ask(&question("www.gone.post", Rtype::A));
        let verdict = validator.judge(&reply, &world, at(NOW), &validator.work()).await;
        if denying == opt_out() {
            assert!(matches!(verdict.status, Status::Bogus(_)), "{:?}", verdict.status);
        } else {
            assert_eq!(verdict.status, Status::Secure, "{denying:?}");
        }
        // A zone that is there is not denied by its parent's records, neither of another name nor signed by nobody.
        let mut forged = reply.clone();
        forged.question.name = name("www.signed.post");
        let verdict = validator.judge(&forged, &world, at(NOW), &validator.work()).await;
        assert!(matches!(verdict.status, Status::Bogus(_)), "{denying:?}: {:?}", verdict.status);
    }
}

/// A server for parent and child answers from the child at once: the iterator saw no cut, the proof is found all the same.
#[tokio::test]
async fn an_unsigned_child_on_its_parents_server_is_proven_insecure() {
    for denying in [NSEC, nsec3(), opt_out()] {
        let world = world(denying);
        let validator = validator(&world, Settings::default());
        let mut reply = world.ask(&question("www.unsigned.post", Rtype::A));
        reply.zone = name("post");
        let source = Cutless(&world);
        let verdict = validator.judge(&reply, &source, at(NOW), &validator.work()).await;
        assert!(matches!(verdict.status, Status::Insecure(Insecurity::NoDs | Insecurity::OptOut)), "{:?}", verdict.status);
    }
}

/// A source that knows no cut below the root and `post.`.
struct Cutless<'a>(&'a World);

impl Source for Cutless<'_> {
    async fn fetch(&self, question: &Question) -> Result<Reply, NoReply> {
        self.0.fetch(question).await
    }
    fn cuts(&self, _: &Name) -> Option<Vec<Name>> {
        Some(vec![Name::root(), name("post")])
    }
}

/// Below the clock floor signature times are not checked, but nothing is Secure and nothing is remembered.
#[tokio::test]
async fn without_a_clock_signatures_count_but_nothing_is_secure() {
    let mut world = world(NSEC);
    let lost = When { now: 1000, trusted: false };
    let validator = validator(&world, Settings::default());
    let reply = world.ask(&question("www.signed.post", Rtype::A));
    let verdict = validator.judge(&reply, &world, lost, &validator.work()).await;
    assert_eq!((verdict.status, verdict.ttl_cap), (Status::Indeterminate, 30));
    assert_eq!(judged_at(&world, "www.signed.post", Rtype::A, at(1000)).await.status, bogus(Bogus::SignatureNotYetValid));
    assert_eq!(judged_at(&world, "www.unsigned.post", Rtype::A, lost).await.status, INSECURE);
    let before = world.asked.lock().unwrap().len();
    validator.judge(&reply, &world, at(NOW), &validator.work()).await;
    assert!(world.asked.lock().unwrap().len() > before, "the keys are fetched anew");
    world.tamper(question("www.signed.post", Rtype::A), |r| r.answer[0].rdatas[0][3] ^= 1);
    assert_eq!(judged_at(&world, "www.signed.post", Rtype::A, lost).await.status, bogus(Bogus::BadSignature));
}

/// Zones once proven are not proven again until their proof runs out.
#[tokio::test]
async fn proven_zones_are_remembered_until_they_expire() {
    let world = world(NSEC);
    let validator = validator(&world, Settings::default());
    let judge = async |asked: &str, now: u64| {
        let before = world.asked.lock().unwrap().len();
        validator.judge(&world.ask(&question(asked, Rtype::A)), &world, at(now), &validator.work()).await;
        world.asked.lock().unwrap().len() - before
    };
    assert_eq!(judge("www.signed.post", NOW).await, 5, "DNSKEY and DS down to the zone");
    assert_eq!(judge("empty.signed.post", NOW).await, 0);
    assert_eq!(judge("www.unsigned.post", NOW).await, 1);
    assert_eq!(judge("alias.unsigned.post", NOW).await, 0);
    assert_eq!(judge("www.signed.post", NOW + u64::from(TTL)).await, 5);
    validator.flush();
    assert_eq!(judge("www.signed.post", NOW + u64::from(TTL)).await, 5);
}

/// RFC 7646: a negative anchor makes Insecure; an anchor below it takes over again.
#[tokio::test]
async fn a_negative_trust_anchor_switches_validation_off_below_it() {
    let mut world = world(NSEC);
    world.tamper(question("www.signed.post", Rtype::A), |r| r.answer[0].sigs.clear());
    let mut anchors = Anchors::none();
    anchors.add(Name::root(), world.zones[0].anchor());
    let mut negative = NegativeAnchors::new();
    negative.add(NegativeAnchor { name: name("post"), reason: "test".into(), expires: Some(NOW + 10) });
    let judge = async |validator: &Validator, asked: &str, now: u64| {
        validator.judge(&world.ask(&question(asked, Rtype::A)), &world, at(now), &validator.work()).await.status
    };
    let off = Status::Insecure(Insecurity::NegativeTrustAnchor);
    let validator = Validator::new(anchors.clone(), negative.clone(), Settings::default());
    assert_eq!(judge(&validator, "www.signed.post", NOW).await, off);
    assert_eq!(judge(&validator, "missing.signed.post", NOW).await, off);
    assert_eq!(judge(&validator, "www.signed.post", NOW + 10).await, bogus(Bogus::RrsigsMissing));
    anchors.add(name("signed.post"), world.zones[2].anchor());
    validator.set_trust(anchors, negative);
    assert_eq!(judge(&validator, "www.signed.post", NOW).await, bogus(Bogus::RrsigsMissing));
    assert_eq!(judge(&validator, "info.post", NOW).await, off);
}

/// `postern why`: each step from the anchor to the answer, or to the step that failed.
#[tokio::test]
async fn an_explained_judgement_tells_every_step() {
    let mut world = world(NSEC);
    let explained = async |world: &World| {
        let validator = validator(world, Settings::default());
        let reply = world.ask(&question("www.signed.post", Rtype::A));
        let verdict = validator.judge_explained(&reply, world, at(NOW), &validator.work()).await;
        verdict.steps.into_iter().map(|s| (s.zone.to_string(), s.subject.to_string(), s.status.label())).collect::<Vec<_>>()
    };
    let expected = [
        (".", ". DNSKEY", "secure"),
        (".", ". DNSKEY", "secure"),
        (".", "post. DS", "secure"),
        ("post.", "post. DNSKEY", "secure"),
        ("post.", "signed.post. DS", "secure"),
        ("signed.post.", "signed.post. DNSKEY", "secure"),
        ("signed.post.", "www.signed.post. A", "secure"),
    ];
    let told = explained(&world).await;
    let told: Vec<_> = told.iter().map(|(z, s, l)| (z.as_str(), s.as_str(), *l)).collect();
    assert_eq!(told, expected);
    world.zone("post.").expiration = NOW - 1;
    assert_eq!(explained(&world).await.last().unwrap(), &("post.".to_string(), "post. DNSKEY".to_string(), "bogus"));
}

/// RFC 4035 section 5.2: a zone that is sound in itself, but signed by keys that the parent's DS does not name, is a forger's.
#[tokio::test]
async fn a_child_signed_by_keys_that_no_ds_names_is_bogus() {
    for denying in [NSEC, nsec3()] {
        let mut world = world(denying.clone());
        let mut forged = Zone::signed_with("signed.post.", denying, vec![Key::ed25519(99)]);
        forged.add("www.signed.post.", Rtype::A, &[203, 0, 113, 66]);
        *world.zone("signed.post.") = forged;
        let verdict = judged(&world, "www.signed.post", Rtype::A).await;
        assert_eq!((verdict.status, verdict.ede[0].code), (bogus(Bogus::DnskeyMissing), 9));
    }
}

/// RFC 4035 section 5.2: who cuts off the parent's server does not switch validation off.
#[tokio::test]
async fn a_ds_that_nobody_answers_for_is_bogus_not_insecure() {
    let mut world = world(NSEC);
    world.kill(question("signed.post", Rtype::DS));
    assert_eq!(status(&world, "www.signed.post", Rtype::A).await, bogus(Bogus::NoKeys));
}

/// RFC 6840 section 4.1: the parent's own NSEC chain, whole and well signed, does not deny a name below its zone cut.
#[tokio::test]
async fn a_parents_chain_does_not_deny_a_childs_name() {
    for denying in [NSEC, nsec3()] {
        let mut world = world(denying);
        let post = &world.zones[1];
        let mut parents = post.chain();
        parents.push(post.set(&name("post."), Rtype::SOA).unwrap());
        world.tamper(question("www.signed.post", Rtype::A), move |r| {
            (r.rcode, r.answer, r.authority) = (Rcode::NXDOMAIN, Vec::new(), parents.clone());
        });
        assert!(matches!(status(&world, "www.signed.post", Rtype::A).await, Status::Bogus(_)));
    }
}

/// CVE-2023-50387 through a whole judgement: colliding keys and many signatures end as one Bogus answer after a few checks.
#[tokio::test]
async fn a_keytrap_zone_is_bogus_at_a_bounded_price() {
    let mut world = world(NSEC);
    let spoil = |r: &mut Reply| {
        let set = &mut r.answer[0];
        let good = set.sigs[0].clone();
        set.sigs = (0..100u8).map(|i| good.iter().enumerate().map(|(at, o)| if at == 40 { o ^ (i | 1) } else { *o }).collect()).collect();
    };
    world.tamper(question("www.signed.post", Rtype::A), spoil);
    let validator = validator(&world, Settings::default());
    let reply = world.ask(&question("www.signed.post", Rtype::A));
    let work = validator.work();
    let verdict = validator.judge(&reply, &world, at(NOW), &work).await;
    assert_eq!(verdict.status, bogus(Bogus::TooMuchWork));
    assert!(work.signatures() <= 5 + work.limits().failures_per_rrset, "{}", work.signatures());
}

/// One account for a client query: when it is spent, whatever is left to prove is Bogus, and nothing more is checked.
#[tokio::test]
async fn a_spent_account_stops_all_checks() {
    let world = world(nsec3());
    let validator = validator(&world, Settings::default());
    let reply = world.ask(&question("missing.signed.post", Rtype::A));
    for signatures in 0..8 {
        let work = Work::new(Limits { signatures, ..Limits::default() });
        validator.flush();
        let verdict = validator.judge(&reply, &world, at(NOW), &work).await;
        assert_eq!((verdict.status, work.signatures()), (bogus(Bogus::TooMuchWork), signatures));
    }
    let work = Work::new(Limits { fetches_per_walk: 3, ..Limits::default() });
    validator.flush();
    assert_eq!(validator.judge(&reply, &world, at(NOW), &work).await.status, bogus(Bogus::TooMuchWork));
}

/// Signers made up to lengthen the walk: it stays bounded by the labels of the name.
#[tokio::test]
async fn made_up_signers_do_not_lengthen_the_walk_beyond_the_name() {
    let mut world = world(NSEC);
    let deep = "a.b.c.d.e.f.g.h.signed.post";
    world.tamper(question(deep, Rtype::A), |r| {
        let sig = r.authority[0].sigs[0].clone();
        let forged = |signer: &str| [&sig[..18], name(signer).wire(), &[0; 64]].concat().into();
        r.answer = vec![Rrset::new(name("a.b.c.d.e.f.g.h.signed.post"), Rtype::A, TTL, vec![[192, 0, 2, 9].into()])];
        r.answer[0].sigs = ["b.c.d.e.f.g.h.signed.post", "d.e.f.g.h.signed.post", "h.signed.post"].map(forged).to_vec();
    });
    assert_eq!(status(&world, deep, Rtype::A).await, bogus(Bogus::WrongSigner));
    assert!(world.asked.lock().unwrap().len() <= 12, "{:?}", world.asked.lock().unwrap());
}

/// RFC 4035 section 2.2: RRSIGs are not signed, so they are never Secure; ANY is worth its weakest RRset.
#[tokio::test]
async fn rrsig_and_any_are_judged_sanely() {
    let mut world = world(NSEC);
    let mut rrsig = world.ask(&question("www.signed.post", Rtype::A));
    let sig = rrsig.answer[0].sigs[0].clone();
    rrsig.question.rtype = Rtype::RRSIG;
    rrsig.answer = vec![Rrset::new(name("www.signed.post"), Rtype::RRSIG, TTL, vec![sig])];
    let validator = validator(&world, Settings::default());
    let verdict = validator.judge(&rrsig, &world, at(NOW), &validator.work()).await;
    assert_eq!((verdict.status, verdict.ede.len()), (Status::Indeterminate, 0));
    world.zone("signed.post.").add("www.signed.post.", Rtype::TXT, b"\x01x");
    let mut any = world.ask(&question("www.signed.post", Rtype::A));
    any.question.rtype = Rtype::ANY;
    any.answer.extend(world.ask(&question("www.signed.post", Rtype::TXT)).answer);
    assert_eq!(validator.judge(&any, &world, at(NOW), &validator.work()).await.status, Status::Secure);
    any.answer[1].sigs.clear();
    assert_eq!(validator.judge(&any, &world, at(NOW), &validator.work()).await.status, bogus(Bogus::RrsigsMissing));
}

/// RFC 4035 section 5: several anchors at one name, as DNSKEY and DS, any of which may lead on; unknown ones make Insecure.
#[tokio::test]
async fn anchors_may_be_several_and_of_either_kind() {
    let world = world(NSEC);
    let own = &world.zones[0].keys[0];
    let stranger = Key::ed25519(1234);
    let root = Name::root();
    for (anchors, expected) in [
        (vec![Anchor::Dnskey(own.rdata())], Status::Secure),
        (vec![Anchor::Dnskey(stranger.rdata()), Anchor::Ds(own.ds(&root, 4))], Status::Secure),
        (vec![Anchor::Ds(stranger.ds(&root, 2)), Anchor::Ds(own.ds(&root, 2))], Status::Secure),
        (vec![Anchor::Dnskey(stranger.rdata())], bogus(Bogus::DnskeyMissing)),
        (vec![Anchor::Dnskey(Key::unknown(16).rdata())], Status::Insecure(Insecurity::UnsupportedAlgorithm)),
        (vec![], Status::Insecure(Insecurity::NoAnchor)),
    ] {
        let mut configured = Anchors::none();
        configured.replace(root.clone(), anchors);
        let validator = Validator::new(configured, NegativeAnchors::new(), Settings::default());
        let reply = world.ask(&question("www.signed.post", Rtype::A));
        assert_eq!(validator.judge(&reply, &world, at(NOW), &validator.work()).await.status, expected);
    }
}

/// A zone that rolled its key while the old set is remembered: the new one is fetched before the answer is called Bogus.
#[tokio::test]
async fn remembered_keys_are_renewed_before_an_unknown_key_is_bogus() {
    let mut world = world(NSEC);
    let validator = validator(&world, Settings::default());
    let judge = async |world: &World| {
        let reply = world.ask(&question("www.signed.post", Rtype::A));
        validator.judge(&reply, world, at(NOW), &validator.work()).await.status
    };
    assert_eq!(judge(&world).await, Status::Secure);
    let old = world.zone("signed.post.");
    let mut rolled = Zone::signed_with("signed.post.", NSEC, vec![Key::ed25519(8)]);
    rolled.add("www.signed.post.", Rtype::A, &[192, 0, 2, 2]);
    // The old key goes on signing the DNSKEY RRset, as the DS still names it.
    let both = [old.keys[0].rdata(), rolled.keys[0].rdata()];
    let mut set = Rrset::new(name("signed.post"), Rtype::DNSKEY, TTL, both.to_vec());
    old.sign(&mut set, 2);
    *old = rolled;
    world.tamper(question("signed.post", Rtype::DNSKEY), move |r| r.answer = vec![set.clone()]);
    assert_eq!(judge(&world).await, Status::Secure);
    let asked = world.asked.lock().unwrap().len();
    assert_eq!(judge(&world).await, Status::Secure);
    assert_eq!(world.asked.lock().unwrap().len(), asked, "and remembered in turn");
}
