//! What tshark says about the DNS messages of a capture: its PDML, flattened.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One message as tshark read it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told {
    pub(crate) frame: u32,
    pub(crate) time: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) multicast: bool,
    /// Values of each field in their order: hexadecimal octets, or text where `TEXT` says so.
    pub(crate) fields: BTreeMap<String, Vec<String>>,
    pub(crate) malformed: bool,
}

/// Fields that are compared by what tshark shows: names, whose octets may be compressed, and times it has computed.
const TEXT: &[&str] = &[
    "dns.qry.name",
    "dns.resp.name",
    "dns.ns",
    "dns.cname",
    "dns.ptr.domain_name",
    "dns.mx.mail_exchange",
    "dns.soa.mname",
    "dns.soa.rname",
    "dns.rrsig.signers_name",
    "dns.nsec.next_domain_name",
    "dns.svcb.targetname",
    "dns.srv.target",
    "dns.tsig.algorithm_name",
    "dns.time",
    "dns.dname",
];

/// Runs tshark over a capture file and reads its messages.
pub(crate) fn messages(file: &Path) -> Vec<Told> {
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        // Out of order is what the sensor reads; ICMP errors quote packets that are not on the wire.
        .args(["-o", "tcp.reassemble_out_of_order:TRUE", "-Y", "(dns || mdns) && !icmp && !icmpv6", "-T", "pdml"])
        .output()
        .expect("tshark is in tests/packages.txt");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read(&String::from_utf8_lossy(&output.stdout))
}

fn read(pdml: &str) -> Vec<Told> {
    let mut out: Vec<Told> = Vec::new();
    // Protocols of a packet stand at the second level; deeper ones are inside a DNS message (Kerberos in TKEY).
    let (mut packet, mut ports) = (Told::default(), (String::new(), String::new()));
    let mut inside = false;
    // Text with a line feed in it runs over several lines.
    for indented in pdml.split_inclusive(">\n") {
        let line = indented.trim_start();
        if line.starts_with("<packet>") {
            (packet, ports) = (Told::default(), Default::default());
        } else if let Some(name) = indented.strip_prefix("  <proto ").and_then(|rest| attribute(rest, "name")) {
            inside = name == "dns" || name == "mdns";
            if inside {
                let end = |address: &str, port: &str| {
                    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
                };
                let ends = (end(&packet.source, &ports.0), end(&packet.destination, &ports.1));
                out.push(Told {
                    source: ends.0,
                    destination: ends.1,
                    multicast: name == "mdns",
                    fields: BTreeMap::new(),
                    ..packet.clone()
                });
            } else if name == "_ws.malformed"
                && let Some(last) = out.last_mut().filter(|last| last.frame == packet.frame)
            {
                last.malformed = true;
            }
        } else if let Some(rest) = line.strip_prefix("<field ") {
            let name = attribute(rest, "name").unwrap_or_default();
            let show = || attribute(rest, "show").unwrap_or_default();
            match name.as_str() {
                "frame.number" => packet.frame = show().parse().unwrap(),
                "frame.time_epoch" => packet.time = show(),
                "ip.src" | "ipv6.src" => packet.source = show(),
                "ip.dst" | "ipv6.dst" => packet.destination = show(),
                "udp.srcport" | "tcp.srcport" => ports.0 = show(),
                "udp.dstport" | "tcp.dstport" => ports.1 = show(),
                "_ws.malformed" => {
                    if let Some(last) = out.last_mut().filter(|last| inside && last.frame == packet.frame) {
                        last.malformed = true;
                    }
                }
                // The owner of an SRV has fields of its own, one each for the parts of `_service._proto.name`.
                "dns.srv.service" if inside => out.last_mut().unwrap().fields.entry("dns.resp.name".to_owned()).or_default().push(show()),
                "dns.srv.proto" | "dns.srv.name" if inside => {
                    let owner = out.last_mut().unwrap().fields.get_mut("dns.resp.name").and_then(|names| names.last_mut()).unwrap();
                    *owner = format!("{owner}.{}", show());
                }
                _ if inside && name.starts_with("dns.") => {
                    // Types in bit maps have the name of a record's type, and one octet.
                    if name == "dns.resp.type" && attribute(rest, "size").as_deref() != Some("2") {
                        continue;
                    }
                    let value = if TEXT.contains(&name.as_str()) {
                        show()
                    } else {
                        attribute(rest, "unmaskedvalue").or_else(|| attribute(rest, "value")).unwrap_or_default()
                    };
                    out.last_mut().unwrap().fields.entry(name).or_default().push(value);
                }
                _ => {}
            }
        }
    }
    out
}

/// The value of an XML attribute.
fn attribute(rest: &str, name: &str) -> Option<String> {
    let start =
        if let Some(stripped) = rest.strip_prefix(&format!("{name}=\"")) { stripped } else { rest.split_once(&format!(" {name}=\""))?.1 };
    let value = &start[..start.find('"')?];
    let mut text = value.to_owned();
    for (escape, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&apos;", "'"), ("&amp;", "&")] {
        text = text.replace(escape, character);
    }
    Some(text)
}
