//! Signs the zones of a scenario at load: keys from their names, RRSIG over every authoritative RRset, and an NSEC or NSEC3 chain.
//!
//! RFC 4034 sections 3.1.8 and 6, RFC 4035 section 2, RFC 5155 section 7.1. Written apart from the validator that it tests. What a
//! scenario says is broken is broken after signing, by `Mend`.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE32_DNSSEC;
use p256::ecdsa::signature::Signer;
use postern::wire::{Name, Rtype};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
    RsaPublicKeyComponents,
};

use crate::script::{Record, Zone, parse};

/// The second at which scenarios begin, unless `config wall` says another; validity periods are told from here.
pub const START: u64 = 1_700_000_000;

const RSA_KEYS: [&[u8]; 2] = [include_bytes!("../../src/lab/rsa/0.der"), include_bytes!("../../src/lab/rsa/1.der")];

enum Secret {
    Rsa(RsaKeyPair),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// Of an algorithm that nobody can check: its signatures are junk.
    None,
}

/// Which RRsets a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    All,
    Keys,
    Data,
    Nothing,
}

pub struct Key {
    pub label: String,
    pub algorithm: u8,
    pub signs: Signs,
    /// Whether the DNSKEY RRset holds it.
    pub published: bool,
    /// Whether the parent's DS, or the anchor, names it.
    pub named: bool,
    rdata: Vec<u8>,
    secret: Secret,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} of algorithm {}, tag {}", self.label, self.algorithm, tag(&self.rdata))
    }
}

fn tag(rdata: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (i, octet) in rdata.iter().enumerate() {
        sum += u32::from(*octet) << (8 * (1 - i % 2));
    }
    (sum + (sum >> 16)) as u16
}

impl Key {
    /// Options: `algorithm N`, `flags N`, `protocol N`, `signs all|keys|data|nothing`, `unpublished`, `no-ds`.
    pub fn parse(zone: &Name, label: &str, options: &[&str]) -> Result<Key, String> {
        let (mut algorithm, mut flags, mut protocol, mut signs, mut published, mut named) = (15u8, 257u16, 3u8, None, true, true);
        let mut rest = options;
        while !rest.is_empty() {
            rest = match rest {
                ["algorithm", n, tail @ ..] => (algorithm = parse(n)?, tail).1,
                ["flags", n, tail @ ..] => (flags = parse(n)?, tail).1,
                ["protocol", n, tail @ ..] => (protocol = parse(n)?, tail).1,
                ["signs", what, tail @ ..] => {
                    signs = Some(match *what {
                        "all" => Signs::All,
                        "keys" => Signs::Keys,
                        "data" => Signs::Data,
                        "nothing" => Signs::Nothing,
                        _ => return Err("signs all, keys, data or nothing".into()),
                    });
                    tail
                }
                ["unpublished", tail @ ..] => (published = false, tail).1,
                ["no-ds", tail @ ..] => (named = false, tail).1,
                _ => return Err(format!("an unknown option of a key: {}", rest[0])),
            };
        }
        let seed = digest(&SHA256, format!("{zone} {label} {algorithm}").as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(seed.as_ref());
        let (secret, public) = match algorithm {
            8 | 10 => {
                let pair = RsaKeyPair::from_der(RSA_KEYS[usize::from(bytes[0] & 1)]).expect("the lab's keys are whole");
                let RsaPublicKeyComponents { e, n } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                (Secret::Rsa(pair), [&[e.len() as u8], &e[..], &n].concat())
            }
            13 => {
                let pair = p256::ecdsa::SigningKey::from_slice(&bytes).expect("a scalar");
                let public = pair.verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
                (Secret::P256(Box::new(pair)), public)
            }
            14 => {
                // Nothing here makes this key from a seed, so it differs from run to run; what a scenario says does not.
                let random = SystemRandom::new();
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).expect("randomness");
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, document.as_ref(), &random).expect("a key");
                let public = pair.public_key().as_ref()[1..].to_vec();
                (Secret::P384(pair), public)
            }
            15 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&bytes).expect("any 32 octets are a seed");
                let public = pair.public_key().as_ref().to_vec();
                (Secret::Ed25519(pair), public)
            }
            _ => (Secret::None, bytes.to_vec()),
        };
        let rdata = [&flags.to_be_bytes()[..], &[protocol, algorithm], &public].concat();
        let signs = signs.unwrap_or(if flags & 1 == 1 { Signs::All } else { Signs::Data });
        let named = named && flags & 1 == 1;
        Ok(Key { label: label.to_owned(), algorithm, signs, published, named, rdata, secret })
    }

    /// A key that nobody holds, with the tag of `other`: two octets of it make up the difference.
    fn decoy(other: &Key, number: u16) -> Vec<u8> {
        let mut rdata = other.rdata.clone();
        let (length, wanted) = (rdata.len(), tag(&other.rdata));
        rdata[length - 4..length - 2].copy_from_slice(&number.to_be_bytes());
        (0..=u16::MAX)
            .find_map(|filler| {
                rdata[length - 2..].copy_from_slice(&filler.to_be_bytes());
                (tag(&rdata) == wanted && rdata != other.rdata).then(|| rdata.clone())
            })
            .expect("two octets reach every tag")
    }

    pub fn dnskey(&self) -> &[u8] {
        &self.rdata
    }

    /// RDATA of a DS record for it (RFC 4034 section 5.1.4).
    pub fn ds(&self, owner: &Name, digest_type: u8) -> Vec<u8> {
        let algorithm = match digest_type {
            1 => &SHA1_FOR_LEGACY_USE_ONLY,
            4 => &SHA384,
            _ => &SHA256,
        };
        let value = digest(algorithm, &[owner.wire(), &self.rdata].concat());
        [&tag(&self.rdata).to_be_bytes()[..], &[self.algorithm, digest_type], value.as_ref()].concat()
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        match &self.secret {
            Secret::Rsa(pair) => {
                let padding = if self.algorithm == 10 { &RSA_PKCS1_SHA512 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &SystemRandom::new(), data, &mut signature).expect("a whole key signs");
                signature
            }
            Secret::P256(pair) => {
                let signature: p256::ecdsa::Signature = pair.sign(data);
                signature.to_bytes().to_vec()
            }
            Secret::P384(pair) => pair.sign(&SystemRandom::new(), data).expect("randomness").as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.sign(data).as_ref().to_vec(),
            Secret::None => vec![9; 64],
        }
    }
}

/// How a zone denies names.
#[derive(Debug, Clone, Default)]
pub struct Nsec3 {
    pub iterations: u16,
    pub salt: Vec<u8>,
    pub opt_out: bool,
}

impl Nsec3 {
    fn hash(&self, name: &Name) -> Vec<u8> {
        let mut value = name.wire().to_vec();
        for _ in 0..=self.iterations {
            value.extend(&self.salt);
            value = digest(&SHA1_FOR_LEGACY_USE_ONLY, &value).as_ref().to_vec();
        }
        value
    }
}

/// How a zone is signed.
#[derive(Debug)]
pub struct Signing {
    pub keys: Vec<Key>,
    pub nsec3: Option<Nsec3>,
    /// Validity in seconds from the start.
    pub validity: (i64, i64),
    pub digests: Vec<u8>,
    /// Whether the parent holds a DS.
    pub delegated: bool,
    /// Keys without an owner, by the label of the key whose tag they share.
    pub decoys: Vec<(String, u16)>,
}

impl Signing {
    /// Options: `nsec3`, `iterations N`, `salt HEX`, `opt-out`, `from S`, `to S`, `digest N`, `no-ds`, `algorithm N`.
    pub fn parse(zone: &Name, options: &[&str]) -> Result<Signing, String> {
        let mut signing = Signing {
            keys: Vec::new(),
            nsec3: None,
            validity: (-86_400, 30 * 86_400),
            digests: Vec::new(),
            delegated: true,
            decoys: Vec::new(),
        };
        let (mut algorithm, mut rest) = ("15", options);
        while !rest.is_empty() {
            rest = match rest {
                ["algorithm", n, tail @ ..] => (algorithm = n, tail).1,
                ["nsec3", tail @ ..] => (signing.nsec3 = Some(signing.nsec3.take().unwrap_or_default()), tail).1,
                ["iterations", n, tail @ ..] => (signing.nsec3.get_or_insert_default().iterations = parse(n)?, tail).1,
                ["salt", hex, tail @ ..] => (signing.nsec3.get_or_insert_default().salt = crate::script::hexadecimal(hex)?, tail).1,
                ["opt-out", tail @ ..] => (signing.nsec3.get_or_insert_default().opt_out = true, tail).1,
                ["from", n, tail @ ..] => (signing.validity.0 = parse(n)?, tail).1,
                ["to", n, tail @ ..] => (signing.validity.1 = parse(n)?, tail).1,
                ["digest", n, tail @ ..] => (signing.digests.push(parse(n)?), tail).1,
                ["no-ds", tail @ ..] => (signing.delegated = false, tail).1,
                _ => return Err(format!("an unknown option of signing: {}", rest[0])),
            };
        }
        if signing.digests.is_empty() {
            signing.digests.push(2);
        }
        signing.keys.push(Key::parse(zone, "default", &["algorithm", algorithm])?);
        Ok(signing)
    }

    pub fn key(&self, label: &str) -> Result<&Key, String> {
        self.keys.iter().find(|k| k.label == label).ok_or_else(|| format!("no key {label}"))
    }
}

/// What differs from the plain signature of a zone's key.
#[derive(Debug, Clone, Default)]
pub struct Made {
    by: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    labels: Option<u8>,
    signer: Option<Name>,
    original_ttl: Option<u32>,
    covers: Option<Rtype>,
    tag: Option<u16>,
    algorithm: Option<u8>,
    /// One bit of the signature is wrong.
    broken: bool,
    pub times: usize,
    /// Beside the signatures that are there.
    pub also: bool,
}

impl Made {
    pub fn parse(options: &[&str]) -> Result<Made, String> {
        let mut made = Made { times: 1, ..Made::default() };
        let mut rest = options;
        while !rest.is_empty() {
            rest = match rest {
                ["by", label, tail @ ..] => (made.by = Some((*label).to_owned()), tail).1,
                ["from", n, tail @ ..] => (made.from = Some(parse(n)?), tail).1,
                ["to", n, tail @ ..] => (made.to = Some(parse(n)?), tail).1,
                ["labels", n, tail @ ..] => (made.labels = Some(parse(n)?), tail).1,
                ["signer", n, tail @ ..] => (made.signer = Some(parse(n)?), tail).1,
                ["ttl", n, tail @ ..] => (made.original_ttl = Some(parse(n)?), tail).1,
                ["covers", n, tail @ ..] => (made.covers = Some(parse(n)?), tail).1,
                ["tag", n, tail @ ..] => (made.tag = Some(parse(n)?), tail).1,
                ["algorithm", n, tail @ ..] => (made.algorithm = Some(parse(n)?), tail).1,
                ["times", n, tail @ ..] => (made.times = parse(n)?, tail).1,
                ["broken", tail @ ..] => (made.broken = true, tail).1,
                ["also", tail @ ..] => (made.also = true, tail).1,
                _ => return Err(format!("an unknown option of a signature: {}", rest[0])),
            };
        }
        Ok(made)
    }
}

/// The RRSIG records over one RRset.
pub fn sign_set(zone: &Zone, start: u64, set: &[Record], made: &Made) -> Result<Vec<Record>, String> {
    let signing = zone.signing.as_ref().ok_or_else(|| format!("{} is not signed", zone.apex))?;
    let first = set.first().ok_or("nothing to sign")?;
    let keys: Vec<&Key> = match &made.by {
        Some(label) => vec![signing.key(label)?],
        None => {
            let counts = |k: &&Key| match k.signs {
                Signs::All => true,
                Signs::Keys => first.rtype == Rtype::DNSKEY,
                Signs::Data => first.rtype != Rtype::DNSKEY,
                Signs::Nothing => false,
            };
            // A key of a pair signs keys or data; alone it signs both.
            let entry = signing.keys.iter().any(|k| k.signs == Signs::Data);
            let whole = |k: &&Key| !(entry && k.signs == Signs::All && first.rtype != Rtype::DNSKEY);
            signing.keys.iter().filter(counts).filter(whole).collect()
        }
    };
    let own = first.owner.label_count() - usize::from(first.owner.is_wildcard());
    let labels = made.labels.unwrap_or(own as u8);
    let signed_owner = if usize::from(labels) < own {
        first.owner.suffix(usize::from(labels)).wildcard().ok_or("a wildcard")?
    } else {
        first.owner.clone()
    };
    let at = |seconds: i64| (start as i64 + seconds) as u32;
    let ttl = made.original_ttl.unwrap_or(first.ttl);
    let mut out = Vec::new();
    for key in keys {
        for number in 0..made.times.max(1) {
            let mut rdata = made.covers.unwrap_or(first.rtype).0.to_be_bytes().to_vec();
            rdata.extend([made.algorithm.unwrap_or(key.algorithm), labels]);
            rdata.extend(ttl.to_be_bytes());
            // Several signatures differ, so that nobody may take them for one.
            rdata.extend(at(made.to.unwrap_or(signing.validity.1) + number as i64).to_be_bytes());
            rdata.extend(at(made.from.unwrap_or(signing.validity.0)).to_be_bytes());
            rdata.extend(made.tag.unwrap_or(tag(&key.rdata)).to_be_bytes());
            rdata.extend(made.signer.as_ref().unwrap_or(&zone.apex).wire());
            let mut data = rdata.clone();
            let sorted: BTreeSet<Vec<u8>> = set.iter().map(|r| postern::wire::rdata::canonical(r.rtype, &r.rdata)).collect();
            for one in sorted {
                data.extend(signed_owner.wire());
                data.extend(first.rtype.0.to_be_bytes());
                data.extend([0, 1]);
                data.extend(ttl.to_be_bytes());
                data.extend((one.len() as u16).to_be_bytes());
                data.extend(one);
            }
            let mut signature = key.sign(&data);
            if made.broken {
                let middle = signature.len() / 2;
                signature[middle] ^= 1;
            }
            rdata.extend(signature);
            out.push(Record { owner: first.owner.clone(), rtype: Rtype::RRSIG, ttl: first.ttl, rdata });
        }
    }
    Ok(out)
}

/// The type that an RRSIG covers.
pub fn covered(rrsig: &Record) -> Rtype {
    Rtype(u16::from_be_bytes([rrsig.rdata[0], rrsig.rdata[1]]))
}

fn bit_maps(types: &BTreeSet<u16>) -> Vec<u8> {
    let mut out = Vec::new();
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

/// RDATA of an NSEC as a scenario writes it: next name and types.
pub fn nsec(next: &Name, types: &[&str]) -> Result<Vec<u8>, String> {
    let types = types.iter().map(|t| parse::<Rtype>(t).map(|t| t.0)).collect::<Result<BTreeSet<u16>, String>>()?;
    Ok([next.wire(), &bit_maps(&types)].concat())
}

impl Zone {
    fn is_cut(&self, name: &Name) -> bool {
        *name != self.apex && self.records.iter().any(|r| r.owner == *name && r.rtype == Rtype::NS)
    }

    /// Whether data at `name` is another's: below a cut, or hidden by a DNAME.
    fn hides(&self, name: &Name) -> bool {
        let mut above = name.self_and_ancestors().skip(1).take_while(|a| a.is_at_or_below(&self.apex));
        above.any(|a| self.is_cut(&a) || self.records.iter().any(|r| r.owner == a && r.rtype == Rtype::DNAME))
    }

    /// Gives the zone its keys, its chain and its signatures.
    pub fn sign(&mut self, start: u64) -> Result<(), String> {
        let Some(signing) = &self.signing else { return Ok(()) };
        let mut keys: Vec<Vec<u8>> = signing.keys.iter().filter(|k| k.published).map(|k| k.rdata.clone()).collect();
        for (label, count) in &signing.decoys {
            let key = signing.key(label)?;
            // Ahead of the true key, so that it is tried last.
            keys.splice(0..0, (0..*count).map(|n| Key::decoy(key, n)));
        }
        let nsec3 = signing.nsec3.clone();
        let apex = self.apex.clone();
        let record = |rtype, rdata| Record { owner: apex.clone(), rtype, ttl: 3600, rdata };
        self.records.extend(keys.into_iter().map(|rdata| record(Rtype::DNSKEY, rdata)));
        if let Some(nsec3) = &nsec3 {
            let [high, low] = nsec3.iterations.to_be_bytes();
            self.records.push(record(Rtype::NSEC3PARAM, [&[1, 0, high, low, nsec3.salt.len() as u8], &nsec3.salt[..]].concat()));
        }
        let mut names: BTreeMap<Name, BTreeSet<u16>> = BTreeMap::new();
        for record in self.records.iter().filter(|r| !self.hides(&r.owner)) {
            if !self.is_cut(&record.owner) || matches!(record.rtype, Rtype::NS | Rtype::DS) {
                names.entry(record.owner.clone()).or_default().insert(record.rtype.0);
            }
        }
        match nsec3 {
            None => self.add_nsec_chain(&names),
            Some(nsec3) => self.add_nsec3_chain(&names, &nsec3),
        }
        let mut sets: BTreeMap<(Name, Rtype), Vec<Record>> = BTreeMap::new();
        for record in self.records.iter().filter(|r| !self.hides(&r.owner)) {
            let unsigned = self.is_cut(&record.owner) && !matches!(record.rtype, Rtype::DS | Rtype::NSEC);
            if !unsigned && record.rtype != Rtype::RRSIG {
                sets.entry((record.owner.clone(), record.rtype)).or_default().push(record.clone());
            }
        }
        for set in sets.values() {
            let signatures = sign_set(self, start, set, &Made::default())?;
            self.records.extend(signatures);
        }
        for link in self.denial.clone() {
            let signatures = sign_set(self, start, &[link], &Made::default())?;
            self.denial.extend(signatures);
        }
        Ok(())
    }

    fn add_nsec_chain(&mut self, names: &BTreeMap<Name, BTreeSet<u16>>) {
        let next = names.keys().cycle().skip(1);
        for ((owner, types), next) in names.iter().zip(next) {
            let given = self.records.iter().any(|r| r.owner == *owner && r.rtype == Rtype::NSEC);
            let mut types = types.clone();
            types.extend([Rtype::NSEC.0, Rtype::RRSIG.0]);
            if !given {
                let rdata = [next.wire(), &bit_maps(&types)].concat();
                self.records.push(Record { owner: owner.clone(), rtype: Rtype::NSEC, ttl: 300, rdata });
            }
        }
    }

    fn add_nsec3_chain(&mut self, names: &BTreeMap<Name, BTreeSet<u16>>, nsec3: &Nsec3) {
        let mut hashed: BTreeMap<Vec<u8>, BTreeSet<u16>> = BTreeMap::new();
        for (owner, types) in names {
            let cut_without_ds = self.is_cut(owner) && !types.contains(&Rtype::DS.0);
            if nsec3.opt_out && cut_without_ds {
                continue;
            }
            let mut types = types.clone();
            if !cut_without_ds {
                types.insert(Rtype::RRSIG.0);
            }
            for above in owner.self_and_ancestors().skip(1).take_while(|a| a.is_below(&self.apex)) {
                hashed.entry(nsec3.hash(&above)).or_default();
            }
            hashed.entry(nsec3.hash(owner)).or_default().extend(types);
        }
        let hashes: Vec<Vec<u8>> = hashed.keys().cloned().collect();
        for (i, (hash, types)) in hashed.iter().enumerate() {
            let [high, low] = nsec3.iterations.to_be_bytes();
            let head = [&[1, u8::from(nsec3.opt_out), high, low, nsec3.salt.len() as u8], &nsec3.salt[..], &[20]].concat();
            let rdata = [&head[..], &hashes[(i + 1) % hashes.len()], &bit_maps(types)].concat();
            let owner = self.apex.child(BASE32_DNSSEC.encode(hash).as_bytes()).expect("a short apex");
            self.denial.push(Record { owner, rtype: Rtype::NSEC3, ttl: 300, rdata });
        }
    }

    /// The RRset with its signatures.
    pub fn set(&self, owner: &Name, rtype: Rtype) -> Vec<Record> {
        let wanted = |r: &&Record| r.owner == *owner && (rtype == Rtype::ANY || r.rtype == rtype);
        let mut out: Vec<Record> = self.records.iter().filter(wanted).cloned().collect();
        if !matches!(rtype, Rtype::ANY | Rtype::RRSIG) && !out.is_empty() {
            out.extend(self.records.iter().filter(|r| r.owner == *owner && r.rtype == Rtype::RRSIG && covered(r) == rtype).cloned());
        }
        out
    }

    fn nsec3_params(&self) -> Option<&Nsec3> {
        self.signing.as_ref()?.nsec3.as_ref()
    }

    fn link(&self, owner: &Name) -> Vec<Record> {
        self.denial.iter().filter(|r| r.owner == *owner).cloned().collect()
    }

    /// The NSEC or NSEC3 at `name`.
    pub fn matching(&self, name: &Name) -> Vec<Record> {
        match self.nsec3_params() {
            None => self.set(name, Rtype::NSEC),
            Some(nsec3) => self.link(&self.apex.child(BASE32_DNSSEC.encode(&nsec3.hash(name)).as_bytes()).expect("a short apex")),
        }
    }

    /// The NSEC or NSEC3 whose span holds `name`.
    pub fn covering(&self, name: &Name) -> Vec<Record> {
        match self.nsec3_params() {
            None => {
                let mut owners: Vec<&Name> = self.records.iter().filter(|r| r.rtype == Rtype::NSEC).map(|r| &r.owner).collect();
                owners.sort();
                match owners.iter().rev().find(|o| **o < name) {
                    Some(owner) => self.set(owner, Rtype::NSEC),
                    None => Vec::new(),
                }
            }
            Some(nsec3) => {
                let wanted = BASE32_DNSSEC.encode(&nsec3.hash(name));
                let mut owners: Vec<&Name> = self.denial.iter().filter(|r| r.rtype == Rtype::NSEC3).map(|r| &r.owner).collect();
                owners.sort();
                let hash = |n: &Name| String::from_utf8_lossy(n.labels().next().unwrap_or_default()).into_owned();
                match owners.iter().rev().find(|o| hash(o) < wanted).or(owners.last()) {
                    Some(owner) => self.link(owner),
                    None => Vec::new(),
                }
            }
        }
    }

    /// The closest provable encloser of a name without an NSEC3 of its own, with the proof (RFC 5155 section 7.2.1).
    fn encloser_proof(&self, name: &Name) -> Vec<Record> {
        let found = name.self_and_ancestors().skip(1).take_while(|n| n.is_at_or_below(&self.apex)).find(|n| !self.matching(n).is_empty());
        let Some(encloser) = found else { return Vec::new() };
        [self.matching(&encloser), self.covering(&name.suffix(encloser.label_count() + 1))].concat()
    }

    /// Proof that a name which exists has no such type.
    pub fn no_type(&self, name: &Name) -> Vec<Record> {
        let own = self.matching(name);
        match (own.is_empty(), self.nsec3_params()) {
            (false, _) => own,
            (true, None) => self.covering(name),
            (true, Some(_)) => self.encloser_proof(name),
        }
    }

    /// Proof that `name` is not there itself.
    pub fn no_closer(&self, name: &Name) -> Vec<Record> {
        match self.nsec3_params() {
            None => self.covering(name),
            Some(_) => self.encloser_proof(name),
        }
    }
}
