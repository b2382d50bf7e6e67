//! Names that are answered here and never leave the box: local records, and special-use names.
//!
//! RFC 6761 (localhost, invalid, test), RFC 6762 section 22.1 (local), RFC 7686 (onion), RFC 8375 (home.arpa), RFC 9476 (alt), RFC 9462
//! section 6.4 (resolver.arpa), RFC 6303 (reverse zones of addresses without global meaning, with the SOA of its section 3). A route
//! for such a zone, or for one below it, overrides this; each zone can be switched off.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::settings::Settings;
use super::{Outcome, route};
use crate::validate::{Insecurity, Status};
use crate::wire::{Name, Question, Rcode, Rrset, Rtype};

/// TTL of what is made here, in seconds (RFC 6303 section 3 gives 10800 to its SOA).
const TTL: u32 = 10_800;

/// Zones in which no name exists.
const EMPTY: [&str; 7] = ["invalid", "test", "local", "onion", "alt", "home.arpa", "resolver.arpa"];
/// Reverse zones of RFC 6303 sections 4.1 to 4.6, besides those of 172.16/12 and 100.64/10 (RFC 7793), which are counted out.
const EMPTY_REVERSE: [&str; 18] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "f.f.f.3.ip6.arpa",
];

/// The special-use zones, parsed once.
#[derive(Debug)]
pub(super) struct Special {
    empty: Vec<Name>,
    localhost: Name,
    loopback: [Name; 2],
}

impl Special {
    pub(super) fn new() -> Special {
        let name = |text: &str| -> Name { text.parse().expect("a name in the tables above") };
        let mut empty: Vec<Name> = EMPTY.iter().chain(&EMPTY_REVERSE).map(|z| name(z)).collect();
        empty.extend((16..32).map(|n| name(&format!("{n}.172.in-addr.arpa"))));
        empty.extend((64..128).map(|n| name(&format!("{n}.100.in-addr.arpa"))));
        Special { empty, localhost: name("localhost"), loopback: [name("1.0.0.127.in-addr.arpa"), name(EMPTY_REVERSE[10])] }
    }

    /// The answer to `question` if it is made here.
    pub(super) fn answer(&self, settings: &Settings, question: &Question) -> Option<Outcome> {
        if let Some(outcome) = local(&settings.local, question) {
            return Some(outcome);
        }
        if !settings.special_use {
            return None;
        }
        let zone = self.zone_of(&question.name)?;
        let off = settings.special_use_off.iter().any(|z| zone.is_at_or_below(z));
        // The parent answers for DS, so that a validator behind us sees the insecure delegation (RFC 8375 section 4).
        let parent_side = question.rtype == Rtype::DS && question.name == *zone;
        let routed = route::of(settings, question)
            .is_some_and(|r| !r.zone.is_root() && (r.zone.is_at_or_below(zone) || zone.is_at_or_below(&r.zone)));
        if off || parent_side || routed {
            return None;
        }
        let record = |rdata: Vec<u8>| positive(Rrset::new(question.name.clone(), question.rtype, TTL, vec![rdata.into()]));
        if *zone == self.localhost {
            return Some(match question.rtype {
                Rtype::A => record(Ipv4Addr::LOCALHOST.octets().to_vec()),
                Rtype::AAAA => record(Ipv6Addr::LOCALHOST.octets().to_vec()),
                _ => negative(zone, Rcode::NOERROR),
            });
        }
        if self.loopback.contains(&question.name) {
            return Some(match question.rtype {
                Rtype::PTR => record(self.localhost.wire().to_vec()),
                _ => negative(zone, Rcode::NOERROR),
            });
        }
        if question.name == *zone {
            return Some(match question.rtype {
                Rtype::SOA => positive(soa(zone)),
                Rtype::NS => record(zone.wire().to_vec()),
                _ => negative(zone, Rcode::NOERROR),
            });
        }
        // Names between the apex and a loopback address exist as empty non-terminals.
        let exists = self.loopback.iter().any(|l| l.is_below(&question.name));
        // RFC 9462 section 6.4: resolver.arpa answers NODATA, which tells a client that there is no designated resolver.
        let nodata = exists || zone.labels().next() == Some(b"resolver");
        Some(negative(zone, if nodata { Rcode::NOERROR } else { Rcode::NXDOMAIN }))
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.empty.iter().chain([&self.localhost]).filter(|z| name.is_at_or_below(z)).max_by_key(|z| z.label_count())
    }
}

/// The answer from configured records: their type, their CNAME, or NODATA.
fn local(records: &[Rrset], question: &Question) -> Option<Outcome> {
    let at_name = || records.iter().filter(|r| r.owner == question.name);
    let exact = at_name().find(|r| r.rtype == question.rtype).or_else(|| at_name().find(|r| r.rtype == Rtype::CNAME));
    match exact {
        Some(set) => Some(positive(set.clone())),
        None => at_name().next().map(|_| negative(&question.name, Rcode::NOERROR)),
    }
}

/// The answer to QTYPE ANY that says "not all of it" (RFC 8482 section 4.2): HINFO "RFC8482" "".
pub(super) fn minimal_any(name: &Name) -> Outcome {
    positive(Rrset::new(name.clone(), Rtype::HINFO, 3600, vec![b"\x07RFC8482\0"[..].into()]))
}

fn positive(set: Rrset) -> Outcome {
    let ttl = set.ttl;
    Outcome { answer: vec![Arc::new(set)], ttl, ..made(Rcode::NOERROR) }
}

fn negative(zone: &Name, rcode: Rcode) -> Outcome {
    Outcome { authority: vec![Arc::new(soa(zone))], ttl: TTL, ..made(rcode) }
}

fn made(rcode: Rcode) -> Outcome {
    Outcome {
        rcode,
        answer: Vec::new(),
        authority: Vec::new(),
        status: Status::Insecure(Insecurity::NoAnchor),
        ede: Vec::new(),
        ttl: 0,
        stale: false,
    }
}

/// `@ 10800 IN SOA @ nobody.invalid. 1 3600 1200 604800 10800` (RFC 6303 section 3).
fn soa(zone: &Name) -> Rrset {
    let numbers = [1u32, 3600, 1200, 604_800, TTL].map(u32::to_be_bytes).concat();
    let rdata = [zone.wire(), b"\x06nobody\x07invalid\0", &numbers].concat();
    Rrset::new(zone.clone(), Rtype::SOA, TTL, vec![rdata.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::settings::{Policy, Route, RouteKind};

    fn ask(settings: &Settings, name: &str, rtype: Rtype) -> Option<(Rcode, usize)> {
        let outcome = Special::new().answer(settings, &Question::new(name.parse().unwrap(), rtype))?;
        Some((outcome.rcode, outcome.answer.len()))
    }

    #[test]
    fn special_use_names_stay_local() {
        let settings = Settings::default();
        for (name, rtype, expected) in [
            ("localhost", Rtype::A, (Rcode::NOERROR, 1)),                  // RFC 6761 section 6.3 item 3
            ("a.localhost", Rtype::AAAA, (Rcode::NOERROR, 1)),             // the same
            ("localhost", Rtype::MX, (Rcode::NOERROR, 0)),                 // the same
            ("printer.test", Rtype::A, (Rcode::NXDOMAIN, 0)),              // RFC 6761 section 6.2 item 4
            ("x.invalid", Rtype::A, (Rcode::NXDOMAIN, 0)),                 // RFC 6761 section 6.4 item 4
            ("x.onion", Rtype::A, (Rcode::NXDOMAIN, 0)),                   // RFC 7686 section 2 item 4
            ("x.alt", Rtype::A, (Rcode::NXDOMAIN, 0)),                     // RFC 9476 section 2
            ("tv.home.arpa", Rtype::A, (Rcode::NXDOMAIN, 0)),              // RFC 8375 section 4 item 4
            ("_dns.resolver.arpa", Rtype::SVCB, (Rcode::NOERROR, 0)),      // RFC 9462 section 6.4
            ("4.3.2.10.in-addr.arpa", Rtype::PTR, (Rcode::NXDOMAIN, 0)),   // RFC 6303 section 4.1
            ("1.1.20.172.in-addr.arpa", Rtype::PTR, (Rcode::NXDOMAIN, 0)), // the same
            ("1.0.0.127.in-addr.arpa", Rtype::PTR, (Rcode::NOERROR, 1)),   // RFC 6303 section 4.2
            ("0.127.in-addr.arpa", Rtype::PTR, (Rcode::NOERROR, 0)),       // an empty non-terminal above it
            ("10.in-addr.arpa", Rtype::SOA, (Rcode::NOERROR, 1)),          // RFC 6303 section 3
        ] {
            assert_eq!(ask(&settings, name, rtype), Some(expected), "{name} {rtype}");
        }
        assert_eq!(ask(&settings, "www.post.example", Rtype::A), None);
        assert_eq!(ask(&settings, "home.arpa", Rtype::DS), None);
    }

    #[test]
    fn a_route_or_a_switch_overrides_them() {
        let route = Route {
            zone: "10.in-addr.arpa".parse().unwrap(),
            kind: RouteKind::Forward,
            servers: vec![([192, 0, 2, 1], 53).into()],
            fallback_to_recursion: false,
            policy: Policy::default(),
        };
        let settings = Settings { routes: vec![route], special_use_off: vec!["test".parse().unwrap()], ..Settings::default() };
        assert_eq!(ask(&settings, "4.3.2.10.in-addr.arpa", Rtype::PTR), None);
        assert_eq!(ask(&settings, "a.test", Rtype::A), None);
        assert!(ask(&settings, "a.onion", Rtype::A).is_some());
        assert_eq!(ask(&Settings { special_use: false, ..Settings::default() }, "a.onion", Rtype::A), None);
    }

    #[test]
    fn local_records_answer_for_their_owner() {
        let record = Rrset::new("nas.post.example".parse().unwrap(), Rtype::A, 60, vec![vec![10, 0, 0, 1].into()]);
        let settings = Settings { local: vec![record], ..Settings::default() };
        assert_eq!(ask(&settings, "nas.post.example", Rtype::A), Some((Rcode::NOERROR, 1)));
        assert_eq!(ask(&settings, "nas.post.example", Rtype::AAAA), Some((Rcode::NOERROR, 0)));
        assert_eq!(ask(&settings, "x.nas.post.example", Rtype::A), None);
    }
}
