//! Whose lists count, against the built binary: signing, pushing, every refusal, kills and restarts. What served before goes on serving.

#![allow(clippy::disallowed_methods, reason = "a test owns files and processes")]

mod audit;
mod ceremony;
mod curator;
#[path = "../daemon/mod.rs"]
mod daemon;
mod refusals;
mod store;
