//! `[carve]`: large pages, virtual functions, traffic classes, parts of GPUs and of drives.

use appliance_model::real::Wishes;

use super::{ConfigError, Reader, wire};

/// The sizes that Linux has on some machine, KiB.
const PAGES_KIB: [u64; 7] = [64, 2048, 16_384, 32_768, 524_288, 1_048_576, 16_777_216];

/// The most that a port's PCI capability can name in practice; ConnectX-7 has 127, E810 has 256.
const FUNCTIONS_MAX: u32 = 256;

/// As many customers as one port without functions of its own will bear; each still has 39 Mbit/s of 10 Gbit/s.
const CLASSES_MAX: u32 = 255;

/// The slices that parts of NVIDIA's GPUs have (`1g` to `8g`).
const GPU_SLICES: [u32; 7] = [1, 2, 3, 4, 6, 7, 8];

impl Reader<'_> {
    pub(super) fn carve(&self, wire: wire::Carve) -> Result<Wishes, ConfigError> {
        let wire::Carve { page_kib, functions, classes, gpu_slices, part_gib } = wire;
        if let Some(size) = page_kib.filter(|size| !PAGES_KIB.contains(size)) {
            let expected = "2048 or 1048576 on x86; 64, 2048, 32768, 524288 or 16777216 on ARM";
            return Err(self.value("carve.page_kib", &size.to_string(), expected));
        }
        if let Some(count) = functions.filter(|count| *count > FUNCTIONS_MAX) {
            let expected = format!("at most {FUNCTIONS_MAX}");
            return Err(self.value("carve.functions", &count.to_string(), &expected));
        }
        if let Some(count) = classes.filter(|count| !(1..=CLASSES_MAX).contains(count)) {
            let expected = format!("1 to {CLASSES_MAX}");
            return Err(self.value("carve.classes", &count.to_string(), &expected));
        }
        if let Some(slices) = gpu_slices.filter(|slices| !GPU_SLICES.contains(slices)) {
            let expected = "1, 2, 3, 4, 6, 7 or 8: what NVIDIA's GPUs can be cut into";
            return Err(self.value("carve.gpu_slices", &slices.to_string(), expected));
        }
        let part_bytes = part_gib.map(|gib| gib.checked_mul(1 << 30).filter(|bytes| *bytes > 0));
        if part_bytes == Some(None) {
            let given = part_gib.unwrap_or(0).to_string();
            return Err(self.value("carve.part_gib", &given, "the GiB of one part of a drive, at least 1"));
        }
        Ok(Wishes { page_kib, functions, classes, gpu_slices, part_bytes: part_bytes.flatten() })
    }
}
