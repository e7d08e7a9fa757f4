//! What was wrong, in which field, at which byte.

use core::fmt;

/// A structure that could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireError {
    /// The field, as the TCG's Part 2 writes it (`TPMS_ATTEST.magic`).
    pub field: &'static str,
    /// Where the field starts, in bytes from the start of the outermost structure.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The bytes end before the field does.
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Bytes follow where the structure has ended.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A length or count is above its limit.
    TooLong {
        /// What was declared.
        length: usize,
        /// What is allowed.
        most: usize,
    },
    /// A length is not the only one allowed here.
    WrongLength {
        /// What was declared.
        length: usize,
        /// What is allowed.
        expected: usize,
    },
    /// A value this crate does not accept here.
    Refused {
        /// The value.
        value: u64,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.field, self.offset)?;
        match self.problem {
            Problem::Truncated { needed, left } => write!(f, "needs {needed} bytes, {left} are left"),
            Problem::Trailing { bytes } => write!(f, "{bytes} bytes follow the end of the structure"),
            Problem::TooLong { length, most } => write!(f, "length {length} is above the limit of {most}"),
            Problem::WrongLength { length, expected } => write!(f, "length is {length}, must be {expected}"),
            Problem::Refused { value } => write!(f, "value {value:#x} is not accepted here"),
        }
    }
}

impl core::error::Error for WireError {}
