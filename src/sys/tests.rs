//! The same tests for both implementations.

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn patient() -> UdpOptions {
    UdpOptions { wait: PATIENCE, ..UdpOptions::default() }
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

macro_rules! both {
    ($($name:ident => $module:ident),+) => {$(
        mod $name {
            use super::*;
            use crate::sys::$module::{Batch, send_to};

            #[test]
            fn every_datagram_is_answered_to_its_sender() {
                let server = bind_udp("127.0.0.1:0".parse().unwrap(), &patient()).unwrap();
                let to = server.local_addr().unwrap();
                let clients: Vec<UdpSocket> = (0..70).map(|_| client("127.0.0.1:0")).collect();
                for (i, client) in clients.iter().enumerate() {
                    client.send_to(&[i as u8; 5], to).unwrap();
                }
                let mut batch = Batch::new(512);
                let (mut answered, mut sent) = (0, 0);
                while answered < clients.len() {
                    let count = batch.receive(&server).unwrap();
                    for index in 0..count {
                        let (datagram, reply) = batch.slot(index);
                        assert_eq!(datagram.from, clients[usize::from(datagram.bytes[0])].local_addr().unwrap());
                        assert!(!datagram.cut && reply.is_empty());
                        // Every tenth is left without a reply.
                        if datagram.bytes[0] % 10 != 0 {
                            reply.extend_from_slice(datagram.bytes);
                            reply.push(99);
                        }
                    }
                    let result = batch.send(&server);
                    assert_eq!(result.failed, 0);
                    (answered, sent) = (answered + count, sent + result.sent);
                }
                assert_eq!(sent, 63);
                for (i, client) in clients.iter().enumerate().filter(|(i, _)| i % 10 != 0) {
                    let mut buffer = [0; 16];
                    assert_eq!(client.recv_from(&mut buffer).unwrap(), (6, to));
                    assert_eq!(buffer[..6], [i as u8, i as u8, i as u8, i as u8, i as u8, 99]);
                }
            }

            #[test]
            fn a_long_datagram_is_marked_as_cut() {
                let server = bind_udp("127.0.0.1:0".parse().unwrap(), &patient()).unwrap();
                let client = client("127.0.0.1:0");
                for len in [RECEIVE_MAX, RECEIVE_MAX + 1] {
                    client.send_to(&vec![7; len], server.local_addr().unwrap()).unwrap();
                    let mut batch = Batch::new(512);
                    assert_eq!(batch.receive(&server).unwrap(), 1);
                    let (datagram, _) = batch.slot(0);
                    assert_eq!((datagram.bytes.len(), datagram.cut), (RECEIVE_MAX, len > RECEIVE_MAX));
                }
            }

            #[test]
            fn waiting_ends_when_nothing_comes() {
                let options = UdpOptions { wait: Duration::from_millis(10), ..UdpOptions::default() };
                let server = bind_udp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
                assert_eq!(Batch::new(512).receive(&server).unwrap(), 0);
            }

            #[test]
            fn a_reply_too_long_for_a_datagram_fails_and_the_next_passes() {
                let server = bind_udp("127.0.0.1:0".parse().unwrap(), &patient()).unwrap();
                let client = client("127.0.0.1:0");
                let mut batch = Batch::new(512);
                for (len, expected) in [(70_000, Sent { sent: 0, failed: 1 }), (10, Sent { sent: 1, failed: 0 })] {
                    client.send_to(&[1], server.local_addr().unwrap()).unwrap();
                    batch.receive(&server).unwrap();
                    batch.slot(0).1.resize(len, 0);
                    assert_eq!(batch.send(&server), expected);
                }
            }

            #[test]
            fn a_later_answer_reaches_its_client() {
                let server = bind_udp("[::1]:0".parse().unwrap(), &patient()).unwrap();
                let client = client("[::1]:0");
                client.send_to(&[1], server.local_addr().unwrap()).unwrap();
                let mut batch = Batch::new(512);
                batch.receive(&server).unwrap();
                let (from, local) = (batch.slot(0).0.from, batch.slot(0).0.local);
                send_to(&server, &[2, 3], from, local).unwrap();
                let mut buffer = [0; 16];
                assert_eq!(client.recv_from(&mut buffer).unwrap(), (2, server.local_addr().unwrap()));
            }
        }
    )+};
}

both!(on_linux => linux, anywhere => portable);

/// On a wildcard socket the answer must leave from the address that was asked, or the client drops it.
#[test]
#[cfg(target_os = "linux")]
fn the_answer_leaves_from_the_asked_address() {
    let server = bind_udp("0.0.0.0:0".parse().unwrap(), &patient()).unwrap();
    let port = server.local_addr().unwrap().port();
    let mut batch = Batch::new(512);
    for (round, asked) in ["127.0.0.5", "127.1.2.3"].into_iter().enumerate() {
        let client = client("127.0.0.1:0");
        let asked = SocketAddr::new(asked.parse().unwrap(), port);
        client.send_to(&[1], asked).unwrap();
        assert_eq!(batch.receive(&server).unwrap(), 1);
        let (datagram, reply) = batch.slot(0);
        assert_eq!(datagram.local.address, Some(asked.ip()));
        // Once as part of the batch, once later.
        let (from, local) = (datagram.from, datagram.local);
        if round == 0 {
            reply.push(2);
            assert_eq!(batch.send(&server).sent, 1);
        } else {
            send_to(&server, &[2], from, local).unwrap();
        }
        assert_eq!(client.recv_from(&mut [0; 16]).unwrap(), (1, asked));
    }
    let server = bind_udp("[::]:0".parse().unwrap(), &patient()).unwrap();
    let asked: SocketAddr = ("::1".parse::<IpAddr>().unwrap(), server.local_addr().unwrap().port()).into();
    let client = client("[::1]:0");
    client.send_to(&[1], asked).unwrap();
    batch.receive(&server).unwrap();
    let (datagram, reply) = batch.slot(0);
    assert_eq!(datagram.local.address, Some(asked.ip()));
    reply.push(2);
    batch.send(&server);
    assert_eq!(client.recv_from(&mut [0; 16]).unwrap(), (1, asked));
}

#[test]
fn sockets_share_a_port_with_each_other_and_a_probe_finds_them() {
    let first = bind_udp("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let address = first.local_addr().unwrap();
    let _second = bind_udp(address, &UdpOptions::default()).unwrap();
    assert_eq!(probe_udp(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
#[cfg(target_os = "linux")]
fn a_cached_page_is_read_without_waiting() {
    let path = std::env::temp_dir().join(format!("postern-nowait-{}", std::process::id()));
    std::fs::write(&path, b"hello world").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let mut buffer = [0; 5];
    let read = linux::read_at_nowait(&file, &mut buffer, 6).unwrap();
    std::fs::remove_file(&path).unwrap();
    // A file system may refuse to tell; it must not fail, and what it gives must be right.
    assert!(read.is_none() || (read, &buffer) == (Some(5), b"world"));
}
