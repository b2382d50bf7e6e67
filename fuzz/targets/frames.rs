//! The sensor over frames of any link: time, link type, length and octets of each, one after the other.
//!
//! Invariants: no panic; what is held stays within the limits; every report is one line of JSON; no message is lost between the
//! counters and the transactions; what the strict reader takes has no flaw.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern::guard::acl::Acl;
use postern::sensor::bypass::{Detector, Endpoints, Settings};
use postern::sensor::{Dissector, Ending, Limits, LinkType, Report, Sensor, What};
use postern::wire::{Message, Record, Rtype};

const LINKS: [u32; 8] = [1, 101, 113, 276, 0, 10, 12, 228];

fn limits() -> Limits {
    Limits { fragmented: 8, fragment_bytes: 100_000, streams: 8, stream_bytes: 100_000, ..Limits::default() }
}

fuzz_target!(|bytes: &[u8]| {
    let settings = Settings { hosts: Acl::new(["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]), ..Settings::default() };
    let mut sensor = Sensor::new(limits(), Some(Detector::new(settings, Endpoints::shipped(), Box::new(|name| Some(name.to_string())))));
    let mut dissector = Dissector::new(limits());
    let (mut ended, mut repeats) = (0, 0);
    let mut tell = |report: Report| {
        let line = report.line();
        assert!(!line.contains('\n'));
        serde_json::from_str::<serde_json::Value>(&line).expect("a line is JSON");
        if let Report::Transaction(transaction) = report {
            ended += 1 + u64::from(transaction.ending() == Ending::Answered);
            repeats += u64::from(transaction.repeats);
        }
    };
    let mut now = Duration::from_secs(1_700_000_000);
    let mut rest = bytes;
    while let Some(([seconds, link, high, low], tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        // Time passes, and now and then stands still.
        now += Duration::from_millis(u64::from(*seconds) * 100);
        let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
        sensor.frame(now, link, frame, &mut tell);
        dissector.frame(now, link, frame, &mut |observation| {
            let What::Message(dns) = observation.what else { return };
            assert!(dns.questions.len() <= 16);
        });
        assert!(sensor.tally().held_bytes <= 200_000);
        // The same octets as a message of their own. The form of service parameters is read here only.
        let opaque = |record: &Record| matches!(record.rtype, Rtype::SVCB | Rtype::HTTPS);
        if Message::parse(frame).is_ok_and(|m| ![m.answer, m.authority, m.additional].concat().iter().any(opaque)) {
            assert_eq!(postern::sensor::Dns::read(frame).flaw, None);
        }
    }
    sensor.finish(now, &mut tell);
    let tally = sensor.tally();
    assert_eq!(tally.queries + tally.responses, ended + repeats);
    assert!(tally.held_bytes <= limits().fragment_bytes, "nothing is held at the end but fragments");
});
