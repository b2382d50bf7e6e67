//! The networks that are served (RFC 5358: a recursive resolver serves its own clients only).
//!
//! IPv4-mapped IPv6 addresses count as the IPv4 address inside, whatever socket they arrived on. Finding the directly connected
//! networks is `sys`'s job; refusing or keeping silent is the listener's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: address and prefix length, host bits cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

/// Text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network (write 192.0.2.0/24, 2001:db8::/32 or a single address)")]
pub struct BadPrefix(pub String);

/// Loopback, private (RFC 1918), shared (RFC 6598), unique local (RFC 4193) and IPv6 link-local networks.
pub const PRIVATE: [Prefix; 8] = [
    v4(127, 0, 8),
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(100, 64, 10),
    Prefix { network: IpAddr::V6(Ipv6Addr::LOCALHOST), length: 128 },
    Prefix { network: IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), length: 7 },
    Prefix { network: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), length: 10 },
];

const fn v4(a: u8, b: u8, length: u8) -> Prefix {
    Prefix { network: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), length }
}

impl Prefix {
    /// The network of `length` bits that holds `address`; `None` where the family has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let (address, length) = match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && length >= 96 => (address.to_canonical(), length - 96),
            other => (other, length),
        };
        let network = match address {
            IpAddr::V4(ip) if length <= 32 => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask4(length))),
            IpAddr::V6(ip) if length <= 128 => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask6(length))),
            _ => return None,
        };
        Some(Prefix { network, length })
    }

    /// First address and length in bits.
    pub fn parts(self) -> (IpAddr, u8) {
        (self.network, self.length)
    }

    /// Whether it is the whole of its family: an open resolver.
    pub fn is_everything(self) -> bool {
        self.length == 0
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;
    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let bad = || BadPrefix(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(whole), str::parse).map_err(|_| bad())?;
        Prefix::new(address, length).ok_or_else(bad)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// A set of networks. A handful in practice, so a scan beats any tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Acl {
    /// Exactly these networks.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Acl {
        let mut acl = Acl::default();
        for prefix in prefixes {
            match prefix.network {
                IpAddr::V4(ip) => acl.v4.push((ip.to_bits(), mask4(prefix.length))),
                IpAddr::V6(ip) => acl.v6.push((ip.to_bits(), mask6(prefix.length))),
            }
        }
        acl
    }

    /// The default: [`PRIVATE`] and the directly connected networks given.
    pub fn closed(connected: impl IntoIterator<Item = Prefix>) -> Acl {
        Acl::new(PRIVATE.into_iter().chain(connected))
    }

    /// Whether `address` is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => self.v4.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
            IpAddr::V6(ip) => self.v6.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_serves_private_and_connected_networks_only() {
        let acl = Acl::closed(["203.0.113.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()]);
        let served = "127.0.0.1 10.255.0.1 172.31.255.255 192.168.1.1 100.127.0.1 203.0.113.77 ::1 fd00::1 fe80::1 \
            2001:db8:1::5 ::ffff:10.0.0.1";
        for address in served.split_whitespace() {
            assert!(acl.contains(ip(address)), "{address}");
        }
        let refused = "8.8.8.8 169.254.1.1 172.32.0.1 100.128.0.1 203.0.114.1 11.0.0.1 2001:db8:2::5 fec0::1 ::2 ::ffff:8.8.8.8 ::10.0.0.1";
        for address in refused.split_whitespace() {
            assert!(!acl.contains(ip(address)), "{address}");
        }
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        let open6 = Acl::new(["::/0".parse().unwrap()]);
        assert!(open6.contains(ip("2001:db8::1")) && !open6.contains(ip("192.0.2.1")) && !open6.contains(ip("::ffff:192.0.2.1")));
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().is_everything());
    }

    #[test]
    fn prefixes_print_and_parse_and_refuse_nonsense() {
        for (text, printed) in [("192.0.2.77/24", "192.0.2.0/24"), ("::1", "::1/128"), ("::ffff:10.1.2.3/104", "10.0.0.0/8")] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), printed);
        }
        for bad in ["192.0.2.0/33", "::/129", "nonsense", "192.0.2.0/", "192.0.2.0/-1"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_in_exactly_the_prefixes_that_share_its_leading_bits(a in any::<u32>(), b in any::<u32>(), length in 0u8..=32) {
            let acl = Acl::new(Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(a)), length));
            let shared = (a ^ b).leading_zeros() >= u32::from(length);
            prop_assert_eq!(acl.contains(IpAddr::V4(Ipv4Addr::from_bits(b))), shared);
        }
    }
}
