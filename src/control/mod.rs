//! The control socket: how the command line and other local programs talk to the running daemon.
//!
//! One request a connection: a line of JSON ([`api::Request`]), for a list push followed by the announced octets; then one line of
//! JSON back ([`api::Reply`]). Who asks is what the kernel says of the peer (SO_PEERCRED), and it is recorded with every change.
//! Remote control is not here: the socket is a file, and its permissions are the access list.

pub mod api;
pub mod audit;
pub mod client;
pub mod server;

pub use api::{Reply, Request};
