//! Writing: append fields, learn at the end whether all of them fitted.

use alloc::vec::Vec;

use crate::{Problem, WireError};

/// Collects big-endian fields.  The first field that does not fit is remembered and comes out of [`Writer::finish`],
/// so that a command can be written as one chain.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    most: usize,
    failed: Option<WireError>,
}

impl Writer {
    /// An empty writer that takes `most` bytes.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, failed: None }
    }

    /// Appends bytes as they are.
    #[must_use]
    pub fn bytes(mut self, field: &'static str, bytes: &[u8]) -> Self {
        let length = self.bytes.len().saturating_add(bytes.len());
        if self.failed.is_some() {
            return self;
        }
        if length > self.most {
            let problem = Problem::TooLong { length, most: self.most };
            self.failed = Some(WireError { field, offset: self.bytes.len(), problem });
            return self;
        }
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    #[must_use]
    pub fn u8(self, field: &'static str, value: u8) -> Self {
        self.bytes(field, &[value])
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(self, field: &'static str, value: u16) -> Self {
        self.bytes(field, &value.to_be_bytes())
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(self, field: &'static str, value: u32) -> Self {
        self.bytes(field, &value.to_be_bytes())
    }

    /// A TPM2B: two length bytes and the content.
    #[must_use]
    pub fn sized(mut self, field: &'static str, bytes: &[u8]) -> Self {
        match u16::try_from(bytes.len()) {
            Ok(length) => self.u16(field, length).bytes(field, bytes),
            Err(_) => {
                let problem = Problem::TooLong { length: bytes.len(), most: usize::from(u16::MAX) };
                let error = WireError { field, offset: self.bytes.len(), problem };
                self.failed.get_or_insert(error);
                self
            }
        }
    }

    /// What was written.
    ///
    /// # Errors
    /// When a field did not fit.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.bytes),
        }
    }
}
