//! `docs/metrics.md` is printed from the table of metrics, and this test holds them together.
//! To print it again: `UPDATE_PAGES=1 cargo test --test metrics_page`.

#![allow(clippy::disallowed_methods, reason = "a test reads files")]

use postern::telemetry::metrics::markdown;

#[test]
fn the_page_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let (page, table) = (std::fs::read_to_string(path).unwrap(), markdown());
    let difference = page.lines().zip(table.lines()).find(|(page, table)| page != table);
    assert!(page == table, "docs/metrics.md is not what the table says (UPDATE_PAGES=1 prints it again): {difference:#?}");
}
