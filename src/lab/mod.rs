//! The miniature internet: a signed root, top-level domains and many leaf zones on loopback addresses, good ones and broken ones.
//!
//! `postern demo`, the tests and the benches stand on it. Everything follows from a seed and a time: names, addresses, contents and
//! keys; each zone declares what is wrong with it, and the expectations follow from that. Zones are built, signed and broken here
//! ([`zone`], [`fault`]), written as files that NSD and ldns judge in `tests/lab.rs`, answered from by [`answer`] and served through
//! hickory-server by [`server`]. Nothing outside this room and the demo command knows a name of it.
//!
//! Knowingly missing: zone transfer, NOTIFY, IPv6 addresses (loopback has one only), EDNS options.

#![allow(clippy::disallowed_methods, reason = "the lab writes its zone files")]

pub mod answer;
pub mod demo;
pub mod fault;
mod keys;
mod plan;
mod random;
mod rdata;
mod seed;
pub mod server;
mod text;
pub mod zone;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

pub use fault::{Expect, Fault, Security};
pub use keys::Algorithm;
pub use server::{Host, Manners};
pub use zone::{Denial, Nsec3, Roll, Signing, Zone};

use crate::wire::{Name, Rtype};

/// Real phishing hosts; their domains are served here as they were on the Internet.
fn scam_hosts() -> impl Iterator<Item = &'static str> {
    include_str!("phishing-sample.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A question worth asking, and what a validating resolver must answer.
#[derive(Debug, Clone)]
pub struct Telling {
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// The answer's code and security.
    pub expect: Expect,
    /// RDATA of the final RRset in any order; empty where there is none, or none is to be seen.
    pub rdatas: Vec<Box<[u8]>>,
    /// What the question shows, in a few words.
    pub why: String,
}

/// The whole miniature internet, not yet served.
#[derive(Debug)]
pub struct Internet {
    seed: seed::Seed,
    zones: Vec<Arc<Zone>>,
    hosts: Vec<Host>,
    questions: Vec<Telling>,
    roots: Vec<(Name, Vec<IpAddr>)>,
}

impl Internet {
    /// The internet that `seed` gives, with signatures made around `now` (seconds since 1970).
    pub fn build(seed: u64, now: u64) -> Internet {
        plan::build(seed, now, Roll::Before)
    }

    /// The same internet with the roll-over of the root's key-signing key so far.
    pub fn build_rolled(seed: u64, now: u64, roll: Roll) -> Internet {
        plan::build(seed, now, roll)
    }

    /// An internet drawn at random from `seed`: zones, signing parameters, faults and bad servers. It has no telling questions.
    pub fn random(seed: u64, now: u64) -> Internet {
        random::build(seed, now)
    }

    /// Questions drawn at random from `seed`, in and around the names there are.
    pub fn random_questions(&self, seed: u64, count: usize) -> Vec<crate::wire::Question> {
        random::questions(self, seed, count)
    }

    /// What a zone declares of itself, in one line: signing, fault, and the manners of its servers.
    pub fn about(&self, apex: &Name) -> String {
        let Some(zone) = self.zones.iter().find(|z| z.apex() == apex) else { return format!("{apex} is no zone") };
        let signing =
            zone.signing().map_or("unsigned".to_owned(), |s| format!("{:?}, DS digest {}, {:?}", s.algorithm, s.digest_type, s.denial));
        let fault = zone.fault().map_or("no fault", Fault::words);
        let hosts = self.hosts.iter().filter(|h| h.zones.iter().any(|z| z.apex() == apex));
        let hosts: Vec<String> = hosts.map(|h| format!("{} {} {:?}", h.name, h.address, h.manners)).collect();
        format!("{apex} {signing}; {fault}; {} DS; served by {}", zone.ds().len(), hosts.join(", "))
    }

    /// Every zone, the root first.
    pub fn zones(&self) -> &[Arc<Zone>] {
        &self.zones
    }

    /// Every name server.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Questions with the answers that a validating resolver must give.
    pub fn questions(&self) -> &[Telling] {
        &self.questions
    }

    /// What a validating resolver must answer to this question; `None` where the plan says nothing about it.
    pub fn telling(&self, name: &Name, rtype: Rtype) -> Option<&Telling> {
        self.questions.iter().find(|q| q.name == *name && q.rtype == rtype)
    }

    /// Names and addresses of the root servers.
    pub fn root_hints(&self) -> &[(Name, Vec<IpAddr>)] {
        &self.roots
    }

    /// Trust anchors of the root, as DS records in presentation form.
    pub fn trust_anchors(&self) -> Vec<String> {
        self.zones[0].ds().iter().map(|ds| format!(". IN DS {}", text::presentation(Rtype::DS, ds))).collect()
    }

    /// Writes each zone to a file of its own, and says which: `post.zone` for `post.`, `root.zone` for the root.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn write_zone_files(&self, directory: &Path) -> io::Result<Vec<(Name, std::path::PathBuf)>> {
        std::fs::create_dir_all(directory)?;
        let mut written = Vec::new();
        for zone in &self.zones {
            let apex = zone.apex().to_string();
            let stem = if zone.apex().is_root() { "root" } else { apex.trim_end_matches('.') };
            let path = directory.join(format!("{stem}.zone"));
            std::fs::write(&path, text::zone_file(zone))?;
            written.push((zone.apex().clone(), path));
        }
        Ok(written)
    }

    /// Serves every zone on its hosts' loopback addresses, all on one port: `port`, or one that is free. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The port is taken on one of the addresses, or none is free on all of them.
    pub async fn start(&self, port: Option<u16>) -> io::Result<Running> {
        let (servers, port) = server::Servers::start(&self.hosts, port).await?;
        Ok(Running { root_hints: self.roots.clone(), port, trust_anchors: self.trust_anchors(), servers })
    }
}

/// The internet while it is served. Dropping it stops the servers, too.
#[derive(Debug)]
pub struct Running {
    /// Names and addresses of the root servers.
    pub root_hints: Vec<(Name, Vec<IpAddr>)>,
    /// The port that every name server listens on, UDP and TCP.
    pub port: u16,
    /// Trust anchors of the root, as DS records in presentation form.
    pub trust_anchors: Vec<String>,
    servers: server::Servers,
}

impl Running {
    /// Stops every server and closes its sockets.
    pub async fn stop(self) {
        self.servers.stop().await;
    }
}
