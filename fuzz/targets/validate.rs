//! The validator against a zone owner who signs anything: every RRset of the input is given a good signature, and must neither panic
//! nor cost more than its account; and what was signed stops being Secure when an octet of it changes.
//!
//! The input is messages, each behind two octets of length: the reply to judge, then replies to whatever DS is asked for.
#![no_main]

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use postern::validate::{Anchor, Anchors, NegativeAnchors, NoReply, Reply, Settings, Source, Status, Validator, When};
use postern::wire::{Message, Name, Question, Rcode, Rrset, Rtype, rdata};
use ring::signature::{Ed25519KeyPair, KeyPair};

const NOW: u64 = 1_790_000_000;

struct Owner {
    zone: Name,
    key: Ed25519KeyPair,
    dnskey: Vec<u8>,
}

fn owner() -> &'static Owner {
    static OWNER: OnceLock<Owner> = OnceLock::new();
    OWNER.get_or_init(|| {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed is a key");
        let dnskey = [&[1, 1, 3, 15], key.public_key().as_ref()].concat();
        Owner { zone: "z.".parse().expect("a name"), key, dnskey }
    })
}

impl Owner {
    fn tag(&self) -> u16 {
        let sum: u32 = self.dnskey.iter().enumerate().map(|(i, o)| u32::from(*o) << (8 * (1 - i % 2))).sum();
        (sum + (sum >> 16)) as u16
    }

    /// Signs as RFC 4034 section 3.1.8.1 says, unless the set is not the zone's or has signatures already.
    fn sign(&self, set: &mut Rrset) {
        if !set.sigs.is_empty() || !set.owner.is_at_or_below(&self.zone) {
            return;
        }
        let labels = set.owner.label_count() - usize::from(set.owner.is_wildcard());
        let mut sig = set.rtype.0.to_be_bytes().to_vec();
        sig.extend([15, labels as u8]);
        sig.extend(3600u32.to_be_bytes());
        sig.extend((NOW as u32 + 60).to_be_bytes());
        sig.extend((NOW as u32 - 60).to_be_bytes());
        sig.extend(self.tag().to_be_bytes());
        sig.extend(self.zone.wire());
        let mut signed = sig.clone();
        let mut rdatas: Vec<Vec<u8>> = set.rdatas.iter().map(|r| rdata::canonical(set.rtype, r)).collect();
        rdatas.sort();
        rdatas.dedup();
        for rdata in rdatas {
            signed.extend(set.owner.wire());
            signed.extend(set.rtype.0.to_be_bytes());
            signed.extend([0, 1]);
            signed.extend(3600u32.to_be_bytes());
            signed.extend((rdata.len() as u16).to_be_bytes());
            signed.extend(rdata);
        }
        sig.extend(self.key.sign(&signed).as_ref());
        set.sigs.push(sig.into());
    }

    fn reply(&self, message: &Message, question: Question) -> Reply {
        let signed = |records| {
            let mut sets = Rrset::group(records);
            sets.iter_mut().for_each(|set| self.sign(set));
            sets
        };
        let rcode = if message.flags.0 & 1 == 1 { Rcode::NXDOMAIN } else { Rcode::NOERROR };
        let (answer, authority) = (signed(&message.answer), signed(&message.authority));
        Reply { question, zone: self.zone.clone(), zone_known: message.flags.0 & 2 == 2, rcode, answer, authority }
    }
}

struct Scripted {
    replies: Vec<Message>,
    asked: AtomicUsize,
}

impl Source for Scripted {
    async fn fetch(&self, question: &Question) -> Result<Reply, NoReply> {
        let owner = owner();
        if question.rtype == Rtype::DNSKEY && question.name == owner.zone {
            let mut set = Rrset::new(owner.zone.clone(), Rtype::DNSKEY, 3600, vec![owner.dnskey.as_slice().into()]);
            owner.sign(&mut set);
            let zone = owner.zone.clone();
            return Ok(Reply {
                question: question.clone(),
                zone,
                zone_known: true,
                rcode: Rcode::NOERROR,
                answer: vec![set],
                authority: vec![],
            });
        }
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(at < 200, "the walk does not end");
        self.replies.get(at).map(|m| owner.reply(m, question.clone())).ok_or(NoReply::Unreachable)
    }

    fn cuts(&self, _: &Name) -> Option<Vec<Name>> {
        None
    }
}

fn judge(validator: &Validator, reply: &Reply, replies: &[Message]) -> Status {
    let source = Scripted { replies: replies.to_vec(), asked: AtomicUsize::new(0) };
    let work = validator.work();
    let verdict = {
        let judged = pin!(validator.judge_explained(reply, &source, When { now: NOW, trusted: true }, &work));
        match judged.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => unreachable!("the source never waits"),
        }
    };
    let limits = work.limits();
    assert!(work.signatures() <= limits.signatures && work.nsec3_rounds() <= limits.nsec3_rounds);
    assert!(verdict.status != Status::Secure || work.signatures() > 1);
    verdict.status
}

fuzz_target!(|bytes: &[u8]| {
    let (mut rest, mut messages) = (bytes, Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let Some((message, behind)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        let Ok(message) = Message::parse(message) else { return };
        messages.push(message);
        rest = behind;
    }
    let Some((first, replies)) = messages.split_first() else { return };
    let Some(question) = first.question.clone() else { return };
    let mut anchors = Anchors::none();
    anchors.add(owner().zone.clone(), Anchor::Dnskey(owner().dnskey.as_slice().into()));
    let validator = Validator::new(anchors, NegativeAnchors::new(), Settings::default());
    let mut reply = owner().reply(first, question);
    let status = judge(&validator, &reply, replies);
    // Below the anchor a changed octet, of a type whose case counts, never stays Secure.
    let changed = reply.answer.iter_mut().find(|s| s.rtype == Rtype::A && !s.sigs.is_empty() && s.owner.is_at_or_below(&owner().zone));
    if let (Status::Secure, Some(set)) = (status, changed) {
        set.rdatas[0][0] ^= 1;
        assert!(judge(&validator, &reply, replies) != Status::Secure);
    }
});
