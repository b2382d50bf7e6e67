//! The built daemon over real sockets. Waiting is for a line or an answer, never for a time.

#![allow(clippy::disallowed_methods, reason = "a test of sockets and files")]

mod claims;
#[path = "../daemon/mod.rs"]
mod daemon;
mod keeping;
mod life;
mod limits;
mod namespaces;
mod policy_zone;
mod resolving;
mod sha1;
mod validating;
mod world;
