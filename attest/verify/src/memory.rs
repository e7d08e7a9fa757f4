//! What a [`crate::Verifier`] remembers: answers that cannot come out otherwise for the same bytes.
//!
//! A chain is remembered by the bytes of key and certificates, for the time in which all its certificates are valid;
//! the roots are the verifier's and do not change.  A log is remembered by its digest, which is computed each time:
//! as long as a machine is not restarted it shows the same one.  Of a binding statement only the fact is remembered that its
//! signature holds: whom it speaks of, and whether its challenger counts, is judged each time.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use attest_evidence::binding::Binding;
use sha2::{Digest as _, Sha256};

use crate::{endorsement::Endorsed, log::Reading};

/// Most entries of a kind; a full memory is emptied, so that strangers cannot make it grow.
const ENTRIES_MAX: usize = 1 << 17;

/// Digests of what held.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    chains: BTreeMap<[u8; 32], (Endorsed, RangeInclusive<u64>)>,
    bindings: BTreeMap<[u8; 32], Arc<Binding>>,
    logs: BTreeMap<[u8; 32], Arc<Reading>>,
}

impl Memory {
    pub(crate) fn chain(&self, key: &[u8; 32], now_unix: u64) -> Option<Endorsed> {
        let (endorsed, valid) = self.chains.get(key)?;
        valid.contains(&now_unix).then(|| endorsed.clone())
    }

    pub(crate) fn keep_chain(&mut self, key: [u8; 32], endorsed: &Endorsed, valid: RangeInclusive<u64>) {
        if self.chains.len() >= ENTRIES_MAX {
            self.chains.clear();
        }
        self.chains.insert(key, (endorsed.clone(), valid));
    }

    pub(crate) fn log(&self, digest: &[u8; 32]) -> Option<Arc<Reading>> {
        self.logs.get(digest).cloned()
    }

    pub(crate) fn keep_log(&mut self, digest: [u8; 32], reading: Arc<Reading>) {
        if self.logs.len() >= ENTRIES_MAX {
            self.logs.clear();
        }
        self.logs.insert(digest, reading);
    }

    pub(crate) fn forget_logs(&mut self) {
        self.logs.clear();
    }

    /// The statement with this digest, if its signature is known to hold.
    pub(crate) fn binding(&self, digest: &[u8; 32]) -> Option<Arc<Binding>> {
        self.bindings.get(digest).cloned()
    }

    pub(crate) fn keep_binding(&mut self, digest: [u8; 32], binding: Arc<Binding>) {
        if self.bindings.len() >= ENTRIES_MAX {
            self.bindings.clear();
        }
        self.bindings.insert(digest, binding);
    }
}

/// Names a chain's bytes: each with its length in front.
pub(crate) fn chain_key(parts: &[&[Vec<u8>]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        for bytes in *part {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        }
    }
    hash.finalize().into()
}
