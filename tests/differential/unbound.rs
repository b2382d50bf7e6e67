//! Unbound in the foreground, ended with its guard.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern::lab::Running;
use postern::wire::{Encoder, Flags, Name, Question, Rtype};
use tokio::net::UdpSocket;

use crate::daemon::PATIENCE;

pub struct Unbound {
    pub at: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Unbound {
    /// Starts one in `folder` and waits until it answers.
    pub async fn start(folder: &Path, running: &Running) -> Unbound {
        let (here, at) = (folder.display(), SocketAddr::from(([127, 0, 0, 1], 5399)));
        let mut hints = String::new();
        for (name, addresses) in &running.root_hints {
            hints += &format!(". 3600 IN NS {name}\n");
            for address in addresses.iter().filter(|a| matches!(a, IpAddr::V4(_))) {
                hints += &format!("{name} 3600 IN A {address}\n");
            }
        }
        std::fs::write(folder.join("root.hints"), hints).unwrap();
        let anchors: String = running.trust_anchors.iter().map(|anchor| format!("  trust-anchor: \"{anchor}\"\n")).collect();
        let verbosity = if std::env::var_os("DIFFERENTIAL_ASK").is_some() { 4 } else { 1 };
        // Its defaults but for where it stands, what it tells, and the limit of NSEC3 iterations, which is ours.
        let config = format!(
            "server:\n  interface: {}@{}\n  port: {}\n  do-daemonize: no\n  use-syslog: no\n  logfile: \"{here}/unbound.log\"\n  \
             username: \"\"\n  chroot: \"\"\n  directory: \"{here}\"\n  pidfile: \"{here}/unbound.pid\"\n  num-threads: 1\n  do-ip6: no\n  \
             do-not-query-localhost: no\n  root-hints: \"{here}/root.hints\"\n  module-config: \"validator iterator\"\n  ede: yes\n  \
             val-log-level: 2\n  log-servfail: yes\n  verbosity: {verbosity}\n  val-nsec3-keysize-iterations: \"1024 50 2048 50 4096 50\"\n  \
             minimal-responses: no\n  rrset-roundrobin: no\n  outgoing-range: 400\n  num-queries-per-thread: 400\n{anchors}\
             remote-control:\n  control-enable: no\n",
            at.ip(),
            at.port(),
            at.port(),
        );
        let path = folder.join("unbound.conf");
        std::fs::write(&path, config).unwrap();
        let command = if Path::new("/usr/sbin/unbound").exists() { "/usr/sbin/unbound" } else { "unbound" };
        let child = Command::new(command).args(["-d", "-p", "-c"]).arg(path).stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("unbound (see tests/packages.txt): {e}"));
        let unbound = Unbound { at, child, log: folder.join("unbound.log") };
        unbound.is_ready().await;
        unbound
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn is_ready(&self) {
        let started = Instant::now();
        let query = Encoder::new(1, Flags(0), Some(&Question::new(Name::root(), Rtype::SOA))).finish().bytes;
        while started.elapsed() < PATIENCE {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(self.at).await.unwrap();
            let mut buffer = [0; 512];
            let _ = socket.send(&query).await;
            if matches!(tokio::time::timeout(Duration::from_millis(100), socket.recv(&mut buffer)).await, Ok(Ok(_))) {
                return;
            }
        }
        panic!("unbound does not answer: {}", self.log());
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
