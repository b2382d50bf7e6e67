//! The argument tree. Its doc comments are the help texts and the man pages.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The guarded gate at a post's DNS: a resolver that validates, blocks postal scams, and says why.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 120, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 3 the daemon is not running.")]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask a resolver, and show the answer with its reason
    Query(QueryArguments),
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

/// One question.
#[derive(Debug, clap::Args)]
pub struct QueryArguments {
    /// The name
    pub name: String,
    /// The type: A, AAAA, MX, … or TYPE123
    #[arg(value_name = "TYPE", default_value = "A")]
    pub rtype: String,
    /// The resolver: an address, or address:port
    #[arg(long, short, value_name = "ADDRESS", default_value = "127.0.0.1:53")]
    pub server: ServerAddress,
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
