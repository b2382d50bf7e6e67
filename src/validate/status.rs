//! What validation found, and why: the one enum behind the AD bit, the EDE code, the metric label and `postern why`.
//!
//! RFC 4033 section 5 (Secure, Insecure, Bogus, Indeterminate), RFC 8914 section 4 (the codes).

use crate::wire::Ede;

/// Security status of an answer (RFC 4033 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// A chain of signatures leads from a trust anchor to every RRset that the answer rests on.
    Secure,
    /// It is proven, or configured, that no such chain exists.
    Insecure(Insecurity),
    /// There should be a chain, and it is broken.
    Bogus(Bogus),
    /// No trust anchor covers the name, validation is off, or it could not be finished.
    Indeterminate,
}

/// Why an answer is Insecure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Insecurity {
    /// A signed parent proves that there is no DS for a zone on the way.
    NoDs,
    /// An opt-out span covers an unsigned delegation (RFC 5155 section 6).
    OptOut,
    /// Every DS or DNSKEY uses an algorithm that is not supported (RFC 4035 section 5.2).
    UnsupportedAlgorithm,
    /// Every DS uses a digest type that is not supported (RFC 4035 section 5.2).
    UnsupportedDigest,
    /// NSEC3 iterations above the limit (RFC 9276 section 3.2).
    Nsec3Iterations,
    /// A negative trust anchor covers the name (RFC 7646).
    NegativeTrustAnchor,
    /// No trust anchor is at or above the name (RFC 4035 section 4.3), or the zone is local.
    NoAnchor,
}

/// Why an answer is Bogus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bogus {
    /// A signature does not verify.
    BadSignature,
    /// Every signature that could serve has expired.
    SignatureExpired,
    /// No signature is valid yet.
    SignatureNotYetValid,
    /// A signature expires before it begins.
    SignatureExpiredBeforeValid,
    /// No DNSKEY matches the DS, or the signature's key is not in the zone's DNSKEY RRset.
    DnskeyMissing,
    /// An RRset of a signed zone carries no RRSIG.
    RrsigsMissing,
    /// Signatures are there, none in the name of the zone that holds the RRset (RFC 4035 section 5.3.1).
    WrongSigner,
    /// The matching DNSKEY lacks the Zone Key bit.
    NoZoneKeyBit,
    /// A negative answer, a wildcard or an insecure delegation comes without its NSEC or NSEC3 proof.
    NsecMissing,
    /// The NSEC or NSEC3 records given contradict the answer or overreach.
    BadDenial,
    /// DNSKEY or DS could not be fetched.
    NoKeys,
    /// Validating it would cost more than one query may (KeyTrap, NSEC3 exhaustion).
    TooMuchWork,
    /// NSEC3 iterations above the limit and the setting says SERVFAIL (RFC 9276 section 3.2).
    Nsec3Iterations,
}

impl Insecurity {
    /// The Extended DNS Error that says so, where there is one (RFC 8914 section 4, RFC 9276 section 3.2).
    pub fn ede(self) -> Option<Ede> {
        match self {
            Insecurity::UnsupportedAlgorithm => Some(Ede::new(1, "no DNSKEY algorithm of the zone is supported")),
            Insecurity::UnsupportedDigest => Some(Ede::new(2, "no DS digest of the zone is supported")),
            Insecurity::Nsec3Iterations => Some(Ede::new(27, "too many NSEC3 iterations")),
            Insecurity::NegativeTrustAnchor => Some(Ede::new(33, "not validated, by decision of the operator (RFC 7646)")),
            Insecurity::NoDs | Insecurity::OptOut | Insecurity::NoAnchor => None,
        }
    }

    /// Label for metrics and JSON, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Insecurity::NoDs => "no_ds",
            Insecurity::OptOut => "opt_out",
            Insecurity::UnsupportedAlgorithm => "unsupported_algorithm",
            Insecurity::UnsupportedDigest => "unsupported_digest",
            Insecurity::Nsec3Iterations => "nsec3_iterations",
            Insecurity::NegativeTrustAnchor => "negative_trust_anchor",
            Insecurity::NoAnchor => "no_anchor",
        }
    }
}

impl Bogus {
    /// The Extended DNS Error that says so (RFC 8914 section 4), with a short English text.
    pub fn ede(self) -> Ede {
        match self {
            Bogus::BadSignature => Ede::new(6, "a signature does not verify"),
            Bogus::SignatureExpired => Ede::new(7, "the signature has expired"),
            Bogus::SignatureNotYetValid => Ede::new(8, "the signature is not valid yet"),
            Bogus::SignatureExpiredBeforeValid => Ede::new(25, "the signature expires before it begins"),
            Bogus::DnskeyMissing => Ede::new(9, "no DNSKEY matches"),
            Bogus::RrsigsMissing => Ede::new(10, "a signed zone gave no signature"),
            Bogus::WrongSigner => Ede::new(6, "signed in the name of another zone"),
            Bogus::NoZoneKeyBit => Ede::new(11, "the matching DNSKEY has no Zone Key bit"),
            Bogus::NsecMissing => Ede::new(12, "the proof of non-existence is missing"),
            Bogus::BadDenial => Ede::new(6, "the proof of non-existence contradicts the answer"),
            Bogus::NoKeys => Ede::new(9, "DNSKEY or DS could not be fetched"),
            Bogus::TooMuchWork => Ede::new(6, "validation would cost too much work"),
            Bogus::Nsec3Iterations => Ede::new(27, "too many NSEC3 iterations"),
        }
    }

    /// Label for metrics and JSON, in snake case.
    pub fn label(self) -> &'static str {
        match self {
            Bogus::BadSignature => "bad_signature",
            Bogus::SignatureExpired => "signature_expired",
            Bogus::SignatureNotYetValid => "signature_not_yet_valid",
            Bogus::SignatureExpiredBeforeValid => "signature_expired_before_valid",
            Bogus::DnskeyMissing => "dnskey_missing",
            Bogus::RrsigsMissing => "rrsigs_missing",
            Bogus::WrongSigner => "wrong_signer",
            Bogus::NoZoneKeyBit => "no_zone_key_bit",
            Bogus::NsecMissing => "nsec_missing",
            Bogus::BadDenial => "bad_denial",
            Bogus::NoKeys => "no_keys",
            Bogus::TooMuchWork => "too_much_work",
            Bogus::Nsec3Iterations => "nsec3_iterations",
        }
    }
}

impl Status {
    /// `secure`, `insecure`, `bogus` or `indeterminate`, for metrics and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Status::Secure => "secure",
            Status::Insecure(_) => "insecure",
            Status::Bogus(_) => "bogus",
            Status::Indeterminate => "indeterminate",
        }
    }
}
