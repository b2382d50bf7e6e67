//! What can be wrong with a lab zone, and what a validating resolver must therefore say about it.
//!
//! RFC 4035 section 5 and RFC 8914 section 4. Each zone declares its fault, [`super::zone`] commits it, and the expectation of every
//! question follows from the declaration alone: that is what makes the lab an oracle for any seed.

use crate::wire::Rcode;

/// One deliberate defect of a zone's DNSSEC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Every signature expired two days ago.
    Expired,
    /// Every signature begins in two days.
    NotYetValid,
    /// Every signature expires before it begins.
    ExpiresBeforeItBegins,
    /// The DS in the parent belongs to a key that the zone does not have.
    WrongDs,
    /// The zone is signed, the parent proves that there is no DS.
    NoDs,
    /// A DS in the parent, and a zone without any DNSSEC record.
    Unsigned,
    /// Only the DNSKEY RRset carries its signature.
    StrippedSignatures,
    /// One bit of every signature (but the one over DNSKEY) is flipped.
    BadSignature,
    /// The key that signs the zone is not in its DNSKEY RRset.
    UnpublishedKey,
    /// The keys lack the Zone Key bit (RFC 4034 section 2.1.1).
    NoZoneKeyBit,
    /// No NSEC or NSEC3 records.
    MissingDenial,
    /// NSEC or NSEC3 records that cover nothing and list types that are not there.
    BadDenial,
    /// The DS uses a digest type that nobody has assigned.
    UnassignedDigest,
    /// The zone is signed with an algorithm number that nobody has assigned.
    UnassignedAlgorithm,
    /// NSEC3 with more iterations than RFC 9276 section 3.2 lets a validator accept.
    TooManyIterations,
}

impl Fault {
    /// Every fault, for tests that must not forget one.
    pub const ALL: [Fault; 15] = [
        Fault::Expired,
        Fault::NotYetValid,
        Fault::ExpiresBeforeItBegins,
        Fault::WrongDs,
        Fault::NoDs,
        Fault::Unsigned,
        Fault::StrippedSignatures,
        Fault::BadSignature,
        Fault::UnpublishedKey,
        Fault::NoZoneKeyBit,
        Fault::MissingDenial,
        Fault::BadDenial,
        Fault::UnassignedDigest,
        Fault::UnassignedAlgorithm,
        Fault::TooManyIterations,
    ];

    /// A few words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Fault::Expired => "signatures expired",
            Fault::NotYetValid => "signatures not valid yet",
            Fault::ExpiresBeforeItBegins => "signatures expire before they begin",
            Fault::WrongDs => "DS of another key",
            Fault::NoDs => "signed, but no DS in the parent",
            Fault::Unsigned => "DS in the parent, zone unsigned",
            Fault::StrippedSignatures => "signatures stripped",
            Fault::BadSignature => "signatures forged",
            Fault::UnpublishedKey => "signing key not in DNSKEY",
            Fault::NoZoneKeyBit => "keys without the Zone Key bit",
            Fault::MissingDenial => "no NSEC or NSEC3",
            Fault::BadDenial => "NSEC or NSEC3 that proves nothing",
            Fault::UnassignedDigest => "unknown DS digest",
            Fault::UnassignedAlgorithm => "unknown algorithm",
            Fault::TooManyIterations => "too many NSEC3 iterations",
        }
    }

    /// What a validating resolver answers to a question of this shape in a zone with this fault.
    pub(crate) fn expect(self, shape: Shape) -> Expect {
        let rests_on_denial = shape != Shape::Positive;
        match self {
            Fault::Expired => Expect::bogus(&[7]),
            Fault::NotYetValid => Expect::bogus(&[8]),
            Fault::ExpiresBeforeItBegins => Expect::bogus(&[25]),
            Fault::WrongDs | Fault::UnpublishedKey => Expect::bogus(&[9]),
            // The first thing a validator misses is the DNSKEY RRset.
            Fault::Unsigned => Expect::bogus(&[9, 10]),
            Fault::StrippedSignatures => Expect::bogus(&[10]),
            Fault::BadSignature => Expect::bogus(&[6]),
            Fault::NoZoneKeyBit => Expect::bogus(&[11]),
            Fault::MissingDenial if rests_on_denial => Expect::bogus(&[12]),
            // Whether such a record counts as missing or as false is the validator's choice.
            Fault::BadDenial if rests_on_denial => Expect::bogus(&[6, 12]),
            Fault::MissingDenial | Fault::BadDenial => Expect::answer(shape, Security::Secure, &[]),
            Fault::NoDs => Expect::answer(shape, Security::Insecure, &[]),
            Fault::UnassignedDigest => Expect::answer(shape, Security::Insecure, &[2]),
            Fault::UnassignedAlgorithm => Expect::answer(shape, Security::Insecure, &[1]),
            Fault::TooManyIterations if rests_on_denial => Expect::answer(shape, Security::Insecure, &[27]),
            Fault::TooManyIterations => Expect::answer(shape, Security::Secure, &[]),
        }
    }
}

/// What an answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Data that is there under its own name.
    Positive,
    /// Data expanded from a wildcard: rests on the proof that nothing closer exists (RFC 4035 section 5.3.4).
    Wildcard,
    /// The name exists, the type does not.
    NoData,
    /// The name matches a wildcard that does not have the type.
    WildcardNoData,
    /// The name does not exist.
    NxDomain,
}

/// The verdict a client must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// AD is set for a client that asks for it.
    Secure,
    /// Answered without AD.
    Insecure,
    /// SERVFAIL, because of validation; the data is there with CD=1.
    Bogus,
    /// SERVFAIL, because no server gives an answer.
    Unreachable,
}

/// What a validating resolver must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Response code.
    pub rcode: Rcode,
    /// Verdict.
    pub security: Security,
    /// Extended error codes of which one must be there; empty asks for none.
    pub ede: &'static [u16],
}

impl Expect {
    pub(crate) fn bogus(ede: &'static [u16]) -> Expect {
        Expect { rcode: Rcode::SERVFAIL, security: Security::Bogus, ede }
    }

    /// SERVFAIL, because no server gives an answer: No Reachable Authority or Network Error (RFC 8914 sections 4.23 and 4.24).
    pub(crate) fn unreachable() -> Expect {
        Expect { rcode: Rcode::SERVFAIL, security: Security::Unreachable, ede: &[22, 23] }
    }

    pub(crate) fn answer(shape: Shape, security: Security, ede: &'static [u16]) -> Expect {
        let rcode = if shape == Shape::NxDomain { Rcode::NXDOMAIN } else { Rcode::NOERROR };
        Expect { rcode, security, ede }
    }
}
