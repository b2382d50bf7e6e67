//! Capture files: pcap and pcapng, read as a stream.
//!
//! pcap in both byte orders, with micro- and nanoseconds (draft-ietf-opsawg-pcap); pcapng with the section header, interface description,
//! enhanced, simple and obsolete packet blocks, the timestamp options of an interface, and everything else skipped
//! (draft-ietf-opsawg-pcapng). One block is in memory at a time, and none may be larger than [`MAX_BLOCK`]. Not done: compressed files.

use std::io::{self, Read};
use std::time::Duration;

use super::link::LinkType;

/// Largest block or packet: the largest snap length that libpcap writes is 256 KiB.
pub const MAX_BLOCK: usize = 1 << 20;
/// Most interfaces of one pcapng section.
const MAX_INTERFACES: usize = 4096;

/// Why a capture file cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It could not be read from disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is neither pcap nor pcapng.
    #[error("neither pcap nor pcapng: the file starts with {0:08x}")]
    NotACapture(u32),
    /// It ends inside a block; what came before was read.
    #[error("the file is cut short")]
    CutShort,
    /// A length in it is not one.
    #[error("a block of {0} octets: larger than {MAX_BLOCK}, or too small for what it holds")]
    BadLength(u32),
    /// A packet of an interface that the section has not described, or one interface too many.
    #[error("interface {0} is not described")]
    BadInterface(u32),
}

/// One captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was captured, since 1970; zero where the file does not say (simple packet blocks).
    pub at: Duration,
    /// How to read it.
    pub link: LinkType,
    /// Its octets, as far as they were captured.
    pub bytes: &'a [u8],
}

/// A capture file being read.
#[derive(Debug)]
pub struct Replay<R> {
    input: R,
    kind: Kind,
    block: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Pcap { big: bool, nanos: bool, link: LinkType },
    PcapNg { big: bool, interfaces: Vec<Interface> },
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: LinkType,
    snap: u32,
    /// Units of its timestamps in a second.
    per_second: u64,
    /// Seconds to add.
    offset: i64,
}

const SECTION: u32 = 0x0a0d_0d0a;

impl<R: Read> Replay<R> {
    /// Reads the head of a file.
    ///
    /// # Errors
    /// [`ReplayError`]: not a capture file, or an unreadable one.
    pub fn open(mut input: R) -> Result<Replay<R>, ReplayError> {
        let mut magic = [0; 4];
        fill(&mut input, &mut magic)?.then_some(()).ok_or(ReplayError::CutShort)?;
        let big = u32::from_be_bytes(magic);
        let (is_big, nanos) = match big {
            SECTION => {
                let mut replay = Replay { input, kind: Kind::PcapNg { big: false, interfaces: Vec::new() }, block: Vec::new() };
                replay.section()?;
                return Ok(replay);
            }
            0xa1b2_c3d4 => (true, false),
            0xd4c3_b2a1 => (false, false),
            0xa1b2_3c4d => (true, true),
            0x4d3c_b2a1 => (false, true),
            other => return Err(ReplayError::NotACapture(other)),
        };
        let mut head = [0; 20];
        fill(&mut input, &mut head)?.then_some(()).ok_or(ReplayError::CutShort)?;
        // The upper bits say how many octets of checksum follow each frame; what is behind a packet is not read anyway.
        let link = LinkType(number(is_big, &head, 16).unwrap_or(0) & 0x0fff_ffff);
        Ok(Replay { input, kind: Kind::Pcap { big: is_big, nanos, link }, block: Vec::new() })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`ReplayError`]; the frames before it were good.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReplayError> {
        match self.kind {
            Kind::Pcap { big, nanos, link } => self.next_record(big, nanos, link),
            Kind::PcapNg { .. } => self.next_block(),
        }
    }

    fn next_record(&mut self, big: bool, nanos: bool, link: LinkType) -> Result<Option<Frame<'_>>, ReplayError> {
        let mut head = [0; 16];
        if !fill(&mut self.input, &mut head)? {
            return Ok(None);
        }
        let field = |at| number(big, &head, at).expect("invariant: inside the head");
        let (seconds, fraction, length) = (field(0), field(4), field(8));
        self.read_block(length, length)?;
        let fraction = if nanos { Duration::from_nanos(fraction.into()) } else { Duration::from_micros(fraction.into()) };
        Ok(Some(Frame { at: Duration::from_secs(seconds.into()) + fraction, link, bytes: &self.block }))
    }

    fn next_block(&mut self) -> Result<Option<Frame<'_>>, ReplayError> {
        loop {
            let mut head = [0; 4];
            if !fill(&mut self.input, &mut head)? {
                return Ok(None);
            }
            if u32::from_be_bytes(head) == SECTION {
                self.section()?;
                continue;
            }
            let Kind::PcapNg { big, .. } = self.kind else { return Ok(None) };
            let kind = number(big, &head, 0).expect("invariant: four octets");
            self.body(big)?;
            let Kind::PcapNg { interfaces, .. } = &mut self.kind else { return Ok(None) };
            let block = &self.block;
            let field = |at| number(big, block, at).ok_or(ReplayError::BadLength(block.len() as u32));
            let packet = match kind {
                1 => {
                    if interfaces.len() == MAX_INTERFACES {
                        return Err(ReplayError::BadInterface(MAX_INTERFACES as u32));
                    }
                    interfaces.push(interface(big, block).ok_or(ReplayError::BadLength(block.len() as u32))?);
                    continue;
                }
                // Obsolete packet block: interface and drop count in 16 bits each.
                2 => {
                    let pair = block.first_chunk::<2>().ok_or(ReplayError::BadLength(block.len() as u32))?;
                    let index = if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
                    (u32::from(index), Some((field(4)?, field(8)?)), 20, field(12)?)
                }
                // Simple packet block: the first interface, no time, cut to its snap length.
                3 => {
                    let snap = interfaces.first().ok_or(ReplayError::BadInterface(0))?.snap;
                    let length = field(0)?;
                    (0, None, 4, if snap == 0 { length } else { length.min(snap) })
                }
                6 => (field(0)?, Some((field(4)?, field(8)?)), 20, field(12)?),
                _ => continue,
            };
            let (index, time, start, length) = packet;
            let interface = *interfaces.get(index as usize).ok_or(ReplayError::BadInterface(index))?;
            let end = start + length as usize;
            let bytes = self.block.get(start..end).ok_or(ReplayError::BadLength(length))?;
            let at = time.map_or(Duration::ZERO, |(high, low)| interface.time(u64::from(high) << 32 | u64::from(low)));
            return Ok(Some(Frame { at, link: interface.link, bytes }));
        }
    }

    /// The rest of a section header block: byte order and a fresh list of interfaces.
    fn section(&mut self) -> Result<(), ReplayError> {
        let mut head = [0; 8];
        fill(&mut self.input, &mut head)?.then_some(()).ok_or(ReplayError::CutShort)?;
        let is_big = match head[4..] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            [a, b, c, d] => return Err(ReplayError::NotACapture(u32::from_be_bytes([a, b, c, d]))),
            _ => return Err(ReplayError::CutShort),
        };
        let total = number(is_big, &head, 0).expect("invariant: eight octets");
        let rest = total.checked_sub(12).ok_or(ReplayError::BadLength(total))?;
        self.read_block(rest, total)?;
        self.kind = Kind::PcapNg { big: is_big, interfaces: Vec::new() };
        Ok(())
    }

    /// Reads a block behind its type, without the lengths around it.
    fn body(&mut self, big: bool) -> Result<(), ReplayError> {
        let mut head = [0; 4];
        fill(&mut self.input, &mut head)?.then_some(()).ok_or(ReplayError::CutShort)?;
        let total = number(big, &head, 0).expect("invariant: four octets");
        let rest = total.checked_sub(8).filter(|rest| *rest >= 4).ok_or(ReplayError::BadLength(total))?;
        self.read_block(rest.next_multiple_of(4), total)?;
        self.block.truncate(rest as usize - 4);
        Ok(())
    }

    fn read_block(&mut self, length: u32, claimed: u32) -> Result<(), ReplayError> {
        if length as usize > MAX_BLOCK {
            return Err(ReplayError::BadLength(claimed));
        }
        self.block.resize(length as usize, 0);
        if length > 0 && !fill(&mut self.input, &mut self.block)? {
            return Err(ReplayError::CutShort);
        }
        Ok(())
    }
}

impl Interface {
    fn time(&self, units: u64) -> Duration {
        let rest = u128::from(units % self.per_second) * 1_000_000_000 / u128::from(self.per_second);
        let seconds = (units / self.per_second).saturating_add_signed(self.offset);
        // What is beyond the range of time is as good as its end.
        Duration::from_secs(seconds.min(u64::MAX / 2)) + Duration::from_nanos(rest as u64)
    }
}

/// An interface description block: link type, snap length, and the two options that give its times their meaning.
fn interface(big: bool, block: &[u8]) -> Option<Interface> {
    let half = |at: usize| {
        let pair = [*block.get(at)?, *block.get(at + 1)?];
        Some(if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    };
    let mut found = Interface { link: LinkType(half(0)?.into()), snap: number(big, block, 4)?, per_second: 1_000_000, offset: 0 };
    let mut at = 8;
    while let (Some(code), Some(length)) = (half(at), half(at + 2)) {
        let Some(value) = block.get(at + 4..at + 4 + usize::from(length)) else { break };
        match (code, value) {
            (0, _) => break,
            // if_tsresol: a power of ten, or of two with the high bit; finer than a nanosecond does not help.
            (9, &[exponent]) => {
                let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
                found.per_second = base.checked_pow(u32::from(exponent & 0x7f)).unwrap_or(u64::MAX);
            }
            (14, value) => {
                let bytes = *value.first_chunk::<8>()?;
                found.offset = if big { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) };
            }
            _ => {}
        }
        at += 4 + usize::from(length).next_multiple_of(4);
    }
    Some(found)
}

fn number(big: bool, bytes: &[u8], at: usize) -> Option<u32> {
    let four = *bytes.get(at..)?.first_chunk::<4>()?;
    Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

/// Fills `buffer`; `false` at a clean end of input.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<bool, ReplayError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(ReplayError::CutShort),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Duration, LinkType, Vec<u8>);

    fn frames(file: &[u8]) -> (Vec<Read>, Option<ReplayError>) {
        let mut out = Vec::new();
        let mut replay = match Replay::open(file) {
            Ok(replay) => replay,
            Err(error) => return (out, Some(error)),
        };
        loop {
            match replay.next_frame() {
                Ok(Some(frame)) => out.push((frame.at, frame.link, frame.bytes.to_vec())),
                Ok(None) => return (out, None),
                Err(error) => return (out, Some(error)),
            }
        }
    }

    fn put(big: bool, out: &mut Vec<u8>, words: &[u32]) {
        for word in words {
            out.extend(if big { word.to_be_bytes() } else { word.to_le_bytes() });
        }
    }

    fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let total = 12 + body.len().next_multiple_of(4) as u32;
        put(big, &mut out, &[kind, total]);
        out.extend(body);
        out.resize(out.len().next_multiple_of(4), 0);
        put(big, &mut out, &[total]);
        out
    }

    #[test]
    fn pcap_is_read_in_both_orders_and_both_resolutions() {
        for (big, magic, fraction) in [
            (true, 0xa1b2_c3d4, 500_000),
            (false, 0xa1b2_c3d4, 500_000),
            (true, 0xa1b2_3c4d, 500_000_000),
            (false, 0xa1b2_3c4d, 500_000_000),
        ] {
            let mut file = Vec::new();
            put(big, &mut file, &[magic, 0x0002_0004, 0, 0, 65535, 1, 7, fraction, 3, 60]);
            file.extend(b"abc");
            let (got, error) = frames(&file);
            assert_eq!(got, [(Duration::from_millis(7500), LinkType::ETHERNET, b"abc".to_vec())], "{big} {magic:x}");
            assert!(error.is_none());
            let (got, error) = frames(&file[..file.len() - 1]);
            assert!(got.is_empty() && matches!(error, Some(ReplayError::CutShort)));
        }
    }

    fn pcapng(big: bool) -> Vec<u8> {
        let words = |words: &[u32]| {
            let mut out = Vec::new();
            put(big, &mut out, words);
            out
        };
        let half =
            |a: u16, b: u16| if big { [a.to_be_bytes(), b.to_be_bytes()].concat() } else { [a.to_le_bytes(), b.to_le_bytes()].concat() };
        let mut file = block(big, SECTION, &words(&[0x1a2b_3c4d, 0x0001_0000, 0xffff_ffff, 0xffff_ffff]));
        file.extend(block(big, 1, &[half(1, 0), words(&[0])].concat()));
        // if_name, then nanoseconds.
        let options = [half(2, 3), b"eth\0".to_vec(), half(9, 1), vec![9, 0, 0, 0], half(0, 0)].concat();
        file.extend(block(big, 1, &[half(101, 0), words(&[2]), options].concat()));
        file.extend(block(big, 4, b"names"));
        file.extend(block(big, 6, &[words(&[1, 0, 1_500_000_000, 3, 3]), b"one".to_vec()].concat()));
        file.extend(block(big, 3, &[words(&[3]), b"two".to_vec()].concat()));
        file.extend(block(big, 2, &[half(0, 9), words(&[0, 2_000_000, 5, 9]), b"three".to_vec()].concat()));
        file
    }

    #[test]
    fn pcapng_is_read_in_both_orders() {
        for big in [true, false] {
            let (got, error) = frames(&pcapng(big));
            assert!(error.is_none(), "{error:?}");
            let expected = [
                (Duration::from_millis(1500), LinkType::RAW, b"one".to_vec()),
                (Duration::ZERO, LinkType::ETHERNET, b"two".to_vec()),
                (Duration::from_secs(2), LinkType::ETHERNET, b"three".to_vec()),
            ];
            assert_eq!(got, expected);
            let two_sections = [pcapng(big), pcapng(!big)].concat();
            assert_eq!(frames(&two_sections).0.len(), 6);
        }
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        assert!(matches!(frames(b"\x7fELF1234567890").1, Some(ReplayError::NotACapture(0x7f45_4c46))));
        let mut huge = Vec::new();
        put(true, &mut huge, &[0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, 1, 7, 0, u32::MAX, 60]);
        assert!(matches!(frames(&huge).1, Some(ReplayError::BadLength(u32::MAX))));
        let section = &pcapng(true)[..28];
        let unknown = [section, &block(true, 6, &[0; 20])].concat();
        assert!(matches!(frames(&unknown).1, Some(ReplayError::BadInterface(0))));
    }

    proptest! {
        #[test]
        fn broken_files_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>(), end in any::<prop::sample::Index>(), big in any::<bool>()) {
            let mut file = pcapng(big);
            let index = at.index(file.len());
            file[index] = with;
            file.truncate(end.index(file.len() + 1));
            let _ = frames(&file);
        }
    }
}
