//! The argument tree. Its doc comments are the help texts and the man pages.

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
