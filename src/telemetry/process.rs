//! The process as Linux sees it, from `/proc/self`. Elsewhere nothing is exported.

#![allow(clippy::disallowed_methods, reason = "shell: reads /proc")]

use std::fs;

use super::Samples;
use super::metrics;

/// Linux counts CPU time and the start in ticks of 1/100 s for every program (`USER_HZ`, fixed in the kernel's interface).
const TICKS_PER_SECOND: f64 = 100.0;

/// A source of the `process_*` metrics, and of the memory that belongs to this process alone.
pub fn sample(samples: &mut Samples) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        from_stat(&stat, boot, samples);
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        from_status(&status, samples);
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        if let Some(limit) = line.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
            samples.set(&metrics::PROCESS_MAX_FDS, &[], limit);
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        samples.set(&metrics::PROCESS_FDS, &[], entries.count() as f64);
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// proc(5): fields are counted behind the command, which stands in parentheses and may hold anything.
fn from_stat(stat: &str, boot: Option<f64>, samples: &mut Samples) {
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<f64> = rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect();
    // Field n of the manual page is fields[n - 4].
    let field = |n: usize| fields.get(n - 4).copied();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        samples.set(&metrics::PROCESS_CPU, &[], (user + system) / TICKS_PER_SECOND);
    }
    if let Some(threads) = field(20) {
        samples.set(&metrics::PROCESS_THREADS, &[], threads);
    }
    if let (Some(start), Some(boot)) = (field(22), boot) {
        samples.set(&metrics::PROCESS_START, &[], boot + start / TICKS_PER_SECOND);
    }
    if let Some(bytes) = field(23) {
        samples.set(&metrics::PROCESS_VIRTUAL, &[], bytes);
    }
}

fn from_status(status: &str, samples: &mut Samples) {
    let bytes = |key: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
    };
    if let Some(bytes) = bytes("VmRSS:") {
        samples.set(&metrics::PROCESS_RSS, &[], bytes);
    }
    if let Some(bytes) = bytes("RssAnon:") {
        samples.set(&metrics::PROCESS_ANON, &[], bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_command_full_of_parentheses_does_not_shift_the_fields() {
        let metrics = Metrics::new();
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 7 0 1000 8192 400 18446744073709551615";
        metrics.source(move |samples| from_stat(stat, Some(1_700_000_000.0), samples));
        let text = metrics.text();
        for line in [
            "process_cpu_seconds_total 2\n",
            "process_threads 7\n",
            "process_start_time_seconds 1700000010\n",
            "process_virtual_memory_bytes 8192\n",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_process_metric_is_there_on_linux() {
        let metrics = Metrics::new();
        metrics.source(sample);
        let text = metrics.text();
        for metric in metrics::TABLE.iter().filter(|metric| metric.name.starts_with("process_") || metric.name.contains("anonymous")) {
            let line = text.lines().find(|line| line.starts_with(&format!("{} ", metric.name)));
            let value: f64 = line.unwrap_or_else(|| panic!("no {}", metric.name)).rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0 || metric.name == "process_cpu_seconds_total", "{line:?}");
        }
    }
}
