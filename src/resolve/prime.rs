//! The root servers: built-in hints, and reading the answer to a priming query (RFC 9609).
//!
//! Hints are only a way in: the root's own servers say who they are. Where they do not answer, the hints themselves serve for a while.

use std::net::IpAddr;

use super::scrub;
use crate::cache::rrset::{Delegation, NameServer};
use crate::wire::{Message, Name, Question, Rcode, Rrset, Rtype};

/// The root servers as of IANA's root hints of 2023-11-27; a test compares them with Debian's dns-root-data.
const ROOT_SERVERS: [(char, [u8; 4], [u16; 8]); 13] = [
    ('a', [198, 41, 0, 4], [0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30]),
    ('b', [170, 247, 170, 2], [0x2801, 0x1b8, 0x10, 0, 0, 0, 0, 0xb]),
    ('c', [192, 33, 4, 12], [0x2001, 0x500, 2, 0, 0, 0, 0, 0xc]),
    ('d', [199, 7, 91, 13], [0x2001, 0x500, 0x2d, 0, 0, 0, 0, 0xd]),
    ('e', [192, 203, 230, 10], [0x2001, 0x500, 0xa8, 0, 0, 0, 0, 0xe]),
    ('f', [192, 5, 5, 241], [0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf]),
    ('g', [192, 112, 36, 4], [0x2001, 0x500, 0x12, 0, 0, 0, 0, 0xd0d]),
    ('h', [198, 97, 190, 53], [0x2001, 0x500, 1, 0, 0, 0, 0, 0x53]),
    ('i', [192, 36, 148, 17], [0x2001, 0x7fe, 0, 0, 0, 0, 0, 0x53]),
    ('j', [192, 58, 128, 30], [0x2001, 0x503, 0xc27, 0, 0, 0, 2, 0x30]),
    ('k', [193, 0, 14, 129], [0x2001, 0x7fd, 0, 0, 0, 0, 0, 1]),
    ('l', [199, 7, 83, 42], [0x2001, 0x500, 0x9f, 0, 0, 0, 0, 0x42]),
    ('m', [202, 12, 27, 33], [0x2001, 0xdc3, 0, 0, 0, 0, 0, 0x35]),
];

/// Seconds that hints stand in for the root's own NS RRset after priming failed; then it is tried again.
pub(super) const HINTS_TTL: u32 = 60;

/// The built-in hints: 13 servers, each with an IPv4 and an IPv6 address.
pub fn built_in_hints() -> Vec<(Name, Vec<IpAddr>)> {
    let server = |(letter, v4, v6): &(char, [u8; 4], [u16; 8])| {
        let name = format!("{letter}.root-servers.net").parse().expect("a letter and a fixed suffix are a name");
        (name, vec![IpAddr::from(*v4), IpAddr::from(*v6)])
    };
    ROOT_SERVERS.iter().map(server).collect()
}

/// Hints as a zone cut.
pub(super) fn delegation(hints: &[(Name, Vec<IpAddr>)]) -> Delegation {
    let servers = hints.iter().map(|(name, addresses)| NameServer { name: name.clone(), addresses: addresses.clone() });
    Delegation { zone: Name::root(), servers: servers.collect() }
}

/// The priming query (RFC 9609 section 3).
pub(super) fn question() -> Question {
    Question::new(Name::root(), Rtype::NS)
}

/// Reads the priming response: the root's NS RRset and the addresses beside it (RFC 9609 section 4), with its TTL. Servers whose
/// addresses are missing keep those of the hints. `None` where it is no such response.
pub(super) fn read(message: &Message, hints: &[(Name, Vec<IpAddr>)]) -> Option<(Delegation, u32)> {
    if message.rcode() != Rcode::NOERROR || message.question.as_ref() != Some(&question()) {
        return None;
    }
    let sets = Rrset::group(&message.answer);
    let ns = sets.iter().find(|s| s.rtype == Rtype::NS && s.owner.is_root())?;
    let mut servers = Vec::new();
    for rdata in ns.rdatas.iter().take(scrub::MAX_NAME_SERVERS) {
        let name = Name::read(rdata, &mut 0).ok()?;
        let beside = message.additional.iter().filter(|r| r.owner == name && matches!(r.rtype, Rtype::A | Rtype::AAAA));
        let mut addresses: Vec<IpAddr> = beside.filter_map(|r| scrub::address(&r.rdata)).take(scrub::MAX_GLUE_PER_SERVER).collect();
        if addresses.is_empty() {
            addresses = hints.iter().find(|(hint, _)| *hint == name).map(|(_, a)| a.clone()).unwrap_or_default();
        }
        servers.push(NameServer { name, addresses });
    }
    servers.iter().any(|s| !s.addresses.is_empty()).then_some((Delegation { zone: Name::root(), servers }, ns.ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_agree_with_debian_s_dns_root_data() {
        #[allow(clippy::disallowed_methods, reason = "a test reads the file of apt's dns-root-data")]
        let Ok(text) = std::fs::read_to_string("/usr/share/dns/root.hints") else {
            panic!("install dns-root-data (apt-get install dns-root-data)");
        };
        let mut theirs: Vec<(Name, IpAddr)> = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with(';')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [owner, _, "A" | "AAAA", address] = fields[..] {
                theirs.push((owner.parse().unwrap(), address.parse().unwrap()));
            }
        }
        let mut ours: Vec<(Name, IpAddr)> =
            built_in_hints().into_iter().flat_map(|(name, list)| list.into_iter().map(move |a| (name.clone(), a))).collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}
