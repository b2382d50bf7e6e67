//! 100,000 random and mutated datagrams and streams against the built binary: no crash, no hang, memory flat, and a good query is
//! answered at once, all the way through.

#![allow(clippy::disallowed_methods, reason = "a test owns sockets and files")]

mod daemon;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use daemon::{Client, Daemon, Dice, Upstream, query};
use postern::wire::{Rcode, Rtype};

/// Datagrams between two good queries; fewer than a socket buffer holds, so that the kernel drops none.
const BURST: usize = 64;
/// Streams in each round.
const STREAMS: usize = 5;
/// Rounds; 100,740 datagrams and streams in all.
const ROUNDS: usize = 1460;

fn specimens() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = [Rtype::A, Rtype::AAAA, Rtype::HTTPS, Rtype::ANY, Rtype(252), Rtype(0), Rtype(65_535)]
        .into_iter()
        .map(|rtype| query(7, "www.local.test", rtype))
        .collect();
    out.push(query(7, &"a.".repeat(126), Rtype::A));
    out.push(query(7, &format!("{}.test", vec!["x".repeat(63); 3].join(".")), Rtype::TXT));
    let mut response = query(7, "www.local.test", Rtype::A);
    response[2] |= 0x80;
    out.push(response);
    let mut update = query(7, "www.local.test", Rtype::A);
    update[2] |= 5 << 3;
    out.push(update);
    let mut pointer = query(7, "www.local.test", Rtype::A);
    pointer[12..14].copy_from_slice(&[0xc0, 12]);
    out.push(pointer);
    out
}

fn malformed(dice: &mut Dice, specimens: &[Vec<u8>]) -> Vec<u8> {
    if dice.below(4) == 0 {
        return (0..dice.below(600)).map(|_| dice.roll() as u8).collect();
    }
    let mut bytes = specimens[dice.below(specimens.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..dice.below(80)).map(|n| n as u8)),
            2 => bytes.splice(at..at, [dice.roll() as u8; 3]).for_each(drop),
            _ => {
                if let Some(octet) = bytes.get_mut(at) {
                    *octet = dice.roll() as u8;
                }
            }
        }
    }
    bytes
}

/// One stream: frames with true, wrong and missing lengths; ended in several ways.
fn stream(daemon: &Daemon, dice: &mut Dice, specimens: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(daemon.dns).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    for _ in 0..=dice.below(3) {
        let body = malformed(dice, specimens);
        let length = if dice.below(3) == 0 { dice.roll() as u16 } else { body.len() as u16 };
        // It may have closed already: that is its right.
        let _ = stream.write_all(&[&length.to_be_bytes()[..], &body].concat());
    }
    match dice.below(3) {
        0 => drop(stream.shutdown(Shutdown::Write)),
        1 => drop(stream.read(&mut [0; 512])),
        _ => {}
    }
}

#[test]
fn a_hundred_thousand_malformed_packets_and_streams_do_no_harm() {
    let upstream = Upstream::start();
    let settings = format!("{}\n", upstream.settings()).replace("[resolve]\n", "[resolve]\nrecords = [\"good.test. 60 A 192.0.2.1\"]\n");
    let daemon = Daemon::start("malformed", &settings);
    let (mut dice, specimens) = (Dice(0x5eed), specimens());
    let client = Client::new(daemon.dns);
    let noise = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    noise.connect(daemon.dns).unwrap();
    noise.set_nonblocking(true).unwrap();
    let good = || {
        let answer = client.ask_within("good.test", Rtype::A, Duration::from_secs(5)).expect("a good query is answered");
        assert_eq!((answer.rcode(), answer.answer.len()), (Rcode::NOERROR, 1));
    };
    let mut warm = 0;
    for round in 0..ROUNDS {
        for _ in 0..BURST {
            let _ = noise.send(&malformed(&mut dice, &specimens));
        }
        let mut buffer = [0; 4096];
        while noise.recv(&mut buffer).is_ok() {}
        good();
        for _ in 0..STREAMS {
            stream(&daemon, &mut dice, &specimens);
        }
        if round == ROUNDS / 4 {
            warm = daemon.memory("RssAnon");
        }
    }
    good();
    // What well-formed mutants ask for is cached, so some growth is honest; without a bound it would be many times this.
    let grown = daemon.memory("RssAnon").saturating_sub(warm);
    assert!(grown < 16 << 20, "memory grew by {grown} octets");
    let scrape = daemon.scrape();
    let seen = daemon::sum(&scrape, "postern_queries_total", &["udp"]) + daemon::sum(&scrape, "postern_dropped_total", &[]);
    assert!(seen >= (ROUNDS * BURST) as f64, "{seen} of the datagrams were looked at");
    assert!(daemon::sum(&scrape, "postern_dropped_total", &["malformed"]) > 1000.0, "{scrape}");
    assert!(daemon::sum(&scrape, "postern_dropped_total", &["reason=\"response\""]) > 1000.0);
    assert!(daemon::sum(&scrape, "postern_refused_total", &[]) > 1000.0);
    assert_eq!(daemon.stop(), Some(0));
}
