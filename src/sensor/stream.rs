//! TCP streams: segments put in order, and cut into DNS messages or searched for a ClientHello.
//!
//! RFC 9293 as a bystander sees it: segments out of order, repeated, overlapping; connections whose start was not seen; holes where the
//! capture lost a packet. Of two versions of the same octets the first seen counts. DNS messages are framed by two octets of length
//! (RFC 7766 section 8); where the frame is lost, reading goes on at the next segment that looks like the start of a message.
//! Each direction is a stream of its own. Everything held is bounded, and what had to be let go is counted.

use std::net::SocketAddr;
use std::time::Duration;

use super::table::Table;
use super::tls::{self, Hello};

/// Octets of one stream held behind a hole.
const LATER_BYTES: usize = 64 * 1024;
/// Segments of one stream held behind a hole.
const LATER_SEGMENTS: usize = 64;
/// A segment further ahead than this belongs to another life of the connection.
const WINDOW: i32 = 1 << 20;
/// How long a silent stream is remembered; DNS connections are idle for 30 s at most by custom (RFC 7766 section 6.2.3 says seconds).
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes a stream is reckoned at besides its buffers.
const STREAM_BYTES: usize = 256;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Key {
    fn reverse(self) -> Key {
        Key { source: self.destination, destination: self.source }
    }
}

/// The parts of a TCP segment that matter here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) sequence: u32,
    pub(super) acknowledgment: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
}

/// What a stream is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// DNS messages behind two octets of length.
    Dns,
    /// A TLS ClientHello at the start, and nothing after it.
    Tls,
}

/// What has come out of a stream.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// One DNS message without its length.
    Message(&'a [u8]),
    /// A length no message has; the stream is not followed any further.
    BadLength(&'a [u8]),
    /// The ClientHello.
    Hello(Hello),
}

/// Gets what comes out: the direction it came in, when, and whether the stream's frame had been lost before.
pub(super) type Sink<'s> = dyn FnMut(&Key, Duration, Piece<'_>) + 's;

#[derive(Debug)]
struct Half {
    framing: Framing,
    /// Initial sequence number, once its SYN was seen.
    start: Option<u32>,
    /// Sequence number of the octet after `ready`.
    next: Option<u32>,
    ready: Vec<u8>,
    later: Vec<(u32, Vec<u8>)>,
    /// `ready` begins at a segment, perhaps not at a message.
    guess: bool,
    /// Nothing more is wanted from it.
    done: bool,
    weight: usize,
}

/// All streams followed now.
#[derive(Debug)]
pub(super) struct Streams {
    halves: Table<Key, Half>,
    bytes: usize,
    limit_bytes: usize,
    /// Streams let go, while still of interest, for want of room.
    pub(super) evicted: u64,
    /// Holes skipped: octets that were never captured.
    pub(super) holes: u64,
}

/// Reads the header of a TCP segment (RFC 9293 section 3.1): ports, and what is in it.
pub(super) fn segment(bytes: &[u8]) -> Option<(u16, u16, Segment<'_>)> {
    let header = bytes.first_chunk::<20>()?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let start = usize::from(header[12] >> 4) * 4;
    if start < 20 {
        return None;
    }
    let flags = header[13];
    let segment = Segment {
        sequence: word(4),
        acknowledgment: (flags & 0x10 != 0).then(|| word(8)),
        syn: flags & 2 != 0,
        fin: flags & 1 != 0,
        rst: flags & 4 != 0,
        payload: bytes.get(start..)?,
    };
    Some(((word(0) >> 16) as u16, word(0) as u16, segment))
}

impl Streams {
    /// Room for so many directions and so many bytes in them.
    pub(super) fn new(directions: usize, limit_bytes: usize) -> Streams {
        Streams { halves: Table::new(directions), bytes: 0, limit_bytes, evicted: 0, holes: 0 }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in one segment.
    pub(super) fn take(&mut self, at: Duration, key: Key, segment: &Segment<'_>, framing: Framing, sink: &mut Sink<'_>) {
        self.expire(at, sink);
        if let Some(acknowledgment) = segment.acknowledgment {
            self.acknowledged(at, &key.reverse(), acknowledgment, sink);
        }
        if segment.rst {
            if let Some(half) = self.halves.remove(&key) {
                self.let_go(half, &key, at, sink);
            }
            return;
        }
        let restarts = segment.syn && self.halves.peek(&key).is_none_or(|half| half.start != Some(segment.sequence));
        if restarts && let Some(half) = self.halves.remove(&key) {
            self.let_go(half, &key, at, sink);
        }
        if !segment.syn && segment.payload.is_empty() {
            return;
        }
        if self.halves.peek(&key).is_none() {
            let mut half = Half {
                framing,
                start: None,
                next: None,
                ready: Vec::new(),
                later: Vec::new(),
                guess: !segment.syn,
                done: false,
                weight: 0,
            };
            if segment.syn {
                half.start = Some(segment.sequence);
                half.next = Some(segment.sequence.wrapping_add(1));
            }
            if let Some((key, half)) = self.halves.insert(key, half, at) {
                self.evict(half, &key, at, sink);
            }
        }
        // Data on a SYN (RFC 7413) comes after the octet that the SYN itself counts for.
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        self.with(at, &key, sink, |half, holes| half.push(sequence, segment.payload, holes));
        if segment.fin {
            self.with(at, &key, sink, |half, _| half.done |= half.later.is_empty());
        }
        while self.bytes > self.limit_bytes {
            let Some((key, half)) = self.halves.pop_oldest() else { break };
            self.evict(half, &key, at, sink);
        }
    }

    /// Ends every stream and delivers what is behind its holes.
    pub(super) fn finish(&mut self, at: Duration, sink: &mut Sink<'_>) {
        while let Some((key, half)) = self.halves.pop_oldest() {
            self.let_go(half, &key, at, sink);
        }
    }

    fn expire(&mut self, at: Duration, sink: &mut Sink<'_>) {
        while let Some((key, half)) = self.halves.pop_expired(at, PATIENCE) {
            self.let_go(half, &key, at, sink);
        }
    }

    /// The receiver has everything up to `acknowledgment`: a hole before it is the capture's own and will not be filled.
    fn acknowledged(&mut self, at: Duration, key: &Key, acknowledgment: u32, sink: &mut Sink<'_>) {
        let behind = |(sequence, bytes): &(u32, Vec<u8>)| ahead(sequence.wrapping_add(bytes.len() as u32), acknowledgment) <= 0;
        if self.halves.peek(key).is_some_and(|half| half.later.iter().any(behind)) {
            self.with(at, key, sink, |half, holes| half.skip_hole(holes));
        }
    }

    fn with(&mut self, at: Duration, key: &Key, sink: &mut Sink<'_>, change: impl FnOnce(&mut Half, &mut u64)) {
        let Some(half) = self.halves.touch(key, at) else { return };
        if half.done {
            return;
        }
        change(half, &mut self.holes);
        half.deliver(key, at, sink);
        self.bytes -= half.weight;
        half.weight = half.reckon();
        self.bytes += half.weight;
    }

    fn evict(&mut self, half: Half, key: &Key, at: Duration, sink: &mut Sink<'_>) {
        self.evicted += u64::from(!half.done);
        self.let_go(half, key, at, sink);
    }

    fn let_go(&mut self, mut half: Half, key: &Key, at: Duration, sink: &mut Sink<'_>) {
        self.bytes -= half.weight;
        while !half.done && !half.later.is_empty() {
            half.skip_hole(&mut self.holes);
            half.deliver(key, at, sink);
        }
    }
}

/// How far `a` lies ahead of `b` in sequence space.
fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Half {
    fn push(&mut self, sequence: u32, payload: &[u8], holes: &mut u64) {
        let next = *self.next.get_or_insert(sequence);
        let offset = ahead(sequence, next);
        if offset <= 0 {
            self.append(offset, payload);
        } else if offset > WINDOW {
            *holes += 1;
            *self = Half { next: Some(sequence), later: Vec::new(), ready: Vec::new(), guess: true, ..*self };
            self.append(0, payload);
        } else {
            let held: usize = self.later.iter().map(|(_, bytes)| bytes.len()).sum();
            if held + payload.len() > LATER_BYTES || self.later.len() >= LATER_SEGMENTS {
                self.skip_hole(holes);
                // The hole is gone, so this makes way or adds one segment to what has shrunk.
                return self.push(sequence, payload, holes);
            }
            self.later.push((sequence, payload.to_vec()));
        }
        self.close_up();
    }

    /// Appends the new part of a segment that starts `offset` (not positive) from the next octet.
    fn append(&mut self, offset: i32, payload: &[u8]) {
        if let Some(new) = payload.get(offset.unsigned_abs() as usize..) {
            self.ready.extend_from_slice(new);
            self.next = self.next.map(|next| next.wrapping_add(new.len() as u32));
        }
    }

    /// Moves what is no longer behind a hole.
    fn close_up(&mut self) {
        let Some(mut next) = self.next else { return };
        while let Some(index) = self.later.iter().position(|(sequence, _)| ahead(*sequence, next) <= 0) {
            let (sequence, bytes) = self.later.remove(index);
            self.append(ahead(sequence, next), &bytes);
            next = self.next.unwrap_or(next);
        }
    }

    fn skip_hole(&mut self, holes: &mut u64) {
        let Some(next) = self.next else { return };
        if let Some(first) = self.later.iter().map(|(sequence, _)| *sequence).min_by_key(|sequence| ahead(*sequence, next)) {
            *holes += 1;
            self.next = Some(first);
            self.ready.clear();
            self.guess = true;
            self.close_up();
        }
    }

    fn reckon(&self) -> usize {
        STREAM_BYTES + self.ready.capacity() + self.later.iter().map(|(_, bytes)| bytes.capacity() + 32).sum::<usize>()
    }

    fn deliver(&mut self, key: &Key, at: Duration, sink: &mut Sink<'_>) {
        match self.framing {
            Framing::Dns => self.deliver_messages(key, at, sink),
            Framing::Tls => match tls::client_hello(&self.ready) {
                tls::Reading::More => {}
                tls::Reading::Not => self.done = true,
                tls::Reading::Hello(hello) => {
                    sink(key, at, Piece::Hello(hello));
                    self.done = true;
                }
            },
        }
        if self.done {
            self.ready = Vec::new();
            self.later = Vec::new();
        }
    }

    fn deliver_messages(&mut self, key: &Key, at: Duration, sink: &mut Sink<'_>) {
        let mut taken = 0;
        while let Some((head, rest)) = self.ready[taken..].split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*head));
            if self.guess {
                match starts_message(length, rest) {
                    Some(true) => self.guess = false,
                    Some(false) => {
                        taken = self.ready.len();
                        break;
                    }
                    None => break,
                }
            }
            if length < crate::wire::message::HEADER {
                sink(key, at, Piece::BadLength(&rest[..length.min(rest.len())]));
                self.done = true;
                return;
            }
            let Some(message) = rest.get(..length) else { break };
            sink(key, at, Piece::Message(message));
            taken += 2 + length;
        }
        self.ready.drain(..taken);
        if self.ready.is_empty() {
            // Thousands of idle connections must not each keep the size of their largest message.
            self.ready = Vec::new();
        }
    }
}

/// Whether octets that may be the start of a message look like one; `None` while there are too few to say.
fn starts_message(length: usize, rest: &[u8]) -> Option<bool> {
    if length < crate::wire::message::HEADER {
        return Some(false);
    }
    let header = rest.first_chunk::<12>()?;
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let opcode = header[2] >> 3 & 0xf;
    // A question takes 5 octets at least, a record 11.
    let least = 12 + 5 * count(4) + 11 * (count(6) + count(8) + count(10));
    Some(matches!(opcode, 0..=2 | 4..=6) && header[3] & 0x40 == 0 && count(4) <= 1 && least <= length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1);

    fn key() -> Key {
        Key { source: "192.0.2.1:40000".parse().unwrap(), destination: "192.0.2.2:53".parse().unwrap() }
    }

    /// A framed message of 12 + `extra` octets that starts like a query.
    fn framed(id: u8, extra: usize) -> Vec<u8> {
        let mut bytes = ((12 + extra) as u16).to_be_bytes().to_vec();
        bytes.extend([0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(std::iter::repeat_n(id, extra));
        bytes
    }

    #[derive(Default)]
    struct Seen(Vec<u8>);

    impl Seen {
        fn sink(&mut self) -> impl FnMut(&Key, Duration, Piece<'_>) + '_ {
            |_, _, piece| match piece {
                Piece::Message(message) => self.0.push(message[1]),
                Piece::BadLength(_) => self.0.push(255),
                Piece::Hello(_) => self.0.push(254),
            }
        }
    }

    fn data(sequence: u32, payload: &[u8]) -> Segment<'_> {
        Segment { sequence, acknowledgment: None, syn: false, fin: false, rst: false, payload }
    }

    fn syn(sequence: u32) -> Segment<'static> {
        Segment { syn: true, ..data(sequence, &[]) }
    }

    fn run(segments: &[Segment<'_>], finish: bool) -> (Vec<u8>, Streams) {
        let mut streams = Streams::new(16, 1 << 20);
        let mut seen = Seen::default();
        for segment in segments {
            streams.take(NOW, key(), segment, Framing::Dns, &mut seen.sink());
        }
        if finish {
            streams.finish(NOW, &mut seen.sink());
        }
        (seen.0, streams)
    }

    #[test]
    fn segments_in_any_order_with_overlaps_give_each_message_once() {
        let stream = [framed(1, 30), framed(2, 5), framed(3, 100)].concat();
        // The sequence number wraps inside the stream.
        let base = u32::MAX - 20;
        let at = |from: usize, to: usize| data(base.wrapping_add(1 + from as u32), &stream[from..to]);
        let (seen, _) = run(&[syn(base), at(60, stream.len()), at(10, 50), at(0, 20), at(40, 70), at(0, 20)], false);
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn a_stream_without_its_start_is_read_from_the_first_segment_that_looks_like_a_message() {
        let (one, two) = (framed(1, 30), framed(2, 30));
        let (seen, _) = run(&[data(500, &one[20..]), data(500 + 24, &two)], false);
        assert_eq!(seen, [2]);
    }

    #[test]
    fn a_hole_is_skipped_once_the_receiver_has_acknowledged_what_is_behind_it() {
        let (one, two, three) = (framed(1, 5), framed(2, 5), framed(3, 5));
        let segments = [syn(0), data(1, &one), data(39, &three)];
        assert_eq!(run(&segments, false).0, [1]);
        assert_eq!(run(&segments, true).0, [1, 3]);
        let mut streams = Streams::new(16, 1 << 20);
        let mut seen = Seen::default();
        for segment in segments {
            streams.take(NOW, key(), &segment, Framing::Dns, &mut seen.sink());
        }
        let reply = Segment { acknowledgment: Some(58), ..data(0, &[]) };
        streams.take(NOW, key().reverse(), &reply, Framing::Dns, &mut seen.sink());
        streams.take(NOW, key(), &data(20, &two), Framing::Dns, &mut seen.sink());
        assert_eq!((seen.0, streams.holes), (vec![1, 3], 1));
    }

    #[test]
    fn a_length_below_a_header_ends_the_stream() {
        assert_eq!(run(&[syn(0), data(1, &[0, 5, 1, 2, 3]), data(6, &framed(1, 0))], true).0, [255]);
    }

    #[test]
    fn a_new_syn_is_a_new_stream_and_a_repeated_one_is_not() {
        let (one, two) = (framed(1, 40), framed(2, 0));
        assert_eq!(run(&[syn(7), data(8, &one[..20]), syn(7), data(28, &one[20..])], false).0, [1]);
        assert_eq!(run(&[syn(7), data(8, &one[..20]), syn(900), data(901, &two)], false).0, [2]);
    }

    proptest! {
        #[test]
        fn any_cut_and_any_order_give_the_same_messages(cuts in proptest::collection::vec(1usize..160, 0..8), order in any::<u64>()) {
            let stream = [framed(1, 30), framed(2, 5), framed(3, 100)].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < stream.len()).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let mut segments: Vec<_> = cuts.windows(2).map(|w| data(1 + w[0] as u32, &stream[w[0]..w[1]])).collect();
            segments.sort_by_key(|s| (u64::from(s.sequence) + 1).wrapping_mul(order | 1).rotate_left(17));
            segments.insert(0, syn(0));
            prop_assert_eq!(run(&segments, false).0, [1, 2, 3]);
        }

        #[test]
        fn hostile_segments_stay_within_bounds(steps in proptest::collection::vec((0u16..40, any::<u32>(), 0usize..3000, 0u8..8), 1..150)) {
            let mut streams = Streams::new(8, 100_000);
            let mut seen = Seen::default();
            let zeros = vec![0xff; 3000];
            for (port, sequence, length, flags) in steps {
                let key = Key { source: ([192, 0, 2, 1], port).into(), ..key() };
                let segment = Segment {
                    sequence: if flags & 1 == 0 { sequence % 5000 } else { sequence },
                    acknowledgment: (flags & 2 != 0).then_some(sequence),
                    syn: flags == 4, fin: flags == 5, rst: flags == 6, payload: &zeros[..length],
                };
                streams.take(NOW, key, &segment, if port % 3 == 0 { Framing::Tls } else { Framing::Dns }, &mut seen.sink());
                prop_assert!(streams.bytes() <= 100_000 && streams.halves.len() <= 8);
            }
            streams.finish(NOW, &mut seen.sink());
            prop_assert_eq!(streams.bytes(), 0);
        }
    }
}
