//! Proofs that need a network of their own: run in fresh user, network and mount namespaces, as root or not.

use std::process::Command;

/// Strangers are refused, private and directly connected clients served, and every answer leaves from the address that was asked.
#[test]
fn the_access_list_holds_against_a_public_prefix() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/namespaces/acl");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", script, env!("CARGO_BIN_EXE_postern")])
        .output()
        .expect("unshare (util-linux) is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("ok ").count() >= 16, "{said}");
}
