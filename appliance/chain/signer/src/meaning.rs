//! What a contract call means, in words and in what it can cost, read from its bytes: the caller's word is not taken.

use alloy::{
    primitives::{Address as ChainAddress, U256},
    sol_types::{SolInterface as _, SolValue as _},
};
use appliance_model::{Address, Icnt, NodeId};
use chain_contracts::{nodes, token, vault};

use crate::Spend;

/// A call that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// A sentence for each thing it does.
    pub words: Vec<String>,
    /// Nodes that it is about.
    pub nodes: Vec<NodeId>,
    /// Tokens and registrations; gas is the transaction's.
    pub spend: Spend,
    /// Whether all of it was understood.
    pub understood: bool,
}

/// An owner's limits for an operator are in thousandths of a token.
const MILLITOKEN: u128 = 1_000_000_000_000_000;

/// Nobody stakes so little: an approval of less is most likely of a token that is counted one by one.
const MICROTOKEN: U256 = alloy::primitives::uint!(1_000_000_000_000_U256);

alloy::sol! {
    /// ICN's ten registration fields, which their registry takes under a selector that each site configures.
    struct IcnParams {
        string regionId;
        string name;
        uint256 hpId;
        uint256 capacity;
        uint8 location;
        uint256 reservationPrice;
        string hwClass;
        uint256 nodeRewardShare;
        uint256 collateralAmount;
        uint256 commitmentDuration;
    }
}

/// Reads a call.
#[must_use]
pub fn meaning(to: Option<Address>, value: U256, input: &[u8]) -> Meaning {
    let mut found = Meaning { words: Vec::new(), nodes: Vec::new(), spend: Spend::NONE, understood: true };
    let Some(to) = to else {
        found.understood = false;
        found.words.push("make a new contract".into());
        return found;
    };
    if !value.is_zero() || input.is_empty() {
        let wei = u128::try_from(value).unwrap_or(u128::MAX);
        found.spend.gas_wei = wei;
        found.words.push(format!("send {} to 0x{to}", crate::coin(wei)));
    }
    if input.is_empty() {
        return found;
    }
    let known = of_nodes(&mut found, input)
        || of_vault(&mut found, to, input)
        || of_token(&mut found, to, input)
        || of_icn(&mut found, input);
    if !known {
        found.understood = false;
        let selector = hex::encode(input.get(..4).unwrap_or(input));
        found.words.push(format!("call function 0x{selector} of contract 0x{to}, which is not known here"));
    }
    found
}

/// An amount of tokens; what does not fit is more than there is.
fn amount(number: U256) -> Icnt {
    Icnt(u128::try_from(number).unwrap_or(u128::MAX))
}

fn more(sum: &mut Icnt, by: Icnt) {
    *sum = Icnt(sum.0.saturating_add(by.0));
}

fn shown(account: ChainAddress) -> String {
    format!("0x{}", Address(account.into_array()))
}

/// A foreign text, short and without tricks.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(64).collect()
}

fn of_nodes(found: &mut Meaning, input: &[u8]) -> bool {
    use nodes::ScalerNodes::ScalerNodesCalls as Calls;
    let Ok(call) = Calls::abi_decode_validate(input) else { return false };
    #[expect(clippy::wildcard_enum_match_arm, reason = "generated: views and getters, which nobody signs")]
    match call {
        Calls::register(call) => {
            registered(found, call.owner, &call.params, &call.attestation, &call.payment);
            if let Some(words) = found.words.last_mut() {
                call.passport
                    .iter()
                    .for_each(|passport| words.push_str(&format!(", and passport {passport}")));
            }
        }
        Calls::registerBatch(call) => {
            for (params, attestation) in call.params.iter().zip(&call.attestations) {
                registered(found, call.owner, params, attestation, &call.payment);
            }
        }
        Calls::publishEvidence(call) => {
            found.nodes.push(NodeId(call.nodeId.0));
            found.words.push(format!(
                "say that evidence {} of node {} exists",
                call.sequence,
                NodeId(call.nodeId.0)
            ));
        }
        Calls::retire(call) => {
            found.nodes.push(NodeId(call.nodeId.0));
            found.words.push(format!("end node {} for good", NodeId(call.nodeId.0)));
        }
        _ => return false,
    }
    true
}

fn registered(
    found: &mut Meaning,
    owner: ChainAddress,
    params: &nodes::ScalerNodes::Registration,
    attestation: &nodes::ScalerNodes::Attestation,
    payment: &nodes::Accounts::Payment,
) {
    let node = NodeId(attestation.nodeId.0);
    let collateral = amount(params.collateralAmount);
    found.nodes.push(node);
    found.spend.registrations = found.spend.registrations.saturating_add(1);
    more(&mut found.spend.staked, collateral);
    let source = match payment.source {
        0 => "the owner's deposit",
        1 => "an approval",
        2 => "a permit",
        _ => "Permit2",
    };
    let [name, class, region] = [&params.name, &params.hwClass, &params.regionId].map(|text| plain(text));
    found.words.push(format!(
        "register node {node} ({name}) of owner {} as {} of class {class} in {region}: stakes {collateral} from {source} for \
         {} days",
        shown(owner),
        params.capacity,
        params.commitmentDuration / U256::from(86_400)
    ));
}

fn of_vault(found: &mut Meaning, to: Address, input: &[u8]) -> bool {
    use vault::CollateralVault::CollateralVaultCalls as Calls;
    let Ok(call) = Calls::abi_decode_validate(input) else { return false };
    #[expect(clippy::wildcard_enum_match_arm, reason = "generated: those of one node come next")]
    let words = match call {
        Calls::deposit(call) => {
            more(&mut found.spend.moved, amount(call.amount));
            format!("put {} into this account's deposit at 0x{to}", amount(call.amount))
        }
        Calls::withdraw(call) => {
            more(&mut found.spend.moved, amount(call.amount));
            format!("take {} out of the deposit and give it to {}", amount(call.amount), shown(call.to))
        }
        Calls::setOperator(call) if call.enabled => {
            let parts = u128::try_from(call.collateralPerDay).unwrap_or(u128::MAX).saturating_mul(MILLITOKEN);
            more(&mut found.spend.allowed, Icnt(parts));
            format!(
                "let {} register {} nodes with {} and retire {} nodes a day",
                shown(call.operator),
                call.registrationsPerDay,
                Icnt(parts),
                call.retirementsPerDay
            )
        }
        Calls::setOperator(call) => format!("let {} do nothing any more", shown(call.operator)),
        call => return of_stake(found, call),
    };
    found.words.push(words);
    true
}

/// What the vault does with one node's stake.
fn of_stake(found: &mut Meaning, call: vault::CollateralVault::CollateralVaultCalls) -> bool {
    use vault::CollateralVault::CollateralVaultCalls as Calls;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "generated: views, and what only other contracts may call"
    )]
    let (id, words) = match call {
        Calls::topUp(call) => {
            let added = Icnt(call.amount.to::<u128>());
            more(&mut found.spend.staked, added);
            (call.nodeId, format!("add {added} to the collateral of"))
        }
        Calls::delegate(call) => {
            let added = Icnt(call.amount.to::<u128>());
            more(&mut found.spend.staked, added);
            (call.nodeId, format!("delegate {added} to"))
        }
        Calls::stakePassport(call) => (call.nodeId, format!("stake passport {} on", call.passport)),
        Calls::askUndelegation(call) => (call.nodeId, "ask for the return of the delegation to".into()),
        Calls::undelegate(call) => (call.nodeId, "take back the delegation to".into()),
        Calls::claimForOwner(call) => (call.nodeId, "collect for its owner the rewards of".into()),
        Calls::claimForDelegator(call) => (call.nodeId, "collect the rewards of delegating to".into()),
        _ => return false,
    };
    let node = NodeId(id.0);
    found.words.push(format!("{words} node {node}"));
    found.nodes.push(node);
    true
}

fn of_token(found: &mut Meaning, to: Address, input: &[u8]) -> bool {
    use token::IcntMock::IcntMockCalls as Calls;
    let Ok(call) = Calls::abi_decode_validate(input) else { return false };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "generated: views, and what only the development token has"
    )]
    let words = match call {
        Calls::approve(call) => {
            more(&mut found.spend.allowed, amount(call.value));
            // A collection of passports is asked by the same call: there the number is one passport's.
            let or_one = if call.value < MICROTOKEN {
                format!(", or its number {} where it is a collection", call.value)
            } else {
                String::new()
            };
            format!("let {} take {} of token 0x{to}{or_one}", shown(call.spender), amount(call.value))
        }
        Calls::transfer(call) => {
            more(&mut found.spend.moved, amount(call.value));
            format!("send {} of token 0x{to} to {}", amount(call.value), shown(call.to))
        }
        _ => return false,
    };
    found.words.push(words);
    true
}

/// Whatever takes exactly ICN's ten fields is a registration there: its selector is not public.
fn of_icn(found: &mut Meaning, input: &[u8]) -> bool {
    let Some(fields) = input.get(4..) else { return false };
    let Ok(params) = IcnParams::abi_decode_validate(fields) else { return false };
    if params.abi_encode() != fields {
        return false;
    }
    let collateral = amount(params.collateralAmount);
    more(&mut found.spend.staked, collateral);
    found.spend.registrations = found.spend.registrations.saturating_add(1);
    let [name, class, region] = [&params.name, &params.hwClass, &params.regionId].map(|text| plain(text));
    found.words.push(format!(
        "register node {name} at ICN as {} of class {class} in {region}: stakes {collateral} for {} days",
        params.capacity,
        params.commitmentDuration / U256::from(86_400)
    ));
    true
}
