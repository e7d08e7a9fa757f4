//! `scalerforge bmc import`, `list`, `rotate`, `export` on a site directory: nothing secret is shown, nothing is half done.

use std::os::unix::fs::PermissionsExt as _;

use crate::{path, refused, run, text};

/// A site with its keys, and a list in it.
fn site(list: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(&["site", "init", path(dir.path())]).status.success());
    std::fs::write(dir.path().join("list.csv"), list).unwrap();
    dir
}

const GOOD: &str = "serial,password,address,rack,unit\nS1,open-Sesame-1,127.0.0.1:1,R1,7\n";

#[test]
fn a_list_is_imported_shown_and_exported() {
    let dir = site(&GOOD.replace("127.0.0.1:1", "https://127.0.0.1:1"));
    let at = ["--site", path(dir.path())];
    let list = dir.path().join("list.csv");
    let bmc = |verb: &[&str]| run(&[&["bmc"], verb, &at].concat());
    let imported = bmc(&["import", path(&list)]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let again = text(&bmc(&["import", path(&list)]).stdout);
    assert!(again.contains("1 of them known before"), "{again}");
    let shown = bmc(&["list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["state"]), (&"S1".into(), &"settled".into()));
    assert!(text(&bmc(&["list"]).stdout).contains("R1-7"));

    refused(&bmc(&["rotate", "S1"]), &["--yes-change-password"]);
    refused(&bmc(&["rotate", "S9", "--yes-change-password"]), &["no account of `S9`", "bmc import"]);
    // Nobody is there: the old password surely holds.
    let rotated = bmc(&["rotate", "S1", "--yes-change-password"]);
    assert_eq!(rotated.status.code(), Some(1));
    assert!(text(&rotated.stdout).contains("S1 keeps its password"), "{}", text(&rotated.stdout));

    let (glass, passphrase) = (dir.path().join("glass"), dir.path().join("passphrase"));
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let how = ["--passphrase-file", path(&passphrase)];
    let exported = bmc(&[&["export", "--break-glass", path(&glass)], &how[..]].concat());
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    assert_eq!(std::fs::metadata(&glass).unwrap().permissions().mode() & 0o777, 0o600);
    refused(&bmc(&[&["export", "--break-glass", path(&glass)], &how[..]].concat()), &["cannot make"]);
    let opened = run(&[&["bmc", "open-export", path(&glass)], &how[..]].concat());
    assert!(text(&opened.stdout).contains("open-Sesame-1"));
    for output in [&imported, &shown, &rotated, &exported] {
        assert!(!format!("{}{}", text(&output.stdout), text(&output.stderr)).contains("Sesame"));
    }
    for file in ["glass", "store.sqlite"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"Sesame"), "{file}");
    }
}

#[test]
fn a_list_with_one_bad_line_changes_nothing() {
    let dir = site(&format!("{GOOD},open-Sesame-2,10.78.0.12,,\n"));
    let at = ["--site", path(dir.path())];
    let output = run(&[&["bmc", "import", path(&dir.path().join("list.csv"))], &at[..]].concat());
    // A line for each bad line of the list.
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.trim_end().lines().count()), (Some(2), 3), "{said}");
    for wanted in ["nothing was changed", "line 2: address", "line 3: neither serial nor mac"] {
        assert!(said.contains(wanted), "{wanted} is missing in: {said}");
    }
    assert!(!said.contains("Sesame"));
    let shown = run(&[&["bmc", "list", "--json"], &at[..]].concat());
    assert_eq!(text(&shown.stdout).trim(), "[]");
}
