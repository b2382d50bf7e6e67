//! The DNS message on the wire: names, records, RRsets, EDNS, and nothing that knows what they are for.
//!
//! RFC 1035 section 4, RFC 3597 (unknown types), RFC 6891 (EDNS), RFC 8914 (EDE). Everything read here comes from outsiders:
//! every reader is bounded by its slice, no length field is trusted, and a compression pointer may only point backwards.
//! Imports nothing of ours.

pub mod edns;
pub mod encode;
pub mod message;
pub mod name;
pub mod patch;
pub mod presentation;
pub mod query;
pub mod rdata;
pub mod rrset;
pub mod rtype;

pub use edns::{Ede, Edns};
pub use encode::Encoder;
pub use message::{Flags, Malformed, Message, Question, Record};
pub use name::{Name, NameError};
pub use query::{Parsed, Query};
pub use rrset::Rrset;
pub use rtype::{CLASS_IN, Rcode, Rtype};
