//! Calls that the wrapper does not have, or cuts short.

use appliance_model::inventory::{ConfidentialComputing, RemappedRows};
use nvml_wrapper::{Device, Nvml, error::NvmlError, error::nvml_sym, error::nvml_try};
use nvml_wrapper_sys::bindings::{
    field_id::{
        NVML_FI_DEV_NVLINK_ERROR_DL_CRC, NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY,
        NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY,
    },
    nvmlFieldValue_t, nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG as LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as LONG_LONG,
};

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

/// `nvmlDeviceGetFieldValues` for one NVLink: replays, recoveries, and wrong checksums, where the calls of their own are
/// for older GPUs only (since Hopper).
#[expect(unsafe_code, reason = "the wrapper asks for no field of a link")]
pub(crate) fn link_errors(
    nvml: &Nvml,
    device: &Device<'_>,
    link: u32,
) -> Result<[Option<u64>; 3], NvmlError> {
    let call = nvml_sym(nvml.lib().nvmlDeviceGetFieldValues.as_ref())?;
    let ids = [
        NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY,
        NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY,
        NVML_FI_DEV_NVLINK_ERROR_DL_CRC,
    ];
    let mut fields = ids.map(|id| {
        // SAFETY: the structure is numbers, for which zeros are a value.
        let mut field: nvmlFieldValue_t = unsafe { std::mem::zeroed() };
        (field.fieldId, field.scopeId) = (id, link);
        field
    });
    // SAFETY: the handle belongs to `nvml`, and the pointer is to three structures that outlive the call.
    nvml_try(unsafe { call(device.handle(), 3, fields.as_mut_ptr()) })?;
    Ok(fields.map(|field| match (field.nvmlReturn, field.valueType) {
        // SAFETY: the type says which of the numbers was written; all bits are one.
        (0, INT) => Some(u64::from(unsafe { field.value.uiVal })),
        // SAFETY: as above.
        (0, LONG) => Some(unsafe { field.value.ulVal }),
        // SAFETY: as above.
        (0, LONG_LONG) => Some(unsafe { field.value.ullVal }),
        _ => None,
    }))
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
