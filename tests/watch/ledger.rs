//! What a scenario has seen to move.

use std::collections::BTreeSet;
use std::time::Instant;

use postern::telemetry::metrics::{Kind, Metric};

use super::daemon::{Daemon, PATIENCE, sum};

/// The metrics that have moved as their cause says.
#[derive(Default)]
pub(crate) struct Ledger(BTreeSet<&'static str>);

/// The value of a metric in a scraped text, over the series that hold all of `labels`; of a histogram, what it has counted.
pub(crate) fn value(text: &str, metric: &Metric, labels: &[&str]) -> f64 {
    let suffix = if metric.kind == Kind::Histogram { "_count" } else { "" };
    sum(text, &format!("{}{suffix}", metric.name), labels)
}

impl Ledger {
    /// It is more than it was.
    pub(crate) fn grew(&mut self, metric: &'static Metric, labels: &[&str], before: &str, after: &str) {
        let (then, now) = (value(before, metric, labels), value(after, metric, labels));
        assert!(now > then, "{}{labels:?} went from {then} to {now}", metric.name);
        self.0.insert(metric.name);
    }

    /// It went from one value to another.
    pub(crate) fn went(&mut self, metric: &'static Metric, labels: &[&str], (before, from): (&str, f64), (after, to): (&str, f64)) {
        assert_ne!(from, to, "{} has not moved", metric.name);
        assert_eq!((value(before, metric, labels), value(after, metric, labels)), (from, to), "{}{labels:?}", metric.name);
        self.0.insert(metric.name);
    }

    /// It never moves by its nature, and says what is known otherwise.
    pub(crate) fn stands(&mut self, metric: &'static Metric, labels: &[&str], text: &str, known: f64) {
        assert_eq!(value(text, metric, labels), known, "{}{labels:?}", metric.name);
        self.0.insert(metric.name);
    }

    /// The scenario has moved exactly what it promises.
    pub(crate) fn keeps(self, promise: &[&'static Metric]) {
        assert_eq!(self.0, promise.iter().map(|metric| metric.name).collect());
    }
}

/// Scrapes until `seen`, doing `again` before each time: what is counted elsewhere is seen a moment after it happened.
pub(crate) fn scrape_until(daemon: &Daemon, what: &str, mut again: impl FnMut(), seen: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        again();
        let text = daemon.scrape();
        if seen(&text) {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} is not seen: {text}\n{}", daemon.log());
    }
}
