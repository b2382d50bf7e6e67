//! What an operator may set of the resolver; `config` fills it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::budget::Limits;
use super::prime;
use crate::wire::{Name, Rrset};

/// How queries for a configured zone leave the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// To recursive resolvers, with RD=1.
    Forward,
    /// To name servers of the zone, with RD=0, instead of the ones that its parent names.
    Stub,
}

/// Which of a route's servers is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// The first that works, in the order given.
    #[default]
    FirstWorking,
    /// The fastest, others now and then to learn their speed.
    Fastest,
}

/// Servers for a zone and everything below it, until a longer route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Apex of the zone; the root for everything.
    pub zone: Name,
    /// Forward or stub.
    pub kind: RouteKind,
    /// Addresses to ask.
    pub servers: Vec<SocketAddr>,
    /// When every server fails, resolve from the root.
    pub fallback_to_recursion: bool,
    /// Which server first.
    pub policy: Policy,
}

/// How QTYPE ANY is answered (RFC 8482 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Any {
    /// Asked upstream like any type; whatever subset the zone's servers give is the answer.
    #[default]
    Conventional,
    /// A synthesised HINFO (section 4.2), nothing asked upstream.
    Hinfo,
}

/// Serving past expiry (RFC 8767).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeStale {
    /// How long past its expiry data may be served. RFC 8767 section 5 suggests 1 to 3 days.
    pub max_age: Duration,
    /// How long a client waits before it gets stale data (section 5: 1.8 s).
    pub client_timeout: Duration,
    /// TTL of stale records, in seconds (section 4: 30).
    pub ttl: u32,
}

/// Settings of the resolver. [`Default`] is a recursive resolver for the public Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names and addresses of the root servers; built in.
    pub root_hints: Vec<(Name, Vec<IpAddr>)>,
    /// Forward and stub zones.
    pub routes: Vec<Route>,
    /// QNAME minimisation (RFC 9156). On.
    pub minimise: bool,
    /// Ask over IPv4. On.
    pub ipv4: bool,
    /// Ask over IPv6. On.
    pub ipv6: bool,
    /// Whether 127/8 and ::1 may be asked because a delegation says so. Off; addresses of routes are always asked.
    pub allow_loopback_upstream: bool,
    /// Port of name servers found by iteration. 53; a lab may use another.
    pub upstream_port: u16,
    /// DNS cookies towards name servers (RFC 7873). On.
    pub cookies: bool,
    /// Answer "no" from proven NSEC records (RFC 8198). On.
    pub aggressive_nsec: bool,
    /// Resolve anew what is asked for in the last tenth of its life, so that nobody waits for it. On.
    pub prefetch: bool,
    /// Random case in questions sent by UDP (0x20), with fallback. On.
    pub case_randomisation: bool,
    /// Shortest lifetime in the cache, in seconds. 0: what the zone says.
    pub min_ttl: u32,
    /// Longest lifetime in the cache, in seconds. One day.
    pub max_ttl: u32,
    /// Longest lifetime of a negative answer, in seconds (RFC 2308 section 5 suggests 1 to 3 hours). One hour.
    pub max_negative_ttl: u32,
    /// Serving past expiry; on, as RFC 8767 suggests.
    pub serve_stale: Option<ServeStale>,
    /// Memory of the RRset cache in octets. 64 MiB.
    pub cache_bytes: usize,
    /// Keep special-use names local (RFC 6761 and its kin). On.
    pub special_use: bool,
    /// Special-use zones that are resolved like any other, with everything below.
    pub special_use_off: Vec<Name>,
    /// Records served as configured. Each owner is authoritative for itself: other types are NODATA.
    pub local: Vec<Rrset>,
    /// Prefixes that public names must not point to (DNS rebinding). Empty: off.
    pub private_addresses: Vec<(IpAddr, u8)>,
    /// Names, with everything below, that may point there all the same; routes are exempt too.
    pub private_exempt: Vec<Name>,
    /// How ANY is answered.
    pub any: Any,
    /// Resolutions under way at once; more are refused with SERVFAIL.
    pub concurrent: usize,
    /// What one client query may cost.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            root_hints: prime::built_in_hints(),
            routes: Vec::new(),
            minimise: true,
            ipv4: true,
            ipv6: true,
            allow_loopback_upstream: false,
            upstream_port: 53,
            cookies: true,
            aggressive_nsec: true,
            prefetch: true,
            case_randomisation: true,
            min_ttl: 0,
            max_ttl: 86_400,
            max_negative_ttl: 3600,
            serve_stale: Some(ServeStale { max_age: Duration::from_secs(86_400), client_timeout: Duration::from_millis(1800), ttl: 30 }),
            cache_bytes: 64 << 20,
            special_use: true,
            special_use_off: Vec::new(),
            local: Vec::new(),
            private_addresses: Vec::new(),
            private_exempt: Vec::new(),
            any: Any::Conventional,
            concurrent: 8192,
            limits: Limits::default(),
        }
    }
}
