//! The fast path's view of a question, beside the reader of whole messages, and every answer that is made from it without resolving.
//!
//! Invariants: no panic; both readers see the same question; an error is never longer than its query; every answer is a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::respond;
use postern::wire::Message;
use postern::wire::query::{NAME_BUFFER, Parsed, Query};

fuzz_target!(|packet: &[u8]| {
    let mut buffer = NAME_BUFFER;
    let mut out = Vec::new();
    match Query::parse(packet, &mut buffer) {
        Parsed::Unanswerable(_) => {}
        Parsed::Fault(fault) => {
            respond::fault(&mut out, packet, fault.rcode());
            assert!(out.len() <= packet.len());
            Message::parse(&out).expect("a fault is answered by a message");
        }
        Parsed::Query(query) => {
            assert_eq!(query.question()[..query.name().len()].to_ascii_lowercase(), query.name());
            if let Ok(message) = Message::parse(packet) {
                let question = message.question.expect("a query has a question");
                assert_eq!((question.name.wire(), question.rtype), (query.name(), query.rtype));
                assert_eq!((message.id, message.flags), (query.id, query.flags));
                assert_eq!(message.edns.is_some(), query.opt.is_some());
                assert_eq!(message.edns.is_some_and(|edns| edns.dnssec_ok), query.dnssec_ok());
            }
            let (rcode, ede) = query.unusual.and_then(|unusual| unusual.error()).unwrap_or((postern::wire::Rcode::REFUSED, Some(18)));
            respond::error(&mut out, &query, rcode, ede);
            let reply = Message::parse(&out).expect("an error is a message");
            assert_eq!((reply.id, reply.rcode()), (query.id, rcode));
            assert!(out.len() <= packet.len(), "{} octets asked, {} answered", packet.len(), out.len());
        }
    }
});
