//! One query, one socket, one random port (RFC 5452 section 9.2).
//!
//! The port comes from the system's CSPRNG and the socket is connected, so that the kernel drops what comes from elsewhere and reports
//! ICMP errors. A reply that does not match is counted and waited past: whoever guesses gets no second chance by making us give up.

#![allow(clippy::disallowed_methods, reason = "the shell owns sockets")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::{Match, Settings, answers};
use crate::resolve::ExchangeError;

/// Room for a reply. We ask for 1232 octets; what sends more gets cut and is then malformed.
const REPLY_MAX: usize = 4096;
/// How long a query waits for one of our own places before it is given up: long enough for a burst to pass, and not the server's time.
const PLACE_WAIT: Duration = Duration::from_secs(1);
/// Ports tried before a query counts as unreachable: with half the range taken, one in 65,000 fails.
const PORT_TRIES: usize = 16;

/// The UDP side of the network.
#[derive(Debug)]
pub(super) struct Udp {
    in_flight: Semaphore,
    ports: RangeInclusive<u16>,
    source_v4: Ipv4Addr,
    source_v6: Ipv6Addr,
}

impl Udp {
    pub(super) fn new(settings: &Settings) -> Udp {
        Udp {
            in_flight: Semaphore::new(settings.udp_sockets),
            ports: settings.ports.clone(),
            source_v4: settings.source_v4,
            source_v6: settings.source_v6,
        }
    }

    pub(super) async fn exchange(&self, to: SocketAddr, query: &[u8], timeout: Duration) -> Result<Vec<u8>, ExchangeError> {
        let place = tokio::time::timeout(PLACE_WAIT, self.in_flight.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(ExchangeError::Busy) };
        let mut ignored = 0;
        let exchange = async {
            let socket = self.socket(to).map_err(|_| ExchangeError::Unreachable)?;
            socket.send(query).await.map_err(|_| ExchangeError::Unreachable)?;
            let mut reply = vec![0; REPLY_MAX];
            loop {
                let len = socket.recv(&mut reply).await.map_err(|_| ExchangeError::Unreachable)?;
                let same_id = len >= 2 && reply[..2] == query[..2];
                match answers(query, &reply[..len]) {
                    Match::Yes if same_id => {
                        reply.truncate(len);
                        return Ok(reply);
                    }
                    Match::Case if same_id => return Err(ExchangeError::CaseMismatch),
                    _ => ignored += 1,
                }
            }
        };
        let result = tokio::time::timeout(timeout, exchange).await;
        result.unwrap_or(Err(ExchangeError::Timeout { ignored }))
    }

    /// A connected socket on a random free port of the range.
    fn socket(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let mut last = io::ErrorKind::AddrInUse.into();
        for _ in 0..PORT_TRIES {
            let span = u32::from(*self.ports.end()) - u32::from(*self.ports.start()) + 1;
            // The bias of the remainder is below one part in 65,000.
            let port = *self.ports.start() + (getrandom::u32().map_err(io::Error::other)? % span) as u16;
            let from: SocketAddr = match to {
                SocketAddr::V4(_) => (self.source_v4, port).into(),
                SocketAddr::V6(_) => (self.source_v6, port).into(),
            };
            match std::net::UdpSocket::bind(from) {
                Ok(socket) => {
                    socket.set_nonblocking(true)?;
                    socket.connect(to)?;
                    return UdpSocket::from_std(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Network;
    use crate::resolve::{Exchange, Transport};

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03wWw\x02ex\0\0\x01\0\x01";
    const PATIENCE: Duration = Duration::from_secs(20);

    fn reply(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut reply = QUERY.to_vec();
        reply[2] |= 0x80;
        change(&mut reply);
        reply
    }

    /// Asks a server that sends `replies` to one query; gives the result and the port that was asked from.
    async fn ask(replies: &[Vec<u8>], timeout: Duration) -> (Result<Vec<u8>, ExchangeError>, u16) {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let network = Network::new(Settings::default());
        let to = server.local_addr().unwrap();
        let serve = async {
            let (_, from) = server.recv_from(&mut [0; 512]).await.unwrap();
            for reply in replies {
                server.send_to(reply, from).await.unwrap();
            }
            from.port()
        };
        tokio::join!(network.exchange(to, Transport::Udp, QUERY, timeout), serve)
    }

    #[tokio::test]
    async fn a_matching_reply_is_taken_and_others_are_waited_past() {
        let good = reply(|_| {});
        let (got, _) = ask(&[reply(|r| r[0] = 9), vec![1, 2, 3], reply(|r| r[13] = b'x'), good.clone()], PATIENCE).await;
        assert_eq!(got, Ok(good));
    }

    /// Draft-vixie-dnsext-dns0x20: a reply in other case is no answer to us, but says that the server may not keep case.
    #[tokio::test]
    async fn a_reply_in_other_case_is_told_apart() {
        assert_eq!(ask(&[reply(|r| r[13] = b'W')], PATIENCE).await.0, Err(ExchangeError::CaseMismatch));
    }

    #[tokio::test]
    async fn silence_and_a_closed_port_are_failures() {
        let wrong = ask(&[reply(|r| r[0] = 9)], Duration::from_secs(3)).await.0;
        assert_eq!(wrong, Err(ExchangeError::Timeout { ignored: 1 }));
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let network = Network::new(Settings::default());
        assert_eq!(network.exchange(closed, Transport::Udp, QUERY, PATIENCE).await, Err(ExchangeError::Unreachable));
    }

    #[tokio::test]
    async fn ports_differ_and_stay_in_their_range() {
        let mut ports = std::collections::HashSet::new();
        for _ in 0..20 {
            ports.insert(ask(&[reply(|_| {})], PATIENCE).await.1);
        }
        assert!(ports.len() >= 18 && ports.iter().all(|p| (32768..=60999).contains(p)), "{ports:?}");
    }

    /// While two queries hold the two places, the others send nothing, however long the two take; and no server is to blame for it.
    #[tokio::test]
    async fn sockets_in_flight_are_bounded() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let network = Network::new(Settings { udp_sockets: 2, ..Settings::default() });
        let to = server.local_addr().unwrap();
        let ask = |patience| network.exchange(to, Transport::Udp, QUERY, patience);
        let serve = async {
            let mut buffer = [0; 512];
            let first = server.recv_from(&mut buffer).await.unwrap().1;
            let second = server.recv_from(&mut buffer).await.unwrap().1;
            let late = tokio::join!(ask(Duration::from_millis(50)), ask(Duration::from_millis(50)));
            assert_eq!(late, (Err(ExchangeError::Busy), Err(ExchangeError::Busy)));
            assert!(server.try_recv_from(&mut buffer).is_err());
            for client in [first, second] {
                server.send_to(&reply(|_| {}), client).await.unwrap();
            }
        };
        let served = tokio::join!(ask(PATIENCE), ask(PATIENCE), serve);
        assert_eq!((served.0, served.1), (Ok(reply(|_| {})), Ok(reply(|_| {}))));
    }
}
