//! DNS cookies: a client that returns ours has shown that it receives at its address (RFC 7873).
//!
//! Interoperable server cookies of RFC 9018 section 4: version 1, a timestamp and SipHash-2-4 over client cookie, header and address.
//! Stateless but for the secret and the one before it. Sending BADCOOKIE is not done: limited clients get TC, which needs no cookie.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

/// A cookie older than this is not accepted, in seconds (RFC 9018 section 4.3).
const MAX_AGE: u32 = 3600;
/// A cookie older than this is replaced in the answer, in seconds (RFC 9018 section 4.3).
const RENEW_AFTER: u32 = 1800;
/// A cookie from this far in the future is accepted, in seconds: fleet members' clocks differ (RFC 9018 section 4.3).
const MAX_AHEAD: u32 = 300;

/// How long one secret makes cookies: well below the 36 days that RFC 7873 section 7.1 allows, and far above the hour for which the one
/// before it is still needed.
const SECRET_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A client and server cookie as the option carries them.
pub type Cookie = [u8; 24];

/// The secrets that server cookies are made with.
#[derive(Clone)]
pub struct Cookies {
    current: [u8; 16],
    previous: [u8; 16],
    /// When the current secret came into use, on a monotonic scale.
    since: Duration,
}

/// What a query's cookie option says about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The server cookie is ours and fresh: the address is not forged.
    pub valid: bool,
    /// The cookie to send back.
    pub reply: Cookie,
}

impl Cookies {
    /// Cookies made with `secret`, random and kept to oneself (or shared within an anycast set).
    pub fn new(secret: [u8; 16]) -> Cookies {
        Cookies { current: secret, previous: secret, since: Duration::ZERO }
    }

    /// The same with a new secret at `now`, time since the start; cookies made with the present one stay valid until the next rotation,
    /// which must not come within an hour.
    #[must_use]
    pub fn rotated(&self, secret: [u8; 16], now: Duration) -> Cookies {
        Cookies { current: secret, previous: self.current, since: now }
    }

    /// Whether the secret has served its time at `now`.
    pub fn are_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= SECRET_LIFETIME
    }

    /// Judges the payload of a cookie option (8 or 16 to 40 octets) from `address` at `now`, seconds since 1970 modulo 2^32.
    /// `None` for lengths that are no cookie.
    pub fn check(&self, option: &[u8], address: IpAddr, now: u32) -> Option<Presented> {
        let (client, server) = option.split_first_chunk::<8>()?;
        let fresh = || make(&self.current, client, now, address);
        let Ok(theirs) = <&[u8; 16]>::try_from(server) else { return Some(Presented { valid: false, reply: fresh() }) };
        let made = u32::from_be_bytes([theirs[4], theirs[5], theirs[6], theirs[7]]);
        // Serial number arithmetic (RFC 9018 section 4.3): the clock wraps in 2106.
        let age = now.wrapping_sub(made);
        let in_time = age <= MAX_AGE || made.wrapping_sub(now) <= MAX_AHEAD;
        let matches = |secret| constant_time_eq(&make(secret, client, made, address)[8..], theirs);
        let ours = matches(&self.current);
        let valid = in_time && theirs[..4] == [1, 0, 0, 0] && (ours || matches(&self.previous));
        let keep = valid && ours && age <= RENEW_AFTER;
        Some(Presented { valid, reply: if keep { make(&self.current, client, made, address) } else { fresh() } })
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies")
    }
}

/// Equality in constant time: the hash is a MAC.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

fn make(secret: &[u8; 16], client: &[u8; 8], made: u32, address: IpAddr) -> Cookie {
    let mut cookie = [0u8; 24];
    cookie[..8].copy_from_slice(client);
    cookie[8] = 1;
    cookie[12..16].copy_from_slice(&made.to_be_bytes());
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&cookie[..16]);
    match address.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    cookie[16..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn secret(text: &str) -> [u8; 16] {
        hex(text).try_into().unwrap()
    }

    /// RFC 9018 appendix A.1 and A.2: learning a new server cookie, and renewing it after its half life.
    #[test]
    fn cookies_are_those_of_rfc_9018_appendix_a() {
        let cookies = Cookies::new(secret("e5e973e5a6b2a43f48e7dc849e37bfcf"));
        let address: IpAddr = "198.51.100.100".parse().unwrap();
        let first = cookies.check(&hex("2464c4abcf10c957"), address, 1559731985).unwrap();
        assert_eq!((first.valid, first.reply.to_vec()), (false, hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")));
        let again = cookies.check(&first.reply, address, 1559734385).unwrap();
        assert_eq!((again.valid, again.reply.to_vec()), (true, hex("2464c4abcf10c957010000005cf7a871d4a564a1442aca77")));
    }

    /// RFC 9018 appendix A.4: IPv6, and a secret just rolled.
    #[test]
    fn a_rolled_secret_accepts_the_old_cookie_and_gives_a_new_one() {
        let old = Cookies::new(secret("dd3bdf9344b678b185a6f5cb60fca715"));
        let rolled = old.rotated(secret("445536bcd2513298075a5d379663c962"), Duration::ZERO);
        let address: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let given = hex("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let presented = rolled.check(&given, address, 1559741961).unwrap();
        assert_eq!((presented.valid, presented.reply.to_vec()), (true, hex("22681ab97d52c298010000005cf7c609a6bb79d16625507a")));
    }

    #[test]
    fn a_secret_serves_a_day_and_its_cookies_an_hour_longer() {
        let (hour, address) = (Duration::from_secs(3600), "192.0.2.1".parse().unwrap());
        let first = Cookies::new([1; 16]);
        assert!(!first.are_due(24 * hour - Duration::from_secs(1)) && first.are_due(24 * hour));
        let given = first.check(&[9; 8], address, 86_000).unwrap().reply;
        let second = first.rotated([2; 16], 24 * hour);
        assert!(!second.are_due(48 * hour - Duration::from_secs(1)) && second.are_due(48 * hour));
        assert!(second.check(&given, address, 86_400).unwrap().valid);
        let third = second.rotated([3; 16], 48 * hour);
        assert!(!third.check(&given, address, 86_400).unwrap().valid, "two secrets old");
    }

    #[test]
    fn a_cookie_of_another_address_age_or_version_is_not_valid() {
        let cookies = Cookies::new([7; 16]);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let ours = cookies.check(&[1; 8], address, 10_000).unwrap().reply;
        let valid = |option: &[u8], from: IpAddr, now| cookies.check(option, from, now).unwrap().valid;
        assert!(valid(&ours, address, 10_000) && valid(&ours, address, 13_600) && valid(&ours, address, 9_700));
        assert!(!valid(&ours, address, 13_601) && !valid(&ours, address, 9_699));
        assert!(!valid(&ours, "192.0.2.2".parse().unwrap(), 10_000));
        assert!(!valid(&[&ours[..], &[0; 8]].concat(), address, 10_000));
        for at in 8..24 {
            let mut changed = ours;
            changed[at] ^= 1;
            assert!(!valid(&changed, address, 10_000), "{at}");
        }
        assert_eq!(cookies.check(&[1; 8], "::ffff:192.0.2.1".parse().unwrap(), 10_000).unwrap().reply, ours);
    }
}
