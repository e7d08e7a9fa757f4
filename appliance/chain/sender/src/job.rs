//! A call that is to be made once, and how far it is.

use std::fmt;

use appliance_model::{Address, Now};
use chain_client::{Call, Fees, Finality, Outcome, Place, SignedTransaction, TxHash};
use serde::{Deserialize, Serialize};

/// Longer names are none of ours.
const ID_CHARS_MAX: usize = 100;

/// A job's name, the same after every crash (`host 3f… register`, `fleet 7 batch 3`): who asks for the same again gets
/// the job that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// A text that is no job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job's name is 1 to {ID_CHARS_MAX} printable ASCII characters, not `{}`", text.escape_debug())]
pub struct NoJobId {
    text: String,
}

impl JobId {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = NoJobId;

    fn try_from(text: String) -> Result<Self, NoJobId> {
        let fine = (1..=ID_CHARS_MAX).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        if fine { Ok(Self(text)) } else { Err(NoJobId { text: text.chars().take(ID_CHARS_MAX).collect() }) }
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// As soon as it can.
    Soon,
    /// Once nothing urgent waits, and one at a time.
    Idle,
}

/// A call to be made once by one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Who makes the call.
    pub account: Address,
    /// The call.
    #[serde(with = "call_record")]
    pub call: Call,
    /// A job that must have succeeded before this one is signed.
    pub needs: Option<JobId>,
    /// Who goes first.
    pub urgency: Urgency,
    /// When it was asked for.
    pub queued_at: Now,
    /// How often the contract has undone it, each time in a final block.
    pub reverts: u8,
    /// How far it is.
    pub state: State,
}

/// One set of signed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The bytes.
    pub transaction: SignedTransaction,
    /// What they offer.
    pub fees: Fees,
}

/// A job with a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The nonce that all attempts share: only one of them can ever be in a block.
    pub nonce: u64,
    /// The gas limit that all attempts share.
    pub gas_limit: u64,
    /// Signed bytes, the newest last.  Never empty.
    pub attempts: Vec<Attempt>,
    /// Since when the newest attempt waits for a block.
    pub since: Now,
}

impl Signed {
    /// The hashes of all attempts, the newest first.
    pub fn hashes(&self) -> impl Iterator<Item = TxHash> + '_ {
        self.attempts.iter().rev().map(|attempt| attempt.transaction.hash)
    }

    /// The newest attempt.
    #[must_use]
    pub fn newest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

/// How far a job is.
// Not tagged from within: serde buffers such a value, and its buffer has no 128-bit numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not signed yet.
    Queued {
        /// Not before then.
        not_before: Now,
        /// What the last try failed with.
        why: Option<String>,
    },
    /// Signed and stored; sent, unless we died just then.  In no block.
    Sent(Signed),
    /// One attempt is in a block.
    Included {
        /// All attempts: a re-organisation may bring the job back to [`State::Sent`].
        signed: Signed,
        /// Where.
        place: Place,
        /// How certain that is.
        finality: Finality,
    },
    /// In a final block, and it did what it should.
    Settled(Place),
    /// In a final block, and undone by the contract.
    Reverted(Place),
    /// What it should bring about was there without it.
    Found,
    /// The contract says no.  Nothing was signed.
    Refused {
        /// The error's name.
        error: String,
        /// A sentence.
        sentence: String,
    },
    /// Given up before anything was signed.
    Dead {
        /// Why.
        why: String,
    },
}

impl State {
    /// A job that was just asked for.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self::Queued { not_before: now, why: None }
    }

    /// The signed bytes, while they matter.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Sent(signed) | Self::Included { signed, .. } => Some(signed),
            Self::Queued { .. }
            | Self::Settled(_)
            | Self::Reverted(_)
            | Self::Found
            | Self::Refused { .. }
            | Self::Dead { .. } => None,
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Queued { .. } | Self::Sent(_) | Self::Included { .. } => false,
            Self::Settled(_) | Self::Reverted(_) | Self::Found | Self::Refused { .. } | Self::Dead { .. } => {
                true
            }
        }
    }

    /// Whether the call has had its effect, by a block that is at least this certain.
    #[must_use]
    pub fn has_succeeded(&self, at_least: Finality) -> bool {
        match self {
            Self::Settled(_) | Self::Found => true,
            Self::Included { place, finality, .. } => {
                place.outcome == Outcome::Success && *finality >= at_least
            }
            Self::Queued { .. }
            | Self::Sent(_)
            | Self::Reverted(_)
            | Self::Refused { .. }
            | Self::Dead { .. } => false,
        }
    }

    /// Whether the call will never have its effect.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Reverted(_) | Self::Refused { .. } | Self::Dead { .. })
    }
}

/// A call in the journal.  What is being done meanwhile follows from its purpose.
mod call_record {
    use appliance_model::Address;
    use chain_client::{Call, Purpose};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Record {
        to: Address,
        input: String,
        /// Decimal: JSON readers lose digits of large numbers.
        value: String,
        purpose: Purpose,
    }

    pub(super) fn serialize<S: Serializer>(call: &Call, serializer: S) -> Result<S::Ok, S::Error> {
        let (input, value) = (hex::encode(&call.input), call.value.to_string());
        Record { to: call.to, input, value, purpose: call.purpose }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Call, D::Error> {
        let record = Record::deserialize(deserializer)?;
        let input = hex::decode(&record.input).map_err(D::Error::custom)?;
        let value = record.value.parse().map_err(D::Error::custom)?;
        Ok(Call { value, ..Call::new(record.to, input, record.purpose) })
    }
}
