use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::validate::Bogus;
use crate::wire::query::NAME_BUFFER;
use crate::wire::{Edns, Message, Name, Parsed, Rrset};

const UDP: Terms = Terms { limit: 1232, cookie: None, keepalive: None };

fn query(name: &str, rtype: Rtype, flags: u16, edns: Option<Edns>) -> Vec<u8> {
    let mut bytes = Encoder::new(0x4242, Flags(flags), Some(&Question::new(name.parse().unwrap(), rtype))).finish().bytes;
    if let Some(edns) = edns {
        edns.write(&mut bytes);
        bytes[11] = 1;
    }
    bytes
}

/// What `write` makes of a query, raw and read back.
fn reply(packet: &[u8], write: impl FnOnce(&mut Vec<u8>, &Query<'_>)) -> (Vec<u8>, Message) {
    let mut buffer = NAME_BUFFER;
    let Parsed::Query(query) = Query::parse(packet, &mut buffer) else { panic!("a question") };
    let mut out = Vec::new();
    write(&mut out, &query);
    let message = Message::parse(&out).unwrap();
    (out, message)
}

fn secure_outcome(addresses: u8) -> Outcome {
    let owner: Name = "www.post.example".parse().unwrap();
    let mut set = Rrset::new(owner.clone(), Rtype::A, 300, (0..addresses).map(|i| Box::from([192, 0, 2, i])).collect());
    set.sigs.push([&[0, 1, 13, 3][..], &[0; 14], &[0], &[7; 64]].concat().into());
    let nsec = Rrset::new(owner, Rtype::NSEC, 300, vec![[&b"\x01z\0"[..], &[0, 1, 0x40]].concat().into()]);
    Outcome {
        rcode: Rcode::NOERROR,
        answer: vec![Arc::new(set)],
        authority: vec![Arc::new(nsec)],
        status: Status::Secure,
        ede: vec![],
        ttl: 300,
        stale: false,
    }
}

fn asked(packet: &[u8], outcome: &Outcome, terms: Terms) -> (Vec<u8>, Message) {
    reply(packet, |out, query| {
        let question = Question::new(Name::from_wire(query.name()).unwrap(), query.rtype);
        answer(out, query, &encode(&question, outcome, query.dnssec_ok()).body(), 0, &terms);
    })
}

/// RFC 6840 section 5.7: AD in a query asks for AD; section 5.8: a query with neither DO nor AD gets no AD. RFC 3225 section 3.
#[test]
fn ad_and_proof_go_only_to_those_who_ask() {
    let outcome = secure_outcome(1);
    let (_, plain) = asked(&query("www.post.example", Rtype::A, Flags::RD, None), &outcome, UDP);
    assert!(!plain.flags.has(Flags::AD) && plain.edns.is_none());
    assert_eq!((plain.answer.len(), plain.authority.len()), (1, 0));
    assert!(plain.flags.has(Flags::RA) && plain.flags.has(Flags::RD) && !plain.flags.has(Flags::AA));
    let (_, ad) = asked(&query("www.post.example", Rtype::A, Flags::RD | Flags::AD, None), &outcome, UDP);
    assert!(ad.flags.has(Flags::AD));
    let (_, dnssec) = asked(&query("www.post.example", Rtype::A, Flags::RD | Flags::CD, Some(Edns::new(true))), &outcome, UDP);
    assert!(dnssec.flags.has(Flags::AD) && dnssec.flags.has(Flags::CD) && dnssec.edns.unwrap().dnssec_ok);
    assert_eq!((dnssec.answer.len(), dnssec.authority.len()), (2, 1));
    // RFC 4035 section 3.2.1: asked for by type, proof is an answer, and still no addition to one.
    assert!(asked(&query("www.post.example", Rtype::NSEC, Flags::RD, None), &outcome, UDP).1.authority.is_empty());
    let insecure = Outcome { status: Status::Indeterminate, ..outcome };
    assert!(!asked(&query("www.post.example", Rtype::A, Flags::RD, Some(Edns::new(true))), &insecure, UDP).1.flags.has(Flags::AD));
}

#[test]
fn the_answer_echoes_id_and_case() {
    let mut packet = query("www.post.example", Rtype::A, Flags::RD, None);
    packet[13..16].copy_from_slice(b"WwW");
    let (bytes, message) = asked(&packet, &secure_outcome(2), UDP);
    assert_eq!(&bytes[12..34], &packet[12..34]);
    assert_eq!((message.id, message.answer.len()), (0x4242, 2));
}

/// RFC 2181 section 9: where an RRset does not fit, TC is set and no part of it is sent.
#[test]
fn an_answer_over_the_limit_is_truncated_to_nothing() {
    let outcome = secure_outcome(40);
    let packet = query("www.post.example", Rtype::A, Flags::RD, None);
    let (bytes, message) = asked(&packet, &outcome, Terms { limit: 512, ..UDP });
    assert!(message.flags.has(Flags::TC) && message.answer.is_empty() && bytes.len() == packet.len());
    let (_, whole) = asked(&packet, &outcome, Terms { limit: MESSAGE_MAX, ..UDP });
    assert!(!whole.flags.has(Flags::TC) && whole.answer.len() == 40);
}

/// RFC 8914 section 3: the extra text is dropped rather than the answer.
#[test]
fn ede_goes_before_records_do() {
    let outcome = Outcome { ede: vec![Ede::new(3, "x".repeat(160))], ..secure_outcome(20) };
    let packet = query("www.post.example", Rtype::A, Flags::RD, Some(Edns::new(false)));
    let (long, message) = asked(&packet, &outcome, UDP);
    assert_eq!(message.edns.unwrap().extended_errors().count(), 1);
    let (_, message) = asked(&packet, &outcome, Terms { limit: long.len() - 1, ..UDP });
    assert_eq!((message.answer.len(), message.edns.unwrap().options.len()), (20, 0));
}

#[test]
fn bogus_is_servfail_with_its_reason() {
    let outcome = Outcome::servfail(Status::Bogus(Bogus::SignatureExpired), vec![Bogus::SignatureExpired.ede()]);
    let (_, message) = asked(&query("www.post.example", Rtype::A, Flags::RD, Some(Edns::new(true))), &outcome, UDP);
    assert_eq!((message.rcode(), message.flags.has(Flags::AD)), (Rcode::SERVFAIL, false));
    assert_eq!(message.edns.unwrap().extended_errors().next().unwrap().code, 7);
}

#[test]
fn cookies_and_keepalive_travel_in_the_opt() {
    let mut edns = Edns::new(false);
    edns.options.push((OPTION_KEEPALIVE, [].into()));
    let terms = Terms { limit: MESSAGE_MAX, cookie: Some([5; 24]), keepalive: Some(300) };
    let (_, message) = asked(&query("www.post.example", Rtype::A, Flags::RD, Some(edns)), &secure_outcome(1), terms);
    let edns = message.edns.unwrap();
    assert_eq!(edns.option(OPTION_COOKIE), Some(&[5; 24][..]));
    assert_eq!(edns.option(OPTION_KEEPALIVE), Some(&[1, 44][..]));
}

fn block(name: &str, rtype: Rtype, form: BlockAnswer) -> Message {
    let packet = query(name, rtype, Flags::RD | Flags::CD | Flags::AD, Some(Edns::new(true)));
    let block = Blocked { answer: form, ttl: 60, text: &["list=", "scam", ": parcel fee"] };
    reply(&packet, |out, query| blocked(out, query, &block, &UDP)).1
}

#[test]
fn a_block_is_negative_with_its_ttl_in_the_soa_and_says_why() {
    for (form, rcode) in [(BlockAnswer::Nxdomain, Rcode::NXDOMAIN), (BlockAnswer::Nodata, Rcode::NOERROR)] {
        let message = block("bad.example", Rtype::A, form);
        assert_eq!((message.rcode(), message.answer.len()), (rcode, 0));
        let soa = &message.authority[0];
        assert_eq!((soa.rtype, soa.ttl, &soa.rdata[soa.rdata.len() - 4..]), (Rtype::SOA, 60, &[0, 0, 0, 60][..]));
        assert!(!message.flags.has(Flags::AD) && message.flags.has(Flags::CD));
        assert_eq!(message.edns.unwrap().extended_errors().next().unwrap(), Ede::new(15, "list=scam: parcel fee"));
    }
}

#[test]
fn forged_addresses_answer_a_and_aaaa_only() {
    let sinkhole = BlockAnswer::Sinkhole("192.0.2.9".parse().ok(), None);
    let a = block("bad.example", Rtype::A, sinkhole);
    assert_eq!((&a.answer[0].rdata[..], a.answer[0].ttl), (&[192, 0, 2, 9][..], 60));
    assert_eq!(a.edns.unwrap().extended_errors().next().unwrap().code, 4);
    let aaaa = block("bad.example", Rtype::AAAA, BlockAnswer::Null);
    assert_eq!(&aaaa.answer[0].rdata[..], [0; 16]);
    assert_eq!(block("bad.example", Rtype::AAAA, sinkhole).authority.len(), 1);
    for form in [sinkhole, BlockAnswer::Null] {
        let https = block("bad.example", Rtype::HTTPS, form);
        assert_eq!((https.rcode(), https.answer.len(), https.authority.len()), (Rcode::NOERROR, 0, 1));
        assert_eq!(https.edns.unwrap().extended_errors().next().unwrap().code, 15);
    }
}

#[test]
fn a_header_only_error_copies_opcode_and_rd() {
    let mut out = Vec::new();
    fault(&mut out, &[1, 2, 0x29, 0x10, 0, 9, 0, 9, 0, 9, 0, 9, 1, 2, 3], Rcode::NOTIMP);
    assert_eq!(out, [1, 2, 0xa9, 0x94, 0, 0, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    /// An error must not amplify: whatever the query carries, the answer is no longer.
    #[test]
    fn no_error_is_longer_than_its_query(label in "[a-z]{1,60}", edns in any::<bool>(), extra in 0usize..40, code in 0u16..25) {
        let mut opt = Edns::new(true);
        if extra > 4 {
            opt.options.push((65001, vec![0; extra - 4].into()));
        }
        let packet = query(&label, Rtype::A, Flags::RD, edns.then_some(opt));
        for (rcode, ede) in [(Rcode::REFUSED, Some(18)), (Rcode::BADVERS, None), (Rcode::NOTIMP, Some(code))] {
            let (bytes, message) = reply(&packet, |out, query| error(out, query, rcode, ede));
            prop_assert!(bytes.len() <= packet.len());
            if edns {
                prop_assert_eq!(message.rcode(), rcode);
                prop_assert_eq!(message.edns.unwrap().options.len(), usize::from(extra > 5 && ede.is_some()));
            }
        }
    }

    /// The EXTRA-TEXT is cut, never split inside a character.
    #[test]
    fn block_texts_of_any_length_are_valid(text in "\\PC{0,200}") {
        let packet = query("bad.example", Rtype::A, Flags::RD, Some(Edns::new(false)));
        let block = Blocked { answer: BlockAnswer::Nxdomain, ttl: 60, text: &[&text, " ", &text] };
        let (_, message) = reply(&packet, |out, query| blocked(out, query, &block, &UDP));
        let ede = message.edns.unwrap().extended_errors().next().unwrap();
        prop_assert!(ede.text.len() <= EDE_TEXT_MAX && [text.clone(), " ".into(), text.clone()].concat().starts_with(&*ede.text));
    }
}
