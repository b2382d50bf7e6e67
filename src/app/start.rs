//! From nothing to a serving daemon, in the order that keeps it safe.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::daemon::{Parts, Running};
use super::holder::{self, Kind};
use super::lists::Lists;
use super::lock::{Lock, LockError};
use super::policy::Policy;
use super::ports::{self, Choice, PortError};
use super::trust::Trust;
use super::{Options, measure, place, settings};
use crate::blocklist::store;
use crate::config::{Config, Problems};
use crate::control::{self, audit::Log};
use crate::guard::{Cookies, Prefix, RateLimit};
use crate::listen::{self, Bound, Rules, Service};
use crate::outbound::{self, Network, SystemClock};
use crate::policy::Exceptions;
use crate::resolve::{Clock as _, Resolver};
use crate::telemetry::{Metrics, http};
use crate::validate::Validator;

/// Name of the file that holds the last known time, in seconds since 1970.
const CLOCK_FILE: &str = "clock";
/// Name of the file that holds the box's own rules.
const EXCEPTIONS_FILE: &str = "exceptions.json";

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The state directory belongs to somebody else.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An address cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The state directory cannot be used.
    #[error("the state directory {path} cannot be used: {source}\nhint: check its owner, or name another with state_dir")]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics address cannot be had.
    #[error("metrics.address {address} cannot be bound: {source}{}\nhint: choose another metrics.address, or \"\" for none", taken_by(.holder))]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
        /// Who has it.
        holder: Option<holder::Holder>,
    },
    /// The control socket cannot be bound.
    #[error("control.socket {path} cannot be bound: {source}\nhint: check that its folder is there and ours to write")]
    Control {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user to become is not there, or may not be become.
    #[error("user {user:?} cannot be become: {source}\nhint: create it, or start as root")]
    User {
        /// The user.
        user: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Threads, signals or memory.
    #[error("the system does not let us start: {0}")]
    System(#[from] std::io::Error),
}

fn taken_by(holder: &Option<holder::Holder>) -> String {
    holder.as_ref().map_or_else(String::new, |holder| format!(" (process {} ({}) has it)", holder.pid, holder.name))
}

/// Everything that is done before there are threads: the lock, the sockets, another user.
pub struct Prepared {
    options: Options,
    config: Config,
    lock: Lock,
    state_dir: PathBuf,
    connected: Vec<Prefix>,
    said: String,
    bound: Bound,
    metrics: Option<TcpListener>,
    control: (PathBuf, UnixListener),
}

impl Prepared {
    /// Takes the lock, binds every socket and becomes the configured user. To be called before any thread is started.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind but an empty state directory.
    pub fn new(options: Options) -> Result<Prepared, StartError> {
        let config = options.config()?;
        Prepared::with(options, config)
    }

    /// As [`Prepared::new`], with a configuration that has been read already.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn with(options: Options, config: Config) -> Result<Prepared, StartError> {
        let root = crate::sys::linux::process::effective_uid() == 0;
        let state_dir = config.state_dir.clone().unwrap_or_else(|| place::state_dir(root, &place::environment));
        let broken = |source| StartError::State { path: state_dir.clone(), source };
        place::make_private(&state_dir).map_err(broken)?;
        let lock = Lock::take(&state_dir)?;

        let connected = ports::connected();
        let Choice { addresses, said } = ports::choose(&config, &served(&config))?;
        let settings = listen::Settings {
            workers: config.workers.unwrap_or(0),
            resolving: config.listen.resolving_queries,
            streams: settings::streams(&config),
            ..Default::default()
        };
        let bound = Bound::open(&addresses, settings).map_err(|(address, source)| PortError::Bind { address, source })?;
        let metrics = config.metrics.map(bind_metrics).transpose()?;
        let path = config.control.clone().unwrap_or_else(|| place::control_socket(&state_dir, &place::environment));
        let listener = control::server::bind(&path).map_err(|source| StartError::Control { path: path.clone(), source })?;
        let control = (path, listener);
        if let Some(user) = &config.user {
            become_user(user, &state_dir, &control.0).map_err(|source| StartError::User { user: user.clone(), source })?;
        }
        Ok(Prepared { options, config, lock, state_dir, connected, said, bound, metrics, control })
    }

    /// Opens the lists, builds the rooms and answers. To be called inside the runtime that is to serve.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self) -> Result<Running, StartError> {
        let config = &self.config;
        let broken = |source| StartError::State { path: self.state_dir.clone(), source };
        let clock = SystemClock::new();
        let clock_file = self.state_dir.join(CLOCK_FILE);
        let saved = std::fs::read_to_string(&clock_file).ok().and_then(|text| text.trim().parse().ok());
        clock.raise_floor(saved.unwrap_or(0));
        let lists = store::Settings { keep: config.block.keep_versions, ..store::Settings::below(&self.state_dir) };
        let lists = Lists::open(&self.state_dir, lists, config.trust.root_key.clone()).map_err(broken)?;
        for list in lists.in_force() {
            clock.raise_floor(list.manifest().created);
        }
        let exceptions = Exceptions::open(&self.state_dir.join(EXCEPTIONS_FILE)).map_err(broken)?;
        let policy = Policy::new(lists, exceptions);
        let audit = Log::open(&self.state_dir).map_err(broken)?;

        let trust = Trust::open(&self.state_dir).map_err(broken)?;
        trust.adopt(config);

        let metrics = Metrics::new();
        let validator = Arc::new(Validator::new(trust.anchors(config), trust.negative(config), settings::validator(config)));
        let network = measure::Measured::new(Network::new(outbound::Settings::default()), metrics.shared());
        let resolver = Resolver::new(settings::resolver(config), validator.clone(), network, clock.clone());
        let judge = policy.judge(config, &metrics, clock.wall_is_trusted().then(|| clock.wall()), 1);
        let rules = Rules {
            acl: settings::served(config, &self.connected),
            unlimited: settings::unlimited(config),
            silent: config.access.silent,
            udp_payload: config.listen.udp_payload_bytes,
            rate: Arc::new(RateLimit::new(config.limit.rate)),
            cookies: config.access.cookies.then(random).transpose()?.map(Cookies::new),
            servfail_when_full: config.listen.servfail_when_full,
            policy: judge.clone(),
            stream_idle: Duration::from_secs(config.listen.tcp_idle_seconds),
        };
        let answer_bytes = settings::answer_cache_bytes(config);
        let service = Service::new(rules, answer_bytes, Arc::new(resolver.clone()), clock.clone(), metrics.shared());
        let service = Arc::new(service);
        resolver.set_gate(Arc::new(listen::Targets::of(&service)));
        let listeners = self.bound.serve(service.clone(), metrics.clone(), Handle::current())?;
        let metrics_address = self.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        let running = Running::new(Parts {
            options: self.options,
            config: self.config,
            lock: self.lock,
            state_dir: self.state_dir,
            clock_file,
            control_path: self.control.0,
            metrics_address,
            connected: self.connected,
            said: self.said,
            clock,
            policy,
            audit,
            judge,
            trust,
            validator,
            resolver,
            service,
            metrics,
            listeners,
        });
        let site = running.site();
        if let Some(listener) = self.metrics {
            listener.set_nonblocking(true)?;
            running.keep(tokio::spawn(http::serve(tokio::net::TcpListener::from_std(listener)?, Arc::new(site))));
        }
        let listener = tokio::net::UnixListener::from_std(self.control.1)?;
        running.keep(tokio::spawn(control::server::serve(listener, running.daemon())));
        running.keep(tokio::spawn(running.daemon().tend()));
        Ok(running)
    }
}

/// Who is served, in words.
fn served(config: &Config) -> String {
    let mut words: Vec<String> = config.access.allow.iter().map(Prefix::to_string).collect();
    let defaults = crate::guard::acl::PRIVATE.iter().map(Prefix::to_string).collect::<Vec<_>>();
    if defaults.iter().all(|network| words.contains(network)) {
        words.retain(|network| !defaults.contains(network));
        words.insert(0, "private networks".into());
    }
    if config.access.connected {
        words.push("the networks of its own interfaces".into());
    }
    if words.is_empty() { "nobody".into() } else { words.join(", ") }
}

fn bind_metrics(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| {
        let taken = source.kind() == std::io::ErrorKind::AddrInUse;
        StartError::Metrics { address, source, holder: if taken { holder::of(address, Kind::Tcp) } else { None } }
    })
}

/// Hands the state directory, with what is in it, and the socket over to the user, and becomes it.
fn become_user(name: &str, state_dir: &Path, socket: &Path) -> std::io::Result<()> {
    let user = crate::sys::linux::process::user(name)?;
    if user.uid == crate::sys::linux::process::effective_uid() {
        return Ok(());
    }
    let mut folders = vec![state_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        chown(&folder, Some(user.uid), Some(user.gid))?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            // A symbolic link could lead the change of owner anywhere.
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_symlink() => {}
                _ => chown(entry.path(), Some(user.uid), Some(user.gid))?,
            }
        }
    }
    chown(socket, Some(user.uid), Some(user.gid))?;
    crate::sys::linux::process::become_user(user)
}

/// A secret.
pub(super) fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}
