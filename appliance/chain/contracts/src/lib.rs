//! The reference contracts: compiled artefacts and typed bindings, and nothing else.
//!
//! `src/*.sol` is compiled by `compile.js` (npm, pinned) into `artifacts/`, which are committed, so that cargo needs
//! neither node nor solc; `node compile.js check` proves that they belong together.  What to do with the contracts is
//! said by `chain-client`.
//!
//! The generated structs live in a module named after the Solidity contract: `ScalerNodeRegistry::Attestation`.

/// Bindings generated from the artefact of `src/ScalerNodeRegistry.sol`.
pub mod registry {
    #![expect(missing_docs, reason = "generated; the Solidity source is the documentation")]
    #![expect(clippy::too_many_arguments, reason = "generated: as many as the event or function has")]

    alloy::sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        ScalerNodeRegistry,
        "artifacts/ScalerNodeRegistry.json"
    );
}

/// Bindings generated from the artefact of `src/IcntMock.sol`; the ERC-20 part serves the real token too.
pub mod token {
    #![expect(clippy::too_many_arguments, reason = "generated: as many as the event or function has")]

    alloy::sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        IcntMock,
        "artifacts/IcntMock.json"
    );
}

pub use registry::ScalerNodeRegistry;
pub use token::IcntMock;
