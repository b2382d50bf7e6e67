//! The walk from a trust anchor down to the zone of some data: DS from the parent, DNSKEY of the child, step by step.
//!
//! RFC 4035 sections 5.2 and 5.3.1, RFC 6840 sections 4.4 and 5.11. Zone cuts known to the iterator and signers named in replies only say
//! where to look; each step is proven by keys already proven, and Insecure is never assumed: it takes a signed denial of the DS at a cut.
//! What a reply is worth under the keys found here is `judge`'s.

use std::sync::Arc;

use super::denial::{NoDs, Proofs};
use super::dnskey::{Dnskey, Ds, usable};
use super::signature::{Failed, Rrsig, Verified, verify};
use super::store::{Known, ZoneKeys};
use super::{
    Anchor, Anchors, Bogus, Insecurity, Limits, NegativeAnchors, NoReply, Reply, Settings, SignatureNote, Source, Status, Step, When, Work,
};
use super::{crypto, store::ZoneStore};
use crate::wire::{Name, Question, Rcode, Rrset, Rtype};

/// Longest that a zone's keys or its insecurity are remembered, in seconds.
const REMEMBER_AT_MOST: u32 = 86_400;

/// What all judgements of a moment share.
pub(crate) struct Trust {
    pub(crate) anchors: Anchors,
    pub(crate) negative: NegativeAnchors,
}

/// Where a walk has ended.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// In a signed zone, with its keys.
    Secure(Arc<ZoneKeys>),
    /// At or below this name nothing is signed, and that is proven.
    Insecure(Insecurity, Name),
    /// At a broken link.
    Bogus(Broken),
}

/// A broken link: what is wrong with which RRset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) reason: Bogus,
    pub(crate) at: Question,
}

/// What a DS reply says about a name.
enum DsFinding {
    /// A signed child, with the DS records that count, and for how many seconds.
    Signed(Vec<Box<[u8]>>, u32),
    NotACut,
    Insecure(Insecurity, u32),
}

/// One walk for one reply.
pub(crate) struct Walk<'a, S> {
    pub(crate) trust: &'a Trust,
    pub(crate) settings: &'a Settings,
    pub(crate) store: &'a ZoneStore,
    pub(crate) source: &'a S,
    pub(crate) when: When,
    pub(crate) work: &'a Work,
    /// Collected only when someone wants to read them.
    pub(crate) steps: Option<Vec<Step>>,
    /// Names whose remembered keys were used rather than fetched.
    pub(crate) remembered: Vec<Name>,
    /// DS replies fetched on the way, for when a name is come back to.
    fetched: Vec<Reply>,
    fetches: u32,
}

impl<'a, S: Source> Walk<'a, S> {
    pub(crate) fn new(
        (trust, settings, store): (&'a Trust, &'a Settings, &'a ZoneStore),
        source: &'a S,
        when: When,
        work: &'a Work,
        explain: bool,
    ) -> Walk<'a, S> {
        let steps = explain.then(Vec::new);
        Walk { trust, settings, store, source, when, work, steps, remembered: Vec::new(), fetched: Vec::new(), fetches: 0 }
    }

    /// The deepest zone that holds `target`, or the cut at `target` itself where it is one. `zone_hint` is a likely cut on the way.
    pub(crate) async fn descend(&mut self, target: &Name, zone_hint: Option<&Name>) -> Standing {
        let mut here = match self.start(target).await {
            Standing::Secure(keys) => keys,
            other => return other,
        };
        let mut ahead = vec![target.clone()];
        let mut hints = self.source.cuts(target).unwrap_or_default();
        hints.extend(zone_hint.cloned());
        hints.retain(|n| target.is_below(n) && n.is_below(&here.zone));
        hints.sort_by_key(|n| std::cmp::Reverse(n.label_count()));
        hints.dedup();
        ahead.append(&mut hints);
        let mut not_cuts: Vec<Name> = Vec::new();
        while let Some(next) = ahead.last().cloned() {
            if !next.is_below(&here.zone) || not_cuts.contains(&next) {
                ahead.pop();
                continue;
            }
            let subject = Question::new(next.clone(), Rtype::DS);
            let reply = match self.ds_reply(&subject).await {
                Err(Bogus::TooMuchWork) => return self.broken(&here.zone, subject, Bogus::TooMuchWork, None),
                reply => reply,
            };
            // A DS signed by a zone between here and there: that zone comes first. Signed by none, or not to be had, as behind servers
            // that fail on the type: every label between may be the cut, and what lies below an unsigned one needs no word of its own.
            let signer = reply.as_ref().ok().and_then(|reply| signer_above(reply, &next, &not_cuts));
            let before = ahead.len();
            match signer {
                Some(signer) if signer == here.zone => {}
                Some(signer) if signer.is_below(&here.zone) => ahead.push(signer),
                _ => {
                    let between = next.self_and_ancestors().skip(1).take_while(|n| n.is_below(&here.zone));
                    ahead.extend(between.filter(|n| !not_cuts.contains(n)));
                }
            }
            if ahead.len() > before {
                self.fetched.extend(reply);
                continue;
            }
            let reply = match reply {
                Ok(reply) => reply,
                Err(reason) => return self.broken(&here.zone, subject, reason, None),
            };
            let finding = match self.judge_ds(&reply, &here, &next) {
                Ok(finding) => finding,
                Err(Failed { reason, note }) => return self.broken(&here.zone, subject, reason, note),
            };
            match finding {
                DsFinding::NotACut => {
                    not_cuts.push(next);
                    ahead.pop();
                }
                DsFinding::Insecure(why, ttl) => {
                    self.remember(next.clone(), Known::Insecure(why), ttl);
                    return Standing::Insecure(why, next);
                }
                DsFinding::Signed(ds, ttl) => {
                    let ds: Vec<Ds<'_>> = ds.iter().filter_map(|r| Ds::read(r)).collect();
                    match self.enter(&next, &ds, &[], ttl).await {
                        Standing::Secure(keys) => here = keys,
                        other => return other,
                    }
                    ahead.pop();
                }
            }
        }
        Standing::Secure(here)
    }

    /// The deepest point at or above `target` whose standing is known: a remembered zone or a trust anchor.
    async fn start(&mut self, target: &Name) -> Standing {
        let Some((anchored, anchors)) = self.trust.anchors.closest(target) else {
            return Standing::Insecure(Insecurity::NoAnchor, target.clone());
        };
        if self.when.trusted {
            let down_to_anchor = target.self_and_ancestors().take_while(|n| n.is_at_or_below(anchored));
            for name in down_to_anchor {
                match self.store.at(&name, self.when.now) {
                    Some(Known::Signed(keys)) => {
                        self.remembered.push(name);
                        return Standing::Secure(keys);
                    }
                    Some(Known::Insecure(why)) => return Standing::Insecure(why, name),
                    None => {}
                }
            }
        }
        let ds: Vec<Ds<'_>> = anchors.iter().filter_map(|a| if let Anchor::Ds(r) = a { Ds::read(r) } else { None }).collect();
        let keys: Vec<Dnskey<'_>> = anchors.iter().filter_map(|a| if let Anchor::Dnskey(r) = a { Dnskey::read(r) } else { None }).collect();
        let usable_ds = usable(&ds, crypto::is_known);
        if usable_ds.is_empty() && !keys.iter().any(|k| crypto::is_known(k.algorithm())) {
            return Standing::Insecure(Insecurity::UnsupportedAlgorithm, anchored.clone());
        }
        self.note(anchored, Question::new(anchored.clone(), Rtype::DNSKEY), None, Status::Secure, || {
            format!("trust anchor at {anchored}: {} DS, {} DNSKEY", ds.len(), keys.len())
        });
        self.enter(anchored, &usable_ds, &keys, REMEMBER_AT_MOST).await
    }

    /// Enters a signed zone: its DNSKEY RRset must be signed by a key that a DS or an anchor names.
    async fn enter(&mut self, zone: &Name, ds: &[Ds<'_>], anchor_keys: &[Dnskey<'_>], ttl: u32) -> Standing {
        let subject = Question::new(zone.clone(), Rtype::DNSKEY);
        let reply = match self.fetch(&subject).await {
            Ok(reply) => reply,
            Err(reason) => return self.broken(zone, subject, reason, None),
        };
        let Some(set) = reply.answer.iter().find(|s| s.rtype == Rtype::DNSKEY && s.owner == *zone) else {
            return self.broken(zone, subject, Bogus::DnskeyMissing, None);
        };
        match entry_keys(set, ds, anchor_keys, self.work.limits()).and_then(|keys| self.verify(set, zone, &keys)) {
            Ok(verified) if verified.expanded_from.is_none() => {
                let keys = Arc::new(ZoneKeys { zone: zone.clone(), rdatas: set.rdatas.clone() });
                self.note(zone, subject, Some(verified.note), Status::Secure, || {
                    let tags: Vec<String> = keys.keys().iter().map(|k| k.tag().to_string()).collect();
                    format!(
                        "DNSKEY of {zone} ({}) signed by key {}, which the parent's DS or the anchor names",
                        tags.join(", "),
                        verified.note.key_tag
                    )
                });
                self.remember(zone.clone(), Known::Signed(keys.clone()), ttl.min(set.ttl).min(verified.ttl_cap));
                Standing::Secure(keys)
            }
            Ok(verified) => self.broken(zone, subject, Bogus::BadSignature, Some(verified.note)),
            Err(Failed { reason, note }) => self.broken(zone, subject, reason, note),
        }
    }

    fn judge_ds(&mut self, reply: &Reply, here: &ZoneKeys, name: &Name) -> Result<DsFinding, Failed> {
        let keys = here.keys();
        let subject = Question::new(name.clone(), Rtype::DS);
        if let Some(set) = reply.answer.iter().find(|s| s.rtype == Rtype::DS && s.owner == *name) {
            let verified = self.verify(set, &here.zone, &keys)?;
            if verified.expanded_from.is_some() {
                return Err(Failed { reason: Bogus::BadDenial, note: Some(verified.note) });
            }
            let ttl = set.ttl.min(verified.ttl_cap);
            let all: Vec<Ds<'_>> = set.rdatas.iter().filter_map(|r| Ds::read(r)).collect();
            let counting = usable(&all, |a| self.ds_counts(a));
            let status = match (counting.is_empty(), all.iter().any(Ds::digest_is_supported)) {
                (false, _) => Status::Secure,
                (true, true) => Status::Insecure(Insecurity::UnsupportedAlgorithm),
                (true, false) => Status::Insecure(Insecurity::UnsupportedDigest),
            };
            self.note(&here.zone, subject, Some(verified.note), status, || {
                let list: Vec<String> =
                    all.iter().map(|d| format!("key {} algorithm {} digest {}", d.tag, d.algorithm, d.digest_type)).collect();
                format!("DS of {name} in {}: {}", here.zone, list.join("; "))
            });
            return Ok(match status {
                Status::Insecure(why) => DsFinding::Insecure(why, ttl),
                _ => DsFinding::Signed(counting.iter().map(Ds::rdata).collect(), ttl),
            });
        }
        // A name with a CNAME, or below a DNAME, is no zone cut of this zone.
        let alias = |s: &&Rrset| (s.rtype == Rtype::CNAME && s.owner == *name) || (s.rtype == Rtype::DNAME && name.is_below(&s.owner));
        if let Some(set) = reply.answer.iter().filter(|s| !s.sigs.is_empty()).find(alias) {
            self.verify(set, &here.zone, &keys)?;
            return Ok(DsFinding::NotACut);
        }
        let denial = self.verified_denial(reply, here);
        let proven = self.proofs(&here.zone, &denial.sets).ds(name);
        let (finding, status, words) = match proven {
            Ok(NoDs::InsecureCut) => (
                DsFinding::Insecure(Insecurity::NoDs, denial.ttl),
                Status::Insecure(Insecurity::NoDs),
                "is delegated without a DS, proven by",
            ),
            Ok(NoDs::OptOut) => (
                DsFinding::Insecure(Insecurity::OptOut, denial.ttl),
                Status::Insecure(Insecurity::OptOut),
                "may be delegated without a DS, opt-out in",
            ),
            Ok(NoDs::NotACut) => (DsFinding::NotACut, Status::Secure, "is no zone cut, proven by"),
            Err(why) => match why.status(self.settings.nsec3_iterations_bogus) {
                status @ Status::Insecure(reason) => (DsFinding::Insecure(reason, denial.ttl), status, "has too many NSEC3 iterations in"),
                // An alias is there in place of the denial, and nobody has signed it.
                Status::Bogus(Bogus::NsecMissing) if reply.answer.iter().any(|s| alias(&s)) => {
                    return Err(denial.failure_behind(Bogus::RrsigsMissing));
                }
                Status::Bogus(reason) => return Err(denial.failure_behind(reason)),
                Status::Secure | Status::Indeterminate => return Err(Failed { reason: Bogus::BadDenial, note: None }),
            },
        };
        self.note(&here.zone, subject, denial.note, status, || format!("{name} {words} {}", here.zone));
        Ok(finding)
    }

    /// The NSEC and NSEC3 RRsets of a reply that this zone has signed, each itself and not by wildcard.
    pub(crate) fn verified_denial<'r>(&self, reply: &'r Reply, here: &ZoneKeys) -> VerifiedDenial<'r> {
        let keys = here.keys();
        let mut out = VerifiedDenial { sets: Vec::new(), ttl: REMEMBER_AT_MOST, note: None, failed: None };
        let denial = reply.authority.iter().filter(|s| matches!(s.rtype, Rtype::NSEC | Rtype::NSEC3));
        for set in denial.take(self.work.limits().denial_records) {
            match self.verify(set, &here.zone, &keys) {
                Ok(verified) if verified.expanded_from.is_none() => {
                    out.ttl = out.ttl.min(set.ttl).min(verified.ttl_cap);
                    out.note.get_or_insert(verified.note);
                    out.sets.push(set);
                }
                Ok(verified) => out.failed = Some(Failed { reason: Bogus::BadDenial, note: Some(verified.note) }),
                Err(failed) => out.failed = Some(failed),
            }
        }
        out
    }

    pub(crate) fn proofs<'p>(&'p self, zone: &'p Name, sets: &[&'p Rrset]) -> Proofs<'p> {
        Proofs::new(zone, sets, self.settings.nsec3_iterations, self.work)
    }

    pub(crate) fn verify(&self, set: &Rrset, zone: &Name, keys: &[Dnskey<'_>]) -> Result<Verified, Failed> {
        verify(set, zone, keys, self.when, self.work)
    }

    /// Whether a DS of this algorithm leads anywhere. An anchor of SHA-1 always does: it is the operator's own word.
    fn ds_counts(&self, algorithm: u8) -> bool {
        crypto::is_known(algorithm) && (self.settings.sha1_signatures || !crypto::is_sha1(algorithm))
    }

    async fn ds_reply(&mut self, subject: &Question) -> Result<Reply, Bogus> {
        match self.fetched.iter().position(|r| r.question == *subject) {
            Some(at) => Ok(self.fetched.swap_remove(at)),
            None => self.fetch(subject).await,
        }
    }

    async fn fetch(&mut self, subject: &Question) -> Result<Reply, Bogus> {
        self.fetches += 1;
        if self.fetches > self.work.limits().fetches_per_walk {
            return Err(Bogus::TooMuchWork);
        }
        match self.source.fetch(subject).await {
            Ok(reply) if matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => Ok(reply),
            // A spent budget says as little of the zone as a dead server does.
            Ok(_) | Err(NoReply::Unreachable | NoReply::Loop | NoReply::OverBudget) => Err(Bogus::NoKeys),
        }
    }

    /// Below the clock floor nothing is remembered: signature times were not looked at.
    fn remember(&self, name: Name, known: Known, ttl: u32) {
        if self.when.trusted {
            self.store.insert(name, known, self.when.now, ttl.min(REMEMBER_AT_MOST));
        }
    }

    fn broken(&mut self, zone: &Name, at: Question, reason: Bogus, note: Option<SignatureNote>) -> Standing {
        self.note(zone, at.clone(), note, Status::Bogus(reason), || format!("{at}: {}", reason.ede().text));
        Standing::Bogus(Broken { reason, at })
    }

    pub(crate) fn note(
        &mut self,
        zone: &Name,
        subject: Question,
        signature: Option<SignatureNote>,
        status: Status,
        words: impl FnOnce() -> String,
    ) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step { zone: zone.clone(), subject, signature, status, words: words() });
        }
    }
}

/// The keys of a DNSKEY RRset that a DS or an anchor names.
pub(crate) fn entry_keys<'k>(set: &'k Rrset, ds: &[Ds<'_>], anchors: &[Dnskey<'_>], limits: &Limits) -> Result<Vec<Dnskey<'k>>, Failed> {
    let failed = |reason| Failed { reason, note: None };
    if set.rdatas.len() > limits.keys_per_zone || ds.len() > limits.ds_per_zone {
        return Err(failed(Bogus::TooMuchWork));
    }
    let keys = set.rdatas.iter().filter_map(|r| Dnskey::read(r));
    let is_named = |k: &Dnskey<'_>| anchors.iter().any(|a| a.rdata() == k.rdata()) || ds.iter().any(|d| d.matches(&set.owner, k));
    let named: Vec<Dnskey<'k>> = keys.filter(is_named).collect();
    if named.is_empty() { Err(failed(Bogus::DnskeyMissing)) } else { Ok(named) }
}

/// The denial records of a reply that have verified.
pub(crate) struct VerifiedDenial<'r> {
    pub(crate) sets: Vec<&'r Rrset>,
    /// Seconds that they hold.
    pub(crate) ttl: u32,
    pub(crate) note: Option<SignatureNote>,
    failed: Option<Failed>,
}

impl VerifiedDenial<'_> {
    /// A proof that lacks a record lacks it because that record's signature failed, if one did: that is the better reason.
    pub(crate) fn failure_behind(&self, reason: Bogus) -> Failed {
        match self.failed {
            Some(failed) if reason == Bogus::NsecMissing => failed,
            _ => Failed { reason, note: self.note },
        }
    }
}

/// The zone that claims to have signed what a DS reply says about `name`: the deepest signer strictly above it (RFC 4035 section 5.2: a
/// DS, and its absence, is the parent's to say).
fn signer_above(reply: &Reply, name: &Name, not_cuts: &[Name]) -> Option<Name> {
    let telling = reply.answer.iter().chain(reply.authority.iter().filter(|s| matches!(s.rtype, Rtype::SOA | Rtype::NSEC | Rtype::NSEC3)));
    telling.flat_map(signers).filter(|signer| name.is_below(signer) && !not_cuts.contains(signer)).max_by_key(Name::label_count)
}

/// The signer names on an RRset.
pub(crate) fn signers(set: &Rrset) -> impl Iterator<Item = Name> + '_ {
    set.sigs.iter().filter_map(|s| Rrsig::read(s)).map(|sig| sig.signer)
}
