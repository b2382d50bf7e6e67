//! The configuration: TOML in, the settings of every room out.
//!
//! `schema` is the one table of keys, `value` reads single values, `load` reads a whole file and gives either a [`Config`] or every
//! problem in it at once. Rooms own their settings and never see this module.

mod load;
pub mod schema;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

pub use load::{Problem, Problems, from_file, from_text};
pub use value::{Line, Moment, Server};

use crate::guard::{Prefix, ratelimit};
use crate::policy::rpz;
use crate::wire::Name;

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Serve the local network.
    pub lan: bool,
    /// State directory; `None` chooses it at start.
    pub state_dir: Option<PathBuf>,
    /// User to become.
    pub user: Option<String>,
    /// Answering threads; `None` is one for each processor.
    pub workers: Option<usize>,
    /// `[listen]`.
    pub listen: Listen,
    /// `[access]`.
    pub access: Access,
    /// `[limit]`.
    pub limit: Limit,
    /// `[resolve]`.
    pub resolve: Resolve,
    /// `[[forward]]`.
    pub forwards: Vec<Forward>,
    /// `[[stub]]`.
    pub stubs: Vec<Stub>,
    /// `[validate]`.
    pub validate: Validate,
    /// `[[nta]]`.
    pub ntas: Vec<Nta>,
    /// `[budget]`.
    pub budget: Budget,
    /// `[cache]`.
    pub cache: Cache,
    /// `[block]`.
    pub block: Block,
    /// Whose lists count.
    pub trust: Trust,
    /// `[[rpz]]`, read.
    pub rpz: Vec<Arc<rpz::Zone>>,
    /// Where metrics are served; `None` is off.
    pub metrics: Option<SocketAddr>,
    /// Who may fetch metrics besides loopback.
    pub metrics_allow: Vec<Prefix>,
    /// Control socket; `None` chooses it at start.
    pub control: Option<PathBuf>,
    /// Every key that is not in a repeated section, with its value as TOML: for `config show` and to see what a reload changes.
    pub effective: BTreeMap<&'static str, String>,
}

/// `[listen]`: where clients ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Addresses as written; empty chooses.
    pub addresses: Vec<Server>,
    /// Largest answer over UDP in octets.
    pub udp_payload_bytes: u16,
    /// Most open client connections over TCP.
    pub tcp_connections: usize,
    /// A silent connection is closed after so many seconds.
    pub tcp_idle_seconds: u64,
    /// Client queries resolved at once.
    pub resolving_queries: usize,
    /// Above that SERVFAIL, instead of nothing.
    pub servfail_when_full: bool,
}

/// `[access]`: who is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Networks of clients that are served.
    pub allow: Vec<Prefix>,
    /// Networks of our own interfaces too.
    pub connected: bool,
    /// Others get no answer at all, instead of REFUSED.
    pub silent: bool,
    /// Server cookies.
    pub cookies: bool,
}

/// `[limit]`: how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Rates, burst, slip and prefixes.
    pub rate: ratelimit::Settings,
    /// For private addresses too.
    pub private: bool,
}

/// `[budget]`: what one client query may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Queries to other servers.
    pub upstream_queries: u32,
    /// Time from query to answer.
    pub seconds: u64,
    /// Signature checks.
    pub signatures: u32,
}

/// `[resolve]`: how questions are resolved.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub struct Resolve {
    /// RFC 9156.
    pub qname_minimisation: bool,
    /// Ask servers over IPv4.
    pub ipv4: bool,
    /// Ask servers over IPv6.
    pub ipv6: bool,
    /// Servers on loopback addresses may be asked.
    pub loopback_upstream: bool,
    /// Port of servers found by delegation.
    pub upstream_port: u16,
    /// 0x20.
    pub case_randomisation: bool,
    /// Special-use names are kept local.
    pub special_use: bool,
    /// Special-use names that are not.
    pub special_use_off: Vec<Name>,
    /// RFC 8198.
    pub aggressive_nsec: bool,
    /// ANY is answered with one HINFO.
    pub minimal_any: bool,
    /// Root servers by name; empty is the Internet's.
    pub root_hints: Vec<(Name, Vec<IpAddr>)>,
    /// Local records.
    pub records: Vec<Line>,
    /// Addresses that public names may not point to.
    pub private_addresses: Vec<Prefix>,
    /// Domains that may.
    pub private_domains: Vec<Name>,
}

/// One `[[forward]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The zone, with all below it.
    pub zone: Name,
    /// Recursive resolvers.
    pub servers: Vec<SocketAddr>,
    /// The fastest is asked, not the first that works.
    pub fastest: bool,
    /// Resolve from the root when no server answers.
    pub fallback: bool,
}

/// One `[[stub]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stub {
    /// The zone.
    pub zone: Name,
    /// Its authoritative servers.
    pub servers: Vec<SocketAddr>,
}

/// `[validate]`: what is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Validate {
    /// The built-in root anchors.
    pub builtin_anchors: bool,
    /// More DS and DNSKEY records, those of the file included.
    pub anchors: Vec<Line>,
    /// Follow the roll-over of trust anchors (RFC 5011).
    pub rollover: bool,
    /// Highest NSEC3 iteration count that is validated.
    pub nsec3_iterations: u16,
    /// Above it SERVFAIL, not Insecure.
    pub nsec3_servfail: bool,
    /// DS records of SHA-1 algorithms lead somewhere.
    pub sha1: bool,
}

/// One `[[nta]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Nta {
    /// Not validated at or below.
    pub zone: Name,
    /// Why.
    pub reason: String,
    /// Seconds since 1970 at which it ends; `None` never.
    pub until: Option<u64>,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Octets for answers and records together.
    pub bytes: usize,
    /// Resolve anew what is asked for shortly before it expires.
    pub prefetch: bool,
    /// Least TTL in seconds.
    pub min_ttl: u32,
    /// Most TTL in seconds.
    pub max_ttl: u32,
    /// Most TTL of a negative answer in seconds.
    pub max_negative_ttl: u32,
    /// Seconds past its end that a record may be served.
    pub stale: u32,
}

/// `[block]`: how a blocked name is answered and what is never blocked.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The answer.
    pub action: Action,
    /// Its TTL in seconds.
    pub ttl: u32,
    /// The post's own names.
    pub own_names: Vec<Name>,
    /// Critical names from a file; `None` is the shipped list.
    pub critical: Option<String>,
    /// Seconds after its expiry for which a list goes on blocking; `None` for ever.
    pub max_stale: Option<u64>,
    /// Versions kept of each list.
    pub keep_versions: usize,
}

/// `[trust]`: whose lists count, and how much they may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    /// Public root key; without one only root on this box can push lists.
    pub root_key: Option<String>,
    /// Names resolved lately that a list may newly block.
    pub max_new_names: u64,
    /// Clients that asked for any one of them.
    pub max_new_clients: u64,
}

/// `block.action` with its addresses.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// NXDOMAIN.
    Nxdomain,
    /// NOERROR without an answer.
    Nodata,
    /// 0.0.0.0 and ::.
    Null,
    /// These addresses.
    Sinkhole(Vec<IpAddr>),
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Config {
        from_text("defaults", "", None).expect("a test reads the defaults")
    }
}

impl Config {
    /// Keys that cannot change while running and differ between `self` and `new`.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let differs = |key: &&schema::Key| !key.live && self.effective.get(key.path) != new.effective.get(key.path);
        schema::KEYS.iter().filter(differs).map(|key| key.path).collect()
    }
}
