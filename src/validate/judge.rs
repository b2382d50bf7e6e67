//! One reply to one verdict: every RRset of the answer, the proofs that wildcards need, or the denial that a negative answer is.
//!
//! RFC 4035 sections 5.3 and 5.4, RFC 5155 sections 8.4 to 8.8, RFC 6672 section 5.3.1. The zones' keys come from `chain`.

use super::chain::{Broken, Standing, Walk, signers};
use super::denial::{Proven, Unproven};
use super::nsec3::opts_out;
use super::store::ZoneKeys;
use super::{Bogus, Denial, Denied, Insecurity, Reply, Source, Status, Verdict};
use crate::wire::{Ede, Name, Question, Rcode, Rrset, Rtype};

/// Signers of one RRset that are followed; a zone that changes hands has two at most.
const SIGNERS: usize = 2;
/// Seconds that an answer may be kept which was judged without a clock.
const UNTRUSTED_CLOCK_TTL: u32 = 30;

/// What is gathered while the RRsets of a reply are judged one by one.
struct Gathered {
    status: Status,
    broken: Option<Broken>,
    ttl_cap: u32,
    proof: Option<Denial>,
    rcode: Rcode,
    /// RRsets of the authority section that have verified.
    proven: Vec<(Name, Rtype)>,
}

impl Gathered {
    fn new(reply: &Reply) -> Gathered {
        Gathered { status: Status::Secure, broken: None, ttl_cap: u32::MAX, proof: None, rcode: reply.rcode, proven: Vec::new() }
    }

    /// The weakest status counts; of two equally weak the first.
    fn add(&mut self, status: Status) {
        let strength = |s: Status| match s {
            Status::Bogus(_) => 0,
            Status::Indeterminate => 1,
            Status::Insecure(_) => 2,
            Status::Secure => 3,
        };
        if strength(status) < strength(self.status) {
            self.status = status;
        }
    }

    fn add_broken(&mut self, broken: Broken) {
        self.add(Status::Bogus(broken.reason));
        self.broken.get_or_insert(broken);
    }

    fn cap(&mut self, ttl: u32) {
        self.ttl_cap = self.ttl_cap.min(ttl);
    }

    fn add_proven<'r>(&mut self, sets: impl IntoIterator<Item = &'r Rrset>) {
        self.proven.extend(sets.into_iter().map(|set| (set.owner.clone(), set.rtype)));
    }
}

/// A wildcard answer that still needs its proof: nothing closer to `owner` than `*.encloser` exists.
struct Expansion {
    subject: Question,
    keys: std::sync::Arc<ZoneKeys>,
    encloser: Name,
}

/// Judges `reply`.
pub(crate) async fn judge<S: Source>(reply: &Reply, walk: &mut Walk<'_, S>) -> Verdict {
    let mut gathered = Gathered::new(reply);
    let mut expansions = Vec::new();
    for set in &reply.answer {
        if set.rtype == Rtype::RRSIG {
            // Signatures are not signed (RFC 4035 section 2.2): shown to who asks for them, never Secure.
            gathered.add(Status::Indeterminate);
        } else if !follows_from_dname(set, &reply.answer) {
            walk.positive(reply, set, &mut gathered, &mut expansions).await;
        }
    }
    for expansion in expansions {
        walk.expansion(reply, &expansion, &mut gathered);
    }
    if is_negative(reply) {
        walk.negative(reply, &mut gathered).await;
    }
    walk.verdict(gathered)
}

/// Whether `set` is the unsigned CNAME that a DNAME of the answer calls for, to the octet (RFC 6672 section 5.3.1). It is worth what the
/// DNAME is worth.
fn follows_from_dname(set: &Rrset, answer: &[Rrset]) -> bool {
    let [_] = set.rdatas.as_slice() else { return false };
    let derived = |dname: &Rrset| {
        let target = dname.target()?;
        set.owner.rebase(&dname.owner, &target).ok()
    };
    set.rtype == Rtype::CNAME
        && set.sigs.is_empty()
        && answer.iter().any(|d| d.rtype == Rtype::DNAME && d.rdatas.len() == 1 && derived(d).is_some_and(|t| set.target() == Some(t)))
}

/// Whether the reply denies the name or the type asked for, rather than answering or leading elsewhere.
fn is_negative(reply: &Reply) -> bool {
    let question = &reply.question;
    let answers = |s: &Rrset| {
        let any = matches!(question.rtype, Rtype::ANY);
        let own = s.owner == question.name && (any || s.rtype == question.rtype || s.rtype == Rtype::CNAME);
        own || (s.rtype == Rtype::DNAME && question.name.is_below(&s.owner))
    };
    !reply.answer.iter().any(answers)
}

/// The deepest name that a zone holding `name` and `rtype` may have as its apex: a DS is its parent's.
fn holder(name: &Name, rtype: Rtype) -> Name {
    if rtype == Rtype::DS { name.parent().unwrap_or_else(|| name.clone()) } else { name.clone() }
}

impl<S: Source> Walk<'_, S> {
    /// The zones whose signatures on these sets may count: at or above the data, and not above the anchor that governs it, which would
    /// let a made-up signer lead around the anchor. Deepest first.
    fn candidates<'r>(&self, sets: impl Iterator<Item = &'r Rrset>, holder: &Name) -> Vec<Name> {
        let anchored = self.trust.anchors.closest(holder).map(|(name, _)| name);
        let counts = |s: &Name| holder.is_at_or_below(s) && anchored.is_none_or(|a| s.is_at_or_below(a));
        let mut found: Vec<Name> = sets.flat_map(signers).filter(counts).collect();
        found.sort_by_key(|n| std::cmp::Reverse(n.label_count()));
        found.dedup();
        found.truncate(SIGNERS);
        found
    }

    /// Whether a negative trust anchor, or the lack of any anchor, settles the matter, and for how many seconds.
    fn settled(&self, name: &Name) -> Option<(Insecurity, u32)> {
        let anchored = self.trust.anchors.closest(name).map(|(n, _)| n);
        let negative = self.trust.negative.covering(name, self.when.now);
        match (anchored, negative) {
            (None, _) => Some((Insecurity::NoAnchor, u32::MAX)),
            // An anchor below the negative one takes over again (RFC 7646 section 4).
            (Some(anchored), Some(negative)) if negative.name.is_at_or_below(anchored) => {
                // It ends at its time, and with it what it let through (RFC 7646 section 2).
                let left = negative.expires.map_or(u32::MAX, |end| u32::try_from(end.saturating_sub(self.when.now)).unwrap_or(u32::MAX));
                Some((Insecurity::NegativeTrustAnchor, left))
            }
            _ => None,
        }
    }

    /// Judges one RRset of the answer.
    async fn positive(&mut self, reply: &Reply, set: &Rrset, gathered: &mut Gathered, expansions: &mut Vec<Expansion>) {
        let subject = Question::new(set.owner.clone(), set.rtype);
        let holder = holder(&set.owner, set.rtype);
        if let Some((why, left)) = self.settled(&holder) {
            gathered.cap(left);
            return self.insecure(&holder, subject, why, gathered);
        }
        let mut failed = None;
        for signer in self.candidates(std::iter::once(set), &holder) {
            let keys = match self.descend(&signer, None).await {
                Standing::Secure(keys) if keys.zone == signer => keys,
                Standing::Secure(_) => continue,
                Standing::Insecure(why, at) => return self.insecure(&at, subject, why, gathered),
                Standing::Bogus(broken) => return gathered.add_broken(broken),
            };
            match self.verify(set, &keys.zone, &keys.keys()) {
                Ok(verified) => {
                    let note = verified.note;
                    self.note(&keys.zone, subject.clone(), Some(note), Status::Secure, || {
                        format!("{subject} signed by key {} of {}", note.key_tag, keys.zone)
                    });
                    gathered.cap(verified.ttl_cap);
                    if let Some(encloser) = verified.expanded_from {
                        expansions.push(Expansion { subject, keys, encloser });
                    }
                    return;
                }
                Err(why) => failed = failed.or(Some((why, signer))),
            }
        }
        // No good signature: Bogus, unless the data lies in a zone that is proven to be unsigned. Where signatures are there but fail,
        // that is looked into only if the iterator knows of a cut below their zone, or every broken zone would cost more queries.
        let deeper = |zone: &Name| reply.zone_known && reply.zone.is_below(zone);
        if failed.as_ref().is_none_or(|(_, zone)| deeper(zone)) {
            match self.descend(&holder, Some(&reply.zone)).await {
                Standing::Insecure(why, at) => return self.insecure(&at, subject, why, gathered),
                Standing::Bogus(broken) if failed.is_none() => return gathered.add_broken(broken),
                Standing::Secure(_) | Standing::Bogus(_) => {}
            }
        }
        let unsigned = if set.sigs.is_empty() { Bogus::RrsigsMissing } else { Bogus::WrongSigner };
        let (reason, note) = failed.as_ref().map_or((unsigned, None), |(why, _)| (why.reason, why.note));
        let zone = failed.map_or(holder, |(_, zone)| zone);
        self.bogus(&zone, subject, reason, note, gathered);
    }

    /// Looks for the proof that a wildcard was rightly expanded (RFC 4035 section 5.3.4, RFC 5155 section 8.8).
    fn expansion(&mut self, reply: &Reply, expansion: &Expansion, gathered: &mut Gathered) {
        let Expansion { subject, keys, encloser } = expansion;
        let denial = self.verified_denial(reply, keys);
        let proven = self.proofs(&keys.zone, &denial.sets).closer(&subject.name, encloser);
        gathered.cap(denial.ttl);
        let status = self.proven_status(proven);
        if let Status::Bogus(reason) = status {
            let failed = denial.failure_behind(reason);
            return self.bogus(&keys.zone, subject.clone(), failed.reason, failed.note, gathered);
        }
        self.note(&keys.zone, subject.clone(), denial.note, status, || {
            format!("{} expanded from *.{encloser}, no closer name in {}", subject.name, keys.zone)
        });
        gathered.add(status);
        gathered.add_proven(denial.sets.iter().copied());
        if status == Status::Secure {
            gathered.proof = Some(proof(keys, Denied::ExactName, &denial.sets));
        }
    }

    /// Judges a negative answer.
    async fn negative(&mut self, reply: &Reply, gathered: &mut Gathered) {
        let subject = &reply.question;
        let holder = holder(&subject.name, subject.rtype);
        if let Some((why, left)) = self.settled(&holder) {
            gathered.cap(left);
            return self.insecure(&holder, subject.clone(), why, gathered);
        }
        let told = |s: &&Rrset| matches!(s.rtype, Rtype::SOA | Rtype::NSEC | Rtype::NSEC3);
        for signer in self.candidates(reply.authority.iter().filter(told), &holder) {
            match self.descend(&signer, None).await {
                Standing::Secure(keys) if keys.zone == signer => return self.denial(reply, &keys, gathered),
                Standing::Secure(_) => {}
                Standing::Insecure(why, at) => return self.insecure(&at, subject.clone(), why, gathered),
                Standing::Bogus(broken) => return gathered.add_broken(broken),
            }
        }
        if self.denied_from_above(reply, &holder, gathered).await {
            return;
        }
        match self.descend(&holder, Some(&reply.zone)).await {
            Standing::Insecure(why, at) => self.insecure(&at, subject.clone(), why, gathered),
            Standing::Bogus(broken) => gathered.add_broken(broken),
            Standing::Secure(keys) => {
                let unsigned = reply.authority.iter().any(|s| told(&s));
                let reason = if unsigned { Bogus::RrsigsMissing } else { Bogus::NsecMissing };
                self.bogus(&keys.zone, subject.clone(), reason, None, gathered);
            }
        }
    }

    /// Whether a zone above the anchor that governs `holder`, itself under another anchor, proves that the anchor's own zone is not there.
    /// Nothing less than Secure counts: a made-up signer must not lead around the lower anchor (RFC 6840 appendix C).
    async fn denied_from_above(&mut self, reply: &Reply, holder: &Name, gathered: &mut Gathered) -> bool {
        let Some(anchored) = self.trust.anchors.closest(holder).map(|(name, _)| name.clone()) else { return false };
        let told = reply.authority.iter().filter(|s| matches!(s.rtype, Rtype::NSEC | Rtype::NSEC3));
        let Some(signer) = told.flat_map(signers).find(|s| anchored.is_below(s) && self.trust.anchors.closest(s).is_some()) else {
            return false;
        };
        match self.descend(&signer, None).await {
            Standing::Secure(keys) if keys.zone == signer => {
                let mut above = Gathered::new(reply);
                self.denial(reply, &keys, &mut above);
                if above.status == Status::Secure {
                    gathered.cap(above.ttl_cap);
                    (gathered.proof, gathered.rcode) = (above.proof, above.rcode);
                    gathered.proven.extend(above.proven);
                }
                above.status == Status::Secure
            }
            _ => false,
        }
    }

    /// A negative answer under the keys of the zone that denies it.
    fn denial(&mut self, reply: &Reply, keys: &ZoneKeys, gathered: &mut Gathered) {
        let subject = &reply.question;
        for soa in reply.authority.iter().filter(|s| s.rtype == Rtype::SOA) {
            match self.verify(soa, &keys.zone, &keys.keys()) {
                Ok(verified) if verified.expanded_from.is_none() && soa.owner == keys.zone => {
                    gathered.cap(verified.ttl_cap);
                    gathered.add_proven([soa]);
                }
                Ok(verified) => return self.bogus(&keys.zone, subject.clone(), Bogus::BadDenial, Some(verified.note), gathered),
                Err(why) => return self.bogus(&keys.zone, Question::new(soa.owner.clone(), Rtype::SOA), why.reason, why.note, gathered),
            }
        }
        let denial = self.verified_denial(reply, keys);
        let mut name_denied = reply.rcode == Rcode::NXDOMAIN;
        let mut proofs = self.proofs(&keys.zone, &denial.sets);
        let mut proven = if name_denied { proofs.name(&subject.name) } else { proofs.type_at(&subject.name, subject.rtype) };
        // NXDOMAIN over a full proof that the name is there, without the type: from a server older than RFC 4592, or made up on the way.
        // The proof is signed and counts, as it does for Unbound. The other way round the server says less than it proves.
        if name_denied && proven.is_err() && proofs.type_at(&subject.name, subject.rtype) == Ok(Proven::Fully) {
            (name_denied, proven, gathered.rcode) = (false, Ok(Proven::Fully), Rcode::NOERROR);
        }
        gathered.cap(denial.ttl);
        let status = self.proven_status(proven);
        if let Status::Bogus(reason) = status {
            let failed = denial.failure_behind(reason);
            return self.bogus(&keys.zone, subject.clone(), failed.reason, failed.note, gathered);
        }
        self.note(&keys.zone, subject.clone(), denial.note, status, || {
            let what = if name_denied { "does not exist" } else { "has no such type" };
            format!("{subject}: {what}, proven by {}", keys.zone)
        });
        gathered.add(status);
        gathered.add_proven(denial.sets.iter().copied());
        if status == Status::Secure {
            let denied = if name_denied { Denied::Name } else { Denied::Type };
            gathered.proof = Some(proof(keys, denied, &denial.sets));
        }
    }

    fn proven_status(&self, proven: Result<Proven, Unproven>) -> Status {
        match proven {
            Ok(Proven::Fully) => Status::Secure,
            Ok(Proven::OptOut) => Status::Insecure(Insecurity::OptOut),
            Err(why) => why.status(self.settings.nsec3_iterations_bogus),
        }
    }

    fn insecure(&mut self, at: &Name, subject: Question, why: Insecurity, gathered: &mut Gathered) {
        self.note(at, subject.clone(), None, Status::Insecure(why), || format!("{subject}: insecure from {at} down ({})", why.label()));
        gathered.add(Status::Insecure(why));
    }

    fn bogus(&mut self, zone: &Name, at: Question, reason: Bogus, note: Option<super::SignatureNote>, gathered: &mut Gathered) {
        self.note(zone, at.clone(), note, Status::Bogus(reason), || format!("{at}: {}", reason.ede().text));
        gathered.add_broken(Broken { reason, at });
    }

    fn verdict(&mut self, gathered: Gathered) -> Verdict {
        let Gathered { mut status, broken, mut ttl_cap, mut proof, rcode, proven } = gathered;
        let mut ede = Vec::new();
        match status {
            Status::Bogus(reason) => {
                let Ede { code, text } = reason.ede();
                ede.push(match &broken {
                    Some(broken) => Ede::new(code, format!("{}: {text}", broken.at)),
                    None => Ede::new(code, text),
                });
            }
            Status::Insecure(why) => ede.extend(why.ede()),
            Status::Secure | Status::Indeterminate => {}
        }
        if !self.when.trusted {
            ttl_cap = ttl_cap.min(UNTRUSTED_CLOCK_TTL);
            proof = None;
            if status == Status::Secure {
                status = Status::Indeterminate;
                ede.push(Ede::new(5, "the clock is not set: signature times were not checked"));
            }
        }
        let broken = broken.map(|b| b.at);
        Verdict { status, ttl_cap, ede, broken, rcode, proven, proof, steps: self.steps.take().unwrap_or_default() }
    }
}

fn proof(keys: &ZoneKeys, denied: Denied, sets: &[&Rrset]) -> Denial {
    let records = sets.iter().filter(|s| !opts_out(s)).map(|s| (*s).clone()).collect();
    Denial { zone: keys.zone.clone(), denied, records }
}
