//! What decides about names while the daemon runs: the lists in force and the box's own rules, and the judge made from them.

use std::sync::{Arc, Mutex};

use super::judge::Judge;
use super::lists::Lists;
use super::{locked, settings, with_causes};
use crate::blocklist::{Action, Scope};
use crate::config::Config;
use crate::control::api::{Blocking, Reply, Rule, RuleAction};
use crate::control::server::Peer;
use crate::policy::exception::{Exception, ExceptionError, Off};
use crate::policy::{Engine, Exceptions, Parts};
use crate::telemetry::{Metrics, Samples, metrics};
use crate::wire::Name;

/// Lists and rules.
pub(super) struct Policy {
    pub(super) lists: Lists,
    exceptions: Mutex<Exceptions>,
    /// What was found wrong at the start.
    found: Vec<String>,
}

impl Policy {
    pub(super) fn new(lists: Lists, exceptions: Exceptions) -> Policy {
        let found = exceptions.damaged().map(str::to_owned).into_iter().collect();
        Policy { lists, exceptions: Mutex::new(exceptions), found }
    }

    /// The judge with this number, made from what is in force at `now`, `None` while the clock is not believed.
    pub(super) fn judge(&self, config: &Config, metrics: &Metrics, now: Option<u64>, generation: u64) -> Arc<Judge> {
        let exceptions = locked(&self.exceptions);
        let parts = Parts {
            local: config.resolve.records.iter().map(|record| record.owner.clone()).collect(),
            exceptions: exceptions.all().to_vec(),
            off_until: exceptions.off().map_or(0, |off| off.until),
            zones: config.rpz.clone(),
            protected: Arc::new(settings::protected(config)),
            lists: self.lists.blocking(now, config.block.max_stale),
        };
        Arc::new(Judge::new(Engine::new(parts, generation), &config.block.action, config.block.ttl, metrics).noting(self.lists.recent()))
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
            lists: self.lists.shown(),
            block_rules,
            allow_rules,
            off_until: off.map(|off| off.until),
            off_why: off.map(|off| off.why.clone()),
        }
    }

    /// What is exported about lists and rules.
    pub(super) fn sample(&self, samples: &mut Samples, now: u64) {
        for (action, label) in [(RuleAction::Allow, "allow"), (RuleAction::Block, "block")] {
            samples.set(&metrics::EXCEPTIONS, &[label], self.rules(action, now).len() as f64);
        }
        self.lists.sample(samples);
    }

    /// What is wrong with lists and rules, in words. `now` is `None` while the clock is not believed.
    pub(super) fn warnings(&self, config: &Config, now: Option<u64>) -> Vec<String> {
        [self.lists.warnings(now, config.block.max_stale), self.found.clone()].concat()
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

fn refused(error: &ExceptionError) -> Reply {
    Reply::refused(with_causes(error), "")
}
