//! A zone's data: built plain, then given its denial chain and its signatures.
//!
//! RFC 4035 section 2 (what is signed and what is not), RFC 4034 sections 3.1.8 and 6 (the to-be-signed form), RFC 4035 section 2.3
//! (NSEC), RFC 5155 section 7.1 (NSEC3). Written apart from `validate` on purpose: NSD and ldns judge this side, and so the
//! validator is never tested against its own idea of a signature. What is done wrong on purpose is [`super::fault`].

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::fault::Fault;
use super::keys::{Algorithm, REVOKE, SEP, ZONE_KEY, ZoneKey};
use super::rdata::{self, Rdata};
use super::seed::Seed;
use crate::wire::{CLASS_IN, Name, Rrset, Rtype};

/// TTL of lab records, in seconds.
pub(crate) const TTL: u32 = 300;
/// SOA MINIMUM, and so the TTL of negative answers, in seconds.
pub(crate) const NEGATIVE_TTL: u32 = 60;

const DAY: u64 = 86_400;

/// How a signed zone denies names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// NSEC (RFC 4034).
    Nsec,
    /// NSEC3 (RFC 5155).
    Nsec3(Nsec3),
}

/// Parameters of an NSEC3 chain (RFC 5155 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nsec3 {
    /// Extra hash rounds; RFC 9276 section 3.1 wants 0.
    pub iterations: u16,
    /// Salt, at most 255 octets.
    pub salt: Vec<u8>,
    /// Unsigned delegations are left out of the chain (RFC 5155 section 6).
    pub opt_out: bool,
}

impl Nsec3 {
    /// The hash of a name (RFC 5155 section 5).
    pub(crate) fn hash(&self, name: &Name) -> [u8; 20] {
        let sha1 = |input: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, &[input, &self.salt].concat());
        let mut value = sha1(name.wire());
        for _ in 0..self.iterations {
            value = sha1(value.as_ref());
        }
        let mut out = [0; 20];
        out.copy_from_slice(value.as_ref());
        out
    }

    /// RDATA of NSEC3PARAM; the flags there are always 0 (RFC 5155 section 4.1.2).
    fn param(&self) -> Rdata {
        self.head(0).into()
    }

    fn head(&self, flags: u8) -> Vec<u8> {
        let [high, low] = self.iterations.to_be_bytes();
        [&[1, flags, high, low, self.salt.len() as u8], &self.salt[..]].concat()
    }
}

/// How a zone is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Algorithm of both keys.
    pub algorithm: Algorithm,
    /// NSEC or NSEC3.
    pub denial: Denial,
    /// Digest type of the DS in the parent: 1, 2 or 4.
    pub digest_type: u8,
    /// How far the key-signing key has rolled over.
    pub roll: Roll,
}

/// The steps of a roll-over of the key-signing key (RFC 5011 section 6.3). The trust anchor stays that of the first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Roll {
    /// One key.
    #[default]
    Before,
    /// The next key is published, the first one signs.
    Introduced,
    /// Both sign, the first one with the REVOKE bit.
    Revoked,
    /// The first key is gone.
    After,
}

impl Signing {
    /// The common case: one algorithm, NSEC, a SHA-256 DS.
    pub fn new(algorithm: Algorithm, denial: Denial) -> Signing {
        Signing { algorithm, denial, digest_type: 2, roll: Roll::Before }
    }
}

/// A zone as its name servers hold it.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    nodes: BTreeMap<Name, BTreeMap<Rtype, Rrset>>,
    /// Names without data that lie above names with data (RFC 4592 section 2.2.2).
    non_terminals: BTreeSet<Name>,
    signing: Option<Signing>,
    /// NSEC3 records by the hash in their owner; `Rrset::owner` holds the whole name.
    nsec3: BTreeMap<[u8; 20], Rrset>,
    fault: Option<Fault>,
    ds: Vec<Rdata>,
}

impl Zone {
    /// An unsigned zone with its SOA; `primary` is the server the SOA names.
    pub(crate) fn new(apex: Name, primary: &Name) -> Zone {
        let mut zone = Zone {
            nodes: BTreeMap::new(),
            non_terminals: BTreeSet::new(),
            signing: None,
            nsec3: BTreeMap::new(),
            fault: None,
            ds: Vec::new(),
            apex,
        };
        let contact = zone.apex.child(b"hostmaster").unwrap_or_else(|_| zone.apex.clone());
        let soa = rdata::soa(primary, &contact, 1, NEGATIVE_TTL);
        zone.add(&zone.apex.clone(), Rtype::SOA, soa);
        zone
    }

    /// Adds one record to an unsigned zone.
    pub(crate) fn add(&mut self, owner: &Name, rtype: Rtype, rdata: Rdata) {
        debug_assert!(owner.is_at_or_below(&self.apex), "{owner} is not in {}", self.apex);
        debug_assert!(rdata::is_well_formed(rtype, &rdata), "{owner} {rtype}");
        for name in owner.self_and_ancestors().skip(1).take_while(|n| n.is_below(&self.apex)) {
            if !self.nodes.contains_key(&name) {
                self.non_terminals.insert(name);
            }
        }
        self.non_terminals.remove(owner);
        let sets = self.nodes.entry(owner.clone()).or_default();
        let set = sets.entry(rtype).or_insert_with(|| Rrset::new(owner.clone(), rtype, TTL, Vec::new()));
        if !set.rdatas.contains(&rdata) {
            set.rdatas.push(rdata);
        }
    }

    /// Name of the zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// What is wrong with it on purpose.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether it is signed, however badly.
    pub fn is_signed(&self) -> bool {
        self.signing.is_some()
    }

    /// How it is signed.
    pub fn signing(&self) -> Option<&Signing> {
        self.signing.as_ref()
    }

    /// RDATA of the DS records that its parent publishes; empty for a delegation without DS.
    pub fn ds(&self) -> &[Box<[u8]>] {
        &self.ds
    }

    /// The RRset of this owner and type.
    pub fn rrset(&self, owner: &Name, rtype: Rtype) -> Option<&Rrset> {
        self.nodes.get(owner)?.get(&rtype)
    }

    /// All RRsets in canonical order of their owners, NSEC3 records last.
    pub fn rrsets(&self) -> impl Iterator<Item = &Rrset> {
        self.nodes.values().flat_map(BTreeMap::values).chain(self.nsec3.values())
    }

    /// The RRsets at a name; `None` where it owns nothing.
    pub(crate) fn node(&self, owner: &Name) -> Option<&BTreeMap<Rtype, Rrset>> {
        self.nodes.get(owner)
    }

    /// Whether the name exists, as an empty non-terminal too.
    pub(crate) fn exists(&self, name: &Name) -> bool {
        self.nodes.contains_key(name) || self.non_terminals.contains(name)
    }

    /// The topmost zone cut at or above `name` and below the apex.
    pub(crate) fn cut(&self, name: &Name) -> Option<Name> {
        let depth = self.apex.label_count();
        (depth + 1..=name.label_count()).map(|n| name.suffix(n)).find(|n| self.rrset(n, Rtype::NS).is_some())
    }

    /// The closest encloser of a name that does not exist (RFC 4592 section 3.3.1).
    pub(crate) fn closest_encloser(&self, name: &Name) -> Name {
        name.self_and_ancestors().skip(1).find(|n| *n == self.apex || self.exists(n)).unwrap_or_else(|| self.apex.clone())
    }

    /// The NSEC at `name`, or the last one before it.
    pub(crate) fn nsec_at_or_before(&self, name: &Name) -> Option<&Rrset> {
        self.nodes.range(..=name).rev().find_map(|(_, sets)| sets.get(&Rtype::NSEC))
    }

    /// The NSEC3 whose owner is the hash of `name`.
    pub(crate) fn nsec3_matching(&self, name: &Name) -> Option<&Rrset> {
        self.nsec3.get(&self.nsec3_params()?.hash(name))
    }

    /// The NSEC3 whose span holds the hash of `name`.
    pub(crate) fn nsec3_covering(&self, name: &Name) -> Option<&Rrset> {
        let hash = self.nsec3_params()?.hash(name);
        self.nsec3.range(..hash).next_back().or_else(|| self.nsec3.last_key_value()).map(|(_, set)| set)
    }

    pub(crate) fn nsec3_params(&self) -> Option<&Nsec3> {
        match self.signing.as_ref()?.denial {
            Denial::Nsec3(ref params) => Some(params),
            Denial::Nsec => None,
        }
    }

    /// Gives the zone its keys, its denial chain and its signatures around `now` (seconds since 1970), with the fault that it declares.
    pub(crate) fn sign(&mut self, signing: Signing, fault: Option<Fault>, seed: &Seed, now: u64) {
        let number = |label: &str| seed.child(label).stream().below(4);
        // The pool index keeps the two RSA keys of a zone apart: the first half for the key-signing key, the second for the other.
        let flags = if fault == Some(Fault::NoZoneKeyBit) { 0 } else { ZONE_KEY };
        let ksk = ZoneKey::new(signing.algorithm, flags | SEP, &seed.child("ksk"), number("ksk"));
        let zsk = ZoneKey::new(signing.algorithm, flags, &seed.child("zsk"), 4 + number("zsk"));
        let published = match fault {
            Some(Fault::UnpublishedKey) => ZoneKey::new(signing.algorithm, flags, &seed.child("other"), 4 + (number("zsk") + 1) % 4),
            _ => ZoneKey::new(signing.algorithm, flags, &seed.child("zsk"), 4 + number("zsk")),
        };
        let apex = self.apex.clone();
        self.fault = fault;
        self.ds = match fault {
            Some(Fault::NoDs) => Vec::new(),
            Some(Fault::WrongDs) => {
                let stranger = ZoneKey::new(signing.algorithm, flags | SEP, &seed.child("stranger"), 3 - number("ksk"));
                let stranger = if stranger.tag() == ksk.tag() { &published } else { &stranger };
                vec![stranger.ds(&apex, signing.digest_type)]
            }
            Some(Fault::UnassignedDigest) => vec![ksk.ds(&apex, 123)],
            _ => vec![ksk.ds(&apex, signing.digest_type)],
        };
        if fault == Some(Fault::Unsigned) {
            return;
        }
        let next = ZoneKey::new(signing.algorithm, flags | SEP, &seed.child("next ksk"), 3 - number("ksk"));
        let revoked = ZoneKey::new(signing.algorithm, flags | SEP | REVOKE, &seed.child("ksk"), number("ksk"));
        let (shown, signers) = match signing.roll {
            Roll::Before => (vec![&ksk], vec![&ksk]),
            Roll::Introduced => (vec![&ksk, &next], vec![&ksk]),
            Roll::Revoked => (vec![&revoked, &next], vec![&revoked, &next]),
            Roll::After => (vec![&next], vec![&next]),
        };
        for key in shown.into_iter().chain([&published]) {
            self.add(&apex, Rtype::DNSKEY, key.dnskey().clone());
        }
        match &signing.denial {
            Denial::Nsec3(params) => {
                self.add(&apex, Rtype::NSEC3PARAM, params.param());
                if fault != Some(Fault::MissingDenial) {
                    self.nsec3 = self.nsec3_chain(params, fault);
                }
            }
            Denial::Nsec if fault != Some(Fault::MissingDenial) => self.add_nsec_chain(fault),
            Denial::Nsec => {}
        }
        self.add_signatures(&signers, &zsk, Validity::around(now, fault), fault);
        self.signing = Some(signing);
    }

    /// Owners that the zone speaks for, with the types it holds there as authoritative data (RFC 4035 section 2.3).
    fn authoritative(&self) -> Vec<(Name, Vec<Rtype>)> {
        let mut out = Vec::new();
        for (name, sets) in &self.nodes {
            match self.cut(name) {
                Some(cut) if cut != *name => {} // glue, or hidden below a cut
                Some(_) => out.push((name.clone(), sets.keys().copied().filter(|t| matches!(*t, Rtype::NS | Rtype::DS)).collect())),
                None => out.push((name.clone(), sets.keys().copied().collect())),
            }
        }
        out
    }

    fn add_nsec_chain(&mut self, fault: Option<Fault>) {
        let owners = self.authoritative();
        for (i, (name, types)) in owners.iter().enumerate() {
            let mut types = types.clone();
            types.extend([Rtype::NSEC, Rtype::RRSIG]);
            let mut next = owners[(i + 1) % owners.len()].0.clone();
            if fault == Some(Fault::BadDenial) {
                // Covers nothing, and claims every type that is not there.
                types.extend(LIES);
                next = name.child(&[0]).unwrap_or(next);
            }
            let set = Rrset::new(name.clone(), Rtype::NSEC, NEGATIVE_TTL, vec![rdata::nsec(&next, &types)]);
            self.nodes.entry(name.clone()).or_default().insert(Rtype::NSEC, set);
        }
    }

    fn nsec3_chain(&self, params: &Nsec3, fault: Option<Fault>) -> BTreeMap<[u8; 20], Rrset> {
        let mut types_by_hash: BTreeMap<[u8; 20], Vec<Rtype>> = BTreeMap::new();
        for (name, mut types) in self.authoritative() {
            let unsigned_delegation = types == [Rtype::NS] && name != self.apex;
            if params.opt_out && unsigned_delegation {
                continue;
            }
            if !unsigned_delegation {
                types.push(Rtype::RRSIG);
            }
            // Empty non-terminals above it have records of their own (RFC 5155 section 7.1).
            for above in name.self_and_ancestors().skip(1).take_while(|n| n.is_below(&self.apex)) {
                if self.non_terminals.contains(&above) {
                    types_by_hash.entry(params.hash(&above)).or_default();
                }
            }
            types_by_hash.insert(params.hash(&name), types);
        }
        let hashes: Vec<[u8; 20]> = types_by_hash.keys().copied().collect();
        let mut chain = BTreeMap::new();
        for (i, (hash, mut types)) in types_by_hash.into_iter().enumerate() {
            let mut next = hashes[(i + 1) % hashes.len()];
            if fault == Some(Fault::BadDenial) {
                types.extend(LIES);
                next = hash;
                next[19] = next[19].wrapping_add(1);
            }
            let mut record = params.head(u8::from(params.opt_out));
            record.push(20);
            record.extend_from_slice(&next);
            record.extend(rdata::type_bit_maps(&types));
            let owner = self.apex.child(base32hex(&hash).as_bytes()).expect("32 more octets fit below a lab zone");
            chain.insert(hash, Rrset::new(owner, Rtype::NSEC3, NEGATIVE_TTL, vec![record.into()]));
        }
        chain
    }

    fn add_signatures(&mut self, ksks: &[&ZoneKey], zsk: &ZoneKey, validity: Validity, fault: Option<Fault>) {
        let signed: BTreeMap<Name, Vec<Rtype>> = self
            .authoritative()
            .into_iter()
            .map(|(name, mut types)| {
                // The NS RRset at a cut belongs to the child (RFC 4035 section 2.2).
                let at_cut = name != self.apex && types.contains(&Rtype::NS);
                types.retain(|t| !(at_cut && *t == Rtype::NS));
                types.push(Rtype::NSEC);
                (name, types)
            })
            .collect();
        let apex = self.apex.clone();
        let sign = |set: &mut Rrset| {
            let keys = if set.rtype == Rtype::DNSKEY { ksks } else { &[zsk] };
            if fault == Some(Fault::StrippedSignatures) && set.rtype != Rtype::DNSKEY {
                return;
            }
            let mut sigs: Vec<Vec<u8>> = keys.iter().map(|key| rrsig(set, key, &apex, validity)).collect();
            if fault == Some(Fault::BadSignature) && set.rtype != Rtype::DNSKEY {
                for sig in &mut sigs {
                    let middle = sig.len() - 20;
                    sig[middle] ^= 1;
                }
            }
            set.sigs = sigs.into_iter().map(Into::into).collect();
        };
        for (name, types) in signed {
            let sets = self.nodes.get_mut(&name).expect("the owner was taken from the nodes");
            types.iter().filter_map(|t| sets.remove(t)).collect::<Vec<_>>().into_iter().for_each(|mut set| {
                sign(&mut set);
                sets.insert(set.rtype, set);
            });
        }
        self.nsec3.values_mut().for_each(sign);
    }
}

/// Types that a bad denial claims for every name.
const LIES: [Rtype; 6] = [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::MX, Rtype::SRV, Rtype::CAA];

/// From when until when signatures hold, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Validity {
    inception: u32,
    expiration: u32,
}

impl Validity {
    fn around(now: u64, fault: Option<Fault>) -> Validity {
        let (from, until) = match fault {
            Some(Fault::Expired) => (now - 30 * DAY, now - 2 * DAY),
            Some(Fault::NotYetValid) => (now + 2 * DAY, now + 30 * DAY),
            Some(Fault::ExpiresBeforeItBegins) => (now + DAY, now - DAY),
            _ => (now - DAY, now + 14 * DAY),
        };
        // Serial numbers of 32 bits (RFC 4034 section 3.1.5).
        Validity { inception: from as u32, expiration: until as u32 }
    }
}

/// RDATA of the RRSIG over `set` (RFC 4034 section 3.1.8.1).
fn rrsig(set: &Rrset, key: &ZoneKey, signer: &Name, validity: Validity) -> Vec<u8> {
    let labels = set.owner.label_count() - usize::from(set.owner.is_wildcard());
    let mut out = Vec::with_capacity(64 + signer.wire().len());
    out.extend_from_slice(&set.rtype.0.to_be_bytes());
    out.extend_from_slice(&[key.algorithm().number(), labels as u8]);
    for number in [set.ttl, validity.expiration, validity.inception] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&key.tag().to_be_bytes());
    out.extend_from_slice(signer.wire());
    let mut data = out.clone();
    let mut rdatas: Vec<Vec<u8>> = set.rdatas.iter().map(|r| rdata::canonical(set.rtype, r)).collect();
    rdatas.sort();
    for rdata in rdatas {
        data.extend_from_slice(set.owner.wire());
        data.extend_from_slice(&set.rtype.0.to_be_bytes());
        data.extend_from_slice(&CLASS_IN.to_be_bytes());
        data.extend_from_slice(&set.ttl.to_be_bytes());
        data.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        data.extend_from_slice(&rdata);
    }
    out.extend(key.sign(&data));
    out
}

/// Base 32 with the extended hex alphabet, lower case, no padding (RFC 5155 section 3.3, RFC 4648 section 7). 20 octets are 32 digits.
pub(crate) fn base32hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let word = chunk.iter().fold(0u64, |word, &octet| word << 8 | u64::from(octet)) << (8 * (5 - chunk.len()));
        for digit in 0..(chunk.len() * 8).div_ceil(5) {
            out.push(char::from(b"0123456789abcdefghijklmnopqrstuv"[(word >> (35 - 5 * digit) & 31) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// RFC 5155 appendix A: the hashes of its example zone, salt aabbccdd, 12 iterations.
    #[test]
    fn hashes_are_those_of_rfc_5155_appendix_a() {
        let params = Nsec3 { iterations: 12, salt: vec![0xaa, 0xbb, 0xcc, 0xdd], opt_out: false };
        for (owner, hash) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            assert_eq!(base32hex(&params.hash(&name(owner))), hash);
        }
    }

    fn sample(denial: Denial) -> Zone {
        let apex = name("zone.example");
        let mut zone = Zone::new(apex.clone(), &name("ns1.zone.example"));
        let address = || rdata::a([192, 0, 2, 1].into());
        zone.add(&apex, Rtype::NS, rdata::name(&name("ns1.zone.example")));
        zone.add(&name("ns1.zone.example"), Rtype::A, address());
        zone.add(&name("host.ent.zone.example"), Rtype::A, address());
        zone.add(&name("cut.zone.example"), Rtype::NS, rdata::name(&name("ns.cut.zone.example")));
        zone.add(&name("ns.cut.zone.example"), Rtype::A, address());
        zone.sign(Signing::new(Algorithm::EcdsaP256, denial), None, &Seed::new(1), 1_700_000_000);
        zone
    }

    /// RFC 4035 sections 2.2 and 2.3: no signature over the NS at a cut nor over glue, an NSEC at the cut, none at glue or above.
    #[test]
    fn cuts_and_glue_are_not_signed_and_the_nsec_chain_is_closed() {
        let zone = sample(Denial::Nsec);
        assert!(zone.rrset(&name("cut.zone.example"), Rtype::NS).unwrap().sigs.is_empty());
        assert!(zone.rrset(&name("ns.cut.zone.example"), Rtype::A).unwrap().sigs.is_empty());
        assert_eq!(zone.rrset(&name("cut.zone.example"), Rtype::NSEC).unwrap().sigs.len(), 1);
        assert!(zone.rrset(&name("ns.cut.zone.example"), Rtype::NSEC).is_none());
        let mut at = zone.apex().clone();
        let mut seen = Vec::new();
        loop {
            seen.push(at.clone());
            at = zone.rrset(&at, Rtype::NSEC).unwrap().target().unwrap();
            if at == *zone.apex() {
                break;
            }
        }
        assert_eq!(seen, ["zone.example", "cut.zone.example", "host.ent.zone.example", "ns1.zone.example"].map(name));
    }

    /// RFC 5155 section 7.1: empty non-terminals have an NSEC3, opted-out delegations have none.
    #[test]
    fn nsec3_covers_empty_non_terminals_and_opt_out_leaves_unsigned_delegations_out() {
        let zone = sample(Denial::Nsec3(Nsec3::default()));
        assert!(zone.nsec3_matching(&name("ent.zone.example")).is_some());
        assert!(zone.nsec3_matching(&name("cut.zone.example")).is_some());
        let opted = sample(Denial::Nsec3(Nsec3 { opt_out: true, ..Nsec3::default() }));
        assert!(opted.nsec3_matching(&name("cut.zone.example")).is_none());
        assert_eq!(opted.nsec3_covering(&name("cut.zone.example")).unwrap().rdatas[0][1], 1);
    }
}
