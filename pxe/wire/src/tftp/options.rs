//! The options of RFC 2348, 2349 and 7440, each at most once and inside its range.

use std::fmt;

use super::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, Malformed, text};

/// Most options in one packet, those nobody defined counted: 512 bytes could hold 127 empty ones.
pub(super) const OPTIONS_MAX: usize = 16;

/// The options that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// blksize, RFC 2348.
    BlockBytes,
    /// timeout, RFC 2349.
    TimeoutSeconds,
    /// tsize, RFC 2349.
    FileBytes,
    /// windowsize, RFC 7440.
    WindowBlocks,
}

impl Named {
    /// As it is written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlockBytes => "blksize",
            Self::TimeoutSeconds => "timeout",
            Self::FileBytes => "tsize",
            Self::WindowBlocks => "windowsize",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        [Self::BlockBytes, Self::TimeoutSeconds, Self::FileBytes, Self::WindowBlocks]
            .into_iter()
            .find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Options as asked for or agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Data bytes in a block, 8 to 65,464 (RFC 2348).
    pub block_bytes: Option<u16>,
    /// Seconds until something is sent again, 1 to 255 (RFC 2349).
    pub timeout_seconds: Option<u8>,
    /// Bytes of the file; a reader asks with 0 (RFC 2349).
    pub file_bytes: Option<u64>,
    /// Blocks that are sent before an ACK is awaited, 1 to 65,535 (RFC 7440).
    pub window_blocks: Option<u16>,
}

impl Options {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn set(&mut self, option: Named, value: &[u8]) -> Result<(), Malformed> {
        let number = decimal(value).ok_or(Malformed::Value(option))?;
        let fits = Malformed::Value(option);
        let again = match option {
            Named::BlockBytes => {
                let bytes = u16::try_from(number).map_err(|_| fits)?;
                if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&bytes) {
                    return Err(fits);
                }
                self.block_bytes.replace(bytes).is_some()
            }
            Named::TimeoutSeconds => {
                let seconds = u8::try_from(number).ok().filter(|seconds| *seconds > 0).ok_or(fits)?;
                self.timeout_seconds.replace(seconds).is_some()
            }
            Named::FileBytes => self.file_bytes.replace(number).is_some(),
            Named::WindowBlocks => {
                let blocks = u16::try_from(number).ok().filter(|blocks| *blocks > 0).ok_or(fits)?;
                self.window_blocks.replace(blocks).is_some()
            }
        };
        if again { Err(Malformed::Twice(option)) } else { Ok(()) }
    }
}

/// Digits only, at most 20 of them: no sign, no blank, no overflow.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Reads name and value pairs to the end.
pub(super) fn parse(mut rest: &[u8]) -> Result<Options, Malformed> {
    let mut options = Options::default();
    let mut count = 0usize;
    // Zeros to the end are padding of clients that send a buffer of fixed size.
    while rest.iter().any(|byte| *byte != 0) {
        let (name, after) = text(rest, "name of an option")?;
        let (value, after) = text(after, "value of an option")?;
        rest = after;
        if name.is_empty() {
            return Err(Malformed::EmptyOption);
        }
        count = count.saturating_add(1);
        if count > OPTIONS_MAX {
            return Err(Malformed::Many);
        }
        if let Some(option) = Named::of(name) {
            options.set(option, value)?;
        }
    }
    Ok(options)
}
