//! Who holds a port: so that "address in use" comes with a process and not with a riddle.
//!
//! /proc/net/{udp,udp6,tcp,tcp6} give the inode of the socket, /proc/*/fd the process that has it open. A process of another user is
//! seen only by root; then there is a holder and no name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// The kinds of sockets that listen for DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// Finds the process whose socket takes `address`, a wildcard one included.
pub fn of(address: SocketAddr, kind: Kind) -> Option<Holder> {
    let tables = match kind {
        Kind::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Kind::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| inode(line, address, kind)).collect::<Vec<_>>())
        .collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let open = std::fs::read_dir(process.path().join("fd")).ok()?;
        let holds = |link: &Path| std::fs::read_link(link).is_ok_and(|to| wanted.iter().any(|w| Path::new(w) == to));
        open.flatten().any(|fd| holds(&fd.path())).then(|| {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            Holder { pid, name: name.trim().to_owned() }
        })
    })
}

/// The inode of a line of the table, where its socket takes `address`.
fn inode(line: &str, address: SocketAddr, kind: Kind) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let local = socket(fields.next()?)?;
    let state = fields.nth(1)?;
    // 0A is LISTEN; UDP sockets that wait for anybody are 07.
    let listens = kind == Kind::Udp || state == "0A";
    let same = local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified();
    (listens && same && local.port() == address.port()).then(|| fields.nth(5).map(str::to_owned))?
}

/// `0100007F:0035`: each 32-bit word in the byte order of the machine.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<u8>> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let words = words?;
    let address = match words.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(words).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let holder = of(udp.local_addr().unwrap(), Kind::Udp).unwrap();
        assert_eq!(holder.pid, std::process::id());
        let tcp = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(of(SocketAddr::new("127.0.0.1".parse().unwrap(), port), Kind::Tcp).unwrap().pid, std::process::id());
        drop(tcp);
        assert_eq!(of(SocketAddr::new("127.0.0.1".parse().unwrap(), port), Kind::Tcp), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_table_are_read() {
        assert_eq!(socket("0100007F:0035").unwrap(), "127.0.0.1:53".parse().unwrap());
        assert_eq!(socket("00000000000000000000000001000000:14B4").unwrap(), "[::1]:5300".parse().unwrap());
        assert_eq!(socket("nonsense"), None);
    }
}
