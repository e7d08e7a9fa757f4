//! The same calls through the client on both chains: equal gas, outcomes, events, refusals and sentences.

use alloy::primitives::Address as ChainAddress;
use appliance_model::{Icnt, Permille};
use chain_client::{Call, DevelopmentToken, Error, Intent, Payment};
use serde_json::{Value, json};

use crate::{
    node::Node,
    support::{Machine, World, ask, bind, deployer, world_on},
};

const TEST: &str = "twins";

/// Ahead of any clock: both chains go on from here, whatever their machine's time is.
const BEGIN: u64 = 4_000_000_000;

/// What a chain made of a call: gas, outcome and logs, or the refusal.
type Said = (String, Result<Value, (String, String)>);

struct Story {
    world: World,
    said: Vec<Said>,
}

impl Story {
    async fn of(node: Node) -> Self {
        ask(&node.url, "evm_mine", json!([BEGIN])).await;
        let world = world_on(TEST, DevelopmentToken::WithPermits, node).await;
        Self { world, said: Vec::new() }
    }

    /// Makes the call and notes what came of it.
    async fn call(&mut self, what: &str, call: Result<Call, Error>) {
        let world = &self.world;
        let said = match call {
            Ok(call) => world.sign(&world.operator, &call).await,
            Err(error) => Err(error),
        };
        let said = match said {
            Ok(signed) => {
                let receipt = world.send(&signed).await;
                let hash = json!([signed.hash.to_string()]);
                let found = ask(&world.url, "eth_getTransactionReceipt", hash).await;
                Ok(json!({
                    "gas": receipt.gas_used,
                    "outcome": format!("{:?}", receipt.outcome),
                    "registered": receipt.registered.map(|event| (event.node.to_string(), event.collateral.to_string())),
                    "logs": logs(&found),
                    "bloom": found["logsBloom"],
                }))
            }
            Err(error) => {
                let refusal = error.refusal().unwrap_or_else(|| panic!("{what}: {error}"));
                Err((refusal.error.clone(), refusal.sentence.clone()))
            }
        };
        self.said.push((what.to_owned(), said));
    }

    async fn intent(&self, name: &str) -> Intent {
        let machine = Machine::new(TEST, name);
        let mut intent = machine.intent(&self.world).await;
        // Its time would count in the bytes of the call, and so in its gas.
        intent.bindings = vec![bind(&self.world, "deployer", BEGIN + 86_400, &intent)];
        intent
    }

    /// A life: from a deposit that is short to a node that has left.
    async fn live(mut self) -> Vec<Said> {
        let (first, second) = (self.intent("first").await, self.intent("second").await);
        let registry = self.world.registry.clone();
        let by_deposit = |intent: &Intent| registry.register_call(intent, &Payment::deposit());
        self.call("no deposit", by_deposit(&first)).await;
        self.call("approve", Ok(registry.approve_call(Icnt::tokens(1_000).unwrap()))).await;
        let deposit = registry.deposit_call(Icnt::tokens(1_000).unwrap(), &Payment::approval());
        self.call("deposit", Ok(deposit)).await;
        let long = Intent { name: "a name that is longer than thirty bytes".into(), ..first.clone() };
        self.call("a long name", by_deposit(&long)).await;
        let greedy = Intent { reward_share: Permille(1_001), ..first.clone() };
        self.call("a share above all", by_deposit(&greedy)).await;
        let nowhere = Intent { region: "nowhere".into(), ..first.clone() };
        self.call("an unknown region", by_deposit(&nowhere)).await;
        let unheard = Intent { bindings: Vec::new(), ..first.clone() };
        self.call("no attestor", by_deposit(&unheard)).await;
        let mut other = first.clone();
        other.unit_root.0[0] ^= 1;
        self.call("units that were not quoted", by_deposit(&other)).await;
        self.call("register", by_deposit(&first)).await;
        self.call("register again", by_deposit(&first)).await;
        let two = [second.clone(), self.intent("third").await];
        self.call("a batch", registry.register_batch_call(&two, &Payment::deposit())).await;
        self.call("publish", registry.publish_call(first.node, 7, first.evidence_digest)).await;
        self.call("publish an older", registry.publish_call(first.node, 6, first.evidence_digest)).await;
        self.call("retire too early", Ok(registry.retire_call(first.node))).await;
        ask(&self.world.url, "evm_mine", json!([BEGIN + 2 * first.commitment.0])).await;
        self.call("retire", Ok(registry.retire_call(first.node))).await;
        self.call("retire again", Ok(registry.retire_call(first.node))).await;
        self.said
    }
}

/// Logs without what follows from the block, and without data that hold its time.
fn logs(receipt: &Value) -> Vec<Value> {
    receipt["logs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|log| {
            let length = log["data"].as_str().map(str::len);
            json!({ "address": log["address"], "topics": log["topics"], "length": length, "index": log["logIndex"] })
        })
        .collect()
}

#[tokio::test]
async fn both_chains_make_the_same_of_a_life() {
    let rich = ChainAddress::from(deployer(TEST).address().0);
    let ours = Story::of(Node::ours(rich).await).await.live().await;
    let anvil = Story::of(Node::start(rich).await).await.live().await;
    assert_eq!(ours.len(), 16);
    for (ours, anvil) in ours.iter().zip(&anvil) {
        match (&ours.1, &anvil.1) {
            // When it was said stands in these sentences.
            (Err(ours), Err(anvil)) if ours.0 == "StillCommitted" => assert_eq!(ours.0, anvil.0),
            _ => assert_eq!(ours, anvil),
        }
    }
    let refused: Vec<&str> = ours.iter().filter(|said| said.1.is_err()).map(|said| said.0.as_str()).collect();
    let expected = [
        "no deposit",
        "a long name",
        "a share above all",
        "an unknown region",
        "no attestor",
        "units that were not quoted",
        "register again",
        "publish an older",
        "retire too early",
        "retire again",
    ];
    assert_eq!(refused, expected);
}
