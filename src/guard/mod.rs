//! Who is served, how often, and who has proven an address: the checks between reading a query and judging its name.
//!
//! Closed by default: [`acl`] serves loopback, private and directly connected networks only. [`ratelimit`] bounds what one prefix
//! gets over UDP, refusals included, and [`cookie`] lets clients that return our cookie (RFC 7873) pass it. All three are values that
//! workers share without a lock. Imports only [`crate::wire`].

pub mod acl;
pub mod cookie;
pub mod ratelimit;

pub use acl::{Acl, Prefix};
pub use cookie::Cookies;
pub use ratelimit::{Limited, RateLimit};
