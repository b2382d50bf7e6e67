//! An entry in words, for `why`, for logs and for the page that a blocked person sees.

use std::fmt;

use super::details::Detail;
use super::file::{Entry, List};
use super::moment::rfc3339;
use super::{Action, Scope};
use crate::wire::Name;

/// Where an entry comes from, as far as its list knows. Serialises for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// Name of the entry, which may be above the name asked for.
    pub entry: String,
    /// Id of the list.
    pub list: String,
    /// Serial of the list.
    pub serial: u64,
    /// Block or allow.
    pub action: Action,
    /// How far the entry reaches.
    pub scope: Scope,
    /// File that the list was built from.
    pub source: String,
    /// Line in it.
    pub line: u32,
    /// Let in by the curator although the name is protected.
    pub accepted: bool,
    /// When the name was first seen, in seconds since 1970.
    pub first_seen: Option<u64>,
    /// When the entry ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// What the curator knows besides.
    #[serde(flatten)]
    pub detail: Detail,
}

impl Explanation {
    /// Explains the entry of `list` that reached `name`. Reads the file where the entry has details.
    pub fn of(list: &List, name: &Name, entry: &Entry) -> Explanation {
        let manifest = list.manifest();
        Explanation {
            entry: name.suffix(usize::from(entry.labels)).to_string(),
            list: manifest.id.clone(),
            serial: manifest.serial,
            action: entry.action,
            scope: entry.scope,
            source: manifest.sources.get(usize::from(entry.source)).map_or_else(String::new, |s| s.name.clone()),
            line: entry.line,
            accepted: entry.accepted,
            first_seen: entry.first_seen,
            expires: entry.expires,
            detail: list.detail(entry).ok().flatten().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = match self.scope {
            Scope::Exact => "",
            Scope::Subtree => " and all below",
        };
        write!(
            f,
            "list {} (serial {}): {} {}{reach}, {} line {}",
            self.list,
            self.serial,
            self.action.label(),
            self.entry,
            self.source,
            self.line
        )?;
        for (label, text) in [
            ("reason", &self.detail.reason),
            ("campaign", &self.detail.campaign),
            ("reported by", &self.detail.submitter),
            ("see", &self.detail.reference),
        ] {
            if let Some(text) = text {
                write!(f, "; {label}: {text}")?;
            }
        }
        if let Some(expires) = self.expires {
            write!(f, "; until {}", rfc3339(expires))?;
        }
        Ok(())
    }
}
