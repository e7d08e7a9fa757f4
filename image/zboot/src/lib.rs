//! A kernel that its distribution does not compress travels compressed inside of a small UEFI program, which unpacks and
//! starts it: what Linux does itself where it is built with `EFI_ZBOOT` (drivers/firmware/efi/libstub/zboot.c), and in
//! that format, so that others' tools know the kernel in it.
//!
//! Here is what needs no firmware: where the payload lies, its decompression, and how the kernel lies in memory.  Bytes
//! in, bytes out; a payload or kernel that lies about itself gives an error that says what and what to do.  `firmware.rs`
//! is the program around it.  It refuses to hand the kernel to the firmware's loader: with Secure Boot that one
//! would refuse it, while the signature over the program covers the payload, too.
//! Read next: `payload.rs`, `kernel.rs`; `image/build/src/zboot.rs`, which writes what is read here.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

use core::fmt;

mod kernel;
mod payload;
mod pe;
#[cfg(test)]
mod samples;

pub use kernel::Kernel;
pub use payload::{find, unpack};

/// Why there is no kernel to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The program carries none, or says wrongly where.
    Payload {
        /// What was looked at.
        what: &'static str,
    },
    /// It cannot be decompressed.
    Damaged {
        /// What was looked at.
        what: &'static str,
    },
    /// What came out is no kernel for this processor.
    Kernel {
        /// What was looked at.
        what: &'static str,
    },
    /// There is no memory for it.
    Memory {
        /// How much was asked for.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Payload { what } => write!(
                out,
                "this program carries no compressed kernel ({what}), and nothing was started; build the image anew with \
                 `scalerforge image build --zboot`"
            ),
            Error::Damaged { what } => write!(
                out,
                "the kernel in this image cannot be unpacked ({what}), and nothing was started; start the machine again, \
                 and if this stays, build the image anew"
            ),
            Error::Kernel { what } => write!(
                out,
                "what was unpacked is no kernel that can be started ({what}); build the image anew with an unmodified \
                 kernel of the distribution"
            ),
            Error::Memory { bytes } => write!(
                out,
                "the firmware has no {bytes} bytes of memory in one piece for the kernel, and nothing was started; \
                 start the machine again without other boot programs before this one"
            ),
        }
    }
}

impl core::error::Error for Error {}
