//! Whether the operator's account can still pay for gas.

use std::sync::Arc;

use chain_client::Network;
use chain_fleet::{Alert, Kind};

use super::trouble;
use crate::{
    app::{App, now},
    chain_of,
};

/// Gas of a registration, from above (`GAS.md`).
const REGISTRATION_GAS: u128 = 300_000;

/// So many registrations have to be paid for, or people are told; twice as many, and it is over.
const REGISTRATIONS_MIN: u128 = 10;

pub(super) async fn look(app: &Arc<App>, registry: &Network, source: &str) -> Result<(), String> {
    let chain = registry.chain();
    let head = chain.head().await.map_err(|error| chain_of(&error))?;
    let operator = app.chain.operator().address();
    let found = chain.gas_balance(operator, head.number).await.map_err(|error| chain_of(&error))?;
    // While gas is dearer than we pay, what we would pay at most is what counts.
    let cap = app.chain.fee_cap();
    let price = chain.fees(cap).await.map_or(cap, |fees| fees.max_fee_per_gas);
    let least = price.saturating_mul(REGISTRATION_GAS).saturating_mul(REGISTRATIONS_MIN);
    let open = app.db(|store| store.trouble_since(Kind::GasLow.name())).await.map_err(|e| chain_of(&e))?;
    let wanted = if open.is_some() { least.saturating_mul(2) } else { least };
    let alert = (found < wanted).then(|| {
        let text = format!(
            "The operator's account 0x{operator} has {} left for gas, less than {REGISTRATIONS_MIN} registrations take at \
             the present price. Send it at least {}.",
            coin(found),
            coin(least.saturating_mul(2).saturating_sub(found))
        );
        Alert::of_trouble(Kind::GasLow, now().0 / 1000, text)
    });
    trouble(app, source, Kind::GasLow, alert).await.map_err(|error| chain_of(&error))
}

/// An amount of the chain's own coin, to a millionth, rounded down.
pub(crate) fn coin(wei: u128) -> String {
    const COIN: u128 = 1_000_000_000_000_000_000;
    let (whole, micro) = (wei / COIN, wei % COIN / 1_000_000_000_000);
    let text = format!("{whole}.{micro:06}");
    format!("{} coins", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_are_read_easily() {
        for (wei, text) in [
            (0, "0 coins"),
            (999_999_999_999, "0 coins"),
            (1_500_000_000_000_000_000, "1.5 coins"),
            (20_000_000_000_000_000_000, "20 coins"),
            (1_000_000_000_000, "0.000001 coins"),
        ] {
            assert_eq!(coin(wei), text);
        }
    }
}
