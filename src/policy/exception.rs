//! Exceptions: names that an operator blocks or lets through for a while, and the switch that stops blocking altogether.
//!
//! They are few, they outrank every list, they end by themselves, and they survive a restart in one small file that is there whole or
//! not at all. Who may make one is for the control socket to say; who made it is kept with it.
#![allow(clippy::disallowed_methods, reason = "the exceptions own their file")]

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::blocklist::moment::rfc3339;
use crate::blocklist::{Action, Scope, durable, key};
use crate::wire::Name;

/// Most exceptions at once: they are made by hand. A list of any size is built and pushed as a list.
pub const MAX_EXCEPTIONS: usize = 10_000;
/// Longest note, in characters.
pub const MAX_WHY: usize = 500;
/// Longest time that blocking may be off, in seconds: a switch that is forgotten comes back within a day.
pub const MAX_OFF: u64 = 24 * 3600;

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The name.
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub name: Name,
    /// The name alone, or all below as well.
    pub scope: Scope,
    /// Block or allow.
    pub action: Action,
    /// When it ends, in seconds since 1970; `None` stays until removed.
    pub until: Option<u64>,
    /// For this client only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Why, in the operator's words.
    pub why: String,
    /// Who made it, as the control socket knows (`uid 1000`).
    pub by: String,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

impl Exception {
    /// Whether it has not ended at `now`; with a clock that is not trusted (0) nothing ends.
    pub fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|end| end > now)
    }

    /// Whether `other` is about the same name, action and client, and so takes its place.
    fn is_replaced_by(&self, other: &Exception) -> bool {
        (&self.name, self.action, self.client) == (&other.name, other.action, other.client)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = if self.scope == Scope::Subtree { " and all below" } else { "" };
        write!(f, "exception: {} {}{reach}", self.action.label(), self.name)?;
        if let Some(client) = self.client {
            write!(f, " for {client}")?;
        }
        if let Some(until) = self.until {
            write!(f, " until {}", rfc3339(until))?;
        }
        write!(f, ", by {}: {}", self.by, self.why)
    }
}

fn write_name<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(name)
}

fn read_name<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// Blocking is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    /// Until when, in seconds since 1970.
    pub until: u64,
    /// Why, in the operator's words.
    pub why: String,
    /// Who said so.
    pub by: String,
}

/// Why an exception is not made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ExceptionError {
    /// The file cannot be written.
    #[error("cannot keep the exception")]
    Io(#[from] io::Error),
    /// As many as there may be.
    #[error("there are {MAX_EXCEPTIONS} exceptions already")]
    TooMany,
    /// The root, or a name with octets that no host name has.
    #[error("{0} cannot be the name of an exception")]
    BadName(Name),
    /// The note is too long.
    #[error("the note is longer than {MAX_WHY} characters")]
    WhyTooLong,
    /// It has ended before it begins.
    #[error("it would have ended already")]
    Ended,
    /// Blocking would be off for too long.
    #[error("blocking can be off for at most {} hours", MAX_OFF / 3600)]
    OffTooLong,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    exceptions: Vec<Exception>,
    #[serde(default)]
    off: Option<Off>,
}

/// The exceptions of a box, with their file.
#[derive(Debug)]
pub struct Exceptions {
    path: PathBuf,
    kept: Kept,
    damaged: Option<String>,
}

/// Format of the file.
const VERSION: u32 = 1;

impl Exceptions {
    /// Reads the file; without one there are no exceptions. A file that makes no sense is put aside as `….damaged` and reported by
    /// [`Exceptions::damaged`]: it must neither stop the start nor be written over.
    ///
    /// # Errors
    /// Where the file is there and cannot be read or put aside.
    pub fn open(path: &Path) -> io::Result<Exceptions> {
        let mut exceptions = Exceptions { path: path.to_owned(), kept: Kept { version: VERSION, ..Kept::default() }, damaged: None };
        match std::fs::read(path) {
            Ok(octets) => match serde_json::from_slice::<Kept>(&octets) {
                Ok(kept) if kept.version <= VERSION && kept.exceptions.len() <= MAX_EXCEPTIONS => exceptions.kept = kept,
                other => {
                    let why = other.map_or_else(|e| e.to_string(), |k| format!("format {} is not known", k.version));
                    let aside = path.with_extension("damaged");
                    std::fs::rename(path, &aside)?;
                    exceptions.damaged = Some(format!("the exceptions cannot be read ({why}); put aside as {}", aside.display()));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(exceptions)
    }

    /// What was wrong with the file at start.
    pub fn damaged(&self) -> Option<&str> {
        self.damaged.as_deref()
    }

    /// All exceptions, in the order made; ended ones may still be among them.
    pub fn all(&self) -> &[Exception] {
        &self.kept.exceptions
    }

    /// The switch, where blocking is off.
    pub fn off(&self) -> Option<&Off> {
        self.kept.off.as_ref()
    }

    /// Adds an exception at `now`; an older one for the same name, action and client goes.
    ///
    /// # Errors
    /// [`ExceptionError`]; nothing has changed then.
    pub fn add(&mut self, exception: Exception, now: u64) -> Result<(), ExceptionError> {
        if key::write(&exception.name, &mut Vec::new()).is_none() {
            return Err(ExceptionError::BadName(exception.name));
        }
        if exception.why.chars().count() > MAX_WHY {
            return Err(ExceptionError::WhyTooLong);
        }
        if !exception.holds(now) {
            return Err(ExceptionError::Ended);
        }
        let mut kept = self.kept.clone();
        kept.exceptions.retain(|e| e.holds(now) && !e.is_replaced_by(&exception));
        if kept.exceptions.len() >= MAX_EXCEPTIONS {
            return Err(ExceptionError::TooMany);
        }
        kept.exceptions.push(exception);
        Ok(self.keep(kept)?)
    }

    /// Removes the exceptions with this action for exactly this name, for all clients; says how many there were.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing has changed then.
    pub fn remove(&mut self, action: Action, name: &Name) -> Result<usize, ExceptionError> {
        let mut kept = self.kept.clone();
        kept.exceptions.retain(|e| e.action != action || e.name != *name);
        let gone = self.kept.exceptions.len() - kept.exceptions.len();
        if gone > 0 {
            self.keep(kept)?;
        }
        Ok(gone)
    }

    /// Takes away what has ended at `now`; says how many there were.
    ///
    /// # Errors
    /// Where the file cannot be written; ended exceptions do not count all the same.
    pub fn sweep(&mut self, now: u64) -> Result<usize, ExceptionError> {
        let mut kept = self.kept.clone();
        kept.exceptions.retain(|e| e.holds(now));
        kept.off = kept.off.filter(|off| off.until > now);
        let gone = self.kept.exceptions.len() - kept.exceptions.len() + usize::from(kept.off != self.kept.off);
        if gone > 0 {
            self.keep(kept)?;
        }
        Ok(gone)
    }

    /// Stops blocking by lists until then; exceptions that block go on.
    ///
    /// # Errors
    /// [`ExceptionError`]; nothing has changed then.
    pub fn switch_off(&mut self, off: Off, now: u64) -> Result<(), ExceptionError> {
        if off.until <= now {
            return Err(ExceptionError::Ended);
        }
        if off.until - now > MAX_OFF {
            return Err(ExceptionError::OffTooLong);
        }
        if off.why.chars().count() > MAX_WHY {
            return Err(ExceptionError::WhyTooLong);
        }
        Ok(self.keep(Kept { off: Some(off), ..self.kept.clone() })?)
    }

    /// Blocks again; says whether blocking was off.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing has changed then.
    pub fn switch_on(&mut self) -> Result<bool, ExceptionError> {
        let was_off = self.kept.off.is_some();
        if was_off {
            self.keep(Kept { off: None, ..self.kept.clone() })?;
        }
        Ok(was_off)
    }

    fn keep(&mut self, kept: Kept) -> io::Result<()> {
        durable::replace(&self.path, &serde_json::to_vec_pretty(&kept)?)?;
        self.kept = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocklist::scratch::Scratch;

    fn exception(name: &str, until: Option<u64>) -> Exception {
        Exception {
            name: name.parse().unwrap(),
            scope: Scope::Subtree,
            action: Action::Block,
            until,
            client: None,
            why: "ticket 7".into(),
            by: "uid 0".into(),
            made: 1,
        }
    }

    #[test]
    fn exceptions_survive_a_restart_and_end_by_themselves() {
        let scratch = Scratch::new();
        let path = scratch.file("exceptions.json");
        let mut exceptions = Exceptions::open(&path).unwrap();
        exceptions.add(exception("a.example", Some(100)), 10).unwrap();
        exceptions.add(exception("b.example", None), 10).unwrap();
        exceptions.add(exception("a.example", Some(200)), 10).unwrap();
        let mut again = Exceptions::open(&path).unwrap();
        assert_eq!(again.all(), exceptions.all());
        assert_eq!(again.all().len(), 2, "the second rule for a.example takes the place of the first");
        assert_eq!((again.sweep(199).unwrap(), again.sweep(200).unwrap()), (0, 1));
        assert_eq!(again.remove(Action::Block, &"b.example".parse().unwrap()).unwrap(), 1);
        assert_eq!(again.remove(Action::Block, &"b.example".parse().unwrap()).unwrap(), 0);
        assert!(Exceptions::open(&path).unwrap().all().is_empty());
    }

    #[test]
    fn the_switch_comes_back_by_itself_and_is_never_thrown_for_long() {
        let scratch = Scratch::new();
        let path = scratch.file("exceptions.json");
        let mut exceptions = Exceptions::open(&path).unwrap();
        let off = |until| Off { until, why: "outage".into(), by: "uid 0".into() };
        assert!(matches!(exceptions.switch_off(off(MAX_OFF + 11), 10), Err(ExceptionError::OffTooLong)));
        exceptions.switch_off(off(600), 10).unwrap();
        assert_eq!(Exceptions::open(&path).unwrap().off(), Some(&off(600)));
        exceptions.sweep(600).unwrap();
        assert_eq!(exceptions.off(), None);
        assert!(!exceptions.switch_on().unwrap(), "it was on already");
    }

    #[test]
    fn nonsense_is_refused_and_nothing_changes() {
        let scratch = Scratch::new();
        let mut exceptions = Exceptions::open(&scratch.file("exceptions.json")).unwrap();
        assert!(matches!(exceptions.add(exception(".", None), 1), Err(ExceptionError::BadName(_))));
        assert!(matches!(exceptions.add(exception("a.example", Some(5)), 5), Err(ExceptionError::Ended)));
        let long = Exception { why: "x".repeat(MAX_WHY + 1), ..exception("a.example", None) };
        assert!(matches!(exceptions.add(long, 1), Err(ExceptionError::WhyTooLong)));
        assert!(exceptions.all().is_empty() && !scratch.file("exceptions.json").exists());
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_reported() {
        let scratch = Scratch::new();
        let path = scratch.file("exceptions.json");
        std::fs::write(&path, b"{\"version\":1,\"exceptions\":[{").unwrap();
        let mut exceptions = Exceptions::open(&path).unwrap();
        assert!(exceptions.damaged().unwrap().contains("exceptions.damaged"));
        exceptions.add(exception("a.example", None), 1).unwrap();
        assert!(scratch.file("exceptions.damaged").exists());
    }
}
