//! What a firmware measures that tries boot options in vain before the one that starts.

use attest_wire::eventlog::{CALLING_BOOT_OPTION, EV_EFI_ACTION, EV_SEPARATOR, RETURNING_FROM_BOOT_OPTION};

use super::Measured;
use crate::firmware::events;

/// An event of PCR 4 whose digest is of its data.
pub(crate) fn measured(kind: u32, data: &[u8]) -> Measured {
    (4, kind, data.to_vec(), data.to_vec())
}

/// Before an option is tried, and after it came back.
pub(crate) fn calling() -> Measured {
    measured(EV_EFI_ACTION, CALLING_BOOT_OPTION)
}

pub(crate) fn returning() -> Measured {
    measured(EV_EFI_ACTION, RETURNING_FROM_BOOT_OPTION)
}

/// The usual boot of a firmware that says when it tries an option, with `between` right before the image in PCR 4.
pub(crate) fn trying(between: Vec<Measured>) -> Vec<Measured> {
    let mut list = events(b"image");
    let first = list.iter().position(|event| event.1 == EV_SEPARATOR).unwrap();
    list.insert(first, calling());
    let image = list.iter().position(|event| event.1 == 0x8000_0003).unwrap();
    list.splice(image..image, between);
    list
}

/// Options that were tried and came to nothing; firmware looks at a drive's partitions in between, which is PCR 5's.
pub(crate) fn in_vain(count: usize) -> Vec<Measured> {
    let partitions = (5, 0x8000_0006, b"partitions".to_vec(), b"partitions".to_vec());
    (0..count).flat_map(|_| [partitions.clone(), returning(), calling()]).collect()
}
