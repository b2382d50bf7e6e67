//! The argument tree. Its doc comments are the help texts and the man pages.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::blocklist::parse::Format;

/// The guarded gate at a post's DNS: a resolver that validates, blocks postal scams, and says why.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 120, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 3 the daemon is not running.")]
pub struct Arguments {
    /// Control socket of the daemon; also $POSTERN_SOCKET
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Resolve, validate and block for this machine, or for a network
    Serve {
        /// Serve the local network: port 53 on all addresses, for private and directly connected networks only
        #[arg(long)]
        lan: bool,
        /// Configuration file; none is needed
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// See it at work on a miniature internet inside this machine
    Demo {
        /// End after the table: exit code 0 if every answer was as expected, else 1
        #[arg(long)]
        once: bool,
        /// Another number gives other names, addresses and keys
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Say what the daemon does with a name, and why: the rule, or the chain of DNSSEC
    Why {
        /// The name
        name: String,
        /// The type
        #[arg(value_name = "TYPE", default_value = "A")]
        rtype: String,
        /// Judge as for this client, not as for this machine
        #[arg(long, value_name = "ADDRESS")]
        client: Option<IpAddr>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how the daemon is
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration again; a bad one is refused and the old one stays
    Reload,
    /// Empty the caches
    Cache {
        /// What to do
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Block names of this box's own choice
    Block {
        /// What to do
        #[command(subcommand)]
        verb: RuleVerb,
    },
    /// Allow names, whatever a list says
    Allow {
        /// What to do
        #[command(subcommand)]
        verb: RuleVerb,
    },
    /// Switch blocking off for a while, or on
    Blocking {
        /// What to do
        #[command(subcommand)]
        verb: BlockingVerb,
    },
    /// Stop validating a broken zone for a while, and show those that are not validated
    Nta {
        /// What to do
        #[command(subcommand)]
        verb: NtaVerb,
    },
    /// Ask a resolver, and show the answer with its reason
    Query(QueryArguments),
    /// Watch DNS on the wire as a bystander
    #[cfg(feature = "sensor")]
    Sensor {
        /// What to do
        #[command(subcommand)]
        verb: super::sensor::SensorVerb,
    },
    /// Build lists of names to block, and look at them
    Blocklist {
        /// What to do
        #[command(subcommand)]
        verb: BlocklistVerb,
    },
    /// Keep the keys that sign lists
    Keys {
        /// What to do
        #[command(subcommand)]
        verb: KeysVerb,
    },
    /// Show who changed what and when, or prove that the record is whole
    Log {
        /// What to do
        #[command(subcommand)]
        verb: LogVerb,
    },
    /// Check a configuration, show what it means, or list every key
    Config {
        /// What to do with it
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Write postern.1, postern-serve.1, … here instead of printing the first
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// A span of time: 90s, 30m, 24h or 7d.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl std::str::FromStr for Seconds {
    type Err = String;
    fn from_str(text: &str) -> Result<Seconds, String> {
        let split = text.len() - usize::from(text.ends_with(|c: char| c.is_ascii_alphabetic()));
        let unit = match &text[split..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => 0,
        };
        let seconds = text[..split].parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|&seconds| seconds > 0);
        seconds.map(Seconds).ok_or_else(|| "write a number and s, m, h or d, such as 24h".into())
    }
}

/// What to do with the box's own rules.
#[derive(Debug, Subcommand)]
pub enum RuleVerb {
    /// Add a rule, or replace the one for this name
    Add(RuleArguments),
    /// Show the rules
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a rule away
    Remove {
        /// The name
        name: String,
    },
}

/// One rule.
#[derive(Debug, clap::Args)]
pub struct RuleArguments {
    /// The name
    pub name: String,
    /// End by itself after this time: 90s, 30m, 24h, 7d; without it the rule stays
    #[arg(long = "for", value_name = "TIME")]
    pub seconds: Option<Seconds>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// The name alone, not the names below it
    #[arg(long, conflicts_with = "subtree")]
    pub exact: bool,
    /// The name and all names below it (the default)
    #[arg(long)]
    pub subtree: bool,
}

/// Switching blocking off and on.
#[derive(Debug, Subcommand)]
pub enum BlockingVerb {
    /// Block nothing for a while
    Off {
        /// How long: 90s, 30m, 24h, 7d
        #[arg(long = "for", value_name = "TIME")]
        seconds: Seconds,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Block again
    On,
}

/// What to do with the caches.
#[derive(Debug, Subcommand)]
pub enum CacheVerb {
    /// Forget a name with all names below it, or everything
    Flush {
        /// The name
        name: Option<String>,
    },
}

/// What to do with negative trust anchors.
#[derive(Debug, Subcommand)]
pub enum NtaVerb {
    /// Do not validate a zone and all below it, because it is known to be broken (RFC 7646)
    Add {
        /// The zone
        zone: String,
        /// How long, 7d at most: 90s, 30m, 24h, 7d
        #[arg(long = "for", value_name = "TIME")]
        seconds: Seconds,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// Validate a zone again
    Remove {
        /// The zone
        zone: String,
    },
    /// Show those in force, with reason and end
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with lists.
#[derive(Debug, Subcommand)]
pub enum BlocklistVerb {
    /// Build a list file from files of names
    Build(Box<BuildArguments>),
    /// Check a list file and show what it says about itself
    Show {
        /// The list file
        file: PathBuf,
        /// Print every name with its action, reach and origin
        #[arg(long)]
        names: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign a list file: FILE.minisig, and FILE.KEYID.minisig for each further key
    Sign {
        /// The list file
        file: PathBuf,
        /// Secret key, as `postern keys add` or minisign made it; may be given several times
        #[arg(long = "key", required = true, value_name = "FILE")]
        keys: Vec<PathBuf>,
        /// File with the password of keys that have one
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Hand a list file with the signatures beside it to the daemon, which keeps it and blocks by it from then on
    Push {
        /// The list file
        file: PathBuf,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Push although it would newly block much of what was asked for lately
        #[arg(long, requires = "why")]
        force: bool,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Show the versions that the daemon keeps
    Versions {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to an older version
    Rollback {
        /// Its serial; without it the one before the active one
        serial: Option<u64>,
        /// Id of the list, where the daemon has several
        #[arg(long, value_name = "ID")]
        list: Option<String>,
    },
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum LogVerb {
    /// Show the entries, oldest first
    Show {
        /// Only so many of the newest
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// Print the lines as they are kept
        #[arg(long)]
        json: bool,
    },
    /// Check that nothing was changed or taken out
    Verify {
        /// A copy of the log; without it the daemon's own
        file: Option<PathBuf>,
        /// Number and hash of an entry, or the first 12 digits, as they were noted elsewhere: 17:8f3a…; it must still be there
        #[arg(long, value_name = "N:HASH")]
        head: Option<String>,
    },
}

/// What to do with keys. FOLDER is the curator's: root key and key set, kept off the network.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Make a root key and an empty key set
    Init {
        /// The folder; made if missing
        folder: PathBuf,
        /// Keys that must sign each list
        #[arg(long, value_name = "N", default_value_t = 1)]
        needed: usize,
    },
    /// Add a key to the key set
    Add(Box<KeysAdd>),
    /// Show the keys of a folder, or those that the daemon knows
    List {
        /// The folder
        folder: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key for ever
    Revoke {
        /// The folder
        folder: PathBuf,
        /// Id of the key, or its owner
        key: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Keys that must sign each list from now on
        #[arg(long, value_name = "N")]
        needed: Option<usize>,
    },
    /// Copy the folder and prove that the copy works
    Backup {
        /// The folder
        folder: PathBuf,
        /// Where to; made if missing
        to: PathBuf,
    },
    /// Hand the key set to the daemon, so that a new key or a revocation counts there
    Push {
        /// The folder; only the key set and its signature are read
        folder: PathBuf,
    },
}

/// One key to add.
#[derive(Debug, clap::Args)]
pub struct KeysAdd {
    /// The folder
    pub folder: PathBuf,
    /// Whose key it is
    #[arg(long, value_name = "NAME")]
    pub owner: String,
    /// Id of a list that it may sign; may be given several times
    #[arg(long = "list", value_name = "ID", required = true)]
    pub lists: Vec<String>,
    /// Make a key in this new file; its public half goes beside it, ending in .pub
    #[arg(long, value_name = "FILE", conflicts_with = "public")]
    pub new: Option<PathBuf>,
    /// A public key that is there already, or the file that holds it
    #[arg(long, value_name = "KEY")]
    pub public: Option<String>,
    /// It may not sign lists that block
    #[arg(long)]
    pub no_block: bool,
    /// It may sign lists that allow
    #[arg(long)]
    pub allow: bool,
    /// Share of a list that it may change at once
    #[arg(long, value_name = "PERCENT")]
    pub largest_change: Option<u64>,
    /// Keys that must sign each list from now on
    #[arg(long, value_name = "N")]
    pub needed: Option<usize>,
}

/// How to build a list.
#[derive(Debug, clap::Args)]
pub struct BuildArguments {
    /// Files of names: hosts files (`0.0.0.0 name`, exact names) or one name a line (with all names below); - is standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Write the list here
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Id of the list; the name of the output file without its ending
    #[arg(long)]
    pub id: Option<String>,
    /// Serial; must grow with every update. Default: seconds since 1970
    #[arg(long)]
    pub serial: Option<u64>,
    /// Block each name alone, whatever the format
    #[arg(long, conflicts_with = "subtree")]
    pub exact: bool,
    /// Block each name with all names below it, whatever the format
    #[arg(long)]
    pub subtree: bool,
    /// Read the files as this format instead of looking at their first lines
    #[arg(long)]
    pub format: Option<FormatWord>,
    /// File of names that the list allows, whatever it blocks; may be given several times
    #[arg(long, value_name = "FILE")]
    pub allow: Vec<PathBuf>,
    /// Let this protected name in, exact only; may be given several times
    #[arg(long, value_name = "NAME")]
    pub accept: Vec<String>,
    /// A name of the post itself, never to be blocked with all below it; may be given several times
    #[arg(long, value_name = "NAME")]
    pub own: Vec<String>,
    /// Critical names from this file instead of the shipped ones
    #[arg(long, value_name = "FILE")]
    pub critical: Option<PathBuf>,
    /// Boxes accept the list for so many days
    #[arg(long, value_name = "DAYS")]
    pub expires_days: Option<u64>,
    /// Boxes accept the list only after so many days
    #[arg(long, value_name = "DAYS")]
    pub not_before_days: Option<u64>,
    /// What the list is for and whom to write to
    #[arg(long, value_name = "TEXT")]
    pub about: Option<String>,
    /// Sign it with this secret key; may be given several times
    #[arg(long, value_name = "FILE")]
    pub sign: Vec<PathBuf>,
    /// Print all lines left out and names held back, not only the first
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Formats of files of names.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum FormatWord {
    /// `0.0.0.0 name name`, exact names
    Hosts,
    /// One name a line, with all names below it
    Plain,
    /// One JSON object a line, with provenance
    Jsonl,
}

impl From<FormatWord> for Format {
    fn from(word: FormatWord) -> Format {
        match word {
            FormatWord::Hosts => Format::Hosts,
            FormatWord::Plain => Format::Plain,
            FormatWord::Jsonl => Format::Jsonl,
        }
    }
}

/// One question.
#[derive(Debug, clap::Args)]
pub struct QueryArguments {
    /// The name
    pub name: String,
    /// The type: A, AAAA, MX, … or TYPE123
    #[arg(value_name = "TYPE", default_value = "A")]
    pub rtype: String,
    /// The resolver: an address, or address:port; without it the running daemon, else 127.0.0.1
    #[arg(long, short, value_name = "ADDRESS")]
    pub server: Option<ServerAddress>,
    /// Ask over TCP
    #[arg(long)]
    pub tcp: bool,
    /// Ask for the signatures too (DO)
    #[arg(long)]
    pub dnssec: bool,
    /// Ask for the data even where its proof is broken (CD)
    #[arg(long)]
    pub cd: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An address; port 53 where none is written.
#[derive(Debug, Clone, Copy)]
pub struct ServerAddress(pub SocketAddr);

impl std::str::FromStr for ServerAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<ServerAddress, String> {
        let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        bare.or_else(|_| text.parse()).map(ServerAddress).map_err(|_| "write an address, or address:port such as 127.0.0.1:5300".into())
    }
}

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Check a file: every problem at once, with its line; exit code 2 if there is one
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print every key with the value it has in a file, or its default
    Show {
        /// The file; without one the defaults
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every key with its form, default, unit and reason
    Schema {
        /// Print JSON
        #[arg(long, conflicts_with = "toml")]
        json: bool,
        /// Print a whole configuration file with the defaults
        #[arg(long)]
        toml: bool,
    },
}
