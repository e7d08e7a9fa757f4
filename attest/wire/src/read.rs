//! The rules of reading: a cursor that hands out fields by name and can only fail, never panic.
//!
//! Lengths are compared with a limit first and with the bytes that are left second; only then is anything sliced.
//! Nothing is copied here, so nothing is allocated by a declared length.  A structure is done when
//! [`Reader::finish`] has seen that no byte is left.

use crate::{Problem, WireError};

/// A cursor over attacker-controlled bytes.  TPM structures are big-endian; event logs use the `_le` readers.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes already read of `bytes`.
    at: usize,
    /// Where `bytes` starts in the outermost structure, so that errors point into what the caller holds.
    base: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, base: 0 }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Position in the outermost structure.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.base.saturating_add(self.at)
    }

    /// What is not read yet, without reading it.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The bytes read since `start`, an earlier [`Reader::offset`] of this same reader.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start.saturating_sub(self.base)..self.at).unwrap_or_default()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], WireError> {
        let slice = self.at.checked_add(count).and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        match slice {
            Some((end, slice)) => {
                self.at = end;
                Ok(slice)
            }
            None => Err(self.error(field, Problem::Truncated { needed: count, left: self.left() })),
        }
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(field, N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array::<1>(field).map(u8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u16_le(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32_le(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64_le(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A TPM2B: two length bytes, then at most `most` bytes.
    ///
    /// # Errors
    /// When the length is above `most`, or fewer bytes are left.
    pub fn sized(&mut self, field: &'static str, most: usize) -> Result<&'a [u8], WireError> {
        let start = self.clone();
        let length = usize::from(self.u16(field)?);
        if length > most {
            return Err(start.error(field, Problem::TooLong { length, most }));
        }
        self.bytes(field, length)
    }

    /// A TPM2B around a structure: a reader of exactly its content, whose errors still count from the outermost start.
    ///
    /// # Errors
    /// When the length is above `most`, or fewer bytes are left.
    pub fn sized_reader(&mut self, field: &'static str, most: usize) -> Result<Self, WireError> {
        let bytes = self.sized(field, most)?;
        Ok(Self { bytes, at: 0, base: self.offset().saturating_sub(bytes.len()) })
    }

    /// A TPM2B that must hold exactly `expected` bytes.
    ///
    /// # Errors
    /// When it does not.
    pub fn sized_exact(&mut self, field: &'static str, expected: usize) -> Result<&'a [u8], WireError> {
        let start = self.clone();
        let length = usize::from(self.u16(field)?);
        if length != expected {
            return Err(start.error(field, Problem::WrongLength { length, expected }));
        }
        self.bytes(field, length)
    }

    /// Says that the structure ends here.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self, field: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(self.error(field, Problem::Trailing { bytes })),
        }
    }

    /// An error that points at the next byte.
    #[must_use]
    pub const fn error(&self, field: &'static str, problem: Problem) -> WireError {
        WireError { field, offset: self.offset(), problem }
    }
}
