//! The discovery images that the site file names, each with its reference values.

use std::path::PathBuf;

use attest_evidence::ReferenceValues;

use super::{ConfigError, Reader, read, readable};

/// A discovery image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The UKI.
    pub uki: PathBuf,
    /// Its reference values.
    pub reference: ReferenceValues,
}

impl Reader<'_> {
    /// Reads a UKI and its reference values, which stand under these two keys.
    pub(super) fn image(
        &self,
        keys: [&'static str; 2],
        uki: &str,
        reference: &str,
    ) -> Result<Image, ConfigError> {
        let uki = self.dir.join(uki);
        readable(&uki, keys[0], self.config)?;
        let values = read(&self.dir.join(reference), keys[1], self.config)?;
        let values = ReferenceValues::from_json(&values).map_err(|_| {
            self.value(keys[1], reference, "a file of reference values as the image build writes it")
        })?;
        Ok(Image { uki, reference: values })
    }
}
