//! Packet sockets: what `socket2` does not know of them.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// What a packet socket has seen (packet(7), `PACKET_STATISTICS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Frames that passed the filter, dropped ones included.
    pub seen: u64,
    /// Frames dropped because the receive buffer was full.
    pub dropped: u64,
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Statistics) {
        self.seen += other.seen;
        self.dropped += other.dropped;
    }
}

/// Frames seen and dropped since this was last asked.
///
/// # Errors
/// What the system says: not a packet socket.
pub fn statistics(socket: &Socket) -> io::Result<Statistics> {
    let mut raw = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; pointer and length are those of one live struct of integers,
    // and the kernel writes no more than the length says.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, (&raw mut raw).cast(), &raw mut length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Statistics { seen: raw.tp_packets.into(), dropped: raw.tp_drops.into() })
}

/// Asks for a receive buffer of so many octets: beyond the system's limit with `CAP_NET_ADMIN`, else up to it.
///
/// # Errors
/// What the system says; a smaller buffer than asked for is none.
pub fn receive_buffer(socket: &Socket, octets: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
    // SAFETY: as above, and the kernel only reads the one live integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { socket.set_recv_buffer_size(octets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn only_packet_sockets_have_statistics_and_all_have_buffers() {
        let udp = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        assert!(statistics(&udp).is_err());
        receive_buffer(&udp, 1 << 20).unwrap();
        assert!(udp.recv_buffer_size().unwrap() > 0);
    }
}
