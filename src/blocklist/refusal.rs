//! Why a list is not taken, in one enum: for the log line, the metric label, the exit of `push` and the line that says what to do.
//! Whatever the reason, what was in force goes on.

use std::io;

use super::file::OpenError;
use super::format::{HeaderError, MAX_FILE};
use super::store::MAX_LISTS;

/// Why a list is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The serial is not above the highest ever accepted.
    #[error("list {id} serial {serial} is not newer than {highest}, the highest accepted here")]
    NotNewer {
        /// The list.
        id: String,
        /// Its serial.
        serial: u64,
        /// The highest accepted.
        highest: u64,
    },
    /// So far above the highest that few serials would be left.
    #[error("list {id} serial {serial} is too far above {highest}, the highest accepted here")]
    TooFarAhead {
        /// The list.
        id: String,
        /// Its serial.
        serial: u64,
        /// The highest accepted.
        highest: u64,
    },
    /// It was taken and rolled back since.
    #[error("list {id} serial {serial} was rolled back here")]
    RolledBack {
        /// The list.
        id: String,
        /// Its serial.
        serial: u64,
    },
    /// Its `not_before` lies ahead.
    #[error("list {id} is not valid before {not_before} (seconds since 1970)")]
    NotYetValid {
        /// The list.
        id: String,
        /// From when.
        not_before: u64,
    },
    /// Its `expires` has passed.
    #[error("list {id} expired at {expires} (seconds since 1970)")]
    Expired {
        /// The list.
        id: String,
        /// Since when.
        expires: u64,
    },
    /// It has dates and the clock cannot judge them.
    #[error("list {id} has dates, and the clock is not trusted yet")]
    ClockUntrusted {
        /// The list.
        id: String,
    },
    /// Longer than any list may be.
    #[error("it has more octets than a list may have ({MAX_FILE})")]
    TooLarge,
    /// Fewer octets came than were announced.
    #[error("the list ended after {found} of {stated} octets")]
    CutShort {
        /// Announced.
        stated: u64,
        /// Came.
        found: u64,
    },
    /// Written in a format that needs a newer program.
    #[error("the file needs a reader of format {needed}")]
    WrongFormat {
        /// The oldest format whose readers would do.
        needed: u16,
    },
    /// No sound list file.
    #[error("the file is no sound list")]
    Unsound(#[source] OpenError),
    /// Its id cannot be a file name, or its serial is too large.
    #[error("list id {id:?} or serial {serial} cannot be used")]
    BadIdentity {
        /// The list.
        id: String,
        /// Its serial.
        serial: u64,
    },
    /// More lists than a box takes.
    #[error("{MAX_LISTS} lists are in force already")]
    TooManyLists,
    /// It came without a signature.
    #[error("the list carries no signature")]
    Unsigned,
    /// A signature is no minisign signature, or does not fit the file.
    #[error("signature {key} does not fit the file")]
    BadSignature {
        /// Id of the key that it claims.
        key: String,
    },
    /// Only keys signed that this box does not know.
    #[error("signed by key {key}, which is not known here")]
    UnknownKey {
        /// Id of one of them.
        key: String,
    },
    /// A key that signed has been revoked.
    #[error("signed by key {key}, which has been revoked")]
    RevokedKey {
        /// Its id.
        key: String,
    },
    /// A known key signed what it has no right to.
    #[error("key {key} may not {what}")]
    NotEntitled {
        /// Its id.
        key: String,
        /// What it may not.
        what: String,
    },
    /// Not as many keys as are needed.
    #[error("{have} of {needed} signatures that are needed")]
    TooFewSignatures {
        /// Distinct entitled keys that signed.
        have: usize,
        /// Needed.
        needed: usize,
    },
    /// The signatures were made for another file.
    #[error("the signature is for another file: {what} differs")]
    OtherFile {
        /// What does not agree with the file.
        what: &'static str,
    },
    /// More of it is new or gone than a key that signed may change at once.
    #[error("{percent} % of the list would change, key {key} may change {allowed} %")]
    TooMuchChange {
        /// The key.
        key: String,
        /// Entries new or gone, in percent of the list in force.
        percent: u64,
        /// What it may change.
        allowed: u64,
    },
    /// It would block protected names.
    #[error("it would block protected names: {names}")]
    ProtectedName {
        /// Some of them, with reasons.
        names: String,
    },
    /// It would newly block too much of what was resolved lately.
    #[error("it would newly block {names} names that {clients} clients asked for lately ({examples})")]
    Impact {
        /// Names.
        names: u64,
        /// Clients, at most.
        clients: u64,
        /// Some of the names.
        examples: String,
    },
    /// The box cannot sign with its own key.
    #[error("the key of this box cannot be used: {why}")]
    OwnKey {
        /// Why.
        why: String,
    },
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The file system said no.
    #[error("cannot store the list")]
    Io(#[source] io::Error),
    /// There is no such version to go back to.
    #[error("there is no {} version of list {id} to go back to", if serial.is_some() { "such" } else { "older" })]
    NoSuchVersion {
        /// The list.
        id: String,
        /// The serial asked for.
        serial: Option<u64>,
    },
}

impl Refusal {
    /// Every label, in the order of [`Refusal::place`].
    pub const LABELS: &[&str] = &[
        "not_newer",
        "too_far_ahead",
        "rolled_back",
        "not_yet_valid",
        "expired",
        "clock_untrusted",
        "too_large",
        "cut_short",
        "wrong_format",
        "unsound",
        "bad_identity",
        "too_many_lists",
        "unsigned",
        "bad_signature",
        "unknown_key",
        "revoked_key",
        "not_entitled",
        "too_few_signatures",
        "other_file",
        "too_much_change",
        "protected_name",
        "impact",
        "own_key",
        "disk_full",
        "io",
        "no_such_version",
    ];

    /// Label for metrics, logs and JSON, in snake case.
    pub fn label(&self) -> &'static str {
        Refusal::LABELS[self.place()]
    }

    /// Place of the reason in [`Refusal::LABELS`]. A new reason does not compile until it has one.
    pub fn place(&self) -> usize {
        match self {
            Refusal::NotNewer { .. } => 0,
            Refusal::TooFarAhead { .. } => 1,
            Refusal::RolledBack { .. } => 2,
            Refusal::NotYetValid { .. } => 3,
            Refusal::Expired { .. } => 4,
            Refusal::ClockUntrusted { .. } => 5,
            Refusal::TooLarge => 6,
            Refusal::CutShort { .. } => 7,
            Refusal::WrongFormat { .. } => 8,
            Refusal::Unsound(_) => 9,
            Refusal::BadIdentity { .. } => 10,
            Refusal::TooManyLists => 11,
            Refusal::Unsigned => 12,
            Refusal::BadSignature { .. } => 13,
            Refusal::UnknownKey { .. } => 14,
            Refusal::RevokedKey { .. } => 15,
            Refusal::NotEntitled { .. } => 16,
            Refusal::TooFewSignatures { .. } => 17,
            Refusal::OtherFile { .. } => 18,
            Refusal::TooMuchChange { .. } => 19,
            Refusal::ProtectedName { .. } => 20,
            Refusal::Impact { .. } => 21,
            Refusal::OwnKey { .. } => 22,
            Refusal::DiskFull => 23,
            Refusal::Io(_) => 24,
            Refusal::NoSuchVersion { .. } => 25,
        }
    }

    /// What somebody can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Refusal::NotNewer { .. } => {
                "build the list with a higher --serial; to go back to a kept version use `postern blocklist rollback`"
            }
            Refusal::TooFarAhead { .. } => "build the list with a smaller --serial; seconds since 1970 and dates do",
            Refusal::RolledBack { .. } => {
                "push a version with a higher serial, or lift the rollback with `postern blocklist rollback --serial`"
            }
            Refusal::NotYetValid { .. } => "push it again then, or check the clock",
            Refusal::Expired { .. } => "get a newer version from whoever publishes the list, or check the clock",
            Refusal::ClockUntrusted { .. } => "wait for the clock to be set, or set it",
            Refusal::TooLarge => "split the list",
            Refusal::CutShort { .. } => "push it again",
            Refusal::WrongFormat { .. } => "update postern on this box, or build the list with an older one",
            Refusal::Unsound(_) => "build the list again with `postern blocklist build`, or fetch it again",
            Refusal::BadIdentity { .. } => "build the list again with a usable --id and --serial",
            Refusal::TooManyLists => "merge lists, or remove one",
            Refusal::Unsigned => "sign the list, and push the .minisig files with it",
            Refusal::BadSignature { .. } => "fetch list and signature again; if they still do not fit, somebody changed one of them",
            Refusal::UnknownKey { .. } => "add the key to the key set, if it is one of yours",
            Refusal::RevokedKey { .. } => "have the list signed by a key that is in force",
            Refusal::NotEntitled { .. } => "have the list signed by a key with that right, or give the key the right in the key set",
            Refusal::TooFewSignatures { .. } => "have the list signed by more of the keys in the key set",
            Refusal::OtherFile { .. } => "push the signature that was made for this file",
            Refusal::TooMuchChange { .. } => "look at the differences; sign with a key that may change more",
            Refusal::ProtectedName { .. } => "build the list again without them, or accept each with --accept when building",
            Refusal::Impact { .. } => "look at the names; push with --force and a reason if they are to be blocked",
            Refusal::OwnKey { .. } => {
                "put box.key back from a backup of the state directory, or remove it: lists signed by it must be pushed again then"
            }
            Refusal::DiskFull => "free some space in the state directory",
            Refusal::Io(_) => "look at the state directory and the system log",
            Refusal::NoSuchVersion { .. } => "see `postern blocklist versions`",
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::DiskFull,
            _ => Refusal::Io(error),
        }
    }
}

#[cfg(feature = "server")]
impl From<super::signature::SignerError> for Refusal {
    fn from(error: super::signature::SignerError) -> Refusal {
        match error {
            super::signature::SignerError::Io(error) => Refusal::from(error),
            other => Refusal::OwnKey { why: other.to_string() },
        }
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Refusal {
        match error {
            OpenError::Io(error) => Refusal::from(error),
            OpenError::Header(HeaderError::TooNew { needed }) => Refusal::WrongFormat { needed },
            OpenError::Header(HeaderError::WrongLength { stated, found }) if found < stated => Refusal::CutShort { stated, found },
            OpenError::Header(HeaderError::TooLarge) => Refusal::TooLarge,
            error => Refusal::Unsound(error),
        }
    }
}
