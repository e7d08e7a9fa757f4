//! `nvml-probe`: prints what the NVIDIA driver says of the GPUs, as JSON, and always ends well.
//!
//! A program of its own because it must load a shared library, which the agent, one static file, cannot.  The agent
//! runs it where it is installed: on host systems that have the driver.  It takes no orders and changes nothing.

use std::{ffi::OsString, io::Write as _, process::ExitCode};

const USAGE: &str = "usage: nvml-probe [--library PATH]
Prints what the NVIDIA driver says of this machine's GPUs, as JSON.
  --library  the driver's library (default: libnvidia-ml.so.1, where the system finds it)";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let library = match arguments.as_slice() {
        [] => None,
        [flag, path] if flag == "--library" => Some(path.clone()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = firmware_checks_nvml::read(library.as_deref());
    let printed = serde_json::to_vec(&report).map_err(std::io::Error::other);
    match printed.and_then(|json| std::io::stdout().write_all(&json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nvml-probe: the report could not be printed: {error}");
            ExitCode::FAILURE
        }
    }
}
