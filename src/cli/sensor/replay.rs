//! `postern sensor replay`: transactions and findings of capture files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::{Failure, render};
use super::ReplayArguments;
use crate::sensor::replay::{Replay, ReplayError};
use crate::sensor::{Counts, Ending, Limits, Means, Report, Sensor, Transaction};

/// Findings that a summary shows; with `--json` there is no limit.
const FINDINGS: usize = 50;

/// What a summary counts.
#[derive(Debug, Default)]
struct Summary {
    first: Option<Duration>,
    last: Duration,
    endings: [u64; 3],
    malformed: u64,
    rcodes: BTreeMap<String, u64>,
    qtypes: BTreeMap<String, u64>,
    /// Round-trip times in microseconds; the buckets are powers of two.
    rtt: [u64; 32],
    counts: Counts,
    bypasses: [u64; Means::LABELS.len()],
    findings: Vec<String>,
    cut_short: Vec<String>,
}

pub(super) fn run(arguments: &ReplayArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut summary = Summary::default();
    let limits = Limits { ports: arguments.port.clone(), ..Limits::default() };
    for path in &arguments.files {
        // Each file is a capture of its own: what one has not finished, another cannot.
        let detector = if arguments.bypass { Some(arguments.watch.detector(Vec::new())?) } else { None };
        let mut sensor = Sensor::new(limits.clone(), detector);
        one_file(path, &mut sensor, &mut summary, arguments.json, out)?;
        let tally = sensor.tally();
        summary.counts += tally.frames;
        summary.bypasses.iter_mut().zip(tally.bypasses).for_each(|(sum, count)| *sum += count);
    }
    if !arguments.json {
        summary.show(out)?;
    }
    match summary.cut_short.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(anyhow::anyhow!("{}", summary.cut_short.join("\npostern: ")))),
    }
}

fn one_file(path: &Path, sensor: &mut Sensor, summary: &mut Summary, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(size) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(path.display().to_string());
    let mut written = Ok(());
    let mut tell = |report: Report| {
        summary.add(&report);
        if json && written.is_ok() {
            written = writeln!(out, "{}", report.line());
        }
    };
    let mut last = Duration::ZERO;
    let read = || -> Result<(), ReplayError> {
        let mut replay = Replay::open(BufReader::with_capacity(1 << 18, bar.wrap_read(file)))?;
        while let Some(frame) = replay.next_frame()? {
            last = frame.at;
            sensor.frame(frame.at, frame.link, frame.bytes, &mut tell);
        }
        Ok(())
    };
    let result = read();
    sensor.finish(last, &mut tell);
    bar.finish_and_clear();
    written?;
    match result {
        Ok(()) => {}
        // What came before is worth having: a capture that was interrupted ends like this.
        Err(error @ ReplayError::CutShort) => summary.cut_short.push(format!("{}: {error}", path.display())),
        Err(error) => return Err(Failure::Failed(anyhow::Error::new(error).context(path.display().to_string()))),
    }
    Ok(())
}

impl Summary {
    fn add(&mut self, report: &Report) {
        match report {
            Report::Transaction(transaction) => self.add_transaction(transaction),
            Report::Bypass(event) if self.findings.len() < FINDINGS => self.findings.push(event.evidence.clone()),
            Report::Bypass(_) => {}
        }
    }

    fn add_transaction(&mut self, transaction: &Transaction) {
        self.first = Some(self.first.map_or(transaction.at, |first| first.min(transaction.at)));
        self.last = self.last.max(transaction.at);
        self.endings[transaction.ending() as usize] += 1;
        self.malformed += u64::from(transaction.flaw().is_some());
        if let Some(response) = &transaction.response {
            *self.rcodes.entry(response.rcode().to_string()).or_default() += 1;
        }
        if let Some(asked) = transaction.first().and_then(|dns| dns.question()) {
            *self.qtypes.entry(asked.rtype.to_string()).or_default() += 1;
        }
        if let Some(rtt) = transaction.rtt {
            let micros = rtt.as_micros().max(1);
            self.rtt[(micros.ilog2() as usize).min(self.rtt.len() - 1)] += 1;
        }
    }

    /// The upper bound of the bucket below which `share` of the round-trip times lie.
    fn rtt_below(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.rtt.iter().sum();
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        let bucket = self.rtt.iter().position(|count| {
            sum += count;
            sum >= wanted
        })?;
        Some(Duration::from_micros(1 << (bucket + 1)))
    }

    fn show(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let counts = &self.counts;
        writeln!(out, "frames        {} ({} without IP, {} unreadable)", counts.frames, counts.not_ip, counts.unreadable)?;
        if let Some(first) = self.first {
            writeln!(out, "from          {}", render::moment(first.as_secs()))?;
            writeln!(out, "to            {}", render::moment(self.last.as_secs()))?;
        }
        let total: u64 = self.endings.iter().sum();
        let endings: Vec<String> = Ending::LABELS.iter().zip(self.endings).map(|(label, count)| format!("{count} {label}")).collect();
        writeln!(out, "transactions  {total} ({})", endings.join(", "))?;
        writeln!(out, "malformed     {}", self.malformed)?;
        if let (Some(half), Some(most)) = (self.rtt_below(0.5), self.rtt_below(0.99)) {
            writeln!(out, "round trips   half below {half:?}, 99 % below {most:?}")?;
        }
        writeln!(out, "rcodes        {}", counted(&self.rcodes))?;
        writeln!(out, "types         {}", counted(&self.qtypes))?;
        if counts.fragments + counts.contradictions > 0 {
            writeln!(out, "fragments     {} ({} datagrams contradict themselves)", counts.fragments, counts.contradictions)?;
        }
        if counts.stream_holes > 0 {
            writeln!(out, "TCP holes     {}", counts.stream_holes)?;
        }
        if counts.fragments_evicted + counts.streams_evicted > 0 {
            writeln!(out, "let go        {} datagrams and {} streams, for want of room", counts.fragments_evicted, counts.streams_evicted)?;
        }
        if self.bypasses.iter().any(|count| *count > 0) {
            let means: Vec<String> = Means::LABELS.iter().zip(self.bypasses).map(|(label, count)| format!("{label} {count}")).collect();
            writeln!(out, "bypass        {}", means.join(", "))?;
        }
        for finding in &self.findings {
            writeln!(out, "              {finding}")?;
        }
        Ok(())
    }
}

/// `A 12, AAAA 3`, the most frequent first.
fn counted(counts: &BTreeMap<String, u64>) -> String {
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    render::list(&rows.iter().map(|(label, count)| format!("{label} {count}")).collect::<Vec<_>>())
}
