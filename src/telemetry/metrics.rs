//! The one table of metrics. `/metrics`, `docs/metrics.md` and the dashboards know no others.
//!
//! Names follow the Prometheus conventions: prefix, base unit, `_total` on counters. Times of events are timestamps, not ages, so that
//! `time() - x` stays right while nothing is scraped.

use std::fmt::Write as _;

use super::label::{self, Action, Cache, Dropped, Lookup, Qtype, RcodeLabel, Refused, Served, Transport, UpstreamError, Verdict};
use crate::blocklist::refusal::Refusal;

/// What a metric measures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets, with a sum.
    Histogram,
}

impl Kind {
    /// `counter`, `gauge` or `histogram`.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where the values of a label come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// From this set.
    Closed(&'static [&'static str]),
    /// From the operator's configuration, or fixed when the program was built; the text says which.
    Configured(&'static str),
}

/// One label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit of a value, in words.
    pub unit: &'static str,
    /// Labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// What it says, for `# HELP` and the documents.
    pub help: &'static str,
}

const fn closed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Closed(values) }
}

const LIST: Label = Label { name: "list", values: Values::Configured("list ids of the configuration, and `other` beyond 32 lists") };
const FORWARDER: Label = Label { name: "forwarder", values: Values::Configured("addresses of the configured forwarders") };

const INTERFACE: Label = Label { name: "interface", values: Values::Configured("interfaces that the sensor was told to watch") };

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal in $unit:literal by [$($label:expr),*]: $help:literal;)+) => {
        $(#[doc = $help] pub static $id: Metric =
            Metric { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help };)+
        /// Every metric, in the order of the documents.
        pub static TABLE: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    QUERIES = Counter "postern_queries_total" in "queries" by [closed("transport", Transport::LABELS), closed("qtype", Qtype::LABELS)]:
        "Queries read, past the packet checks and before the access list.";
    RESPONSES = Counter "postern_responses_total" in "responses" by [closed("verdict", Verdict::LABELS), closed("rcode", RcodeLabel::LABELS)]:
        "Responses made, by what policy said and by response code.";
    DROPPED = Counter "postern_dropped_total" in "packets or streams" by [closed("reason", Dropped::LABELS)]:
        "Packets and streams that got no answer, by reason.";
    REFUSED = Counter "postern_refused_total" in "queries" by [closed("reason", Refused::LABELS)]:
        "Queries that got an answer which refuses them, by reason.";
    TRUNCATED = Counter "postern_truncated_responses_total" in "responses" by []:
        "UDP responses sent with TC=1, so that the client asks again over TCP.";
    RESPONSE_SECONDS = Histogram "postern_response_duration_seconds" in "seconds" by [closed("served", Served::LABELS)]:
        "Time from reading a query to its response, by where the answer came from.";
    QUEUE_DEPTH = Gauge "postern_queue_depth" in "queries" by []:
        "Queries that wait for a resolution now.";
    OPEN_STREAMS = Gauge "postern_open_streams" in "streams" by []:
        "Client streams (TCP) open now.";

    CACHE_LOOKUPS = Counter "postern_cache_lookups_total" in "lookups" by [closed("cache", Cache::LABELS), closed("result", Lookup::LABELS)]:
        "Cache lookups by what they found. `stale` counts answers made of expired RRsets (RFC 8767).";
    CACHE_ENTRIES = Gauge "postern_cache_entries" in "entries" by [closed("cache", Cache::LABELS)]:
        "Entries held.";
    CACHE_BYTES = Gauge "postern_cache_bytes" in "bytes" by [closed("cache", Cache::LABELS)]:
        "Bytes held, by the cache's own reckoning.";
    CACHE_LIMIT_BYTES = Gauge "postern_cache_limit_bytes" in "bytes" by [closed("cache", Cache::LABELS)]:
        "Bytes it may hold.";
    CACHE_EVICTIONS = Counter "postern_cache_evictions_total" in "entries" by [closed("cache", Cache::LABELS)]:
        "Entries that had to make room before they expired.";
    CACHE_PREFETCHES = Counter "postern_cache_prefetches_total" in "resolutions" by []:
        "Popular entries resolved again shortly before they expired.";

    UPSTREAM_SECONDS = Histogram "postern_upstream_duration_seconds" in "seconds" by [closed("transport", Transport::LABELS)]:
        "Time until another server (name server or forwarder) answered one query.";
    UPSTREAM_ERRORS = Counter "postern_upstream_errors_total" in "queries" by [closed("reason", UpstreamError::LABELS)]:
        "Queries to other servers that brought no usable reply, by reason.";
    FORWARDER_RTT = Gauge "postern_forwarder_rtt_seconds" in "seconds" by [FORWARDER]:
        "Smoothed round-trip time to a configured forwarder; absent until it answered once.";
    FORWARDER_UP = Gauge "postern_forwarder_up" in "0 or 1" by [FORWARDER]:
        "1 while a configured forwarder answers, 0 after two silences in a row; absent until it was asked.";
    BUDGET_EXHAUSTED = Counter "postern_budget_exhausted_total" in "queries" by []:
        "Client queries given up because they used all the work that one query may cause.";

    VALIDATIONS = Counter "postern_validations_total" in "outcomes" by [closed("status", label::STATUS)]:
        "Outcomes of resolutions by DNSSEC status.";
    BOGUS = Counter "postern_bogus_total" in "outcomes" by [closed("reason", label::BOGUS)]:
        "Bogus outcomes by what is wrong with the proof.";
    VALIDATION_SECONDS = Histogram "postern_validation_duration_seconds" in "seconds" by []:
        "Time to validate one reply, fetching keys included. What was validated before is not timed again.";
    EDE = Counter "postern_extended_errors_total" in "responses" by [closed("code", label::EDE)]:
        "Extended DNS Errors sent, by info code (RFC 8914).";
    TRUST_ANCHORS = Gauge "postern_trust_anchors" in "keys" by []:
        "Root trust anchors in use.";
    TRUST_ANCHOR_KEYS = Gauge "postern_trust_anchor_keys" in "keys" by [closed("state", ANCHOR_STATES)]:
        "Keys seen at the names that have a trust anchor, by where they stand in their roll-over (RFC 5011).";
    NEGATIVE_TRUST_ANCHORS = Gauge "postern_negative_trust_anchors" in "zones" by []:
        "Zones that are not validated now, by decision of the operator.";
    CLOCK_TRUSTED = Gauge "postern_clock_trusted" in "0 or 1" by []:
        "1 while the wall clock is above the clock floor; at 0 signature times are not judged and AD is never set.";

    BLOCKING = Gauge "postern_blocking" in "0 or 1" by []:
        "1 while a block list or a rule of `postern block` is in force and blocking is not switched off. At 0 NOTHING IS BLOCKED.";
    LIST_ENTRIES = Gauge "postern_list_entries" in "names" by [LIST]:
        "Names in the active version of a list.";
    LIST_SERIAL = Gauge "postern_list_serial" in "serial number" by [LIST]:
        "Serial of the active version of a list.";
    LIST_BUILT = Gauge "postern_list_built_timestamp_seconds" in "seconds since 1970" by [LIST]:
        "When the active version of a list was built; the age is time() minus this.";
    LIST_ACTIVATED = Gauge "postern_list_activated_timestamp_seconds" in "seconds since 1970" by [LIST]:
        "When the active version of a list became active; absent where a damaged one was passed over at start.";
    LIST_EXPIRY = Gauge "postern_list_expiry_timestamp_seconds" in "seconds since 1970" by [LIST]:
        "When the active version of a list should have been replaced; absent for a list without expiry.";
    LIST_REFUSED = Counter "postern_list_refused_total" in "updates" by [closed("reason", Refusal::LABELS)]:
        "Pushes and rollbacks of lists refused, by reason; what was active stays so.";
    KEY_SET_SERIAL = Gauge "postern_key_set_serial" in "serial number" by []:
        "Serial of the key set in force; absent without one. Below that of the curator's folder: a revocation has not arrived.";
    AUDIT_ENTRIES = Gauge "postern_audit_entries" in "entries" by []:
        "Number of the newest entry of the audit log. It never falls: if it does, somebody cut the log.";
    AUDIT_HEAD = Gauge "postern_audit_head" in "hash" by []:
        "First 48 bits of the hash of the newest entry; `postern log verify --head` holds a log against it.";
    LIST_ACTIONS = Counter "postern_list_actions_total" in "queries" by [LIST, closed("action", Action::LABELS)]:
        "What was done about queries for names that a list has.";
    FILTER_BYTES = Gauge "postern_list_filter_bytes" in "bytes" by [LIST]:
        "Memory of a list's Bloom filter.";
    FILTER_MAYBES = Counter "postern_list_filter_maybes_total" in "lookups" by [LIST]:
        "Filter look-ups that said maybe, so that the list itself was read.";
    FILTER_FALSE_MAYBES = Counter "postern_list_filter_false_maybes_total" in "lookups" by [LIST]:
        "Maybes that the list itself denied: the price of the filter, never a false block.";
    LIST_READ_ERRORS = Counter "postern_list_read_errors_total" in "blocks" by [LIST]:
        "Blocks of a list file that could not be read or fail their checksum; such a block blocks nothing.";
    EXCEPTIONS = Gauge "postern_exceptions" in "exceptions" by [closed("action", &["allow", "block"])]:
        "Rules of `postern block` and `postern allow` in force.";

    SENSOR_FRAMES = Counter "postern_sensor_frames_total" in "frames" by [INTERFACE]:
        "Frames that the sensor has read.";
    SENSOR_KERNEL_SEEN = Counter "postern_sensor_kernel_seen_total" in "frames" by [INTERFACE]:
        "Frames that passed the sensor's kernel filter, those dropped afterwards included.";
    SENSOR_KERNEL_DROPPED = Counter "postern_sensor_kernel_dropped_total" in "frames" by [INTERFACE]:
        "Frames that the kernel dropped because the sensor's receive buffer was full.";
    SENSOR_LAST_FRAME = Gauge "postern_sensor_last_frame_timestamp_seconds" in "seconds since 1970" by [INTERFACE]:
        "When the sensor last read a frame; 0 before the first. A silent one has lost its mirror port.";
    SENSOR_UP = Gauge "postern_sensor_interface_up" in "0 or 1" by [INTERFACE]:
        "1 while the sensor can read from an interface.";
    SENSOR_MESSAGES = Counter "postern_sensor_messages_total" in "messages" by [closed("kind", SENSOR_KINDS)]:
        "DNS messages seen by the sensor.";
    SENSOR_MALFORMED = Counter "postern_sensor_malformed_total" in "messages" by [closed("reason", SENSOR_FLAWS)]:
        "DNS messages seen by the sensor that cannot be read to their end, by what is wrong first.";
    SENSOR_TRANSACTIONS = Counter "postern_sensor_transactions_total" in "transactions" by [closed("ending", SENSOR_ENDINGS)]:
        "Queries joined with their responses, and those that stayed alone.";
    SENSOR_BYPASS = Counter "postern_sensor_bypass_total" in "sightings" by [closed("means", SENSOR_MEANS)]:
        "Sightings of hosts that ask another resolver than ours, by how; repeated ones included.";
    SENSOR_EVENTS = Counter "postern_sensor_events_total" in "events" by []:
        "Findings told by the sensor; the same finding is told once an hour.";
    SENSOR_UNREAD = Counter "postern_sensor_unread_total" in "frames" by [closed("reason", SENSOR_UNREAD_REASONS)]:
        "Frames the sensor could make nothing of, fragments that contradict each other, and holes in TCP streams.";
    SENSOR_EVICTED = Counter "postern_sensor_evicted_total" in "entries" by [closed("table", SENSOR_TABLES)]:
        "State the sensor gave up for want of room.";
    SENSOR_HELD = Gauge "postern_sensor_held_bytes" in "bytes" by []:
        "Bytes of fragments and streams that the sensor holds.";
    SENSOR_LINES_DROPPED = Counter "postern_sensor_lines_dropped_total" in "lines" by []:
        "Lines not written because the disk or the reader was too slow.";

    READY = Gauge "postern_ready" in "0 or 1" by []:
        "What /readyz says: 1 while queries are answered as configured, 0 from the order to stop on.";
    RELOADS = Counter "postern_config_reloads_total" in "reloads" by [closed("result", &["applied", "refused"])]:
        "Configuration reloads by result; a refused one leaves the old configuration in force.";
    CONFIG_LOADED = Gauge "postern_config_loaded_timestamp_seconds" in "seconds since 1970" by []:
        "When the configuration in force was loaded.";
    BUILD = Gauge "postern_build_info" in "1" by [Label { name: "version", values: Values::Configured("the version of the program") }]:
        "Always 1; the label says which program this is.";
    WORKERS = Gauge "postern_workers" in "threads" by []:
        "Threads that read and answer queries over UDP.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" in "seconds" by []:
        "CPU time used, user and system.";
    PROCESS_RSS = Gauge "process_resident_memory_bytes" in "bytes" by []:
        "Resident memory, file pages included.";
    PROCESS_ANON = Gauge "postern_resident_anonymous_bytes" in "bytes" by []:
        "Resident memory that belongs to this process alone: without file pages, which the kernel can take back.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" in "bytes" by []:
        "Virtual memory.";
    PROCESS_FDS = Gauge "process_open_fds" in "descriptors" by []:
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" in "descriptors" by []:
        "File descriptors that may be open.";
    PROCESS_THREADS = Gauge "process_threads" in "threads" by []:
        "Threads.";
    PROCESS_START = Gauge "process_start_time_seconds" in "seconds since 1970" by []:
        "When the process started.";
}

/// Labels of [`crate::validate::rollover::KeyState`].
pub const ANCHOR_STATES: &[&str] = &["add_pending", "valid", "missing", "revoked", "removed"];

/// Messages the sensor sees.
pub const SENSOR_KINDS: &[&str] = &["query", "response"];
/// The sensor's own labels, which its room has too; a test beside the command holds them together.
pub const SENSOR_FLAWS: &[&str] = &["truncated", "name", "rdata", "opt"];
/// See [`SENSOR_FLAWS`].
pub const SENSOR_ENDINGS: &[&str] = &["answered", "unanswered", "unsolicited"];
/// See [`SENSOR_FLAWS`].
pub const SENSOR_MEANS: &[&str] = &["plain", "dot", "doq", "doh_address", "doh_name", "canary"];
/// What the sensor could not read.
pub const SENSOR_UNREAD_REASONS: &[&str] = &["not_ip", "header", "fragments", "stream_hole"];
/// The sensor's tables.
pub const SENSOR_TABLES: &[&str] = &["fragments", "streams", "queries"];

/// The table as a Markdown page: `docs/metrics.md` is exactly this.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         On `http://127.0.0.1:9353/metrics` by default, in the Prometheus text format. This page is printed from the table in\n\
         `src/telemetry/metrics.rs`, and a test compares them (`tests/metrics_page.rs` says how to print it again).\n\n\
         No client address and no queried name is ever a label: every label below has a closed set of values, or takes them from the\n\
         operator's own configuration. The number of series is bounded by the configuration, whatever is asked and by whomever.\n\n\
         | metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n",
    );
    for metric in TABLE {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        writeln!(page, "| `{}` | {} | {} | {} | {} |", metric.name, metric.kind.label(), metric.unit, labels.join(" "), metric.help)
            .expect("a String takes every write");
    }
    page.push_str("\n## Values of the labels\n\n| label | of | values |\n|---|---|---|\n");
    let mut rows: Vec<(Label, Vec<&str>)> = Vec::new();
    for metric in TABLE {
        for label in metric.labels {
            match rows.iter_mut().find(|(known, _)| known == label) {
                Some((_, of)) => of.push(metric.name),
                None => rows.push((*label, vec![metric.name])),
            }
        }
    }
    for (label, of) in rows {
        let of: Vec<String> = of.iter().map(|name| format!("`{name}`")).collect();
        let values = match label.values {
            Values::Closed(values) => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" "),
            Values::Configured(text) => text.to_owned(),
        };
        writeln!(page, "| `{}` | {} | {} |", label.name, of.join(" "), values).expect("a String takes every write");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// prometheus.io/docs/practices/naming: a prefix, base units, `_total` on counters and on nothing else.
    #[test]
    fn names_follow_the_conventions_and_are_distinct() {
        let mut seen = std::collections::HashSet::new();
        for metric in TABLE {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is declared twice");
            assert!(name.starts_with("postern_") || name.starts_with("process_"), "{name} has no prefix");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(!["_ms", "_milliseconds", "_kb", "_percent"].iter().any(|unit| name.contains(unit)), "{name} has no base unit");
            assert!(metric.help.ends_with('.') && metric.help.len() > 5, "{name} has no help sentence");
            for label in metric.labels {
                assert!(!["client", "name", "qname", "domain", "address"].contains(&label.name), "{name} labels an outsider's choice");
            }
        }
    }

    #[test]
    fn closed_label_values_are_distinct() {
        for metric in TABLE {
            for label in metric.labels {
                if let Values::Closed(values) = label.values {
                    let distinct: std::collections::HashSet<_> = values.iter().collect();
                    assert_eq!(distinct.len(), values.len(), "{} {}", metric.name, label.name);
                }
            }
        }
    }
}
