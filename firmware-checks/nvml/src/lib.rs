//! What the NVIDIA driver says of the GPUs, through its management library (NVML).
//!
//! [`read`] loads the driver's library at run time; without one it says "no driver", and never fails.  Each fact is
//! asked for by itself: what a board does not have is left out, what the driver refuses to tell is named with its
//! reason.  Nothing is set, reset or judged here, but parts of GPUs that somebody wants
//! ([`instances`]).  The report's shape is `appliance_model`'s, so that it can be merged
//! into an inventory (`firmware-checks/probe`).  [`burn`] works on a GPU through CUDA, with the same care.

mod board;
pub mod burn;
pub mod instances;
mod raw;

use std::ffi::OsStr;

use appliance_model::{
    burn_in::gpu::Counters,
    inventory::{GpuDriver, GpuReport},
};
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor, error::NvmlError};

/// More GPUs than any machine has; the library's count is not believed beyond it.
const GPUS_MAX: u32 = 64;

/// The names of the driver's library: the second only where development files are installed.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Asks the driver, through its library at `library` or wherever the system finds it.
#[must_use]
pub fn read(library: Option<&OsStr>) -> GpuReport {
    let mut report = GpuReport::default();
    let nvml = match open(library) {
        Ok(nvml) => nvml,
        Err(why) => {
            report.gaps.push(why);
            return report;
        }
    };
    let mut gaps = Vec::new();
    let cuda = told(&mut gaps, "CUDA version", nvml.sys_cuda_driver_version());
    report.driver = Some(GpuDriver {
        version: told(&mut gaps, "driver version", nvml.sys_driver_version()),
        nvml: told(&mut gaps, "NVML version", nvml.sys_nvml_version()),
        cuda: cuda
            .map(|cuda| format!("{}.{}", cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda))),
    });
    let count = told(&mut gaps, "number of GPUs", nvml.device_count()).unwrap_or(0).min(GPUS_MAX);
    for index in 0..count {
        match nvml.device_by_index(index) {
            Ok(device) => report.gpus.push(board::read(&nvml, &device)),
            Err(error) => gaps.push(format!("GPU {index}: the driver does not open it: {error}")),
        }
    }
    report.gaps.extend(gaps.into_iter().map(|gap| format!("NVML: {gap}")));
    report
}

/// What the driver counts of one GPU now.
fn counters_of(nvml: &Nvml, uuid: &str) -> Result<Counters, String> {
    let device = nvml
        .device_by_uuid(uuid)
        .map_err(|error| format!("{uuid}: the NVIDIA driver does not open it: {error}"))?;
    Ok(board::counters(nvml, &device, uuid))
}

fn open(library: Option<&OsStr>) -> Result<Nvml, String> {
    let names: Vec<&OsStr> = match library {
        Some(path) => vec![path],
        None => LIBRARIES.iter().map(OsStr::new).collect(),
    };
    let mut why = String::new();
    for name in names {
        match Nvml::builder().lib_path(name).init() {
            Ok(nvml) => return Ok(nvml),
            Err(NvmlError::LibloadingError(error)) if why.is_empty() => {
                why = format!("no NVIDIA driver: {} could not be loaded ({error})", name.display());
            }
            Err(NvmlError::LibloadingError(_)) => {}
            Err(error) => return Err(format!("the NVIDIA driver does not answer: {error}")),
        }
    }
    Err(why)
}

/// A fact, or `None`: without a word where the board does not have it, with one where it would not say.
fn told<T>(untold: &mut Vec<String>, what: &str, answer: Result<T, NvmlError>) -> Option<T> {
    match answer {
        Ok(fact) => Some(fact),
        // An old driver's library lacks what newer boards have; the board is then no such board.
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => None,
        Err(error) => {
            untold.push(format!("{what}: {error}"));
            None
        }
    }
}
