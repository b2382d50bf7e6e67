//! Datagrams by the batch: `recvmmsg`, `sendmmsg`, and the packet information that tells which address was asked (`IP_PKTINFO`,
//! RFC 3542 section 6 for IPv6).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use super::super::{BATCH, Datagram, Local, RECEIVE_MAX, Sent, is_wait_over};

/// Room for one packet information in either family, aligned as the kernel wants control messages.
type Control = [u64; 8];

/// What the kernel fills and reads for one datagram.
#[repr(C)]
struct Slot {
    name: libc::sockaddr_storage,
    control: Control,
    receive: libc::iovec,
    send: libc::iovec,
    bytes: [u8; RECEIVE_MAX],
}

/// Room for [`BATCH`] datagrams and their replies. Belongs to one thread.
pub struct Batch {
    /// Allocated once; the headers below point into it, and every access goes through this pointer.
    slots: NonNull<Slot>,
    incoming: Box<[libc::mmsghdr]>,
    outgoing: Box<[libc::mmsghdr]>,
    replies: Box<[Vec<u8>]>,
    received: usize,
}

impl Batch {
    /// Room for a batch; `reply` is the longest reply in octets.
    pub fn new(reply: usize) -> Batch {
        // SAFETY: a Slot is made of integers, arrays of them and null pointers, for all of which zero octets are a value.
        let slots: Box<[Slot]> = (0..BATCH).map(|_| unsafe { zeroed() }).collect();
        let slots = NonNull::new(Box::into_raw(slots).cast::<Slot>()).expect("invariant: a box is not null");
        // SAFETY: as above, an mmsghdr may be all zero.
        let empty = || (0..BATCH).map(|_| unsafe { zeroed::<libc::mmsghdr>() }).collect();
        let replies = (0..BATCH).map(|_| Vec::with_capacity(reply)).collect();
        let mut batch = Batch { slots, incoming: empty(), outgoing: empty(), replies, received: 0 };
        (0..BATCH).for_each(|index| batch.arm(index));
        batch
    }

    /// Makes one slot ready to receive.
    fn arm(&mut self, index: usize) {
        let slot = self.slot_ptr(index);
        // SAFETY: `slot` points to a live Slot (see `slot_ptr`), and `&raw` takes the addresses of its fields without a reference. No
        // reference into it is alive, since `self` is borrowed mutably.
        unsafe {
            (*slot).receive = libc::iovec { iov_base: (&raw mut (*slot).bytes).cast(), iov_len: RECEIVE_MAX };
            let header = &mut self.incoming[index].msg_hdr;
            header.msg_name = (&raw mut (*slot).name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut (*slot).receive;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut (*slot).control).cast();
            header.msg_controllen = size_of::<Control>();
            header.msg_flags = 0;
        }
    }

    fn slot_ptr(&self, index: usize) -> *mut Slot {
        assert!(index < BATCH);
        // SAFETY: `slots` is an allocation of BATCH slots that lives as long as `self`, and the index is below BATCH.
        unsafe { self.slots.as_ptr().add(index) }
    }

    /// Waits for a datagram and takes all that are there, up to [`BATCH`]; 0 where none came within the socket's read timeout.
    ///
    /// # Errors
    /// What the system says; the batch is then empty.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // Only what was used is made ready again: slots that were not touched stay out of the CPU's cache.
        for index in 0..self.received {
            self.arm(index);
            self.replies[index].clear();
        }
        self.received = 0;
        // SAFETY: `incoming` holds BATCH headers, and each points to the name, control and octets of its own slot with their true
        // lengths; all of it lives as long as `self`, which is borrowed mutably, so that nobody reads while the kernel writes.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.incoming.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_WAITFORONE, ptr::null_mut())
        };
        match usize::try_from(count) {
            Ok(count) => {
                self.received = count;
                Ok(count)
            }
            Err(_) => match io::Error::last_os_error() {
                error if is_wait_over(&error) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// A received datagram and the place for its reply, which is empty; one left empty is not sent.
    pub fn slot(&mut self, index: usize) -> (Datagram<'_>, &mut Vec<u8>) {
        assert!(index < self.received);
        let slot = self.slot_ptr(index);
        // SAFETY: `slot` points to a live Slot; the kernel is done with it since `receive` returned, and writes again only when
        // `receive` borrows `self` mutably, which ends this reference.
        let slot = unsafe { &*slot };
        let header = &self.incoming[index];
        let datagram = Datagram {
            bytes: &slot.bytes[..(header.msg_len as usize).min(RECEIVE_MAX)],
            from: address(&slot.name),
            local: local(&header.msg_hdr),
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        (datagram, &mut self.replies[index])
    }

    /// Sends every reply that is not empty to where its query came from, from the address that was asked.
    pub fn send(&mut self, socket: &UdpSocket) -> Sent {
        let mut count = 0;
        for index in 0..self.received {
            let reply = &self.replies[index];
            if reply.is_empty() {
                continue;
            }
            let slot = self.slot_ptr(index);
            let incoming = &self.incoming[index].msg_hdr;
            let local = local(incoming);
            let header = &mut self.outgoing[count].msg_hdr;
            // SAFETY: `slot` points to a live Slot without a reference alive into it, since `self` is borrowed mutably; the iovec
            // covers exactly the reply, which the kernel only reads and which is not touched before `sendmmsg` returns.
            unsafe {
                (*slot).send = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
                header.msg_name = (&raw mut (*slot).name).cast();
                header.msg_namelen = incoming.msg_namelen;
                header.msg_iov = &raw mut (*slot).send;
                header.msg_iovlen = 1;
                header.msg_controllen = local.address.map_or(0, |from| write_control(&mut (*slot).control, from, local.interface));
                header.msg_control = if header.msg_controllen == 0 { ptr::null_mut() } else { (&raw mut (*slot).control).cast() };
            }
            count += 1;
        }
        let (mut done, mut result) = (0, Sent::default());
        while done < count {
            // SAFETY: the headers from `done` to `count` were filled above and point to live names, controls and replies.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), &mut self.outgoing[done], (count - done) as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(sent @ 1..) => {
                    done += sent;
                    result.sent += sent;
                }
                // The first of the rest was refused: step over it, the others may pass.
                _ => {
                    done += 1;
                    result.failed += 1;
                }
            }
        }
        result
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let slots = ptr::slice_from_raw_parts_mut(self.slots.as_ptr(), BATCH);
        // SAFETY: the pointer came from Box::into_raw of a slice of BATCH slots and is given back once.
        drop(unsafe { Box::from_raw(slots) });
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("received", &self.received).finish_non_exhaustive()
    }
}

/// Sends one datagram from the address that was asked.
///
/// # Errors
/// What the system says.
pub fn send_to(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, local: Local) -> io::Result<()> {
    let Some(from) = local.address else { return socket.send_to(bytes, to).map(|_| ()) };
    let to = socket2::SockAddr::from(to);
    let mut control: Control = [0; 8];
    let mut iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_controllen = write_control(&mut control, from, local.interface);
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: name, iovec, octets and control live until the call returns, with their true lengths; the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, 0) };
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The sender of a datagram. The kernel writes no other families on these sockets.
fn address(name: &libc::sockaddr_storage) -> SocketAddr {
    if libc::c_int::from(name.ss_family) == libc::AF_INET6 {
        // SAFETY: a sockaddr_storage is large and aligned enough for every address, and the family says that it is this one.
        let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), u32::from_be(v6.sin6_flowinfo), v6.sin6_scope_id).into()
    } else {
        // SAFETY: as above; all-zero octets read as 0.0.0.0, which is dropped as forged.
        let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
        SocketAddrV4::new(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)).into()
    }
}

/// The address of ours that a datagram was sent to, from its packet information. An IPv6 multicast address is no source.
fn local(header: &libc::msghdr) -> Local {
    if header.msg_controllen == 0 {
        return Local::default();
    }
    // SAFETY: the header's control pointer and length were set by the kernel over a live Control; CMSG_FIRSTHDR gives null or a
    // header inside it, and the data is read unaligned and only where the length says that it is all there.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return Local::default();
        }
        let (level, kind, len) = ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len);
        let data = libc::CMSG_DATA(message);
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO)
            && len >= libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize
        {
            let found = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
            let address = Ipv4Addr::from_bits(u32::from_be(found.ipi_spec_dst.s_addr));
            return Local { address: Some(address.into()), interface: found.ipi_ifindex as u32 };
        }
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
            && len >= libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as libc::c_uint) as usize
        {
            let found = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
            let address = Ipv6Addr::from(found.ipi6_addr.s6_addr);
            return Local { address: (!address.is_multicast()).then_some(address.into()), interface: found.ipi6_ifindex };
        }
    }
    Local::default()
}

/// Writes packet information that sets the source address; gives the length of the control message.
fn write_control(control: &mut Control, from: IpAddr, interface: u32) -> usize {
    match from {
        IpAddr::V4(from) => {
            let found = libc::in_pktinfo {
                // The route decides the interface; only the address must be the one asked.
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: from.to_bits().to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, found)
        }
        IpAddr::V6(from) => {
            let found = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                // A link-local address means something on its link only.
                ipi6_ifindex: if from.is_unicast_link_local() { interface } else { 0 },
            };
            put_control(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, found)
        }
    }
}

fn put_control<T: Copy>(control: &mut Control, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: these two only calculate.
    let (space, filled) = unsafe { (libc::CMSG_SPACE(len) as usize, libc::CMSG_LEN(len) as usize) };
    assert!(space <= size_of::<Control>());
    *control = [0; 8];
    let message = control.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: the buffer is aligned for a cmsghdr and, by the assertion, holds the header and the value behind it.
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = filled;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), value);
    }
    space
}
