//! Where the reference contracts come to lie, and with which arguments they are made.
//!
//! They know one another by immutable addresses, in a circle; an address follows from the deployer and its nonce, so all
//! of them are known before the first one exists.

use alloy::{
    primitives::{Address, Bytes},
    sol_types::SolConstructor as _,
};

use crate::{Anomalies, Bookings, CollateralVault, ScalerNodes, ScalerTerms};

/// One contract to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its Solidity name.
    pub name: &'static str,
    /// Where it comes to lie.
    pub address: Address,
    /// Code and constructor arguments: the data of the transaction that makes it.
    pub code: Bytes,
}

/// The five contracts of the reference network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Policy.
    pub terms: Address,
    /// Every token.
    pub vault: Address,
    /// The registry.
    pub nodes: Address,
    /// Reports and slashes.
    pub anomalies: Address,
    /// Bookings.
    pub bookings: Address,
    /// In this order, from the first nonce on, each in a transaction of its own.
    pub members: [Member; 5],
}

/// What others have made, and who says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    /// ICNT.
    pub token: Address,
    /// Permit2.
    pub permit2: Address,
    /// The passports, ERC-721.
    pub passports: Address,
    /// Owner of the terms.
    pub owner: Address,
    /// Where slashes and margins go.
    pub treasury: Address,
}

/// The plan of a deployment by `deployer`, whose next nonce is `nonce`.
#[must_use]
pub fn plan(deployer: Address, nonce: u64, around: Around) -> Plan {
    let [terms, vault, nodes, anomalies, bookings] =
        [0, 1, 2, 3, 4].map(|step| deployer.create(nonce + step));
    let Around { token, permit2, passports, owner, treasury } = around;
    let arguments = [
        ScalerTerms::constructorCall { owner_: owner, token_: token, registry_: nodes, treasury_: treasury }
            .abi_encode(),
        CollateralVault::constructorCall {
            token_: token,
            permit2_: permit2,
            registry_: nodes,
            terms_: terms,
            passports_: passports,
            anomalies_: anomalies,
            bookings_: bookings,
        }
        .abi_encode(),
        ScalerNodes::constructorCall { terms_: terms, vault_: vault }.abi_encode(),
        Anomalies::constructorCall { terms_: terms, registry_: nodes, vault_: vault }.abi_encode(),
        Bookings::constructorCall {
            token_: token,
            terms_: terms,
            registry_: nodes,
            vault_: vault,
            anomalies_: anomalies,
        }
        .abi_encode(),
    ];
    let codes = [
        ("ScalerTerms", terms, &ScalerTerms::BYTECODE),
        ("CollateralVault", vault, &CollateralVault::BYTECODE),
        ("ScalerNodes", nodes, &ScalerNodes::BYTECODE),
        ("Anomalies", anomalies, &Anomalies::BYTECODE),
        ("Bookings", bookings, &Bookings::BYTECODE),
    ];
    let mut arguments = arguments.into_iter();
    let members = codes.map(|(name, address, code)| {
        let code = [code.as_ref(), &arguments.next().unwrap_or_default()].concat();
        Member { name, address, code: code.into() }
    });
    Plan { terms, vault, nodes, anomalies, bookings, members }
}
