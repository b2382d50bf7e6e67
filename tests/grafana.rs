//! Dashboards and alerts ask for metrics that exist, say what they show, and each alert fires and keeps silent when it should.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::path::{Path, PathBuf};
use std::process::Command;

use postern::telemetry::metrics::{Kind, Metric, TABLE, Values};
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

/// The metric behind a series of this name.
fn metric(name: &str) -> Option<&'static Metric> {
    TABLE.iter().copied().find(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
        Kind::Counter | Kind::Gauge => metric.name == name,
    })
}

fn exists(name: &str) -> bool {
    metric(name).is_some()
}

/// Labels that Prometheus adds.
const ADDED: &[&str] = &["instance", "job", "le"];

/// What an expression gets wrong about labels: one that its metrics do not have, or a value that never occurs.
fn wrong_labels(expression: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let named: Vec<&Metric> = metrics_in(expression).iter().filter_map(|name| metric(name)).collect();
    let has = |metric: &Metric, label: &str| ADDED.contains(&label) || metric.labels.iter().any(|own| own.name == label);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // A label without a matcher: by (label, ...).
    for (at, _) in expression.match_indices("by (") {
        for label in expression[at + 4..].split(')').next().unwrap().split(',').map(str::trim) {
            if !named.is_empty() && !named.iter().all(|metric| has(metric, label)) {
                wrong.push(format!("by {label}"));
            }
        }
    }
    // A selector: name{label op "value", ...}.
    for (at, _) in expression.match_indices('{') {
        let name = &expression[..at][expression[..at].rfind(|c| !is_word(c)).map_or(0, |end| end + 1)..];
        let Some(metric) = metric(name) else { continue };
        for matcher in expression[at + 1..].split('}').next().unwrap().split(',').map(str::trim) {
            let label = &matcher[..matcher.find(|c| !is_word(c)).unwrap_or(matcher.len())];
            let values = matcher.split('"').nth(1).unwrap_or_default();
            let known = metric.labels.iter().find(|own| own.name == label).map(|own| own.values);
            match known {
                None if !ADDED.contains(&label) => wrong.push(format!("{name}{{{label}}}")),
                Some(Values::Closed(set)) => {
                    wrong
                        .extend(values.split('|').filter(|value| !set.contains(value)).map(|value| format!("{name}{{{label}={value:?}}}")));
                }
                _ => {}
            }
        }
    }
    wrong
}

#[test]
fn a_query_for_what_never_occurs_is_found() {
    for (expression, wrong) in [
        ("sum by (reason) (rate(postern_dropped_total{reason=~\"acl|queue_full\",instance=~\"$instance\"}[5m]))", 0),
        ("sum by (cause) (rate(postern_dropped_total[5m]))", 1),
        ("postern_dropped_total{reason=\"nonsense\"}", 1),
        ("postern_dropped_total{cause=\"acl\"} / postern_queries_total{transport=\"quic\"}", 2),
        ("histogram_quantile(0.9, sum by (le, served) (rate(postern_response_duration_seconds_bucket[5m])))", 0),
    ] {
        assert_eq!(wrong_labels(expression).len(), wrong, "{expression}: {:?}", wrong_labels(expression));
    }
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
                assert_eq!(wrong_labels(expression), [""; 0], "{title} asks for what never occurs");
            }
        }
        let annotations = dashboard["annotations"]["list"].as_array().unwrap();
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        for expression in annotations.iter().map(|one| &one["expr"]).chain(variables.iter().map(|one| &one["query"])) {
            let expression = expression.as_str().unwrap();
            assert!(metrics_in(expression).iter().all(|name| exists(name)), "{expression}");
            assert_eq!(wrong_labels(expression), [""; 0], "{expression}");
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
        // An expression may go over lines, its selectors do not; `by` beside what it sums is on one line too.
        for line in rules.lines().filter(|line| !line.contains("summary:")) {
            assert_eq!(wrong_labels(line), [""; 0], "{file}: {line}");
        }
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
