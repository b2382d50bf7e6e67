//! The composition root: builds the rooms from the configuration, starts them, orders reload and the end.

#![allow(clippy::disallowed_methods, reason = "the shell owns files, sockets and the wall clock")]

pub mod holder;
pub mod lock;
pub mod notify;
pub mod place;
pub mod ports;
