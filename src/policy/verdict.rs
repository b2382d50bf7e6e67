//! What policy says of a name, and why: the one enum behind the EDE, the log line, the metric label and `postern why`.
//!
//! RFC 8914 section 4: code 15, Blocked, is an operator's block; code 4 takes its place where an address is forged, which is for the
//! encoder to know. The texts name the list and the place in it, never a client and never an operator's note.

use super::engine::Engine;
use super::rpz;
use crate::blocklist::Entry;
use crate::blocklist::explain::Explanation;
use crate::blocklist::moment::rfc3339;
use crate::wire::{Ede, Name};

/// EDE code of every block (RFC 8914 section 4.16).
pub const EDE_BLOCKED: u16 = 15;

/// What policy says of a name. `Copy`: lists and exceptions are meant by their place in the [`Engine`] that said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No rule reaches it: resolve.
    Unlisted,
    /// The box has data of its own for the name: answer from that.
    Local,
    /// An exception lets it through, whatever lists say.
    ExceptionAllow {
        /// Index of the exception.
        exception: u32,
    },
    /// An exception blocks it.
    ExceptionBlock {
        /// Index of the exception.
        exception: u32,
    },
    /// Blocking is switched off for a while: no list was asked.
    BlockingOff,
    /// A list blocks it, and the name is protected: let through.
    Protected {
        /// Index of the list.
        list: u8,
        /// The entry that does not count.
        entry: Entry,
    },
    /// A list blocks it and another entry allows it: let through.
    AllowListed {
        /// Index of the list that allows it.
        list: u8,
        /// The entry that allows it.
        entry: Entry,
    },
    /// A list blocks it.
    BlockListed {
        /// Index of the list.
        list: u8,
        /// The entry that blocks it.
        entry: Entry,
    },
    /// A policy zone says what is answered; [`rpz::Action::Pass`] is the next.
    ZoneRule {
        /// Index of the zone.
        zone: u8,
        /// Place of the rule in it.
        rule: u32,
    },
    /// A policy zone lets it through, whatever lists say.
    ZonePass {
        /// Index of the zone.
        zone: u8,
        /// Place of the rule in it.
        rule: u32,
    },
    /// A damaged list might have listed it: let through, and health is red.
    Damaged,
    /// Saying so needs the disk, and the caller may not wait: ask again where it may.
    WouldWait,
}

impl Verdict {
    /// Whether the name is answered with a block.
    pub fn blocks(&self) -> bool {
        matches!(self, Verdict::ExceptionBlock { .. } | Verdict::BlockListed { .. } | Verdict::ZoneRule { .. })
    }

    /// Whether a rule lets the name through by name, so that what it resolves to is not held against it.
    pub fn exempts(&self) -> bool {
        matches!(
            self,
            Verdict::Local
                | Verdict::ExceptionAllow { .. }
                | Verdict::BlockingOff
                | Verdict::ZonePass { .. }
                | Verdict::Protected { .. }
                | Verdict::AllowListed { .. }
        )
    }

    /// Label for metrics, logs and JSON, in snake case.
    pub fn label(&self) -> &'static str {
        match self {
            Verdict::Unlisted => "allowed",
            Verdict::Local => "local",
            Verdict::ExceptionAllow { .. } => "exception_allow",
            Verdict::ExceptionBlock { .. } => "exception_block",
            Verdict::BlockingOff => "blocking_off",
            Verdict::Protected { .. } => "protected",
            Verdict::AllowListed { .. } => "allow_listed",
            Verdict::BlockListed { .. } => "blocked",
            Verdict::ZoneRule { .. } => "policy_zone",
            Verdict::ZonePass { .. } => "policy_zone_pass",
            Verdict::Damaged => "list_damaged",
            Verdict::WouldWait => "would_wait",
        }
    }

    /// The text of the EDE in pieces that are there already: which list, which version, which of its sources. Empty where nothing is
    /// blocked.
    pub fn pieces<'a>(&self, engine: &'a Engine) -> [&'a str; 2] {
        match self {
            Verdict::ExceptionBlock { .. } => ["blocked by the operator of this resolver", ""],
            Verdict::BlockListed { list, entry } => {
                let source = engine.list(*list).and_then(|l| l.manifest().sources.get(usize::from(entry.source)));
                [engine.told(*list), source.map_or("", |s| &s.name)]
            }
            Verdict::ZoneRule { zone, .. } => ["blocked: policy zone ", engine.zone(*zone).map_or("", |zone| &zone.file)],
            _ => ["", ""],
        }
    }

    /// The Extended DNS Error of a block; `None` where nothing is blocked.
    pub fn ede(&self, engine: &Engine) -> Option<Ede> {
        self.blocks().then(|| Ede::new(EDE_BLOCKED, self.pieces(engine).concat()))
    }

    /// When the verdict ends by itself, in seconds since 1970: the end of the entry or exception it rests on.
    pub fn ends(&self, engine: &Engine) -> Option<u64> {
        match self {
            Verdict::AllowListed { entry, .. } | Verdict::BlockListed { entry, .. } | Verdict::Protected { entry, .. } => entry.expires,
            Verdict::ExceptionAllow { exception } | Verdict::ExceptionBlock { exception } => engine.exception(*exception)?.until,
            _ => None,
        }
    }

    /// The verdict on `name` in words, for `postern why` and logs: first what holds, then what it rests on. May read the disk.
    pub fn explain(&self, engine: &Engine, name: &Name) -> Vec<String> {
        let listed = |list: u8, entry: &Entry| match engine.list(list) {
            Some(list) => Explanation::of(list, name, entry).to_string(),
            None => "a list that is no longer in force".to_owned(),
        };
        match self {
            Verdict::Unlisted => vec!["no rule and no list names it".into()],
            Verdict::Local => vec!["answered from this box's own records".into()],
            Verdict::BlockingOff => vec![format!("blocking is off until {}", rfc3339(engine.off_until()))],
            Verdict::ExceptionAllow { exception } | Verdict::ExceptionBlock { exception } => {
                engine.exception(*exception).map_or_else(Vec::new, |e| vec![e.to_string()])
            }
            Verdict::Protected { list, entry } => {
                let why = engine.protection(name, entry).map_or_else(String::new, |held| format!(" ({held})"));
                vec![format!("it is protected{why}, so this does not count:"), listed(*list, entry)]
            }
            Verdict::AllowListed { list, entry } => vec!["an allow entry outranks the block:".into(), listed(*list, entry)],
            Verdict::BlockListed { list, entry } => vec![listed(*list, entry)],
            Verdict::ZoneRule { zone, rule } | Verdict::ZonePass { zone, rule } => {
                let found = engine.zone(*zone).and_then(|zone| Some((&zone.file, zone.rule(*rule)?)));
                found.map_or_else(Vec::new, |(file, rule)| {
                    let what = match rule.action {
                        rpz::Action::Nxdomain => "no such name",
                        rpz::Action::Nodata => "no such record",
                        rpz::Action::Pass => "let through",
                        rpz::Action::Drop => "no answer at all",
                        rpz::Action::Data(_) => "records of its own",
                    };
                    vec![format!("policy zone {file}, line {}: {} gets {what}", rule.line, rule.trigger)]
                })
            }
            Verdict::Damaged => vec!["a list that may name it is damaged on disk; nothing is blocked by a damaged list".into()],
            Verdict::WouldWait => vec!["the list has to be read from disk first".into()],
        }
    }
}
