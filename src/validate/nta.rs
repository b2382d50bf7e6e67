//! Negative trust anchors: names below which validation is switched off for a while, and why (RFC 7646).
//!
//! An operator sets one when a zone is broken on its own side and its users must reach it. A trust anchor configured below one takes
//! over again (RFC 7646 section 4). Saving and loading them is the shell's.

use serde::{Deserialize, Serialize};

use crate::wire::Name;

/// The longest life of a negative trust anchor, in seconds: a week (RFC 7646 section 2).
pub const MAX_LIFE_SECONDS: u64 = 7 * 86_400;

/// One negative trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeAnchor {
    /// This name and all below it are not validated.
    pub name: Name,
    /// Why, in the operator's words.
    pub reason: String,
    /// Unix time at which it ends by itself; `None` only for one written in the configuration.
    pub expires: Option<u64>,
}

/// The form in which a negative trust anchor is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    name: String,
    reason: String,
    expires: Option<u64>,
}

impl Serialize for NegativeAnchor {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        Saved { name: self.name.to_string(), reason: self.reason.clone(), expires: self.expires }.serialize(out)
    }
}

impl<'de> Deserialize<'de> for NegativeAnchor {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let saved = Saved::deserialize(input)?;
        let name = saved.name.parse().map_err(serde::de::Error::custom)?;
        Ok(NegativeAnchor { name, reason: saved.reason, expires: saved.expires })
    }
}

/// All negative trust anchors; few, so a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegativeAnchors(Vec<NegativeAnchor>);

impl NegativeAnchors {
    /// None.
    pub fn new() -> NegativeAnchors {
        NegativeAnchors::default()
    }

    /// Adds one, or replaces the one at the same name.
    pub fn add(&mut self, anchor: NegativeAnchor) {
        self.remove(&anchor.name);
        self.0.push(anchor);
    }

    /// Removes the one at exactly `name`; whether there was one.
    pub fn remove(&mut self, name: &Name) -> bool {
        let before = self.0.len();
        self.0.retain(|a| a.name != *name);
        before != self.0.len()
    }

    /// All of them, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = &NegativeAnchor> {
        self.0.iter()
    }

    /// The deepest one in force at `now` (Unix seconds) that covers `name`.
    pub fn covering(&self, name: &Name, now: u64) -> Option<&NegativeAnchor> {
        let in_force = |a: &&NegativeAnchor| a.expires.is_none_or(|end| now < end) && name.is_at_or_below(&a.name);
        self.0.iter().filter(in_force).max_by_key(|a| a.name.label_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(name: &str, expires: Option<u64>) -> NegativeAnchor {
        NegativeAnchor { name: name.parse().unwrap(), reason: "their signer died".into(), expires }
    }

    /// RFC 7646 section 2: they are temporary.
    #[test]
    fn it_covers_its_subtree_until_it_expires() {
        let mut all = NegativeAnchors::new();
        all.add(anchor("broken.example", Some(100)));
        let below: Name = "www.broken.example".parse().unwrap();
        assert_eq!(all.covering(&below, 99).unwrap().reason, "their signer died");
        assert_eq!(all.covering(&below, 100), None);
        assert_eq!(all.covering(&"notbroken.example".parse().unwrap(), 0), None);
        assert!(all.remove(&"broken.example".parse().unwrap()));
        assert_eq!(all.covering(&below, 0), None);
    }

    #[test]
    fn it_survives_being_saved() {
        let mut all = NegativeAnchors::new();
        all.add(anchor("a.example", None));
        all.add(anchor("b.example", Some(7)));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<NegativeAnchors>(&text).unwrap(), all);
    }
}
