//! Signed zones for tests: a small authoritative model that answers, signs and denies by the RFCs, apart from the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use data_encoding::BASE32_DNSSEC;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

use super::{NoReply, Reply, Source, When};
use crate::wire::{Name, Question, Rcode, Rrset, Rtype};

/// The moment at which tests judge.
pub(super) const NOW: u64 = 1_790_000_000;
/// TTL and Original TTL of all test data.
pub(super) const TTL: u32 = 3600;

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn question(text: &str, rtype: Rtype) -> Question {
    Question::new(name(text), rtype)
}

pub(super) fn at(now: u64) -> When {
    When { now, trusted: true }
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// For algorithms that nobody can check: the signature is junk.
    None,
}

pub(super) struct Key {
    pair: Pair,
    pub(super) flags: u16,
    pub(super) algorithm: u8,
}

impl Key {
    pub(super) fn ed25519(seed: u64) -> Key {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Key { pair: Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(&bytes).unwrap()), flags: 257, algorithm: 15 }
    }

    pub(super) fn ecdsa() -> Key {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Key { pair: Pair::Ecdsa(pair), flags: 257, algorithm: 13 }
    }

    pub(super) fn unknown(algorithm: u8) -> Key {
        Key { pair: Pair::None, flags: 257, algorithm }
    }

    pub(super) fn rdata(&self) -> Box<[u8]> {
        let public = match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref()[1..].to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::None => vec![1; 57],
        };
        [&self.flags.to_be_bytes()[..], &[3, self.algorithm], &public].concat().into()
    }

    pub(super) fn tag(&self) -> u16 {
        let mut sum = 0u32;
        for (i, octet) in self.rdata().iter().enumerate() {
            sum += u32::from(*octet) << (8 * (1 - i % 2));
        }
        (sum + (sum >> 16)) as u16
    }

    pub(super) fn ds(&self, owner: &Name, digest_type: u8) -> Box<[u8]> {
        let algorithm = match digest_type {
            1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            4 => &ring::digest::SHA384,
            _ => &ring::digest::SHA256,
        };
        let digest = ring::digest::digest(algorithm, &[owner.wire(), &self.rdata()].concat());
        [&self.tag().to_be_bytes()[..], &[self.algorithm, digest_type], digest.as_ref()].concat().into()
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), data).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(data).as_ref().to_vec(),
            Pair::None => vec![9; 64],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denying {
    Nsec,
    Nsec3 { salt: Vec<u8>, iterations: u16, opt_out: bool },
}

/// The types at a name, with their RDATA.
type Types = BTreeMap<Rtype, Vec<Box<[u8]>>>;
/// Whether a denial record matches, or covers, a name.
type Says<'a> = Box<dyn Fn(&Name) -> bool + 'a>;

pub(super) struct Zone {
    pub(super) apex: Name,
    /// No keys: an unsigned zone.
    pub(super) keys: Vec<Key>,
    pub(super) denying: Denying,
    pub(super) sets: BTreeMap<Name, Types>,
    pub(super) inception: u64,
    pub(super) expiration: u64,
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.sets.iter().map(|(owner, types)| (owner, types.keys().collect::<Vec<_>>()))).finish()
    }
}

impl Zone {
    pub(super) fn unsigned(apex: &str) -> Zone {
        let apex = name(apex);
        let mut zone = Zone {
            apex: apex.clone(),
            keys: Vec::new(),
            denying: Denying::Nsec,
            sets: BTreeMap::new(),
            inception: NOW - 86_400,
            expiration: NOW + 86_400,
        };
        let soa = [name("ns.invalid").wire(), name("hostmaster.invalid").wire(), &[0; 20]].concat();
        zone.insert(apex.clone(), Rtype::SOA, &soa);
        zone.insert(apex, Rtype::NS, name("ns.invalid").wire());
        zone
    }

    pub(super) fn signed_with(apex: &str, denying: Denying, keys: Vec<Key>) -> Zone {
        let mut zone = Zone::unsigned(apex);
        zone.denying = denying;
        for key in &keys {
            zone.insert(name(apex), Rtype::DNSKEY, &key.rdata());
        }
        if zone.denying != Denying::Nsec {
            zone.insert(name(apex), Rtype::NSEC3PARAM, &[1, 0, 0, 0, 0]);
        }
        zone.keys = keys;
        zone
    }

    pub(super) fn signed(apex: &str, denying: Denying) -> Zone {
        let seed = apex.bytes().fold(1u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        Zone::signed_with(apex, denying, vec![Key::ed25519(seed)])
    }

    pub(super) fn add(&mut self, owner: &str, rtype: Rtype, rdata: &[u8]) -> &mut Zone {
        self.insert(name(owner), rtype, rdata);
        self
    }

    fn insert(&mut self, owner: Name, rtype: Rtype, rdata: &[u8]) {
        self.sets.entry(owner).or_default().entry(rtype).or_default().push(rdata.into());
    }

    /// Adds the delegation of `child`, with a DS where it is signed.
    pub(super) fn delegate(&mut self, child: &Zone) -> &mut Zone {
        self.insert(child.apex.clone(), Rtype::NS, name("ns.invalid").wire());
        for key in &child.keys {
            let ds = key.ds(&child.apex, 2);
            self.insert(child.apex.clone(), Rtype::DS, &ds);
        }
        self
    }

    /// The anchor line's worth of this zone: DS of its first key.
    pub(super) fn anchor(&self) -> super::Anchor {
        super::Anchor::Ds(self.keys[0].ds(&self.apex, 2))
    }

    /// Signs `set`, found at `set.owner` by expanding a wildcard that leaves `labels` labels.
    pub(super) fn sign(&self, set: &mut Rrset, labels: usize) {
        let signed_owner = if labels < set.owner.label_count() - usize::from(set.owner.is_wildcard()) {
            set.owner.suffix(labels).wildcard().unwrap()
        } else {
            set.owner.clone()
        };
        for key in &self.keys {
            let mut rdata = Vec::new();
            rdata.extend(set.rtype.0.to_be_bytes());
            rdata.extend([key.algorithm, labels as u8]);
            rdata.extend(TTL.to_be_bytes());
            rdata.extend((self.expiration as u32).to_be_bytes());
            rdata.extend((self.inception as u32).to_be_bytes());
            rdata.extend(key.tag().to_be_bytes());
            rdata.extend(self.apex.wire());
            let mut data = rdata.clone();
            let rdatas: BTreeSet<_> = set.rdatas.iter().cloned().collect();
            for one in rdatas {
                data.extend(signed_owner.wire());
                data.extend(set.rtype.0.to_be_bytes());
                data.extend([0, 1]);
                data.extend(TTL.to_be_bytes());
                data.extend((one.len() as u16).to_be_bytes());
                data.extend(&one[..]);
            }
            rdata.extend(key.sign(&data));
            set.sigs.push(rdata.into());
        }
    }

    fn make(&self, owner: &Name, rtype: Rtype, rdatas: Vec<Box<[u8]>>) -> Rrset {
        let mut set = Rrset::new(owner.clone(), rtype, TTL, rdatas);
        self.sign(&mut set, owner.label_count() - usize::from(owner.is_wildcard()));
        set
    }

    pub(super) fn set(&self, owner: &Name, rtype: Rtype) -> Option<Rrset> {
        Some(self.make(owner, rtype, self.sets.get(owner)?.get(&rtype)?.clone()))
    }

    fn is_cut(&self, owner: &Name) -> bool {
        *owner != self.apex && self.sets.get(owner).is_some_and(|types| types.contains_key(&Rtype::NS))
    }

    /// Names with data of this zone's own: what lies below a cut or a DNAME is not.
    pub(super) fn own_names(&self) -> Vec<Name> {
        let hidden = |n: &Name| {
            let mut above = n.self_and_ancestors().skip(1).take_while(|a| a.is_at_or_below(&self.apex));
            above.any(|a| self.is_cut(&a) || self.sets.get(&a).is_some_and(|t| t.contains_key(&Rtype::DNAME)))
        };
        self.sets.keys().filter(|n| !hidden(n)).cloned().collect()
    }

    /// Whether the name exists: it has data or something below it has.
    pub(super) fn exists(&self, owner: &Name) -> bool {
        self.own_names().iter().any(|n| n.is_at_or_below(owner))
    }

    fn bitmap(&self, owner: &Name, proof: Rtype) -> Vec<u8> {
        let mut types: BTreeSet<u16> = self.sets.get(owner).into_iter().flat_map(|t| t.keys().map(|r| r.0)).collect();
        let cut = self.is_cut(owner);
        if cut {
            types.retain(|t| [Rtype::NS.0, Rtype::DS.0].contains(t));
        }
        // An NSEC and its RRSIG are at the name itself; an NSEC3 is elsewhere, and an unsigned delegation has no RRSIG.
        if proof == Rtype::NSEC {
            types.insert(Rtype::NSEC.0);
        }
        if proof == Rtype::NSEC || (!types.is_empty() && types.iter().copied().ne([Rtype::NS.0])) {
            types.insert(Rtype::RRSIG.0);
        }
        let mut out: Vec<u8> = Vec::new();
        for window in types.iter().map(|t| t >> 8).collect::<BTreeSet<u16>>() {
            let mut bits = [0u8; 32];
            for t in types.iter().filter(|t| *t >> 8 == window) {
                bits[usize::from(t & 255) / 8] |= 0x80 >> (t & 7);
            }
            let length = 32 - bits.iter().rev().take_while(|b| **b == 0).count();
            out.extend([window as u8, length as u8]);
            out.extend(&bits[..length]);
        }
        out
    }

    /// The whole denial chain, signed.
    pub(super) fn chain(&self) -> Vec<Rrset> {
        let own = self.own_names();
        let Denying::Nsec3 { salt, iterations, opt_out } = &self.denying else {
            let next = own.iter().cycle().skip(1);
            let link = |(owner, next): (&Name, &Name)| {
                let rdata = [next.wire(), &self.bitmap(owner, Rtype::NSEC)].concat();
                self.make(owner, Rtype::NSEC, vec![rdata.into()])
            };
            return own.iter().zip(next).map(link).collect();
        };
        let left_out = |n: &Name| *opt_out && self.is_cut(n) && !self.sets[n].contains_key(&Rtype::DS);
        let mut hashed: BTreeMap<Vec<u8>, Name> = BTreeMap::new();
        for owner in own.iter().filter(|n| !left_out(n)) {
            for existing in owner.self_and_ancestors().take_while(|a| a.is_at_or_below(&self.apex)) {
                hashed.insert(slow_hash(&existing, salt, *iterations), existing);
            }
        }
        let next = hashed.keys().cycle().skip(1);
        let link = |((hash, owner), next): ((&Vec<u8>, &Name), &Vec<u8>)| {
            let mut rdata = vec![1, u8::from(*opt_out)];
            rdata.extend(iterations.to_be_bytes());
            rdata.push(salt.len() as u8);
            rdata.extend(salt);
            rdata.push(20);
            rdata.extend(next);
            rdata.extend(self.bitmap(owner, Rtype::NSEC3));
            let at = self.apex.child(BASE32_DNSSEC.encode(hash).as_bytes()).unwrap();
            self.make(&at, Rtype::NSEC3, vec![rdata.into()])
        };
        hashed.iter().zip(next).map(link).collect()
    }

    /// The records of the chain that match or cover `names`, each once.
    fn proofs(&self, matching: &[Name], covering: &[Name]) -> Vec<Rrset> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let mut out: Vec<Rrset> = Vec::new();
        for set in self.chain() {
            let (matches, covers): (Says<'_>, Says<'_>) = match &self.denying {
                Denying::Nsec => {
                    let (owner, next) = (set.owner.clone(), set.target().unwrap());
                    let (same, apex) = (owner.clone(), self.apex.clone());
                    (Box::new(move |n| *n == same), Box::new(move |n| owner < *n && (*n < next || next == apex)))
                }
                Denying::Nsec3 { salt, iterations, .. } => {
                    let owner = BASE32_DNSSEC.decode(set.owner.labels().next().unwrap()).unwrap();
                    let from = 6 + salt.len();
                    let next = set.rdatas[0][from..from + 20].to_vec();
                    let (own, hash) = (owner.clone(), |n: &Name| slow_hash(n, salt, *iterations));
                    let covers = move |n: &Name| {
                        let h = hash(n);
                        if owner < next { owner < h && h < next } else { h > owner || h < next }
                    };
                    (Box::new(move |n| hash(n) == own), Box::new(covers))
                }
            };
            if matching.iter().any(matches) || covering.iter().any(covers) {
                out.push(set);
            }
        }
        out
    }

    fn encloser(&self, target: &Name) -> Name {
        target.self_and_ancestors().skip(1).find(|n| self.exists(n)).unwrap()
    }

    /// What the zone's server says.
    pub(super) fn answer(&self, question: &Question) -> Reply {
        let (target, rtype) = (&question.name, question.rtype);
        let mut reply = Reply {
            question: question.clone(),
            zone: self.apex.clone(),
            zone_known: true,
            rcode: Rcode::NOERROR,
            answer: Vec::new(),
            authority: Vec::new(),
        };
        let nsec3 = self.denying != Denying::Nsec;
        let dname = |n: &Name| self.sets.get(n).is_some_and(|t| t.contains_key(&Rtype::DNAME));
        let mut above = target.self_and_ancestors().skip(1).take_while(|n| n.is_at_or_below(&self.apex));
        if let Some(owner) = above.find(dname) {
            let set = self.set(&owner, Rtype::DNAME).unwrap();
            let derived = target.rebase(&owner, &set.target().unwrap()).unwrap();
            reply.answer = vec![set, Rrset::new(target.clone(), Rtype::CNAME, TTL, vec![derived.wire().into()])];
            return reply;
        }
        let soa = self.set(&self.apex, Rtype::SOA).unwrap();
        let exists = self.exists(target);
        let source = if exists { target.clone() } else { self.encloser(target).wildcard().unwrap() };
        // An NSEC3 next closer; NSEC covers the name itself.
        let next_closer = |n: &Name| if nsec3 { n.suffix(self.encloser(n).label_count() + 1) } else { n.clone() };
        let types = self.sets.get(&source);
        let has = |t: Rtype| types.is_some_and(|types| types.contains_key(&t));
        let found = if has(Rtype::CNAME) { Some(Rtype::CNAME) } else { has(rtype).then_some(rtype) };
        if let Some(found) = found {
            let mut set = Rrset::new(target.clone(), found, TTL, self.sets[&source][&found].clone());
            self.sign(&mut set, source.label_count() - usize::from(source.is_wildcard()));
            reply.answer.push(set);
            if !exists {
                reply.authority = self.proofs(&[], &[next_closer(target)]);
            }
            return reply;
        }
        reply.authority.push(soa);
        let proofs = if exists && (nsec3 || types.is_some()) {
            let own = self.proofs(std::slice::from_ref(target), &[]);
            // An unsigned delegation in an opt-out span has none of its own.
            if own.is_empty() && !self.keys.is_empty() { self.optout_proof(target) } else { own }
        } else if exists {
            self.proofs(&[], std::slice::from_ref(target))
        } else {
            let encloser = self.encloser(target);
            let own: &[Name] = if nsec3 { &[encloser] } else { &[] };
            if self.exists(&source) {
                let matching: Vec<Name> = own.iter().chain([&source]).cloned().collect();
                self.proofs(&matching, &[next_closer(target), source.clone()])
            } else {
                reply.rcode = Rcode::NXDOMAIN;
                self.proofs(own, &[next_closer(target), source.clone()])
            }
        };
        reply.authority.extend(proofs);
        reply
    }

    fn optout_proof(&self, target: &Name) -> Vec<Rrset> {
        let mut above = target.self_and_ancestors().skip(1);
        let encloser = above.find(|n| !self.proofs(std::slice::from_ref(n), &[]).is_empty()).unwrap();
        let next_closer = target.suffix(encloser.label_count() + 1);
        self.proofs(&[encloser], &[next_closer])
    }
}

fn slow_hash(n: &Name, salt: &[u8], iterations: u16) -> Vec<u8> {
    let mut value = n.wire().to_vec();
    for _ in 0..=iterations {
        value.extend(salt);
        value = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &value).as_ref().to_vec();
    }
    value
}

pub(super) type Tamper = Box<dyn Fn(&mut Reply) + Send + Sync>;

/// A whole name space, as the validator's source; and what it was asked.
#[derive(Default)]
pub(super) struct World {
    pub(super) zones: Vec<Zone>,
    /// Whether the source tells the zone cuts.
    pub(super) tells_cuts: bool,
    pub(super) asked: Mutex<Vec<Question>>,
    pub(super) tampered: Vec<(Question, Tamper)>,
    pub(super) dead: Vec<Question>,
}

impl World {
    /// Zones from the root down, each delegated by the one above it.
    pub(super) fn new(mut zones: Vec<Zone>) -> World {
        for i in (1..zones.len()).rev() {
            let (above, rest) = zones.split_at_mut(i);
            let parent = above.iter_mut().filter(|p| rest[0].apex.is_below(&p.apex)).max_by_key(|p| p.apex.label_count()).unwrap();
            parent.delegate(&rest[0]);
        }
        World { zones, tells_cuts: true, ..World::default() }
    }

    pub(super) fn tamper(&mut self, asked: Question, how: impl Fn(&mut Reply) + Send + Sync + 'static) {
        self.tampered.push((asked, Box::new(how)));
    }

    pub(super) fn kill(&mut self, asked: Question) {
        self.dead.push(asked);
    }

    pub(super) fn zone(&mut self, apex: &str) -> &mut Zone {
        self.zones.iter_mut().find(|z| z.apex == name(apex)).unwrap()
    }

    pub(super) fn ask(&self, question: &Question) -> Reply {
        let holds = |z: &&Zone| match question.rtype {
            Rtype::DS => question.name.is_below(&z.apex),
            _ => question.name.is_at_or_below(&z.apex),
        };
        let zone = self.zones.iter().filter(holds).max_by_key(|z| z.apex.label_count()).unwrap();
        let mut reply = zone.answer(question);
        for (_, how) in self.tampered.iter().filter(|(q, _)| q == question) {
            how(&mut reply);
        }
        if !self.tells_cuts {
            (reply.zone, reply.zone_known) = (Name::root(), false);
        }
        reply
    }
}

impl Source for World {
    async fn fetch(&self, question: &Question) -> Result<Reply, NoReply> {
        self.asked.lock().unwrap().push(question.clone());
        if self.dead.contains(question) {
            return Err(NoReply::Unreachable);
        }
        Ok(self.ask(question))
    }

    fn cuts(&self, target: &Name) -> Option<Vec<Name>> {
        let mut cuts: Vec<Name> = self.zones.iter().map(|z| z.apex.clone()).filter(|a| target.is_at_or_below(a)).collect();
        cuts.sort();
        self.tells_cuts.then_some(cuts)
    }
}
