//! Whole messages: what is read, written and read again is the same.
//!
//! But for the case of names in RDATA: compression points at an earlier name whatever its case, and only in types whose canonical form
//! is lower case (RFC 4034 section 6.2), so that signatures hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::encode::Section;
use postern::wire::{CLASS_IN, Encoder, Message, Record, Rrset, rdata};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let sections =
        [(Section::Answer, &message.answer), (Section::Authority, &message.authority), (Section::Additional, &message.additional)];
    // Every RRset's records come from the section, and none of its records is in two sets.
    for (_, records) in &sections {
        let sets = Rrset::group(records);
        let grouped: usize = sets.iter().map(|set| set.rdatas.len() + set.sigs.len()).sum();
        assert!(grouped <= records.len());
        assert!(sets.iter().all(|set| !set.rdatas.is_empty()));
    }
    // The encoder writes class IN only.
    if sections.iter().any(|(_, records)| records.iter().any(|record| record.class != CLASS_IN)) {
        return;
    }
    let mut encoder = Encoder::new(message.id, message.flags, message.question.as_ref());
    for (section, records) in sections {
        encoder.section(section);
        for record in records {
            encoder.record(&record.owner, record.rtype, record.ttl, &record.rdata);
        }
    }
    let encoded = encoder.finish();
    if encoded.bytes.len() > usize::from(u16::MAX) {
        return;
    }
    let again = Message::parse(&encoded.bytes).expect("what we write is a message");
    let canonical = |message: Message| {
        let section = |records: Vec<Record>| -> Vec<Record> {
            records.into_iter().map(|record| Record { rdata: rdata::canonical(record.rtype, &record.rdata).into(), ..record }).collect()
        };
        Message {
            answer: section(message.answer),
            authority: section(message.authority),
            additional: section(message.additional),
            edns: None,
            ..message
        }
    };
    assert_eq!(canonical(again), canonical(message));
});
