//! The reference contracts: compiled artefacts and typed bindings, and how they are put on a chain.
//!
//! `src/*.sol` is compiled by `compile.js` (npm, pinned) into `artifacts/`, which are committed, so that cargo needs
//! neither node nor solc; `node compile.js check` proves that they belong together.  What to do with the contracts is
//! said by `chain-client`.  [`plan`] knows their addresses and constructor arguments and sends nothing.
//!
//! The generated structs live in a module named after the Solidity contract: `ScalerNodes::Attestation`.  A
//! struct of one contract that another one takes is a type of its own there.

mod plan;

pub use plan::{Around, Member, Plan, plan};

macro_rules! bindings {
    ($module:ident, $contract:ident, $artefact:literal, $source:literal) => {
        #[doc = concat!("Bindings generated from the artefact of `src/", $source, "`.")]
        pub mod $module {
            #![allow(missing_docs, reason = "generated; the Solidity source is the documentation")]
            #![allow(clippy::too_many_arguments, reason = "generated: as many as the event or function has")]

            alloy::sol!(
                #[sol(rpc)]
                #[derive(Debug, PartialEq, Eq)]
                $contract,
                $artefact
            );
        }
        pub use $module::$contract;
    };
}

bindings!(token, IcntMock, "artifacts/IcntMock.json", "IcntMock.sol");
bindings!(plain_token, IcntPlainMock, "artifacts/IcntPlainMock.json", "IcntPlainMock.sol");
bindings!(permit2, Permit2Mock, "artifacts/Permit2Mock.json", "Permit2Mock.sol");
bindings!(passports, PassportMock, "artifacts/PassportMock.json", "PassportMock.sol");
bindings!(terms, ScalerTerms, "artifacts/ScalerTerms.json", "ScalerTerms.sol");
bindings!(nodes, ScalerNodes, "artifacts/ScalerNodes.json", "ScalerNodes.sol");
bindings!(vault, CollateralVault, "artifacts/CollateralVault.json", "CollateralVault.sol");
bindings!(anomalies, Anomalies, "artifacts/Anomalies.json", "Anomalies.sol");
bindings!(bookings, Bookings, "artifacts/Bookings.json", "Bookings.sol");
bindings!(probe, QuoteProbe, "artifacts/QuoteProbe.json", "QuoteProbe.sol");
bindings!(icn_mock, IcnRegistryMock, "artifacts/IcnRegistryMock.json", "IcnRegistryMock.sol");
bindings!(token_says_no, TokenSaysNoMock, "artifacts/TokenSaysNoMock.json", "TokenSaysNoMock.sol");
