//! Dashboards and alerts ask for metrics that exist, say what they show, and each alert fires and keeps silent when it should.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::path::{Path, PathBuf};
use std::process::Command;

use postern::telemetry::metrics::{Kind, TABLE};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(folder()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// The metrics of ours that a PromQL expression names; recorded series (with colons) count by what they were made from.
fn metrics_in(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| (word.starts_with("postern_") || word.starts_with("process_")) && !word.contains(':')).map(str::to_owned).collect()
}

fn exists(name: &str) -> bool {
    TABLE.iter().any(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
        Kind::Counter | Kind::Gauge => metric.name == name,
    })
}

#[test]
fn dashboards_are_what_their_source_makes() {
    run("./build", &["--check"]);
}

#[test]
fn every_panel_has_a_unit_a_description_and_metrics_that_exist() {
    let mut panels = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            panels += 1;
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title} has no description");
            assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{title} has no unit");
            let place = &panel["gridPos"];
            assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{title} leaves the page");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let named = metrics_in(expression);
                assert!(!named.is_empty() || expression.contains("up{"), "{title} asks for nothing of ours: {expression}");
                for name in named {
                    assert!(exists(&name), "{title} asks for {name}, which is not in the table");
                }
            }
        }
    }
    assert!(panels > 20);
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_each_has_its_page_in_the_runbook() {
    let runbook = std::fs::read_to_string(folder().join("../docs/runbook.md")).unwrap();
    let tests = std::fs::read_to_string(folder().join("alerts_test.yml")).unwrap();
    let mut alerts = 0;
    for file in ["alerts.yml", "recording.yml"] {
        let rules = std::fs::read_to_string(folder().join(file)).unwrap();
        for line in rules.lines().filter(|line| !line.trim_start().starts_with('#') && !line.contains("record:") && !line.contains("name:"))
        {
            for name in metrics_in(line) {
                assert!(exists(&name), "{file} asks for {name}, which is not in the table");
            }
        }
        for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            alerts += 1;
            assert!(runbook.contains(&format!("\n## {alert}\n")), "docs/runbook.md has nothing on {alert}");
            assert!(rules.contains(&format!("docs/runbook.md#{}\n", alert.to_lowercase())), "{alert} does not point at the runbook");
            for case in ["fires", "keeps silent"] {
                assert!(tests.contains(&format!("- name: {alert} {case}\n")), "no test that {alert} {case}");
            }
        }
    }
    assert!(alerts > 10);
}

#[test]
fn promtool_finds_the_rules_sound_and_each_alert_fires_and_keeps_silent() {
    run("promtool", &["check", "rules", "alerts.yml", "recording.yml"]);
    run("promtool", &["test", "rules", "alerts_test.yml"]);
}
