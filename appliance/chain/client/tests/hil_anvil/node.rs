//! In the place of the development chain: anvil, a process for each test.

use alloy::primitives::Address;
use serde_json::json;

use crate::{anvil::Anvil, devnet, support::ask};

/// A running chain.
pub(crate) struct Node {
    pub(crate) url: String,
    kind: Kind,
}

enum Kind {
    Anvil(Anvil),
    Ours(devnet::Node),
}

impl Node {
    /// Starts one on which `rich` has 1000 coins.
    pub(crate) async fn start(rich: Address) -> Self {
        // Its newest block is safe and final, as on the development chain.
        let anvil = Anvil::start(&["--slots-in-an-epoch", "0"]);
        ask(&anvil.url, "anvil_setBalance", json!([rich, "0x3635c9adc5dea00000"])).await;
        Self { url: anvil.url.clone(), kind: Kind::Anvil(anvil) }
    }

    /// The development chain, to compare with.
    pub(crate) async fn ours(rich: Address) -> Self {
        let ours = devnet::Node::start(rich).await;
        Self { url: ours.url.clone(), kind: Kind::Ours(ours) }
    }

    /// From now on nobody answers.
    pub(crate) async fn stop(&mut self) {
        match &mut self.kind {
            Kind::Anvil(anvil) => anvil.stop(),
            Kind::Ours(ours) => ours.stop().await,
        }
    }
}
