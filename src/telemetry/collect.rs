//! From counters and snapshots to `/metrics`: summing at scrape.
//!
//! A [`prometheus::core::Collector`] walks the table, adds up the workers' cells and asks every source for what its room keeps itself.
//! The scrape holds two locks that no query ever waits for: the list of workers and the list of sources.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder as _, Registry, TextEncoder};

use super::count::{self, BOUNDS, Cells, Counters, LIST_SLOTS, ListSlot, ManyThreads, Owner, Shared, Worker};
use super::label::{self, Action, Cache, Lookup, Qtype, RcodeLabel, Served, Transport, Verdict};
use super::metrics::{self, Kind, Metric, TABLE, Values};

/// Asked at every scrape for what a room keeps by itself. Must not block on the path of a query.
pub type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// The metrics of one running program.
#[derive(Clone)]
pub struct Metrics {
    state: Arc<State>,
    registry: Registry,
}

#[derive(Default)]
struct State {
    /// Counts nothing itself: every sample comes from a source.
    bystander: bool,
    workers: Mutex<Vec<Arc<Cells>>>,
    lists: Mutex<Vec<String>>,
    sources: Mutex<Vec<Source>>,
}

/// The lock of a list that is only pushed to: a panic elsewhere leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Metrics with every counter at zero.
    pub fn new() -> Metrics {
        Metrics::with(State::default())
    }

    /// Metrics of a program that answers no queries, such as the sensor: a zero for what it cannot count would be a lie.
    pub fn bystander() -> Metrics {
        Metrics::with(State { bystander: true, ..State::default() })
    }

    fn with(state: State) -> Metrics {
        let state = Arc::new(state);
        let registry = Registry::new();
        registry.register(Box::new(Table::new(state.clone()))).expect("the table has distinct, well-formed names");
        Metrics { state, registry }
    }

    /// Counters for one more worker thread.
    pub fn worker(&self) -> Worker {
        self.counters()
    }

    /// Counters that tasks may share.
    pub fn shared(&self) -> Shared {
        self.counters::<ManyThreads>()
    }

    fn counters<O: Owner>(&self) -> Counters<O> {
        let cells = Arc::new(Cells::default());
        locked(&self.state.workers).push(cells.clone());
        Counters { cells, owner: PhantomData }
    }

    /// The place of list `id` among the counters; the same for the same id. Beyond [`LIST_SLOTS`] lists, `other`.
    pub fn list(&self, id: &str) -> ListSlot {
        let mut lists = locked(&self.state.lists);
        let known = lists.iter().position(|known| known == id);
        ListSlot(known.unwrap_or_else(|| {
            if lists.len() < LIST_SLOTS - 1 {
                lists.push(id.to_owned());
                lists.len() - 1
            } else {
                LIST_SLOTS - 1
            }
        }))
    }

    /// Adds a source of samples, asked at every scrape.
    pub fn source(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        locked(&self.state.sources).push(Box::new(source));
    }

    /// The sum of a counter or gauge over all its series.
    pub fn total(&self, metric: &'static Metric) -> f64 {
        let families = self.registry.gather();
        let series = families.iter().filter(|family| family.name() == metric.name).flat_map(MetricFamily::get_metric);
        series.map(|sample| sample.get_counter().get_value() + sample.get_gauge().get_value()).sum()
    }

    /// The Prometheus text format (version 0.0.4).
    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut bytes).expect("a Vec takes every write and empty families are left out");
        String::from_utf8(bytes).expect("the text format is UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// What sources have said in one scrape.
#[derive(Default)]
pub struct Samples {
    values: HashMap<&'static str, Vec<(Vec<String>, f64)>>,
    histograms: Vec<(&'static Metric, Counted)>,
}

/// A histogram as it is shown: one count more than there are bounds.
struct Counted {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Samples {
    /// The value of `metric`, a gauge or a counter, for these label values, in the order of the table. A counter is given whole, not
    /// by its growth; values for the same labels add up. A label value outside its closed set is counted as the set's last one.
    pub fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{} has other labels", metric.name);
        debug_assert_ne!(metric.kind, Kind::Histogram, "{} comes from the workers", metric.name);
        let labels: Vec<String> = metric
            .labels
            .iter()
            .zip(labels)
            .map(|(label, value)| match label.values {
                Values::Closed(set) if !set.contains(value) => {
                    debug_assert!(set.contains(&"other"), "{} has no {} {value:?}", metric.name, label.name);
                    (*set.last().expect("a closed set has values")).to_owned()
                }
                _ => (*value).to_owned(),
            })
            .collect();
        let rows = self.values.entry(metric.name).or_default();
        match rows.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum += value,
            None => rows.push((labels, value)),
        }
    }
}

impl Samples {
    /// A histogram without labels that its room has counted by itself: `counts` by the upper `bounds` of the buckets, the last beyond all
    /// of them, and the `sum` of what was measured.
    pub fn histogram(&mut self, metric: &'static Metric, bounds: &'static [f64], counts: &[u64], sum: f64) {
        debug_assert!(metric.kind == Kind::Histogram && metric.labels.is_empty() && counts.len() == bounds.len() + 1, "{}", metric.name);
        self.histograms.push((metric, Counted { bounds, counts: counts.to_vec(), sum }));
    }
}

struct Table {
    state: Arc<State>,
    descriptions: Vec<Desc>,
}

impl Table {
    fn new(state: Arc<State>) -> Table {
        let descriptions = TABLE
            .iter()
            .map(|metric| {
                let labels = metric.labels.iter().map(|label| label.name.to_owned()).collect();
                Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
                    .expect("the table's names are well formed")
            })
            .collect();
        Table { state, descriptions }
    }
}

impl Collector for Table {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let workers = locked(&self.state.workers).clone();
        let lists = locked(&self.state.lists).clone();
        let mut out = Families::default();
        if !self.state.bystander {
            out.counted(&workers, &lists);
        }
        let mut samples = Samples::default();
        for source in locked(&self.state.sources).iter() {
            source(&mut samples);
        }
        samples.set(&metrics::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
        for metric in TABLE {
            for (labels, value) in samples.values.remove(metric.name).unwrap_or_default() {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                out.value(metric, &labels, value);
            }
        }
        for (metric, counted) in &samples.histograms {
            out.histogram(metric, &[], counted);
        }
        out.families
    }
}

/// Families under construction.
#[derive(Default)]
struct Families {
    families: Vec<MetricFamily>,
}

impl Families {
    fn push(&mut self, metric: &'static Metric, labels: &[&str], mut sample: Sample) {
        let pairs = metric.labels.iter().zip(labels).map(|(label, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(label.name.to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        sample.set_label(pairs.collect());
        match self.families.iter_mut().find(|family| family.name() == metric.name) {
            Some(family) => family.mut_metric().push(sample),
            None => {
                let mut family = MetricFamily::default();
                family.set_name(metric.name.to_owned());
                family.set_help(metric.help.to_owned());
                family.set_field_type(match metric.kind {
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Histogram => MetricType::HISTOGRAM,
                });
                family.set_metric(vec![sample]);
                self.families.push(family);
            }
        }
    }

    fn value(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut sample = Sample::default();
        if metric.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.push(metric, labels, sample);
    }

    /// One counter a label text; all of them always, so that `rate()` sees the first increase.
    fn counters(&mut self, metric: &'static Metric, texts: &[&str], sum: impl Fn(usize) -> u64) {
        for (index, text) in texts.iter().enumerate() {
            self.value(metric, &[text], sum(index) as f64);
        }
    }

    fn timed<'a>(&mut self, metric: &'static Metric, label: &str, parts: impl Iterator<Item = &'a count::Histogram> + Clone) {
        let count_in = |bucket: usize| parts.clone().map(|part| part.buckets[bucket].load(Relaxed)).sum::<u64>();
        let counts = (0..=BOUNDS.len()).map(count_in).collect();
        let sum = parts.clone().map(|part| part.sum_ns.load(Relaxed)).sum::<u64>() as f64 / 1e9;
        self.histogram(metric, &[label], &Counted { bounds: &BOUNDS, counts, sum });
    }

    fn histogram(&mut self, metric: &'static Metric, labels: &[&str], counted: &Counted) {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(counted.bounds.len());
        for (bound, count) in counted.bounds.iter().zip(&counted.counts) {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(cumulative);
            bucket.set_upper_bound(*bound);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counted.counts.iter().sum());
        histogram.set_sample_sum(counted.sum);
        let mut sample = Sample::default();
        sample.set_histogram(histogram);
        self.push(metric, labels, sample);
    }

    fn counted(&mut self, workers: &[Arc<Cells>], lists: &[String]) {
        fn sum(workers: &[Arc<Cells>], cell: impl Fn(&Cells) -> &AtomicU64) -> u64 {
            workers.iter().map(|cells| cell(cells).load(Relaxed)).sum()
        }
        for &transport in Transport::ALL {
            for &qtype in Qtype::ALL {
                let total = sum(workers, |cells| &cells.queries[transport as usize][qtype as usize]);
                self.value(&metrics::QUERIES, &[transport.label(), qtype.label()], total as f64);
            }
        }
        for &verdict in Verdict::ALL {
            for &rcode in RcodeLabel::ALL {
                let total = sum(workers, |cells| &cells.responses[verdict as usize][rcode as usize]);
                self.value(&metrics::RESPONSES, &[verdict.label(), rcode.label()], total as f64);
            }
        }
        self.counters(&metrics::DROPPED, super::Dropped::LABELS, |i| sum(workers, |cells| &cells.dropped[i]));
        self.counters(&metrics::REFUSED, super::Refused::LABELS, |i| sum(workers, |cells| &cells.refused[i]));
        self.value(&metrics::TRUNCATED, &[], sum(workers, |cells| &cells.truncated) as f64);
        for found in [Lookup::Hit, Lookup::Miss] {
            let total = sum(workers, |cells| &cells.lookups[found as usize]);
            self.value(&metrics::CACHE_LOOKUPS, &[Cache::Answer.label(), found.label()], total as f64);
        }
        self.counters(&metrics::VALIDATIONS, label::STATUS, |i| sum(workers, |cells| &cells.statuses[i]));
        self.counters(&metrics::BOGUS, label::BOGUS, |i| sum(workers, |cells| &cells.bogus[i]));
        self.counters(&metrics::EDE, label::EDE, |i| sum(workers, |cells| &cells.ede[i]));
        self.counters(&metrics::UPSTREAM_ERRORS, super::UpstreamError::LABELS, |i| sum(workers, |cells| &cells.upstream_errors[i]));
        let named = lists.iter().map(String::as_str).enumerate();
        let other = (lists.len() == LIST_SLOTS - 1).then_some((LIST_SLOTS - 1, "other"));
        for (slot, list) in named.chain(other) {
            for &action in Action::ALL {
                let total = sum(workers, |cells| &cells.actions[slot][action as usize]);
                self.value(&metrics::LIST_ACTIONS, &[list, action.label()], total as f64);
            }
        }
        for &served in Served::ALL {
            self.timed(&metrics::RESPONSE_SECONDS, served.label(), workers.iter().map(|cells| &cells.served[served as usize]));
        }
        for &via in Transport::ALL {
            self.timed(&metrics::UPSTREAM_SECONDS, via.label(), workers.iter().map(|cells| &cells.upstream[via as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::label::Dropped;
    use super::*;
    use crate::validate::{Bogus, Status};
    use crate::wire::{Rcode, Rtype};

    fn line(text: &str, series: &str) -> String {
        let found = text.lines().find(|line| line.starts_with(&format!("{series} ")));
        found.unwrap_or_else(|| panic!("no {series} in\n{text}")).rsplit(' ').next().unwrap().to_owned()
    }

    #[test]
    fn a_scrape_sums_what_the_workers_counted() {
        let metrics = Metrics::new();
        let shared = metrics.shared();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let worker = metrics.worker();
                scope.spawn(move || {
                    for _ in 0..1000 {
                        worker.query(Transport::Udp, Rtype::AAAA);
                        worker.response(Rcode::NXDOMAIN, Verdict::Blocked);
                        worker.latency(Served::Hit, Duration::from_micros(20));
                    }
                    worker.query(Transport::Tcp, Rtype(4711));
                    worker.dropped(Dropped::Response);
                });
            }
            scope.spawn(|| (0..500).for_each(|_| shared.status(Status::Bogus(Bogus::NoKeys))));
            scope.spawn(|| (0..500).for_each(|_| shared.status(Status::Bogus(Bogus::NoKeys))));
        });
        let text = metrics.text();
        assert_eq!(line(&text, r#"postern_queries_total{transport="udp",qtype="AAAA"}"#), "3000");
        assert_eq!(line(&text, r#"postern_queries_total{transport="tcp",qtype="other"}"#), "3");
        assert_eq!(line(&text, r#"postern_responses_total{verdict="blocked",rcode="NXDOMAIN"}"#), "3000");
        assert_eq!(line(&text, r#"postern_dropped_total{reason="response"}"#), "3");
        assert_eq!(line(&text, r#"postern_bogus_total{reason="no_keys"}"#), "1000");
        assert_eq!(line(&text, r#"postern_validations_total{status="bogus"}"#), "1000");
        assert_eq!(line(&text, r#"postern_response_duration_seconds_count{served="hit"}"#), "3000");
        assert_eq!(line(&text, r#"postern_response_duration_seconds_bucket{served="hit",le="0.00001"}"#), "0");
        assert_eq!(line(&text, r#"postern_response_duration_seconds_bucket{served="hit",le="0.000025"}"#), "3000");
        let sum: f64 = line(&text, r#"postern_response_duration_seconds_sum{served="hit"}"#).parse().unwrap();
        assert!((sum - 0.06).abs() < 1e-9);
    }

    #[test]
    fn a_latency_beyond_every_bound_is_still_counted() {
        let metrics = Metrics::new();
        metrics.shared().upstream(Transport::Tcp, Duration::from_secs(60));
        let text = metrics.text();
        assert_eq!(line(&text, r#"postern_upstream_duration_seconds_bucket{transport="tcp",le="10"}"#), "0");
        assert_eq!(line(&text, r#"postern_upstream_duration_seconds_bucket{transport="tcp",le="+Inf"}"#), "1");
    }

    #[test]
    fn the_number_of_series_does_not_follow_traffic() {
        let metrics = Metrics::new();
        let shared = metrics.shared();
        let series = |text: String| text.lines().filter(|line| !line.starts_with('#')).count();
        let before = series(metrics.text());
        for number in 0..=u16::MAX {
            shared.query(Transport::Udp, Rtype(number));
            shared.response(Rcode(number), Verdict::Allowed);
            shared.ede(number);
        }
        assert_eq!(series(metrics.text()), before);
        assert!(metrics.text().len() < 200 * 1024);
    }

    #[test]
    fn lists_keep_their_place_and_the_thirty_third_is_other() {
        let metrics = Metrics::new();
        let shared = metrics.shared();
        for round in 0..2 {
            for number in 0..LIST_SLOTS + 8 {
                shared.action(metrics.list(&format!("list{number}")), Action::Nxdomain);
            }
            let text = metrics.text();
            assert_eq!(line(&text, r#"postern_list_actions_total{list="list0",action="nxdomain"}"#), (round + 1).to_string());
            assert_eq!(line(&text, r#"postern_list_actions_total{list="other",action="nxdomain"}"#), ((round + 1) * 9).to_string());
        }
    }

    #[test]
    fn sources_are_asked_at_every_scrape() {
        let metrics = Metrics::new();
        let size = Arc::new(AtomicU64::new(7));
        let seen = size.clone();
        metrics.source(move |samples| samples.set(&metrics::CACHE_BYTES, &["answer"], seen.load(Relaxed) as f64));
        metrics.source(|samples| samples.histogram(&metrics::VALIDATION_SECONDS, &[0.5, 1.0], &[1, 2, 3], 9.0));
        assert_eq!(line(&metrics.text(), r#"postern_cache_bytes{cache="answer"}"#), "7");
        size.store(8, Relaxed);
        let text = metrics.text();
        assert_eq!(line(&text, r#"postern_cache_bytes{cache="answer"}"#), "8");
        for (series, value) in
            [(r#"bucket{le="0.5"}"#, "1"), (r#"bucket{le="1"}"#, "3"), (r#"bucket{le="+Inf"}"#, "6"), ("sum", "9"), ("count", "6")]
        {
            assert_eq!(line(&text, &format!("postern_validation_duration_seconds_{series}")), value);
        }
    }

    #[test]
    fn a_value_of_tomorrow_is_counted_as_other() {
        let metrics = Metrics::bystander();
        metrics.source(|samples| samples.set(&metrics::EDE, &["4711"], 2.0));
        assert_eq!(line(&metrics.text(), r#"postern_extended_errors_total{code="other"}"#), "2");
    }

    #[test]
    fn every_sample_has_help_and_type_from_the_table() {
        let text = Metrics::new().text();
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|rest| rest.split(' ').next().unwrap()) {
            let metric = TABLE.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert!(text.contains(&format!("# HELP {name} {}\n# TYPE {name} {}\n", metric.help, metric.kind.label())));
        }
    }
}
