//! Link layers: where the IP packet starts in a captured frame.
//!
//! Ethernet II and 802.3 with LLC/SNAP (RFC 1042), any stack of 802.1Q and 802.1ad tags, PPPoE sessions (RFC 2516), FDDI, the BSD
//! loopback headers, raw IP, and Linux "cooked" captures of version 1 and 2. Link types are those of pcap files
//! (www.tcpdump.org/linktypes.html). Not done: MPLS, GRE and other tunnels; 802.11.

/// The link type of a capture, as its number in pcap and pcapng files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

#[allow(missing_docs, reason = "the names are the registry's")]
impl LinkType {
    pub const NULL: LinkType = LinkType(0);
    pub const ETHERNET: LinkType = LinkType(1);
    pub const FDDI: LinkType = LinkType(10);
    pub const RAW: LinkType = LinkType(101);
    pub const LOOP: LinkType = LinkType(108);
    pub const LINUX_SLL: LinkType = LinkType(113);
    pub const IPV4: LinkType = LinkType(228);
    pub const IPV6: LinkType = LinkType(229);
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// Most VLAN tags in a row that are read: two are usual, more than four is no network anyone runs.
const MAX_TAGS: usize = 4;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    /// An IP packet, trailers of the link perhaps behind it, and the innermost VLAN identifier.
    Ip(&'a [u8], Option<u16>),
    /// Something else: ARP, spanning tree, an unknown type.
    Other,
    /// The frame ends inside its own header.
    Cut,
}

/// Finds the IP packet in a frame.
pub(super) fn carried(link: LinkType, frame: &[u8]) -> Carried<'_> {
    find(link, frame).unwrap_or(Carried::Cut)
}

fn find(link: LinkType, frame: &[u8]) -> Option<Carried<'_>> {
    Some(match link {
        LinkType::ETHERNET => return by_ethertype(word(frame, 12)?, frame.get(14..)?),
        LinkType::LINUX_SLL => return by_ethertype(word(frame, 14)?, frame.get(16..)?),
        LinkType::LINUX_SLL2 => return by_ethertype(word(frame, 0)?, frame.get(20..)?),
        // Frame control, two addresses, then LLC as in 802.3.
        LinkType::FDDI => return snap(frame.get(13..)?),
        // The address family comes first, in the byte order of whoever captured, or big-endian: the packet says itself what it is.
        LinkType::NULL | LinkType::LOOP => ip(frame.get(4..)?, None),
        // 12 and 14 are what some systems wrote for raw IP before it had a number.
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 | LinkType(12 | 14) => ip(frame, None),
        _ => Carried::Other,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn ip(packet: &[u8], vlan: Option<u16>) -> Carried<'_> {
    match packet.first().map(|octet| octet >> 4) {
        Some(4 | 6) => Carried::Ip(packet, vlan),
        Some(_) => Carried::Other,
        None => Carried::Cut,
    }
}

/// Walks tags until an EtherType names something; `rest` is what follows the first one.
fn by_ethertype(mut ethertype: u16, mut rest: &[u8]) -> Option<Carried<'_>> {
    let mut vlan = None;
    for _ in 0..=MAX_TAGS {
        match ethertype {
            0x0800 | 0x86dd => return Some(ip(rest, vlan)),
            // 802.1Q, 802.1ad, and what was used for stacked tags before it.
            0x8100 | 0x88a8 | 0x9100 => {
                vlan = Some(word(rest, 0)? & 0xfff);
                ethertype = word(rest, 2)?;
                rest = rest.get(4..)?;
            }
            // PPPoE session: version, code, session, length, and a PPP protocol number.
            0x8864 => {
                return Some(match word(rest, 6)? {
                    0x0021 | 0x0057 => ip(rest.get(8..)?, vlan),
                    _ => Carried::Other,
                });
            }
            // An 802.3 length instead of a type.
            0..0x0600 => {
                return Some(match snap(rest)? {
                    Carried::Ip(packet, _) => Carried::Ip(packet, vlan),
                    other => other,
                });
            }
            _ => return Some(Carried::Other),
        }
    }
    Some(Carried::Other)
}

/// LLC with a SNAP header that carries an EtherType (RFC 1042).
fn snap(rest: &[u8]) -> Option<Carried<'_>> {
    if rest.get(..6)? != [0xaa, 0xaa, 3, 0, 0, 0] {
        return Some(Carried::Other);
    }
    Some(match word(rest, 6)? {
        0x0800 | 0x86dd => ip(rest.get(8..)?, None),
        _ => Carried::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKET: [u8; 2] = [0x45, 0];

    fn framed(head: &[u8]) -> Vec<u8> {
        [head, &PACKET].concat()
    }

    #[test]
    fn every_link_type_leads_to_the_packet() {
        let addresses = [0u8; 12];
        let tagged = [&addresses[..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 9, 8, 0]].concat();
        let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        for (link, head, vlan) in [
            (LinkType::ETHERNET, [&addresses[..], &[8, 0]].concat(), None),
            (LinkType::ETHERNET, tagged, Some(9)),
            (LinkType::ETHERNET, [&addresses[..], &[0, 30], &snap].concat(), None),
            (LinkType::ETHERNET, [&addresses[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 22, 0, 0x21]].concat(), None),
            (LinkType::FDDI, [&[0x50][..], &addresses, &snap].concat(), None),
            (LinkType::LINUX_SLL, [&[0; 14][..], &[8, 0]].concat(), None),
            (LinkType::LINUX_SLL2, [&[8, 0][..], &[0; 18]].concat(), None),
            (LinkType::NULL, vec![2, 0, 0, 0], None),
            (LinkType::RAW, vec![], None),
        ] {
            assert_eq!(carried(link, &framed(&head)), Carried::Ip(&PACKET, vlan), "{link:?}");
            assert_eq!(carried(link, &head), Carried::Cut, "{link:?}");
        }
    }

    #[test]
    fn what_is_not_ip_is_left_alone() {
        assert_eq!(carried(LinkType::ETHERNET, &[&[0; 12][..], &[8, 6, 0, 1]].concat()), Carried::Other);
        let endless = [&[0u8; 12][..], &[0x81, 0, 0, 1].repeat(20)].concat();
        assert_eq!(carried(LinkType::ETHERNET, &endless), Carried::Other);
        assert_eq!(carried(LinkType(147), &PACKET), Carried::Other);
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(link in 0u32..300, frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = carried(LinkType(link), &frame);
        }
    }
}
