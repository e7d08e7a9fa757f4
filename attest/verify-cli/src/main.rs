//! `attest-verify FILE`: checks one evidence file and says why.
//!
//! No configuration, no network, no appliance: file, roots, reference values and challengers come on the command line,
//! the verdict goes to standard output.  Exit status 0: accepted, 1: refused, 2: not evidence, or wrongly called.
//! Read next: `attest/FORMAT.md` for the file, `attest_verify` for the checks.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use attest_verify_cli::Verify;
use clap::Parser;

/// Check an evidence file: which machine it is, what it booted, who vouches for its keys.
#[derive(Debug, Parser)]
#[command(name = "attest-verify", version)]
struct Call {
    #[command(flatten)]
    verify: Verify,
}

fn main() -> ExitCode {
    let call = Call::parse();
    match call.verify.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("attest-verify: {error:#}");
            ExitCode::from(2)
        }
    }
}
