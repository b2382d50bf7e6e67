//! Every metric of the table is exported by the built program and moves when its cause moves; Prometheus's own checker reads the page.
//!
//! Each scenario promises the metrics that it moves and is held to it; the promises together are the table. Metrics of the sensor move in
//! `tests/sensor`, against a network of its own.

#![allow(clippy::disallowed_methods, reason = "a test owns sockets and files")]

#[path = "../daemon/mod.rs"]
mod daemon;
mod ledger;
mod machine;
mod operator;
mod panels;
mod traffic;
mod upstream;

use std::collections::BTreeSet;
use std::path::Path;

use postern::telemetry::metrics::{CACHE_PREFETCHES, KEY_SET_SERIAL, Metric, NEGATIVE_TRUST_ANCHORS, TABLE, TRUST_ANCHOR_KEYS};

/// A metric that no scenario moves is a promise to the operator that nobody keeps.
#[test]
fn every_metric_of_the_table_has_a_scenario_that_moves_it() {
    let scenarios = [traffic::MOVES, operator::LISTS, operator::SETTINGS, upstream::FORWARDER, upstream::LIMITS, machine::MOVES];
    let moved: BTreeSet<&str> = scenarios.concat().iter().map(|metric| metric.name).collect();
    let of_the_sensor = |name: &str| name.starts_with("postern_sensor_");
    let table: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).filter(|name| !of_the_sensor(name)).collect();
    let elsewhere = ELSEWHERE.iter().map(|(metric, file)| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file)).unwrap();
        assert!(text.contains(&format!("{:?}", metric.name)), "tests/{file} does not ask for {}", metric.name);
        metric.name
    });
    assert_eq!(&moved | &elsewhere.collect(), table);
}

/// Metrics whose cause takes a world of its own, and the test with the built binary that moves them there.
static ELSEWHERE: &[(&Metric, &str)] = &[
    (&KEY_SET_SERIAL, "trust/ceremony.rs"),
    (&CACHE_PREFETCHES, "anchors.rs"),
    (&TRUST_ANCHOR_KEYS, "anchors.rs"),
    (&NEGATIVE_TRUST_ANCHORS, "anchors.rs"),
];
