//! DNSSEC validation: from a trust anchor to a verdict with a reason (RFC 4033 to 4035, 5155, 6840, 9276).
//!
//! Zone cuts are found by the iterator and handed in; nothing here sends a query by itself except through [`chain`]'s source.
//! Imports only [`crate::wire`].

pub mod status;

pub use status::{Bogus, Insecurity, Status};
