//! A contract's custom error as a plain sentence with the number that would mend it.

use std::fmt;

use alloy::{
    primitives::U256,
    sol_types::{Panic, Revert, SolError as _, SolInterface as _},
};
use appliance_model::Icnt;
use chain_contracts::{
    IcntMock::IcntMockErrors as TokenError, ScalerNodeRegistry::ScalerNodeRegistryErrors as RegistryError,
};
use serde::{Deserialize, Serialize};

/// A registration that would be, or was, refused.  Shown as its sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error's name: the contract's (`NotEnoughCollateral`), or our own check's.
    pub error: String,
    /// What is wrong and what would mend it, for the operator.
    pub sentence: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence, self.error)
    }
}

impl Refusal {
    /// A refusal with this name and sentence.
    pub(crate) fn new(error: &str, sentence: impl Into<String>) -> Self {
        Self { error: error.into(), sentence: sentence.into() }
    }

    /// Reads revert data with every ABI that takes part in a registration.
    pub(crate) fn of_revert(data: &[u8]) -> Self {
        if let Ok(error) = RegistryError::abi_decode(data) {
            return of_registry(error);
        }
        if let Ok(error) = TokenError::abi_decode(data) {
            return of_token(error);
        }
        if let Some(refusal) = crate::icn::of_icn(data) {
            return refusal;
        }
        if let Ok(error) = Revert::abi_decode(data) {
            let reason: String = error.reason.chars().filter(|c| !c.is_control()).take(300).collect();
            return Self::new("Error", format!("the contract says: {reason}"));
        }
        if let Ok(error) = Panic::abi_decode(data) {
            let what = if error.code == U256::from(0x11) {
                "a number in the registration overflows the contract's arithmetic: check capacity and terms"
            } else {
                "the contract stopped with an internal error: report this to its owner"
            };
            return Self::new("Panic", format!("{what} (code {:#x})", error.code));
        }
        let shown = data.get(..36).unwrap_or(data);
        Self::new(
            "Unknown",
            format!(
                "the contract refused without a reason that is known here (data 0x{})",
                hex::encode(shown)
            ),
        )
    }
}

/// One row per error; a contract error without a row does not compile.
macro_rules! sentences {
    (fn $function:ident($errors:ident) { $($name:ident($e:pat) => $($text:expr),+;)+ }) => {
        fn $function(error: $errors) -> Refusal {
            match error {
                $($errors::$name($e) => Refusal::new(stringify!($name), format!($($text),+)),)+
            }
        }
    };
}

sentences! { fn of_registry(RegistryError) {
    InvalidName(e) => "the node name has {} bytes; it must have {} to {}", e.actual, e.min, e.max;
    InvalidRegion(e) => "the registry knows no region `{}`: choose one that it has", e.regionId;
    InvalidHwClass(e) => "region `{}` has no hardware class `{}`: choose one that it has", e.regionId, e.hwClass;
    InvalidCapacity(e) => "the capacity is {}; it must be at least 1", e.given;
    InvalidLocation(e) => "location code {} is not a country; codes go from 0 to {}", e.given, e.max;
    InvalidNodeRewardShare(e) => "the node reward share is {} %, above {} %", percent(e.given), percent(e.max);
    InvalidCommitmentDuration(e) =>
        "the commitment is {}; it must be from {} to {}", days(e.given), days(e.min), days(e.max);
    InvalidMaxBookingDuration(e) =>
        "the longest booking is {}; it must be more than nothing and no longer than the commitment of {}",
        days(e.given), days(e.max);
    InvalidCollateralPercent(e) => "{} % is no share of the collateral: at most 100", e.given;
    NotEnoughCollateral(e) =>
        "the collateral of {} is below the required {}: stake {} more",
        icnt(e.given), icnt(e.required), icnt(e.required.saturating_sub(e.given));
    NodeAlreadyRegistered(e) =>
        "this machine's TPM is registered already, as node {} by {}: one endorsement key is one node", e.nodeId, e.operator;
    AttestationKeyInUse(e) =>
        "node {} was registered with this attestation key: each TPM has its own", e.nodeId;
    QuoteForSomethingElse(e) =>
        "the TPM signed {} but this registration needs {}: the quote was made for another chain, registry, operator, \
         node or set of units; ask the machine for a new one", e.given, e.expected;
    SignatureNotLowS(_) => "the quote's signature is not in its lower half: a defect of the sender";
    QuoteSignatureInvalid(_) => "the attestation key did not sign this quote";
    QuoteTruncated(e) =>
        "the quote ends too early: {} bytes wanted at {}, {} bytes in all", e.needed, e.offset, e.length;
    QuoteTrailingBytes(e) => "the quote ends at byte {} but {} were sent", e.parsed, e.length;
    QuoteNotFromTpm(e) => "the quote does not begin as a TPM's does ({:#010x})", e.magic;
    QuoteWrongType(e) => "the TPM structure is of type {:#06x}, not a quote (0x8018)", e.attestationType;
    QuoteSignerNameSize(e) => "the quote's signer name has {} bytes, not 34", e.size;
    QuoteExtraDataSize(e) => "the quote's qualifying data has {} bytes, not 32", e.size;
    QuoteBankCount(e) => "the quote covers {} PCR banks; exactly one is taken", e.count;
    QuoteBankNotSha256(e) => "the quote's PCR bank is {:#06x}, not SHA-256", e.algorithm;
    QuoteSelectionSize(e) => "the quote's PCR selection has {} bytes, not 3", e.size;
    QuotePcrsMissing(e) => "the quote leaves out PCRs {}", pcrs(e.missing.to());
    QuotePcrsForbidden(e) => "the quote covers PCRs {}, which a running system can reset", pcrs(e.forbidden.to());
    QuoteDigestSize(e) => "the quote's PCR digest has {} bytes, not 32", e.size;
    UnknownNode(e) => "the registry has no node {}", e.nodeId;
    AlreadyRetired(e) => "node {} has retired already", e.nodeId;
    NotTheOperator(e) => "{} may not do this: the node belongs to {}", e.caller, e.operator;
    StillCommitted(e) =>
        "the node is committed for another {}", days(e.until.saturating_sub(e.time));
    SequenceNotAbove(e) =>
        "evidence {} of this node cannot be published after evidence {}: sequences only rise", e.given, e.published;
    OwnableUnauthorizedAccount(e) => "{} does not own the contract", e.account;
    OwnableInvalidOwner(e) => "{} cannot own the contract", e.owner;
    SafeERC20FailedOperation(e) => "the token {} did not do what was asked", e.token;
} }

sentences! { fn of_token(TokenError) {
    ERC20InsufficientAllowance(e) =>
        "the registry may take {} of the operator's tokens, but {} are needed: approve {}",
        icnt(e.allowance), icnt(e.needed), icnt(e.needed);
    ERC20InsufficientBalance(e) =>
        "{} has {} but {} are needed: send it {}",
        e.sender, icnt(e.balance), icnt(e.needed), icnt(e.needed.saturating_sub(e.balance));
    ERC20InvalidApprover(e) => "{} cannot approve", e.approver;
    ERC20InvalidReceiver(e) => "{} cannot receive tokens", e.receiver;
    ERC20InvalidSender(e) => "{} cannot send tokens", e.sender;
    ERC20InvalidSpender(e) => "{} cannot be allowed to spend", e.spender;
    ERC2612ExpiredSignature(e) => "the permit ran out at {}", e.deadline;
    ERC2612InvalidSigner(e) => "the permit was signed by {}, not by {}", e.signer, e.owner;
    InvalidAccountNonce(e) => "the permit of {} was not made for nonce {}", e.account, e.currentNonce;
    ECDSAInvalidSignature(_) => "the permit's signature is invalid";
    ECDSAInvalidSignatureLength(e) => "the permit's signature has {} bytes", e.length;
    ECDSAInvalidSignatureS(e) => "the permit's signature is not in its lower half ({})", e.s;
    InvalidShortString(_) => "the token's name is stored in a way that cannot be read";
    StringTooLong(_) => "the token's name is too long";
    OwnableInvalidOwner(e) => "{} cannot own the token", e.owner;
    OwnableUnauthorizedAccount(e) => "{} does not own the token", e.account;
} }

/// An amount as tokens; above 128 bits as the bare number.
fn icnt(amount: U256) -> String {
    u128::try_from(amount).map_or_else(|_| format!("{amount} parts of ICNT"), |parts| Icnt(parts).to_string())
}

/// Seconds as days, with the rest where there is one.
fn days(seconds: U256) -> String {
    let day = U256::from(86_400);
    match (seconds / day, seconds % day) {
        (days, rest) if rest.is_zero() => format!("{days} days"),
        (days, _) if days.is_zero() => format!("{seconds} seconds"),
        (days, rest) => format!("{days} days and {rest} seconds"),
    }
}

/// 1e18 = 100 %.
fn percent(share: U256) -> String {
    let tenths = share / U256::from(1_000_000_000_000_000_u64);
    format!("{}.{}", tenths / U256::from(10), tenths % U256::from(10))
}

/// `0, 1, 12` for bits 0, 1, 12.
fn pcrs(bits: u32) -> String {
    let named: Vec<String> = (0..24_u32).filter(|n| bits & (1 << n) != 0).map(|n| n.to_string()).collect();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revert_data(signature: &str, words: &[u64]) -> Vec<u8> {
        let mut data = alloy::primitives::keccak256(signature)[..4].to_vec();
        for word in words {
            data.extend(U256::from(*word).to_be_bytes::<32>());
        }
        data
    }

    #[test]
    fn reverts_read_as_sentences() {
        let half_token = 500_000_000_000_000_000;
        for (data, error, words) in [
            (
                revert_data("NotEnoughCollateral(uint256,uint256)", &[half_token, 3 * half_token]),
                "NotEnoughCollateral",
                "the collateral of 0.5 ICNT is below the required 1.5 ICNT: stake 1 ICNT more",
            ),
            (
                revert_data("ERC20InsufficientAllowance(address,uint256,uint256)", &[7, 0, half_token]),
                "ERC20InsufficientAllowance",
                "the registry may take 0 ICNT of the operator's tokens, but 0.5 ICNT are needed: approve 0.5 ICNT",
            ),
            (
                revert_data("StillCommitted(uint256,uint256)", &[100, 86_501]),
                "StillCommitted",
                "1 days and 1 seconds",
            ),
            (revert_data("Panic(uint256)", &[0x11]), "Panic", "overflows the contract's arithmetic"),
            (revert_data("Panic(uint256)", &[0x32]), "Panic", "internal error"),
            (revert_data("SomebodyElses(uint256)", &[1]), "Unknown", "without a reason that is known here"),
            // Truncated data of a known error is not that error.
            (revert_data("NotEnoughCollateral(uint256,uint256)", &[1]), "Unknown", "without a reason"),
            (Vec::new(), "Unknown", "data 0x"),
            (vec![0xFF; 3], "Unknown", "data 0xffffff"),
        ] {
            let refusal = Refusal::of_revert(&data);
            assert_eq!(refusal.error, error);
            assert!(refusal.sentence.contains(words), "{refusal}");
        }
    }

    #[test]
    fn a_contract_cannot_write_on_the_terminal() {
        let reason = Revert::from("red \u{1b}[31m".repeat(100)).abi_encode();
        let refusal = Refusal::of_revert(&reason);
        assert!(!refusal.sentence.contains('\u{1b}') && refusal.sentence.len() < 400, "{refusal}");
    }
}
