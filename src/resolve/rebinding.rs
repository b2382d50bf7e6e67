//! Private addresses from public names: taken out of answers, so that a web page cannot rebind a name of its own to a machine inside.
//!
//! Names served by a route, and those exempt by setting, may point anywhere.

use std::net::IpAddr;
use std::sync::Arc;

use super::settings::Settings;
use super::{Outcome, route, scrub};
use crate::validate::Status;
use crate::wire::{Ede, Name, Question, Rtype};

/// Takes private addresses out of what `name` owns in the answer.
pub(super) fn filter(outcome: &mut Outcome, name: &Name, settings: &Settings) {
    if settings.private_addresses.is_empty() || settings.private_exempt.iter().any(|z| name.is_at_or_below(z)) {
        return;
    }
    if route::of(settings, &Question::new(name.clone(), Rtype::A)).is_some_and(|r| !r.zone.is_root()) {
        return;
    }
    let private = |rdata: &[u8]| scrub::address(rdata).is_some_and(|a| settings.private_addresses.iter().any(|p| covers(*p, a)));
    let mut removed = false;
    for set in outcome.answer.iter_mut().filter(|s| matches!(s.rtype, Rtype::A | Rtype::AAAA) && s.owner == *name) {
        if set.rdatas.iter().any(|r| private(r)) {
            let set = Arc::make_mut(set);
            set.rdatas.retain(|r| !private(r));
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
        filter(&mut mixed, &name, &settings);
        assert_eq!(mixed.answer[0].rdatas, [Box::from([203, 0, 113, 1])]);
        assert_eq!(mixed.ede[0].code, 17);
        let mut private = outcome(&[[192, 168, 1, 1]]);
        filter(&mut private, &name, &settings);
        assert!(private.answer.is_empty());
        let exempt = Settings { private_exempt: vec!["evil.example".parse().unwrap()], ..settings };
        let mut kept = outcome(&[[192, 168, 1, 1]]);
        filter(&mut kept, &name, &exempt);
        assert_eq!(kept, outcome(&[[192, 168, 1, 1]]));
    }
}
