//! Single values: from TOML to the types of the configuration, each refusal with its place, what is wrong and what to write instead.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use serde_spanned::Spanned;
use toml::de::DeValue;

use crate::guard::Prefix;
use crate::wire::{Name, Rtype, presentation};

/// Why a value is refused. `span` is where in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) span: Range<usize>,
    pub(super) what: String,
    pub(super) hint: String,
}

/// Something a key can hold.
pub(super) trait Value: Sized {
    /// Reads it; elements of a list carry their own place.
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Refusal>;
}

fn refuse<T>(value: &Spanned<DeValue<'_>>, what: impl Into<String>, hint: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { span: value.span(), what: what.into(), hint: hint.into() })
}

fn text<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, Refusal> {
    match value.get_ref().as_str() {
        Some(text) => Ok(text),
        None => refuse(value, format!("is {}, not text", article(value)), "put it between \" and \""),
    }
}

fn article(value: &Spanned<DeValue<'_>>) -> String {
    let kind = value.get_ref().type_str();
    if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {kind}") } else { format!("a {kind}") }
}

impl Value for bool {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<bool, Refusal> {
        match value.get_ref().as_bool() {
            Some(flag) => Ok(flag),
            None => refuse(value, format!("is {}, not true or false", article(value)), "write true or false, without quotes"),
        }
    }
}

impl Value for u64 {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<u64, Refusal> {
        let Some(number) = value.get_ref().as_integer() else {
            return refuse(
                value,
                format!("is {}, not a whole number", article(value)),
                "write the number without quotes and without a unit",
            );
        };
        match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok().and_then(|n| u64::try_from(n).ok()) {
            Some(number) => Ok(number),
            None => refuse(value, format!("{} is no number that fits", number.as_str()), "write a positive whole number"),
        }
    }
}

impl Value for String {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<String, Refusal> {
        text(value).map(str::to_owned)
    }
}

impl Value for PathBuf {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<PathBuf, Refusal> {
        text(value).map(PathBuf::from)
    }
}

impl Value for Name {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Name, Refusal> {
        let text = text(value)?;
        match text.parse() {
            Ok(_) if text.is_empty() => refuse(value, "is empty", "write \".\" for the root"),
            Ok(name) => Ok(name),
            Err(error) => {
                refuse(value, format!("{text:?} is no domain name: {error}"), "write it as in \"post.example\"; the root is \".\"")
            }
        }
    }
}

impl Value for IpAddr {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<IpAddr, Refusal> {
        let text = text(value)?;
        text.parse().or_else(|_| {
            refuse(
                value,
                format!("{text:?} is no address"),
                "write an IPv4 or IPv6 address without a port, such as \"192.0.2.1\" or \"2001:db8::1\"",
            )
        })
    }
}

/// An address, and a port where one was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: IpAddr,
    /// The port, if given.
    pub port: Option<u16>,
}

impl Server {
    /// With `port` where none was written.
    pub fn or_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(port))
    }
}

impl Value for Server {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Server, Refusal> {
        let text = text(value)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Server { address, port: None });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Server { address: socket.ip(), port: Some(socket.port()) });
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(host)) => {
                refuse(value, format!("{text:?} has no valid port"), format!("write \"{host}\" or \"{host}:53\", not {port:?}"))
            }
            Ok(IpAddr::V6(host)) => refuse(value, format!("{text:?} has no valid port"), format!("write \"{host}\" or \"[{host}]:53\"")),
            Err(_) => refuse(
                value,
                format!("{text:?} is no address"),
                "write an address, not a name: \"9.9.9.9\", \"9.9.9.9:53\" or \"[2620:fe::fe]:53\"",
            ),
        }
    }
}

/// An address with a port, or nothing.
impl Value for Option<SocketAddr> {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Option<SocketAddr>, Refusal> {
        match text(value)? {
            "" => Ok(None),
            text => text.parse().map(Some).or_else(|_| {
                refuse(
                    value,
                    format!("{text:?} is no address with a port"),
                    "write \"127.0.0.1:9353\" or \"[::1]:9353\"; \"\" switches it off",
                )
            }),
        }
    }
}

impl Value for Prefix {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Prefix, Refusal> {
        let text = text(value)?;
        let Ok(prefix) = text.parse::<Prefix>() else {
            return refuse(value, format!("{text:?} is no network"), "write it as in \"192.168.0.0/16\" or \"fd00::/8\"");
        };
        // A prefix prints with host bits cleared and in one way only; `/32` and `/128` may be left out.
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let written = address.parse::<IpAddr>().map(|a| format!("{a}/{length}")).unwrap_or_default();
        match prefix.to_string() {
            printed if printed == written || (length.is_empty() && printed.starts_with(&written)) => Ok(prefix),
            printed => refuse(value, format!("{text:?} has bits behind its prefix"), format!("write \"{printed}\"")),
        }
    }
}

/// A record of class IN from one line of zone-file text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Owner.
    pub owner: Name,
    /// Type.
    pub rtype: Rtype,
    /// TTL in seconds; 300 where none is written.
    pub ttl: u32,
    /// RDATA, uncompressed.
    pub rdata: Box<[u8]>,
}

/// TTL of a record written without one, in seconds: a change in the file is felt soon.
const DEFAULT_TTL: u32 = 300;

impl std::str::FromStr for Line {
    type Err = String;
    /// `OWNER [TTL] [IN] TYPE DATA`.
    fn from_str(text: &str) -> Result<Line, String> {
        let mut words = text.split_whitespace();
        let owner = words.next().ok_or("is empty")?;
        let owner: Name = owner.parse().map_err(|e| format!("{owner:?} is no domain name: {e}"))?;
        let mut ttl = DEFAULT_TTL;
        let rtype = loop {
            let word = words.next().ok_or("ends before its type")?;
            if let Ok(number) = word.parse::<u32>() {
                ttl = number.min(i32::MAX as u32);
            } else if !word.eq_ignore_ascii_case("IN") {
                break word.parse::<Rtype>().map_err(|e| e.to_string())?;
            }
        };
        let data = words.collect::<Vec<_>>().join(" ");
        let rdata = presentation::rdata(rtype, &data).ok_or_else(|| format!("{data:?} is no {rtype} data"))?;
        Ok(Line { owner, rtype, ttl, rdata })
    }
}

impl Value for Line {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Line, Refusal> {
        let text = text(value)?;
        text.parse().or_else(|what: String| {
            refuse(value, format!("{text:?}: {what}"), "write it as in a zone file: \"nas.example. 300 A 192.168.1.5\"")
        })
    }
}

/// A moment as seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl Value for Moment {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Moment, Refusal> {
        let written = match value.get_ref() {
            DeValue::Datetime(moment) => moment.to_string(),
            _ => text(value)?.to_owned(),
        };
        moment(&written).map(Moment).map_or_else(
            || refuse(value, format!("{written:?} is no moment"), "write \"2026-12-31\" or \"2026-12-31T12:00:00Z\" (UTC)"),
            Ok,
        )
    }
}

/// Seconds since 1970 of `2026-12-31` or `2026-12-31T12:00:00Z`; UTC only.
fn moment(text: &str) -> Option<u64> {
    let parsed: toml::value::Datetime = text.parse().ok()?;
    let date = parsed.date?;
    let seconds = match (parsed.time, parsed.offset) {
        (None, _) => 0,
        (Some(t), Some(toml::value::Offset::Z)) => u64::from(t.hour) * 3600 + u64::from(t.minute) * 60 + u64::from(t.second.unwrap_or(0)),
        (Some(_), _) => return None,
    };
    // Days from the civil date, counted in years that begin in March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let year = if month <= 2 { year - 1 } else { year };
    let in_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year.div_euclid(400) * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + day_of_year - 719_468;
    u64::try_from(days).ok().map(|days| days * 86_400 + seconds)
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Refusal> {
        match value.get_ref().as_array() {
            Some(elements) => elements.iter().map(T::read).collect(),
            None => refuse(value, format!("is {}, not a list", article(value)), "put it between [ and ]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Value>(toml: &str) -> Result<T, Refusal> {
        T::read(&DeValue::parse(toml).unwrap())
    }

    #[test]
    fn a_server_with_a_word_for_a_port_is_told_what_to_write() {
        assert_eq!(read::<Server>("\"9.9.9.9:853\"").unwrap().or_port(53), "9.9.9.9:853".parse().unwrap());
        assert_eq!(read::<Server>("\"2620:fe::fe\"").unwrap().or_port(53), "[2620:fe::fe]:53".parse().unwrap());
        let refusal = read::<Server>("\"9.9.9.9:dot\"").unwrap_err();
        assert_eq!(refusal.what, "\"9.9.9.9:dot\" has no valid port");
        assert!(refusal.hint.contains("9.9.9.9:53"), "{}", refusal.hint);
        assert!(read::<Server>("\"dns.example\"").unwrap_err().hint.contains("not a name"));
    }

    #[test]
    fn networks_with_bits_behind_the_prefix_are_refused() {
        for fine in ["10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::1", "fe80::/10"] {
            assert!(read::<Prefix>(&format!("\"{fine}\"")).is_ok(), "{fine}");
        }
        assert_eq!(read::<Prefix>("\"10.1.0.0/8\"").unwrap_err().hint, "write \"10.0.0.0/8\"");
        assert!(read::<Prefix>("\"10.0.0.0/33\"").is_err());
    }

    #[test]
    fn records_read_as_in_a_zone_file() {
        let a = read::<Line>("\"nas.example. 60 IN A 192.168.1.5\"").unwrap();
        assert_eq!((a.rtype, a.ttl, &a.rdata[..]), (Rtype::A, 60, &[192, 168, 1, 5][..]));
        let mx = read::<Line>("\"post.example MX 10 mail.post.example.\"").unwrap();
        assert_eq!((mx.ttl, &mx.rdata[..8]), (300, &[0, 10, 4, b'm', b'a', b'i', b'l', 4][..]));
        let ds = read::<Line>("\". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"").unwrap();
        assert_eq!((ds.rtype, ds.rdata.len()), (Rtype::DS, 36));
        assert_eq!(&read::<Line>("\"x.example TYPE65280 \\\\# 2 c0de\"").unwrap().rdata[..], [0xc0, 0xde]);
        assert!(read::<Line>("\"nas.example. A 192.168.1\"").unwrap_err().what.contains("no A data"));
        assert!(read::<Line>("\"nas.example.\"").is_err());
    }

    #[test]
    fn moments_are_utc_seconds() {
        assert_eq!(read::<Moment>("\"1970-01-02\"").unwrap().0, 86_400);
        assert_eq!(read::<Moment>("2024-02-29T12:00:01Z").unwrap().0, 1_709_208_001);
        assert_eq!(read::<Moment>("\"2026-11-21\"").unwrap().0, 1_795_219_200);
        assert!(read::<Moment>("\"2026-13-01\"").is_err());
        assert!(read::<Moment>("\"2026-11-21T10:00:00+01:00\"").is_err());
    }
}
