//! Text lists, hosts and plain: any bytes become rules and bad lines, the same ones however the input is cut into reads.
#![no_main]

use std::io::{BufReader, Cursor};

use libfuzzer_sys::fuzz_target;
use postern::blocklist::Action;
use postern::blocklist::parse::{self, Format, Found, Reading};

fn read(text: &[u8], format: Format, capacity: usize) -> (Vec<Found>, parse::Read) {
    let how = Reading { format: Some(format), scope: None, action: Action::Block };
    let mut found = Vec::new();
    let read = parse::read(BufReader::with_capacity(capacity, Cursor::new(text)), how, &mut |item, bytes| {
        assert!(bytes <= text.len() as u64);
        found.push(item);
    });
    (found, read.expect("memory has no read errors"))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, text)) = bytes.split_first() else { return };
    let format = if first % 2 == 0 { Format::Hosts } else { Format::Plain };
    let (found, whole) = read(text, format, 1 << 16);
    assert_eq!((&found, whole), (&read(text, format, 1 + usize::from(first)).0, whole));
    assert_eq!(whole.bytes, text.len() as u64);
    let lines = text.split_inclusive(|&byte| byte == b'\n').count();
    assert_eq!(whole.lines as usize, lines);
    for item in found {
        match item {
            Found::Rule(rule) => {
                assert!((1..=whole.lines).contains(&rule.line));
                assert!(!rule.name.is_root());
                assert_eq!(parse::name(&rule.name.to_string()).expect("a listed name can be listed"), rule.name);
            }
            Found::Bad(bad) => {
                assert!((1..=whole.lines).contains(&bad.line));
                assert!(!bad.text.chars().any(char::is_control));
            }
            Found::Housekeeping => {}
        }
    }
});
