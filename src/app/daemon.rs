//! The running daemon: what it is asked over the control socket, what it says about itself, reload and the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::judge::Judge;
use super::lists::{Push, Scene};
use super::lock::Lock;
use super::measure::Measured;
use super::policy::{NewRule, Policy};
use super::start::random;
use super::trust::Trust;
use super::{Options, locked, ports, settings};
use crate::config::Config;
use crate::control::api::{Reply, Request, Resolved, Status, Why};
use crate::control::audit::Log;
use crate::control::server::{Daemon, Peer};
use crate::guard::{Acl, Cookies, Prefix, RateLimit};
use crate::listen::{Listeners, Service};
use crate::outbound::{Network, SystemClock};
use crate::policy::inspect;
use crate::resolve::{Asked, Clock as _, Explanation, Resolver, Times};
use crate::telemetry::{Metrics, Samples, http, label, metrics, process};
use crate::validate::rollover::KeyState;
use crate::validate::{Status as Security, Validator};
use crate::wire::name::NameError;
use crate::wire::{Ede, Name, Question, Rtype};

/// The client that `why` asks for unless another is named: no rule is for it alone.
const ASKING: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How often it is looked whether something is due. The time may be set at any moment, so that no longer sleep can be right.
const TEND: Duration = Duration::from_secs(1);

/// What a daemon is made of.
pub(super) struct Parts {
    pub(super) options: Options,
    pub(super) config: Config,
    pub(super) lock: Lock,
    pub(super) state_dir: PathBuf,
    pub(super) clock_file: PathBuf,
    pub(super) control_path: PathBuf,
    pub(super) metrics_address: Option<SocketAddr>,
    pub(super) connected: Vec<Prefix>,
    pub(super) said: String,
    pub(super) clock: SystemClock,
    pub(super) policy: Policy,
    pub(super) audit: Log,
    pub(super) judge: Arc<Judge>,
    pub(super) trust: Trust,
    pub(super) validator: Arc<Validator>,
    pub(super) resolver: Arc<Resolver<Measured<Network>, SystemClock>>,
    pub(super) service: Arc<Service>,
    pub(super) metrics: Metrics,
    pub(super) listeners: Listeners,
}

/// The daemon, as its tasks share it.
pub(super) struct Shared {
    options: Options,
    config: Mutex<Arc<Config>>,
    state_dir: PathBuf,
    clock_file: PathBuf,
    metrics_address: Option<SocketAddr>,
    connected: Vec<Prefix>,
    started: u64,
    said: String,
    clock: SystemClock,
    policy: Policy,
    audit: Mutex<Log>,
    /// The judge in force. Its lock is held while the next one is made, so that two changes do not lose each other.
    judge: Mutex<Arc<Judge>>,
    trust: Trust,
    validator: Arc<Validator>,
    resolver: Arc<Resolver<Measured<Network>, SystemClock>>,
    service: Arc<Service>,
    metrics: Metrics,
    listeners: tokio::sync::Mutex<Option<Listeners>>,
    /// A copy for those who must not wait for a reload.
    listening: Mutex<Vec<SocketAddr>>,
    /// The number of worker threads, for the same.
    workers: AtomicUsize,
    reloads: Mutex<Reloads>,
    tasks: Handle,
}

#[derive(Default)]
struct Reloads {
    applied: u64,
    refused: u64,
    loaded: u64,
}

/// A daemon that answers. Dropping it does not end it; [`Running::stop`] does.
pub struct Running {
    shared: Arc<Shared>,
    kept: Mutex<Vec<JoinHandle<()>>>,
    control_path: PathBuf,
    _lock: Lock,
}

impl Running {
    pub(super) fn new(parts: Parts) -> Running {
        let started = parts.clock.wall();
        let listening = Mutex::new(parts.listeners.local_addrs());
        let workers = AtomicUsize::new(parts.listeners.workers());
        let load = parts.listeners.load();
        let shared = Arc::new(Shared {
            options: parts.options,
            config: Mutex::new(Arc::new(parts.config)),
            state_dir: parts.state_dir,
            clock_file: parts.clock_file,
            metrics_address: parts.metrics_address,
            connected: parts.connected,
            started,
            said: parts.said,
            clock: parts.clock,
            judge: Mutex::new(parts.judge),
            policy: parts.policy,
            audit: Mutex::new(parts.audit),
            trust: parts.trust,
            validator: parts.validator,
            resolver: parts.resolver,
            service: parts.service,
            metrics: parts.metrics,
            listeners: tokio::sync::Mutex::new(Some(parts.listeners)),
            listening,
            workers,
            reloads: Mutex::new(Reloads { loaded: started, ..Reloads::default() }),
            tasks: Handle::current(),
        });
        let weak = Arc::downgrade(&shared);
        shared.metrics.source(process::sample);
        shared.metrics.source(move |samples| {
            let (queued, streams) = load();
            samples.set(&metrics::QUEUE_DEPTH, &[], queued as f64);
            samples.set(&metrics::OPEN_STREAMS, &[], streams as f64);
            if let Some(shared) = weak.upgrade() {
                shared.sample(samples);
            }
        });
        Running { shared, kept: Mutex::default(), control_path: parts.control_path, _lock: parts.lock }
    }

    /// Ends this task with the daemon.
    pub(super) fn keep(&self, task: JoinHandle<()>) {
        locked(&self.kept).push(task);
    }

    pub(super) fn daemon(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// What the metrics endpoint shows.
    pub(super) fn site(&self) -> http::Site {
        let (ready, admit) = (self.shared.clone(), self.shared.clone());
        http::Site {
            metrics: self.shared.metrics.clone(),
            readiness: Box::new(move || ready.unready()),
            admission: Box::new(move |peer: IpAddr| Acl::new(admit.config().metrics_allow.iter().copied()).contains(peer)),
        }
    }

    /// The addresses on which clients are answered.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        locked(&self.shared.listening).clone()
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.shared.metrics_address
    }

    /// The control socket.
    pub fn control_path(&self) -> &std::path::Path {
        &self.control_path
    }

    /// The lines for the person at the terminal.
    ///
    /// # Errors
    /// Nobody reads them.
    pub fn greet(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let shared = &self.shared;
        writeln!(out, "postern {}: {}", env!("CARGO_PKG_VERSION"), shared.said)?;
        for address in self.local_addrs() {
            writeln!(out, "listening on {address}")?;
        }
        if let Some(metrics) = shared.metrics_address {
            writeln!(out, "metrics at http://{metrics}/metrics")?;
        }
        if shared.blocks_nothing() {
            writeln!(out, "NOTHING IS BLOCKED: give a list with `postern blocklist push FILE`")?;
        }
        for warning in shared.warnings() {
            writeln!(out, "warning: {warning}")?;
        }
        writeln!(out, "ready")
    }

    /// One line for systemctl.
    pub fn summary(&self) -> String {
        let blocking = self.shared.policy.blocking(self.shared.clock.wall());
        let lists = blocking.lists.iter().map(|list| format!("{} names of list {}", list.names, list.list)).collect::<Vec<_>>();
        let blocked = if self.shared.blocks_nothing() { "NOTHING IS BLOCKED".into() } else { format!("blocking {}", lists.join(", ")) };
        format!("answering on {} addresses; {blocked}", self.local_addrs().len())
    }

    /// Reads the configuration again and applies it whole, or not at all.
    ///
    /// # Errors
    /// Why not, in words; the old one is in force then.
    pub async fn reload(&self) -> Result<String, String> {
        self.shared.reload().await
    }

    /// What is to be done now and then: saves the time as a floor for the next start, sweeps rules and
    /// lists that have ended.
    pub fn keep_house(&self) {
        self.shared.save_clock();
        self.shared.turn_secret();
        let shared = &self.shared;
        let Some(now) = shared.trusted_wall() else { return };
        let blocking = shared.policy.lists.blocking(Some(now), shared.config().block.max_stale).len();
        if shared.policy.sweep(now) || locked(&shared.judge).engine().parts().lists.len() != blocking {
            shared.enact();
        }
    }

    /// Stops reading queries, answers those under way for at most `drain`, and lets go of everything.
    pub async fn stop(self, drain: Duration) {
        let listeners = self.shared.listeners.lock().await.take();
        // From now on /readyz sends clients elsewhere.
        locked(&self.shared.listening).clear();
        if let Some(listeners) = listeners {
            listeners.stop(drain).await;
        }
        for task in locked(&self.kept).drain(..) {
            task.abort();
        }
        self.shared.save_clock();
        // The socket goes while the lock is held: a daemon that starts next makes its own.
        let _ = std::fs::remove_file(&self.control_path);
    }
}

impl Shared {
    fn config(&self) -> Arc<Config> {
        locked(&self.config).clone()
    }

    /// Seconds since 1970, `None` while the clock is not believed.
    fn trusted_wall(&self) -> Option<u64> {
        self.clock.wall_is_trusted().then(|| self.clock.wall())
    }

    fn save_clock(&self) {
        if let Some(now) = self.trusted_wall() {
            let new = self.clock_file.with_extension("new");
            // A disk that is full or gone costs the floor, not the answers.
            let _ = std::fs::write(&new, format!("{now}\n")).and_then(|()| std::fs::rename(&new, &self.clock_file));
        }
    }

    /// Gives the cookies a new secret once theirs is due.
    fn turn_secret(&self) {
        let now = self.service.now().monotonic;
        // Without randomness the old secret goes on.
        let Ok(secret) = random() else { return };
        self.service.change_rules(|rules| {
            if let Some(cookies) = rules.cookies.as_mut().filter(|cookies| cookies.are_due(now)) {
                *cookies = cookies.rotated(secret, now);
            }
        });
    }

    fn listening(&self) -> Vec<SocketAddr> {
        locked(&self.listening).clone()
    }

    /// Puts the lists and rules that are kept now in force for every query read from now on, cached names included.
    fn enact(&self) {
        let mut judge = locked(&self.judge);
        *judge = self.policy.judge(&self.config(), &self.metrics, self.trusted_wall(), judge.engine().generation() + 1);
        self.service.change_rules(|rules| rules.policy = judge.clone());
    }

    /// Changes lists or rules, and puts the change in force.
    fn change(&self, change: impl FnOnce(&Policy) -> Reply) -> Reply {
        let reply = change(&self.policy);
        if !matches!(reply, Reply::Refused { .. }) {
            for list in self.policy.lists.in_force() {
                self.clock.raise_floor(list.manifest().created);
            }
            self.enact();
        }
        reply
    }

    /// What a pushed list is held against.
    fn scene(&self) -> Scene {
        let config = self.config();
        let judge = locked(&self.judge).clone();
        Scene { now: self.trusted_wall(), judge, protected: settings::protected(&config), limits: settings::impact(&config) }
    }

    fn blocks_nothing(&self) -> bool {
        let blocking = self.policy.blocking(self.clock.wall());
        let zones = self.config().rpz.iter().any(|zone| !zone.is_empty());
        blocking.off_until.is_some() || (blocking.lists.is_empty() && blocking.block_rules == 0 && !zones)
    }

    /// What needs somebody's attention.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.clock.wall_is_trusted() {
            let what = "signature times are not checked, AD is never set";
            warnings.push(format!("the clock stands before this release or the last known time: {what}"));
        }
        warnings.extend(self.trust.warnings(&self.config(), self.clock.wall()));
        warnings.extend(self.policy.warnings(&self.config(), self.trusted_wall()));
        warnings.extend(locked(&self.audit).warning().map(str::to_owned));
        for zone in &self.config().rpz {
            let (first, total) = zone.left_out();
            warnings.extend(first.iter().map(|left| format!("policy zone {}: {left}", zone.file)));
            if total > first.len() {
                warnings.push(format!("policy zone {}: {} more records are left out", zone.file, total - first.len()));
            }
        }
        warnings
    }

    /// Why /readyz says no.
    fn unready(&self) -> Vec<String> {
        match self.listening().is_empty() {
            true => vec!["no address is served: the program is ending".into()],
            false => Vec::new(),
        }
    }

    async fn reload(&self) -> Result<String, String> {
        let result = self.apply().await;
        let mut reloads = locked(&self.reloads);
        match &result {
            Ok(_) => (reloads.applied, reloads.loaded) = (reloads.applied + 1, self.clock.wall()),
            Err(_) => reloads.refused += 1,
        }
        result
    }

    async fn apply(&self) -> Result<String, String> {
        let new = self.options.config().map_err(|problems| problems.to_string())?;
        let old = self.config();
        let fixed = old.needs_restart(&new);
        if !fixed.is_empty() {
            return Err(format!("{} cannot change while running\nhint: undo the change, or restart", fixed.join(", ")));
        }
        // The steps that can fail come first, so that a refusal leaves everything as it was.
        let cookies = random().map(Cookies::new).map_err(|error| format!("access.cookies: there is no secret to be had: {error}"))?;
        if old.listen.addresses != new.listen.addresses {
            let choice = ports::wanted(&new);
            let mut listeners = self.listeners.lock().await;
            let Some(listeners) = listeners.as_mut() else { return Err("the daemon is stopping".into()) };
            listeners.reconfigure(&choice).await.map_err(|(address, error)| format!("listen.addresses: {address}: {error}"))?;
            *locked(&self.listening) = listeners.local_addrs();
            self.workers.store(listeners.workers(), Relaxed);
        }
        if let Some(listeners) = self.listeners.lock().await.as_ref() {
            listeners.limit_streams(settings::streams(&new));
        }
        self.trust.adopt(&new);
        self.validator.set_trust(self.trust.anchors(&new), self.trust.negative(&new));
        self.resolver.reconfigure(settings::resolver(&new));
        self.service.cache().resize(settings::answer_cache_bytes(&new));
        self.service.change_rules(|rules| {
            rules.acl = settings::served(&new, &self.connected);
            rules.unlimited = settings::unlimited(&new);
            rules.silent = new.access.silent;
            rules.servfail_when_full = new.listen.servfail_when_full;
            if old.limit.rate != new.limit.rate {
                rules.rate = Arc::new(RateLimit::new(new.limit.rate));
            }
            // Whoever has a cookie keeps its worth.
            rules.cookies = new.access.cookies.then(|| rules.cookies.take().unwrap_or_else(|| cookies.clone()));
            rules.udp_payload = new.listen.udp_payload_bytes;
            rules.stream_idle = Duration::from_secs(new.listen.tcp_idle_seconds);
        });
        if old.trust.root_key != new.trust.root_key {
            self.policy.lists.believe(new.trust.root_key.clone());
        }
        let new = Arc::new(new);
        *locked(&self.config) = new.clone();
        self.enact();
        // What was made under the old settings may be wrong under the new ones.
        if settings::resolver(&old) != settings::resolver(&new) || old.validate != new.validate || old.ntas != new.ntas {
            self.resolver.flush(None, true);
            self.service.cache().purge(None);
        }
        let changed: Vec<&str> =
            new.effective.iter().filter(|(key, value)| old.effective.get(*key) != Some(*value)).map(|(key, _)| *key).collect();
        let mut said = match changed.is_empty() {
            true => "the configuration was read again".to_owned(),
            false => format!("the configuration was read again; changed: {}", changed.join(", ")),
        };
        if self.blocks_nothing() {
            let _ = write!(said, "; NOTHING IS BLOCKED");
        }
        Ok(said)
    }

    fn sample(&self, samples: &mut Samples) {
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        samples.set(&metrics::READY, &[], flag(self.unready().is_empty()));
        samples.set(&metrics::BLOCKING, &[], flag(!self.blocks_nothing()));
        samples.set(&metrics::CLOCK_TRUSTED, &[], flag(self.clock.wall_is_trusted()));
        let config = self.config();
        let anchors = self.validator.anchors();
        let root = anchors.iter().filter(|(zone, _)| zone.is_root());
        samples.set(&metrics::TRUST_ANCHORS, &[], root.map(|(_, anchors)| anchors.len()).sum::<usize>() as f64);
        samples.set(&metrics::WORKERS, &[], self.workers.load(Relaxed) as f64);
        for state in [KeyState::AddPending, KeyState::Valid, KeyState::Missing, KeyState::Revoked, KeyState::Removed] {
            samples.set(&metrics::TRUST_ANCHOR_KEYS, &[state.label()], self.trust.keys(&config, state) as f64);
        }
        samples.set(&metrics::NEGATIVE_TRUST_ANCHORS, &[], self.trust.ntas(&config, self.clock.wall()).len() as f64);
        samples.set(&metrics::CACHE_PREFETCHES, &[], self.resolver.counters().prefetches.value() as f64);
        let reloads = locked(&self.reloads);
        samples.set(&metrics::RELOADS, &["applied"], reloads.applied as f64);
        samples.set(&metrics::RELOADS, &["refused"], reloads.refused as f64);
        samples.set(&metrics::CONFIG_LOADED, &[], reloads.loaded as f64);
        let (answer, rrset) = (label::Cache::Answer.label(), label::Cache::Rrset.label());
        let answers = self.service.cache();
        let rrsets = self.resolver.cache();
        samples.set(&metrics::CACHE_ENTRIES, &[answer], answers.len() as f64);
        samples.set(&metrics::CACHE_BYTES, &[answer], answers.bytes() as f64);
        samples.set(&metrics::CACHE_LIMIT_BYTES, &[answer], settings::answer_cache_bytes(&config) as f64);
        samples.set(&metrics::CACHE_ENTRIES, &[rrset], rrsets.len() as f64);
        samples.set(&metrics::CACHE_BYTES, &[rrset], rrsets.bytes() as f64);
        samples.set(&metrics::CACHE_LIMIT_BYTES, &[rrset], settings::resolver(&config).cache_bytes as f64);
        samples.set(&metrics::CACHE_EVICTIONS, &[answer], answers.evicted() as f64);
        samples.set(&metrics::CACHE_EVICTIONS, &[rrset], rrsets.evicted() as f64);
        let counted = self.resolver.counters();
        for (found, count) in [
            (label::Lookup::Hit, &counted.cache_hits),
            (label::Lookup::Miss, &counted.cache_misses),
            (label::Lookup::Stale, &counted.stale),
        ] {
            samples.set(&metrics::CACHE_LOOKUPS, &[rrset, found.label()], count.value() as f64);
        }
        samples.set(&metrics::BUDGET_EXHAUSTED, &[], counted.spent.value() as f64);
        let (buckets, seconds) = counted.validation.read();
        samples.histogram(&metrics::VALIDATION_SECONDS, &Times::BOUNDS, &buckets, seconds);
        let forwarders: BTreeSet<SocketAddr> = config.forwards.iter().flat_map(|forward| &forward.servers).copied().collect();
        for forwarder in forwarders {
            let (health, address) = (self.resolver.health(forwarder), forwarder.to_string());
            if let Some(time) = health.time {
                samples.set(&metrics::FORWARDER_RTT, &[&address], time.as_secs_f64());
            }
            if let Some(answers) = health.answers {
                samples.set(&metrics::FORWARDER_UP, &[&address], flag(answers));
            }
        }
        self.policy.sample(samples, self.clock.wall());
        let audit = locked(&self.audit);
        samples.set(&metrics::AUDIT_ENTRIES, &[], audit.head().number as f64);
        samples.set(&metrics::AUDIT_HEAD, &[], audit.head().short() as f64);
    }

    fn status(&self) -> Status {
        let config = self.config();
        let forwards = config.forwards.iter().map(|f| format!("{} is forwarded to {}", f.zone, list(&f.servers)));
        let stubs = config.stubs.iter().map(|s| format!("{} is asked of {}", s.zone, list(&s.servers)));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started,
            config: self.options.file.clone(),
            state_dir: self.state_dir.clone(),
            listening: self.listening(),
            metrics: self.metrics_address,
            blocking: self.policy.blocking(self.clock.wall()),
            clock_trusted: self.clock.wall_is_trusted(),
            trust_anchors: self.trust.shown(&config),
            ntas: self.trust.ntas(&config, self.clock.wall()),
            routes: forwards.chain(stubs).collect(),
            queries: self.metrics.total(&metrics::QUERIES) as u64,
            warnings: self.warnings(),
        }
    }

    fn why(&self, name: &str, rtype: &str, client: IpAddr) -> Reply {
        let name: Name = match name.parse() {
            Ok(name) => name,
            Err(error) => return no_name(name, error),
        };
        let rtype: Rtype = match rtype.parse() {
            Ok(rtype) => rtype,
            Err(error) => return Reply::refused(format!("{error}"), ""),
        };
        let judge = locked(&self.judge).clone();
        let (engine, now) = (judge.engine(), self.trusted_wall().unwrap_or(0));
        let verdict = engine.decide(&name, client, now, true);
        let mut why = Why {
            name: name.to_string(),
            rtype: rtype.to_string(),
            client,
            served: self.service.rules().acl.contains(client),
            verdict: verdict.label().into(),
            because: verdict.explain(engine, &name),
            resolved: None,
        };
        if verdict.blocks() {
            return Reply::Why(Box::new(why));
        }
        let question = Question::new(name.clone(), rtype);
        let explained = self.tasks.block_on(self.resolver.explain(&question, Asked::default()));
        let aliases: Vec<Name> = explained
            .outcome
            .answer
            .iter()
            .filter(|set| set.rtype == Rtype::CNAME && rtype != Rtype::CNAME)
            .filter_map(|set| set.target())
            .collect();
        if let (verdict, Some(target)) = inspect::targets(engine, &name, &verdict, &aliases, client, now, true) {
            why.verdict = verdict.label().into();
            why.because = vec![format!("it is an alias of {target}, which is blocked:")];
            why.because.extend(verdict.explain(engine, target));
        }
        why.resolved = Some(resolved(&explained));
        Reply::Why(Box::new(why))
    }

    fn flush(&self, name: Option<&str>) -> Reply {
        let name = match name.map(str::parse::<Name>).transpose() {
            Ok(name) => name,
            Err(error) => return Reply::refused(format!("that is no domain name: {error}"), ""),
        };
        self.resolver.flush(name.as_ref(), true);
        self.service.cache().purge(name.as_ref());
        match name {
            Some(name) => Reply::done(format!("{name} and all below it are forgotten")),
            None => Reply::done("the caches are empty"),
        }
    }

    /// Changes the negative trust anchors, and puts the change in force for cached names too.
    fn change_nta(&self, zone: &str, change: impl FnOnce(&Name) -> Result<String, (String, String)>) -> Reply {
        let zone: Name = match zone.parse() {
            Ok(zone) => zone,
            Err(error) => return no_name(zone, error),
        };
        match change(&zone) {
            Ok(said) => {
                self.trust_anew(&[zone]);
                Reply::done(said)
            }
            Err((what, hint)) => Reply::refused(what, hint),
        }
    }

    /// Gives the validator what is trusted now, and forgets what was judged before at and below `zones`. Aliases from anywhere may lead
    /// there, so that every encoded answer is made anew.
    fn trust_anew(&self, zones: &[Name]) {
        let config = self.config();
        self.validator.set_trust(self.trust.anchors(&config), self.trust.negative(&config));
        for zone in zones {
            self.resolver.flush(Some(zone), true);
        }
        self.service.cache().purge(None);
    }

    /// Looks at the trust anchors whose time has come, and lets negative ones end.
    async fn tend_trust(&self, ended: &mut Vec<Name>) {
        let Some(now) = self.trusted_wall() else { return };
        let config = self.config();
        let over: Vec<Name> =
            self.validator.negative_anchors().iter().filter(|a| a.expires.is_some_and(|end| end <= now)).map(|a| a.name.clone()).collect();
        if over.iter().any(|zone| !ended.contains(zone)) {
            self.trust_anew(&over);
        }
        *ended = over;
        for due in self.trust.due(&config, now) {
            let next = self.resolver.look_at_anchor(&due.owner, &due.configured, &due.rollover).await;
            self.trust.learn(&due, next);
            let anchors = self.trust.anchors(&config);
            if anchors != self.validator.anchors() {
                self.validator.set_trust(anchors, self.trust.negative(&config));
            }
        }
    }

    /// Tends what is trusted, for as long as the daemon runs.
    pub(super) async fn tend(self: Arc<Self>) {
        let mut ended = Vec::new();
        loop {
            self.tend_trust(&mut ended).await;
            tokio::time::sleep(TEND).await;
        }
    }
}

impl Daemon for Shared {
    fn answer(&self, request: Request, peer: Peer, body: &mut dyn Read) -> Reply {
        let deed = request.deed();
        let reply = self.grant(request, peer, body);
        if let Some(deed) = deed {
            locked(&self.audit).note(self.clock.wall(), peer.uid, &deed, &reply.outcome());
        }
        reply
    }
}

impl Shared {
    fn grant(&self, request: Request, peer: Peer, body: &mut dyn Read) -> Reply {
        let now = self.clock.wall();
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Why { name, rtype, client } => self.why(&name, &rtype, client.unwrap_or(ASKING)),
            Request::Reload => match self.tasks.block_on(self.reload()) {
                Ok(said) => Reply::done(said),
                Err(why) => Reply::refused(format!("the reload is refused, the old configuration stays:\n{why}"), ""),
            },
            Request::CacheFlush { name } => self.flush(name.as_deref()),
            Request::Push { octets, signatures, dry_run, force } => {
                let push = Push { octets, signatures, dry_run, force, peer };
                self.change(|policy| policy.lists.push(&push, body, &self.scene()))
            }
            Request::Rollback { list, serial } => self.change(|policy| policy.lists.rollback(list, serial, peer)),
            Request::Versions => self.policy.lists.versions(),
            Request::Log => match locked(&self.audit).text() {
                Ok(text) => Reply::Log(text),
                Err(error) => Reply::refused(format!("the audit log cannot be read: {error}"), "look at the state directory"),
            },
            Request::KeysPush { octets, signature } => self.policy.lists.take_keys(octets, &signature, body, peer),
            Request::Keys => self.policy.lists.keys(),
            Request::RuleAdd { action, name, subtree, seconds, why } => match name.parse() {
                Ok(name) => self.change(|policy| policy.add(NewRule { action, name, subtree, seconds, why }, peer, now)),
                Err(error) => no_name(&name, error),
            },
            Request::RuleRemove { action, name } => match name.parse() {
                Ok(name) => self.change(|policy| policy.remove(action, &name)),
                Err(error) => no_name(&name, error),
            },
            Request::RuleList { action } => Reply::Rules(self.policy.rules(action, now)),
            Request::BlockingOff { seconds, why } => self.change(|policy| policy.switch_off(seconds, why, peer, now)),
            Request::BlockingOn => self.change(|policy| policy.switch_on()),
            Request::NtaList => Reply::Ntas(self.trust.ntas(&self.config(), now)),
            Request::NtaAdd { zone, seconds, why } => self.change_nta(&zone, |zone| self.trust.add_nta(zone, seconds, why, peer, now)),
            Request::NtaRemove { zone } => self.change_nta(&zone, |zone| self.trust.remove_nta(zone, &self.config())),
        }
    }
}

fn no_name(text: &str, error: NameError) -> Reply {
    Reply::refused(format!("{text:?} is no domain name: {error}"), "write it as in post.example")
}

fn resolved(explained: &Explanation) -> Resolved {
    let outcome = &explained.outcome;
    let errors = outcome.ede.iter().map(|error| {
        let words = if error.text.is_empty() { Ede::meaning(error.code) } else { &error.text };
        format!("{words} (EDE {})", error.code)
    });
    let contacts = explained.contacts.iter().map(|contact| {
        let (server, question, zone, took) = (contact.server, &contact.question, &contact.zone, contact.took.as_millis());
        format!("asked {server} of {zone} for {question}: {} ({took} ms)", contact.result)
    });
    let steps = explained.steps.iter().map(|step| format!("{} {}: {}", step.subject, step.status.label(), step.words));
    Resolved {
        rcode: outcome.rcode.to_string(),
        status: security(outcome.status),
        errors: errors.collect(),
        asked: contacts.collect(),
        chain: steps.collect(),
    }
}

/// A status with its reason.
fn security(status: Security) -> String {
    match status {
        Security::Insecure(why) => format!("insecure ({why:?})"),
        Security::Bogus(why) => format!("bogus ({})", why.label()),
        other => other.label().into(),
    }
}

fn list(servers: &[SocketAddr]) -> String {
    servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
