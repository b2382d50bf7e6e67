//! The interface of [`super::linux`] in safe code: one datagram a batch, and the kernel chooses the source address.
//!
//! On a wildcard socket of a machine with several addresses the answer may leave from another one than was asked; bind each address.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::{Datagram, Local, RECEIVE_MAX, Sent};

/// A batch of one.
#[derive(Debug)]
pub struct Batch {
    incoming: Box<[u8]>,
    received: Option<(usize, SocketAddr)>,
    reply: Vec<u8>,
}

impl Batch {
    /// Room for one datagram and its reply; `reply` is the longest reply in octets.
    pub fn new(reply: usize) -> Batch {
        // One octet more than the limit tells a cut datagram from one that just fits.
        Batch { incoming: vec![0; RECEIVE_MAX + 1].into(), received: None, reply: Vec::with_capacity(reply) }
    }

    /// Waits for a datagram; 0 where none came within the socket's read timeout.
    ///
    /// # Errors
    /// What the system says; the batch is then empty.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.reply.clear();
        self.received = None;
        match socket.recv_from(&mut self.incoming) {
            Ok(received) => {
                self.received = Some(received);
                Ok(1)
            }
            Err(error) if super::is_wait_over(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The datagram and the place for its reply, which is empty; one left empty is not sent.
    pub fn slot(&mut self, _index: usize) -> (Datagram<'_>, &mut Vec<u8>) {
        let (len, from) = self.received.expect("invariant: only what receive has counted is asked for");
        let bytes = &self.incoming[..len.min(RECEIVE_MAX)];
        (Datagram { bytes, from, local: Local::default(), cut: len > RECEIVE_MAX }, &mut self.reply)
    }

    /// Sends the reply.
    pub fn send(&mut self, socket: &UdpSocket) -> Sent {
        match self.received {
            Some((_, to)) if !self.reply.is_empty() => match socket.send_to(&self.reply, to) {
                Ok(_) => Sent { sent: 1, failed: 0 },
                Err(_) => Sent { sent: 0, failed: 1 },
            },
            _ => Sent::default(),
        }
    }
}

/// Sends one datagram.
///
/// # Errors
/// What the system says.
pub fn send_to(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, _local: Local) -> io::Result<()> {
    socket.send_to(bytes, to).map(|_| ())
}

/// Nothing to prepare.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "the tests on Linux bind by the Linux way"))]
pub(super) fn prepare_udp(_socket: &UdpSocket, _address: SocketAddr) -> io::Result<()> {
    Ok(())
}
