use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::wire::{Encoder, Flags, Question};

/// A response for `name` that carries `mark`, and its TTL offsets.
fn body(name: &Name, mark: u32) -> (Vec<u8>, Vec<[u8; 2]>) {
    let mut encoder = Encoder::new(0, Flags(Flags::QR), Some(&Question::new(name.clone(), Rtype::A)));
    encoder.record(name, Rtype::A, 300, &mark.to_be_bytes());
    let encoded = encoder.finish();
    (encoded.bytes, encoded.ttl_offsets.iter().map(|o| o.to_be_bytes()).collect())
}

fn key(name: &Name) -> Key<'_> {
    Key { name: name.wire(), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
}

fn facts(ttl: u32) -> Facts<'static> {
    Facts { ttl, validation_failure: false, targets: &[], judged: Some(1) }
}

fn insert(cache: &AnswerCache, key: &Key<'_>, mark: u32, facts: &Facts<'_>, now: u32) {
    let (bytes, offsets) = body(&Name::from_wire(key.name).unwrap(), mark);
    let body = Body { bytes: &bytes, ttl_offsets: &offsets, ede: &[], rcode: Rcode::NOERROR, secure: false };
    cache.insert(key, &body, facts, now);
}

fn mark(hit: &Hit) -> u32 {
    u32::from_be_bytes(*hit.body().bytes.last_chunk().unwrap())
}

fn nth(i: u32) -> Name {
    format!("n{i}.example").parse().unwrap()
}

#[test]
fn an_entry_lives_for_its_ttl_and_knows_its_age() {
    let cache = AnswerCache::new(1 << 20);
    let name = nth(1);
    insert(&cache, &key(&name), 7, &facts(10), 100);
    let hit = cache.find(&key(&name), 109).unwrap();
    assert_eq!((mark(&hit), hit.age(109), hit.body().ttl_offsets.len()), (7, 9, 1));
    assert!(cache.find(&key(&name), 110).is_none());
    insert(&cache, &key(&nth(2)), 7, &facts(0), 100);
    assert!(cache.find(&key(&nth(2)), 100).is_none());
}

/// RFC 6840 section 5.9 and RFC 4035 section 3.2.2: Bogus data is for CD=1 only, and a failure to validate is not for CD=1.
#[test]
fn bogus_data_and_validation_failures_stay_on_their_side_of_cd() {
    let cache = AnswerCache::new(1 << 20);
    let (bogus, failed, good) = (nth(1), nth(2), nth(3));
    insert(&cache, &Key { checking_disabled: true, ..key(&bogus) }, 1, &facts(10), 0);
    insert(&cache, &key(&failed), 2, &Facts { validation_failure: true, ..facts(10) }, 0);
    insert(&cache, &key(&good), 3, &facts(10), 0);
    let found = |name, cd| cache.find(&Key { checking_disabled: cd, ..key(name) }, 1).map(|hit| mark(&hit));
    assert_eq!((found(&bogus, false), found(&bogus, true)), (None, Some(1)));
    assert_eq!((found(&failed, false), found(&failed, true)), (Some(2), None));
    assert_eq!((found(&good, false), found(&good, true)), (Some(3), Some(3)));
    assert!(cache.find(&Key { dnssec_ok: true, ..key(&good) }, 1).is_none());
}

#[test]
fn targets_are_judged_once_a_generation() {
    let cache = AnswerCache::new(1 << 20);
    let targets = [nth(5), nth(6)];
    insert(&cache, &key(&nth(1)), 1, &Facts { targets: &targets, judged: None, ..facts(10) }, 0);
    let hit = cache.find(&key(&nth(1)), 1).unwrap();
    assert_eq!(hit.targets().collect::<Vec<_>>(), [targets[0].wire(), targets[1].wire()]);
    assert!(!hit.is_judged(4));
    hit.set_judged(Some(4));
    assert!(hit.is_judged(4) && !hit.is_judged(5));
    insert(&cache, &key(&nth(2)), 1, &facts(10), 0);
    assert!(cache.find(&key(&nth(2)), 1).unwrap().is_judged(99));
}

#[test]
fn a_scan_of_names_asked_once_leaves_the_used_ones() {
    let cache = AnswerCache::new(512 << 10);
    let hot: Vec<Name> = (0..300).map(nth).collect();
    for (i, name) in hot.iter().enumerate() {
        insert(&cache, &key(name), i as u32, &facts(1_000_000), 0);
        assert!(cache.find(&key(name), 1).is_some());
    }
    for i in 1_000..50_000 {
        insert(&cache, &key(&nth(i)), i, &facts(1_000_000), 2);
        if i % 20 == 0 {
            cache.find(&key(&hot[(i / 20) as usize % hot.len()]), 2);
        }
        assert!(cache.bytes() <= 512 << 10);
    }
    let kept = hot.iter().filter(|name| cache.find(&key(name), 3).is_some()).count();
    assert!(kept >= 290, "{kept} of 300 used names are left after a scan of 49,000");
    // Nothing had expired, so whatever is gone was pushed out.
    assert_eq!(cache.evicted() as usize, 49_300 - cache.len());
}

#[test]
fn purging_forgets_a_subtree_or_everything() {
    let cache = AnswerCache::new(1 << 20);
    let below: Name = "a.b.example".parse().unwrap();
    insert(&cache, &key(&below), 1, &facts(10), 0);
    insert(&cache, &key(&nth(1)), 1, &facts(10), 0);
    cache.purge(Some(&"b.example".parse().unwrap()));
    assert!(cache.find(&key(&below), 1).is_none() && cache.find(&key(&nth(1)), 1).is_some());
    cache.purge(None);
    assert_eq!((cache.len(), cache.bytes()), (0, 0));
}

#[test]
fn an_answer_too_big_for_the_cache_is_not_stored() {
    let cache = AnswerCache::new(8 << 10);
    insert(&cache, &key(&nth(1)), 1, &facts(10), 0);
    assert!(cache.is_empty());
}

/// Readers beside a writer see whole entries of their own key, always.
#[test]
fn readers_never_see_another_name() {
    let cache = AnswerCache::new(256 << 10);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..40_000u32 {
                    let i = round % 977;
                    if let Some(hit) = cache.find(&key(&nth(i)), 1) {
                        assert_eq!(mark(&hit), i);
                    }
                }
            });
        }
        for round in 0..20_000u32 {
            insert(&cache, &key(&nth(round % 1_500)), round % 1_500, &facts(10), 0);
        }
    });
}

proptest! {
    /// Model: a hit is what a plain map holds for the key; the bound holds; with room for all, hardly anything is missing.
    #[test]
    fn it_agrees_with_a_map(steps in proptest::collection::vec((0u32..400, any::<bool>(), any::<bool>(), 1u32..50, any::<bool>()), 1..1_500), roomy in any::<bool>()) {
        let limit = if roomy { 16 << 20 } else { 128 << 10 };
        let cache = AnswerCache::new(limit);
        let mut model = HashMap::new();
        let (mut misses, mut expected) = (0, 0);
        for (now, (i, dnssec_ok, write, ttl, purge)) in steps.into_iter().enumerate() {
            let (now, name) = (now as u32 / 20, nth(i));
            let key = Key { dnssec_ok, ..key(&name) };
            if purge && i == 0 {
                cache.purge(None);
                model.clear();
            } else if write {
                insert(&cache, &key, now + i, &facts(ttl), now);
                model.insert((i, dnssec_ok), (now + i, now + ttl));
            } else {
                let known = model.get(&(i, dnssec_ok)).filter(|(_, expires)| now < *expires);
                let hit = cache.find(&key, now);
                expected += usize::from(known.is_some());
                match (hit, known) {
                    (Some(hit), Some((stored, _))) => prop_assert_eq!(mark(&hit), *stored),
                    (Some(_), None) => prop_assert!(false, "a hit that was never stored"),
                    (None, known) => misses += usize::from(known.is_some()),
                }
            }
            prop_assert!(cache.bytes() <= limit);
        }
        prop_assert!(!roomy || misses * 20 <= expected, "{misses} of {expected} lost with room for all");
    }
}
