//! Why a Ledger did not sign, in words for whoever stands in front of it.

use std::{io, path::PathBuf};

use appliance_model::Address;

/// Why a Ledger did not sign.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// None is there.
    #[error(
        "no Ledger is plugged in here; plug it in, unlock it and open its Ethereum app (Linux shows it below \
         /sys/class/hidraw, maker 2c97)"
    )]
    Absent,
    /// Several are there.
    #[error("several Ledgers are plugged in ({devices}); unplug the others, or name one as `device`")]
    Several {
        /// Their nodes.
        devices: String,
    },
    /// The node cannot be used.
    #[error(
        "the Ledger at {device} could not be {doing}; is it plugged in, and may we read and write it (a udev rule for maker \
         2c97 gives that)?"
    )]
    Device {
        /// Its node.
        device: PathBuf,
        /// `opened`, `written`, `read`.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another program talks with it.
    #[error("another program here talks with the Ledger at {device}; wait for it, or close it")]
    Busy {
        /// Its node.
        device: PathBuf,
    },
    /// It does not answer.
    #[error(
        "the Ledger at {device} gave no answer in {seconds} s; was the question on its screen left open?"
    )]
    Silent {
        /// Its node.
        device: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// It gave an answer that makes no sense.
    #[error("the Ledger gave an answer that makes no sense ({what}); unplug it and plug it in again")]
    Odd {
        /// What is wrong.
        what: &'static str,
    },
    /// It is locked.
    #[error("the Ledger is locked; type its PIN")]
    Locked,
    /// The Ethereum app is not open.
    #[error("the Ledger's Ethereum app is not open (it answers {word:04X}); open it")]
    OtherApp {
        /// Its status word.
        word: u16,
    },
    /// Whoever held it said no.
    #[error("it was refused at the Ledger; nothing was signed")]
    Refused,
    /// The app signs no data that it cannot read.
    #[error(
        "the Ledger's Ethereum app does not sign what it cannot show in words; compare what is signed with what is shown \
         here, and switch on \"Blind signing\" (for typed data: \"Raw messages\") in the app's settings"
    )]
    BlindSigning,
    /// An app that does not know EIP-1559.
    #[error("the Ledger's Ethereum app is too old for this transaction; bring it up to date")]
    OldApp,
    /// Another status word.
    #[error(
        "the Ledger answers {word:04X} while {doing}; look on its screen, and say this number to its maker"
    )]
    Word {
        /// Its status word.
        word: u16,
        /// What it was asked.
        doing: &'static str,
    },
    /// The key at the path is another's.
    #[error(
        "the Ledger's key at {path} is of 0x{found}, not of 0x{account}; is it another device, or another path?"
    )]
    OtherAccount {
        /// The path.
        path: String,
        /// Whose key is there.
        found: Address,
        /// Whose it should be.
        account: Address,
    },
    /// The task that talks with it died.
    #[error("the conversation with the Ledger broke off")]
    BrokeOff(#[source] tokio::task::JoinError),
}

impl LedgerError {
    /// What a status word says; `None` for "done".
    pub(super) fn of(word: u16, doing: &'static str) -> Option<Self> {
        Some(match word {
            0x9000 => return None,
            // Since 2021's firmware; before, apps gave 6804 or 6B0C.
            0x5515 | 0x6804 | 0x6b0c => Self::Locked,
            // Without an app the dashboard answers; another coin's app knows the class or the instruction not.
            0x6511 | 0x6d00 | 0x6d02 | 0x6e00 | 0x6e01 => Self::OtherApp { word },
            0x6985 | 0x6982 | 0x5501 => Self::Refused,
            0x6501 => Self::OldApp,
            word => Self::Word { word, doing },
        })
    }

    /// Whether a person at the device can mend it without anything being changed here.
    #[must_use]
    pub fn is_waitable(&self) -> bool {
        match self {
            Self::Absent
            | Self::Several { .. }
            | Self::Device { .. }
            | Self::Busy { .. }
            | Self::Silent { .. }
            | Self::Locked
            | Self::OtherApp { .. }
            | Self::BlindSigning
            | Self::OldApp => true,
            // Who said no is not asked again and again.
            Self::Refused
            | Self::Odd { .. }
            | Self::Word { .. }
            | Self::OtherAccount { .. }
            | Self::BrokeOff(_) => false,
        }
    }
}
