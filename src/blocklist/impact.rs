//! The impact gate: what a list would do to the names that clients asked for lately, found out before it is in force.
//!
//! [`Recent`] remembers names that were resolved and about how many clients asked for each: bounded, in RAM only, without addresses.
//! [`assess`] replays them against a candidate. A new box has no history; there [`protected_names`] still stands, since the critical
//! list is never empty. Who decides to push on all the same gives a reason, which is kept.

use std::collections::HashMap;
use std::net::IpAddr;

use ahash::RandomState;

use super::file::{List, Lookup, OpenError};
use super::key::Suffixes;
use super::protected::Protected;
use super::refusal::Refusal;
use super::{Action, Scope};
use crate::wire::Name;

/// Names remembered, unless told otherwise: about 8 MiB when full.
pub const MAX_NAMES: usize = 50_000;
/// Names shown in a refusal.
const EXAMPLES: usize = 5;

/// What a list may do without anybody being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Names resolved lately that it may newly block. Default 20: a day's scams are few, a content network is many.
    pub names: u64,
    /// Clients that asked for any one of them. Default 10: what so many ask for is seldom a scam.
    pub clients: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { names: 20, clients: 10 }
    }
}

/// About how many clients: one bit of 64 for each client's keyed hash (linear counting), so that no address is kept.
#[derive(Debug, Clone, Copy, Default)]
struct Clients(u64);

impl Clients {
    fn estimate(self) -> u64 {
        let free = f64::from(self.0.count_zeros()).max(0.5);
        (64.0 * (64.0 / free).ln()).round().max(1.0) as u64
    }
}

/// Names resolved lately and about how many clients asked for each.
#[derive(Debug)]
pub struct Recent {
    hash: RandomState,
    /// Half of the room: when it is full, it becomes `before`, and what was there is forgotten.
    now: HashMap<Name, Clients>,
    before: HashMap<Name, Clients>,
    half: usize,
}

impl Recent {
    /// Room for `names` names.
    pub fn new(names: usize) -> Recent {
        Recent { hash: RandomState::new(), now: HashMap::new(), before: HashMap::new(), half: (names / 2).max(1) }
    }

    /// A client asked for a name that was resolved and let through.
    pub fn note(&mut self, name: &Name, client: IpAddr) {
        let bit = 1u64 << (self.hash.hash_one(client) % 64);
        if let Some(clients) = self.now.get_mut(name) {
            clients.0 |= bit;
            return;
        }
        if self.now.len() >= self.half {
            self.before = std::mem::take(&mut self.now);
        }
        let known = self.before.remove(name).unwrap_or_default();
        self.now.insert(name.clone(), Clients(known.0 | bit));
    }

    /// Names remembered.
    pub fn len(&self) -> usize {
        self.now.len() + self.before.len()
    }

    /// Whether there is no history yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn iter(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.now.iter().chain(&self.before).map(|(name, clients)| (name, clients.estimate()))
    }
}

/// What a candidate would newly block of what was resolved lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impact {
    /// Names.
    pub names: u64,
    /// Clients that asked for the one that most asked for.
    pub clients: u64,
    /// Some of the names, those with most clients first.
    pub examples: Vec<Name>,
}

impl Impact {
    /// Refuses what is above the limits.
    ///
    /// # Errors
    /// [`Refusal::Impact`].
    pub fn judge(&self, limits: Limits) -> Result<(), Refusal> {
        if self.names <= limits.names && self.clients <= limits.clients {
            return Ok(());
        }
        let examples = self.examples.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        Err(Refusal::Impact { names: self.names, clients: self.clients, examples })
    }
}

/// Replays the names of `recent` against `candidate`. `no_matter` says of a listed name that nothing would change for it: it is blocked
/// today, or would be let through all the same (protected, an exception).
pub fn assess(recent: &Recent, candidate: &List, mut no_matter: impl FnMut(&Name) -> bool) -> Impact {
    let mut hit: Vec<(&Name, u64)> = recent
        .iter()
        .filter(|(name, _)| matches!(candidate.lookup(&Suffixes::of(name), Action::Block, 0, true), Lookup::Listed(_)))
        .filter(|(name, _)| !no_matter(name))
        .collect();
    hit.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    Impact {
        names: hit.len() as u64,
        clients: hit.first().map_or(0, |(_, clients)| *clients),
        examples: hit.iter().take(EXAMPLES).map(|(name, _)| (*name).clone()).collect(),
    }
}

/// Refuses a list with block entries at or above protected names that nobody accepted when it was built.
///
/// # Errors
/// [`Refusal::ProtectedName`] with some of them; or the list cannot be read.
pub fn protected_names(list: &List, protected: &Protected) -> Result<(), Refusal> {
    let (mut found, mut count) = (Vec::new(), 0u64);
    for entry in list.entries() {
        let (name, entry) = entry.map_err(|e: OpenError| Refusal::from(e))?;
        if entry.action != Action::Block {
            continue;
        }
        let Some(held) = protected.judge(&name, entry.scope) else { continue };
        if entry.accepted && entry.scope == Scope::Exact && held.can_be_accepted() {
            continue;
        }
        count += 1;
        if found.len() < EXAMPLES {
            found.push(format!("{name} ({held})"));
        }
    }
    match count {
        0 => Ok(()),
        _ if count as usize > found.len() => {
            Err(Refusal::ProtectedName { names: format!("{} and {} more", found.join(", "), count as usize - found.len()) })
        }
        _ => Err(Refusal::ProtectedName { names: found.join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::parse::Reading;
    use crate::blocklist::scratch::{Scratch, build_texts, list};

    fn client(n: u8) -> IpAddr {
        IpAddr::from([192, 168, 1, n])
    }

    #[test]
    fn a_list_that_hits_what_many_ask_for_is_held() {
        let scratch = Scratch::new();
        let mut recent = Recent::new(MAX_NAMES);
        for n in 0..40 {
            recent.note(&"img.cdn.example".parse().unwrap(), client(n));
        }
        recent.note(&"www.scam.example".parse().unwrap(), client(1));
        let small = list(&scratch, "small", "scam.example\n", Reading::default());
        let impact = assess(&recent, &small, |_| false);
        assert_eq!((impact.names, impact.clients), (1, 1));
        impact.judge(Limits::default()).unwrap();
        let wide = list(&scratch, "wide", "scam.example\ncdn.example\n", Reading::default());
        let impact = assess(&recent, &wide, |_| false);
        assert!(impact.names == 2 && (25..60).contains(&impact.clients), "{impact:?}");
        let refusal = impact.judge(Limits::default()).unwrap_err();
        assert!(refusal.to_string().contains("img.cdn.example.") && refusal.label() == "impact", "{refusal}");
        let cdn: Name = "img.cdn.example".parse().unwrap();
        assert_eq!(assess(&recent, &wide, |name| *name == cdn).names, 1, "what is blocked already is nothing new");
    }

    #[test]
    fn the_memory_of_names_is_bounded_and_the_latest_stay() {
        let mut recent = Recent::new(1000);
        for n in 0..50_000u32 {
            recent.note(&format!("n{n}.example").parse().unwrap(), client(1));
            assert!(recent.len() <= 1001);
        }
        assert!((49_600..50_000).all(|n| recent.iter().any(|(name, _)| *name == format!("n{n}.example").parse().unwrap())));
    }

    #[test]
    fn protected_names_are_refused_also_without_any_history() {
        let scratch = Scratch::new();
        let path = scratch.file("bad.plist");
        build_texts(&path, &[("google.com\nfine.google.com\npaypal.com\n", Reading::default())], |_| ());
        let refusal = protected_names(&List::open(&path).unwrap(), &Protected::shipped()).unwrap_err();
        assert_eq!(refusal.label(), "protected_name");
        assert!(refusal.to_string().contains("google.com.") && refusal.to_string().contains("paypal.com."), "{refusal}");
        build_texts(&path, &[("google.com\n", Reading::default())], |o| {
            o.protected = Protected::shipped();
            o.accept.insert("google.com".parse().unwrap());
        });
        protected_names(&List::open(&path).unwrap(), &Protected::shipped()).unwrap();
    }
}
