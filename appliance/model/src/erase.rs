//! Erasing drives (NIST SP 800-88): ways, what an agent tells on the way, and what reading back proved.
//!
//! The order and the words are the agent's wire; [`Verification::verdict`] is the one rule here, so that agent, appliance
//! and whoever reads a certificate come to the same.

use serde::{Deserialize, Serialize};

use crate::{Serial, inventory::Bus};

/// Drives of one order: more than a shelf has.
pub const DRIVES_MAX: usize = 128;

/// Places of a drive that are looked at: of content that covers a hundredth of a drive, this many find some with a
/// probability of 1 - 0.99^1024, which is 99.997 %.
pub const SAMPLES_MAX: usize = 1024;

/// Bytes of a place.
pub const SAMPLE_BYTES: u32 = 4096;

/// How a drive is made to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// NVMe Sanitize: the key is thrown away.
    NvmeSanitizeCrypto,
    /// NVMe Sanitize: blocks are erased.
    NvmeSanitizeBlock,
    /// NVMe Format NVM with user data erase.
    NvmeFormat,
    /// ATA CRYPTO SCRAMBLE EXT.
    AtaSanitizeCrypto,
    /// ATA BLOCK ERASE EXT.
    AtaSanitizeBlock,
    /// ATA SECURITY ERASE UNIT, enhanced.
    AtaSecurityEnhanced,
    /// ATA SECURITY ERASE UNIT.
    AtaSecurity,
    /// SCSI SANITIZE: the key is thrown away.
    ScsiSanitizeCrypto,
    /// SCSI SANITIZE: blocks are erased.
    ScsiSanitizeBlock,
    /// SCSI SANITIZE: overwritten with zeros.
    ScsiSanitizeOverwrite,
    /// SCSI FORMAT UNIT.
    ScsiFormat,
}

impl Method {
    /// The command, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NvmeSanitizeCrypto => "NVMe Sanitize, crypto erase",
            Self::NvmeSanitizeBlock => "NVMe Sanitize, block erase",
            Self::NvmeFormat => "NVMe Format NVM, user data erase",
            Self::AtaSanitizeCrypto => "ATA CRYPTO SCRAMBLE EXT",
            Self::AtaSanitizeBlock => "ATA BLOCK ERASE EXT",
            Self::AtaSecurityEnhanced => "ATA SECURITY ERASE UNIT, enhanced mode",
            Self::AtaSecurity => "ATA SECURITY ERASE UNIT, normal mode",
            Self::ScsiSanitizeCrypto => "SCSI SANITIZE, cryptographic erase",
            Self::ScsiSanitizeBlock => "SCSI SANITIZE, block erase",
            Self::ScsiSanitizeOverwrite => "SCSI SANITIZE, overwrite",
            Self::ScsiFormat => "SCSI FORMAT UNIT",
        }
    }

    /// What NIST SP 800-88 Rev. 1, appendix A, calls it, if the drive does what its command says.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::NvmeSanitizeCrypto
            | Self::NvmeSanitizeBlock
            | Self::NvmeFormat
            | Self::AtaSanitizeCrypto
            | Self::AtaSanitizeBlock
            | Self::AtaSecurityEnhanced
            | Self::ScsiSanitizeCrypto
            | Self::ScsiSanitizeBlock
            | Self::ScsiSanitizeOverwrite => Level::Purge,
            Self::AtaSecurity | Self::ScsiFormat => Level::Clear,
        }
    }

    /// Whether only a key is thrown away: what is read afterwards may look like anything.
    #[must_use]
    pub fn throws_a_key_away(self) -> bool {
        match self {
            Self::NvmeSanitizeCrypto | Self::AtaSanitizeCrypto | Self::ScsiSanitizeCrypto => true,
            Self::NvmeSanitizeBlock
            | Self::NvmeFormat
            | Self::AtaSanitizeBlock
            | Self::AtaSecurityEnhanced
            | Self::AtaSecurity
            | Self::ScsiSanitizeBlock
            | Self::ScsiSanitizeOverwrite
            | Self::ScsiFormat => false,
        }
    }
}

/// How much effort is meant to be of no use against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A laboratory's.
    Purge,
    /// That of whoever reads through the drive's own interface.
    Clear,
}

/// A drive to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseDrive {
    /// Its serial.
    pub serial: Serial,
    /// What it may carry, because the permission names it (`LUKS`, `LVM2`, …).
    #[serde(default)]
    pub content: Vec<String>,
    /// What was told before a power cut, where the erase had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// Whether the drive has said that it is done: only reading back is left.
    #[serde(default)]
    pub erased: bool,
}

/// Which drive this was, as it said itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// Serial.
    pub serial: Serial,
    /// Model.
    pub model: Option<String>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// How it is attached.
    pub bus: Bus,
    /// Addressable bytes, over all its namespaces.
    pub bytes: u64,
}

/// A place and what it held before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Which of the drive's block devices, from 0: one for each namespace.
    pub part: u32,
    /// First byte there.
    pub byte: u64,
    /// The first eight bytes of the content's SHA-256, hex; absent where it told nothing (one byte over and over).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Whether we wrote it there, to see it go.
    #[serde(default)]
    pub planted: bool,
}

/// An erase that begins with the appliance's answer to this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// How.
    pub method: Method,
    /// Which drive.
    pub drive: Who,
    /// What is looked at again afterwards.
    pub samples: Vec<Sample>,
}

/// What an agent says of one drive of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Said {
    /// Nothing was done, and nothing will be.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// All is looked at; the command follows as soon as this is answered, and not before.
    Begins(Box<Begun>),
    /// How far the drive says it is.
    Going {
        /// Thousandths.
        permille: u16,
    },
    /// The drive has said that it is done.
    Erased,
    /// It was read back.
    ReadBack(Verification),
    /// It came to nothing after it had begun: what the drive holds is not known.
    Failed {
        /// Why, and what to do.
        why: String,
    },
}

/// What was read back, in counts of places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Bytes of a place.
    pub sample_bytes: u32,
    /// Places, spread over the whole drive, its first and last included.
    pub samples: u32,
    /// Places that could not be read.
    pub unreadable: u32,
    /// Places that hold zeros.
    pub zeros: u32,
    /// Places that hold another byte over and over.
    pub uniform: u32,
    /// Places that hold something else.
    pub other: u32,
    /// Places whose content before was known, those that we wrote included.
    pub known: u32,
    /// Of these, places that hold it still.
    pub remained: u32,
    /// Places that we wrote before, to see it go.
    pub planted: u32,
}

impl Verification {
    /// Whether reading back speaks for the erase.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn verdict(&self) -> Result<(), String> {
        let Self { samples, unreadable, zeros, uniform, other, known, remained, planted, .. } = *self;
        let sum = [unreadable, zeros, uniform, other].iter().try_fold(0_u32, |sum, n| sum.checked_add(*n));
        if sum != Some(samples) || known > samples || remained > known || planted > known {
            return Err("its counts do not add up".into());
        }
        if remained > 0 {
            return Err(format!("{remained} of {known} places hold what they held before"));
        }
        if unreadable > 0 {
            return Err(format!("{unreadable} of {samples} places could not be read back"));
        }
        if planted == 0 {
            return Err("nothing was written beforehand that had to go: nothing is proven".into());
        }
        Ok(())
    }

    /// What reading back shows, and what it does not, for a certificate.
    #[must_use]
    pub fn words(&self, method: Method) -> (Vec<String>, Vec<String>) {
        let Self { samples, sample_bytes, zeros, uniform, other, known, planted, .. } = *self;
        let mut shown = vec![format!(
            "{samples} places of {sample_bytes} bytes, one in each of as many equal parts of the drive, were read back: \
             {zeros} hold zeros, {uniform} another byte over and over, {other} something else"
        )];
        shown.push(format!(
            "none of {known} places holds what it held before; {planted} of them had been written for this purpose"
        ));
        let mut open = vec![
            "places between those that were read".to_owned(),
            "spare blocks and caches, which no host can read: for them the drive's word stands alone"
                .to_owned(),
        ];
        if method.throws_a_key_away() {
            open.push("that no copy of the key was ever outside the drive".to_owned());
        } else if other == 0 {
            open.push("that zeros are not merely shown for blocks that are still there".to_owned());
        }
        (shown, open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_decide() {
        let good = Verification {
            sample_bytes: SAMPLE_BYTES,
            samples: 100,
            zeros: 100,
            known: 60,
            planted: 50,
            ..Verification::default()
        };
        assert_eq!(good.verdict(), Ok(()));
        for (bad, says) in [
            (Verification { remained: 1, ..good }, "1 of 60 places hold what they held"),
            (Verification { unreadable: 2, zeros: 98, ..good }, "2 of 100 places could not"),
            (Verification { planted: 0, ..good }, "nothing is proven"),
            (Verification { zeros: 99, ..good }, "do not add up"),
            (Verification { zeros: u32::MAX, other: 101, ..good }, "do not add up"),
            (Verification { remained: 61, ..good }, "do not add up"),
        ] {
            assert!(bad.verdict().is_err_and(|why| why.contains(says)), "{bad:?}");
        }
    }
}
