//! What can be asked over the control socket, and what comes back: plain data, JSON on the wire.
//!
//! Names and types travel as text and are checked where they arrive. Times are seconds since 1970, durations seconds.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::blocklist::keys::KeySet;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is.
    Status,
    /// What would be done with a name, and why.
    Why {
        /// The name.
        name: String,
        /// The type; A where none is given.
        rtype: String,
        /// Who asks; `None` is this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
    },
    /// Read the configuration again.
    Reload,
    /// Empty the caches: a name with all below it, or everything.
    CacheFlush {
        /// The name; `None` is everything.
        name: Option<String>,
    },
    /// Take, store and activate a list; its octets follow the request.
    Push {
        /// Length of the list file.
        octets: u64,
        /// The `.minisig` files; without one, root on the box answers for the list.
        #[serde(default)]
        signatures: Vec<String>,
        /// Only judge it.
        #[serde(default)]
        dry_run: bool,
        /// Take it whatever it newly blocks, for this reason.
        #[serde(default)]
        force: Option<String>,
    },
    /// Take a key set; its octets follow the request.
    KeysPush {
        /// Length of the key set.
        octets: u64,
        /// The root key's signature over it.
        signature: String,
    },
    /// The keys that are known.
    Keys,
    /// The versions of the list that are kept.
    Versions,
    /// The audit log.
    Log,
    /// Make an older kept version active again.
    Rollback {
        /// Id of the list; `None` where there is only one.
        list: Option<String>,
        /// Its serial; `None` is the one before.
        serial: Option<u64>,
    },
    /// Add or replace a rule of this box's own.
    RuleAdd {
        /// Block or allow.
        action: RuleAction,
        /// The name.
        name: String,
        /// With all names below it.
        subtree: bool,
        /// Seconds until it ends by itself; `None` never.
        seconds: Option<u64>,
        /// Why.
        why: String,
    },
    /// The box's own rules.
    RuleList {
        /// Block or allow.
        action: RuleAction,
    },
    /// Take a rule away.
    RuleRemove {
        /// Block or allow.
        action: RuleAction,
        /// The name.
        name: String,
    },
    /// Stop blocking for a while.
    BlockingOff {
        /// Seconds until it comes back by itself.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// Block again.
    BlockingOn,
    /// The negative trust anchors in force.
    NtaList,
    /// Stop validating a zone for a while (RFC 7646).
    NtaAdd {
        /// The zone, with all below it.
        zone: String,
        /// Seconds until it ends by itself.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// Validate a zone again.
    NtaRemove {
        /// The zone.
        zone: String,
    },
}

impl Request {
    /// The push of a list without signatures.
    pub fn push(octets: u64) -> Request {
        Request::Push { octets, signatures: Vec::new(), dry_run: false, force: None }
    }

    /// What it would change, in words, for the audit log; `None` where it only asks.
    pub fn deed(&self) -> Option<String> {
        let named = |action: &RuleAction| match action {
            RuleAction::Block => "block",
            RuleAction::Allow => "allow",
        };
        Some(match self {
            Request::Push { dry_run: true, .. } => return None,
            Request::Push { octets, force: None, .. } => format!("blocklist push of {octets} octets"),
            Request::Push { octets, force: Some(why), .. } => format!("blocklist push --force of {octets} octets: {why}"),
            Request::KeysPush { octets, .. } => format!("keys push of {octets} octets"),
            Request::Rollback { list, serial } => {
                let (list, serial) = (list.as_deref().unwrap_or("the list"), serial.map(|s| s.to_string()));
                format!("blocklist rollback of {list} to {}", serial.as_deref().unwrap_or("the version before"))
            }
            Request::RuleAdd { action, name, why, .. } => format!("{} add {name}: {why}", named(action)),
            Request::RuleRemove { action, name } => format!("{} remove {name}", named(action)),
            Request::BlockingOff { seconds, why } => format!("blocking off for {seconds} s: {why}"),
            Request::BlockingOn => "blocking on".into(),
            Request::NtaAdd { zone, seconds, why } => format!("nta add {zone} for {seconds} s: {why}"),
            Request::NtaRemove { zone } => format!("nta remove {zone}"),
            Request::Reload => "reload".into(),
            Request::CacheFlush { name } => format!("cache flush {}", name.as_deref().unwrap_or("of everything")),
            Request::Status
            | Request::Why { .. }
            | Request::Keys
            | Request::Versions
            | Request::Log
            | Request::RuleList { .. }
            | Request::NtaList => return None,
        })
    }

    /// Octets that follow the request line.
    pub fn body_octets(&self) -> u64 {
        match self {
            Request::Push { octets, .. } | Request::KeysPush { octets, .. } => *octets,
            _ => 0,
        }
    }
}

/// What a rule of the box's own does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Block the name.
    Block,
    /// Never block the name.
    Allow,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Why`].
    Why(Box<Why>),
    /// To [`Request::Push`] and [`Request::Rollback`].
    Activated(Version),
    /// To [`Request::Versions`].
    Versions(Vec<Version>),
    /// To [`Request::Keys`].
    Keys(Box<Keys>),
    /// To [`Request::Log`]: the lines as they are kept.
    Log(String),
    /// To [`Request::RuleList`].
    Rules(Vec<Rule>),
    /// To [`Request::NtaList`].
    Ntas(Vec<Nta>),
    /// It was done; the text says what.
    Done {
        /// In words.
        said: String,
    },
    /// It was not done.
    Refused {
        /// What is wrong.
        what: String,
        /// What to do about it; may be empty.
        hint: String,
        /// The reason in one word, where it has one: the label of the metric and of the log line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Reply {
    /// It was done.
    pub fn done(said: impl Into<String>) -> Reply {
        Reply::Done { said: said.into() }
    }

    /// What came of a request, in words, for the audit log.
    pub fn outcome(&self) -> String {
        match self {
            Reply::Activated(version) => format!("list {} serial {} is in force", version.list, version.serial),
            Reply::Done { said } => said.clone(),
            Reply::Refused { what, reason: Some(reason), .. } => format!("refused ({reason}): {what}"),
            Reply::Refused { what, .. } => format!("refused: {what}"),
            _ => "answered".into(),
        }
    }

    /// It was not done.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Reply {
        Reply::Refused { what: what.into(), hint: hint.into(), reason: None }
    }

    /// It was not done, for a reason that is counted.
    pub fn refused_for(reason: &str, what: impl Into<String>, hint: impl Into<String>) -> Reply {
        Reply::Refused { what: what.into(), hint: hint.into(), reason: Some(reason.into()) }
    }
}

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: u64,
    /// Configuration file; `None` runs on the defaults.
    pub config: Option<PathBuf>,
    /// State directory.
    pub state_dir: PathBuf,
    /// Addresses on which clients are answered, over UDP and TCP.
    pub listening: Vec<SocketAddr>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Blocking.
    pub blocking: Blocking,
    /// Whether the wall clock is believed.
    pub clock_trusted: bool,
    /// Names that have a trust anchor, with their keys.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Zones that are not validated, by decision of the operator.
    pub ntas: Vec<Nta>,
    /// Zones that are forwarded or stubbed, in words.
    pub routes: Vec<String>,
    /// Queries answered since the start.
    pub queries: u64,
    /// What needs somebody's attention, in words.
    pub warnings: Vec<String>,
}

/// A name with trust anchors, and how its keys roll over (RFC 5011).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustAnchor {
    /// The name.
    pub zone: String,
    /// Anchors that the program or the configuration gives.
    pub configured: usize,
    /// The keys seen there.
    pub keys: Vec<AnchorKey>,
    /// When a look at the zone's keys validated last.
    pub validated: Option<u64>,
    /// When they are looked at next.
    pub next_check: Option<u64>,
}

/// One key of a name with trust anchors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnchorKey {
    /// Key tag.
    pub tag: u16,
    /// `add_pending`, `valid`, `missing`, `revoked` or `removed` (RFC 5011 section 4.2).
    pub state: String,
    /// Since when.
    pub since: u64,
}

/// Whether and what is blocked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocking {
    /// The lists in force.
    pub lists: Vec<Version>,
    /// Rules of the box's own that block.
    pub block_rules: usize,
    /// Rules of the box's own that allow.
    pub allow_rules: usize,
    /// Blocking is switched off until then.
    pub off_until: Option<u64>,
    /// Why it is off.
    pub off_why: Option<String>,
}

/// One stored version of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Id of the list.
    pub list: String,
    /// Serial number.
    pub serial: u64,
    /// Names in it.
    pub names: u64,
    /// Size of the file.
    pub octets: u64,
    /// When it was built; 0 where the file cannot be read.
    pub built: u64,
    /// Whether it is the one in force.
    pub active: bool,
    /// Ids of the keys that signed it.
    #[serde(default)]
    pub signers: Vec<String>,
}

/// The keys that a box knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// The public root key.
    pub root: Option<String>,
    /// The key set in force under it.
    pub set: Option<KeySet>,
}

/// A rule of the box's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The name.
    pub name: String,
    /// With all names below it.
    pub subtree: bool,
    /// When it ends by itself.
    pub until: Option<u64>,
    /// Why.
    pub why: String,
    /// Who made it (`uid 1000`).
    pub by: String,
    /// When.
    pub made: u64,
}

/// A negative trust anchor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nta {
    /// Not validated at or below.
    pub zone: String,
    /// Why.
    pub reason: String,
    /// When it ends; `None` never.
    pub until: Option<u64>,
    /// Who set it (`uid 1000`); `None` for one of the configuration.
    pub by: Option<String>,
}

/// What is done with a name, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The name.
    pub name: String,
    /// The type.
    pub rtype: String,
    /// The client for whom it is said.
    pub client: IpAddr,
    /// Whether that client is served at all.
    pub served: bool,
    /// `blocked`, `allowed`, `local` …: what policy says.
    pub verdict: String,
    /// The rule behind it, in words; list, line and scope where one matched.
    pub because: Vec<String>,
    /// What resolving gave; `None` where it was not needed.
    pub resolved: Option<Resolved>,
}

/// What resolving gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Response code.
    pub rcode: String,
    /// `secure`, `insecure`, `bogus` or `indeterminate`.
    pub status: String,
    /// Extended errors, in words.
    pub errors: Vec<String>,
    /// The servers asked, in words, in order.
    pub asked: Vec<String>,
    /// The chain from the trust anchor, in words, step by step.
    pub chain: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_line_of_json() {
        let add = Request::RuleAdd {
            action: RuleAction::Block,
            name: "scam.example".into(),
            subtree: true,
            seconds: Some(60),
            why: "two\nlines".into(),
        };
        let line = serde_json::to_string(&add).unwrap();
        assert!(line.starts_with("{\"ask\":\"rule_add\"") && !line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), add);
        assert!(serde_json::from_str::<Request>("{\"ask\":\"cache_flush\",\"nmae\":\"x\"}").is_err(), "a misspelt field is not ignored");
    }
}
