//! What postern remembers: RRsets, delegations, negative answers and failures under the resolver.
//!
//! Nothing here reads a clock or sends a packet: time comes in as an argument, since a fixed start (`resolve::Clock::now`).

pub mod answer;
pub mod nsec;
pub mod rrset;
