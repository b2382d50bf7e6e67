//! The lists in force: what is pushed is judged by signatures, protected names and impact before it counts, and a refusal is counted,
//! logged and told with its reason. Whatever happens here, what was in force serves on.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::judge::Judge;
use super::{locked, say, with_causes};
use crate::blocklist::diff::{self, Counts};
use crate::blocklist::impact::{self, Impact, Limits, Recent};
use crate::blocklist::keys::MAX_KEY_SET;
use crate::blocklist::signature::Signature;
use crate::blocklist::store::{Arriving, Refusal, Settings, Store};
use crate::blocklist::trust::Trust;
use crate::blocklist::{self, List, Protected, Scope};
use crate::control::api::{Keys, Reply, Version};
use crate::control::server::Peer;
use crate::listen::PageCache;
use crate::policy::Verdict;
use crate::telemetry::{Samples, metrics};
use crate::wire::Name;

/// A list in force.
#[derive(Clone)]
struct Serving {
    list: Arc<List>,
    signers: Vec<String>,
    /// Since when, in seconds since 1970, as far as the store knows.
    since: Option<u64>,
}

/// How a list has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    /// Maybes of its filter.
    maybes: u64,
    /// Those of them that it denied.
    denied: u64,
    /// Blocks that could not be read.
    faults: u64,
}

impl Reads {
    fn of(list: &List) -> Reads {
        let (maybes, denied) = list.maybes();
        Reads { maybes, denied, faults: list.faults() }
    }

    fn plus(self, other: Reads) -> Reads {
        Reads { maybes: self.maybes + other.maybes, denied: self.denied + other.denied, faults: self.faults + other.faults }
    }
}

/// The store, whom it believes, and what clients asked for lately.
pub(super) struct Lists {
    /// A push may take long to arrive and holds the store alone; nobody else waits for it.
    store: Mutex<Store>,
    trust: Mutex<Trust>,
    serving: Mutex<Vec<Serving>>,
    recent: Arc<Mutex<Recent>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// How the versions were read that are no longer in force, by list: what is counted outlives them.
    retired: Mutex<BTreeMap<String, Reads>>,
    /// What was found wrong at the start.
    found: Vec<String>,
}

/// A list on its way in.
pub(super) struct Push {
    pub(super) octets: u64,
    pub(super) signatures: Vec<String>,
    pub(super) dry_run: bool,
    pub(super) force: Option<String>,
    pub(super) peer: Peer,
}

/// What a candidate is held against.
pub(super) struct Scene {
    /// Seconds since 1970, `None` while the clock is not believed.
    pub(super) now: Option<u64>,
    pub(super) judge: Arc<Judge>,
    pub(super) protected: Protected,
    pub(super) limits: Limits,
}

impl Lists {
    /// Opens what lies in the state directory.
    pub(super) fn open(state: &Path, settings: Settings, root: Option<String>) -> std::io::Result<Lists> {
        let mut trust = Trust::open(state, root);
        let witness = &mut |list: &List, file: &std::fs::File, kept: &[_]| trust.vouch(list, file, kept);
        let store = Store::open_before(settings, Arc::new(PageCache), witness)?;
        let found = store.warnings().iter().map(|warning| with_causes(warning)).collect();
        let serving = Mutex::new(serving(&store));
        let recent = Arc::new(Mutex::new(Recent::new(impact::MAX_NAMES)));
        let (store, trust) = (Mutex::new(store), Mutex::new(trust));
        Ok(Lists { store, trust, serving, recent, refused: Mutex::default(), retired: Mutex::default(), found })
    }

    /// The lists in force, by id.
    pub(super) fn in_force(&self) -> Vec<Arc<List>> {
        locked(&self.serving).iter().map(|serving| serving.list.clone()).collect()
    }

    /// Those of them that block at `now`: all, but for lists that have been expired for longer than `max_stale`. `None` for a clock that is
    /// not believed, by which nothing ends.
    pub(super) fn blocking(&self, now: Option<u64>, max_stale: Option<u64>) -> Vec<Arc<List>> {
        let stale = |list: &Arc<List>| {
            let ends = list.manifest().expires.zip(max_stale).map(|(expires, stale)| expires.saturating_add(stale));
            ends.zip(now).is_some_and(|(ends, now)| ends <= now)
        };
        self.in_force().into_iter().filter(|list| !stale(list)).collect()
    }

    /// The same in words.
    pub(super) fn shown(&self) -> Vec<Version> {
        locked(&self.serving).iter().map(|serving| version(&serving.list, serving.signers.clone())).collect()
    }

    /// Where names are noted that were let through.
    pub(super) fn recent(&self) -> Arc<Mutex<Recent>> {
        self.recent.clone()
    }

    /// What needs somebody's attention. `now` is `None` while the clock is not believed.
    pub(super) fn warnings(&self, now: Option<u64>, max_stale: Option<u64>) -> Vec<String> {
        let blocking = self.blocking(now, max_stale);
        let mut warnings = self.found.clone();
        let trust = locked(&self.trust);
        warnings.extend(trust.warnings().map(str::to_owned));
        for Serving { list, signers, .. } in locked(&self.serving).iter() {
            let (id, serial) = (&list.manifest().id, list.manifest().serial);
            if list.faults() > 0 {
                warnings.push(format!("list {id} has damaged blocks, which block nothing: push it again"));
            }
            if list.manifest().expires.zip(now).is_some_and(|(expires, now)| expires <= now) {
                let blocks = if blocking.iter().any(|other| Arc::ptr_eq(other, list)) { "blocks on" } else { "BLOCKS NO MORE" };
                warnings.push(format!("list {id} serial {serial} has expired and {blocks}: push a newer one"));
            }
            if trust.revoked(signers) {
                let what = "look at it, then roll back or push a newer one";
                warnings.push(format!("list {id} serial {serial} is signed by a key that has been revoked since: {what}"));
            }
        }
        warnings
    }

    /// Takes a list from the peer, and stores it.
    pub(super) fn push(&self, push: &Push, body: &mut dyn Read, scene: &Scene) -> Reply {
        self.take(push, body, scene).unwrap_or_else(|refusal| self.refuse(push.peer, &refusal))
    }

    fn take(&self, push: &Push, body: &mut dyn Read, scene: &Scene) -> Result<Reply, Refusal> {
        let signatures = push.signatures.iter().map(|text| Signature::read(text)).collect::<Result<Vec<_>, _>>()?;
        let local = is_local(push.peer);
        // What the signatures alone give away is told before the list has come.
        locked(&self.trust).foresee(&signatures, local)?;
        let mut store = locked(&self.store);
        let mut effect = None;
        let mut gate = |arriving: &Arriving<'_>| {
            let kept = locked(&self.trust).admit(arriving, &signatures, local)?;
            impact::protected_names(arriving.list, &scene.protected)?;
            let impact = self.impact(arriving.list, scene);
            let held = impact.judge(scene.limits);
            match (held, push.dry_run, &push.force) {
                (Err(refusal), _, None) => return Err(refusal),
                (Err(refusal), false, Some(why)) => say(&format!("list forced by uid {}: {refusal}; why: {why}", push.peer.uid)),
                _ => {}
            }
            let changes = arriving.in_force.map(|old| diff::walk(old, arriving.list, |_| ())).transpose()?;
            effect = Some(Effect { impact, changes, names: arriving.list.len() });
            Ok(kept)
        };
        if push.dry_run {
            let manifest = store.judge(body, push.octets, scene.now, &mut gate)?;
            let effect = effect.expect("invariant: what was judged has passed the gate");
            return Ok(Reply::done(format!("list {} serial {} would be taken: {effect}", manifest.id, manifest.serial)));
        }
        let list = store.accept_through(body, push.octets, scene.now, &mut gate)?;
        let reply = self.activated(&store, &list);
        let (id, serial) = (&list.manifest().id, list.manifest().serial);
        say(&format!("list {id} serial {serial} pushed by uid {}: {}", push.peer.uid, effect.map_or_else(String::new, |e| e.to_string())));
        Ok(reply)
    }

    /// What the candidate would newly block of what clients asked for lately.
    fn impact(&self, candidate: &List, scene: &Scene) -> Impact {
        let engine = scene.judge.engine();
        let nobody = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let no_matter = |name: &Name| {
            // Blocked already, or let through by a rule that stands above lists.
            let verdict = engine.decide(name, nobody, scene.now.unwrap_or(0), true);
            !matches!(verdict, Verdict::Unlisted | Verdict::BlockingOff | Verdict::Damaged)
                || scene.protected.judge(name, Scope::Exact).is_some()
        };
        impact::assess(&locked(&self.recent), candidate, no_matter)
    }

    /// Goes back to another kept version.
    pub(super) fn rollback(&self, id: Option<String>, serial: Option<u64>, peer: Peer) -> Reply {
        let mut store = locked(&self.store);
        let id = match (id, &store.lists()[..]) {
            (Some(id), _) => id,
            (None, [only]) => only.manifest().id.clone(),
            (None, []) => return Reply::refused("there is no list", "give one with `postern blocklist push FILE`"),
            (None, _) => return Reply::refused("there are several lists", "name one with --list"),
        };
        let mut trust = locked(&self.trust);
        match store.rollback_before(&id, serial, &mut |list, file, kept| trust.vouch(list, file, kept)) {
            Ok(list) => {
                say(&format!("list {id} rolled back to serial {} by uid {}", list.manifest().serial, peer.uid));
                self.activated(&store, &list)
            }
            Err(refusal) => self.refuse(peer, &refusal),
        }
    }

    fn activated(&self, store: &Store, list: &List) -> Reply {
        let (new, mut retired) = (serving(store), locked(&self.retired));
        let old = std::mem::replace(&mut *locked(&self.serving), new.clone());
        for gone in old.iter().filter(|old| !new.iter().any(|new| Arc::ptr_eq(&old.list, &new.list))) {
            let reads = retired.entry(gone.list.manifest().id.clone()).or_default();
            *reads = reads.plus(Reads::of(&gone.list));
        }
        Reply::Activated(version(list, store.signers(&list.manifest().id)))
    }

    fn refuse(&self, peer: Peer, refusal: &Refusal) -> Reply {
        let (reason, what) = (refusal.label(), with_causes(refusal));
        *locked(&self.refused).entry(reason).or_default() += 1;
        say(&format!("list refused: reason={reason} by uid {}: {what}", peer.uid));
        Reply::refused_for(reason, what, refusal.remedy())
    }

    /// All kept versions.
    pub(super) fn versions(&self) -> Reply {
        let kept = |version: blocklist::store::Version| {
            let (names, built) = version.known.unwrap_or_default();
            let blocklist::store::Version { id, serial, file_bytes, active, signers, .. } = version;
            Version { list: id, serial, names, octets: file_bytes, built, active, signers }
        };
        match locked(&self.store).versions() {
            Ok(versions) => Reply::Versions(versions.into_iter().map(kept).collect()),
            Err(error) => Reply::refused(format!("the stored lists cannot be read: {error}"), "look at the state directory"),
        }
    }

    /// Takes a key set, whoever brings it: the root key's signature is what counts.
    pub(super) fn take_keys(&self, octets: u64, signature: &str, body: &mut dyn Read, peer: Peer) -> Reply {
        let mut json = String::new();
        let read = body.take(MAX_KEY_SET as u64 + 1).read_to_string(&mut json);
        if read.is_err() || json.len() as u64 != octets {
            return Reply::refused(format!("the key set ended after {} of {octets} octets, or is no text", json.len()), "push it again");
        }
        match locked(&self.trust).take(&json, signature) {
            Ok(set) => {
                say(&format!("key set {} pushed by uid {}", set.serial, peer.uid));
                Reply::done(format!(
                    "key set {} is in force: {} keys, {} of them must sign each list",
                    set.serial,
                    set.keys.len(),
                    set.needed
                ))
            }
            Err(error) => {
                say(&format!("key set refused by uid {}: {}", peer.uid, with_causes(&error)));
                Reply::refused(with_causes(&error), "")
            }
        }
    }

    /// From now on this is the root key.
    pub(super) fn believe(&self, root: Option<String>) {
        locked(&self.trust).believe(root);
    }

    /// The keys that are known.
    pub(super) fn keys(&self) -> Reply {
        let trust = locked(&self.trust);
        Reply::Keys(Box::new(Keys { root: trust.root().map(str::to_owned), set: trust.set().cloned() }))
    }

    pub(super) fn sample(&self, samples: &mut Samples) {
        // A copy: whoever refuses holds the trust meanwhile, which is asked for below.
        let refused = locked(&self.refused).clone();
        for reason in Refusal::LABELS {
            samples.set(&metrics::LIST_REFUSED, &[reason], refused.get(reason).copied().unwrap_or(0) as f64);
        }
        if let Some(set) = locked(&self.trust).set() {
            samples.set(&metrics::KEY_SET_SERIAL, &[], set.serial as f64);
        }
        let retired = locked(&self.retired);
        for Serving { list, since, .. } in locked(&self.serving).iter() {
            let manifest = list.manifest();
            let id = [manifest.id.as_str()];
            samples.set(&metrics::LIST_ENTRIES, &id, list.len() as f64);
            samples.set(&metrics::LIST_SERIAL, &id, manifest.serial as f64);
            samples.set(&metrics::LIST_BUILT, &id, manifest.created as f64);
            if let Some(since) = since {
                samples.set(&metrics::LIST_ACTIVATED, &id, *since as f64);
            }
            samples.set(&metrics::FILTER_BYTES, &id, list.filter_bytes() as f64);
            let reads = Reads::of(list).plus(retired.get(&manifest.id).copied().unwrap_or_default());
            samples.set(&metrics::FILTER_MAYBES, &id, reads.maybes as f64);
            samples.set(&metrics::FILTER_FALSE_MAYBES, &id, reads.denied as f64);
            samples.set(&metrics::LIST_READ_ERRORS, &id, reads.faults as f64);
            if let Some(expires) = manifest.expires {
                samples.set(&metrics::LIST_EXPIRY, &id, expires as f64);
            }
        }
    }
}

/// Root on this box, or the user that the daemon runs as: who may speak for the box itself.
fn is_local(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == crate::sys::linux::process::effective_uid()
}

fn serving(store: &Store) -> Vec<Serving> {
    let one = |list: Arc<List>| {
        let id = &list.manifest().id;
        Serving { signers: store.signers(id), since: store.activated(id), list }
    };
    store.lists().into_iter().map(one).collect()
}

fn version(list: &List, signers: Vec<String>) -> Version {
    let manifest = list.manifest();
    Version {
        list: manifest.id.clone(),
        serial: manifest.serial,
        names: list.len(),
        octets: list.file_bytes(),
        built: manifest.created,
        active: true,
        signers,
    }
}

/// What a list would do, in words.
struct Effect {
    impact: Impact,
    changes: Option<Counts>,
    names: u64,
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.changes {
            Some(Counts { added, removed, changed, .. }) => write!(f, "{added} names added, {removed} removed, {changed} changed")?,
            None => write!(f, "{} names", self.names)?,
        }
        let Impact { names, clients, .. } = self.impact;
        write!(f, "; newly blocks {names} names asked for lately, by {clients} clients at most")
    }
}
