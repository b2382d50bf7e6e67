//! The kernel filter: frames that no part of the sensor would look at never leave the kernel.
//!
//! Classic BPF (Linux `Documentation/networking/filter.rst`), assembled here. It lets through DNS in both directions, what opens
//! connections to ports 443 and 853, everything tagged, fragments, and IPv6 with extension headers. It may let too much through, never
//! too little: the dissector judges again. The bulk of HTTPS is left to the kernel: of QUIC only first packets, of TCP only what clients send.

use socket2::SockFilter;

use super::dissect::{DOT, HTTPS};

/// Octets of an accepted frame that are handed over: all of them.
const ALL: u32 = u32::MAX;

// Instruction codes (linux/bpf_common.h).
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
const LOAD_BYTE_INDEXED: u16 = 0x50;
/// X = 4 * (octet & 0xf): the length of an IPv4 header.
const HEADER_LENGTH: u16 = 0xb1;
const SET_INDEX: u16 = 0x01;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where a jump leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// A label.
    Label(Label),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Accept,
    Reject,
    V4,
    V6,
    Transport,
    Tcp,
    Udp,
    Quic,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

#[derive(Debug, Default)]
struct Assembler {
    steps: Vec<Step>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn label(&mut self, label: Label) {
        self.labels.push((label, self.steps.len()));
    }

    fn step(&mut self, code: u16, k: u32) {
        self.steps.push(Step { code, k, yes: To::Next, no: To::Next });
    }

    /// Jumps to `label` where the accumulator is `k`.
    fn if_equal(&mut self, k: u32, label: Label) {
        self.steps.push(Step { code: JUMP_EQUAL, k, yes: To::Label(label), no: To::Next });
    }

    fn if_any_bit(&mut self, k: u32, label: Label) {
        self.steps.push(Step { code: JUMP_ANY_BIT, k, yes: To::Label(label), no: To::Next });
    }

    /// Jumps always: both ways of a comparison lead there, since a plain jump has another form.
    fn go(&mut self, label: Label) {
        self.steps.push(Step { code: JUMP_EQUAL, k: 0, yes: To::Label(label), no: To::Label(label) });
    }

    fn finish(self) -> Vec<(u16, u8, u8, u32)> {
        let distance = |from: usize, to: To| match to {
            To::Next => 0,
            To::Label(label) => {
                let (_, at) = self.labels.iter().find(|(name, _)| *name == label).expect("invariant: every label is placed");
                u8::try_from(at - from - 1).expect("invariant: ports are few, and labels lie ahead")
            }
        };
        self.steps.iter().enumerate().map(|(at, step)| (step.code, distance(at, step.yes), distance(at, step.no), step.k)).collect()
    }
}

/// Most ports that fit the reach of a jump.
pub const MAX_PORTS: usize = 16;

fn assemble(ports: &[u16]) -> Vec<(u16, u8, u8, u32)> {
    let ports = &ports[..ports.len().min(MAX_PORTS)];
    let mut a = Assembler::default();
    a.step(LOAD_HALF, 12);
    a.if_equal(0x0800, Label::V4);
    a.if_equal(0x86dd, Label::V6);
    for tag in [0x8100, 0x88a8, 0x9100, 0x8864] {
        a.if_equal(tag, Label::Accept);
    }
    a.go(Label::Reject);

    a.label(Label::V4);
    a.step(LOAD_HALF, 20);
    // A fragment other than the first has no ports.
    a.if_any_bit(0x1fff, Label::Accept);
    a.step(HEADER_LENGTH, 14);
    a.step(LOAD_BYTE, 23);
    a.go(Label::Transport);

    a.label(Label::V6);
    // The index makes up for the longer header: 40 octets.
    a.step(SET_INDEX, 40);
    a.step(LOAD_BYTE, 20);
    for extension in [0, 43, 44, 51, 60] {
        a.if_equal(extension, Label::Accept);
    }

    a.label(Label::Transport);
    a.if_equal(6, Label::Tcp);
    a.if_equal(17, Label::Udp);
    a.go(Label::Reject);

    a.label(Label::Tcp);
    a.step(LOAD_HALF_INDEXED, 14);
    for port in ports {
        a.if_equal(u32::from(*port), Label::Accept);
    }
    a.step(LOAD_HALF_INDEXED, 16);
    for port in ports.iter().chain(&[DOT, HTTPS]) {
        a.if_equal(u32::from(*port), Label::Accept);
    }
    a.go(Label::Reject);

    a.label(Label::Udp);
    a.step(LOAD_HALF_INDEXED, 14);
    for port in ports {
        a.if_equal(u32::from(*port), Label::Accept);
    }
    a.step(LOAD_HALF_INDEXED, 16);
    for port in ports {
        a.if_equal(u32::from(*port), Label::Accept);
    }
    a.if_equal(u32::from(DOT), Label::Quic);
    a.if_equal(u32::from(HTTPS), Label::Quic);
    a.go(Label::Reject);

    a.label(Label::Quic);
    a.step(LOAD_BYTE_INDEXED, 22);
    a.step(AND, 0xf0);
    a.if_equal(0xc0, Label::Accept);

    a.label(Label::Reject);
    a.step(RETURN, 0);
    a.label(Label::Accept);
    a.step(RETURN, ALL);
    a.finish()
}

/// The filter for these DNS ports, at most [`MAX_PORTS`] of them, on an Ethernet-like interface.
pub fn program(ports: &[u16]) -> Vec<SockFilter> {
    assemble(ports).into_iter().map(|(code, yes, no, k)| SockFilter::new(code, yes, no, k)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the program as the kernel does; a load beyond the frame rejects it.
    fn accepts(program: &[(u16, u8, u8, u32)], frame: &[u8]) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        let byte = |at: u32| frame.get(at as usize).map(|octet| u32::from(*octet));
        let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
        loop {
            let (code, yes, no, k) = program[at];
            at += 1;
            let loaded = match code {
                LOAD_HALF => half(k),
                LOAD_BYTE => byte(k),
                LOAD_HALF_INDEXED => half(x + k),
                LOAD_BYTE_INDEXED => byte(x + k),
                HEADER_LENGTH => byte(k).inspect(|octet| x = 4 * (octet & 0xf)).map(|_| a),
                SET_INDEX => {
                    x = k;
                    Some(a)
                }
                AND => Some(a & k),
                JUMP_EQUAL => {
                    at += usize::from(if a == k { yes } else { no });
                    Some(a)
                }
                JUMP_ANY_BIT => {
                    at += usize::from(if a & k != 0 { yes } else { no });
                    Some(a)
                }
                RETURN => return k != 0,
                other => panic!("unknown code {other:x}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }

    fn frame(six: bool, protocol: u8, from: u16, to: u16, payload: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        if six {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 9, protocol, 64]);
            frame.extend([0; 32]);
        } else {
            frame.extend([8, 0, 0x46, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([0; 12]);
        }
        frame.extend(from.to_be_bytes());
        frame.extend(to.to_be_bytes());
        frame.extend([0, 9, 0, 0, payload]);
        frame
    }

    #[test]
    fn what_the_sensor_reads_passes_and_the_bulk_does_not() {
        let program = assemble(&[53]);
        for six in [false, true] {
            for (protocol, from, to, payload, expected) in [
                (17, 4000, 53, 0, true),
                (17, 53, 4000, 0, true),
                (17, 4000, 123, 0, false),
                (17, 4000, 443, 0xc3, true),
                (17, 4000, 443, 0x43, false),
                (17, 443, 4000, 0xc3, false),
                (17, 4000, 853, 0xc0, true),
                (6, 4000, 443, 0, true),
                (6, 443, 4000, 0, false),
                (6, 4000, 853, 0, true),
                (6, 4000, 53, 0, true),
                (6, 53, 4000, 0, true),
                (6, 4000, 22, 0, false),
                (1, 4000, 53, 0, false),
            ] {
                assert_eq!(
                    accepts(&program, &frame(six, protocol, from, to, payload)),
                    expected,
                    "{six} {protocol} {from} {to} {payload:x}"
                );
            }
        }
        let mut fragment = frame(false, 17, 1, 2, 0);
        fragment[21] = 9;
        assert!(accepts(&program, &fragment));
        assert!(accepts(&program, &frame(true, 44, 1, 2, 0)));
        assert!(accepts(&program, &[&[0; 12][..], &[0x81, 0]].concat()));
        assert!(!accepts(&program, &[&[0; 12][..], &[8, 6]].concat()));
    }

    proptest! {
        #[test]
        fn the_program_ends_on_any_frame(ports in proptest::collection::vec(any::<u16>(), 0..30), frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = accepts(&assemble(&ports), &frame);
        }
    }
}
