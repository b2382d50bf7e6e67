//! Hosts files: `0.0.0.0 name name # comment`. Names are exact: a hosts file never spoke about names below.

use std::net::IpAddr;

use super::{Context, Found, Reason, without_comment};

/// Names that hosts files carry for the machine itself; they are not entries.
const HOUSEKEEPING: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];
/// A few more of the same, with less agreement among authors.
const HOUSEKEEPING_ODD: [&str; 2] = ["ip6-allhosts", "0.0.0.0"];

/// The address at the start of a hosts line; a zone index such as `fe80::1%lo0` is cut off.
pub(super) fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

/// Reads one line.
pub(super) fn line(text: &str, context: &mut Context<'_>) {
    let content = without_comment(text);
    let mut words = content.split_ascii_whitespace();
    let Some(first) = words.next() else { return };
    let Some(address) = address(first) else { return context.bad(content, Reason::NoAddress) };
    let blocks = address.is_unspecified() || address.is_loopback();
    let mut any = false;
    for word in words {
        any = true;
        let lower = word.trim_end_matches('.').to_ascii_lowercase();
        if HOUSEKEEPING.contains(&lower.as_str()) || HOUSEKEEPING_ODD.contains(&lower.as_str()) {
            context.found(Found::Housekeeping);
        } else if blocks {
            context.name(word);
        } else {
            return context.bad(content, Reason::RealAddress);
        }
    }
    if !any {
        context.bad(content, Reason::NoName);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;
    use super::super::{Format, Reading, Reason};
    use crate::blocklist::Scope;

    #[test]
    fn several_names_a_line_all_four_addresses_and_no_localhost() {
        let text = b"\xef\xbb\xbf127.0.0.1 localhost\r\n::1\tip6-localhost ip6-loopback\n0.0.0.0 A.example. b.example # c\n\
            127.0.0.1\tc.example\n:: d.example\n::1 e.example;no\nfe80::1%lo0 localhost\n255.255.255.255 broadcasthost\n";
        let (rules, bad, housekeeping) = found(text, Reading { format: Some(Format::Hosts), ..Reading::default() });
        let names: Vec<_> = rules.iter().map(|(n, s, l)| (n.as_str(), *s, *l)).collect();
        assert_eq!(
            names,
            [
                ("a.example.", Scope::Exact, 3),
                ("b.example.", Scope::Exact, 3),
                ("c.example.", Scope::Exact, 4),
                ("d.example.", Scope::Exact, 5)
            ]
        );
        assert_eq!((bad, housekeeping), (vec![(6, Reason::BadCharacter)], 5));
    }

    #[test]
    fn a_mapping_to_a_real_address_is_not_a_block() {
        let text = b"192.0.2.7 intranet.example\n0.0.0.0\nname.example\n0.0.0.0 1.2.3.4\n";
        let (rules, bad, _) = found(text, Reading { format: Some(Format::Hosts), ..Reading::default() });
        assert!(rules.is_empty());
        assert_eq!(bad, [(1, Reason::RealAddress), (2, Reason::NoName), (3, Reason::NoAddress), (4, Reason::Address)]);
    }
}
