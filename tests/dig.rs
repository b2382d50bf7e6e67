//! dig and kdig see what we say, over UDP and TCP: response code, flags and Extended DNS Errors for every question of the demo.

#![allow(clippy::disallowed_methods, reason = "a test owns sockets and files")]

mod daemon;

use std::process::Command;
use std::time::Instant;

use daemon::{Client, Daemon, Miniature, PATIENCE, build_list};
use postern::wire::{Flags, Message};

/// What a stub tool shows of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    rcode: String,
    flags: Vec<String>,
    ede: Vec<u16>,
    answers: usize,
}

/// RFC 8914 section 4.14. Whether a failure is fresh or remembered depends on the moment of asking.
const CACHED_ERROR: u16 = 13;

impl Seen {
    fn apart_from_the_moment(&self) -> Seen {
        Seen { ede: self.ede.iter().copied().filter(|code| *code != CACHED_ERROR).collect(), ..self.clone() }
    }
}

fn ours(message: &Message) -> Seen {
    let named = [
        ("qr", Flags::QR),
        ("aa", Flags::AA),
        ("tc", Flags::TC),
        ("rd", Flags::RD),
        ("ra", Flags::RA),
        ("ad", Flags::AD),
        ("cd", Flags::CD),
    ];
    Seen {
        rcode: message.rcode().to_string(),
        flags: named.iter().filter(|(_, bit)| message.flags.has(*bit)).map(|(name, _)| (*name).to_owned()).collect(),
        ede: message.edns.iter().flat_map(|edns| edns.extended_errors().map(|ede| ede.code).collect::<Vec<_>>()).collect(),
        answers: message.answer.len(),
    }
}

/// Between `from` and the next of the characters in `until`.
fn cut<'a>(text: &'a str, from: &str, until: &[char]) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    Some(rest[..rest.find(until).unwrap_or(rest.len())].trim())
}

fn theirs(tool: &str, text: &str) -> Seen {
    let header = |from: &str| cut(text, from, &[',', ';', '\n']).unwrap_or_else(|| panic!("{tool} shows no {from:?}:\n{text}"));
    let flags = if tool == "dig" { ";; flags: " } else { ";; Flags: " };
    let ede = text.lines().filter_map(|line| line.split_once("EDE: ")).map(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{tool}: {text}"))
    });
    Seen {
        rcode: header("status: ").to_owned(),
        flags: header(flags).split_whitespace().map(str::to_owned).collect(),
        ede: ede.collect(),
        answers: header("ANSWER: ").parse().unwrap(),
    }
}

/// What the tool prints.
fn shown(tool: &str, transport: &str, daemon: &Daemon, name: &str, rtype: &str) -> String {
    let (server, port) = (format!("@{}", daemon.dns.ip()), daemon.dns.port().to_string());
    let output = Command::new(tool)
        .args([&server, "-p", &port, name, rtype, "+edns=0", "+adflag", "+nocookie", transport])
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error} (apt: bind9-dnsutils, knot-dnsutils)"));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn dig_and_kdig_agree_with_us_on_the_names_of_the_demo() {
    let miniature = Miniature::start(5);
    let daemon = Daemon::start("dig", &miniature.settings());
    let list = build_list(&daemon.folder.0, "scam", 1, &miniature.script.blocklist_text);
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    let client = Client::new(daemon.dns);
    let (mut with_ede, mut with_ad) = (0, 0);
    for question in &miniature.script.questions {
        let (name, rtype) = (question.name.to_string(), question.rtype.to_string());
        client.ask(&name, question.rtype);
        let expected = ours(&client.ask(&name, question.rtype));
        with_ede += usize::from(!expected.ede.is_empty());
        with_ad += usize::from(expected.flags.iter().any(|flag| flag == "ad"));
        for tool in ["dig", "kdig"] {
            for transport in ["+notcp", "+tcp"] {
                let begun = Instant::now();
                loop {
                    let expected = ours(&client.ask(&name, question.rtype));
                    let text = shown(tool, transport, &daemon, &name, &rtype);
                    let seen = theirs(tool, &text);
                    if seen == expected {
                        break;
                    }
                    // A failure that was forgotten between the two questions is remembered again now: once more, both see the same.
                    let moment = seen.apart_from_the_moment() == expected.apart_from_the_moment();
                    assert!(moment && begun.elapsed() < PATIENCE, "{tool} {transport} {name} {rtype}: {expected:?}, not\n{text}");
                }
            }
        }
    }
    assert!(with_ede > 3 && with_ad > 3, "the demo shows {with_ede} errors and {with_ad} proven answers");
}
