//! What `postern demo` asks the miniature internet, and what must come back.
//!
//! Every expectation is looked up in the internet's own questions, which follow from the faults that its zones declare; only "blocked"
//! is added here. The table and the exit code are the demo command's.

use std::net::IpAddr;

use super::plan::{below, leaf_name};
use super::{Expect, Internet, scam_hosts};
use crate::wire::{Name, Rtype};

/// What a demo question must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoExpect {
    /// This code and verdict.
    Answered(Expect),
    /// Blocked by the list.
    Blocked,
}

/// One row of the demo's table.
#[derive(Debug, Clone)]
pub struct DemoQuestion {
    /// What it shows, for a reader who knows no DNS.
    pub title: &'static str,
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// What must come back.
    pub expect: DemoExpect,
}

/// All that the demo needs to set up postern on the miniature internet and to judge its answers.
#[derive(Debug, Clone)]
pub struct Script {
    /// The questions in the order to ask them.
    pub questions: Vec<DemoQuestion>,
    /// A blocklist in hosts format: exactly these names are blocked.
    pub blocklist_text: String,
    /// Names and addresses of the root servers.
    pub hints: Vec<(Name, Vec<IpAddr>)>,
    /// Trust anchors of the root, as DS records in presentation form.
    pub anchors: Vec<String>,
}

/// Zone label, top-level domain, owner, type, title.
const ASKED: &[(&str, &str, &str, Rtype, &str)] = &[
    ("ecdsa", "post", "www", Rtype::A, "a signed name"),
    ("rsa", "org", "alias", Rtype::AAAA, "an alias inside a signed zone"),
    ("ed25519", "post", "a.b.wild", Rtype::A, "a signed wildcard"),
    ("ed25519", "post", "nothing", Rtype::A, "a name proven not to exist"),
    ("plain", "com", "www", Rtype::A, "an unsigned name, proven so"),
    ("new-algorithm", "post", "www", Rtype::A, "signed with an unknown algorithm"),
    ("aliases", "org", "insecure", Rtype::A, "an alias out of a signed zone"),
    ("expired", "post", "www", Rtype::A, "signatures that expired"),
    ("future", "post", "www", Rtype::A, "signatures not valid yet"),
    ("forged", "post", "www", Rtype::A, "forged data"),
    ("stripped", "post", "www", Rtype::A, "signatures stripped on the way"),
    ("wrong-ds", "post", "www", Rtype::A, "keys that the parent does not know"),
    ("no-denial", "post", "nothing", Rtype::A, "a denial without proof"),
    ("half-dead", "post", "www", Rtype::A, "one of two servers is dead"),
    ("refused", "post", "www", Rtype::A, "no server answers"),
];

impl Script {
    /// The script for this internet, whatever its seed.
    pub fn new(internet: &Internet) -> Script {
        let apex = |label, tld| leaf_name(&internet.seed, label, tld);
        let expect =
            |name: &Name, rtype| DemoExpect::Answered(internet.telling(name, rtype).expect("the plan asks what the demo asks").expect);
        let mut questions = Vec::new();
        for (label, tld, owner, rtype, title) in ASKED {
            let name = below(owner, &apex(label, tld));
            questions.push(DemoQuestion { title, expect: expect(&name, *rtype), name, rtype: *rtype });
        }
        let hosts: Vec<&str> = scam_hosts().collect();
        let mut stream = internet.seed.child("demo").stream();
        // Three kinds of look-alike: a carrier's name in the label, in front of another domain, and with a letter changed.
        for (title, brand) in
            [("a scam: a carrier's brand", "royalmail"), ("a scam: a post in another's domain", "usps."), ("a scam: a look-alike", "r0yal")]
        {
            let candidates: Vec<&str> = hosts.iter().copied().filter(|h| h.contains(brand)).collect();
            let name = stream.pick(&candidates).parse().expect("the sample holds names");
            questions.push(DemoQuestion { title, name, rtype: Rtype::A, expect: DemoExpect::Blocked });
        }
        let offer = below("offer", &apex("aliases", "org"));
        questions.push(DemoQuestion { title: "an alias to a scam", name: offer, rtype: Rtype::A, expect: DemoExpect::Blocked });
        let blocklist_text = hosts.iter().map(|host| format!("0.0.0.0 {host}\n")).collect();
        Script { questions, blocklist_text, hints: internet.root_hints().to_vec(), anchors: internet.trust_anchors() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::*;

    #[test]
    fn any_seed_gives_a_script_with_every_verdict_in_it() {
        for seed in [0, 1, u64::MAX] {
            let script = Script::new(&Internet::build(seed, 1_800_000_000));
            assert!(script.questions.len() >= 12);
            for security in [Security::Secure, Security::Insecure, Security::Bogus, Security::Unreachable] {
                assert!(script.questions.iter().any(|q| matches!(q.expect, DemoExpect::Answered(e) if e.security == security)));
            }
            let blocked = script.questions.iter().filter(|q| q.expect == DemoExpect::Blocked && q.title != "an alias to a scam");
            for question in blocked {
                let line = format!("0.0.0.0 {}\n", question.name.to_string().trim_end_matches('.'));
                assert!(script.blocklist_text.contains(&line));
            }
        }
    }
}
