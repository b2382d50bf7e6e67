//! The sensor's reading of a message in tshark's words, field by field.

use std::collections::BTreeMap;

use postern::sensor::{Dns, Seen};
use postern::wire::name::Labels;
use postern::wire::{Edns, Rtype};

/// Every field that is compared. Flags are one: tshark splits the same 16 bits.
pub(crate) const COMPARED: &[&str] = &[
    "dns.id",
    "dns.flags",
    "dns.count.queries",
    "dns.count.answers",
    "dns.count.auth_rr",
    "dns.count.add_rr",
    "dns.qry.name",
    "dns.qry.type",
    "dns.qry.class",
    "dns.resp.name",
    "dns.resp.type",
    "dns.resp.class",
    "dns.resp.ttl",
    "dns.resp.len",
    "dns.a",
    "dns.aaaa",
    "dns.ns",
    "dns.cname",
    "dns.dname",
    "dns.ptr.domain_name",
    "dns.mx.preference",
    "dns.mx.mail_exchange",
    "dns.txt",
    "dns.soa.mname",
    "dns.soa.rname",
    "dns.soa.serial_number",
    "dns.soa.refresh_interval",
    "dns.soa.retry_interval",
    "dns.soa.expire_limit",
    "dns.soa.minimum_ttl",
    "dns.srv.priority",
    "dns.srv.weight",
    "dns.srv.port",
    "dns.srv.target",
    "dns.ds.key_id",
    "dns.ds.algorithm",
    "dns.ds.digest_type",
    "dns.ds.digest",
    "dns.dnskey.flags",
    "dns.dnskey.protocol",
    "dns.dnskey.algorithm",
    "dns.dnskey.public_key",
    "dns.rrsig.type_covered",
    "dns.rrsig.algorithm",
    "dns.rrsig.labels",
    "dns.rrsig.original_ttl",
    "dns.rrsig.signature_expiration",
    "dns.rrsig.signature_inception",
    "dns.rrsig.key_tag",
    "dns.rrsig.signers_name",
    "dns.rrsig.signature",
    "dns.nsec.next_domain_name",
    "dns.nsec3.algo",
    "dns.nsec3.flags",
    "dns.nsec3.iterations",
    "dns.nsec3.salt_value",
    "dns.svcb.svcpriority",
    "dns.svcb.targetname",
    "dns.caa.flags",
    "dns.caa.tag",
    "dns.rr.udp_payload_size",
    "dns.resp.ext_rcode",
    "dns.resp.edns0_version",
    "dns.resp.z",
    "dns.opt.code",
    "dns.opt.len",
];

type Fields = BTreeMap<&'static str, Vec<String>>;

/// A name as tshark shows it: labels with dots between them, no dot at the end.
pub(crate) fn name(wire: &[u8]) -> String {
    let labels: Vec<String> = Labels::new(wire).map(|label| label.iter().map(|&octet| shown(octet)).collect()).collect();
    if labels.is_empty() { "<Root>".to_owned() } else { labels.join(".") }
}

fn shown(octet: u8) -> String {
    match octet {
        0x20..=0x7e => char::from(octet).to_string(),
        7..=13 => format!("\\{}", char::from(b"abtnvfr"[usize::from(octet) - 7])),
        _ => format!("\\{octet:03o}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// All compared fields of a message. `multicast`: the highest bit of a class is a flag of its own (RFC 6762 section 10.2).
pub(crate) fn fields(dns: &Dns, multicast: bool) -> Fields {
    let mut out = Fields::new();
    let mut put = |field: &'static str, value: String| out.entry(field).or_default().push(value);
    put("dns.id", hex(&dns.id.to_be_bytes()));
    put("dns.flags", hex(&dns.flags.0.to_be_bytes()));
    for (field, count) in ["dns.count.queries", "dns.count.answers", "dns.count.auth_rr", "dns.count.add_rr"].into_iter().zip(dns.counts) {
        put(field, hex(&count.to_be_bytes()));
    }
    for asked in &dns.questions {
        put("dns.qry.name", name(&asked.spelled));
        put("dns.qry.type", hex(&asked.rtype.0.to_be_bytes()));
        put("dns.qry.class", hex(&asked.class.to_be_bytes()));
    }
    for seen in dns.answer.iter().chain(&dns.authority).chain(&dns.additional) {
        record(seen, &mut put);
    }
    let _ = multicast;
    out
}

fn record(seen: &Seen, put: &mut impl FnMut(&'static str, String)) {
    put("dns.resp.name", name(seen.owner.wire()));
    put("dns.resp.type", hex(&seen.rtype.0.to_be_bytes()));
    put("dns.resp.len", hex(&seen.length.to_be_bytes()));
    if seen.rtype == Rtype::OPT {
        put("dns.rr.udp_payload_size", hex(&seen.class.to_be_bytes()));
        let [high, version, z @ ..] = seen.ttl.to_be_bytes();
        put("dns.resp.ext_rcode", hex(&[high]));
        put("dns.resp.edns0_version", hex(&[version]));
        put("dns.resp.z", hex(&z));
        if let Some(edns) = edns(seen) {
            for (code, payload) in edns.options {
                put("dns.opt.code", hex(&code.to_be_bytes()));
                put("dns.opt.len", hex(&(payload.len() as u16).to_be_bytes()));
            }
        }
        return;
    }
    put("dns.resp.class", hex(&seen.class.to_be_bytes()));
    put("dns.resp.ttl", hex(&seen.ttl.to_be_bytes()));
    if seen.length > 0 && postern::wire::rdata::is_well_formed(seen.rtype, &seen.rdata) {
        data(seen.rtype, &seen.rdata, put);
    }
}

fn edns(seen: &Seen) -> Option<Edns> {
    // Through the public reader: a message of the OPT alone.
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41];
    bytes.extend(seen.class.to_be_bytes());
    bytes.extend(seen.ttl.to_be_bytes());
    bytes.extend(seen.length.to_be_bytes());
    bytes.extend(&seen.rdata);
    Dns::read(&bytes).edns
}

/// Splits fields of these lengths off RDATA.
fn parts<'a>(mut rdata: &'a [u8], fields: &[(&'static str, usize)], put: &mut impl FnMut(&'static str, String)) -> &'a [u8] {
    for (field, length) in fields {
        if rdata.len() < *length {
            return &[];
        }
        put(field, hex(&rdata[..*length]));
        rdata = &rdata[*length..];
    }
    rdata
}

fn name_and_rest<'a>(rdata: &'a [u8], field: &'static str, put: &mut impl FnMut(&'static str, String)) -> &'a [u8] {
    put(field, name(rdata));
    &rdata[postern::wire::name::skip_uncompressed(rdata).unwrap_or(rdata.len())..]
}

fn data(rtype: Rtype, rdata: &[u8], put: &mut impl FnMut(&'static str, String)) {
    match rtype {
        Rtype::A => put("dns.a", hex(rdata)),
        Rtype::AAAA => put("dns.aaaa", hex(rdata)),
        Rtype::NS => put("dns.ns", name(rdata)),
        Rtype::CNAME => put("dns.cname", name(rdata)),
        Rtype::DNAME => put("dns.dname", name(rdata)),
        Rtype::PTR => put("dns.ptr.domain_name", name(rdata)),
        Rtype::MX => {
            let exchange = parts(rdata, &[("dns.mx.preference", 2)], put);
            put("dns.mx.mail_exchange", name(exchange));
        }
        Rtype::TXT => {
            let mut rest = rdata;
            while let Some((&length, tail)) = rest.split_first() {
                put("dns.txt", hex(&tail[..usize::from(length)]));
                rest = &tail[usize::from(length)..];
            }
        }
        Rtype::SOA => {
            let rest = name_and_rest(rdata, "dns.soa.mname", put);
            let rest = name_and_rest(rest, "dns.soa.rname", put);
            parts(
                rest,
                &[
                    ("dns.soa.serial_number", 4),
                    ("dns.soa.refresh_interval", 4),
                    ("dns.soa.retry_interval", 4),
                    ("dns.soa.expire_limit", 4),
                    ("dns.soa.minimum_ttl", 4),
                ],
                put,
            );
        }
        Rtype::SRV => {
            let target = parts(rdata, &[("dns.srv.priority", 2), ("dns.srv.weight", 2), ("dns.srv.port", 2)], put);
            put("dns.srv.target", name(target));
        }
        Rtype::DS => {
            let digest = parts(rdata, &[("dns.ds.key_id", 2), ("dns.ds.algorithm", 1), ("dns.ds.digest_type", 1)], put);
            put("dns.ds.digest", hex(digest));
        }
        Rtype::DNSKEY => {
            let key = parts(rdata, &[("dns.dnskey.flags", 2), ("dns.dnskey.protocol", 1), ("dns.dnskey.algorithm", 1)], put);
            put("dns.dnskey.public_key", hex(key));
        }
        Rtype::RRSIG => {
            let fixed = [
                ("dns.rrsig.type_covered", 2),
                ("dns.rrsig.algorithm", 1),
                ("dns.rrsig.labels", 1),
                ("dns.rrsig.original_ttl", 4),
                ("dns.rrsig.signature_expiration", 4),
                ("dns.rrsig.signature_inception", 4),
                ("dns.rrsig.key_tag", 2),
            ];
            let rest = name_and_rest(parts(rdata, &fixed, put), "dns.rrsig.signers_name", put);
            put("dns.rrsig.signature", hex(rest));
        }
        Rtype::NSEC => drop(name_and_rest(rdata, "dns.nsec.next_domain_name", put)),
        Rtype::NSEC3 => {
            let rest = parts(rdata, &[("dns.nsec3.algo", 1), ("dns.nsec3.flags", 1), ("dns.nsec3.iterations", 2)], put);
            put("dns.nsec3.salt_value", hex(&rest[1..1 + usize::from(rest[0])]));
        }
        Rtype::SVCB | Rtype::HTTPS => drop(name_and_rest(parts(rdata, &[("dns.svcb.svcpriority", 2)], put), "dns.svcb.targetname", put)),
        Rtype::CAA => {
            let rest = parts(rdata, &[("dns.caa.flags", 1)], put);
            if let Some((&length, rest)) = rest.split_first() {
                put("dns.caa.tag", hex(&rest[..usize::from(length).min(rest.len())]));
            }
        }
        _ => {}
    }
}
