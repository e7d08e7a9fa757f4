//! What a replayed log says about Secure Boot, read by strict rules.
//!
//! Replay vouches for digests, not for event types or data: so data is read only where its hash is the digest, an
//! unknown type in PCR 7 is an error, a variable is read once, and after a PCR's separator nothing but authorities.

use attest_wire::eventlog::{Bank, EV_SEPARATOR, Event, EventLog};

use crate::verdict::Checks;

const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_ACTION: u32 = 0x8000_0007;
const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;
/// UEFI 2.10, 3.3: EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c, as stored.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// Longest variable name that is read, UTF-16 units; the names that matter have at most ten.
const NAME_UNITS_MAX: usize = 256;

/// Judges separators and the Secure Boot variables.  `Some` if the log says believably whether it was on.
pub(crate) fn judge(
    odd: &[u32],
    state: Result<Option<bool>, &'static str>,
    checks: &mut Checks,
) -> Option<bool> {
    checks.add(
        "log-separators",
        odd.is_empty(),
        format!("{odd:?}"),
        "[]",
        "PCRs without exactly one regular separator: firmware failed, or the log was rearranged",
    );
    match state {
        Ok(state) => {
            let measured = match state {
                Some(true) => "on",
                Some(false) => "off",
                None => "not in the log",
            };
            checks.remark("secure-boot-log", measured, "");
            state
        }
        Err(why) => {
            checks.fail("secure-boot-log", "", why);
            None
        }
    }
}

/// PCRs 0 to 7 that do not have exactly one regular separator.
#[must_use]
pub fn odd_separators(log: &EventLog<'_>) -> Vec<u32> {
    (0..8).filter(|pcr| !one_separator(log, *pcr)).collect()
}

/// The firmware profile allows four zero bytes, or four times 0xff on some firmware; 1 means that firmware failed.
fn one_separator(log: &EventLog<'_>, pcr: u32) -> bool {
    let mut separators = log.events().iter().filter(|event| event.pcr == pcr && event.kind == EV_SEPARATOR);
    let regular = |event: &Event<'_>| {
        matches!(event.data, [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff]) && event.data_is_measured(Bank::Sha256)
    };
    separators.next().is_some_and(regular) && separators.next().is_none()
}

/// Whether Secure Boot was on, as a log says that was replayed against signed values; `None` if it does not say.
///
/// # Errors
/// Why the log's word cannot be believed.
pub fn state(log: &EventLog<'_>) -> Result<Option<bool>, &'static str> {
    let mut separated = false;
    let mut seen: Vec<(&[u8], &[u8])> = Vec::new();
    let mut secure_boot = None;
    for event in log.events().iter().filter(|event| event.pcr == 7 && event.extends()) {
        match event.kind {
            EV_SEPARATOR => separated = true,
            EV_EFI_VARIABLE_AUTHORITY => {}
            // Text such as "DMA Protection Disabled": not read, and allowed before the separator only.
            EV_EFI_ACTION if !separated => {}
            EV_EFI_VARIABLE_DRIVER_CONFIG if !separated => {
                if !event.data_is_measured(Bank::Sha256) {
                    return Err("a Secure Boot variable in the log is not what was measured");
                }
                let (owner, name, value) =
                    variable(event.data).ok_or("a Secure Boot variable in the log is malformed")?;
                if seen.contains(&(owner, name)) {
                    return Err("a Secure Boot variable is in the log twice");
                }
                seen.push((owner, name));
                if owner == GLOBAL_VARIABLE && name == utf16("SecureBoot") {
                    secure_boot = match value {
                        [] | [0] => Some(false),
                        [1] => Some(true),
                        _ => return Err("the SecureBoot variable is neither 0 nor 1"),
                    };
                }
            }
            EV_EFI_VARIABLE_DRIVER_CONFIG | EV_EFI_ACTION => {
                return Err("PCR 7 has events after its separator that do not belong there");
            }
            _ => return Err("PCR 7 has an event of an unknown type"),
        }
    }
    Ok(secure_boot)
}

/// UEFI_VARIABLE_DATA: GUID, name length in UTF-16 units (8 bytes), data length (8), name, data.  Returns
/// GUID, name and data.
fn variable(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (owner, rest) = data.split_at_checked(16)?;
    let (units, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let units = usize::try_from(u64::from_le_bytes(*units)).ok().filter(|units| *units <= NAME_UNITS_MAX)?;
    let (name, value) = rest.split_at_checked(units.checked_mul(2)?)?;
    let exact = usize::try_from(u64::from_le_bytes(*length)).ok() == Some(value.len());
    exact.then_some((owner, name, value))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
