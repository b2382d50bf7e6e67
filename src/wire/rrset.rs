//! RRsets: records of one owner and type, with the signatures over them (RFC 2181 section 5, RFC 4034 section 3).

use std::collections::{HashMap, HashSet};

use super::message::Record;
use super::name::Name;
use super::rtype::{CLASS_IN, Rtype};

/// An RRset of class IN with its RRSIGs. RDATA is uncompressed and in the case it was received in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rrset {
    /// Owner, lower case.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// The smallest TTL of its records, in seconds (RFC 2181 section 5.2).
    pub ttl: u32,
    /// RDATA of each record, without duplicates, in the order received.
    pub rdatas: Vec<Box<[u8]>>,
    /// RDATA of each RRSIG that covers it.
    pub sigs: Vec<Box<[u8]>>,
}

impl Rrset {
    /// An RRset without signatures.
    pub fn new(owner: Name, rtype: Rtype, ttl: u32, rdatas: Vec<Box<[u8]>>) -> Rrset {
        Rrset { owner, rtype, ttl, rdatas, sigs: Vec::new() }
    }

    /// Groups the class IN records of a section into RRsets, in order of first sight; RRSIGs join the set that they cover.
    /// An RRSIG that covers nothing in the section becomes an RRset of type RRSIG of its own.
    pub fn group(records: &[Record]) -> Vec<Rrset> {
        let mut sets: Vec<Rrset> = Vec::new();
        // Hashed, because a stream brings thousands of records in one message and each would be compared with all the others
        // (the class of CVE-2024-8508). Owners are an outsider's choice: the hash is keyed.
        let mut places: HashMap<(&Name, Rtype), usize, ahash::RandomState> = HashMap::default();
        let mut seen: HashSet<(usize, &[u8]), ahash::RandomState> = HashSet::default();
        for record in records.iter().filter(|r| r.class == CLASS_IN && r.rtype != Rtype::RRSIG) {
            let place = *places.entry((&record.owner, record.rtype)).or_insert_with(|| {
                sets.push(Rrset::new(record.owner.clone(), record.rtype, record.ttl, Vec::new()));
                sets.len() - 1
            });
            sets[place].ttl = sets[place].ttl.min(record.ttl);
            if seen.insert((place, &record.rdata[..])) {
                sets[place].rdatas.push(record.rdata.clone());
            }
        }
        // Signatures are told apart among themselves; a set of RRSIGs that cover nothing here comes behind all others.
        seen.clear();
        let without = sets.len();
        for sig in records.iter().filter(|r| r.class == CLASS_IN && r.rtype == Rtype::RRSIG) {
            let covered = Rtype(u16::from_be_bytes([sig.rdata[0], sig.rdata[1]]));
            let place = places.get(&(&sig.owner, covered)).copied().filter(|place| *place < without);
            let place = place.unwrap_or_else(|| {
                *places.entry((&sig.owner, Rtype::RRSIG)).or_insert_with(|| {
                    sets.push(Rrset::new(sig.owner.clone(), Rtype::RRSIG, sig.ttl, Vec::new()));
                    sets.len() - 1
                })
            });
            let set = &mut sets[place];
            if place < without {
                set.ttl = set.ttl.min(sig.ttl);
            }
            if seen.insert((place, &sig.rdata[..])) {
                let list = if place < without { &mut set.sigs } else { &mut set.rdatas };
                list.push(sig.rdata.clone());
            }
        }
        sets
    }

    /// The name in the first record's RDATA, for types that start with one (CNAME, DNAME, NS, PTR).
    pub fn target(&self) -> Option<Name> {
        Name::read(self.rdatas.first()?, &mut 0).ok()
    }

    /// Octets of memory that this RRset roughly takes, for bounded caches.
    pub fn weight(&self) -> usize {
        let payload: usize = self.rdatas.iter().chain(&self.sigs).map(|r| r.len() + 32).sum();
        std::mem::size_of::<Rrset>() + self.owner.wire().len() + 32 + payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: &str, rtype: Rtype, ttl: u32, rdata: &[u8]) -> Record {
        Record { owner: owner.parse().unwrap(), rtype, class: CLASS_IN, ttl, rdata: rdata.into() }
    }

    fn sig(owner: &str, covered: Rtype) -> Record {
        let mut rdata = covered.0.to_be_bytes().to_vec();
        rdata.extend([8; 16]);
        rdata.extend([0, 1]);
        record(owner, Rtype::RRSIG, 60, &rdata)
    }

    /// RFC 2181 section 5.2: differing TTLs in one RRset, the lowest counts; section 5: duplicates are one record.
    #[test]
    fn records_become_sets_with_their_signatures() {
        let sets = Rrset::group(&[
            record("a.example", Rtype::A, 300, &[1, 1, 1, 1]),
            sig("a.example", Rtype::A),
            record("b.example", Rtype::A, 300, &[2, 2, 2, 2]),
            record("A.example", Rtype::A, 100, &[1, 1, 1, 2]),
            record("a.example", Rtype::A, 100, &[1, 1, 1, 1]),
            sig("b.example", Rtype::MX),
        ]);
        assert_eq!(sets.len(), 3);
        assert_eq!((sets[0].rdatas.len(), sets[0].sigs.len(), sets[0].ttl), (2, 1, 60));
        assert_eq!((sets[1].rdatas.len(), sets[1].sigs.len()), (1, 0));
        assert_eq!((sets[2].rtype, sets[2].rdatas.len()), (Rtype::RRSIG, 1));
    }
}
