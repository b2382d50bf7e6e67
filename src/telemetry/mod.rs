//! What the program says about itself: counters that cost a worker nothing, one table of metrics, and the endpoint that shows them.
//!
//! [`metrics`] is the table: every name, type, unit, label and help text, and `docs/metrics.md` is printed from it. [`count`] holds
//! the counters, one block of plain memory a worker, summed at scrape by [`collect`]. What a room keeps by itself (cache sizes, list
//! serials, forwarder health) comes in through a [`collect::Source`] when somebody scrapes. [`http`] is the endpoint.
//! Rooms never import this module: they return outcomes and the shell counts them.
//! No client address and no name is ever a label.

pub mod collect;
pub mod count;
pub mod http;
pub mod label;
pub mod metrics;
pub mod process;

pub use collect::{Metrics, Samples};
pub use count::{ListSlot, Shared, Worker};
pub use label::{Action, Cache, Dropped, Lookup, Refused, Served, Transport, UpstreamError, Verdict};
