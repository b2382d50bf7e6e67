//! Configuration files: any text is a configuration or a list of problems, each with a line that the text has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::config;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::from_text("fuzz.toml", text, None) {
        Ok(config) => assert!(config.needs_restart(&config).is_empty()),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let lines = text.split('\n').count();
            for problem in problems.0 {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem} of {lines} lines");
                assert!(!problem.what.is_empty());
            }
        }
    }
});
