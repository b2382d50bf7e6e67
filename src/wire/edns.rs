//! EDNS(0): the OPT record (RFC 6891) and Extended DNS Errors (RFC 8914).

use std::borrow::Cow;

use super::rtype::Rtype;

/// Option code of Extended DNS Errors (RFC 8914 section 2).
pub const OPTION_EDE: u16 = 15;
/// Option code of DNS cookies (RFC 7873 section 4).
pub const OPTION_COOKIE: u16 = 10;
/// Option code of the TCP keepalive (RFC 7828).
pub const OPTION_KEEPALIVE: u16 = 11;
/// Option code of padding (RFC 7830).
pub const OPTION_PADDING: u16 = 12;
/// The largest UDP payload we send or ask for: fits every path we care about unfragmented (RFC 9715 section 3).
pub const UDP_PAYLOAD: u16 = 1232;
/// No UDP payload limit is below this, whatever the client says (RFC 6891 section 6.2.3).
pub const UDP_PAYLOAD_FLOOR: u16 = 512;
/// Longest EXTRA-TEXT we send, in octets, so that an error never grows an answer much.
pub const EDE_TEXT_MAX: usize = 160;

/// The OPT pseudo-record of a message (RFC 6891 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edns {
    /// Sender's UDP payload size as given; use [`Edns::udp_limit`] for decisions.
    pub udp_size: u16,
    /// Upper eight bits of the response code.
    pub rcode_high: u8,
    /// EDNS version; only 0 is known.
    pub version: u8,
    /// The DO bit (RFC 3225).
    pub dnssec_ok: bool,
    /// Options in order, code and payload.
    pub options: Vec<(u16, Box<[u8]>)>,
}

impl Edns {
    /// What a sender of ours says: 1232 octets, version 0.
    pub fn new(dnssec_ok: bool) -> Edns {
        Edns { udp_size: UDP_PAYLOAD, rcode_high: 0, version: 0, dnssec_ok, options: Vec::new() }
    }

    /// Reads the fixed part and the options of an OPT record; `None` where an option overruns the RDATA.
    pub(crate) fn parse(class: u16, ttl: u32, rdata: &[u8]) -> Option<Edns> {
        let [rcode_high, version, flags, _] = ttl.to_be_bytes();
        let mut edns = Edns { udp_size: class, rcode_high, version, dnssec_ok: flags & 0x80 != 0, options: Vec::new() };
        let mut rest = rdata;
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if tail.len() < length {
                return None;
            }
            edns.options.push((u16::from_be_bytes([head[0], head[1]]), tail[..length].into()));
            rest = &tail[length..];
        }
        Some(edns)
    }

    /// Appends the whole OPT record, root owner included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length: usize = self.options.iter().map(|(_, payload)| 4 + payload.len()).sum();
        out.push(0);
        out.extend_from_slice(&Rtype::OPT.0.to_be_bytes());
        out.extend_from_slice(&self.udp_size.to_be_bytes());
        out.extend_from_slice(&[self.rcode_high, self.version, u8::from(self.dnssec_ok) << 7, 0]);
        out.extend_from_slice(&(length as u16).to_be_bytes());
        for (code, payload) in &self.options {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(payload);
        }
    }

    /// Length of the record that [`Edns::write`] appends, in octets.
    pub fn encoded_len(&self) -> usize {
        11 + self.options.iter().map(|(_, payload)| 4 + payload.len()).sum::<usize>()
    }

    /// The first option with this code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, payload)| &payload[..])
    }

    /// All Extended DNS Errors in the record; ones too short to carry a code are left out.
    pub fn extended_errors(&self) -> impl Iterator<Item = Ede> + '_ {
        self.options.iter().filter(|(code, _)| *code == OPTION_EDE).filter_map(|(_, payload)| {
            let (code, text) = payload.split_first_chunk::<2>()?;
            Some(Ede { code: u16::from_be_bytes(*code), text: String::from_utf8_lossy(text).into_owned().into() })
        })
    }

    /// Payload size that may be sent to this peer, never under 512 (RFC 6891 section 6.2.3).
    pub fn udp_limit(&self) -> u16 {
        self.udp_size.max(UDP_PAYLOAD_FLOOR)
    }
}

/// An Extended DNS Error: INFO-CODE and EXTRA-TEXT (RFC 8914 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ede {
    /// INFO-CODE as registered with IANA.
    pub code: u16,
    /// EXTRA-TEXT: short English, never needed to understand the code.
    pub text: Cow<'static, str>,
}

impl Ede {
    /// An error with a text.
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Ede {
        Ede { code, text: text.into() }
    }

    /// The option as EDNS carries it; the text is cut at a character boundary below [`EDE_TEXT_MAX`].
    pub fn to_option(&self) -> (u16, Box<[u8]>) {
        let mut end = self.text.len().min(EDE_TEXT_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        (OPTION_EDE, [&self.code.to_be_bytes()[..], &self.text.as_bytes()[..end]].concat().into())
    }

    /// The registered meaning of an INFO-CODE (IANA "Extended DNS Error Codes").
    pub fn meaning(code: u16) -> &'static str {
        match code {
            0 => "Other Error",
            1 => "Unsupported DNSKEY Algorithm",
            2 => "Unsupported DS Digest Type",
            3 => "Stale Answer",
            4 => "Forged Answer",
            5 => "DNSSEC Indeterminate",
            6 => "DNSSEC Bogus",
            7 => "Signature Expired",
            8 => "Signature Not Yet Valid",
            9 => "DNSKEY Missing",
            10 => "RRSIGs Missing",
            11 => "No Zone Key Bit Set",
            12 => "NSEC Missing",
            13 => "Cached Error",
            14 => "Not Ready",
            15 => "Blocked",
            16 => "Censored",
            17 => "Filtered",
            18 => "Prohibited",
            19 => "Stale NXDomain Answer",
            20 => "Not Authoritative",
            21 => "Not Supported",
            22 => "No Reachable Authority",
            23 => "Network Error",
            24 => "Invalid Data",
            25 => "Signature Expired before Valid",
            26 => "Too Early",
            27 => "Unsupported NSEC3 Iterations Value",
            28 => "Unable to conform to policy",
            29 => "Synthesized",
            30 => "Invalid Query Type",
            31 => "Rate Limited",
            32 => "Over Quota",
            33 => "Negative Trust Anchor",
            _ => "Unassigned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opt_round_trips_with_its_options() {
        let mut edns = Edns::new(true);
        edns.options.push(Ede::new(15, "blocked: list=scam").to_option());
        let mut wire = Vec::new();
        edns.write(&mut wire);
        assert_eq!(wire.len(), edns.encoded_len());
        let back =
            Edns::parse(u16::from_be_bytes([wire[3], wire[4]]), u32::from_be_bytes([wire[5], wire[6], wire[7], wire[8]]), &wire[11..])
                .unwrap();
        assert_eq!(back, edns);
        assert_eq!(back.extended_errors().next().unwrap(), Ede::new(15, "blocked: list=scam"));
        assert!(Edns::parse(512, 0, &[0, 15, 0, 9, 1]).is_none());
    }

    /// RFC 6891 section 6.2.3: values lower than 512 MUST be treated as equal to 512.
    #[test]
    fn payload_sizes_below_512_count_as_512() {
        let mut edns = Edns::new(false);
        edns.udp_size = 100;
        assert_eq!(edns.udp_limit(), 512);
    }
}
