//! What can go wrong between us and a chain, and whether waiting helps.

use std::error::Error as StdError;

use alloy::transports::{RpcError, TransportError, TransportErrorKind};
use appliance_model::Address;

use crate::{Refusal, TxHash};

/// A gwei in wei.
const GWEI: u128 = 1_000_000_000;

/// Texts that a node sends are cut here: they end up in journals and on screens.
const NODE_TEXT_MAX: usize = 300;

/// Why something on the chain was not done.  Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured address of the chain cannot be one.
    #[error("chain RPC URL: `{text}` is not an http:// or https:// address; correct it in the configuration")]
    Url {
        /// What was written, without anything after the host.
        text: String,
    },
    /// Nobody answers, or answers that it cannot now.  Waiting helps.
    #[error(
        "{during}: the chain at {url} does not answer; this is tried again until it does (is its node running?)"
    )]
    Down {
        /// What was being done.
        during: &'static str,
        /// Scheme, host and port only: paths may hold access keys.
        url: String,
        /// What the transport said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Another chain than the configured one.
    #[error(
        "the chain at {url} has id {found}, but the configuration says {expected}: a registration signed for one \
         chain is worth nothing on another; correct the URL or the chain id"
    )]
    WrongChain {
        /// Scheme, host and port.
        url: String,
        /// What the chain said.
        found: u64,
        /// What the configuration says.
        expected: u64,
    },
    /// Two nodes of the chain tell different stories.  Nothing is spent until they tell one.
    #[error(
        "chain {chain_id}: {one} and {other} disagree: {what}; nothing is signed or sent until they agree (is one of them \
         on a fork, behind, or not to be trusted? take it out of the configuration)"
    )]
    Disagree {
        /// Scheme, host and port of one.
        one: String,
        /// And of the other.
        other: String,
        /// The chain.
        chain_id: u64,
        /// What they disagree on.
        what: String,
    },
    /// There is no contract, or not the expected one, at an address.
    #[error(
        "{address} holds no {expected} on chain {chain_id}: {found}; check the address in the configuration"
    )]
    NotTheContract {
        /// Where we looked.
        address: Address,
        /// What should be there.
        expected: &'static str,
        /// The chain.
        chain_id: u64,
        /// What is there.
        found: String,
    },
    /// The contract, or our own check before it, says no; waiting does not help.
    #[error("{during}: {refusal}")]
    Refused {
        /// What was being done.
        during: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// The node answered with an error that is not a contract's.
    #[error("{during}: the chain at {url} answered with error {code}: {message}")]
    Rejected {
        /// What was being done.
        during: &'static str,
        /// Scheme, host and port.
        url: String,
        /// JSON-RPC error code, or HTTP status.
        code: i64,
        /// The node's words, cut to a bearable length.
        message: String,
    },
    /// The node answered something that is no answer to the question.
    #[error(
        "{during}: the chain at {url} gave an answer that makes no sense: {what}; is it an Ethereum JSON-RPC?"
    )]
    Answer {
        /// What was being done.
        during: &'static str,
        /// Scheme, host and port.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The chain is dearer than the operator wants to pay.  Waiting helps.
    #[error(
        "the chain asks {base_fee} wei per gas, above the cap of {cap}: waiting until it is cheaper (or raise \
         chain.fee_gwei_max to {})", .base_fee.div_ceil(GWEI)
    )]
    FeesAboveCap {
        /// The latest block's base fee plus the tip, wei per gas.
        base_fee: u128,
        /// The cap, wei per gas.
        cap: u128,
    },
    /// Another transaction of the same account took the nonce; this one can never be mined.
    #[error(
        "transaction {hash} can never be mined: nonce {nonce} of {account} was used by another transaction; is the \
         operator key used elsewhere? sign again with the next nonce"
    )]
    NonceTaken {
        /// Our transaction.
        hash: TxHash,
        /// Its nonce.
        nonce: u64,
        /// Its sender.
        account: Address,
    },
    /// Bytes that should be a signed transaction are not.
    #[error("stored transaction {hash}: {what}; it was not sent")]
    Stored {
        /// The hash it was stored under.
        hash: TxHash,
        /// What is wrong.
        what: &'static str,
    },
    /// A deployment was asked for on a chain that is not for development.
    #[error(
        "contracts are deployed on development chains only, and {url} calls itself `{client}`; nothing was sent"
    )]
    NotDevelopment {
        /// Scheme, host and port.
        url: String,
        /// `web3_clientVersion`.
        client: String,
    },
    /// A transaction of a deployment was mined but failed, or was not mined in time.
    #[error("deploying the reference contracts: {step} {what}; run it again, it continues where it stopped")]
    Deployment {
        /// Which transaction.
        step: String,
        /// What became of it.
        what: &'static str,
    },
    /// The signer failed.
    #[error("signing {purpose} failed")]
    Signing {
        /// What was to be signed.
        purpose: &'static str,
        /// The signer's reason.
        #[source]
        source: Box<chain_signer::SignError>,
    },
}

impl Error {
    /// Nobody answered: trying the same again later is right and safe.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Down { .. })
    }

    /// Waiting may help: the chain is down, too dear now, or its nodes disagree.
    #[must_use]
    pub fn is_waitable(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::FeesAboveCap { .. } | Self::Disagree { .. })
    }

    /// The contract's (or our own check's) refusal, if that is what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused { refusal, .. } = self { Some(refusal) } else { None }
    }

    /// Sorts what the transport reports into: down, refused by a contract, rejected by the node, nonsense.
    pub(crate) fn of_transport(during: &'static str, url: &str, error: TransportError) -> Self {
        let url = url.to_owned();
        let error = match http_status(error) {
            Ok((status, body)) if status == 429 || status >= 500 => {
                return Self::Down {
                    during,
                    url,
                    source: format!("HTTP status {status}: {}", cut(&body)).into(),
                };
            }
            Ok((status, body)) => {
                return Self::Rejected { during, url, code: status.into(), message: cut(&body) };
            }
            Err(error) => error,
        };
        match error {
            RpcError::ErrorResp(payload) => {
                if let Some(data) = payload.as_revert_data() {
                    return Self::Refused { during, refusal: Refusal::of_revert(&data) };
                }
                Self::Rejected { during, url, code: payload.code, message: cut(&payload.message) }
            }
            RpcError::Transport(TransportErrorKind::Custom(source)) => {
                // The URL in reqwest's text may hold an access key.
                let source = match source.downcast::<reqwest::Error>() {
                    Ok(reqwest) => Box::new(reqwest.without_url()) as Box<dyn StdError + Send + Sync>,
                    Err(source) => source,
                };
                Self::Down { during, url, source }
            }
            RpcError::Transport(kind) => Self::Down { during, url, source: Box::new(kind) },
            RpcError::NullResp => Self::Answer { during, url, what: "null".into() },
            RpcError::DeserError { err, text } => {
                Self::Answer { during, url, what: format!("{err} in `{}`", cut(&text)) }
            }
            RpcError::SerError(source) => Self::Answer { during, url, what: source.to_string() },
            RpcError::UnsupportedFeature(what) => Self::Answer { during, url, what: what.into() },
            RpcError::LocalUsageError(source) => Self::Answer { during, url, what: source.to_string() },
        }
    }
}

/// Takes an HTTP error's status and body out, or gives the error back.
fn http_status(error: TransportError) -> Result<(u16, String), TransportError> {
    if let RpcError::Transport(
        TransportErrorKind::HttpError(http) | TransportErrorKind::HttpErrorWithRetryAfter { error: http, .. },
    ) = error
    {
        return Ok((http.status, http.body));
    }
    Err(error)
}

/// A foreign text without control characters, cut to [`NODE_TEXT_MAX`] characters.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NODE_TEXT_MAX).collect()
}
