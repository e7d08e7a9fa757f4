//! A contract's custom error as a plain sentence with the number that would mend it.

use std::fmt;

use alloy::{
    primitives::U256,
    sol_types::{Panic, Revert, SolError},
};
use appliance_model::Icnt;
use chain_contracts::{
    anomalies::Anomalies as A, bookings::Bookings as B, nodes::ScalerNodes as N,
    passports::PassportMock as S, permit2::Permit2Mock as P, terms::ScalerTerms as T, token::IcntMock as I,
    vault::CollateralVault as V,
};
use serde::{Deserialize, Serialize};

/// Regions, classes and the like are shorter; what a contract sends beyond is not shown.
const NAME_MAX: usize = 100;

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
        if let Some(refusal) = known(data) {
            return refusal;
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

/// One row per error.  Contracts share some: their data are the same, whoever says it.
macro_rules! sentences {
    ($($name:path[$e:pat] => $($text:expr),+;)+) => {
        /// The refusal whose error these are the data of, and nothing but these.
        fn known(data: &[u8]) -> Option<Refusal> {
            $(
                if data.starts_with(&<$name as SolError>::SELECTOR) {
                    let $e = <$name as SolError>::abi_decode(data).ok()?;
                    return Some(Refusal::new(error_name(<$name as SolError>::SIGNATURE), format!($($text),+)));
                }
            )+
            None
        }
    };
}

/// `NotEnoughCollateral` of `NotEnoughCollateral(uint256,uint256)`.
fn error_name(signature: &str) -> &str {
    signature.split('(').next().unwrap_or(signature)
}

// The registry.
sentences! {
    N::InvalidName[e] => "the node name has {} bytes; it must have {} to {}", e.actual, e.min, e.max;
    N::InvalidCapacity[e] => "the capacity is {}; it must be at least 1 and below 2^40", e.given;
    N::InvalidLocation[e] => "location code {} is not a country; codes go from 0 to {}", e.given, e.max;
    N::InvalidReservationPrice[e] => "the reservation price of {} is above {}", icnt(e.given), icnt(e.max);
    N::InvalidNodeRewardShare[e] => "the node reward share is {} %, above {} %", percent(e.given), percent(e.max);
    N::InvalidCollateralAmount[e] => "the collateral of {} is above {}", icnt(e.given), icnt(e.max);
    N::InvalidCommitmentDuration[e] =>
        "the commitment is {}; it must be from {} to {}", days(e.given), days(e.min), days(e.max);
    N::InvalidMaxBookingDuration[e] =>
        "the longest booking is {}; it must be more than nothing and no longer than the commitment of {}",
        days(e.given), days(e.max);
    N::TooManyScalerNodes[e] => "a batch of {} nodes cannot be registered at once: at most {}", e.given, e.max;
    N::NodeAlreadyRegistered[e] =>
        "this machine's TPM is registered already, as node {} of {}: one endorsement key is one node", e.nodeId, e.owner;
    N::AttestationKeyInUse[e] =>
        "node {} was registered with this attestation key: each TPM has its own", e.nodeId;
    N::UnknownNode[e] => "the registry has no node {}", e.nodeId;
    N::AlreadyRetired[e] => "node {} has retired already", e.nodeId;
    N::NotTheOperator[e] =>
        "{} may not do this: the node belongs to {}, who has not made it an operator", e.caller, e.owner;
    N::StillCommitted[e] =>
        "the node is committed for another {}", days(e.until.saturating_sub(e.time));
    N::SequenceNotAbove[e] =>
        "evidence {} of this node cannot be published after evidence {}: sequences only rise", e.given, e.published;
    // Attestors.
    N::BindingExpired[e] =>
        "an attestor's word ran out at {}, {} s ago: ask the attestor for a new one", e.validUntil,
        e.time.saturating_sub(U256::from(e.validUntil));
    N::BindingSignatureInvalid[e] => "signature {} of the attestors is none", e.index;
    N::TooManyBindings[e] => "{} attestors' signatures are too many: at most {}", e.given, e.max;
    T::NotEnoughAttestors[e] =>
        "the class wants the word of {} attestors, and {} have given it: get {} more", e.needed, e.counted,
        e.needed.saturating_sub(e.counted);
    T::NotAnAttestor[e] =>
        "{} is none of this class's attestors, or signed for another node, key or registry", e.signer;
    T::AttestorCountedTwice[e] => "attestor {} has signed twice: each counts once", e.signer;
    // The quote.
    N::QuoteForSomethingElse[e] =>
        "the TPM signed {} but this registration needs {}: the quote was made for another chain, registry, operator, \
         node or set of units; ask the machine for a new one", e.given, e.expected;
    N::SignatureNotLowS[_e] => "the quote's signature is not in its lower half: a defect of the sender";
    N::QuoteSignatureInvalid[_e] => "the attestation key did not sign this quote";
    N::QuoteLength[e] => "the quote has {} bytes, not {}", e.given, e.expected;
    N::QuoteNotFromTpm[e] => "the quote does not begin as a TPM's does ({:#010x})", e.magic;
    N::QuoteWrongType[e] => "the TPM structure is of type {:#06x}, not a quote (0x8018)", e.attestationType;
    N::QuoteSignerName[e] => "the quote's signer name begins with {:#010x}, not with SHA-256's 0x0022000b", e.given;
    N::QuoteExtraDataSize[e] => "the quote's qualifying data has {} bytes, not 32", e.size;
    N::QuoteClockSafe[e] => "the quote says {} for whether its clock is safe, not 0 or 1", e.given;
    N::QuoteBankCount[e] => "the quote covers {} PCR banks; exactly one is taken", e.count;
    N::QuoteBankNotSha256[e] => "the quote's PCR bank is {:#06x}, not SHA-256", e.algorithm;
    N::QuoteSelectionSize[e] => "the quote's PCR selection has {} bytes, not 2 to 4", e.size;
    N::QuotePcrsMissing[e] => "the quote leaves out PCRs {}", pcrs(e.missing.to());
    N::QuotePcrsForbidden[e] =>
        "the quote covers PCRs from 16 on ({:#x}), which a running system can reset", e.selected;
    N::QuoteDigestSize[e] => "the quote's PCR digest has {} bytes, not 32", e.size;
    // The terms.
    T::InvalidRegion[e] => "the network knows no region `{}`: choose one that it has", shown(&e.regionId);
    T::InvalidHwClass[e] =>
        "region `{}` has no hardware class `{}`: choose one that it has", shown(&e.regionId), shown(&e.hwClass);
    T::InvalidClassTerms[e] => "the class's {} cannot be so", shown(&e.what);
    T::InvalidCollateralPercent[e] => "{} % is no share of the collateral: at most 100", e.given;
    T::CirculatingAboveSupply[e] =>
        "{} in circulation are more than there are: {}", icnt(e.given), icnt(e.supply);
    T::NotTheRegistry[e] => "{} is not the registry", e.caller;
    T::OwnableUnauthorizedAccount[e] => "{} does not own the contract", e.account;
    T::OwnableInvalidOwner[e] => "{} cannot own the contract", e.owner;
    T::SafeCastOverflowedUintDowncast[e] =>
        "the number {} does not fit the contract's {} bits: check capacity and terms", e.value, e.bits;
    // The vault.
    V::NotEnoughCollateral[e] =>
        "the collateral of {} is below the required {}: stake {} more",
        icnt(e.given), icnt(e.required), icnt(e.required.saturating_sub(e.given));
    V::NotEnoughDeposit[e] =>
        "the owner's deposit is {} but {} are needed: deposit {} more",
        icnt(e.available), icnt(e.needed), icnt(e.needed.saturating_sub(e.available));
    V::DailyLimit[e] => "{}", daily(&e.what, e.used, e.limit);
    V::NotAnOperator[e] =>
        "{} does not let {} act for it: the owner has to set it as operator, with limits", e.owner, e.caller;
    V::NotTheOwner[e] =>
        "{} is not the owner {}: an operator pays out of the owner's deposit only", e.caller, e.owner;
    V::PermitSignatureLength[e] => "the permit's signature has {} bytes, not 65", e.given;
    V::InvalidAmount[e] => "an amount of {} is not taken", icnt(e.given);
    V::AlreadyLocked[e] => "collateral of node {} is locked already", e.nodeId;
    V::NodeHeld[e] => "an anomaly of node {} is open: nothing of it moves until that is closed", e.nodeId;
    V::DelegationAboveNeed[e] =>
        "delegations would be {}, above the network part of {}: delegate {} less",
        icnt(e.sum), icnt(e.networkPart), icnt(e.sum.saturating_sub(e.networkPart));
    V::DelegationsSlashedAway[e] => "the delegations of node {} were slashed to nothing", e.nodeId;
    V::NotEnoughShares[e] => "the delegator has {} shares, not {}", e.given, e.needed;
    V::NotReady[e] =>
        "nothing was asked back, or it can be taken in {} only", days(e.readyAt.saturating_sub(e.time));
    V::NeededByNode[e] =>
        "the node would be left with {} of the {} that it needs: take {} less",
        icnt(e.left), icnt(e.needed), icnt(e.needed.saturating_sub(e.left));
    V::OnePassportOnly[e] => "node {} takes one passport", e.nodeId;
    V::NotAnomalies[e] => "{} is not the contract of anomalies", e.caller;
    V::NotBookings[e] => "{} is not the contract of bookings", e.caller;
    V::SafeERC20FailedOperation[e] => "the token {} did not do what was asked", e.token;
    // Anomalies.
    A::CaseOpen[e] => "a case of node {} is open already", e.nodeId;
    A::NoCase[e] => "no case of node {} is open", e.nodeId;
    A::NotAHyperNode[e] => "{} is no HyperNode of this network", e.caller;
    A::SaidAlready[e] => "HyperNode {} has said so already", e.hyperNode;
    A::StillRestoring[e] => "the node has another {} to restore", days(e.until.saturating_sub(e.time));
    // Bookings.
    B::AlreadyOver[e] => "the booking ended {} ago", days(e.time.saturating_sub(e.end));
    B::BeyondCommitment[e] =>
        "the booking would end {} after the node's commitment", days(e.end.saturating_sub(e.committedUntil));
    B::FeeAboveOffered[e] => "the fee is {}, above the {} that were offered", icnt(e.fee), icnt(e.max);
    B::FeeTooLarge[e] => "a fee of {} is more than is counted", icnt(e.fee);
    B::InvalidDuration[e] =>
        "a booking of {}: it must be more than nothing and at most {}", days(e.given), days(e.max);
    B::NodeTaken[e] => "node {} is booked until {}", e.nodeId, e.until;
    B::NotCovered[e] => "node {} has not its whole collateral: it cannot be booked", e.nodeId;
    B::NotOverdue[e] => "node {} is not overdue", e.nodeId;
    B::NotTheBooker[e] => "{} has not booked this: {} has", e.caller, e.booker;
    B::NotTheLast[e] => "booking {} is followed by another, until {}", e.id, e.until;
    B::NotTheOwnersWord[e] => "this was not signed by the owner {}", e.owner;
    B::OfferExpired[e] => "the offer ran out at {}, {} s ago", e.validUntil, e.time.saturating_sub(e.validUntil);
    B::PriceAboveMaximum[e] => "the price of {} is above the class's {}", icnt(e.price), icnt(e.max);
    B::UnitNotUnderRoot[e] => "the unit's proof leads to {}, not to the node's {}", e.leads, e.root;
    B::UnitProofShape[e] =>
        "a proof of unit {} of {} does not have {} siblings", e.index, e.count, e.siblings;
    B::UnitTaken[e] => "unit {} of node {} is booked until {}", e.leaf, e.nodeId, e.until;
    B::UnknownBooking[e] => "there is no booking {}", e.id;
    // The token.
    I::ERC20InsufficientAllowance[e] =>
        "{} may take {} of the owner's tokens, but {} are needed: approve {}",
        e.spender, icnt(e.allowance), icnt(e.needed), icnt(e.needed);
    I::ERC20InsufficientBalance[e] =>
        "{} has {} but {} are needed: send it {}",
        e.sender, icnt(e.balance), icnt(e.needed), icnt(e.needed.saturating_sub(e.balance));
    I::ERC20InvalidApprover[e] => "{} cannot approve", e.approver;
    I::ERC20InvalidReceiver[e] => "{} cannot receive tokens", e.receiver;
    I::ERC20InvalidSender[e] => "{} cannot send tokens", e.sender;
    I::ERC20InvalidSpender[e] => "{} cannot be allowed to spend", e.spender;
    I::ERC2612ExpiredSignature[e] => "the permit ran out at {}", e.deadline;
    I::ERC2612InvalidSigner[e] => "the permit was signed by {}, not by {}", e.signer, e.owner;
    I::InvalidAccountNonce[e] => "the permit of {} was not made for nonce {}", e.account, e.currentNonce;
    I::ECDSAInvalidSignature[_e] => "the permit's signature is invalid";
    I::ECDSAInvalidSignatureLength[e] => "the permit's signature has {} bytes", e.length;
    I::ECDSAInvalidSignatureS[e] => "the permit's signature is not in its lower half ({})", e.s;
    I::InvalidShortString[_e] => "the contract's name is stored in a way that cannot be read";
    I::StringTooLong[_e] => "the contract's name is too long";
    // Permit2.
    P::Expired[e] => "the permit for Permit2 ran out at {}", e.deadline;
    P::AboveAllowed[e] => "the permit for Permit2 allows {}, and more was asked for", icnt(e.max);
    P::NonceUsed[e] => "nonce {} of Permit2 was used already", e.nonce;
    P::WrongSignature[_e] => "the permit for Permit2 was not signed by the owner";
    // Passports.
    S::ERC721IncorrectOwner[e] => "passport {} belongs to {}, not to {}", e.tokenId, e.owner, e.sender;
    S::ERC721InsufficientApproval[e] =>
        "{} may not take passport {}: its owner has to approve that", e.operator, e.tokenId;
    S::ERC721InvalidApprover[e] => "{} cannot approve a passport", e.approver;
    S::ERC721InvalidOperator[e] => "{} cannot be allowed to take passports", e.operator;
    S::ERC721InvalidOwner[e] => "{} cannot own a passport", e.owner;
    S::ERC721InvalidReceiver[e] => "{} cannot receive passports", e.receiver;
    S::ERC721InvalidSender[e] => "{} cannot send passports", e.sender;
    S::ERC721NonexistentToken[e] => "there is no passport {}", e.tokenId;
}

/// What a day's limit is of.
fn daily(what: &str, used: U256, limit: U256) -> String {
    if what == "collateral" {
        // Counted in thousandths of a token.
        let tokens = |milli: U256| icnt(milli.saturating_mul(U256::from(crate::funds::MILLITOKEN)));
        return format!(
            "the operator would have locked {} today, above the owner's limit of {}: wait for the next day (UTC), or let \
             the owner raise it",
            tokens(used),
            tokens(limit)
        );
    }
    format!(
        "this would be number {used} of the operator's {} today, above the owner's limit of {limit}: wait for the next \
         day (UTC), or let the owner raise it",
        shown(what)
    )
}

/// A contract's text, fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

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
                "may take 0 ICNT of the owner's tokens, but 0.5 ICNT are needed: approve 0.5 ICNT",
            ),
            (
                revert_data("StillCommitted(uint256,uint256)", &[100, 86_501]),
                "StillCommitted",
                "1 days and 1 seconds",
            ),
            (
                revert_data("NotEnoughAttestors(uint256,uint256)", &[1, 3]),
                "NotEnoughAttestors",
                "wants the word of 3 attestors, and 1 have given it: get 2 more",
            ),
            (
                revert_data("NotEnoughDeposit(uint256,uint256)", &[half_token, 3 * half_token]),
                "NotEnoughDeposit",
                "the owner's deposit is 0.5 ICNT but 1.5 ICNT are needed: deposit 1 ICNT more",
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

    /// Each artefact's errors with data of zeros, which every one of our errors can be read from.
    #[test]
    fn every_error_of_the_contracts_has_a_sentence() {
        let artefacts = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/artifacts");
        let mut seen = 0;
        for file in std::fs::read_dir(artefacts).unwrap() {
            let path = file.unwrap().path();
            let artefact: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let entries = artefact["abi"].as_array().unwrap();
            for error in entries.iter().filter(|entry| entry["type"] == "error") {
                let name = error["name"].as_str().unwrap();
                let inputs = error["inputs"].as_array().unwrap();
                let types: Vec<_> = inputs.iter().map(|input| input["type"].as_str().unwrap()).collect();
                let data = revert_data(&format!("{name}({})", types.join(",")), &[0; 16]);
                let refusal = Refusal::of_revert(&data);
                assert_eq!(refusal.error, name, "{}: {refusal}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn a_contract_cannot_write_on_the_terminal() {
        let reason = Revert::from("red \u{1b}[31m".repeat(100)).abi_encode();
        let refusal = Refusal::of_revert(&reason);
        assert!(!refusal.sentence.contains('\u{1b}') && refusal.sentence.len() < 400, "{refusal}");
    }
}
