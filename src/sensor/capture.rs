//! Live capture: frames from network interfaces, through pnet.
//!
//! The socket is opened here, with a receive buffer for bursts and a kernel filter ([`super::filter`]) that lets through what the
//! sensor reads; pnet binds it to an interface in promiscuous mode and reads from it. What the kernel had to drop is asked from the
//! socket itself. Times are those of reading, not of arrival: under load, round-trip times are too long by what waited in the buffer.
//! The kernel takes the outer VLAN tag off before a packet socket sees the frame, so that it is unknown here.

#![allow(clippy::disallowed_methods, reason = "the sensor's own shell: it owns the capturing sockets and the clock")]

use std::io;
use std::net::IpAddr;
use std::os::fd::IntoRawFd as _;
use std::time::{Duration, SystemTime};

use pnet::datalink::{self, Channel, ChannelType, DataLinkReceiver, NetworkInterface};
use socket2::{Domain, Socket, Type};

use super::filter;
use super::link::LinkType;
use crate::sys::linux::packet::{self, Statistics};

/// Receive buffer asked for, in octets: a second of 40,000 queries and responses of 200 octets, as the kernel reckons them.
/// Root gets it; others get what `net.core.rmem_max` allows.
pub const BUFFER: usize = 32 << 20;
/// Room for one frame: receive offload hands over up to 64 KiB of TCP as one.
const FRAME: usize = 65_536 + 64;
/// Longest wait for a frame, so that time-outs and the end are noticed on a silent network.
const WAIT: Duration = Duration::from_millis(200);

/// Why an interface cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is no such interface.
    #[error("there is no interface {0:?}; there are: {1}")]
    NoInterface(String, String),
    /// The system refuses.
    #[error("{0}: {1}")]
    Refused(String, #[source] io::Error),
}

/// One interface being watched.
pub struct Capture {
    name: String,
    link: LinkType,
    /// The same socket that pnet reads, to ask it for its statistics.
    socket: Socket,
    receiver: Box<dyn DataLinkReceiver>,
    statistics: Statistics,
}

impl Capture {
    /// Opens a socket on an interface and starts to capture what `ports` and the encrypted ports concern.
    ///
    /// # Errors
    /// [`CaptureError`]: no such interface, or no right to capture (`CAP_NET_RAW`).
    pub fn open(name: &str, ports: &[u16]) -> Result<Capture, CaptureError> {
        let interfaces = datalink::interfaces();
        let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
            let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
            return Err(CaptureError::NoInterface(name.to_owned(), names.join(", ")));
        };
        open(interface, ports).map_err(|error| CaptureError::Refused(name.to_owned(), error))
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its frames are to be read.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// The next frame with its time, since 1970; `None` when none came for a while.
    ///
    /// # Errors
    /// What the system says, such as that the interface went down.
    pub fn next_frame(&mut self) -> io::Result<Option<(Duration, &[u8])>> {
        match self.receiver.next() {
            Ok(frame) => Ok(Some((now(), frame))),
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Frames that passed the filter since the start, and how many of them the kernel dropped for want of room.
    ///
    /// # Errors
    /// What the system says.
    pub fn statistics(&mut self) -> io::Result<Statistics> {
        // The kernel starts at zero again with every question.
        self.statistics += packet::statistics(&self.socket)?;
        Ok(self.statistics)
    }
}

/// The addresses of this machine.
pub fn own_addresses() -> Vec<IpAddr> {
    datalink::interfaces().iter().flat_map(|interface| interface.ips.iter().map(|network| network.ip())).collect()
}

/// The wall clock, since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn open(interface: &NetworkInterface, ports: &[u16]) -> io::Result<Capture> {
    // Protocol 0: nothing is captured before the filter stands and pnet has bound the socket to the interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    packet::receive_buffer(&socket, BUFFER)?;
    // Interfaces without a hardware address (tun, PPP) give bare IP packets, which the filter's offsets do not fit.
    let link = if interface.mac.is_some() { LinkType::ETHERNET } else { LinkType::RAW };
    if link == LinkType::ETHERNET {
        socket.attach_filter(&filter::program(ports))?;
    }
    let config = datalink::Config {
        read_buffer_size: FRAME,
        write_buffer_size: 64,
        read_timeout: Some(WAIT),
        channel_type: ChannelType::Layer2,
        socket_fd: Some(socket.try_clone()?.into_raw_fd()),
        ..datalink::Config::default()
    };
    match datalink::channel(interface, config)? {
        Channel::Ethernet(_, receiver) => {
            Ok(Capture { name: interface.name.clone(), link, socket, receiver, statistics: Statistics::default() })
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
