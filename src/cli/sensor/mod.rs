//! `postern sensor`: what a bystander sees of DNS, live or from capture files.

mod replay;
mod run;
mod status;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;

use super::{Failure, wall};
use crate::blocklist::{Action, List, Lookup, Suffixes};
use crate::guard::acl::{Acl, PRIVATE, Prefix};
use crate::sensor::bypass::{Detector, Endpoints, Listed, Settings};
use crate::wire::Name;

/// What a sensor does.
#[derive(Debug, Subcommand)]
pub enum SensorVerb {
    /// Watch network interfaces; needs CAP_NET_RAW, and keeps nothing else
    Run(Box<RunArguments>),
    /// Read capture files, pcap or pcapng: every DNS query with its response
    Replay(Box<ReplayArguments>),
    /// Show how a running sensor is, and who went past our resolvers
    Status {
        /// Socket of the sensor
        #[arg(long, value_name = "PATH")]
        status: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Whom to watch for bypass.
#[derive(Debug, clap::Args)]
pub struct WatchArguments {
    /// Resolvers of ours, and forwarders known to be good: all may ask them, and they may ask all
    #[arg(long, value_name = "ADDRESS or NETWORK", value_delimiter = ',')]
    pub resolver: Vec<Prefix>,
    /// Hosts that are watched instead of the private networks
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub hosts: Vec<Prefix>,
    /// Hosts that may ask whom they like
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub exempt: Vec<Prefix>,
    /// Lists (.plist) to say whether a name that was asked elsewhere is on one
    #[arg(long, value_name = "FILE")]
    pub list: Vec<PathBuf>,
    /// Known endpoints of DNS over HTTPS, instead of the shipped ones
    #[arg(long, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
}

/// Capture files.
#[derive(Debug, clap::Args)]
pub struct ReplayArguments {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print a line of JSON for every query and every finding instead of a summary
    #[arg(long)]
    pub json: bool,
    /// Ports to read as DNS
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_value = "53")]
    pub port: Vec<u16>,
    /// Look for hosts that go past our resolvers; say with --resolver which are ours
    #[arg(long)]
    pub bypass: bool,
    /// Whom to watch
    #[command(flatten)]
    pub watch: WatchArguments,
}

/// Interfaces to watch.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// Interfaces
    #[arg(short, long, required = true, value_name = "INTERFACE", value_delimiter = ',')]
    pub interface: Vec<String>,
    /// Whom to watch; without --resolver, this machine's own addresses are the resolvers
    #[command(flatten)]
    pub watch: WatchArguments,
    /// Append findings to this file; `-` is the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub events: PathBuf,
    /// Append a line of JSON for every query to this file; `-` is the standard output
    #[arg(long, value_name = "FILE")]
    pub transactions: Option<PathBuf>,
    /// Serve metrics here
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9354")]
    pub metrics: SocketAddr,
    /// Networks other than loopback that may read metrics
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub metrics_allow: Vec<Prefix>,
    /// Socket for `postern sensor status`
    #[arg(long, value_name = "PATH")]
    pub status: Option<PathBuf>,
    /// User to run as when started as root
    #[arg(long, value_name = "NAME", default_value = "nobody")]
    pub user: String,
}

pub(super) fn run(verb: SensorVerb, out: &mut dyn Write) -> Result<(), Failure> {
    match verb {
        SensorVerb::Run(arguments) => run::run(&arguments, out),
        SensorVerb::Replay(arguments) => replay::run(&arguments, out),
        SensorVerb::Status { status, json } => status::run(status.as_deref(), json, out),
    }
}

impl WatchArguments {
    /// The detector that these ask for; `own` are the resolvers where none is named.
    fn detector(&self, own: Vec<IpAddr>) -> Result<Detector, Failure> {
        let alone = own.into_iter().filter_map(|address| Prefix::new(address, if address.is_ipv4() { 32 } else { 128 }));
        let settings = Settings {
            hosts: if self.hosts.is_empty() { Acl::new(PRIVATE) } else { Acl::new(self.hosts.iter().copied()) },
            resolvers: if self.resolver.is_empty() { Acl::new(alone) } else { Acl::new(self.resolver.iter().copied()) },
            exempt: Acl::new(self.exempt.iter().copied()),
            ..Settings::default()
        };
        let endpoints = match &self.endpoints {
            None => Endpoints::shipped(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Endpoints::parse(&text).map_err(|(line, text)| {
                    Failure::Usage(format!("{}:{line}: {text:?} is neither a name nor an address", path.display()))
                })?
            }
        };
        Ok(Detector::new(settings, endpoints, listed(&self.list)?))
    }
}

/// Looks names up in lists. A list that cannot be read later says nothing.
fn listed(paths: &[PathBuf]) -> Result<Listed, Failure> {
    let open = |path: &PathBuf| List::open(path).map_err(|error| anyhow!(error).context(path.display().to_string()));
    let lists = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |name: &Name| {
        let (suffixes, now) = (Suffixes::of(name), wall());
        let on = |list: &&List| matches!(list.lookup(&suffixes, Action::Block, now, true), Lookup::Listed(_));
        lists.iter().find(on).map(|list| list.manifest().id.clone())
    }))
}

/// Where the sensor's socket is: beside the daemon's control socket.
fn sockets(told: Option<&Path>) -> Vec<PathBuf> {
    use crate::app::place;
    match told {
        Some(path) => vec![path.to_owned()],
        None => place::sockets(&place::environment).into_iter().map(|path| path.with_file_name("sensor.sock")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::sensor::{Ending, Flaw, Means};
    use crate::telemetry::metrics;

    #[test]
    fn the_table_of_metrics_has_the_sensors_labels() {
        assert_eq!(metrics::SENSOR_FLAWS, Flaw::LABELS);
        assert_eq!(metrics::SENSOR_ENDINGS, Ending::LABELS);
        assert_eq!(metrics::SENSOR_MEANS, Means::LABELS);
    }
}
