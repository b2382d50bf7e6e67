//! `postern sensor run`: the process that watches interfaces.
//!
//! Everything that needs rights is opened first: packet sockets, files, the status socket, the metrics port. Then the process becomes
//! another user who keeps CAP_NET_RAW alone. One thread an interface feeds the one sensor, so that the two directions of a tap meet;
//! a writer takes the reports through a bounded queue, and what does not fit is dropped and counted: a slow disk must not cost frames.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::super::Failure;
use super::{RunArguments, sockets};
use crate::app::place;
use crate::guard::acl::Acl;
use crate::sensor::capture::{self, Capture};
use crate::sensor::{Ending, Flaw, Limits, Means, Report, Sensor, Tally};
use crate::sys::linux::packet::Statistics;
use crate::sys::linux::process;
use crate::telemetry::{Metrics, Samples, http, metrics};

/// Reports that wait to be written: a tenth of a second at 40,000 a second.
const QUEUE: usize = 4096;
/// Findings that `sensor status` shows.
const RECENT: usize = 10;
/// Clients that `sensor status` shows.
const CLIENTS: usize = 10;
/// How often the kernel is asked what it has dropped.
const STATISTICS: Duration = Duration::from_secs(1);
/// Pause after an error of an interface, which is often down for longer.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for a reader of the status.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an interface is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Frames read.
    pub(super) frames: u64,
    /// Frames that passed the kernel filter, dropped ones included.
    pub(super) seen: u64,
    pub(super) dropped: u64,
    /// When the last frame came, in seconds since 1970.
    pub(super) last_frame: Option<f64>,
    /// What went wrong last, if it has not gone right since.
    pub(super) trouble: Option<String>,
}

/// What `sensor status` shows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) since: f64,
    pub(super) now: f64,
    pub(super) interfaces: Vec<Interface>,
    pub(super) queries: u64,
    pub(super) responses: u64,
    pub(super) malformed: u64,
    pub(super) endings: BTreeMap<String, u64>,
    pub(super) bypasses: BTreeMap<String, u64>,
    /// Clients that went past our resolvers most.
    pub(super) clients: Vec<(IpAddr, u64)>,
    /// The latest findings, the newest last.
    pub(super) recent: Vec<String>,
    pub(super) lines_dropped: u64,
    pub(super) held_bytes: usize,
}

/// What the threads share.
struct Watch {
    since: Duration,
    sensor: Mutex<Sensor>,
    interfaces: Mutex<Vec<Interface>>,
    recent: Mutex<VecDeque<String>>,
    told: AtomicU64,
    lines_dropped: AtomicU64,
    stop: Arc<AtomicBool>,
}

/// A lock whose holder has panicked leaves counters and queues that are still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn run(arguments: &RunArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ports = Limits::default().ports;
    let captures = arguments.interface.iter().map(|name| Capture::open(name, &ports)).collect::<Result<Vec<_>, _>>()?;
    let detector = arguments.watch.detector(capture::own_addresses())?;
    let listener = TcpListener::bind(arguments.metrics).with_context(|| format!("metrics on {}", arguments.metrics))?;
    listener.set_nonblocking(true)?;
    let path = status_path(arguments.status.as_deref())?;
    let status = crate::control::server::bind(&path).with_context(|| path.display().to_string())?;
    let files = Files::open(arguments)?;
    let watch = Arc::new(Watch {
        since: capture::now(),
        sensor: Mutex::new(Sensor::new(Limits::default(), Some(detector))),
        interfaces: Mutex::new(
            captures.iter().map(|capture| Interface { name: capture.name().to_owned(), ..Interface::default() }).collect(),
        ),
        recent: Mutex::default(),
        told: AtomicU64::new(0),
        lines_dropped: AtomicU64::new(0),
        stop: Arc::default(),
    });
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, watch.stop.clone())?;
    }
    drop_rights(&arguments.user)?;
    writeln!(io::stderr(), "postern: watching {}; metrics on http://{}/metrics", arguments.interface.join(", "), listener.local_addr()?)?;
    out.flush()?;

    let (sender, receiver) = sync_channel(QUEUE);
    let writer = std::thread::Builder::new().name("writer".into()).spawn(move || files.write(&receiver))?;
    let served = watch.clone();
    let allow = Acl::new(arguments.metrics_allow.iter().copied());
    std::thread::Builder::new().name("status".into()).spawn(move || serve(&served, listener, status, allow))?;
    let mut threads = Vec::new();
    for (index, capture) in captures.into_iter().enumerate() {
        let (watch, sender) = (watch.clone(), sender.clone());
        let name = capture.name().to_owned();
        threads.push(std::thread::Builder::new().name(name).spawn(move || watch.interface(index, capture, &sender))?);
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a capturing thread has panicked"))?;
    }
    locked(&watch.sensor).finish(capture::now(), &mut |report| watch.tell(report, &sender));
    drop(sender);
    writer.join().map_err(|_| anyhow!("the writer has panicked"))??;
    let _ = std::fs::remove_file(path);
    Ok(())
}

fn status_path(told: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = told {
        return Ok(path.to_owned());
    }
    let folder = place::state_dir(process::effective_uid() == 0, &place::environment);
    place::make_private(&folder).with_context(|| folder.display().to_string())?;
    let path = place::control_socket(&folder, &place::environment).with_file_name("sensor.sock");
    // Another sensor that answers here is not to be pushed aside.
    if sockets(Some(&path)).iter().any(|path| std::os::unix::net::UnixStream::connect(path).is_ok()) {
        return Err(Failure::Failed(anyhow!("a sensor is running already: {} answers; give another socket with --status", path.display())));
    }
    Ok(path)
}

/// Keeps CAP_NET_RAW alone, as another user where this one is root.
fn drop_rights(name: &str) -> Result<(), Failure> {
    if process::effective_uid() == 0 {
        let user = process::user(name)?;
        process::become_watcher(user).with_context(|| format!("becoming user {name}"))?;
    } else {
        process::keep_only_net_raw().context("keeping only CAP_NET_RAW")?;
    }
    Ok(())
}

/// Where lines go.
struct Files {
    events: Box<dyn Write + Send>,
    transactions: Option<Box<dyn Write + Send>>,
    /// Both are the same stream.
    together: bool,
}

impl Files {
    fn open(arguments: &RunArguments) -> Result<Files, Failure> {
        let transactions = arguments.transactions.as_ref();
        Ok(Files {
            events: sink(&arguments.events)?,
            together: transactions == Some(&arguments.events),
            transactions: transactions.filter(|path| **path != arguments.events).map(|path| sink(path)).transpose()?,
        })
    }

    /// Writes until no sender is left; flushes whenever nothing waits.
    fn write(mut self, reports: &Receiver<Report>) -> io::Result<()> {
        while let Ok(report) = reports.recv() {
            self.line(&report)?;
            while let Ok(report) = reports.try_recv() {
                self.line(&report)?;
            }
            self.events.flush()?;
            if let Some(transactions) = &mut self.transactions {
                transactions.flush()?;
            }
        }
        Ok(())
    }

    fn line(&mut self, report: &Report) -> io::Result<()> {
        let to = match (report, &mut self.transactions) {
            (Report::Transaction(_), Some(transactions)) => transactions,
            (Report::Transaction(_), None) if !self.together => return Ok(()),
            _ => &mut self.events,
        };
        writeln!(to, "{}", report.line())
    }
}

fn sink(path: &Path) -> Result<Box<dyn Write + Send>, Failure> {
    if path == Path::new("-") {
        // A descriptor of its own: the main thread holds the lock of the standard output as long as the command runs.
        return Ok(Box::new(io::BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))));
    }
    let file = OpenOptions::new().append(true).create(true).open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(io::BufWriter::new(file)))
}

impl Watch {
    /// One interface until the end.
    fn interface(&self, index: usize, mut capture: Capture, sender: &SyncSender<Report>) {
        let mut asked = Duration::ZERO;
        let (mut frames, mut last) = (0, None);
        while !self.stop.load(Relaxed) {
            let link = capture.link();
            let mut read = false;
            let now = match capture.next_frame() {
                Ok(Some((at, frame))) => {
                    frames += 1;
                    (last, read) = (Some(at), true);
                    locked(&self.sensor).frame(at, link, frame, &mut |report| self.tell(report, sender));
                    at
                }
                Ok(None) => {
                    let now = capture::now();
                    locked(&self.sensor).tick(now, &mut |report| self.tell(report, sender));
                    now
                }
                Err(error) => {
                    locked(&self.interfaces)[index].trouble = Some(error.to_string());
                    std::thread::park_timeout(PAUSE);
                    capture::now()
                }
            };
            if read && now.saturating_sub(asked) < STATISTICS {
                continue;
            }
            asked = now;
            if read {
                locked(&self.interfaces)[index].trouble = None;
            }
            self.note(index, frames, last, capture.statistics());
        }
        self.note(index, frames, last, capture.statistics());
    }

    fn note(&self, index: usize, frames: u64, last: Option<Duration>, statistics: io::Result<Statistics>) {
        let interface = &mut locked(&self.interfaces)[index];
        (interface.frames, interface.last_frame) = (frames, last.map(|at| at.as_secs_f64()));
        match statistics {
            Ok(Statistics { seen, dropped }) => (interface.seen, interface.dropped) = (seen, dropped),
            Err(error) => interface.trouble = Some(error.to_string()),
        }
    }

    fn tell(&self, report: Report, sender: &SyncSender<Report>) {
        if let Report::Bypass(event) = &report {
            self.told.fetch_add(1, Relaxed);
            let mut recent = locked(&self.recent);
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(format!("{} {}", super::super::render::moment(event.at.as_secs()), event.evidence));
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(report) {
            self.lines_dropped.fetch_add(1, Relaxed);
        }
    }

    fn tally(&self) -> Tally {
        locked(&self.sensor).tally()
    }

    fn status(&self) -> Status {
        let clients = locked(&self.sensor).detector().map(|detector| detector.clients(CLIENTS)).unwrap_or_default();
        let tally = self.tally();
        let named = |labels: &[&str], counts: &[u64]| labels.iter().map(|label| (*label).to_owned()).zip(counts.iter().copied()).collect();
        Status {
            since: self.since.as_secs_f64(),
            now: capture::now().as_secs_f64(),
            interfaces: locked(&self.interfaces).clone(),
            queries: tally.queries,
            responses: tally.responses,
            malformed: tally.malformed.iter().sum(),
            endings: named(Ending::LABELS, &tally.endings),
            bypasses: named(Means::LABELS, &tally.bypasses),
            clients,
            recent: locked(&self.recent).iter().cloned().collect(),
            lines_dropped: self.lines_dropped.load(Relaxed),
            held_bytes: tally.held_bytes,
        }
    }

    fn sample(&self, samples: &mut Samples) {
        let tally = self.tally();
        for interface in locked(&self.interfaces).iter() {
            let name = [interface.name.as_str()];
            samples.set(&metrics::SENSOR_FRAMES, &name, interface.frames as f64);
            samples.set(&metrics::SENSOR_KERNEL_SEEN, &name, interface.seen as f64);
            samples.set(&metrics::SENSOR_KERNEL_DROPPED, &name, interface.dropped as f64);
            samples.set(&metrics::SENSOR_LAST_FRAME, &name, interface.last_frame.unwrap_or(0.0));
            samples.set(&metrics::SENSOR_UP, &name, f64::from(u8::from(interface.trouble.is_none())));
        }
        let mut all = |metric, labels: &[&str], counts: &[u64]| {
            for (label, count) in labels.iter().zip(counts) {
                samples.set(metric, &[label], *count as f64);
            }
        };
        let frames = &tally.frames;
        all(&metrics::SENSOR_MESSAGES, metrics::SENSOR_KINDS, &[tally.queries, tally.responses]);
        all(&metrics::SENSOR_MALFORMED, Flaw::LABELS, &tally.malformed);
        all(&metrics::SENSOR_TRANSACTIONS, Ending::LABELS, &tally.endings);
        all(&metrics::SENSOR_BYPASS, Means::LABELS, &tally.bypasses);
        all(
            &metrics::SENSOR_UNREAD,
            metrics::SENSOR_UNREAD_REASONS,
            &[frames.not_ip, frames.unreadable, frames.contradictions, frames.stream_holes],
        );
        all(&metrics::SENSOR_EVICTED, metrics::SENSOR_TABLES, &[frames.fragments_evicted, frames.streams_evicted, tally.queries_evicted]);
        samples.set(&metrics::SENSOR_EVENTS, &[], self.told.load(Relaxed) as f64);
        samples.set(&metrics::SENSOR_LINES_DROPPED, &[], self.lines_dropped.load(Relaxed) as f64);
        samples.set(&metrics::SENSOR_HELD, &[], tally.held_bytes as f64);
    }

    /// What is wrong, for `/readyz`.
    fn troubles(&self) -> Vec<String> {
        locked(&self.interfaces)
            .iter()
            .filter_map(|interface| Some(format!("{}: {}", interface.name, interface.trouble.as_ref()?)))
            .collect()
    }
}

/// Metrics and status until the process ends.
fn serve(watch: &Arc<Watch>, listener: TcpListener, status: UnixListener, allow: Acl) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let metrics = Metrics::bystander();
    let (sampled, judged, told) = (watch.clone(), watch.clone(), watch.clone());
    metrics.source(move |samples| sampled.sample(samples));
    metrics.source(crate::telemetry::process::sample);
    let site =
        http::Site { metrics, readiness: Box::new(move || judged.troubles()), admission: Box::new(move |address| allow.contains(address)) };
    runtime.block_on(async move {
        let Ok(status) = tokio::net::UnixListener::from_std(status) else { return };
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            tokio::spawn(http::serve(listener, Arc::new(site)));
        }
        loop {
            match status.accept().await {
                Ok((mut stream, _)) => {
                    let text = serde_json::to_vec(&told.status()).unwrap_or_default();
                    // A reader that has gone away has only itself to tell.
                    let _ = tokio::time::timeout(PATIENCE, stream.write_all(&text)).await;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
}
