//! What the standard library does not offer of the operating system: batched datagrams, the address a datagram was sent to, privileges.
//!
//! [`linux`] holds the only unsafe code of the project; `portable` has the same interface without it, for other systems and as the
//! other side of the same tests. Opening sockets with the right options is done here; what is said over them is `listen`'s.

#![allow(clippy::disallowed_methods, reason = "the shell owns sockets and files")]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(any(not(target_os = "linux"), test))]
pub mod portable;

#[cfg(target_os = "linux")]
pub use linux::{Batch, send_to};
#[cfg(not(target_os = "linux"))]
pub use portable::{Batch, send_to};

#[cfg(target_os = "linux")]
use linux::prepare_udp;
#[cfg(not(target_os = "linux"))]
use portable::prepare_udp;

/// Room for one received datagram in octets. No honest query is longer than a link's frame; a longer one arrives cut.
pub const RECEIVE_MAX: usize = 2048;
/// Datagrams of one batch: past it the system calls saved no longer show.
pub const BATCH: usize = 32;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The address of ours that a datagram was sent to, so that the answer leaves from it. Known on wildcard sockets only; elsewhere the
/// socket itself says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Local {
    /// Our address, `None` where the kernel chooses rightly by itself.
    pub address: Option<IpAddr>,
    /// Index of the interface it came in by; needed for link-local addresses.
    pub interface: u32,
}

/// One received datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Its octets, at most [`RECEIVE_MAX`].
    pub bytes: &'a [u8],
    /// Who sent it; an IPv6 link-local address carries its scope.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub local: Local,
    /// It was longer than the room for it.
    pub cut: bool,
}

/// What became of the replies of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: usize,
    /// Refused by it.
    pub failed: usize,
}

/// Options of a listening UDP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpOptions {
    /// Receive buffer in octets; the kernel may grant less. Default 4 MiB: at start-up, bursts overflow the usual 208 KiB.
    pub receive_buffer: usize,
    /// Send buffer in octets. Default 1 MiB.
    pub send_buffer: usize,
    /// Longest wait of one receive call, so that a worker notices that it is to stop. Default 200 ms.
    pub wait: Duration,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions { receive_buffer: 4 << 20, send_buffer: 1 << 20, wait: Duration::from_millis(200) }
    }
}

/// Opens one of several UDP sockets on the same address, between which the kernel spreads clients (`SO_REUSEPORT`).
///
/// # Errors
/// What the system says; `AddrInUse` where a socket without `SO_REUSEPORT` or of another user has the address.
pub fn bind_udp(address: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(true)?;
    // The kernel grants what it may; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(options.receive_buffer);
    let _ = socket.set_send_buffer_size(options.send_buffer);
    socket.set_read_timeout(Some(options.wait))?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    prepare_udp(&socket, address)?;
    Ok(socket)
}

/// Opens a listening TCP socket.
///
/// # Errors
/// What the system says.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for the connections of the last run to fade; on Linux this does not share a port that is listened on.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether somebody has the UDP address already, even if he would share it: our sockets share a port with each other only.
///
/// # Errors
/// `AddrInUse` where it is taken, or what else keeps us from binding it.
pub fn probe_udp(address: SocketAddr) -> io::Result<()> {
    open(address, Type::DGRAM, Protocol::UDP)?.bind(&address.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own; mapped addresses would dodge rules written for either family.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Whether a receive call ended because its time was up or a signal came, which is no failure.
fn is_wait_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
