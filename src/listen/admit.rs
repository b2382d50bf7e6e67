//! Who is let in, and on what terms: access list, rate limit, cookie, size.
//!
//! The first checks of the fast half, before anybody looks at the name; [`super::service`] calls them in order. The rooms behind them are
//! [`crate::guard`]'s.

use crate::guard::Limited;
use crate::guard::cookie::Presented;
use crate::guard::ratelimit::Kind;
use crate::respond::{self, MESSAGE_MAX, Terms};
use crate::telemetry::count::{Counters, Owner};
use crate::telemetry::label::{Dropped, Refused, Transport, Verdict};
use crate::wire::query::Fault;
use crate::wire::{Query, Rcode};

use super::service::{Now, Packet, Rules, Step};

/// EDE "Prohibited": the client is not on the access list (RFC 8914 section 4.19).
const EDE_PROHIBITED: u16 = 18;

/// The ACL. Whoever is not on it gets REFUSED, limited in rate, or silence; what he sent does not matter.
pub(super) fn admit<O: Owner>(
    rules: &Rules,
    packet: &Packet<'_>,
    query: &Result<Query<'_>, Fault>,
    now: &Now,
    out: &mut Vec<u8>,
    counters: &Counters<O>,
) -> Result<(), Step> {
    if rules.acl.contains(packet.from.ip()) {
        return Ok(());
    }
    if rules.silent {
        counters.dropped(Dropped::Acl);
        return Err(Step::Dropped);
    }
    if rules.rate.charge(packet.from.ip(), Kind::Error, now.monotonic) != Limited::Pass {
        counters.dropped(Dropped::RateLimit);
        return Err(Step::Dropped);
    }
    match query {
        Ok(query) => respond::error(out, query, Rcode::REFUSED, Some(EDE_PROHIBITED)),
        Err(_) => respond::fault(out, packet.bytes, Rcode::REFUSED),
    }
    counters.refused(Refused::Acl);
    counters.response(Rcode::REFUSED, Verdict::None);
    Err(Step::Error)
}

/// The error for a packet that is no readable question.
pub(super) fn refuse_fault<O: Owner>(
    rules: &Rules,
    packet: &Packet<'_>,
    fault: Fault,
    now: &Now,
    out: &mut Vec<u8>,
    counters: &Counters<O>,
) -> Step {
    let from = packet.from.ip();
    if !rules.unlimited.contains(from) && rules.rate.charge(from, Kind::Error, now.monotonic) != Limited::Pass {
        counters.dropped(Dropped::RateLimit);
        return Step::Dropped;
    }
    respond::fault(out, packet.bytes, fault.rcode());
    counters.refused(if fault == Fault::Opcode { Refused::NotServed } else { Refused::Malformed });
    counters.response(fault.rcode(), Verdict::None);
    Step::Error
}

/// Rate limit and cookie: what the answer may be, or how the client is limited.
pub(super) fn terms(rules: &Rules, packet: &Packet<'_>, query: &Query<'_>, now: &Now) -> Result<Terms, Limited> {
    let from = packet.from.ip();
    let presented = presented(rules, packet, query, now);
    // A stream or a cookie of ours shows that the address is not forged.
    let proven = packet.transport == Transport::Tcp || presented.is_some_and(|p| p.valid);
    if !proven && !rules.unlimited.contains(from) {
        match rules.rate.charge(from, Kind::Answer, now.monotonic) {
            Limited::Pass => {}
            limited => return Err(limited),
        }
    }
    Ok(Terms { cookie: presented.map(|p| p.reply), ..transport_terms(rules, packet, query) })
}

pub(super) fn unlimited_terms(rules: &Rules, packet: &Packet<'_>, query: &Query<'_>, now: &Now) -> Terms {
    Terms { cookie: presented(rules, packet, query, now).map(|p| p.reply), ..transport_terms(rules, packet, query) }
}

/// What the cookie of a query says of its sender.
fn presented(rules: &Rules, packet: &Packet<'_>, query: &Query<'_>, now: &Now) -> Option<Presented> {
    rules.cookies.as_ref()?.check(query.opt?.cookie?, packet.from.ip(), now.wall as u32)
}

fn transport_terms(rules: &Rules, packet: &Packet<'_>, query: &Query<'_>) -> Terms {
    match packet.transport {
        Transport::Udp => Terms { limit: query.udp_limit(rules.udp_payload), cookie: None, keepalive: None },
        Transport::Tcp => {
            let tenths = u16::try_from(rules.stream_idle.as_millis() / 100).unwrap_or(u16::MAX);
            Terms { limit: MESSAGE_MAX, cookie: None, keepalive: Some(tenths) }
        }
    }
}

pub(super) fn limit<O: Owner>(limited: Limited, query: &Query<'_>, out: &mut Vec<u8>, counters: &Counters<O>) -> Step {
    if limited == Limited::Slip {
        respond::truncated(out, query, &Terms { limit: 0, cookie: None, keepalive: None });
        counters.truncated();
        counters.response(Rcode::NOERROR, Verdict::None);
        return Step::Error;
    }
    counters.dropped(Dropped::RateLimit);
    Step::Dropped
}
