//! Calls that the wrapper does not have, or cuts short.

use appliance_model::inventory::{ConfidentialComputing, RemappedRows};
use nvml_wrapper::{Device, Nvml, error::NvmlError, error::nvml_sym, error::nvml_try};

/// `nvmlDeviceGetRemappedRows`.
#[expect(unsafe_code, reason = "the wrapper does not have this call")]
pub(crate) fn remapped_rows(nvml: &Nvml, device: &Device<'_>) -> Result<RemappedRows, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetRemappedRows.as_ref())?;
    let (mut correctable, mut uncorrectable, mut pending, mut failure) = (0, 0, 0, 0);
    // SAFETY: the handle belongs to `nvml`, and the four pointers are to numbers that outlive the call.
    nvml_try(unsafe {
        call(
            device.handle(),
            &raw mut correctable,
            &raw mut uncorrectable,
            &raw mut pending,
            &raw mut failure,
        )
    })?;
    Ok(RemappedRows { correctable, uncorrectable, pending: pending != 0, failure: failure != 0 })
}

/// `nvmlSystemGetConfComputeCapabilities`: the wrapper's own reading ends in an error on processors newer than it.
#[expect(unsafe_code, reason = "the wrapper refuses AMD SEV-SNP")]
pub(crate) fn confidential(nvml: &Nvml) -> Result<ConfidentialComputing, NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlSystemGetConfComputeCapabilities.as_ref())?;
    // SAFETY: the structure is two numbers, for which zeros are a value.
    let mut capabilities = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of the library's own type that outlives the call.
    nvml_try(unsafe { call(&raw mut capabilities) })?;
    Ok(ConfidentialComputing {
        capable: Some(capabilities.gpusCaps != 0),
        host_capable: Some(capabilities.cpuCaps != 0),
        ..ConfidentialComputing::default()
    })
}
