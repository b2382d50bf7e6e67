//! The Linux system calls that nothing safe wraps: the only unsafe code of the project.
//!
//! `recvmmsg` and `sendmmsg` in [`batch`], socket options here, privileges and CPUs in [`process`], packet sockets in [`packet`]. Every
//! block names the fact that makes it sound.

#![allow(unsafe_code, reason = "system calls; the rest of the crate denies it")]
#![warn(clippy::undocumented_unsafe_blocks)]

mod batch;
pub mod packet;
pub mod process;

use std::fs::File;
use std::io;
use std::mem::size_of_val;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

pub use batch::{Batch, send_to};

/// Sets what `socket2` does not know: the asked address of each datagram on wildcard sockets, and no path MTU discovery.
pub(super) fn prepare_udp(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    if address.is_ipv4() {
        // RFC 9715 section 3.1: forged ICMP must not lower the path MTU and with it make us send fragments.
        set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_OMIT)?;
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_OMIT)?;
    }
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &on),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on),
        _ => Ok(()),
    }
}

fn set(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: &libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer and length are those of one live c_int,
    // which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size_of_val(value) as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads at `offset` what is in the page cache already. `None` where the disk would have to be waited for.
///
/// # Errors
/// What the system says. A file system that cannot tell counts as having to wait.
pub fn read_at_nowait(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
    let iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the one iovec covers exactly `buffer`, which is borrowed
    // mutably, so the kernel writes only into memory that nobody else looks at.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &iovec, 1, offset, libc::RWF_NOWAIT) };
    match usize::try_from(read) {
        Ok(read) => Ok(Some(read)),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(None),
            error => Err(error),
        },
    }
}
