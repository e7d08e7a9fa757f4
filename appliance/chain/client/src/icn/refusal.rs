//! ICN's custom errors as sentences.  Most of them carry no number: our own checks, which come first, have them.

use alloy::sol_types::SolInterface as _;

use super::abi::Icn::IcnErrors;
use crate::Refusal;

/// One row per error; an error of the interface without a row does not compile.
macro_rules! sentences {
    (fn $function:ident { $($name:ident($e:pat) => $($text:expr),+;)+ }) => {
        fn $function(error: IcnErrors) -> Refusal {
            match error {
                $(IcnErrors::$name($e) => Refusal::new(stringify!($name), format!($($text),+)),)+
            }
        }
    };
}

/// Reads revert data as one of ICN's errors.
pub(crate) fn of_icn(data: &[u8]) -> Option<Refusal> {
    IcnErrors::abi_decode(data).ok().map(sentence)
}

sentences! { fn sentence {
    ICNRegistryAlreadyInitialized(_) => "ICN's registry is set up already";
    ICNRegistryInvalidParams(_) => "ICN takes no such parameters: is the registration's signature the one of this version?";
    ICNRegistryInvalidLength(_) => "ICN was sent lists of different lengths: a defect of the sender";
    ICNRegistryUnauthorizedAccount(e) =>
        "{} may not do this at ICN, only {} may: sign with the hardware provider's own account", e.actualCaller, e.expectedCaller;
    InvalidName(e) => "the node name has {} bytes; it must have {} to {}", e.actual, e.min, e.max;
    InvalidRegion(_) => "ICN knows no such region: choose one that it has";
    InvalidTargetCapacity(_) => "ICN takes no such target capacity";
    InvalidCollateralReq(_) => "ICN takes no such rate of collateral";
    InvalidReleaseScheduleEndTimestamp(_) => "ICN takes no such end of a release schedule";
    InvalidCluster(_) => "ICN knows no such cluster";
    InvalidHP(_) => "ICN knows no such hardware provider, or not with this account: correct registration.hp_id";
    InvalidSP(_) => "ICN knows no such service provider";
    InvalidScalerNode(_) => "ICN has no node of this number";
    InvalidHyperNode(_) => "ICN has no HyperNode of this number";
    InvalidCommitmentDuration(_) => "ICN takes commitments of at least 1080 days: raise registration.commitment_days";
    TooManyNodes(_) => "the cluster is full (ICN takes 50 nodes by default): ask ICN for another one";
    InvalidCaller(_) => "this account may not do that at ICN: it is not the node's";
    HardwareClassMismatch(_) => "the cluster is of another hardware class than the node";
    NotEnoughCollateral(_) => "the collateral is below what ICN asks for now: read the terms again and stake more";
    HwClassAlreadyRegistered(_) => "ICN has this hardware class already";
    InvalidHwClass(_) => "ICN's region has no such hardware class: choose one that it has";
    InvalidCapacity(_) => "ICN takes no such capacity; it must be at least 1";
    InvalidReason(_) => "ICN wants a reason for that";
    InvalidMinCollateralPercent(e) => "{} is no share of the collateral: {} to {}", e.actual, e.min, e.max;
    InvalidMarketAdjustmentFactor(_) => "ICN takes no such market factor";
    InvalidProtocolMargin(_) => "ICN takes no such margin";
    InvalidDaemonAddress(_) => "the daemon's address is none: the verifier sets it, after the registration";
    DuplicatePublicKey(e) => "the daemon key {} is of another node: each node has its own", e.publicKey;
    InvalidCollateralAmount(_) => "ICN takes no such addition to the collateral: more than 0";
    InvalidReservationPrice(_) => "ICN takes no such reservation price: correct registration.reservation_price_icnt";
    InvalidNodeRewardShare(_) => "the node reward share is above 100 %: at most 1000 thousandths";
    TooManyScalerNodes(_) => "the batch is too long for ICN: at most 1000 nodes";
    UtilizedCapacityNotNull(_) => "the node is booked";
} }

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolError as _;

    use super::*;
    use crate::icn::abi::Icn;

    #[test]
    fn errors_of_icn_read_as_sentences() {
        for (data, error, words) in [
            (Icn::NotEnoughCollateral {}.abi_encode(), "NotEnoughCollateral", "stake more"),
            (Icn::InvalidCommitmentDuration {}.abi_encode(), "InvalidCommitmentDuration", "1080 days"),
            (
                Icn::DuplicatePublicKey { publicKey: [9; 20].into() }.abi_encode(),
                "DuplicatePublicKey",
                "0x0909090909090909090909090909090909090909",
            ),
        ] {
            let refusal = of_icn(&data).unwrap();
            assert_eq!(refusal.error, error);
            assert!(refusal.sentence.contains(words), "{refusal}");
        }
        assert_eq!((of_icn(&[]), of_icn(&[1, 2, 3, 4])), (None, None));
    }
}
