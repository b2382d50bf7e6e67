//! What decides about names while the daemon runs: the stored lists and the box's own rules, and the judge made from them.

use std::io::Read;
use std::sync::{Arc, Mutex};

use super::judge::Judge;
use super::{locked, settings};
use crate::blocklist::store::{Refusal, Store};
use crate::blocklist::{self, Action, List, Scope};
use crate::config::Config;
use crate::control::api::{Blocking, Reply, Rule, RuleAction, Version};
use crate::control::server::Peer;
use crate::policy::exception::{Exception, ExceptionError, Off};
use crate::policy::{Engine, Exceptions, Parts};
use crate::telemetry::Metrics;
use crate::wire::Name;

/// Lists and rules. A push may take long to arrive and holds the store alone; nobody else waits for it.
pub(super) struct Policy {
    store: Mutex<Store>,
    exceptions: Mutex<Exceptions>,
    /// The store's lists in force.
    lists: Mutex<Vec<Arc<List>>>,
    /// What was found wrong at the start.
    found: Vec<String>,
}

impl Policy {
    pub(super) fn new(store: Store, exceptions: Exceptions) -> Policy {
        let mut found: Vec<String> = store.warnings().iter().map(|warning| with_causes(warning)).collect();
        found.extend(exceptions.damaged().map(str::to_owned));
        let lists = Mutex::new(store.lists());
        Policy { store: Mutex::new(store), exceptions: Mutex::new(exceptions), lists, found }
    }

    /// The judge with this number, made from what is in force now.
    pub(super) fn judge(&self, config: &Config, metrics: &Metrics, generation: u64) -> Arc<Judge> {
        let exceptions = locked(&self.exceptions);
        let parts = Parts {
            local: config.resolve.records.iter().map(|record| record.owner.clone()).collect(),
            exceptions: exceptions.all().to_vec(),
            off_until: exceptions.off().map_or(0, |off| off.until),
            protected: Arc::new(settings::protected(config)),
            lists: self.lists(),
        };
        Arc::new(Judge::new(Engine::new(parts, generation), &config.block.action, config.block.ttl, metrics))
    }

    pub(super) fn lists(&self) -> Vec<Arc<List>> {
        locked(&self.lists).clone()
    }

    /// The box's own rules in force at `now`.
    pub(super) fn rules(&self, action: RuleAction, now: u64) -> Vec<Rule> {
        let ours = |e: &&Exception| e.action == action_of(action) && e.holds(now);
        let rule = |e: &Exception| Rule {
            name: e.name.to_string(),
            subtree: e.scope == Scope::Subtree,
            until: e.until,
            why: e.why.clone(),
            by: e.by.clone(),
            made: e.made,
        };
        locked(&self.exceptions).all().iter().filter(ours).map(rule).collect()
    }

    pub(super) fn blocking(&self, now: u64) -> Blocking {
        let (block_rules, allow_rules) = (self.rules(RuleAction::Block, now).len(), self.rules(RuleAction::Allow, now).len());
        let exceptions = locked(&self.exceptions);
        let off = exceptions.off().filter(|off| off.until > now);
        Blocking {
            lists: self.lists().iter().map(|list| version(list)).collect(),
            block_rules,
            allow_rules,
            off_until: off.map(|off| off.until),
            off_why: off.map(|off| off.why.clone()),
        }
    }

    /// What is wrong with lists and rules, in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.found.clone();
        for list in self.lists().iter().filter(|list| list.faults() > 0) {
            warnings.push(format!("list {} has damaged blocks, which block nothing: push it again", list.manifest().id));
        }
        warnings
    }

    /// Takes a list from the peer, and stores it.
    pub(super) fn push(&self, octets: u64, body: &mut dyn Read, now: Option<u64>) -> Reply {
        let mut store = locked(&self.store);
        let result = store.accept(body, octets, now);
        *locked(&self.lists) = store.lists();
        activated(result)
    }

    pub(super) fn rollback(&self, id: Option<String>, serial: Option<u64>) -> Reply {
        let mut store = locked(&self.store);
        let id = match (id, &store.lists()[..]) {
            (Some(id), _) => id,
            (None, [only]) => only.manifest().id.clone(),
            (None, []) => return Reply::refused("there is no list", "give one with `postern blocklist push FILE`"),
            (None, _) => return Reply::refused("there are several lists", "name one with --list"),
        };
        let result = store.rollback(&id, serial);
        *locked(&self.lists) = store.lists();
        activated(result)
    }

    pub(super) fn versions(&self) -> Reply {
        let kept = |version: blocklist::store::Version| {
            let (names, built) = version.known.unwrap_or_default();
            let blocklist::store::Version { id, serial, file_bytes, active, .. } = version;
            Version { list: id, serial, names, octets: file_bytes, built, active }
        };
        match locked(&self.store).versions() {
            Ok(versions) => Reply::Versions(versions.into_iter().map(kept).collect()),
            Err(error) => Reply::refused(format!("the stored lists cannot be read: {error}"), "look at the state directory"),
        }
    }

    pub(super) fn add(&self, rule: NewRule, peer: Peer, now: u64) -> Reply {
        let NewRule { action, name, subtree, seconds, why } = rule;
        let exception = Exception {
            scope: if subtree { Scope::Subtree } else { Scope::Exact },
            action: action_of(action),
            until: seconds.map(|seconds| now.saturating_add(seconds)),
            client: None,
            why,
            by: by(peer),
            made: now,
            name,
        };
        let said = format!(
            "{} is {} {}",
            exception.name,
            match action {
                RuleAction::Block => "blocked",
                RuleAction::Allow => "allowed",
            },
            seconds.map_or("until you remove the rule".to_owned(), |seconds| format!("for {seconds} seconds"))
        );
        match locked(&self.exceptions).add(exception, now) {
            Ok(()) => Reply::done(said),
            Err(error) => refused(&error),
        }
    }

    pub(super) fn remove(&self, action: RuleAction, name: &Name) -> Reply {
        match locked(&self.exceptions).remove(action_of(action), name) {
            Ok(0) => Reply::refused(format!("there is no such rule for {name}"), "the list of rules shows how they are written"),
            Ok(_) => Reply::done(format!("the rule for {name} is gone")),
            Err(error) => refused(&error),
        }
    }

    pub(super) fn switch_off(&self, seconds: u64, why: String, peer: Peer, now: u64) -> Reply {
        match locked(&self.exceptions).switch_off(Off { until: now.saturating_add(seconds), why, by: by(peer) }, now) {
            Ok(()) => Reply::done(format!("NOTHING IS BLOCKED by any list for {seconds} seconds; `postern blocking on` ends it")),
            Err(error) => refused(&error),
        }
    }

    pub(super) fn switch_on(&self) -> Reply {
        match locked(&self.exceptions).switch_on() {
            Ok(true) => Reply::done("blocking is on again"),
            Ok(false) => Reply::done("blocking was on already"),
            Err(error) => refused(&error),
        }
    }

    /// Takes away what has ended; says whether there was anything.
    pub(super) fn sweep(&self, now: u64) -> bool {
        // What cannot be written now is swept next time; it has ended all the same.
        locked(&self.exceptions).sweep(now).is_ok_and(|gone| gone > 0)
    }
}

/// A rule as it is asked for.
pub(super) struct NewRule {
    pub(super) action: RuleAction,
    pub(super) name: Name,
    pub(super) subtree: bool,
    pub(super) seconds: Option<u64>,
    pub(super) why: String,
}

fn action_of(action: RuleAction) -> Action {
    match action {
        RuleAction::Block => Action::Block,
        RuleAction::Allow => Action::Allow,
    }
}

/// The peer as it is kept with a rule.
fn by(peer: Peer) -> String {
    format!("uid {}", peer.uid)
}

fn activated(result: Result<Arc<List>, Refusal>) -> Reply {
    match result {
        Ok(list) => Reply::Activated(version(&list)),
        Err(refusal) => Reply::refused(with_causes(&refusal), refusal.remedy()),
    }
}

fn refused(error: &ExceptionError) -> Reply {
    Reply::refused(with_causes(error), "")
}

fn version(list: &List) -> Version {
    let manifest = list.manifest();
    Version {
        list: manifest.id.clone(),
        serial: manifest.serial,
        names: list.len(),
        octets: list.file_bytes(),
        built: manifest.created,
        active: true,
    }
}

/// An error with what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
