//! Blocklists: from text files of names to one checked file that answers "is this name listed, and why" without ever guessing.
//!
//! [`parse`] reads the formats, [`protected`] holds back names that must not be blocked, [`build`] writes a `.plist`, [`mod@file`] opens one
//! and looks names up: a Bloom filter in RAM ([`filter`]) says "certainly not" for almost every name, and every maybe is confirmed
//! exactly against a checksummed block of the file. [`store`] keeps the versions a box has taken. What a verdict follows from a listing is for `policy` to say.
//! Not here: client groups, RPZ triggers other than names.

pub mod build;
pub mod diff;
pub mod explain;
pub mod file;
pub mod filter;
pub mod format;
pub mod impact;
pub mod key;
#[cfg(feature = "server")]
pub mod keyring;
#[cfg(feature = "server")]
pub mod keys;
pub mod moment;
pub mod parse;
pub mod protected;
pub mod refusal;
#[cfg(feature = "server")]
pub mod signature;
pub mod store;
#[cfg(feature = "server")]
pub mod trust;

mod block;
mod details;
pub(crate) mod durable;
mod hot;
mod probes;
#[cfg(test)]
pub(crate) mod scratch;
mod sorter;

pub use details::Detail;
pub use file::{Entry, List, Lookup};
pub use key::Suffixes;
pub use protected::Protected;

/// How far an entry reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The name alone.
    Exact,
    /// The name and every name below it.
    Subtree,
}

impl Scope {
    /// `exact` or `subtree`, for output and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Scope::Exact => "exact",
            Scope::Subtree => "subtree",
        }
    }
}

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answer the name with a block.
    Block,
    /// Never block the name because of a list.
    Allow,
}

impl Action {
    /// `block` or `allow`, for output and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Action::Block => "block",
            Action::Allow => "allow",
        }
    }
}
