//! DNS cookies as a client sends them (RFC 7873, RFC 9018): one more thing that an off-path attacker would have to guess.

use std::net::IpAddr;

use super::dice::Dice;
use crate::wire::Edns;
use crate::wire::edns::OPTION_COOKIE;

/// Length of a client cookie (RFC 7873 section 4).
const CLIENT: usize = 8;
/// Bounds of a server cookie's length (RFC 7873 section 4).
const SERVER: std::ops::RangeInclusive<usize> = 8..=32;

/// The secret that client cookies are made with; new at every start.
pub(super) fn key(dice: &Dice) -> ring::hmac::Key {
    let secret: Vec<u8> = (0..4).flat_map(|_| dice.roll().to_be_bytes()).collect();
    ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret)
}

/// The client cookie for one server: the same for every query to it, of no use to another.
pub(super) fn client(key: &ring::hmac::Key, server: IpAddr) -> [u8; CLIENT] {
    let tag = match server {
        IpAddr::V4(a) => ring::hmac::sign(key, &a.octets()),
        IpAddr::V6(a) => ring::hmac::sign(key, &a.octets()),
    };
    *tag.as_ref().first_chunk().expect("a SHA-256 tag has 32 octets")
}

/// The option of a query: our cookie, and the server's where one is known.
pub(super) fn option(client: [u8; CLIENT], server: Option<&[u8]>) -> (u16, Box<[u8]>) {
    (OPTION_COOKIE, [&client[..], server.unwrap_or_default()].concat().into())
}

/// What a reply's cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// None of the server's is there; some servers give back any option as it came.
    Missing,
    /// Ours came back, with the server's.
    Good(Box<[u8]>),
    /// It is malformed or not ours: somebody else may have sent the reply.
    Wrong,
}

/// Looks at the COOKIE option of a reply (RFC 7873 section 5.3).
pub(super) fn check(edns: Option<&Edns>, client: [u8; CLIENT]) -> Seen {
    match edns.and_then(|e| e.option(OPTION_COOKIE)) {
        None => Seen::Missing,
        Some(option) if *option == client => Seen::Missing,
        Some(option) => match option.split_first_chunk::<CLIENT>() {
            Some((ours, theirs)) if *ours == client && SERVER.contains(&theirs.len()) => Seen::Good(theirs.into()),
            _ => Seen::Wrong,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7873 section 5.3: an incorrect client cookie or an illegal length is to be discarded.
    #[test]
    fn only_our_own_cookie_is_good() {
        let key = key(&Dice::seeded(1));
        let ours = client(&key, [192, 0, 2, 1].into());
        assert_ne!(ours, client(&key, [192, 0, 2, 2].into()));
        let seen = |payload: Vec<u8>| {
            let mut edns = Edns::new(true);
            edns.options.push((OPTION_COOKIE, payload.into()));
            check(Some(&edns), ours)
        };
        assert_eq!(seen([&ours[..], &[7; 16]].concat()), Seen::Good([7; 16].into()));
        assert_eq!(seen([&[0; 8][..], &[7; 16]].concat()), Seen::Wrong);
        assert_eq!(seen([&ours[..], &[7; 4]].concat()), Seen::Wrong);
        assert_eq!(seen(ours.to_vec()), Seen::Missing);
        assert_eq!(check(Some(&Edns::new(true)), ours), Seen::Missing);
        assert_eq!(option(ours, Some(&[7; 8])).1.len(), 16);
    }
}
