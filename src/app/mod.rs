//! The composition root: builds the rooms from the configuration, starts them, orders reload and the end.
//!
//! Start order: configuration, state lock, sockets, privileges, last good lists, anchors, then answers. [`Prepared`] holds what must
//! happen before there are threads (binding as root, then becoming another user); [`Running`] is the daemon, in the program as in the
//! demo. [`run`] is `postern serve`: signals, supervisor and the end.

#![allow(clippy::disallowed_methods, reason = "the shell owns files, sockets and the wall clock")]

mod daemon;
pub mod holder;
mod judge;
mod kept;
mod lists;
pub mod lock;
mod measure;
pub mod notify;
pub mod place;
mod policy;
pub mod ports;
mod settings;
mod start;
mod trust;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub use daemon::Running;
pub use start::{Prepared, StartError};

use crate::config::{self, Config, Problem, Problems};

/// Time that queries under way get to be answered after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);
/// How often the clock is saved, as a floor for the next start on a box whose clock stands still without power.
const SAVE_CLOCK: Duration = Duration::from_secs(600);

/// What `postern serve` was told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Configuration file; `None` runs on the defaults.
    pub file: Option<PathBuf>,
    /// Serve the local network, whatever the file says.
    pub lan: bool,
}

impl Options {
    /// Reads the configuration, at the start and for each reload.
    ///
    /// # Errors
    /// Every problem in the file.
    pub fn config(&self) -> Result<Config, Problems> {
        let mut config = match &self.file {
            Some(file) => config::from_file(file)?,
            None => Config::default(),
        };
        if self.lan {
            if !config.listen.addresses.is_empty() {
                return Err(Problems(vec![Problem {
                    file: "--lan".into(),
                    line: None,
                    key: "listen.addresses".into(),
                    what: "is given in the file, and --lan chooses the addresses".into(),
                    hint: "leave one of them out".into(),
                }]));
            }
            config.lan = true;
            config.effective.insert("lan", "true".into());
        }
        Ok(config)
    }
}

/// Serves until SIGTERM or SIGINT. Tells on `out` what was chosen, and where.
///
/// # Errors
/// Whatever keeps it from serving; after that nothing is an error.
pub fn run(options: Options, out: &mut dyn Write) -> Result<(), StartError> {
    let supervisor = notify::Supervisor::find(&place::environment);
    // Before the first thread. Without it everything works, in more memory.
    #[cfg(target_os = "linux")]
    crate::sys::linux::process::few_arenas();
    let prepared = Prepared::new(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("task").enable_all().build()?;
    runtime.block_on(async {
        // Signals are caught before anybody can know that we are here.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let running = prepared.start()?;
        // Nobody may be reading; that is no reason not to serve.
        let _ = running.greet(out).and_then(|()| out.flush());
        supervisor.ready(&running.summary());
        let mut alive = tokio::time::interval(supervisor.watchdog().unwrap_or(SAVE_CLOCK));
        let mut save = tokio::time::interval(SAVE_CLOCK);
        // A clock that leaps by a month is no reason to do a month's work at once.
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = alive.tick() => supervisor.alive(),
                _ = save.tick() => running.keep_house(),
                _ = hangup.recv() => {
                    supervisor.reloading(monotonic_usec());
                    let _ = match running.reload().await {
                        Ok(said) => writeln!(out, "{said}"),
                        Err(why) => writeln!(std::io::stderr(), "postern: the reload is refused, the old configuration stays:\n{why}"),
                    };
                    supervisor.ready(&running.summary());
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        supervisor.stopping();
        running.stop(DRAIN).await;
        Ok(())
    })
}

/// CLOCK_MONOTONIC, as systemd wants it; /proc/uptime is the same clock where nothing is suspended.
fn monotonic_usec() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    (seconds * 1e6) as u64
}

/// The lock of something that a panic elsewhere leaves whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of the log: standard error, which systemd keeps.
fn say(line: &str) {
    // Nobody may be reading; that is no reason not to go on.
    let _ = writeln!(std::io::stderr(), "postern: {}", line.replace('\n', "; "));
}

/// An error with what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
