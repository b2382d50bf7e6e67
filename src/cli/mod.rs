//! The command line: arguments to calls, replies to text or JSON, results to exit codes.
//!
//! One file a command. Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 3 the daemon is not running.

#![allow(clippy::disallowed_methods, reason = "the command line belongs to the shell")]

mod args;
mod blocklist;
mod config;
mod daemon;
mod demo;
mod keys;
mod log;
mod query;
mod render;
#[cfg(feature = "sensor")]
mod sensor;
mod shell;
mod sign;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use args::Arguments;
use args::Verb;

use crate::app::{self, Options, StartError};
use crate::control::api::{Request, RuleAction};

/// Why a command did not succeed; each variant is an exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: it was tried and did not work.
    Failed(anyhow::Error),
    /// 0: the reader of our output went away.
    Pipe,
    /// 2: bad usage or configuration.
    Usage(String),
    /// 3: no daemon answers at this control socket.
    #[allow(dead_code, reason = "built by the commands that ask the daemon")]
    NotRunning(String),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        match error.downcast_ref::<std::io::Error>() {
            Some(io) if io.kind() == std::io::ErrorKind::BrokenPipe => Failure::Pipe,
            _ => Failure::Failed(error),
        }
    }
}

/// Runs the command that the arguments name and gives its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come here too, and are a success; a reader that has gone away changes nothing.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let mut out = std::io::stdout().lock();
    let result = dispatch(arguments, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        // Whoever read the first lines and left has got what they wanted.
        Ok(()) | Err(Failure::Pipe) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => told(&format!("{error:#}"), 1),
        Err(Failure::Usage(what)) => told(&what, 2),
        Err(Failure::NotRunning(what)) => told(&what, 3),
    }
}

fn told(what: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "postern: {what}");
    ExitCode::from(code)
}

fn dispatch(arguments: Arguments, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    let socket = arguments.socket.as_deref();
    match arguments.verb {
        Verb::Serve { lan, config } => serve(Options { file: config, lan }, out),
        Verb::Demo { once, seed } => demo::run(seed, once, out),
        Verb::Why { name, rtype, client, json } => daemon::why(socket, &Request::Why { name, rtype, client }, json, out),
        Verb::Status { json } => daemon::status(socket, json, out),
        Verb::Reload => daemon::done(socket, &Request::Reload, out),
        Verb::Cache { verb } => daemon::cache(socket, verb, out),
        Verb::Block { verb } => daemon::rules(socket, RuleAction::Block, verb, out),
        Verb::Allow { verb } => daemon::rules(socket, RuleAction::Allow, verb, out),
        Verb::Blocking { verb } => daemon::blocking(socket, verb, out),
        Verb::Nta { verb } => daemon::nta(socket, verb, out),
        Verb::Blocklist { verb } => blocklist::run(socket, verb, out),
        Verb::Log { verb } => log::run(socket, verb, out),
        Verb::Keys { verb } => keys::run(socket, verb, out),
        Verb::Query(arguments) => query::run(socket, arguments, out),
        #[cfg(feature = "sensor")]
        Verb::Sensor { verb } => sensor::run(verb, out),
        Verb::Config { verb } => config::run(verb, out),
        Verb::Completions { shell } => shell::completions(shell, out),
        Verb::Man { folder } => shell::man(folder.as_deref(), out),
    }
}

fn serve(options: Options, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    app::run(options, out).map_err(|error| match error {
        StartError::Config(problems) => Failure::Usage(problems.to_string()),
        other => Failure::Failed(other.into()),
    })
}

/// Seconds since 1970.
fn wall() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
