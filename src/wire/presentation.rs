//! RDATA as it is written in zone files (RFC 1035 section 5.1, RFC 3597 section 5).

use super::{Rtype, rdata};

/// RDATA from its presentation form; `\# LENGTH HEX` works for every type (RFC 3597 section 5).
pub fn rdata(rtype: Rtype, text: &str) -> Option<Box<[u8]>> {
    use hickory_proto::rr::{RData, RecordType};
    use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding};
    let bytes: Box<[u8]> = if let Some(rest) = text.strip_prefix("\\#") {
        let (length, hex) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
        let hex: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let octets: Option<Vec<u8>> =
            hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2)).collect();
        octets.filter(|o| Some(o.len()) == length.parse().ok())?.into()
    } else {
        let data = RData::try_from_str(RecordType::from(rtype.0), text).ok()?;
        let mut out = Vec::new();
        let mut encoder = BinEncoder::new(&mut out);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        data.emit(&mut encoder).ok()?;
        out.into()
    };
    rdata::is_well_formed(rtype, &bytes).then_some(bytes)
}
