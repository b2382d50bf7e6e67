//! Where to listen: what the configuration names, or a choice that fits the machine, told in one line.
//!
//! Each address is bound once without SO_REUSEPORT before the workers share it: with SO_REUSEPORT a second daemon would bind without
//! an error and take half of the queries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pnet::datalink::NetworkInterface;

use super::holder::{self, Kind};
use crate::config::Config;
use crate::guard::Prefix;
use crate::sys;

/// The port of DNS.
const PORT: u16 = 53;
/// Where plain `serve` goes when port 53 is not to be had.
const SECOND_PORT: u16 = 5300;

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody else has it.
    #[error("{address} ({kind:?}) is taken by {holder}\nhint: {hint}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        kind: Kind,
        /// Process and name.
        holder: String,
        /// What to do.
        hint: String,
    },
    /// It takes a right that we do not have.
    #[error(
        "{0} may not be bound by this user\nhint: start as root with `user` set, give the program CAP_NET_BIND_SERVICE, or choose a port \
         above 1023"
    )]
    Forbidden(SocketAddr),
    /// Not an address of this machine, or another failure.
    #[error("{address} cannot be bound: {source}\nhint: check listen.addresses against `ip address`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where to listen, and why there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Addresses; port 0 lets the system choose.
    pub addresses: Vec<SocketAddr>,
    /// One line for the person at the terminal.
    pub said: String,
}

/// Chooses, and sees to it that nobody else holds the addresses.
///
/// # Errors
/// [`PortError`] for the first address that cannot be used.
pub fn choose(config: &Config, served: &str) -> Result<Choice, PortError> {
    if config.lan {
        let addresses = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), (Ipv6Addr::UNSPECIFIED, PORT).into()];
        return Ok(Choice { addresses: usable(addresses)?, said: format!("serving port 53 on all addresses for {served}") });
    }
    if config.listen.addresses.is_empty() {
        let loopback = |port| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()];
        return match usable(loopback(PORT)) {
            Ok(addresses) => Ok(Choice { addresses, said: "serving this machine on port 53".into() }),
            Err(error) => {
                let why = match error {
                    PortError::Taken { holder, .. } => format!("port 53 is taken by {holder}"),
                    _ => "port 53 may not be bound by this user".to_owned(),
                };
                Ok(Choice { addresses: usable(loopback(SECOND_PORT))?, said: format!("serving this machine on port {SECOND_PORT}: {why}") })
            }
        };
    }
    let addresses = wanted(config);
    for address in &addresses {
        probe(*address)?;
    }
    let said = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    Ok(Choice { addresses, said: format!("serving {said} for {served}") })
}

/// The addresses that the configuration names.
pub fn wanted(config: &Config) -> Vec<SocketAddr> {
    config.listen.addresses.iter().map(|server| server.or_port(PORT)).collect()
}

/// The addresses that exist on this machine: one without IPv6, or without IPv4, serves what it has.
fn usable(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, PortError> {
    let mut usable = Vec::new();
    for address in &addresses {
        match probe(*address) {
            Ok(()) => usable.push(*address),
            Err(PortError::Bind { source, .. }) if no_such_family(&source) => {}
            Err(error) => return Err(error),
        }
    }
    match usable.is_empty() {
        false => Ok(usable),
        true => Err(PortError::Bind { address: addresses[0], source: std::io::ErrorKind::AddrNotAvailable.into() }),
    }
}

fn no_such_family(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Binds and lets go again, to learn whether the address is free and ours to take.
fn probe(address: SocketAddr) -> Result<(), PortError> {
    if address.port() == 0 {
        return Ok(());
    }
    let refused = |source: std::io::Error, kind: Kind| match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            let holder = holder::of(address, kind);
            let hint = match &holder {
                Some(holder) if holder.name.starts_with("systemd-resolve") => {
                    "write DNSStubListener=no into /etc/systemd/resolved.conf and restart it, or listen on other addresses".into()
                }
                Some(holder) => format!("stop process {}, or choose another address in listen.addresses", holder.pid),
                None => "`ss -lpn` as root shows who it is; or choose another address in listen.addresses".into(),
            };
            let holder = holder.map_or("a process of another user".into(), |h| format!("process {} ({})", h.pid, h.name));
            PortError::Taken { address, kind, holder, hint }
        }
        std::io::ErrorKind::PermissionDenied => PortError::Forbidden(address),
        _ => PortError::Bind { address, source },
    };
    sys::probe_udp(address).map_err(|e| refused(e, Kind::Udp))?;
    // With SO_REUSEADDR: connections that linger from our last run are no holder.
    sys::bind_tcp(address).map(drop).map_err(|e| refused(e, Kind::Tcp))
}

/// The networks that this machine is directly connected to.
pub fn connected() -> Vec<Prefix> {
    networks(&pnet::datalink::interfaces())
}

fn networks(interfaces: &[NetworkInterface]) -> Vec<Prefix> {
    let ours = interfaces.iter().filter(|interface| interface.is_up() && !interface.is_loopback()).flat_map(|interface| &interface.ips);
    let mut networks: Vec<Prefix> = Vec::new();
    for network in ours {
        // A prefix of length 0 is a mistake of the interface and would open the resolver to the world.
        if let Some(prefix) = Prefix::new(network.ip(), network.prefix()).filter(|p| !p.is_everything() && !networks.contains(p)) {
            networks.push(prefix);
        }
    }
    networks
}

/// The addresses under which clients reach us, for what is told at the start.
pub fn own_addresses() -> Vec<IpAddr> {
    let interfaces = pnet::datalink::interfaces();
    let ours = interfaces.iter().filter(|interface| interface.is_up() && !interface.is_loopback());
    ours.flat_map(|interface| interface.ips.iter().map(|network| network.ip())).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn listening_on(address: SocketAddr) -> Config {
        crate::config::from_text("f", &format!("[listen]\naddresses = [\"{address}\"]"), None).unwrap()
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_process() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = choose(&listening_on(udp.local_addr().unwrap()), "").unwrap_err().to_string();
        assert!(error.contains(&format!("(Udp) is taken by process {}", std::process::id())), "{error}");
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let error = choose(&listening_on(tcp.local_addr().unwrap()), "").unwrap_err().to_string();
        assert!(error.contains(&format!("(Tcp) is taken by process {}", std::process::id())), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        assert!(matches!(choose(&listening_on("192.0.2.1:5300".parse().unwrap()), ""), Err(PortError::Bind { .. })));
        assert!(choose(&listening_on("127.0.0.1:0".parse().unwrap()), "").is_ok());
    }

    #[test]
    fn connected_networks_leave_out_loopback_and_what_is_down() {
        let up = pnet::datalink::interfaces().iter().find(|i| i.is_loopback() && i.is_up()).map_or(1 | 8, |i| i.flags & 1);
        let interface = |ip: &str, flags: u32| NetworkInterface {
            name: "eth0".into(),
            description: String::new(),
            index: 2,
            mac: None,
            ips: vec![ip.parse().unwrap()],
            flags,
        };
        let found = networks(&[
            interface("203.0.113.7/24", up),
            interface("203.0.113.8/24", up),
            interface("198.51.100.1/24", 0),
            interface("127.0.0.1/8", up | libc::IFF_LOOPBACK as u32),
            interface("203.0.113.7/0", up),
        ]);
        assert_eq!(found, ["203.0.113.0/24".parse().unwrap()]);
    }
}
