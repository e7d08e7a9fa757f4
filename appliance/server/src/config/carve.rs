//! `[carve]`: large pages and virtual functions.

use appliance_model::real::Wishes;

use super::{ConfigError, Reader, wire};

/// The sizes that Linux has on some machine, KiB.
const PAGES_KIB: [u64; 7] = [64, 2048, 16_384, 32_768, 524_288, 1_048_576, 16_777_216];

/// The most that a port's PCI capability can name in practice; ConnectX-7 has 127, E810 has 256.
const FUNCTIONS_MAX: u32 = 256;

impl Reader<'_> {
    pub(super) fn carve(&self, wire: wire::Carve) -> Result<Wishes, ConfigError> {
        let wire::Carve { page_kib, functions } = wire;
        if let Some(size) = page_kib.filter(|size| !PAGES_KIB.contains(size)) {
            let expected = "2048 or 1048576 on x86; 64, 2048, 32768, 524288 or 16777216 on ARM";
            return Err(self.value("carve.page_kib", &size.to_string(), expected));
        }
        if let Some(count) = functions.filter(|count| *count > FUNCTIONS_MAX) {
            let expected = format!("at most {FUNCTIONS_MAX}");
            return Err(self.value("carve.functions", &count.to_string(), &expected));
        }
        Ok(Wishes { page_kib, functions })
    }
}
