//! Text and JSON for people and programs.

use std::fmt::Display;
use std::io::Write;

use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use super::Failure;
use crate::blocklist::moment::rfc3339;
use crate::wire::Rtype;

/// Pretty JSON and a line end.
pub(super) fn json(out: &mut dyn Write, value: &serde_json::Value) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// `a, b, c`.
pub(super) fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// RDATA in presentation form; what no parser knows as `\# LENGTH HEX` (RFC 3597 section 5).
pub(super) fn rdata(rtype: Rtype, rdata: &[u8]) -> String {
    let length = u16::try_from(rdata.len()).unwrap_or(u16::MAX);
    let known = RData::read(&mut BinDecoder::new(rdata), RecordType::from(rtype.0), Restrict::new(length));
    match known {
        Ok(known) if !matches!(known, RData::Unknown { .. }) => known.to_string(),
        _ => {
            let hex: String = rdata.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("\\# {length} {hex}")
        }
    }
}

/// A duration as a person reads it.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_micros() {
        us @ 0..1000 => format!("{us} µs"),
        us @ 1000..10_000 => format!("{:.1} ms", us as f64 / 1000.0),
        us @ 10_000..1_000_000 => format!("{} ms", us / 1000),
        us => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// An end that may never come.
pub(super) fn until(end: Option<u64>) -> String {
    end.map_or("for good".into(), |end| format!("until {}", moment(end)))
}

/// Whole seconds as the two largest units that matter: `3h 5m`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Seconds since 1970 as `2026-12-31 12:00:00 UTC`.
pub(super) fn moment(seconds: u64) -> String {
    rfc3339(seconds).replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdata_reads_as_in_a_zone_file() {
        assert_eq!(rdata(Rtype::A, &[192, 0, 2, 1]), "192.0.2.1");
        assert_eq!(rdata(Rtype::MX, b"\0\x0a\x04mail\0"), "10 mail.");
        assert_eq!(rdata(Rtype(65280), &[0xc0, 0xde]), "\\# 2 c0de");
        assert_eq!(rdata(Rtype::A, &[1]), "\\# 1 01");
    }

    #[test]
    fn moments_read_as_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(1_709_208_001), "2024-02-29 12:00:01 UTC");
        assert_eq!(moment(1_795_219_199), "2026-11-20 23:59:59 UTC");
    }
}
