//! `nvml-probe`: prints what the NVIDIA driver says of the GPUs, as JSON, and always ends well; works on a GPU for
//! burn-in.
//!
//! A program of its own because it must load a shared library, which the agent, one static file, cannot.  The agent
//! runs it where it is installed: on host systems that have the driver.  It takes only free memory, and sets nothing on a
//! GPU but the parts (MIG) that it is told to make or take away.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    process::ExitCode,
    time::Duration,
};

use firmware_checks_nvml::{
    burn::{self, Work},
    instances,
};

const USAGE: &str = "usage: nvml-probe [--library PATH]
       nvml-probe counters --gpu UUID [--library PATH]
       nvml-probe make-part|remove-part --gpu UUID --slices N --start N [--library PATH]
       nvml-probe compare|memory|bandwidth --gpu UUID --seconds N [--leash] [--library PATH]
Prints what the NVIDIA driver says of this machine's GPUs, as JSON; or of one GPU's counters; or works on one GPU and
prints a line of JSON every second, and the result in the last.  make-part and remove-part print `done`, or why not.
  --library  the driver's library (default: libnvidia-ml.so.1, where the system finds it)
  --seconds  how long to work
  --leash    end when the standard input ends";

/// A week: longer than any burn-in.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(order) = Order::read(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let library = order.library.as_deref();
    let done = match (order.verb, order.gpu) {
        (Verb::Report, _) => return report(library),
        (Verb::Counters, Some(gpu)) => burn::count(&gpu, library),
        (Verb::Burn(work), Some(gpu)) => burn::burn(work, &gpu, order.time, library, order.leash),
        (Verb::Make, Some(gpu)) => said(instances::make(library, &gpu, order.slices, order.start)),
        (Verb::Remove, Some(gpu)) => said(instances::remove(library, &gpu, order.slices, order.start)),
        (Verb::Counters | Verb::Burn(_) | Verb::Make | Verb::Remove, None) => false,
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whoever runs this reads what it prints, and not how it ends.
fn said(done: Result<(), String>) -> bool {
    let text = done.as_ref().map_or_else(String::as_str, |()| "done");
    writeln!(std::io::stdout(), "{text}").is_ok() && done.is_ok()
}

fn report(library: Option<&OsStr>) -> ExitCode {
    let report = firmware_checks_nvml::read(library);
    let printed = serde_json::to_vec(&report).map_err(std::io::Error::other);
    match printed.and_then(|json| std::io::stdout().write_all(&json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nvml-probe: the report could not be printed: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Verb {
    Report,
    Counters,
    Burn(Work),
    Make,
    Remove,
}

struct Order {
    verb: Verb,
    library: Option<OsString>,
    gpu: Option<String>,
    time: Duration,
    leash: bool,
    slices: u32,
    start: u32,
}

impl Order {
    /// `None` if it is not understood.
    fn read(arguments: &[OsString]) -> Option<Self> {
        let mut rest = arguments.iter().map(OsString::as_os_str).peekable();
        let verb = match rest.peek().and_then(|word| word.to_str()) {
            Some("counters") => Verb::Counters,
            Some("make-part") => Verb::Make,
            Some("remove-part") => Verb::Remove,
            Some("compare") => Verb::Burn(Work::Compare),
            Some("memory") => Verb::Burn(Work::Memory),
            Some("bandwidth") => Verb::Burn(Work::Bandwidth),
            Some(_) | None => Verb::Report,
        };
        if !matches!(verb, Verb::Report) {
            rest.next();
        }
        let mut order =
            Self { verb, library: None, gpu: None, time: Duration::ZERO, leash: false, slices: 0, start: 0 };
        while let Some(flag) = rest.next() {
            match flag.to_str()? {
                "--library" => order.library = Some(rest.next()?.to_owned()),
                "--gpu" => order.gpu = Some(rest.next()?.to_str()?.to_owned()),
                "--seconds" => {
                    let seconds = rest.next()?.to_str()?.parse::<u64>().ok().filter(|n| *n <= SECONDS_MAX)?;
                    order.time = Duration::from_secs(seconds);
                }
                "--slices" => order.slices = rest.next()?.to_str()?.parse().ok()?,
                "--start" => order.start = rest.next()?.to_str()?.parse().ok()?,
                "--leash" => order.leash = true,
                _ => return None,
            }
        }
        let whole = match order.verb {
            Verb::Report => order.gpu.is_none() && order.time.is_zero() && !order.leash,
            Verb::Counters => order.gpu.is_some(),
            Verb::Make | Verb::Remove => order.gpu.is_some() && order.slices > 0,
            Verb::Burn(_) => order.gpu.is_some() && !order.time.is_zero(),
        };
        whole.then_some(order)
    }
}
