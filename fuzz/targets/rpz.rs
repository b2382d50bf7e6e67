//! Policy zones: any text is a zone or an error, what is left out is told with a line that the text has, and every rule is found again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::policy::rpz::Zone;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(zone) = Zone::parse("fuzz", text) else { return };
    let lines = text.lines().count();
    assert!(zone.left_out().0.iter().all(|left| (1..=lines).contains(&left.line)));
    for place in 0..zone.len() as u32 {
        let trigger = &zone.rule(place).expect("every place has a rule").trigger;
        assert!(zone.find(trigger.wire()).is_some(), "{trigger}");
    }
});
