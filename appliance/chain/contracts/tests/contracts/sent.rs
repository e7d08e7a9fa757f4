//! What became of a transaction, whichever chain it ran on.

use alloy::{
    primitives::{Bytes, Log},
    sol_types::{SolError, SolEvent},
};

/// A transaction that went through.
pub(crate) struct Sent {
    /// What the sender pays for, with the 21 000 of a transaction and its data.
    pub(crate) gas: u64,
    pub(crate) output: Bytes,
    pub(crate) logs: Vec<Log>,
}

/// What a contract reverted with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Bytes);

impl Refused {
    /// The error, if it is this one.
    pub(crate) fn is<E: SolError>(&self) -> bool {
        self.0.starts_with(&E::SELECTOR)
    }

    pub(crate) fn decode<E: SolError>(&self) -> E {
        E::abi_decode(&self.0).unwrap()
    }
}

impl Sent {
    /// The only event of this kind.
    pub(crate) fn event<E: SolEvent>(&self) -> E {
        let mut found = self.logs.iter().filter_map(|log| E::decode_log(log).ok());
        let event = found.next().unwrap().data;
        assert!(found.next().is_none());
        event
    }
}
