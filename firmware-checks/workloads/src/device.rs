//! Commands to one drive, as whoever holds it sends them: this room knows what to ask, not how a kernel is asked.

use std::{fmt, time::Duration};

/// Data of a command.
#[derive(Debug)]
pub enum Transfer<'a> {
    /// None.
    None,
    /// The drive fills it.
    FromDrive(&'a mut [u8]),
    /// The drive takes it.
    ToDrive(&'a [u8]),
}

/// An NVMe admin command (NVM Express Base Specification).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NvmeCommand {
    /// Opcode.
    pub opcode: u8,
    /// Namespace id; all ones for all.
    pub namespace: u32,
    /// Command dword 10.
    pub cdw10: u32,
    /// Command dword 11.
    pub cdw11: u32,
}

/// How a SCSI command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiAnswer {
    /// Status byte: 0 is good, 2 is CHECK CONDITION.
    pub status: u8,
    /// Sense data, zeros behind its end.
    pub sense: [u8; 32],
}

/// Why a command came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The drive refused it with this NVMe status (code type and code).
    Nvme(u16),
    /// The drive refused it with this sense data.
    Scsi {
        /// Sense key.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Its qualifier.
        ascq: u8,
    },
    /// The kernel did not bring it there, or got no answer.
    System(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nvme(status) => write!(f, "NVMe status {status:#x}"),
            Self::Scsi { key, asc, ascq } => write!(f, "SCSI sense {key:x}/{asc:02x}/{ascq:02x}"),
            Self::System(why) => f.write_str(why),
        }
    }
}

/// A drive that takes commands.
pub trait Commands: Send + Sync {
    /// Sends an NVMe admin command and waits so long for the result dword.
    ///
    /// # Errors
    /// [`Wrong`].
    fn nvme(&self, command: NvmeCommand, data: Transfer<'_>, wait: Duration) -> Result<u32, Wrong>;

    /// Sends a SCSI command and waits so long.  A drive that refuses it answers too.
    ///
    /// # Errors
    /// If it got no answer.
    fn scsi(&self, command: &[u8], data: Transfer<'_>, wait: Duration) -> Result<ScsiAnswer, Wrong>;
}

impl ScsiAnswer {
    /// Sense key, code and qualifier, of either format (SPC-4, 4.5).
    #[must_use]
    pub fn sense(&self) -> (u8, u8, u8) {
        let at = |index: usize| self.sense.get(index).copied().unwrap_or(0);
        match at(0) & 0x7f {
            0x70 | 0x71 => (at(2) & 0x0f, at(12), at(13)),
            0x72 | 0x73 => (at(1) & 0x0f, at(2), at(3)),
            _ => (0, 0, 0),
        }
    }

    /// The progress indication, in thousandths, if there is one.
    #[must_use]
    pub fn progress(&self) -> Option<u16> {
        let at = |index: usize| self.sense.get(index).copied().unwrap_or(0);
        let parts = match at(0) & 0x7f {
            0x70 | 0x71 if at(15) & 0x80 != 0 => u16::from_be_bytes([at(16), at(17)]),
            // A sense-key-specific descriptor is the first one wherever it is told at all.
            0x72 | 0x73 if at(8) == 0x02 && at(12) & 0x80 != 0 => u16::from_be_bytes([at(13), at(14)]),
            _ => return None,
        };
        u16::try_from(u32::from(parts) * 1000 / 65536).ok()
    }

    /// The answer if the drive did it.
    ///
    /// # Errors
    /// The drive's sense data.
    pub fn done(self) -> Result<Self, Wrong> {
        if self.status == 0 {
            return Ok(self);
        }
        let (key, asc, ascq) = self.sense();
        // "Recovered error" is how a drive says that it did it, with something to tell.
        if key == 1 { Ok(self) } else { Err(Wrong::Scsi { key, asc, ascq }) }
    }
}

/// What is asked of drives that answer at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Little-endian fields of what a drive told; what lies outside is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn u8(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.u8(at), self.u8(at + 1)])
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_sense_data() {
        let answer = |head: &[u8]| {
            let mut sense = [0; 32];
            sense[..head.len()].copy_from_slice(head);
            ScsiAnswer { status: 2, sense }
        };
        // Not ready, sanitize in progress, half done.
        let fixed = answer(&[0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x1b, 0, 0x80, 0x80, 0]);
        let descriptor = answer(&[0x72, 2, 0x04, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x80, 0, 0]);
        for answer in [fixed, descriptor] {
            assert_eq!((answer.sense(), answer.progress()), ((2, 0x04, 0x1b), Some(500)));
            assert_eq!(answer.done(), Err(Wrong::Scsi { key: 2, asc: 4, ascq: 0x1b }));
        }
        assert_eq!(answer(&[]).progress(), None);
        assert_eq!(answer(&[0xff; 32]).sense(), (0, 0, 0));
    }
}
