//! From the configuration to the settings of each room.

use std::time::Duration;

use crate::blocklist::Protected;
use crate::blocklist::impact::Limits;
use crate::config::Config;
use crate::guard::{Acl, Prefix, acl};
use crate::listen::stream;
use crate::resolve::{Any, Policy, Route, RouteKind, ServeStale};
use crate::validate::{Anchor, Anchors, NegativeAnchor, NegativeAnchors};
use crate::wire::{Rrset, Rtype};
use crate::{resolve, validate};

/// Share of the cache that holds encoded answers; the rest holds the RRsets that they are made from.
const ANSWER_SHARE: usize = 4;

/// Octets of the answer cache.
pub(super) fn answer_cache_bytes(config: &Config) -> usize {
    config.cache.bytes / ANSWER_SHARE
}

/// Limits of client streams.
pub(super) fn streams(config: &Config) -> stream::Limits {
    let idle = Duration::from_secs(config.listen.tcp_idle_seconds);
    stream::Limits { connections: config.listen.tcp_connections, idle, ..stream::Limits::default() }
}

/// Settings of the resolver.
pub(super) fn resolver(config: &Config) -> resolve::Settings {
    let (resolve, cache) = (&config.resolve, &config.cache);
    let defaults = resolve::Settings::default();
    let forwards = config.forwards.iter().map(|f| Route {
        zone: f.zone.clone(),
        kind: RouteKind::Forward,
        servers: f.servers.clone(),
        fallback_to_recursion: f.fallback,
        policy: if f.fastest { Policy::Fastest } else { Policy::FirstWorking },
    });
    let stubs = config.stubs.iter().map(|s| Route {
        zone: s.zone.clone(),
        kind: RouteKind::Stub,
        servers: s.servers.clone(),
        fallback_to_recursion: false,
        policy: Policy::default(),
    });
    let stale = defaults.serve_stale.filter(|_| cache.stale > 0);
    resolve::Settings {
        root_hints: if resolve.root_hints.is_empty() { defaults.root_hints } else { resolve.root_hints.clone() },
        routes: forwards.chain(stubs).collect(),
        minimise: resolve.qname_minimisation,
        ipv4: resolve.ipv4,
        ipv6: resolve.ipv6,
        allow_loopback_upstream: resolve.loopback_upstream,
        upstream_port: resolve.upstream_port,
        case_randomisation: resolve.case_randomisation,
        prefetch: cache.prefetch,
        min_ttl: cache.min_ttl,
        max_ttl: cache.max_ttl,
        max_negative_ttl: cache.max_negative_ttl,
        serve_stale: stale.map(|stale| ServeStale { max_age: Duration::from_secs(cache.stale.into()), ..stale }),
        cache_bytes: cache.bytes - answer_cache_bytes(config),
        special_use: resolve.special_use,
        special_use_off: resolve.special_use_off.clone(),
        aggressive_nsec: resolve.aggressive_nsec,
        any: if resolve.minimal_any { Any::Hinfo } else { Any::Conventional },
        limits: resolve::Limits {
            queries: config.budget.upstream_queries,
            time: Duration::from_secs(config.budget.seconds),
            ..defaults.limits
        },
        local: local(config),
        private_addresses: resolve.private_addresses.iter().map(|prefix| prefix.parts()).collect(),
        private_exempt: resolve.private_domains.clone(),
        ..defaults
    }
}

/// Local records, those of one owner and type as one RRset.
fn local(config: &Config) -> Vec<Rrset> {
    let mut sets: Vec<Rrset> = Vec::new();
    for line in &config.resolve.records {
        match sets.iter_mut().find(|set| set.owner == line.owner && set.rtype == line.rtype) {
            Some(set) => {
                // RFC 2181 section 5.2: one RRset, one TTL.
                set.ttl = set.ttl.min(line.ttl);
                set.rdatas.push(line.rdata.clone());
            }
            None => sets.push(Rrset::new(line.owner.clone(), line.rtype, line.ttl, vec![line.rdata.clone()])),
        }
    }
    sets
}

/// Settings of the validator.
pub(super) fn validator(config: &Config) -> validate::Settings {
    validate::Settings {
        nsec3_iterations: config.validate.nsec3_iterations,
        nsec3_iterations_bogus: config.validate.nsec3_servfail,
        sha1_signatures: config.validate.sha1,
        limits: validate::Limits { signatures: config.budget.signatures, ..validate::Limits::default() },
        ..validate::Settings::default()
    }
}

/// What is trusted.
pub(super) fn anchors(config: &Config) -> Anchors {
    let mut anchors = if config.validate.builtin_anchors { Anchors::builtin() } else { Anchors::none() };
    for line in &config.validate.anchors {
        let anchor = if line.rtype == Rtype::DS { Anchor::Ds(line.rdata.clone()) } else { Anchor::Dnskey(line.rdata.clone()) };
        anchors.add(line.owner.clone(), anchor);
    }
    anchors
}

/// What is not validated.
pub(super) fn negative_anchors(config: &Config) -> NegativeAnchors {
    let mut anchors = NegativeAnchors::new();
    for nta in &config.ntas {
        anchors.add(NegativeAnchor { name: nta.zone.clone(), reason: nta.reason.clone(), expires: nta.until });
    }
    anchors
}

/// What no list may block.
pub(super) fn protected(config: &Config) -> Protected {
    let mut protected = match &config.block.critical {
        Some(text) => Protected::with_critical(text),
        None => Ok(Protected::shipped()),
    }
    .expect("invariant: the configuration was checked when it was read");
    protected.add_own(&config.block.own_names).expect("invariant: the configuration was checked when it was read");
    protected
}

/// What a pushed list may newly block without anybody being asked.
pub(super) fn impact(config: &Config) -> Limits {
    Limits { names: config.trust.max_new_names, clients: config.trust.max_new_clients }
}

/// Who is served; `connected` are the networks of our own interfaces.
pub(super) fn served(config: &Config, connected: &[Prefix]) -> Acl {
    let connected = connected.iter().filter(|_| config.access.connected);
    Acl::new(config.access.allow.iter().chain(connected).copied())
}

/// Whom the rate limit leaves alone.
pub(super) fn unlimited(config: &Config) -> Acl {
    if config.limit.private { Acl::default() } else { Acl::new(acl::PRIVATE) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_text;

    fn config(text: &str) -> Config {
        from_text("f", text, None).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_rooms() {
        let (filled, own) = (resolver(&Config::default()), resolve::Settings::default());
        let private_addresses = filled.private_addresses.clone();
        assert!(!private_addresses.is_empty());
        assert_eq!(filled, resolve::Settings { private_addresses, cache_bytes: filled.cache_bytes, ..own });
        assert_eq!(validator(&Config::default()), validate::Settings::default());
        assert_eq!(anchors(&Config::default()), Anchors::builtin());
        assert_eq!(impact(&Config::default()), Limits::default());
    }

    #[test]
    fn every_key_of_the_resolver_changes_its_settings() {
        let base = resolver(&Config::default());
        for text in [
            "[resolve]\nqname_minimisation = false",
            "[resolve]\nipv4 = false",
            "[resolve]\nipv6 = false",
            "[resolve]\nloopback_upstream = true",
            "[resolve]\nupstream_port = 5353",
            "[resolve]\ncase_randomisation = false",
            "[resolve]\nspecial_use = false",
            "[resolve]\nspecial_use_off = [\"local\"]",
            "[resolve]\naggressive_nsec = false",
            "[resolve]\nany = \"minimal\"",
            "[budget]\nupstream_queries = 50",
            "[budget]\nseconds = 5",
            "[resolve]\nroot_hints = [\"a.example. A 192.0.2.1\"]",
            "[resolve]\nrecords = [\"nas.example. A 192.168.1.5\"]",
            "[resolve]\nprivate_addresses = []",
            "[resolve]\nprivate_domains = [\"lan\"]",
            "[[forward]]\nzone = \".\"\nservers = [\"9.9.9.9\"]",
            "[[stub]]\nzone = \"corp\"\nservers = [\"192.0.2.1\"]",
            "[cache]\nbytes = 2097152",
            "[cache]\nmin_ttl_seconds = 5",
            "[cache]\nmax_ttl_seconds = 5",
            "[cache]\nprefetch = false",
            "[cache]\nmax_negative_ttl_seconds = 5",
            "[cache]\nstale_seconds = 0",
        ] {
            assert_ne!(resolver(&config(text)), base, "{text}");
        }
        for text in
            ["[validate]\nnsec3_iterations = 0", "[validate]\nnsec3_servfail = true", "[validate]\nsha1 = true", "[budget]\nsignatures = 9"]
        {
            assert_ne!(validator(&config(text)), validate::Settings::default(), "{text}");
        }
        assert!(anchors(&config("[validate]\nbuiltin_anchors = false")).is_empty());
        let ds = "[validate]\nanchors = [\"lab. DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000\"]";
        assert_eq!(anchors(&config(ds)).iter().count(), 2);
        assert_eq!(negative_anchors(&config("[[nta]]\nzone = \"broken\"\nreason = \"x\"")).iter().count(), 1);
    }

    #[test]
    fn records_of_one_owner_and_type_are_one_rrset() {
        let records = "[resolve]\nrecords = [\"a.lan 60 A 192.168.0.1\", \"a.lan 30 A 192.168.0.2\", \"a.lan AAAA fd00::1\"]";
        let sets = local(&config(records));
        assert_eq!(sets.len(), 2);
        assert_eq!((sets[0].rdatas.len(), sets[0].ttl), (2, 30));
    }

    #[test]
    fn connected_networks_are_served_by_setting() {
        let connected = ["203.0.113.0/24".parse().unwrap()];
        let client = "203.0.113.9".parse().unwrap();
        assert!(served(&Config::default(), &connected).contains(client));
        assert!(!served(&config("[access]\nconnected = false"), &connected).contains(client));
        assert!(served(&config("[access]\nallow = [\"0.0.0.0/0\"]\nopen = true"), &[]).contains("8.8.8.8".parse().unwrap()));
        assert!(!served(&Config::default(), &[]).contains("8.8.8.8".parse().unwrap()));
    }
}
