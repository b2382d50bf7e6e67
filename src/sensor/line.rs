//! Transactions as JSON lines.
//!
//! One object a transaction, flat where it can be, with the field names that readers of Zeek's dns.log know (`AA`, `TC`, `RD`, `RA`,
//! `rtt`, `query`, `answers`). Names are in the case they were sent in; a response's RDATA is in presentation form.

use std::time::Duration;

use serde::Serialize;

use super::join::Transaction;
use super::message::{Dns, Oddity, Seen};
use super::present;
use crate::wire::{Flags, Rtype};

/// Records of each section written at most: a zone transfer must not become one line of megabytes.
const MAX_RECORDS: usize = 100;

#[derive(Serialize)]
struct Line<'a> {
    ts: f64,
    uid: String,
    client: std::net::IpAddr,
    client_port: u16,
    server: std::net::IpAddr,
    server_port: u16,
    proto: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    id: u16,
    ending: &'static str,
    rtt: Option<f64>,
    opcode: u8,
    query: Option<String>,
    qtype: Option<String>,
    qclass: Option<u16>,
    rcode: Option<String>,
    #[serde(rename = "AA")]
    aa: bool,
    #[serde(rename = "TC")]
    tc: bool,
    #[serde(rename = "RD")]
    rd: bool,
    #[serde(rename = "RA")]
    ra: bool,
    #[serde(rename = "AD")]
    ad: bool,
    #[serde(rename = "CD")]
    cd: bool,
    answers: Vec<Answer>,
    authority: u16,
    additional: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    edns: Option<Options>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_edns: Option<Options>,
    query_bytes: Option<usize>,
    response_bytes: Option<usize>,
    #[serde(skip_serializing_if = "is_zero")]
    repeats: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    odd: Vec<&'a str>,
}

#[derive(Serialize)]
struct Answer {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    ttl: u32,
    data: String,
}

#[derive(Serialize)]
struct Options {
    version: u8,
    size: u16,
    #[serde(rename = "DO")]
    dnssec_ok: bool,
    options: Vec<u16>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Seconds since 1970 with microseconds, which is what a double holds.
pub(super) fn seconds(at: Duration) -> f64 {
    at.as_micros() as f64 / 1e6
}

fn options(dns: &Dns) -> Option<Options> {
    let edns = dns.edns.as_ref()?;
    let options = edns.options.iter().take(MAX_RECORDS).map(|(code, _)| *code).collect();
    Some(Options { version: edns.version, size: edns.udp_size, dnssec_ok: edns.dnssec_ok, options })
}

fn answer(seen: &Seen) -> Answer {
    Answer {
        name: seen.owner.to_string(),
        rtype: seen.rtype.to_string(),
        ttl: seen.ttl,
        data: if seen.rtype == Rtype::OPT { String::new() } else { present::rdata(seen.rtype, &seen.rdata) },
    }
}

/// The transaction as one line of JSON, without a line end.
pub fn transaction(transaction: &Transaction) -> String {
    let first = transaction.first();
    let asked = first.and_then(Dns::question);
    let response = transaction.response.as_deref();
    let either = |bit: u16| first.is_some_and(|dns| dns.flags.has(bit));
    let answered = |bit: u16| response.is_some_and(|dns| dns.flags.has(bit));
    let line = Line {
        ts: seconds(transaction.at),
        uid: transaction.uid(),
        client: transaction.client.ip(),
        client_port: transaction.client.port(),
        server: transaction.server.ip(),
        server_port: transaction.server.port(),
        proto: transaction.proto.label(),
        vlan: transaction.vlan,
        id: first.map_or(0, |dns| dns.id),
        ending: transaction.ending().label(),
        rtt: transaction.rtt.map(seconds),
        opcode: first.map_or(0, |dns| dns.flags.opcode()),
        query: asked.map(|asked| present::name(&asked.spelled)),
        qtype: asked.map(|asked| asked.rtype.to_string()),
        qclass: asked.map(|asked| asked.class),
        rcode: response.map(|dns| dns.rcode().to_string()),
        aa: answered(Flags::AA),
        tc: answered(Flags::TC),
        rd: either(Flags::RD),
        ra: answered(Flags::RA),
        ad: answered(Flags::AD),
        cd: either(Flags::CD),
        answers: response.map(|dns| dns.answer.iter().take(MAX_RECORDS).map(answer).collect()).unwrap_or_default(),
        authority: response.map_or(0, |dns| dns.counts[2]),
        additional: response.map_or(0, |dns| dns.counts[3]),
        edns: transaction.query.as_deref().and_then(options),
        response_edns: response.and_then(options),
        query_bytes: transaction.query.as_deref().map(|dns| dns.length),
        response_bytes: response.map(|dns| dns.length),
        repeats: transaction.repeats,
        malformed: transaction.flaw().map(|flaw| flaw.to_string()),
        odd: transaction.oddities().map(Oddity::label).collect(),
    };
    serde_json::to_string(&line).expect("invariant: strings, numbers and lists always serialise")
}
