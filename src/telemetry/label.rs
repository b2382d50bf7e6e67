//! The closed sets of label values. A label that is not here can not be exported.

use crate::policy;
use crate::resolve::ExchangeError;
use crate::validate::Bogus;
use crate::wire::{Rcode, Rtype};

macro_rules! labels {
    ($($(#[$doc:meta])* $set:ident { $($(#[$vdoc:meta])* $value:ident => $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $set { $($(#[$vdoc])* $value,)+ }

        impl $set {
            /// Every value, in the order of the label texts.
            pub const ALL: &[$set] = &[$($set::$value,)+];
            /// Every label text.
            pub const LABELS: &[&str] = &[$($text,)+];

            /// Its label text.
            pub fn label(self) -> &'static str {
                Self::LABELS[self as usize]
            }
        }
    )+};
}

labels! {
    /// How a query reached us.
    Transport {
        /// One datagram.
        Udp => "udp",
        /// A stream (RFC 7766).
        Tcp => "tcp",
    }

    /// What policy said of the query that an answer belongs to. The order of precedence is policy's affair.
    Verdict {
        /// Policy was not asked: the query was refused or malformed.
        None => "none",
        /// No rule matched.
        Allowed => "allowed",
        /// A list blocks it.
        Blocked => "blocked",
        /// An allow list lets it through.
        AllowListed => "allow_listed",
        /// A list names it, and it is protected: public suffix, shared hosting or critical.
        Protected => "protected",
        /// A timed exception lets it through.
        ExceptionAllow => "exception_allow",
        /// A timed exception blocks it.
        ExceptionBlock => "exception_block",
        /// Answered from local data.
        Local => "local",
        /// Blocking is switched off for a while.
        BlockingOff => "blocking_off",
        /// A policy zone says what is answered.
        PolicyZone => "policy_zone",
        /// A policy zone lets it through.
        PolicyZonePass => "policy_zone_pass",
        /// A damaged list might have listed it: let through.
        Damaged => "list_damaged",
    }

    /// Why a packet or a stream got no answer at all.
    Dropped {
        /// Shorter than a DNS header, or so broken that no answer can be made.
        Malformed => "malformed",
        /// QR=1: it is a response, and answering it could start a loop.
        Response => "response",
        /// Source port 0, or an unspecified source address.
        BadSource => "bad_source",
        /// The client is not on the access list and the setting says silence.
        Acl => "acl",
        /// The client asks too fast.
        RateLimit => "rate_limit",
        /// A policy zone says so.
        PolicyZone => "policy_zone",
        /// Too many queries wait for the resolver.
        QueueFull => "queue_full",
        /// Too many streams are open, from everybody or from this client.
        StreamLimit => "stream_limit",
        /// A stream was too slow to send or to read.
        StreamTimeout => "stream_timeout",
        /// The kernel did not take the answer.
        SendFailed => "send_failed",
    }

    /// Why a query was refused by an answer.
    Refused {
        /// The client is not on the access list: REFUSED with EDE 18.
        Acl => "acl",
        /// The query breaks the format: FORMERR.
        Malformed => "malformed",
        /// An opcode, class, QTYPE or EDNS version that is not served: NOTIMP, REFUSED or BADVERS.
        NotServed => "not_served",
        /// RD=0: nothing is given out of the cache to be looked into.
        NoRecursion => "no_recursion",
        /// Too many queries wait for the resolver: SERVFAIL.
        Overload => "overload",
    }

    /// Where the answer came from, for latency.
    Served {
        /// The answer cache.
        Hit => "hit",
        /// A block rule.
        Blocked => "blocked",
        /// A resolution.
        Miss => "miss",
    }

    /// Which cache.
    Cache {
        /// Encoded responses.
        Answer => "answer",
        /// RRsets, delegations and negatives under the resolver.
        Rrset => "rrset",
    }

    /// What a cache lookup found.
    Lookup {
        /// A live entry.
        Hit => "hit",
        /// Nothing, or an expired entry that may not be served.
        Miss => "miss",
        /// An expired entry that was served (RFC 8767); of RRsets alone, the answer cache holds none.
        Stale => "stale",
    }

    /// What was done about a name that a list has.
    Action {
        /// NXDOMAIN.
        Nxdomain => "nxdomain",
        /// NODATA.
        Nodata => "nodata",
        /// The null address.
        Null => "null_address",
        /// The sinkhole address.
        Sinkhole => "sinkhole",
        /// Let through: an allow list.
        Allow => "allow",
        /// Let through: the name is protected.
        Protect => "protect",
    }

    /// Why a query to another server failed.
    UpstreamError {
        /// No acceptable reply in time.
        Timeout => "timeout",
        /// The network said no.
        Unreachable => "unreachable",
        /// A reply did not echo the case of the question.
        CaseMismatch => "case_mismatch",
        /// Not sent: too many queries of ours are under way.
        Busy => "busy",
        /// A reply that is no DNS message.
        Malformed => "malformed",
    }

    /// Query types with a label of their own: the common ones. All others are `other`.
    Qtype {
        /// A.
        A => "A",
        /// AAAA.
        Aaaa => "AAAA",
        /// HTTPS.
        Https => "HTTPS",
        /// SVCB.
        Svcb => "SVCB",
        /// CNAME.
        Cname => "CNAME",
        /// PTR.
        Ptr => "PTR",
        /// MX.
        Mx => "MX",
        /// TXT.
        Txt => "TXT",
        /// NS.
        Ns => "NS",
        /// SOA.
        Soa => "SOA",
        /// SRV.
        Srv => "SRV",
        /// NAPTR.
        Naptr => "NAPTR",
        /// DS.
        Ds => "DS",
        /// DNSKEY.
        Dnskey => "DNSKEY",
        /// TLSA.
        Tlsa => "TLSA",
        /// CAA.
        Caa => "CAA",
        /// ANY.
        Any => "ANY",
        /// Every other type.
        Other => "other",
    }

    /// Response codes with a label of their own.
    RcodeLabel {
        /// NOERROR.
        NoError => "NOERROR",
        /// FORMERR.
        FormErr => "FORMERR",
        /// SERVFAIL.
        ServFail => "SERVFAIL",
        /// NXDOMAIN.
        NxDomain => "NXDOMAIN",
        /// NOTIMP.
        NotImp => "NOTIMP",
        /// REFUSED.
        Refused => "REFUSED",
        /// BADVERS.
        BadVers => "BADVERS",
        /// BADCOOKIE.
        BadCookie => "BADCOOKIE",
        /// Every other code.
        Other => "other",
    }
}

impl From<&policy::Verdict> for Verdict {
    fn from(verdict: &policy::Verdict) -> Verdict {
        match verdict {
            policy::Verdict::Unlisted => Verdict::Allowed,
            policy::Verdict::Local => Verdict::Local,
            policy::Verdict::ExceptionAllow { .. } => Verdict::ExceptionAllow,
            policy::Verdict::ExceptionBlock { .. } => Verdict::ExceptionBlock,
            policy::Verdict::BlockingOff => Verdict::BlockingOff,
            policy::Verdict::Protected { .. } => Verdict::Protected,
            policy::Verdict::AllowListed { .. } => Verdict::AllowListed,
            policy::Verdict::BlockListed { .. } => Verdict::Blocked,
            policy::Verdict::ZoneRule { .. } => Verdict::PolicyZone,
            policy::Verdict::ZonePass { .. } => Verdict::PolicyZonePass,
            policy::Verdict::Damaged => Verdict::Damaged,
            // Asked again at once where waiting is fine, and counted by what is said there.
            policy::Verdict::WouldWait => Verdict::None,
        }
    }
}

impl From<Rtype> for Qtype {
    fn from(rtype: Rtype) -> Qtype {
        match rtype {
            Rtype::A => Qtype::A,
            Rtype::AAAA => Qtype::Aaaa,
            Rtype::HTTPS => Qtype::Https,
            Rtype::SVCB => Qtype::Svcb,
            Rtype::CNAME => Qtype::Cname,
            Rtype::PTR => Qtype::Ptr,
            Rtype::MX => Qtype::Mx,
            Rtype::TXT => Qtype::Txt,
            Rtype::NS => Qtype::Ns,
            Rtype::SOA => Qtype::Soa,
            Rtype::SRV => Qtype::Srv,
            Rtype::NAPTR => Qtype::Naptr,
            Rtype::DS => Qtype::Ds,
            Rtype::DNSKEY => Qtype::Dnskey,
            Rtype::TLSA => Qtype::Tlsa,
            Rtype::CAA => Qtype::Caa,
            Rtype::ANY => Qtype::Any,
            _ => Qtype::Other,
        }
    }
}

impl From<Rcode> for RcodeLabel {
    fn from(rcode: Rcode) -> RcodeLabel {
        match rcode {
            Rcode::NOERROR => RcodeLabel::NoError,
            Rcode::FORMERR => RcodeLabel::FormErr,
            Rcode::SERVFAIL => RcodeLabel::ServFail,
            Rcode::NXDOMAIN => RcodeLabel::NxDomain,
            Rcode::NOTIMP => RcodeLabel::NotImp,
            Rcode::REFUSED => RcodeLabel::Refused,
            Rcode::BADVERS => RcodeLabel::BadVers,
            Rcode::BADCOOKIE => RcodeLabel::BadCookie,
            _ => RcodeLabel::Other,
        }
    }
}

impl From<ExchangeError> for UpstreamError {
    fn from(error: ExchangeError) -> UpstreamError {
        match error {
            ExchangeError::Timeout { .. } => UpstreamError::Timeout,
            ExchangeError::CaseMismatch => UpstreamError::CaseMismatch,
            ExchangeError::Unreachable => UpstreamError::Unreachable,
            ExchangeError::Busy => UpstreamError::Busy,
        }
    }
}

/// Labels of [`crate::validate::Status`].
pub const STATUS: &[&str] = &["secure", "insecure", "bogus", "indeterminate"];

/// Labels of [`Bogus`], in the order of [`bogus_index`].
pub const BOGUS: &[&str] = &[
    "bad_signature",
    "signature_expired",
    "signature_not_yet_valid",
    "signature_expired_before_valid",
    "dnskey_missing",
    "rrsigs_missing",
    "no_zone_key_bit",
    "nsec_missing",
    "bad_denial",
    "no_keys",
    "too_much_work",
    "nsec3_iterations",
    "wrong_signer",
];

/// Place of a reason in [`BOGUS`]. A new reason does not compile until it has a place.
pub fn bogus_index(reason: Bogus) -> usize {
    match reason {
        Bogus::BadSignature => 0,
        Bogus::SignatureExpired => 1,
        Bogus::SignatureNotYetValid => 2,
        Bogus::SignatureExpiredBeforeValid => 3,
        Bogus::DnskeyMissing => 4,
        Bogus::RrsigsMissing => 5,
        Bogus::NoZoneKeyBit => 6,
        Bogus::NsecMissing => 7,
        Bogus::BadDenial => 8,
        Bogus::NoKeys => 9,
        Bogus::TooMuchWork => 10,
        Bogus::Nsec3Iterations => 11,
        Bogus::WrongSigner => 12,
    }
}

/// Info codes of the Extended DNS Errors registry (RFC 8914 section 5.2) as labels; what comes later is `other`.
pub const EDE: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23",
    "24", "25", "26", "27", "28", "29", "30", "other",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_type_and_code_keeps_its_name_as_its_label() {
        for number in 0..=300 {
            let label = Qtype::from(Rtype(number)).label();
            assert!(label == "other" || label == Rtype(number).to_string(), "{label} is not {}", Rtype(number));
            let label = RcodeLabel::from(Rcode(number)).label();
            assert!(label == "other" || label == Rcode(number).to_string(), "{label} is not {}", Rcode(number));
        }
    }

    #[test]
    fn verdicts_are_counted_under_the_label_that_policy_gives_them() {
        for verdict in [
            policy::Verdict::Unlisted,
            policy::Verdict::Local,
            policy::Verdict::ExceptionAllow { exception: 0 },
            policy::Verdict::ExceptionBlock { exception: 0 },
            policy::Verdict::BlockingOff,
            policy::Verdict::Damaged,
        ] {
            assert_eq!(Verdict::from(&verdict).label(), verdict.label());
        }
    }

    #[test]
    fn the_reasons_of_bogus_answers_stand_where_their_index_says() {
        use Bogus::*;
        let all = [
            BadSignature,
            SignatureExpired,
            SignatureNotYetValid,
            SignatureExpiredBeforeValid,
            DnskeyMissing,
            RrsigsMissing,
            NoZoneKeyBit,
            NsecMissing,
            BadDenial,
            NoKeys,
            TooMuchWork,
            Nsec3Iterations,
            WrongSigner,
        ];
        assert_eq!(all.map(Bogus::label), BOGUS);
        assert_eq!(all.map(bogus_index).to_vec(), (0..BOGUS.len()).collect::<Vec<_>>());
    }
}
