//! Words for who asks wrongly.

use crate::{run, scalerforge, text};

#[test]
fn the_help_is_the_one_in_the_repository() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help.txt");
    let said = text(&run(&["--help"]).stdout);
    if std::env::var_os("SCALERFORGE_GOLDENS").is_some() {
        std::fs::write(&file, &said).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(said, golden, "if this is meant: SCALERFORGE_GOLDENS=write, and read the difference");
}

#[test]
fn usage_errors_name_the_word_and_end_with_2() {
    let rows: [(&[&str], &str); 14] = [
        (&[], "Usage: scalerforge"),
        (&["host"], "Usage: scalerforge host"),
        (&["hosts"], "unrecognized subcommand 'hosts'"),
        (&["host", "show"], "<ID>"),
        (&["host", "show", "../chain"], "`../chain` is not a host id such as h-0123456789ab"),
        (&["host", "approve", "h-0123456789ab"], "--stake <STAKE>"),
        (&["host", "break-glass", "h-0123456789ab", "--permit", "x"], "--minutes <N>"),
        (&["host", "break-glass", "h-0123456789ab", "--permit", "x", "--end"], "cannot be used with"),
        (&["evidence", "verify"], "<FILE>"),
        (&["evidence", "verify", "x", "--challengers-min", "many"], "invalid value 'many'"),
        (
            &["image", "build", "--agent", "a", "--out", "o", "--arch", "x86"],
            "`x86` is no architecture that images are built for",
        ),
        (
            &["image", "build", "--agent", "a", "--out", "o", "--arch", "arm64"],
            "name the program that unpacks it (--zboot FILE)",
        ),
        (
            &["image", "build", "--agent", "a", "--out", "o", "--zboot", "z"],
            "amd64 unpacks itself: leave --zboot out",
        ),
        (&["serve", "--force"], "unexpected argument '--force'"),
    ];
    for (arguments, words) in rows {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn without_an_appliance_the_reads_say_what_to_do() {
    // A port that was free a moment ago, on an address nobody else uses.
    let free = std::net::TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let reads: [&[&str]; 4] = [
        &["host", "list"],
        &["host", "why", "h-0123456789ab"],
        &["chain", "status", "--json"],
        &["evidence", "show", "h-0123456789ab"],
    ];
    for arguments in reads {
        let output = run(&[arguments, &["--appliance", &url]].concat());
        crate::refused(&output, &["no appliance answers at", &url, "`scalerforge serve`", "--appliance"]);
    }
    let output = scalerforge().args(["host", "list"]).env("SCALERFORGE_URL", &url).output().unwrap();
    crate::refused(&output, &[&url]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::{io::Read as _, process::Stdio};
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    let mut child = scalerforge()
        .args(["site", "init"])
        .arg(&site)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
}
