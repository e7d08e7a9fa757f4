//! The `scalerforge` command as people and scripts meet it: its words, its exit status, and what it leaves alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a failed unwrap is a failed test")]

mod accounts;
mod appliance;
mod backup;
mod bmc;
mod burn_in;
mod chain;
mod controllers;
mod cve;
mod evidence;
mod looks;
mod running;
mod screen;
mod serve;
mod site;
mod trust;
mod units;
mod usage;

use std::{
    path::Path,
    process::{Command, Output},
};

/// The command, out of reach of the caller's environment.
fn scalerforge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scalerforge"));
    for name in ["SCALERFORGE_URL", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    scalerforge().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Exit status 2, nothing on standard output, one paragraph on standard error that says all of `words`.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let all = text(&output.stderr);
    // What had happened before is in the log, and is no part of the error.
    let logged = |line: &&str| line.split_whitespace().nth(1) == Some("INFO");
    let said: String = all.split_inclusive('\n').filter(|line| !logged(line)).collect();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(text(&output.stdout), "");
    assert!(said.starts_with("scalerforge: ") && said.ends_with('\n'), "{said}");
    assert_eq!(said.lines().count(), 1, "one paragraph: {said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}
