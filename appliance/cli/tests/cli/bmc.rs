//! `scalerforge bmc` without a controller: what it refuses, and that it never waits for a password in a script.

use crate::{path, refused, run, scalerforge, text};

#[test]
fn what_is_no_controller_is_refused_before_anything_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "calvin\n").unwrap();
    for (url, words) in [
        ("http://10.78.0.11", "https://10.78.0.11"),
        ("10.78.0.11", "is not a management controller's address"),
        ("https://user:secret@10.78.0.11", "is not a management controller's address"),
    ] {
        for verb in ["show", "doctor"] {
            let output = run(&["bmc", verb, url, "--password-file", path(&password)]);
            refused(&output, &[words]);
            assert!(!text(&output.stderr).contains("calvin"));
        }
    }
    let nobody = run(&["bmc", "doctor", "https://127.0.0.1:1", "--password-file", path(&password)]);
    refused(&nobody, &["https://127.0.0.1:1", "no whole answer"]);
    let absent =
        run(&["bmc", "doctor", "https://127.0.0.1:1", "--password-file", path(&dir.path().join("absent"))]);
    refused(&absent, &["absent", "No such file"]);
}

#[test]
fn a_script_without_a_password_file_is_told_so() {
    let mut command = scalerforge();
    command.args(["bmc", "doctor", "https://127.0.0.1:1"]).stdin(std::process::Stdio::null());
    refused(&command.output().unwrap(), &["--password-file"]);
}

#[test]
fn a_pin_that_is_none_is_a_mistake_in_use() {
    let output = run(&["bmc", "show", "https://127.0.0.1:1", "--pin", "abc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--pin"), "{}", text(&output.stderr));
}
