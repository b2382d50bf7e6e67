//! Capture files, pcap and pcapng: no panic, no frame larger than a block may be, and an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::sensor::replay::{MAX_BLOCK, Replay};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut replay) = Replay::open(bytes) else { return };
    let mut octets = 0;
    while let Ok(Some(frame)) = replay.next_frame() {
        assert!(frame.bytes.len() <= MAX_BLOCK);
        octets += frame.bytes.len();
    }
    assert!(octets <= bytes.len());
});
