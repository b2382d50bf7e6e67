//! The decision about one name: an immutable snapshot of everything that has a say.
//!
//! Precedence, in words an operator can say aloud: the box's own records, a timed exception, blocking switched off, policy zones,
//! protected names, allow lists, block lists; the longest match wins inside each. Protected names only ever undo a block, so they are asked once a block
//! list has spoken: a name on no list costs the filters and nothing else, and allocates nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::exception::Exception;
use super::rpz;
use super::verdict::Verdict;
use crate::blocklist::protected::{Held, Protected};
use crate::blocklist::{Action, Entry, List, Lookup, Scope, Suffixes, key};
use crate::wire::Name;

/// What a snapshot is made of.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Names for which the box has records of its own.
    pub local: Vec<Name>,
    /// Timed exceptions, in the order made.
    pub exceptions: Vec<Exception>,
    /// Blocking is off until then, in seconds since 1970; 0 is on.
    pub off_until: u64,
    /// Policy zones, the first that has a name decides; at most 255.
    pub zones: Vec<Arc<rpz::Zone>>,
    /// Names that no list may block.
    pub protected: Arc<Protected>,
    /// Lists in force; at most 255.
    pub lists: Vec<Arc<List>>,
}

/// A snapshot that decides. Cheap to read from many threads; never changed, only replaced.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    generation: u64,
    local: HashSet<Box<[u8]>>,
    /// Places of the exceptions for each suffix hash; keys are compared by their octets.
    exceptions: HashMap<u64, Vec<u32>>,
    keys: Vec<Box<[u8]>>,
    /// When rules of the box end, in order.
    ends: Vec<u64>,
    /// For each list, how its blocks begin to tell of themselves.
    told: Vec<String>,
}

impl Engine {
    /// The snapshot of `parts`. `generation` grows with each: what was judged under an older one is judged again.
    pub fn new(mut parts: Parts, generation: u64) -> Engine {
        parts.lists.truncate(usize::from(u8::MAX));
        parts.zones.truncate(usize::from(u8::MAX));
        let mut exceptions: HashMap<u64, Vec<u32>> = HashMap::new();
        let mut keys = Vec::new();
        for (place, exception) in parts.exceptions.iter().enumerate() {
            let mut own = Vec::new();
            if key::write(&exception.name, &mut own).is_some() {
                exceptions.entry(key::hash(&own)).or_default().push(place as u32);
            }
            keys.push(own.into());
        }
        let mut ends: Vec<u64> = parts.exceptions.iter().filter_map(|e| e.until).chain([parts.off_until]).filter(|&e| e > 0).collect();
        ends.sort_unstable();
        let told = |list: &Arc<List>| format!("blocked: list={} serial={} source=", list.manifest().id, list.manifest().serial);
        let local = parts.local.iter().map(|name| name.wire().into()).collect();
        Engine { local, told: parts.lists.iter().map(told).collect(), parts, generation, exceptions, keys, ends }
    }

    /// Number of this snapshot.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A number that changes whenever a verdict made before may no longer hold: with the snapshot, and when a rule of the box ends.
    /// An allow entry of a list that ends is not seen here; see [`Verdict::ends`].
    pub fn generation_at(&self, now: u64) -> u64 {
        self.generation << 20 | self.ends.partition_point(|&end| end <= now) as u64
    }

    /// The next moment after `now` at which a rule of the box ends, so that verdicts made before no longer hold; `u64::MAX` for never.
    /// Whoever keeps verdicts takes a new snapshot then. Ends of list entries are in [`Verdict::ends`].
    pub fn valid_until(&self, now: u64) -> u64 {
        self.ends.get(self.ends.partition_point(|&end| end <= now)).copied().unwrap_or(u64::MAX)
    }

    /// Whether all clients get the same verdict. Where not, a verdict kept for one client says nothing to another.
    pub fn same_for_all_clients(&self) -> bool {
        self.parts.exceptions.iter().all(|e| e.client.is_none())
    }

    /// What the snapshot was made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The list with this index.
    pub fn list(&self, index: u8) -> Option<&Arc<List>> {
        self.parts.lists.get(usize::from(index))
    }

    /// The policy zone with this index.
    pub fn zone(&self, index: u8) -> Option<&Arc<rpz::Zone>> {
        self.parts.zones.get(usize::from(index))
    }

    /// The exception with this index.
    pub fn exception(&self, index: u32) -> Option<&Exception> {
        self.parts.exceptions.get(index as usize)
    }

    /// Until when blocking is off, in seconds since 1970; 0 is on.
    pub fn off_until(&self) -> u64 {
        self.parts.off_until
    }

    /// Why an entry that reaches `name` does not count; `None` where it does.
    pub fn protection(&self, name: &Name, entry: &Entry) -> Option<Held> {
        self.held(&Suffixes::of(name), entry)
    }

    fn held(&self, name: &Suffixes, entry: &Entry) -> Option<Held> {
        // At its own name an entry is as good as an exact one, whatever protected names lie below.
        let own_name = name.has_whole_name() && usize::from(entry.labels) == name.count();
        let scope = if own_name { Scope::Exact } else { entry.scope };
        let held = self.parts.protected.judge_suffix(name, usize::from(entry.labels), scope)?;
        let accepted = entry.accepted && entry.scope == Scope::Exact && held.can_be_accepted();
        (!accepted).then_some(held)
    }

    /// Decides about `name` asked by `client` at `now` (seconds since 1970; 0 where the clock is not trusted, and nothing ends).
    /// With `may_wait = false` the disk is not waited for: [`Verdict::WouldWait`] asks to be called again where it may be.
    pub fn decide(&self, name: &Name, client: IpAddr, now: u64, may_wait: bool) -> Verdict {
        self.decide_wire(name.wire(), client, now, may_wait)
    }

    /// As [`Engine::decide`], for a name in the form that [`Name::wire`] gives.
    pub fn decide_wire(&self, name: &[u8], client: IpAddr, now: u64, may_wait: bool) -> Verdict {
        if !self.local.is_empty() && self.local.contains(name) {
            return Verdict::Local;
        }
        let suffixes = Suffixes::of_wire(name);
        if let Some(verdict) = self.excepted(&suffixes, client, now) {
            return verdict;
        }
        if self.parts.off_until > now {
            return Verdict::BlockingOff;
        }
        for (index, zone) in self.parts.zones.iter().enumerate() {
            let Some((rule, found)) = zone.find(name).and_then(|rule| Some((rule, zone.rule(rule)?))) else { continue };
            let zone = index as u8;
            return if found.action == rpz::Action::Pass { Verdict::ZonePass { zone, rule } } else { Verdict::ZoneRule { zone, rule } };
        }
        if let Some(verdict) = self.allowed(&suffixes, now, may_wait) {
            return verdict;
        }
        let mut blocked: Option<(u8, Entry)> = None;
        let mut otherwise = Verdict::Unlisted;
        for (list, found) in self.ask(&suffixes, Action::Block, now, may_wait) {
            match found {
                Lookup::Listed(entry) if self.held(&suffixes, &entry).is_some() => otherwise = Verdict::Protected { list, entry },
                Lookup::Listed(entry) if blocked.is_none_or(|(_, longest)| entry.labels > longest.labels) => blocked = Some((list, entry)),
                Lookup::WouldWait => return Verdict::WouldWait,
                Lookup::Corrupt if otherwise == Verdict::Unlisted => otherwise = Verdict::Damaged,
                Lookup::Listed(_) | Lookup::Corrupt | Lookup::NotListed => {}
            }
        }
        blocked.map_or(otherwise, |(list, entry)| Verdict::BlockListed { list, entry })
    }

    /// Whether what `name` resolves to is not held against it: a rule lets it through by name, or it is protected itself.
    pub(super) fn exempts(&self, name: &[u8], verdict: &Verdict) -> bool {
        let protected = || {
            let suffixes = Suffixes::of_wire(name);
            suffixes.has_whole_name() && self.parts.protected.judge_suffix(&suffixes, suffixes.count(), Scope::Exact).is_some()
        };
        verdict.exempts() || protected()
    }

    /// How a block by this list begins to tell of itself.
    pub(super) fn told(&self, list: u8) -> &str {
        self.told.get(usize::from(list)).map_or("blocked", String::as_str)
    }

    fn allowed(&self, suffixes: &Suffixes, now: u64, may_wait: bool) -> Option<Verdict> {
        let mut allowed: Option<(u8, Entry)> = None;
        for (list, found) in self.ask(suffixes, Action::Allow, now, may_wait) {
            match found {
                Lookup::Listed(entry) if allowed.is_none_or(|(_, longest)| entry.labels > longest.labels) => allowed = Some((list, entry)),
                Lookup::WouldWait => return Some(Verdict::WouldWait),
                // A damaged list may have allowed it: what cannot be read blocks nothing.
                Lookup::Corrupt => return Some(Verdict::Damaged),
                Lookup::Listed(_) | Lookup::NotListed => {}
            }
        }
        allowed.map(|(list, entry)| Verdict::AllowListed { list, entry })
    }

    fn ask<'a>(&'a self, name: &'a Suffixes, action: Action, now: u64, may_wait: bool) -> impl Iterator<Item = (u8, Lookup)> + 'a {
        let lists = self.parts.lists.iter().enumerate();
        lists.map(move |(i, list)| (i as u8, list.lookup(name, action, now, may_wait)))
    }

    /// The longest exception that holds for this client now; of equal ones a block for the client alone wins over one for all, and the
    /// later over the earlier.
    fn excepted(&self, name: &Suffixes, client: IpAddr, now: u64) -> Option<Verdict> {
        if self.exceptions.is_empty() {
            return None;
        }
        for labels in (1..=name.count()).rev() {
            let whole = labels == name.count() && name.has_whole_name();
            let Some(places) = self.exceptions.get(&name.hash(labels)) else { continue };
            let holds = |&&place: &&u32| {
                let exception = &self.parts.exceptions[place as usize];
                *self.keys[place as usize] == *name.key(labels)
                    && (whole || exception.scope == Scope::Subtree)
                    && exception.client.is_none_or(|only| only == client)
                    && exception.holds(now)
            };
            let best = places.iter().filter(holds).max_by_key(|&&p| (self.parts.exceptions[p as usize].client.is_some(), p));
            if let Some(&exception) = best {
                return Some(match self.parts.exceptions[exception as usize].action {
                    Action::Allow => Verdict::ExceptionAllow { exception },
                    Action::Block => Verdict::ExceptionBlock { exception },
                });
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
