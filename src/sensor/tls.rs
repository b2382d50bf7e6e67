//! The first flight of a TLS connection: the server name and the protocols a client asks for.
//!
//! RFC 8446 section 4.1.2 (ClientHello), RFC 6066 section 3 (server_name), RFC 7301 (ALPN). Reads what may be spread over several
//! records. With Encrypted Client Hello (RFC 9849) the name seen is the outer one. Not done: QUIC, whose first packets are encrypted
//! under keys that anyone can compute (RFC 9001 section 5.2).

use crate::wire::Name;

/// Longest ClientHello that is waited for: post-quantum key shares make 2 KiB usual; beyond this nobody is greeting.
const MAX_HELLO: usize = 16 * 1024;
/// Most protocols kept.
const MAX_PROTOCOLS: usize = 8;

/// What a ClientHello says in the open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The server name, if one is named and is a domain name.
    pub server_name: Option<Name>,
    /// The application protocols offered, such as `h2` or `dot`; odd octets replaced.
    pub protocols: Vec<String>,
}

/// How far the start of a stream could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It may become a ClientHello.
    More,
    /// It is none.
    Not,
    /// It is one.
    Hello(Hello),
}

/// Reads a ClientHello from the start of a stream.
pub(super) fn client_hello(stream: &[u8]) -> Reading {
    let mut handshake = Vec::new();
    let mut rest = stream;
    loop {
        // Record: type 22, version 3.x, length.
        match rest {
            [22, 3, _, high, low, tail @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 {
                    return Reading::Not;
                }
                handshake.extend_from_slice(&tail[..length.min(tail.len())]);
                rest = &tail[length.min(tail.len())..];
            }
            [] | [22] | [22, 3, ..] => rest = &[],
            _ => return Reading::Not,
        }
        match handshake[..] {
            [1, 0, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if length > MAX_HELLO {
                    return Reading::Not;
                }
                if let Some(body) = handshake.get(4..4 + length) {
                    return body_of(body).map_or(Reading::Not, Reading::Hello);
                }
            }
            [] | [1] | [1, 0] | [1, 0, _] => {}
            _ => return Reading::Not,
        }
        if rest.is_empty() {
            return if stream.len() > 2 * MAX_HELLO { Reading::Not } else { Reading::More };
        }
    }
}

/// Splits `bytes` behind a vector whose length stands in `N` octets.
fn vector<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    rest.split_at_checked(head.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet)))
}

fn body_of(body: &[u8]) -> Option<Hello> {
    let mut hello = Hello::default();
    // Version and random.
    let rest = body.get(34..)?;
    let (_session, rest) = vector::<1>(rest)?;
    let (_suites, rest) = vector::<2>(rest)?;
    let (_compression, rest) = vector::<1>(rest)?;
    if rest.is_empty() {
        return Some(hello);
    }
    let (mut extensions, _) = vector::<2>(rest)?;
    while let Some((head, rest)) = extensions.split_first_chunk::<2>() {
        let (content, rest) = vector::<2>(rest)?;
        match u16::from_be_bytes(*head) {
            0 => hello.server_name = server_name(content),
            16 => hello.protocols = protocols(content),
            _ => {}
        }
        extensions = rest;
    }
    Some(hello)
}

fn server_name(content: &[u8]) -> Option<Name> {
    let (mut list, _) = vector::<2>(content)?;
    while let Some((kind, rest)) = list.split_first() {
        let (name, rest) = vector::<2>(rest)?;
        if *kind == 0 {
            return std::str::from_utf8(name).ok()?.parse().ok();
        }
        list = rest;
    }
    None
}

fn protocols(content: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let Some((mut list, _)) = vector::<2>(content) else { return found };
    while let Some((protocol, rest)) = vector::<1>(list) {
        if found.len() == MAX_PROTOCOLS {
            break;
        }
        found.push(String::from_utf8_lossy(protocol).into_owned());
        list = rest;
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ClientHello for `name` that offers `h2`, in records of at most `record` octets.
    pub(in super::super) fn hello(name: &str, record: usize) -> Vec<u8> {
        let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let names = counted(&[&[0][..], &counted(name.as_bytes())].concat());
        let server_name = [&[0, 0][..], &counted(&names)].concat();
        let alpn = [&[0, 16][..], &counted(&counted(&[2, b'h', b'2']))].concat();
        let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &counted(&[server_name, alpn].concat())].concat();
        let handshake = [&[1, 0][..], &counted(&body)].concat();
        handshake.chunks(record).flat_map(|chunk| [&[22, 3, 1][..], &counted(chunk)].concat()).collect()
    }

    #[test]
    fn the_name_and_the_protocols_are_found_however_the_hello_is_cut() {
        for record in [7, 40, 16_000] {
            let bytes = hello("Dns.Example", record);
            let expected = Hello { server_name: Some("dns.example".parse().unwrap()), protocols: vec!["h2".to_owned()] };
            assert_eq!(client_hello(&bytes), Reading::Hello(expected), "{record}");
            for end in 0..bytes.len() {
                assert_eq!(client_hello(&bytes[..end]), Reading::More, "{record} {end}");
            }
        }
    }

    #[test]
    fn other_protocols_are_no_hello() {
        assert_eq!(client_hello(b"GET / HTTP/1.1"), Reading::Not);
        assert_eq!(client_hello(&[22, 3, 1, 0, 1, 2]), Reading::Not);
        assert_eq!(client_hello(&[22, 3, 1, 0, 0]), Reading::Not);
    }

    proptest! {
        #[test]
        fn broken_hellos_never_panic(at in 0usize..90, with in any::<u8>(), end in 0usize..100) {
            let mut bytes = hello("dns.example", 30);
            let length = bytes.len();
            bytes[at % length] = with;
            let _ = client_hello(&bytes[..end.min(length)]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = client_hello(&[&[22, 3, 1, 0, 50, 1, 0, 0, 46][..], &bytes].concat());
            let _ = body_of(&bytes);
        }
    }
}
