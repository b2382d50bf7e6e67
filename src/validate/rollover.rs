//! Following a trust anchor's roll-over by itself (RFC 5011).
//!
//! A pure state machine: state, what the zone's DNSKEY RRset showed, and the time give the next state. A new key is trusted only after it
//! was seen, validated, over a whole hold-down; a revoked one is gone at once. When to look, and keeping the state on disk, is the shell's;
//! without a trusted clock it must not look at all. Configured anchors stay believed beside it, unless they were revoked.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::chain::entry_keys;
use super::crypto;
use super::dnskey::{Dnskey, Ds, usable};
use super::signature::{Rrsig, self_signed, verify};
use super::{Anchor, Bogus, Source, When, Work};
use crate::wire::{Name, Question, Rrset, Rtype};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// How long a new key must be seen before it is trusted (RFC 5011 section 2.4.1), and a revoked one is kept (section 2.4.2).
const HOLD_DOWN: u64 = 30 * DAY;
/// Keys followed at one name. Only the zone's owner can add any; this bounds a mistake of theirs.
const MAX_KEYS: usize = 64;

/// Where a key stands (RFC 5011 section 4.2; Start is not being listed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Seen, and waiting for its hold-down to end.
    AddPending,
    /// A trust anchor.
    Valid,
    /// A trust anchor that the zone no longer shows.
    Missing,
    /// Revoked by its owner.
    Revoked,
    /// Revoked long ago; never to be trusted again.
    Removed,
}

/// One key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedKey {
    /// DNSKEY RDATA without the REVOKE bit.
    #[serde(with = "base64")]
    dnskey: Vec<u8>,
    /// Its state.
    pub state: KeyState,
    /// Unix time at which it entered this state.
    pub since: u64,
}

impl KeyState {
    /// Label for metrics and JSON, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            KeyState::AddPending => "add_pending",
            KeyState::Valid => "valid",
            KeyState::Missing => "missing",
            KeyState::Revoked => "revoked",
            KeyState::Removed => "removed",
        }
    }
}

impl TrackedKey {
    /// Key tag, as it is without the REVOKE bit.
    pub fn tag(&self) -> u16 {
        Dnskey::read(&self.dnskey).map_or(0, |k| k.tag())
    }
}

/// RDATA in saved state.
mod base64 {
    use super::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&BASE64.encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(input)?.as_bytes()).map_err(D::Error::custom)
    }
}

/// The trust anchor of one name as it rolls over. Saved between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    keys: Vec<TrackedKey>,
    /// Unix time of the last look that validated; 0 is never.
    pub validated: u64,
    /// Unix time at which to look again (RFC 5011 section 2.3).
    pub next_check: u64,
    /// Seconds to wait after a look that brought nothing (RFC 5011 section 2.3); 0 before the first that did.
    #[serde(default)]
    retry: u64,
}

/// What a DNSKEY RRset showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Secure entry points that are not revoked; only where a trusted key has signed the set.
    present: Option<Vec<Vec<u8>>>,
    /// Keys, REVOKE bit taken off, whose revocation they signed themselves.
    revoked: Vec<Vec<u8>>,
    original_ttl: u64,
    /// Seconds that the signature has left.
    validity: u64,
}

/// Looks at the DNSKEY RRset of an anchored zone with the keys trusted until now.
///
/// # Errors
/// Why the set is not validated, where no revocation in it proves itself either.
pub fn observe(set: &Rrset, trusted: &[Anchor], when: When, work: &Work) -> Result<Observed, Bogus> {
    if set.rtype != Rtype::DNSKEY {
        return Err(Bogus::DnskeyMissing);
    }
    let ds: Vec<Ds<'_>> = trusted.iter().filter_map(|a| if let Anchor::Ds(r) = a { Ds::read(r) } else { None }).collect();
    let anchors: Vec<Dnskey<'_>> = trusted.iter().filter_map(|a| if let Anchor::Dnskey(r) = a { Dnskey::read(r) } else { None }).collect();
    let keys = || set.rdatas.iter().filter_map(|r| Dnskey::read(r)).take(work.limits().keys_per_zone);
    let is_anchor = |rdata: &[u8]| {
        let key = Dnskey::read(rdata);
        key.is_some_and(|k| anchors.iter().any(|a| a.rdata() == rdata) || ds.iter().any(|d| d.matches(&set.owner, &k)))
    };
    // Only of keys that matter to us: nobody else's revocation is worth a signature check.
    let revoked: Vec<Vec<u8>> =
        keys().filter(|k| k.is_revoked() && is_anchor(&k.unrevoked()) && self_signed(set, k, when, work)).map(|k| k.unrevoked()).collect();
    let verified = entry_keys(set, &usable(&ds, crypto::is_known), &anchors, work.limits())
        .and_then(|entry| verify(set, &set.owner, &entry, when, work))
        .map_err(|failed| failed.reason);
    let present = match verified {
        Ok(_) => Some(keys().filter(|k| k.is_entry_point() && k.is_zone_key() && !k.is_revoked()).map(|k| k.rdata().to_vec()).collect()),
        Err(reason) if revoked.is_empty() => return Err(reason),
        Err(_) => None,
    };
    let sigs = || set.sigs.iter().filter_map(|s| Rrsig::read(s));
    let original_ttl = sigs().map(|s| u64::from(s.original_ttl)).min().unwrap_or_default();
    let validity = sigs().map(|s| s.note(when.now).expiration.saturating_sub(when.now)).min().unwrap_or_default();
    Ok(Observed { present, revoked, original_ttl, validity })
}

impl Rollover {
    /// A roll-over that has seen nothing yet.
    pub fn new() -> Rollover {
        Rollover::default()
    }

    /// Every key followed.
    pub fn keys(&self) -> &[TrackedKey] {
        &self.keys
    }

    /// The trust anchors now: Valid and Missing keys, and what is configured, except what was revoked. `owner` is the anchored name.
    pub fn anchors(&self, owner: &Name, configured: &[Anchor]) -> Vec<Anchor> {
        let in_state = |states: &'static [KeyState]| self.keys.iter().filter(move |k| states.contains(&k.state));
        let gone = |anchor: &Anchor| in_state(&[KeyState::Revoked, KeyState::Removed]).any(|k| names(anchor, owner, &k.dnskey));
        let mut anchors: Vec<Anchor> = configured.iter().filter(|a| !gone(a)).cloned().collect();
        let tracked = in_state(&[KeyState::Valid, KeyState::Missing]).map(|k| Anchor::Dnskey(k.dnskey.as_slice().into()));
        let named = |dnskey: &Anchor| matches!(dnskey, Anchor::Dnskey(k) if configured.iter().any(|c| names(c, owner, k)));
        anchors.extend(tracked.filter(|a| !named(a)));
        anchors
    }

    /// What is left when an anchor that it grew from is no longer configured: nothing learnt through it is trusted any more, but what
    /// was revoked stays revoked.
    #[must_use]
    pub fn uprooted(&self) -> Rollover {
        let gone = self.keys.iter().filter(|k| matches!(k.state, KeyState::Revoked | KeyState::Removed));
        Rollover { keys: gone.cloned().collect(), ..Rollover::default() }
    }

    /// The next state (RFC 5011 section 4). `configured` are the anchors that need no hold-down.
    #[must_use]
    pub fn advance(&self, owner: &Name, configured: &[Anchor], observed: &Observed, now: u64) -> Rollover {
        let mut next = self.clone();
        let enter = |key: &mut TrackedKey, state| (key.state, key.since) = (state, now);
        for key in &mut next.keys {
            let present = observed.present.as_ref().map(|keys| keys.contains(&key.dnskey));
            let held = now.saturating_sub(key.since) >= HOLD_DOWN.max(observed.original_ttl);
            match (key.state, present) {
                (KeyState::Valid | KeyState::Missing, _) if observed.revoked.contains(&key.dnskey) => enter(key, KeyState::Revoked),
                (KeyState::AddPending, Some(true)) if held => enter(key, KeyState::Valid),
                (KeyState::Valid, Some(false)) => enter(key, KeyState::Missing),
                (KeyState::Missing, Some(true)) => enter(key, KeyState::Valid),
                (KeyState::Revoked, _) if now.saturating_sub(key.since) >= HOLD_DOWN => enter(key, KeyState::Removed),
                _ => {}
            }
        }
        // A pending key that vanishes starts anew when it comes back.
        if let Some(present) = &observed.present {
            next.keys.retain(|k| k.state != KeyState::AddPending || present.contains(&k.dnskey));
            next.validated = now;
        }
        let known: Vec<Vec<u8>> = next.keys.iter().map(|k| k.dnskey.clone()).collect();
        let is_configured = |dnskey: &[u8]| configured.iter().any(|a| names(a, owner, dnskey));
        for dnskey in observed.present.iter().flatten().filter(|k| !known.contains(k)) {
            let state = if is_configured(dnskey) { KeyState::Valid } else { KeyState::AddPending };
            next.keys.push(TrackedKey { dnskey: dnskey.clone(), state, since: now });
        }
        // A configured anchor may be revoked before it was ever seen whole.
        for dnskey in observed.revoked.iter().filter(|k| !known.contains(k) && is_configured(k)) {
            next.keys.push(TrackedKey { dnskey: dnskey.clone(), state: KeyState::Revoked, since: now });
        }
        next.keys.truncate(MAX_KEYS);
        next.next_check = now + (15 * DAY).min(observed.original_ttl / 2).min(observed.validity / 2).max(HOUR);
        next.retry = DAY.min(observed.original_ttl / 10).min(observed.validity / 10).max(HOUR);
        next
    }

    /// Fetches the DNSKEY RRset of `owner` and gives the next state. Without a trusted clock nothing is learnt: hold-downs need one.
    pub async fn look<S: Source>(&self, owner: &Name, configured: &[Anchor], source: &S, when: When, work: &Work) -> Rollover {
        let reply = source.fetch(&Question::new(owner.clone(), Rtype::DNSKEY)).await.ok();
        let set = reply.as_ref().and_then(|r| r.answer.iter().find(|s| s.owner == *owner && s.rtype == Rtype::DNSKEY));
        let observed = set.filter(|_| when.trusted).and_then(|set| observe(set, &self.anchors(owner, configured), when, work).ok());
        match observed {
            Some(observed) => self.advance(owner, configured, &observed, when.now),
            None => self.failed(when.now),
        }
    }

    /// The state after a look that brought nothing: the same, to look again sooner (RFC 5011 section 2.3).
    #[must_use]
    pub fn failed(&self, now: u64) -> Rollover {
        Rollover { next_check: now + self.retry.max(HOUR), ..self.clone() }
    }
}

/// Whether an anchor names this key.
fn names(anchor: &Anchor, owner: &Name, dnskey: &[u8]) -> bool {
    match anchor {
        Anchor::Dnskey(rdata) => **rdata == *dnskey,
        Anchor::Ds(rdata) => Ds::read(rdata).zip(Dnskey::read(dnskey)).is_some_and(|(ds, key)| ds.matches(owner, &key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Limits;
    use crate::validate::testzone::{Denying, Key, NOW, World, Zone, at};
    use crate::wire::Name;

    const REVOKE: u16 = 0x80;

    /// A root zone signed by all of `seeds`, those in `revoked` with the REVOKE bit.
    fn dnskeys(seeds: &[u64], revoked: &[u64]) -> Rrset {
        let key = |seed: &u64| {
            let mut key = Key::ed25519(*seed);
            key.flags |= if revoked.contains(seed) { REVOKE } else { 0 };
            key
        };
        let mut zone = Zone::signed_with(".", Denying::Nsec, seeds.iter().map(key).collect());
        (zone.inception, zone.expiration) = (NOW - DAY, NOW + 365 * DAY);
        zone.set(&Name::root(), Rtype::DNSKEY).unwrap()
    }

    fn configured() -> Vec<Anchor> {
        vec![Anchor::Ds(Key::ed25519(1).ds(&Name::root(), 2))]
    }

    fn look(state: &Rollover, set: &Rrset, now: u64) -> Rollover {
        let (root, work) = (Name::root(), Work::new(Limits::default()));
        match observe(set, &state.anchors(&root, &configured()), at(now), &work) {
            Ok(observed) => state.advance(&root, &configured(), &observed, now),
            Err(_) => state.failed(now),
        }
    }

    fn states(state: &Rollover) -> Vec<(u64, KeyState)> {
        let seed = |k: &TrackedKey| (1..9).find(|s| *Key::ed25519(*s).rdata() == *k.dnskey).unwrap();
        state.keys.iter().map(|k| (seed(k), k.state)).collect()
    }

    /// RFC 5011 sections 2.4 and 4: a whole roll-over, day by day.
    #[test]
    fn a_new_key_is_trusted_after_its_hold_down_and_a_revoked_one_never_again() {
        let day = |n: u64| NOW + n * DAY;
        let s = look(&Rollover::new(), &dnskeys(&[1], &[]), day(0));
        assert_eq!(states(&s), [(1, KeyState::Valid)], "the configured key needs no hold-down");
        let s = look(&s, &dnskeys(&[1, 2], &[]), day(1));
        let s = look(&s, &dnskeys(&[1, 2], &[]), day(30));
        assert_eq!(states(&s), [(1, KeyState::Valid), (2, KeyState::AddPending)], "29 days are not 30");
        let s = look(&s, &dnskeys(&[1, 2], &[]), day(31));
        assert_eq!(states(&s), [(1, KeyState::Valid), (2, KeyState::Valid)]);
        let s = look(&s, &dnskeys(&[1, 2], &[1]), day(40));
        assert_eq!(states(&s), [(1, KeyState::Revoked), (2, KeyState::Valid)]);
        assert_eq!(s.anchors(&Name::root(), &configured()), [Anchor::Dnskey(Key::ed25519(2).rdata())]);
        let s = look(&s, &dnskeys(&[2], &[]), day(75));
        let s = look(&s, &dnskeys(&[1, 2], &[]), day(80));
        assert_eq!(states(&s), [(1, KeyState::Removed), (2, KeyState::Valid)], "its return changes nothing");
        assert_eq!(s.validated, day(80));
        let text = serde_json::to_string(&s).unwrap();
        assert_eq!(serde_json::from_str::<Rollover>(&text).unwrap(), s);
    }

    /// RFC 5011 section 2.4.1: a key must be there all the time.
    #[test]
    fn a_pending_key_that_vanishes_starts_anew() {
        let s = look(&Rollover::new(), &dnskeys(&[1, 2], &[]), NOW);
        let s = look(&s, &dnskeys(&[1], &[]), NOW + 20 * DAY);
        assert_eq!(states(&s), [(1, KeyState::Valid)]);
        let s = look(&s, &dnskeys(&[1, 2], &[]), NOW + 31 * DAY);
        assert_eq!(states(&s), [(1, KeyState::Valid), (2, KeyState::AddPending)]);
    }

    /// A set that only strangers signed teaches nothing; one that only a revoked key signed teaches the revocation.
    #[test]
    fn an_unvalidated_set_adds_nothing_but_a_revocation_counts() {
        let s = look(&Rollover::new(), &dnskeys(&[1, 2], &[]), NOW);
        let after = look(&s, &dnskeys(&[3], &[]), NOW + DAY);
        assert_eq!((states(&after), after.next_check), (states(&s), NOW + DAY + s.retry));
        let revoked = look(&s, &dnskeys(&[1, 3], &[1]), NOW + DAY);
        assert_eq!(states(&revoked), [(1, KeyState::Revoked), (2, KeyState::AddPending)]);
        assert_eq!(revoked.anchors(&Name::root(), &configured()), []);
        // The bit alone, without the key's own signature, revokes nothing.
        let mut unsigned = dnskeys(&[1, 3], &[1]);
        unsigned.sigs.remove(0);
        assert_eq!(states(&look(&s, &unsigned, NOW + DAY)), states(&s));
    }

    /// RFC 5011 section 2.3: half of the TTL and of what the signature has left, 15 days at most; a tenth and a day after a failure.
    #[test]
    fn the_next_look_follows_ttl_and_signature() {
        let mut set = dnskeys(&[1], &[]);
        let at = |set: &Rrset, now| look(&Rollover::new(), set, now);
        let ttl = u64::from(set.ttl);
        assert_eq!(at(&set, NOW).next_check, NOW + (ttl / 2).clamp(HOUR, 15 * DAY));
        assert_eq!(at(&set, NOW).failed(NOW).next_check, NOW + (ttl / 10).clamp(HOUR, DAY));
        // Half an hour of validity left: an hour is the least.
        assert_eq!(at(&set, NOW + 365 * DAY - HOUR / 2).next_check, NOW + 365 * DAY + HOUR / 2);
        set.sigs.clear();
        assert_eq!(at(&set, NOW).next_check, NOW + HOUR);
    }

    #[test]
    fn an_anchor_taken_out_takes_along_what_grew_from_it() {
        let s = look(&Rollover::new(), &dnskeys(&[1, 2, 3], &[]), NOW);
        let s = look(&s, &dnskeys(&[1, 2, 3], &[]), NOW + 30 * DAY);
        let s = look(&s, &dnskeys(&[1, 2, 3], &[3]), NOW + 31 * DAY);
        assert_eq!(states(&s), [(1, KeyState::Valid), (2, KeyState::Valid), (3, KeyState::Revoked)]);
        let new = [Anchor::Ds(Key::ed25519(4).ds(&Name::root(), 2)), Anchor::Ds(Key::ed25519(3).ds(&Name::root(), 2))];
        assert_eq!(s.uprooted().anchors(&Name::root(), &new), new[..1]);
    }

    #[test]
    fn a_missing_key_stays_trusted_and_may_return() {
        let s = look(&Rollover::new(), &dnskeys(&[1, 2], &[]), NOW);
        let s = look(&s, &dnskeys(&[1, 2], &[]), NOW + 30 * DAY);
        let s = look(&s, &dnskeys(&[2], &[]), NOW + 31 * DAY);
        assert_eq!(states(&s), [(1, KeyState::Missing), (2, KeyState::Valid)]);
        let s = look(&s, &dnskeys(&[1, 2], &[]), NOW + 32 * DAY);
        assert_eq!(states(&s), [(1, KeyState::Valid), (2, KeyState::Valid)]);
    }

    /// A look over the network: what a dead source or an unset clock shows is nothing.
    #[tokio::test]
    async fn a_look_without_reply_or_clock_changes_nothing() {
        let mut world = World::new(vec![Zone::signed_with(".", Denying::Nsec, vec![Key::ed25519(1)])]);
        let (root, work) = (Name::root(), Work::new(Limits::default()));
        let lost = When { now: 1000, trusted: false };
        let s = Rollover::new().look(&root, &configured(), &world, lost, &work).await;
        assert_eq!((states(&s), s.next_check), (vec![], 4600));
        let s = s.look(&root, &configured(), &world, at(NOW), &work).await;
        assert_eq!(states(&s), [(1, KeyState::Valid)]);
        world.kill(Question::new(root.clone(), Rtype::DNSKEY));
        let after = s.look(&root, &configured(), &world, at(NOW + DAY), &work).await;
        assert_eq!((states(&after), after.validated), (states(&s), NOW));
    }
}
