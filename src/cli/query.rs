//! `postern query NAME [TYPE]`: one question to a resolver, shown like dig does, with the reason in words.
//!
//! A client of its own over UDP and TCP: it shows what a client on the network gets. `why` asks the daemon's rooms instead.

use std::io::{Read as _, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::args::QueryArguments;
use super::{Failure, daemon, render};
use crate::control::api::{Reply, Request};
use crate::control::client;
use crate::wire::{Ede, Edns, Encoder, Flags, Message, Name, Question, Record, Rtype};

/// UDP attempts: the first may be lost.
const ATTEMPTS: u32 = 3;
/// Wait for each; a resolver needs a few seconds where a name server is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// One exchange as it went.
pub(super) struct Exchange {
    pub(super) message: Message,
    pub(super) octets: usize,
    pub(super) took: Duration,
    pub(super) tcp: bool,
}

/// What to ask.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: Name,
    pub(super) rtype: Rtype,
    pub(super) dnssec_ok: bool,
    pub(super) checking_disabled: bool,
    pub(super) tcp: bool,
}

pub(super) fn run(socket: Option<&Path>, arguments: QueryArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let name: Name = arguments.name.parse().map_err(|e| Failure::Usage(format!("{:?} is no domain name: {e}", arguments.name)))?;
    let rtype: Rtype = arguments.rtype.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
    let server = arguments.server.map_or_else(|| own_daemon(socket), |server| server.0);
    let ask = Ask { name, rtype, dnssec_ok: arguments.dnssec, checking_disabled: arguments.cd, tcp: arguments.tcp };
    let exchange = ask_server(server, &ask)?;
    if arguments.json {
        return render::json(out, &as_json(&ask, server, &exchange));
    }
    show(&ask, server, &exchange, out)
}

/// Where the daemon of this machine answers, as it says itself; the usual place where it says nothing.
fn own_daemon(socket: Option<&Path>) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], 53));
    let Ok(Reply::Status(status)) = client::ask(&daemon::socket(socket), &Request::Status) else { return usual };
    let Some(first) = status.listening.first() else { return usual };
    match first.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], first.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, first.port())),
        _ => *first,
    }
}

/// Sends the question, over TCP where the answer over UDP is truncated.
pub(super) fn ask_server(server: SocketAddr, ask: &Ask) -> anyhow::Result<Exchange> {
    let (id, query) = encode(ask)?;
    let start = Instant::now();
    let reply = if ask.tcp { None } else { Some(over_udp(server, id, &query)?) };
    let (bytes, tcp) = match reply {
        Some(bytes) if !Flags(u16::from_be_bytes([bytes[2], bytes[3]])).has(Flags::TC) => (bytes, false),
        _ => (over_tcp(server, &query)?, true),
    };
    let took = start.elapsed();
    let message = Message::parse(&bytes).with_context(|| format!("{server} sent no DNS message"))?;
    let matches = message.id == id && message.flags.has(Flags::QR) && message.question.as_ref().is_none_or(|q| q.name == ask.name);
    if !matches {
        bail!("{server} answered another question");
    }
    Ok(Exchange { message, octets: bytes.len(), took, tcp })
}

fn encode(ask: &Ask) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?;
    let id = u16::from_be_bytes(random);
    // AD in a query asks for AD in the answer without the signatures (RFC 6840 section 5.7).
    let flags = Flags(Flags::RD | Flags::AD).with(Flags::CD, ask.checking_disabled);
    let mut query = Encoder::new(id, flags, Some(&Question::new(ask.name.clone(), ask.rtype))).finish().bytes;
    Edns::new(ask.dnssec_ok).write(&mut query);
    query[11] = 1;
    Ok((id, query))
}

fn over_udp(server: SocketAddr, id: u16, query: &[u8]) -> anyhow::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 65_535];
    for _ in 0..ATTEMPTS {
        socket.send(query).with_context(|| format!("{server} cannot be reached"))?;
        match socket.recv(&mut buffer) {
            Ok(length) if length >= 12 && buffer[..2] == id.to_be_bytes() => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).with_context(|| format!("no resolver answers at {server}")),
        }
    }
    bail!("no answer from {server} within {} seconds", (PATIENCE * ATTEMPTS).as_secs())
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("no resolver answers at {server} over TCP"))?;
    stream.set_read_timeout(Some(PATIENCE * ATTEMPTS))?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).with_context(|| format!("{server} closed the connection"))?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).with_context(|| format!("{server} closed the connection"))?;
    Ok(bytes)
}

/// What the answer says of its security and of blocking, in words.
pub(super) fn verdict(message: &Message) -> Vec<String> {
    let errors: Vec<Ede> = message.edns.iter().flat_map(Edns::extended_errors).collect();
    let mut words = Vec::new();
    for error in &errors {
        let kind = match error.code {
            4 | 15..=17 => "blocked",
            6..=12 | 25 | 27 => "DNSSEC",
            18 => "refused",
            _ => "note",
        };
        words.push(format!("{kind}: {} (EDE {})", error_words(error), error.code));
    }
    if message.flags.has(Flags::AD) {
        words.push("Secure: a chain of signatures leads from the trust anchor to this answer".into());
    } else if errors.is_empty() {
        words.push("not proven by DNSSEC".into());
    }
    words
}

/// The text of an extended error, or its registered meaning.
pub(super) fn error_words(error: &Ede) -> String {
    let clean: String = error.text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if clean.is_empty() { Ede::meaning(error.code).to_owned() } else { clean }
}

fn flag_words(flags: Flags) -> String {
    let names = [
        (Flags::QR, "qr"),
        (Flags::AA, "aa"),
        (Flags::TC, "tc"),
        (Flags::RD, "rd"),
        (Flags::RA, "ra"),
        (Flags::AD, "ad"),
        (Flags::CD, "cd"),
    ];
    names.iter().filter(|(bit, _)| flags.has(*bit)).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn show(ask: &Ask, server: SocketAddr, exchange: &Exchange, out: &mut dyn Write) -> Result<(), Failure> {
    let message = &exchange.message;
    writeln!(out, ";; {} {}: {}, flags: {}", ask.name, ask.rtype, message.rcode(), flag_words(message.flags))?;
    for words in verdict(message) {
        writeln!(out, ";; {words}")?;
    }
    for (title, records) in [("ANSWER", &message.answer), ("AUTHORITY", &message.authority), ("ADDITIONAL", &message.additional)] {
        if !records.is_empty() {
            writeln!(out, "\n;; {title}")?;
        }
        for record in records {
            let data = render::rdata(record.rtype, &record.rdata);
            writeln!(out, "{}\t{}\tIN\t{}\t{data}", record.owner, record.ttl, record.rtype)?;
        }
    }
    let via = if exchange.tcp { "TCP" } else { "UDP" };
    Ok(writeln!(out, "\n;; {} octets from {server} over {via} in {}", exchange.octets, render::duration(exchange.took))?)
}

fn as_json(ask: &Ask, server: SocketAddr, exchange: &Exchange) -> serde_json::Value {
    let section = |records: &[Record]| {
        let rows = records.iter().map(|r| {
            json!({
                "owner": r.owner.to_string(), "ttl": r.ttl, "type": r.rtype.to_string(), "data": render::rdata(r.rtype, &r.rdata),
            })
        });
        rows.collect::<Vec<_>>()
    };
    let message = &exchange.message;
    let errors = message.edns.iter().flat_map(Edns::extended_errors);
    json!({
        "name": ask.name.to_string(), "type": ask.rtype.to_string(), "server": server, "rcode": message.rcode().to_string(),
        "flags": flag_words(message.flags).split(' ').collect::<Vec<_>>(),
        "secure": message.flags.has(Flags::AD),
        "extended_errors": errors.map(|e| json!({"code": e.code, "meaning": Ede::meaning(e.code), "text": e.text})).collect::<Vec<_>>(),
        "answer": section(&message.answer), "authority": section(&message.authority), "additional": section(&message.additional),
        "octets": exchange.octets, "tcp": exchange.tcp, "microseconds": u64::try_from(exchange.took.as_micros()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resolver of one answer, over UDP truncated and over TCP whole.
    fn serve(answer: impl Fn(&Message, bool) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let (udp, tcp) = loop {
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            udp.send_to(&answer(&Message::parse(&buffer[..length]).unwrap(), false), from).unwrap();
            let (mut stream, _) = tcp.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let reply = answer(&Message::parse(&query).unwrap(), true);
            stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
        });
        address
    }

    #[test]
    fn a_truncated_answer_is_asked_again_over_tcp_and_shown_with_its_reason() {
        let server = serve(|query, tcp| {
            let flags = Flags(Flags::QR | Flags::RD | Flags::RA | Flags::AD).with(Flags::TC, !tcp);
            let question = query.question.clone().unwrap();
            let mut encoder = Encoder::new(query.id, flags, Some(&question));
            if tcp {
                encoder.record(&question.name, Rtype::A, 60, &[192, 0, 2, 1]);
            }
            let mut bytes = encoder.finish().bytes;
            let mut edns = Edns::new(false);
            edns.options.push(Ede::new(3, "").to_option());
            edns.write(&mut bytes);
            bytes[11] = 1;
            bytes
        });
        let ask =
            Ask { name: "www.post.example".parse().unwrap(), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false, tcp: false };
        let exchange = ask_server(server, &ask).unwrap();
        assert!(exchange.tcp);
        let mut shown = Vec::new();
        show(&ask, server, &exchange, &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.starts_with(";; www.post.example. A: NOERROR, flags: qr rd ra ad\n;; note: Stale Answer (EDE 3)\n;; Secure: "),
            "{shown}"
        );
        assert!(shown.contains("www.post.example.\t60\tIN\tA\t192.0.2.1\n"), "{shown}");
        assert_eq!(as_json(&ask, server, &exchange)["answer"][0]["data"], "192.0.2.1");
    }
}
