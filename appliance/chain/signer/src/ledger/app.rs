//! The conversation with a Ledger's Ethereum app: which command follows which, and what answers mean.  It does no IO.
//!
//! Commands and answers are those of `doc/ethapp.adoc` in LedgerHQ's app-ethereum.  Typed data goes field by field, so
//! that the device shows what is signed; apps that cannot do so (Nano S) get the two hashes instead.

use alloy::primitives::{Address as ChainAddress, B256, Signature, U256, keccak256};
use appliance_model::Address;

use super::{
    KeyPath, LedgerError,
    typed::{Send, Step},
};

const CLASS: u8 = 0xe0;
const ADDRESS: u8 = 0x02;
const SIGN_TRANSACTION: u8 = 0x04;
const CONFIGURATION: u8 = 0x06;
const SIGN_TYPED: u8 = 0x0c;
const DEFINE_STRUCT: u8 = 0x1a;
const FILL_STRUCT: u8 = 0x1c;
/// Data of one command.
const CHUNK: usize = 255;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    instruction: u8,
    p1: u8,
    p2: u8,
    data: Vec<u8>,
    /// Whether somebody may have to press a button before it is answered.
    pub(super) asks_person: bool,
}

impl Command {
    fn new(instruction: u8, p1: u8, p2: u8, data: Vec<u8>) -> Self {
        Self { instruction, p1, p2, data, asks_person: false }
    }

    fn asking(self) -> Self {
        Self { asks_person: true, ..self }
    }

    /// As it goes over the wire; its data is at most [`CHUNK`] bytes long.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u8::try_from(self.data.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![CLASS, self.instruction, self.p1, self.p2, length];
        bytes.extend_from_slice(&self.data);
        bytes
    }
}

/// Carries one command to the device and one answer back: data and status word.
pub(super) trait Link {
    fn exchange(&mut self, command: &Command) -> Result<Vec<u8>, LedgerError>;
}

/// The app behind a link.
#[derive(Debug)]
pub(super) struct App<'a, L> {
    pub(super) link: L,
    pub(super) path: &'a KeyPath,
}

impl<L: Link> App<'_, L> {
    /// The account of the key at the path; `shown` on the device, where a person compares it.
    pub(super) fn account(&mut self, shown: bool) -> Result<Address, LedgerError> {
        let mut command = Command::new(ADDRESS, u8::from(shown), 0, self.path.bytes());
        command.asks_person = shown;
        let found = self.done(&command, "asked for its account")?;
        let odd = || LedgerError::Odd { what: "no account" };
        let key_bytes = usize::from(*found.first().ok_or_else(odd)?);
        let key = found.get(1..=key_bytes).filter(|key| key.len() == 65 && key[0] == 4).ok_or_else(odd)?;
        let rest = found.get(1 + key_bytes..).unwrap_or_default();
        let digits = rest.get(1..41).filter(|_| rest.first() == Some(&40)).ok_or_else(odd)?;
        let account: Address =
            std::str::from_utf8(digits).ok().and_then(|t| t.parse().ok()).ok_or_else(odd)?;
        // What it calls its account is what its key gives, or it is broken.
        let own = ChainAddress::from_slice(&keccak256(&key[1..])[12..]);
        if own.0 != account.0 {
            return Err(LedgerError::Odd { what: "an account that is not its key's" });
        }
        Ok(account)
    }

    /// Refuses another's key before anybody has to read its screen.
    pub(super) fn demand(&mut self, account: Address) -> Result<(), LedgerError> {
        let found = self.account(false)?;
        if found == account {
            return Ok(());
        }
        Err(LedgerError::OtherAccount { path: self.path.to_string(), found, account })
    }

    /// Signs an unsigned transaction's bytes (type and RLP): r and s.
    pub(super) fn transaction(&mut self, unsigned: &[u8]) -> Result<(U256, U256), LedgerError> {
        let blind = self.configuration()?;
        let data = [self.path.bytes(), unsigned.to_vec()].concat();
        let mut answer = Vec::new();
        for (index, chunk) in data.chunks(CHUNK).enumerate() {
            let p1 = if index == 0 { 0x00 } else { 0x80 };
            let command = Command::new(SIGN_TRANSACTION, p1, 0, chunk.to_vec()).asking();
            answer =
                self.done(&command, "signing a transaction").map_err(|error| unreadable(error, blind))?;
        }
        signature(&answer)
    }

    /// Signs typed data: as fields where the app takes those, as hashes where it does not.
    pub(super) fn typed(
        &mut self,
        steps: Option<&[Step]>,
        (domain, message): (B256, B256),
    ) -> Result<(U256, U256), LedgerError> {
        let blind = self.configuration()?;
        let path = self.path.bytes();
        let fields = match steps {
            Some(steps) => self.fields(steps).map_err(|error| unreadable(error, blind))?,
            None => false,
        };
        let command = if fields {
            Command::new(SIGN_TYPED, 0, 1, path)
        } else {
            Command::new(SIGN_TYPED, 0, 0, [&path[..], domain.as_slice(), message.as_slice()].concat())
        };
        // The present app answers both with 6A80 while its settings do not allow them, and says so on its screen.
        let answer =
            self.done(&command.asking(), "signing typed data").map_err(|error| unreadable(error, blind))?;
        signature(&answer)
    }

    /// Gives the app a message field by field; `false` where it knows no such command.
    fn fields(&mut self, steps: &[Step]) -> Result<bool, LedgerError> {
        for (index, step) in steps.iter().enumerate() {
            let instruction = match step.send {
                Send::StructName | Send::FieldType => DEFINE_STRUCT,
                Send::Root | Send::Value => FILL_STRUCT,
            };
            let p2 = match step.send {
                Send::StructName | Send::Root => 0x00,
                Send::FieldType | Send::Value => 0xff,
            };
            let last = step.data.len().div_ceil(CHUNK).saturating_sub(1);
            for (part, chunk) in step.data.chunks(CHUNK).enumerate() {
                // Fields are shown while they come: a person reads on before the next is taken.
                let command = Command::new(instruction, u8::from(part < last), p2, chunk.to_vec()).asking();
                match self.done(&command, "taking typed data") {
                    Ok(_) => {}
                    Err(LedgerError::OtherApp { word: 0x6d00 }) if index == 0 => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }

    /// Whether the app's settings let it sign what it cannot show.
    fn configuration(&mut self) -> Result<bool, LedgerError> {
        let found = self.done(&Command::new(CONFIGURATION, 0, 0, Vec::new()), "asked for its settings")?;
        match found.as_slice() {
            [flags, _, _, _, ..] => Ok(flags & 0x01 != 0),
            _ => Err(LedgerError::Odd { what: "settings of another form" }),
        }
    }

    fn done(&mut self, command: &Command, doing: &'static str) -> Result<Vec<u8>, LedgerError> {
        let mut answer = self.link.exchange(command)?;
        let Some(at) = answer.len().checked_sub(2) else {
            return Err(LedgerError::Odd { what: "no status word" });
        };
        let word = answer.split_off(at);
        match LedgerError::of(u16::from_be_bytes([word[0], word[1]]), doing) {
            None => Ok(answer),
            Some(error) => Err(error),
        }
    }
}

/// "Invalid data" while blind signing is off says that the app would have had to sign blindly.
fn unreadable(error: LedgerError, blind: bool) -> LedgerError {
    let invalid = matches!(error, LedgerError::Word { word: 0x6a80, .. });
    if invalid && !blind { LedgerError::BlindSigning } else { error }
}

/// v, r, s.  What v means differs by kind and age of app: the caller finds the parity by trying both.
fn signature(answer: &[u8]) -> Result<(U256, U256), LedgerError> {
    match (answer.len(), answer.get(1..33), answer.get(33..65)) {
        (65, Some(r), Some(s)) => Ok((U256::from_be_slice(r), U256::from_be_slice(s))),
        _ => Err(LedgerError::Odd { what: "no signature" }),
    }
}

/// The signature with the parity that makes it `account`'s.
pub(super) fn with_parity((r, s): (U256, U256), hash: B256, account: Address) -> Option<Signature> {
    [false, true]
        .into_iter()
        .map(|parity| Signature::new(r, s, parity))
        .find(|tried| tried.recover_address_from_prehash(&hash).is_ok_and(|signer| signer.0 == account.0))
}
