//! Private addresses from public names: taken out of answers, so that a web page cannot rebind a name of its own to a machine inside.
//!
//! Names served by a route, and those exempt by setting, may point anywhere, for those who ask for them or for another such name. An alias
//! of somebody else's that leads there would be a way round, so the name asked counts as well as the owner. What HTTPS and SVCB records
//! hint at (RFC 9460 section 7.3) is looked at too. The same addresses are no name servers of the public tree.

use std::net::IpAddr;
use std::sync::Arc;

use super::settings::Settings;
use super::{Outcome, route, scrub};
use crate::validate::Status;
use crate::wire::{Ede, Name, Question, Rtype};

/// Takes private addresses out of what `name` owns in the answer to a question for `original`.
pub(super) fn filter(outcome: &mut Outcome, original: &Name, name: &Name, settings: &Settings) {
    if settings.private_addresses.is_empty() || is_inside(settings, name) && leads_inside(settings, original, name) {
        return;
    }
    let private = |rtype: Rtype, rdata: &[u8]| addresses(rtype, rdata).iter().any(|a| is_private(settings, *a));
    let mut removed = false;
    for set in outcome.answer.iter_mut().filter(|s| s.owner == *name) {
        let rtype = set.rtype;
        if set.rdatas.iter().any(|r| private(rtype, r)) {
            let set = Arc::make_mut(set);
            set.rdatas.retain(|r| !private(rtype, r));
            // What is left is no longer what was signed.
            set.sigs.clear();
            removed = true;
        }
    }
    if removed {
        outcome.answer.retain(|s| !s.rdatas.is_empty());
        outcome.status = Status::Indeterminate;
        outcome.ede.push(Ede::new(17, "a public name points to a private address"));
    }
}

/// Whether `name` may point to private addresses: the operator says where it is served, or says so outright.
pub(super) fn is_inside(settings: &Settings, name: &Name) -> bool {
    settings.private_exempt.iter().any(|z| name.is_at_or_below(z))
        || settings.local.iter().any(|set| set.owner == *name)
        || route::of(settings, &Question::new(name.clone(), Rtype::A)).is_some_and(|r| !r.zone.is_root())
}

/// Whether the chain that began at `original` may end inside: it began inside too, or at the domain that the inner zone is a part of.
fn leads_inside(settings: &Settings, original: &Name, name: &Name) -> bool {
    is_inside(settings, original) || name.is_below(original)
}

/// Whether `address` is one that public names must not point to.
pub(super) fn is_private(settings: &Settings, address: IpAddr) -> bool {
    settings.private_addresses.iter().any(|p| covers(*p, address))
}

/// The addresses that a record names: its own, or the hints of a service (RFC 9460 section 2.2).
fn addresses(rtype: Rtype, rdata: &[u8]) -> Vec<IpAddr> {
    match rtype {
        Rtype::A | Rtype::AAAA => scrub::address(rdata).into_iter().collect(),
        Rtype::SVCB | Rtype::HTTPS => hints(rdata).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The values of ipv4hint (4) and ipv6hint (6); `None` where the record is malformed, which no client reads either.
fn hints(rdata: &[u8]) -> Option<Vec<IpAddr>> {
    let mut at = 2;
    Name::read(rdata, &mut at).ok()?;
    let (mut rest, mut found) = (rdata.get(at..)?, Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let (value, next) = tail.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))?;
        let size = match head[..2] {
            [0, 4] => 4,
            [0, 6] => 16,
            _ => usize::MAX,
        };
        found.extend(value.chunks(size).filter_map(scrub::address));
        rest = next;
    }
    Some(found)
}

/// Whether `address` lies in the prefix; IPv4-mapped addresses count as the IPv4 address they hold.
fn covers((prefix, length): (IpAddr, u8), address: IpAddr) -> bool {
    let matches = |a: &[u8], b: &[u8]| {
        let (whole, rest) = (usize::from(length / 8).min(a.len()), length % 8);
        a[..whole] == b[..whole] && (rest == 0 || whole == a.len() || (a[whole] ^ b[whole]) >> (8 - rest) == 0)
    };
    match (prefix, address.to_canonical()) {
        (IpAddr::V4(p), IpAddr::V4(a)) => matches(&p.octets(), &a.octets()),
        (IpAddr::V6(p), IpAddr::V6(a)) => matches(&p.octets(), &a.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Insecurity;
    use crate::wire::{Rcode, Rrset};

    #[test]
    fn private_addresses_leave_the_answer_and_public_ones_stay() {
        let name: Name = "www.evil.example".parse().unwrap();
        let outcome = |addresses: &[[u8; 4]]| Outcome {
            rcode: Rcode::NOERROR,
            answer: vec![Arc::new(Rrset::new(name.clone(), Rtype::A, 60, addresses.iter().map(|a| a[..].into()).collect()))],
            authority: Vec::new(),
            status: Status::Insecure(Insecurity::NoDs),
            ede: Vec::new(),
            ttl: 60,
            stale: false,
        };
        let settings =
            Settings { private_addresses: vec![([192, 168, 0, 0].into(), 16), ([172, 16, 0, 0].into(), 12)], ..Settings::default() };
        let mut mixed = outcome(&[[192, 168, 1, 1], [203, 0, 113, 1], [172, 31, 0, 1]]);
        filter(&mut mixed, &name, &name, &settings);
        assert_eq!(mixed.answer[0].rdatas, [Box::from([203, 0, 113, 1])]);
        assert_eq!(mixed.ede[0].code, 17);
        let mut private = outcome(&[[192, 168, 1, 1]]);
        filter(&mut private, &name, &name, &settings);
        assert!(private.answer.is_empty());
        let exempt = Settings { private_exempt: vec!["evil.example".parse().unwrap()], ..settings };
        let mut kept = outcome(&[[192, 168, 1, 1]]);
        filter(&mut kept, &name, &name, &exempt);
        assert_eq!(kept, outcome(&[[192, 168, 1, 1]]));
    }
}
