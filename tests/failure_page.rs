//! Every proof that `docs/failure.md` names exists: a test function or a scenario.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use std::path::Path;

fn all_sources(directory: &Path, out: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_row_of_the_failure_page_names_a_test_and_a_metric_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    all_sources(&root.join("src"), &mut sources);
    all_sources(&root.join("tests"), &mut sources);
    let page = std::fs::read_to_string(root.join("docs/failure.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let proofs: Vec<&str> = cells[4].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "no proof: {row}");
        for proof in proofs {
            let found = match proof {
                scenario if scenario.ends_with(".scn") => root.join("tests/scenarios").join(scenario).exists(),
                test => sources.contains(&format!("fn {test}(")),
            };
            assert!(found, "{proof} does not exist: {row}");
        }
        for code in cells[3].split('`').skip(1).step_by(2).filter(|code| code.starts_with("postern_")) {
            let metric = code.split('{').next().unwrap();
            assert!(postern::telemetry::metrics::TABLE.iter().any(|known| known.name == metric), "no metric {metric}: {row}");
        }
    }
}
