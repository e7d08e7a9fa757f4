//! Firmware agreement: how many boards of one model, with one firmware version, measured the same PCR 0 to 3.
//!
//! **Advice for people, never a check.**  No maker publishes these values, so the next best thing is company: a board
//! that is alone in its model deserves a look.  But a fleet can be wrong together, and a provider can make up boards,
//! so nothing here reaches [`crate::verify`] or an acceptance, and this module cannot make reference values.

use std::collections::{BTreeMap, BTreeSet};

use attest_evidence::Evidence;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Policy, verify};

/// The PCRs that firmware alone fills: 0 and 2 code, 1 and 3 settings.
pub const FIRMWARE_PCRS: [u8; 4] = [0, 1, 2, 3];
/// Longest text taken from an inventory, characters.
const TEXT_CHARS_MAX: usize = 80;
/// Failed checks that say nothing about what this board measured: who vouches for its TPM, and when.
const BESIDE_THE_POINT: [&str; 7] =
    ["ek-certificate", "ek-chain", "ek-revocation", "ek-firmware", "hardware-tpm", "bindings", "nonce"];

/// What one board measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measured {
    /// Board maker and model.
    pub model: String,
    /// Firmware version, as the firmware says.
    pub firmware: String,
    /// Node id: a board counts once, however often it was measured.
    pub node: [u8; 32],
    /// Values of [`FIRMWARE_PCRS`], SHA-256.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
}

/// What the boards of one model measured in one PCR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Board maker and model.
    pub model: String,
    /// Firmware version.
    pub firmware: String,
    /// PCR number.
    pub pcr: u8,
    /// Different boards in all.
    pub boards: usize,
    /// Values, the most frequent first.
    pub values: Vec<Shared>,
}

/// A value and who shares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The value, 64 hex digits.
    pub value: String,
    /// How many different boards measured it.
    pub boards: usize,
    /// Their node ids, 64 hex digits each.
    pub nodes: Vec<String>,
}

#[derive(Deserialize)]
struct Inventory {
    #[serde(default)]
    system: System,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct System {
    manufacturer: Option<String>,
    product: Option<String>,
    board_manufacturer: Option<String>,
    board_product: Option<String>,
    bios_version: Option<String>,
}

/// What the board of this evidence measured.
///
/// # Errors
/// Why it cannot be counted, in words: the quote does not hold, or there is no inventory that names a model.
pub fn measured(evidence: &Evidence, now_unix: u64) -> Result<Measured, String> {
    let policy = Policy { allow_software_tpm: true, ..Policy::default() };
    let verdict = verify(evidence, &policy, now_unix);
    let failed = |check: &&crate::Check| {
        check.outcome == Outcome::Fail && !BESIDE_THE_POINT.contains(&check.name.as_ref())
    };
    if let Some(check) = verdict.checks.iter().find(failed) {
        return Err(format!("check `{}` failed: {}", check.name, check.note));
    }
    let inventory = evidence.attachments.inventory.as_deref().ok_or("it carries no inventory")?;
    let Inventory { system } = serde_json::from_slice(inventory)
        .map_err(|error| format!("its inventory cannot be read: {error}"))?;
    let named = |maker: &Option<String>, product: &Option<String>| {
        let product = text(product.as_deref()?)?;
        Some(format!("{} {product}", maker.as_deref().and_then(text).unwrap_or_default()).trim().to_owned())
    };
    let model = named(&system.board_manufacturer, &system.board_product)
        .or_else(|| named(&system.manufacturer, &system.product))
        .ok_or("its inventory names no model")?;
    let firmware = system.bios_version.as_deref().and_then(text).unwrap_or_else(|| "unknown".to_owned());
    let value = |pcr: u8| {
        let claimed = evidence.tpm.pcrs.iter().find(|claimed| claimed.index == pcr)?;
        Some((pcr, claimed.digest.as_slice().try_into().ok()?))
    };
    Ok(Measured {
        model,
        firmware,
        node: evidence.node,
        pcrs: FIRMWARE_PCRS.into_iter().filter_map(value).collect(),
    })
}

/// One line of printable text; `None` if nothing is left.
fn text(text: &str) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    Some(clean.trim().to_owned()).filter(|clean| !clean.is_empty())
}

/// Counts, by model, firmware version and PCR, in this order.  A board that measured two values counts for both, once.
#[must_use]
pub fn agreement(boards: &[Measured]) -> Vec<Agreement> {
    type Nodes = BTreeSet<[u8; 32]>;
    let mut counts: BTreeMap<(&str, &str, u8), BTreeMap<[u8; 32], Nodes>> = BTreeMap::new();
    for board in boards {
        for (pcr, value) in &board.pcrs {
            let values = counts.entry((&board.model, &board.firmware, *pcr)).or_default();
            values.entry(*value).or_default().insert(board.node);
        }
    }
    let line = |((model, firmware, pcr), values): ((&str, &str, u8), BTreeMap<[u8; 32], Nodes>)| {
        let all: Nodes = values.values().flatten().copied().collect();
        let mut shared: Vec<Shared> = values
            .iter()
            .map(|(value, nodes)| Shared {
                value: hex::encode(value),
                boards: nodes.len(),
                nodes: nodes.iter().map(hex::encode).collect(),
            })
            .collect();
        shared.sort_by_key(|value| std::cmp::Reverse(value.boards));
        Agreement { model: model.into(), firmware: firmware.into(), pcr, boards: all.len(), values: shared }
    };
    counts.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(model: &str, node: u8, zero: u8) -> Measured {
        let pcrs = BTreeMap::from([(0, [zero; 32]), (2, [7; 32])]);
        Measured { model: model.into(), firmware: "1".into(), node: [node; 32], pcrs }
    }

    #[test]
    fn boards_are_counted_once_and_by_model() {
        let boards = [
            board("a", 1, 9),
            board("a", 2, 9),
            board("a", 2, 9),
            board("a", 3, 8),
            board("b", 4, 9),
            board("a", 3, 9),
        ];
        let counted: Vec<_> = agreement(&boards)
            .into_iter()
            .map(|line| {
                let values: Vec<(String, usize)> = line
                    .values
                    .into_iter()
                    .map(|value| (value.value[..2].to_owned(), value.boards))
                    .collect();
                (line.model, line.pcr, line.boards, values)
            })
            .collect();
        let value = |value: &str, boards| (value.to_owned(), boards);
        assert_eq!(
            counted,
            [
                ("a".to_owned(), 0, 3, vec![value("09", 3), value("08", 1)]),
                ("a".to_owned(), 2, 3, vec![value("07", 3)]),
                ("b".to_owned(), 0, 1, vec![value("09", 1)]),
                ("b".to_owned(), 2, 1, vec![value("07", 1)]),
            ]
        );
        assert_eq!(agreement(&[]), []);
    }

    #[test]
    fn only_what_a_quote_vouches_for_is_counted() {
        let read = |bytes: &[u8]| Evidence::decode(bytes).unwrap();
        let rack = read(include_bytes!("../../vectors/virtual-rack/registration.evidence"));
        let now = 1_795_246_332;
        let board = measured(&rack, now).unwrap();
        assert_eq!(board.pcrs.keys().copied().collect::<Vec<_>>(), FIRMWARE_PCRS);
        assert!(!board.model.is_empty());
        let mut altered = rack.clone();
        altered.tpm.pcrs[0].digest[0] ^= 1;
        assert!(measured(&altered, now).unwrap_err().contains("`pcr-digest`"));
        let mut altered = rack.clone();
        altered.attachments.inventory = Some(b"{}".to_vec());
        assert!(measured(&altered, now).unwrap_err().contains("`attachment-inventory`"));
    }
}
