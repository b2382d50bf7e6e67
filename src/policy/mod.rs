//! Whether a name may be resolved: the box's own rules, its exceptions, policy zones, protected names, allow and block lists, in this
//! order.
//!
//! [`Engine`] is an immutable snapshot that workers read through one pointer; [`Live`] holds the pointer and makes the next snapshot
//! when a rule or a list changes. [`Verdict`] is the one enum of reasons behind the EDE, the log line, the metric label and
//! `postern why`. How a blocked answer looks is `respond`'s; which lists are taken is `blocklist::store`'s.
//! Not here yet: client groups, schedules.

pub mod engine;
pub mod exception;
pub mod inspect;
pub mod live;
pub mod rpz;
pub mod verdict;

pub use engine::{Engine, Parts};
pub use exception::{Exception, Exceptions};
pub use live::Live;
pub use verdict::Verdict;
