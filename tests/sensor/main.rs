//! The sensor against tshark, and against a network of its own.

#![allow(clippy::disallowed_methods, reason = "tests read and write capture files")]

mod counted;
mod fields;
mod live;
mod packets;
mod tshark;

use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use packets::{Capture, Dice};
use postern::sensor::replay::Replay;
use postern::sensor::{Dissector, Dns, Limits, Observation, Report, Sensor, Transaction, What};
use tshark::Told;

/// DNS, and mDNS as tshark reads it.
const PORTS: [u16; 2] = [53, 5353];

fn limits() -> Limits {
    Limits { ports: PORTS.into(), ..Limits::default() }
}

fn frames(file: &Path, mut take: impl FnMut(Duration, postern::sensor::LinkType, &[u8])) {
    let mut replay = Replay::open(BufReader::new(File::open(file).unwrap())).unwrap();
    while let Some(frame) = replay.next_frame().unwrap() {
        take(frame.at, frame.link, frame.bytes);
    }
}

fn messages(file: &Path) -> Vec<(Observation, Box<Dns>)> {
    let mut dissector = Dissector::new(limits());
    let mut out = Vec::new();
    let mut keep = |observation: Observation| {
        if let What::Message(dns) = &observation.what {
            let dns = dns.clone();
            out.push((observation, dns));
        }
    };
    let mut last = Duration::ZERO;
    frames(file, |at, link, frame| {
        last = at;
        dissector.frame(at, link, frame, &mut keep);
    });
    dissector.finish(last, &mut keep);
    out
}

fn transactions(file: &Path) -> Vec<Transaction> {
    let mut sensor = Sensor::new(limits(), None);
    let mut out = Vec::new();
    let mut keep = |report| {
        if let Report::Transaction(transaction) = report {
            out.push(transaction);
        }
    };
    frames(file, |at, link, frame| sensor.frame(at, link, frame, &mut keep));
    sensor.finish(Duration::ZERO, &mut keep);
    out
}

/// Every difference between what tshark says of a capture and what we say, and how many messages were compared.
fn differences(file: &Path) -> (Vec<String>, usize) {
    let (told, ours) = (tshark::messages(file), messages(file));
    let mut wrong = Vec::new();
    if told.len() != ours.len() {
        wrong.push(format!("tshark sees {} messages, we see {}", told.len(), ours.len()));
    }
    for (told, (observation, dns)) in told.iter().zip(&ours) {
        for difference in difference(told, observation, dns) {
            wrong.push(format!("frame {}: {difference}", told.frame));
        }
    }
    let wrong = wrong.into_iter().map(|line| format!("{}: {line}", file.file_name().unwrap().display())).collect();
    (wrong, told.len())
}

fn difference(told: &Told, observation: &Observation, dns: &Dns) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, theirs: String, ours: String| {
        if theirs != ours {
            wrong.push(format!("{what}: tshark {theirs:?}, ours {ours:?}"));
        }
    };
    same("time", told.time.clone(), format!("{}.{:09}", observation.at.as_secs(), observation.at.subsec_nanos()));
    same("source", told.source.clone(), observation.flow.source.to_string());
    same("destination", told.destination.clone(), observation.flow.destination.to_string());
    same("malformed", told.malformed.to_string(), dns.flaw.is_some().to_string());
    let ours = fields::fields(dns, told.multicast);
    for field in fields::COMPARED {
        let mut theirs = told.fields.get(*field).cloned().unwrap_or_default();
        if *field == "dns.resp.name" {
            // Owners are folded to lower case by the reader; questions are not.
            theirs.iter_mut().for_each(|name| *name = name.to_ascii_lowercase().replace("<root>", "<Root>"));
        }
        let mut ours = ours.get(field).cloned().unwrap_or_default();
        if told.malformed {
            // tshark stops at what is wrong, perhaps in the middle of an entry; we read on behind it, and keep whole entries only.
            let common = ours.len().min(theirs.len());
            ours.truncate(common);
            theirs.truncate(common);
        }
        if theirs != ours {
            let at = theirs.iter().zip(&ours).position(|(a, b)| a != b).unwrap_or(theirs.len().min(ours.len()));
            same(
                &format!("{field}[{at}] of {}/{}", theirs.len(), ours.len()),
                format!("{:?}", theirs.get(at)),
                format!("{:?}", ours.get(at)),
            );
        }
    }
    wrong
}

fn zeek() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pcap/zeek");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap"))
        .collect();
    files.sort();
    files
}

/// Where we say more than tshark, and why we are right.
const KNOWN: &[(&str, u32, &str)] = &[
    // RDLENGTH cuts the record behind its priority (RFC 9460 section 2.2): tshark reads a target name past the end of it.
    ("dns-svcb-rdlength-mismatch.pcap", 1, "malformed: tshark \"false\", ours \"true\""),
    ("dns-svcb-rdlength-mismatch.pcap", 1, "dns.svcb.svcpriority[0] of 1/0: tshark \"Some(\\\"0001\\\")\", ours \"None\""),
    ("dns-svcb-rdlength-mismatch.pcap", 1, "dns.svcb.targetname[0] of 1/0: tshark \"Some(\\\"<Root>\\\")\", ours \"None\""),
];

#[test]
fn every_message_of_real_captures_reads_as_tshark_reads_it() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for file in zeek() {
        let (differences, count) = differences(&file);
        wrong.extend(differences);
        compared += count;
    }
    for (file, frame, difference) in KNOWN {
        let known = format!("{file}: frame {frame}: {difference}");
        let at = wrong.iter().position(|line| *line == known);
        wrong.remove(at.unwrap_or_else(|| panic!("no longer so: {known}")));
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 170, "{compared} messages");
}

/// Round-trip times in nanoseconds, sorted: tshark's, and ours.
fn round_trips(file: &Path) -> (Vec<u128>, Vec<u128>) {
    let nanos = |text: &String| {
        let (seconds, fraction) = text.split_once('.').unwrap();
        seconds.parse::<u128>().unwrap() * 1_000_000_000 + fraction.parse::<u128>().unwrap()
    };
    let mut told: Vec<u128> =
        tshark::messages(file).iter().filter_map(|told| told.fields.get("dns.time")).map(|time| nanos(&time[0])).collect();
    // Of malformed messages tshark says no time.
    let mut ours: Vec<u128> = transactions(file)
        .iter()
        .filter(|transaction| transaction.flaw().is_none())
        .filter_map(|transaction| transaction.rtt)
        .map(|rtt| rtt.as_nanos())
        .collect();
    told.sort_unstable();
    ours.sort_unstable();
    (told, ours)
}

#[test]
fn queries_and_responses_of_real_captures_are_joined_as_tshark_joins_them() {
    let mut joined = 0;
    // mDNS has no ID to join by (RFC 6762 section 18.1); tshark guesses.
    for file in zeek().into_iter().filter(|file| !file.ends_with("mdns.pcap")) {
        let (told, ours) = round_trips(&file);
        assert_eq!(told, ours, "{}", file.display());
        joined += ours.len();
    }
    assert!(joined > 40, "{joined} joined");
}

fn ends(six: bool, port: u16) -> (SocketAddr, SocketAddr) {
    let (client, server): (IpAddr, IpAddr) = if six {
        ("2001:db8::7".parse().unwrap(), "2001:db8::53".parse().unwrap())
    } else {
        ("192.0.2.7".parse().unwrap(), "192.0.2.53".parse().unwrap())
    };
    ((client, port).into(), (server, 53).into())
}

/// Exchanges over UDP, whole and in fragments, and over TCP in segments of any size; every packet once, in an order of the wire's choice.
fn generated(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for port in 20_000..20_120 {
        let six = dice.roll(2) == 0;
        let (client, server) = ends(six, port);
        let (query, response) = {
            let records = dice.roll(8);
            packets::exchange(dice, records)
        };
        let size = [96, 512, 1480][dice.roll(3)];
        for (from, to, message) in [(client, server, &query), (server, client, &response)] {
            let mut packets = packets::packets(from.ip(), to.ip(), 17, port, &packets::udp(from, to, message), size);
            for last in (1..packets.len()).rev() {
                packets.swap(last, dice.roll(last + 1));
            }
            out.extend(packets);
        }
    }
    for port in 30_000..30_040 {
        out.extend(connection(dice, port));
    }
    out
}

/// A query and its response.
type Exchange = (Vec<u8>, Vec<u8>);

/// A connection with several exchanges: segments cut anywhere, repeated, out of order, the sequence number wrapping.
fn connection(dice: &mut Dice, port: u16) -> Vec<Vec<u8>> {
    let (client, server) = ends(dice.roll(2) == 0, port);
    let exchanges: Vec<Exchange> = (0..1 + dice.roll(4)).map(|_| packets::exchange(dice, 4)).collect();
    let stream = |pick: fn(&Exchange) -> &Vec<u8>| -> Vec<u8> {
        exchanges
            .iter()
            .flat_map(|exchange| {
                let message = pick(exchange);
                [&(message.len() as u16).to_be_bytes()[..], message].concat()
            })
            .collect()
    };
    let (start, answer) = (u32::MAX - 40, dice.roll(1 << 31) as u32);
    let mut segments = vec![
        (client, server, packets::tcp(client, server, start, 0, packets::SYN, &[])),
        (server, client, packets::tcp(server, client, answer, start.wrapping_add(1), packets::SYN | packets::ACK, &[])),
    ];
    for (from, to, first, other, bytes) in
        [(client, server, start, answer, stream(|e| &e.0)), (server, client, answer, start, stream(|e| &e.1))]
    {
        let mut cut = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + 1 + dice.roll(300)).min(bytes.len());
            cut.push(packets::tcp(from, to, first.wrapping_add(1 + at as u32), other.wrapping_add(1), packets::ACK, &bytes[at..end]));
            at = end;
        }
        // Neighbours change places; one is sent twice.
        for index in 1..cut.len() {
            if dice.roll(3) == 0 {
                cut.swap(index - 1, index);
            }
        }
        cut.insert(dice.roll(cut.len()), cut[dice.roll(cut.len())].clone());
        segments.extend(cut.into_iter().map(|segment| (from, to, segment)));
    }
    segments.push((
        client,
        server,
        packets::tcp(client, server, start.wrapping_add(1 + stream(|e| &e.0).len() as u32), 0, packets::FIN | packets::ACK, &[]),
    ));
    segments.into_iter().flat_map(|(from, to, segment)| packets::packets(from.ip(), to.ip(), 6, port, &segment, 60_000)).collect()
}

#[test]
fn generated_captures_read_as_tshark_reads_them_over_every_link() {
    let packets = generated(&mut Dice(0x9e37_79b9_7f4a_7c15));
    let framed = |frame: &dyn Fn(&[u8]) -> Vec<u8>| packets.iter().map(|packet| frame(packet)).collect::<Vec<_>>();
    for capture in [
        Capture::pcap("ethernet.pcap", 1, &framed(&|packet| packets::ethernet(&[], packet))),
        Capture::pcap("vlan.pcap", 1, &framed(&|packet| packets::ethernet(&[7], packet))),
        Capture::pcapng("qinq.pcapng", 1, &framed(&|packet| packets::ethernet(&[7, 9], packet))),
        Capture::pcap("cooked.pcap", 113, &framed(&|packet| packets::cooked(1, packet))),
        Capture::pcapng("cooked2.pcapng", 276, &framed(&|packet| packets::cooked(2, packet))),
        Capture::pcap("raw.pcap", 101, &packets),
    ] {
        let (wrong, compared) = differences(&capture.0);
        assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
        assert!(compared > 300, "{compared} messages");
        let (told, ours) = round_trips(&capture.0);
        assert_eq!(told, ours);
    }
}

#[test]
fn messages_cut_short_are_malformed_for_both() {
    let mut dice = Dice(7);
    let (client, server) = ends(false, 4000);
    let mut frames = Vec::new();
    for _ in 0..12 {
        let (_, response) = packets::exchange(&mut dice, 2);
        for end in 12..=response.len() {
            let datagram = packets::udp(server, client, &response[..end]);
            frames.extend(
                packets::packets(server.ip(), client.ip(), 17, 1, &datagram, 60_000).iter().map(|packet| packets::ethernet(&[], packet)),
            );
        }
    }
    let capture = Capture::pcap("cut.pcap", 1, &frames);
    let (wrong, compared) = differences(&capture.0);
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
    assert_eq!(compared, frames.len());
}
