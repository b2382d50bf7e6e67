//! Prometheus itself reads a working daemon, and every panel has something to draw; alerts fire by their real cause, and only those.
//!
//! Panels of the sensor are left out: it needs a network of its own, and `tests/sensor` has it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use postern::wire::Rtype;
use serde_json::Value;

use super::daemon::{Client, Daemon, Folder, Miniature, PATIENCE, Upstream, build_list, own_address};

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// The queries of every dashboard, with its variables filled in, by panel.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(grafana()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "30s");
                let expression = expression.replace("$instance", ".*").replace("$list", ".*");
                queries.push((panel["title"].as_str().unwrap().to_owned(), expression));
            }
        }
    }
    queries.into_iter().filter(|(_, expression)| !expression.contains("postern_sensor_")).collect()
}

/// A Prometheus that scrapes one daemon every second.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: Folder,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Prometheus {
        let (folder, address) = (Folder::new("watch-prometheus"), SocketAddr::from((own_address(), 9398)));
        let rules = grafana();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{0}/recording.yml, {0}/alerts.yml]\n\
             scrape_configs:\n  - job_name: postern\n    static_configs:\n      - targets: [\"{target}\"]\n",
            rules.display()
        );
        let config = folder.file("prometheus.yml", &config);
        let log = std::fs::File::create(folder.0.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("apt: prometheus");
        Prometheus { child, address, folder }
    }

    /// What the API answers; `None` while it does not.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok().filter(|reply: &Value| reply["status"] == "success")
    }

    /// Whether a query gives a number.
    fn draws(&self, expression: &str) -> bool {
        let encoded: String = expression.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let Some(reply) = self.get(&format!("/api/v1/query?query={encoded}")) else { return false };
        let samples = reply["data"]["result"].as_array().unwrap();
        samples.iter().any(|sample| sample["value"][1].as_str() != Some("NaN"))
    }

    fn firing(&self) -> BTreeSet<String> {
        let Some(reply) = self.get("/api/v1/alerts") else { return BTreeSet::new() };
        let alerts = reply["data"]["alerts"].as_array().unwrap();
        alerts.iter().filter(|a| a["state"] == "firing").map(|a| a["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_panel_draws_and_the_alerts_that_have_a_cause_fire() {
    let (miniature, upstream) = (Miniature::start(11), Upstream::start());
    let forward = format!("[[forward]]\nzone = \"post.net\"\nservers = [\"{}\"]\n", upstream.address);
    let daemon = Daemon::start("watch-panels", &(miniature.settings() + &forward));
    let prometheus = Prometheus::start(daemon.metrics);
    let begun = Instant::now();
    let wait = |what: &str| assert!(begun.elapsed() < 3 * PATIENCE, "{what}\n{}\n{}", prometheus.log(), daemon.log());
    // A rate needs a value before the first event.
    while !prometheus.draws("postern_queries_total") {
        wait("Prometheus does not read the daemon");
    }
    assert_eq!(prometheus.firing(), BTreeSet::new());

    let client = Client::new(daemon.dns);
    let list = build_list(&daemon.folder.0, "scam", 7, &miniature.script.blocklist_text);
    daemon.must(&["blocklist", "push", list.to_str().unwrap()]);
    assert!(!daemon.postern(&["blocklist", "push", list.to_str().unwrap()]).status.success());
    assert!(!daemon.change(|text| text + "nonsense = 1\n"));
    let noise = UdpSocket::bind((own_address(), 0)).unwrap();
    noise.connect(daemon.dns).unwrap();
    let (mut silent, mut number) = (queries(), 0);
    assert!(silent.len() > 30);
    while !silent.is_empty() {
        for question in &miniature.script.questions {
            client.ask(&question.name.to_string(), question.rtype);
        }
        client.ask(&format!("n{number}.post.net"), Rtype::A);
        number += 1;
        noise.send(b"short").unwrap();
        silent.retain(|(_, expression)| !prometheus.draws(expression));
        wait(&format!("nothing to draw: {silent:#?}"));
    }
    let caused = BTreeSet::from(["PosternListRefused".to_owned(), "PosternReloadRefused".to_owned()]);
    while prometheus.firing() != caused {
        wait(&format!("firing: {:?}", prometheus.firing()));
    }
}
