//! The Ethereum app: reads commands by its documentation, shows what it reads, signs if it may.  Its keys' tree is not
//! BIP-32's: which key a path has is the device's own business, and all that counts is that it is always the same.

use std::sync::{Arc, Mutex};

use alloy::{
    primitives::{B256, hex, keccak256},
    signers::{SignerSync as _, local::PrivateKeySigner},
};

use crate::typed::Message;

const DONE: [u8; 2] = [0x90, 0x00];
const REFUSED: [u8; 2] = [0x69, 0x85];
const INVALID: [u8; 2] = [0x6a, 0x80];
const UNKNOWN: [u8; 2] = [0x6d, 0x00];

/// How this device, and whoever holds it, behave.
pub(crate) struct Habits {
    pub(crate) seed: [u8; 32],
    /// Answers this to everything.
    pub(crate) word: Option<u16>,
    /// Whoever holds it presses "reject".
    pub(crate) refuses: bool,
    /// Its setting "Blind signing".
    pub(crate) blind: bool,
    /// Whether it takes typed data field by field.
    pub(crate) fields: bool,
    /// Is pulled out after so many answers.
    pub(crate) unplugged_after: Option<usize>,
    /// Numbers its reports wrongly.
    pub(crate) garbled: bool,
    /// Signs something else than it was asked.
    pub(crate) signs_other: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            seed: [0x31; 32],
            word: None,
            refuses: false,
            blind: false,
            fields: true,
            unplugged_after: None,
            garbled: false,
            signs_other: false,
        }
    }
}

pub(crate) fn key(seed: &[u8; 32], path: &[u8]) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256([seed, path].concat())).unwrap()
}

pub(crate) struct App {
    pub(crate) habits: Habits,
    shown: Arc<Mutex<Vec<String>>>,
    answers: usize,
    /// Path and bytes of a transaction of which more is to come.
    transaction: Option<(Vec<u8>, Vec<u8>)>,
    message: Message,
}

impl App {
    pub(crate) fn new(habits: Habits, shown: Arc<Mutex<Vec<String>>>) -> Self {
        Self { habits, shown, answers: 0, transaction: None, message: Message::default() }
    }

    /// The answer; `None` once it was pulled out.
    pub(crate) fn asked(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        if self.habits.unplugged_after.is_some_and(|after| self.answers >= after) {
            return None;
        }
        self.answers += 1;
        if let Some(word) = self.habits.word {
            return Some(word.to_be_bytes().into());
        }
        let [class, instruction, p1, p2, length, data @ ..] = command else {
            panic!("too short: {command:?}")
        };
        assert_eq!((*class, usize::from(*length)), (0xe0, data.len()));
        Some(match (instruction, p1, p2) {
            (0x02, shown, 0) => self.account(*shown == 1, data),
            (0x04, 0x00 | 0x80, 0) => self.more(*p1 == 0, data),
            (0x06, 0, 0) => [&[u8::from(self.habits.blind), 1, 12, 0][..], &DONE].concat(),
            (0x0c, 0, version) => self.typed(*version, data),
            (0x1a | 0x1c, ..) if !self.habits.fields => UNKNOWN.into(),
            (0x1a, 0, 0) => self.message.define(data),
            (0x1a, 0, 0xff) => self.message.field(data),
            (0x1c, 0, 0) => self.message.root(data),
            (0x1c, more, 0xff) => self.message.value(*more == 1, data),
            _ => UNKNOWN.into(),
        })
    }

    fn show(&self, words: String) {
        self.shown.lock().unwrap().push(words);
    }

    fn account(&self, shown: bool, path: &[u8]) -> Vec<u8> {
        assert_eq!(path.len(), 1 + 4 * usize::from(path[0]));
        let key = key(&self.habits.seed, path);
        if shown {
            self.show(format!("account 0x{}", hex::encode(key.address())));
        }
        [&[65, 4][..], key.public_key().as_slice(), &[40], hex::encode(key.address()).as_bytes(), &DONE]
            .concat()
    }

    fn more(&mut self, first: bool, data: &[u8]) -> Vec<u8> {
        if first {
            let (path, rest) = data.split_at(1 + 4 * usize::from(data[0]));
            self.transaction = Some((path.into(), rest.into()));
        } else if let Some((_, bytes)) = &mut self.transaction {
            bytes.extend_from_slice(data);
        } else {
            return INVALID.into();
        }
        let (path, bytes) = self.transaction.clone().unwrap();
        if bytes.is_empty() || bytes[0] != 2 {
            return vec![0x65, 0x01];
        }
        // Complete when its list is: nobody says that this was the last.
        let Some((list, [])) = item(&bytes[1..]) else { return DONE.into() };
        self.transaction = None;
        let (mut fields, mut rest) = (Vec::new(), list);
        while let Some((field, behind)) = item(rest) {
            fields.push(field);
            rest = behind;
        }
        let number = |at: usize| fields[at].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        assert_eq!(fields.len(), 9);
        if !fields[7].is_empty() && !self.habits.blind {
            return INVALID.into();
        }
        self.show(format!(
            "to 0x{} {} wei, {} bytes of data, chain {}",
            hex::encode(fields[5]),
            number(6),
            fields[7].len(),
            number(0)
        ));
        self.sign(&path, keccak256(&bytes))
    }

    fn typed(&mut self, version: u8, data: &[u8]) -> Vec<u8> {
        let (path, rest) = data.split_at(1 + 4 * usize::from(data[0]));
        let (domain, message) = if version == 1 {
            assert!(rest.is_empty());
            let (hashes, words) = std::mem::take(&mut self.message).hashes();
            words.into_iter().for_each(|words| self.show(words));
            hashes
        } else {
            assert_eq!(rest.len(), 64);
            self.show(format!("hashes {}", hex::encode(rest)));
            (B256::from_slice(&rest[..32]), B256::from_slice(&rest[32..]))
        };
        if !self.habits.blind {
            return INVALID.into();
        }
        self.sign(path, keccak256([&[0x19, 0x01][..], domain.as_slice(), message.as_slice()].concat()))
    }

    fn sign(&self, path: &[u8], mut hash: B256) -> Vec<u8> {
        if self.habits.refuses {
            return REFUSED.into();
        }
        if self.habits.signs_other {
            hash.0[0] ^= 1;
        }
        let signature = key(&self.habits.seed, path).sign_hash_sync(&hash).unwrap();
        let [r, s] = [signature.r(), signature.s()].map(|part| part.to_be_bytes::<32>());
        [&[u8::from(signature.v())][..], &r, &s, &DONE].concat()
    }
}

/// The first item of RLP and what is behind it; `None` while it is not whole.
fn item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = *bytes.first()?;
    let long = |short: u8| {
        let digits = usize::from(head - short);
        let length = bytes.get(1..=digits)?.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        Some((1 + digits, length))
    };
    let (from, length) = match head {
        0x00..=0x7f => (0, 1),
        0x80..=0xb7 => (1, usize::from(head - 0x80)),
        0xb8..=0xbf => long(0xb7)?,
        0xc0..=0xf7 => (1, usize::from(head - 0xc0)),
        0xf8..=0xff => long(0xf7)?,
    };
    (bytes.len() >= from + length).then(|| (&bytes[from..from + length], &bytes[from + length..]))
}
