//! Names that no list may block: public suffixes, shared hosting, the critical list, the post's own names.
//!
//! Public lists do carry `amazon.com`, `pages.dev` and `storage.googleapis.com`. The same judgement is made twice: when a list is
//! built (the entry is held back and printed) and again when a query is decided, whatever list is active. An entry *at* a protected
//! name is held, and a subtree entry *above* one, which would cover it; an entry *below* one (`scam.pages.dev`) is what a list is for.
//! Public suffixes are those of the Public Suffix List with its private section, as compiled into the `psl` crate.
//! Not here: names that protected names resolve through; the impact gate looks at those.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use psl::{Psl as _, Type};

use super::key::{self, Suffixes};
use super::{Scope, parse};
use crate::wire::Name;

/// The critical list that is shipped.
pub const SHIPPED: &str = include_str!("critical.txt");
/// Most names in a critical list or among own names: they are all in RAM.
pub const MAX_NAMES: usize = 100_000;

/// Why an entry is held back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Held {
    /// At or below a name of the post itself, or above one.
    Own,
    /// At a name of the critical list (or below one that protects all below), for the reason given there.
    Critical(Arc<str>),
    /// A registry's suffix, such as `com` or `co.uk`.
    PublicSuffix,
    /// A suffix under which customers of one company have their names, such as `pages.dev`.
    SharedHosting,
    /// A subtree entry that would take this protected name along.
    Covers(Name),
    /// A subtree entry that would take a public suffix along.
    CoversSuffix,
}

impl Held {
    /// Label for JSON and metrics, in snake case.
    pub fn label(&self) -> &'static str {
        match self {
            Held::Own => "own",
            Held::Critical(_) => "critical",
            Held::PublicSuffix => "public_suffix",
            Held::SharedHosting => "shared_hosting",
            Held::Covers(_) => "covers_protected",
            Held::CoversSuffix => "covers_suffix",
        }
    }

    /// Whether an operator may let the entry in, exact only. Own names stay protected whatever anybody accepts.
    pub fn can_be_accepted(&self) -> bool {
        *self != Held::Own
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Own => f.write_str("own name"),
            Held::Critical(why) => write!(f, "critical: {why}"),
            Held::PublicSuffix => f.write_str("public suffix"),
            Held::SharedHosting => f.write_str("shared hosting: each customer has a name below it"),
            Held::Covers(name) => write!(f, "would take {name} along"),
            Held::CoversSuffix => f.write_str("would take a public suffix along"),
        }
    }
}

/// A line of a critical list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CriticalError {
    /// Not a name.
    #[error("line {line}: {text:?}: {reason}")]
    BadName {
        /// Line, from 1.
        line: usize,
        /// The word.
        text: String,
        /// Why.
        reason: parse::Reason,
    },
    /// More than [`MAX_NAMES`].
    #[error("more than {MAX_NAMES} names")]
    TooMany,
}

#[derive(Debug, Clone)]
struct Guard {
    below_too: bool,
    held: Held,
}

/// The protected names of one box.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    guards: HashMap<Box<[u8]>, Guard>,
    /// Keys of all names strictly above a guarded one, with one such name to show.
    above: HashMap<Box<[u8]>, Name>,
    /// Keys of names whose direct children are single machines, although the Public Suffix List takes each for a suffix.
    machines: HashSet<Box<[u8]>>,
    /// Suffixes with this many labels or fewer are looked up; guards are rarely deep.
    deepest: usize,
}

impl Protected {
    /// Public suffixes and the shipped critical list.
    pub fn shipped() -> Protected {
        Protected::with_critical(SHIPPED).expect("invariant: the shipped critical list is read by a test")
    }

    /// Public suffixes and the critical list in `text`: a name a line, then the reason; a dot in front protects all below too, and `!`
    /// says that the names right below are machines of single customers, not suffixes.
    ///
    /// # Errors
    /// The first bad line: a list of protected names is never used in part.
    pub fn with_critical(text: &str) -> Result<Protected, CriticalError> {
        let mut protected = Protected::default();
        protected.add_critical(text)?;
        Ok(protected)
    }

    /// Adds the names of another critical list.
    ///
    /// # Errors
    /// As [`Protected::with_critical`].
    pub fn add_critical(&mut self, text: &str) -> Result<(), CriticalError> {
        let mut reasons: HashSet<Arc<str>> = HashSet::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, why) = line.split_once(char::is_whitespace).unwrap_or((line, "critical"));
            let name = parse::name(word.trim_start_matches(['.', '!'])).map_err(|reason| CriticalError::BadName {
                line: index + 1,
                text: word.to_owned(),
                reason,
            })?;
            if word.starts_with('!') {
                let mut own = Vec::new();
                if key::write(&name, &mut own).is_some() {
                    self.machines.insert(own.into());
                }
                continue;
            }
            let why: Arc<str> = Arc::from(why.trim());
            let why = reasons.get(&why).cloned().unwrap_or_else(|| {
                reasons.insert(why.clone());
                why
            });
            self.add(&name, Guard { below_too: word.starts_with('.'), held: Held::Critical(why) })?;
        }
        Ok(())
    }

    /// Adds names of the post itself: they and all below are never blocked, not even by an accepted entry.
    ///
    /// # Errors
    /// [`CriticalError::TooMany`].
    pub fn add_own<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) -> Result<(), CriticalError> {
        names.into_iter().try_for_each(|name| self.add(name, Guard { below_too: true, held: Held::Own }))
    }

    fn add(&mut self, name: &Name, guard: Guard) -> Result<(), CriticalError> {
        let suffixes = Suffixes::of(name);
        if !suffixes.has_whole_name() || suffixes.count() == 0 {
            return Ok(());
        }
        if self.guards.len() >= MAX_NAMES {
            return Err(CriticalError::TooMany);
        }
        let labels = suffixes.count();
        self.deepest = self.deepest.max(labels);
        for above in 1..labels {
            self.above.entry(suffixes.key(above).into()).or_insert_with(|| name.clone());
        }
        // An own name outranks whatever else is said about it.
        let slot = self.guards.entry(suffixes.key(labels).into()).or_insert_with(|| guard.clone());
        if guard.held == Held::Own {
            *slot = guard;
        }
        Ok(())
    }

    /// How many names the critical list and the own names make.
    pub fn len(&self) -> usize {
        self.guards.len()
    }

    /// Whether only public suffixes are protected.
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Whether an entry at `name` with this scope must be held back, and why.
    pub fn judge(&self, name: &Name, scope: Scope) -> Option<Held> {
        let suffixes = Suffixes::of(name);
        if suffixes.has_whole_name() { self.judge_suffix(&suffixes, suffixes.count(), scope) } else { None }
    }

    /// As [`Protected::judge`], for the suffix with `labels` labels of a name being looked up. Allocates nothing when nothing is held.
    pub fn judge_suffix(&self, suffixes: &Suffixes, labels: usize, scope: Scope) -> Option<Held> {
        if labels == 0 {
            return Some(Held::PublicSuffix);
        }
        let mut held = None;
        for above in 1..=labels.min(self.deepest) {
            if let Some(guard) = self.guards.get(suffixes.key(above))
                && (above == labels || guard.below_too)
            {
                if guard.held == Held::Own {
                    return Some(Held::Own);
                }
                held.get_or_insert_with(|| guard.held.clone());
            }
        }
        let key = suffixes.key(labels);
        if scope == Scope::Subtree
            && let Some(below) = self.above.get(key)
            && self.is_own(below)
        {
            return Some(Held::Own);
        }
        if held.is_some() {
            return held;
        }
        let (mut suffix, deeper) = public_suffix(key);
        if labels > 1 && !self.machines.is_empty() && self.machines.contains(suffixes.key(labels - 1)) {
            suffix = None;
        }
        match (suffix, scope) {
            (Some(held), _) => Some(held),
            (None, Scope::Exact) => None,
            (None, Scope::Subtree) => match self.above.get(key) {
                Some(below) => Some(Held::Covers(below.clone())),
                None => deeper.then_some(Held::CoversSuffix),
            },
        }
    }

    fn is_own(&self, name: &Name) -> bool {
        let mut key = Vec::new();
        key::write(name, &mut key).is_some() && self.guards.get(&key[..]).is_some_and(|g| g.held == Held::Own)
    }
}

/// Whether `key` is itself a public suffix, and whether the Public Suffix List has rules below it.
fn public_suffix(key: &[u8]) -> (Option<Held>, bool) {
    // The list's walk takes one label more than it was given exactly where rules lie deeper, so the end of the labels is watched.
    let mut asked_past_end = false;
    let mut labels = key::labels(key);
    let found = psl::List.find(std::iter::from_fn(|| {
        let next = labels.next();
        asked_past_end |= next.is_none();
        next
    }));
    if found.len + 1 != key.len() {
        return (None, asked_past_end);
    }
    let held = if found.typ == Some(Type::Private) { Held::SharedHosting } else { Held::PublicSuffix };
    (Some(held), asked_past_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn judge(text: &str, scope: Scope) -> Option<&'static str> {
        Protected::shipped().judge(&name(text), scope).map(|h| h.label())
    }

    #[test]
    fn the_names_that_real_lists_carry_are_held() {
        for held in ["amazon.com", "gravatar.com", "storage.googleapis.com", "pages.dev", "google.com", "akamai.net"] {
            assert!(judge(held, Scope::Exact).is_some(), "{held}");
            assert!(judge(held, Scope::Subtree).is_some(), "{held}");
        }
        assert_eq!(judge("com", Scope::Exact), Some("public_suffix"));
        assert_eq!(judge("co.uk", Scope::Subtree), Some("public_suffix"));
        assert_eq!(judge("nosuchtld", Scope::Exact), Some("public_suffix"));
        assert_eq!(judge("gitbook.io", Scope::Exact), Some("shared_hosting"));
        assert_eq!(judge("xn--p1ai", Scope::Exact), Some("public_suffix"));
    }

    /// The list has `*.compute-1.amazonaws.com`, so each rented machine there is a suffix to it: scams live on them.
    #[test]
    fn a_rented_machine_is_no_suffix() {
        assert_eq!(judge("ec2-192-0-2-7.compute-1.amazonaws.com", Scope::Subtree), None);
        assert_eq!(judge("compute-1.amazonaws.com", Scope::Subtree), Some("covers_suffix"));
    }

    #[test]
    fn entries_below_protected_names_are_what_lists_are_for() {
        for fine in ["scam.pages.dev", "evil.s3.amazonaws.com", "post-fee.weebly.com", "usps-redelivery.example"] {
            assert_eq!(judge(fine, Scope::Exact), None, "{fine}");
            assert_eq!(judge(fine, Scope::Subtree), None, "{fine}");
        }
    }

    #[test]
    fn a_subtree_above_a_protected_name_is_held_but_the_name_alone_is_not() {
        let mut protected = Protected::shipped();
        protected.add_critical("deep.house.example\tour supplier").unwrap();
        assert_eq!(protected.judge(&name("house.example"), Scope::Subtree).unwrap().to_string(), "would take deep.house.example. along");
        assert_eq!(protected.judge(&name("house.example"), Scope::Exact), None);
        // compute-1.amazonaws.com is a suffix of the list's private section.
        assert_eq!(Protected::default().judge(&name("amazonaws.com"), Scope::Subtree), Some(Held::CoversSuffix));
    }

    #[test]
    fn a_dot_in_front_protects_all_below_and_own_names_cannot_be_accepted() {
        assert_eq!(judge("anything.post", Scope::Exact), Some("critical"));
        let mut protected = Protected::shipped();
        protected.add_own([&name("poste.example"), &name("www.usps.com")]).unwrap();
        for own in ["poste.example", "a.b.poste.example", "www.usps.com"] {
            let held = protected.judge(&name(own), Scope::Exact).unwrap();
            assert_eq!((held.label(), held.can_be_accepted()), ("own", false));
        }
        assert_eq!(protected.judge(&name("usps.com"), Scope::Subtree), Some(Held::Own));
    }

    #[test]
    fn a_bad_line_refuses_the_whole_critical_list() {
        let error = Protected::with_critical("# fine\ngood.example\tok\nbad..example\tno\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: \"bad..example\": an empty label");
    }
}
