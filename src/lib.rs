//! postern: the guarded gate at a post's DNS.
//!
//! A validating recursive and forwarding resolver that blocks known postal-scam names, says why, and measures itself.
//! A query walks through rooms; each room decides, and the shell around them owns sockets, threads, files and the wall clock:
//!
//! ```text
//! listen -> decode -> guard -> policy -> cache -> resolve -> validate -> inspect -> respond
//! ```
//!
//! ARCHITECTURE.md has the picture and one paragraph a room; `tests/layers.rs` holds the arrows.

#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::dbg_macro))]

#[cfg(feature = "server")]
pub mod app;
pub mod blocklist;
pub mod cache;
#[cfg(all(feature = "server", feature = "lab"))]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod control;
pub mod guard;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(feature = "server")]
pub mod listen;
#[cfg(feature = "server")]
pub mod outbound;
#[cfg(feature = "plugin")]
pub mod plugin;
pub mod policy;
pub mod resolve;
pub mod respond;
#[cfg(feature = "sensor")]
pub mod sensor;
#[cfg(feature = "server")]
pub mod sys;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod validate;
pub mod wire;
