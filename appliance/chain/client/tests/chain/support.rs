//! A chain of one's own for each test, with the reference contracts, and a TPM of sorts.  Which chain it is says the crate
//! root's `node`: these tests run on the development chain, and once more on anvil (`hil_anvil`).

use std::time::Duration;

use alloy::{
    primitives::{Address as ChainAddress, B256, U256, keccak256},
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::SolValue as _,
};
use appliance_model::{Address, Digest, Icnt, NodeId, Permille, Seconds};
use chain_client::{
    AttestorBinding, Broadcast, Call, Chain, Count, Deployment, DevelopmentToken, Error, Funds, Intent,
    OperatorKey, Payment, Receipt, Registry, SignedTransaction,
};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::node::Node;

/// 100 gwei: above what either chain asks.
pub(crate) const FEE_CAP: u128 = 100_000_000_000;
/// One coin.
pub(crate) const COIN: u128 = 1_000_000_000_000_000_000;

/// ICN's shortest commitment.
pub(crate) const COMMITMENT: Seconds = Seconds(36 * 30 * 86_400);

/// A chain with contracts on it.
pub(crate) struct World {
    pub(crate) test: String,
    pub(crate) url: String,
    pub(crate) chain: Chain,
    pub(crate) deployer: OperatorKey,
    pub(crate) operator: OperatorKey,
    pub(crate) deployment: Deployment,
    pub(crate) registry: Registry,
    pub(crate) node: Node,
}

/// A secret that belongs to this test only.
pub(crate) fn secret(test: &str, what: &str) -> [u8; 32] {
    Sha256::digest(format!("{test}/{what}")).into()
}

/// Starts a chain for `test`, deploys, and grants the operator 100 000 ICNT and a coin for gas.
pub(crate) async fn world(test: &str) -> World {
    world_with(test, DevelopmentToken::WithPermits).await
}

/// A chain without contracts on it.
pub(crate) struct Bare {
    pub(crate) url: String,
    pub(crate) chain: Chain,
    pub(crate) deployer: OperatorKey,
    pub(crate) operator: OperatorKey,
    pub(crate) node: Node,
}

/// Who deploys in `test`, and starts with coins.
pub(crate) fn deployer(test: &str) -> OperatorKey {
    OperatorKey::from_secret(&secret(test, "deployer")).unwrap()
}

/// Starts a chain for `test`, whose deployer has coins.
pub(crate) async fn world_bare(test: &str) -> Bare {
    let node = Node::start(ChainAddress::from(deployer(test).address().0)).await;
    bare_on(test, node).await
}

async fn bare_on(test: &str, node: Node) -> Bare {
    let deployer = deployer(test);
    let operator = OperatorKey::from_secret(&secret(test, "operator")).unwrap();
    let url = node.url.clone();
    let chain = Chain::connect(&url, chain_devnet::CHAIN_ID).await.unwrap();
    Bare { url, chain, deployer, operator, node }
}

/// A world whose token is such.
pub(crate) async fn world_with(test: &str, token: DevelopmentToken) -> World {
    let node = Node::start(ChainAddress::from(deployer(test).address().0)).await;
    world_on(test, token, node).await
}

/// A world on this chain.
pub(crate) async fn world_on(test: &str, token: DevelopmentToken, node: Node) -> World {
    let Bare { url, chain, deployer, operator, node } = bare_on(test, node).await;
    let grant = Icnt::tokens(100_000).unwrap();
    let deployed = chain.deploy_reference_with(&deployer, token, operator.address(), grant, COIN);
    let deployment = deployed.await.unwrap();
    let registry = Registry::open(&chain, deployment.registry).await.unwrap();
    let test = test.into();
    World { test, url, chain, deployer, operator, deployment, registry, node }
}

/// A bare JSON-RPC call, for what only tests do to a chain.
pub(crate) async fn ask(url: &str, method: &str, params: serde_json::Value) -> serde_json::Value {
    let answer = post(url, method, params).await;
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

/// The whole answer to a call, errors included.
async fn post(url: &str, method: &str, params: serde_json::Value) -> serde_json::Value {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(url).json(&body).send().await.unwrap().json().await.unwrap()
}

/// What a node between us and the chain makes of a question.
pub(crate) enum Says {
    /// The chain's answer.
    Truth,
    /// The chain's answer, altered.
    Lie(fn(&mut serde_json::Value)),
    /// An error of JSON-RPC.
    No(String),
    /// Nothing; the chain does not hear of it.
    Nothing,
    /// Nothing, but the chain has heard it.
    NothingMore,
}

/// A node that hands questions on as `rule` says; gives its URL.
pub(crate) async fn between<R>(url: &str, mut rule: R) -> String
where
    R: FnMut(&str, &serde_json::Value) -> Says + Send + 'static,
{
    let (url, listener) = (url.to_owned(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let shown = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = question(&mut stream).await;
            let method = body["method"].as_str().unwrap();
            let says = rule(method, &body["params"]);
            let mut answer = match &says {
                Says::Nothing => continue,
                Says::No(message) => {
                    let error = serde_json::json!({"code": -32005, "message": message});
                    serde_json::json!({"jsonrpc": "2.0", "error": error})
                }
                Says::Truth | Says::Lie(_) | Says::NothingMore => {
                    post(&url, method, body["params"].clone()).await
                }
            };
            match says {
                Says::Lie(lie) => lie(&mut answer["result"]),
                Says::NothingMore => continue,
                Says::Truth | Says::No(_) | Says::Nothing => {}
            }
            answer["id"] = body["id"].clone();
            let answer = answer.to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let text = format!("{head}content-length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    shown
}

/// The JSON of a request.
async fn question(stream: &mut tokio::net::TcpStream) -> serde_json::Value {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        request.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body));
        if let Some(Ok(body)) = body {
            return body;
        }
        assert!(count > 0, "a whole request");
    }
}

/// A machine's TPM as far as a registry can see it: a key that signs TPMS_ATTEST bytes.
pub(crate) struct Machine {
    pub(crate) ak: SigningKey,
    pub(crate) node: NodeId,
}

impl Machine {
    pub(crate) fn new(test: &str, name: &str) -> Self {
        let ak = SigningKey::from_slice(&secret(test, name)).unwrap();
        Self { ak, node: NodeId::of_ek_name(&secret(test, &format!("{name} ek"))) }
    }

    /// Signs `intent` anew: quote, signature, key.
    pub(crate) fn attest(&self, world: &World, operator: Address, intent: &mut Intent) {
        let chain = U256::from(world.chain.id()).to_be_bytes::<32>();
        let anchor = Sha256::new()
            .chain_update(chain)
            .chain_update(world.deployment.registry.0)
            .chain_update(operator.0)
            .chain_update(intent.node.0)
            .chain_update(intent.unit_root.0)
            .chain_update([0_u8; 32])
            .finalize();
        let qualifying = Sha256::new()
            .chain_update(b"scalerforge/quote/v1\0")
            .chain_update(anchor)
            .chain_update(intent.statement_digest.0)
            .finalize();
        self.sign(intent, attest_bytes(&qualifying.into(), [0xFF, 0xFA, 0x00]));
    }

    /// Signs these bytes, whatever they are.
    pub(crate) fn sign(&self, intent: &mut Intent, quote: Vec<u8>) {
        let signature: Signature = self.ak.sign_prehash(&Sha256::digest(&quote)).unwrap();
        intent.quote = quote;
        intent.signature_r = signature.r().to_bytes().into();
        intent.signature_s = signature.s().to_bytes().into();
        let point = self.ak.verifying_key().to_encoded_point(false);
        intent.ak_x = (*point.x().unwrap()).into();
        intent.ak_y = (*point.y().unwrap()).into();
    }

    /// A storage node of 2 TiB, attested, with exactly the collateral that it needs.
    pub(crate) async fn intent(&self, world: &World) -> Intent {
        let at = world.chain.head().await.unwrap();
        let terms = world.registry.terms_at(at, "eu-west", "storage").await.unwrap();
        let demand = terms.demand(2).unwrap();
        let mut intent = Intent {
            owner: world.operator.address(),
            region: terms.region,
            class: terms.class,
            name: "rack-1-slot-7".into(),
            hp_id: 42,
            capacity: 2,
            location: 83,
            reservation_price: Icnt(5),
            reward_share: Permille(250),
            commitment: COMMITMENT,
            max_booking: Seconds(30 * 86_400),
            collateral: demand.node,
            node: self.node,
            ak_x: [0; 32],
            ak_y: [0; 32],
            statement_digest: Digest::of(b"statement"),
            unit_root: Digest::of(b"units"),
            evidence_digest: Digest::of(b"evidence"),
            quote: Vec::new(),
            signature_r: [0; 32],
            signature_s: [0; 32],
            bindings: Vec::new(),
            passport: None,
        };
        self.attest(world, world.operator.address(), &mut intent);
        intent.bindings.push(bind(world, "deployer", at.timestamp_unix + 86_400, &intent));
        intent
    }
}

/// An attestor's word that the intent's key is in the node's TPM; the deployer is the development attestor.
pub(crate) fn bind(world: &World, attestor: &str, valid_until_unix: u64, intent: &Intent) -> AttestorBinding {
    let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let names = (keccak256(domain), keccak256("Scalerforge registry"), keccak256("1"));
    let registry = ChainAddress::from(world.deployment.registry.0);
    let separator = (names.0, names.1, names.2, U256::from(world.chain.id()), registry).abi_encode();
    let kind = keccak256("Binding(bytes32 nodeId,bytes32 akX,bytes32 akY,uint64 validUntil)");
    let [node, x, y] = [intent.node.0, intent.ak_x, intent.ak_y].map(B256::new);
    let fields = (kind, node, x, y, U256::from(valid_until_unix)).abi_encode();
    let digest = [&[0x19, 0x01], keccak256(separator).as_slice(), keccak256(fields).as_slice()].concat();
    let key = PrivateKeySigner::from_bytes(&B256::new(secret(&world.test, attestor))).unwrap();
    let signature = key.sign_hash_sync(&keccak256(digest)).unwrap();
    let vs: U256 = signature.s() | (U256::from(u8::from(signature.v())) << 255);
    AttestorBinding { valid_until_unix, r: signature.r().to_be_bytes(), vs: vs.to_be_bytes() }
}

/// TPMS_ATTEST of a quote as a TPM writes it: 145 bytes.
pub(crate) fn attest_bytes(qualifying: &[u8; 32], selection: [u8; 3]) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 34, 0, 0x0B];
    bytes.extend([0x5A; 32]);
    bytes.extend([0, 32]);
    bytes.extend(qualifying);
    bytes.extend([0_u8; 25]);
    bytes.extend([0, 0, 0, 1, 0, 0x0B, 3]);
    bytes.extend(selection);
    bytes.extend([0, 32]);
    bytes.extend([0xD1; 32]);
    assert_eq!(bytes.len(), 145);
    bytes
}

impl World {
    pub(crate) async fn nonce(&self) -> u64 {
        self.chain.transaction_count(self.operator.address(), Count::Pending).await.unwrap()
    }

    /// Sends and waits for the receipt.
    pub(crate) async fn send(&self, signed: &SignedTransaction) -> Receipt {
        assert_eq!(self.chain.broadcast(signed).await.unwrap(), Broadcast::Accepted);
        self.receipt(signed).await
    }

    pub(crate) async fn receipt(&self, signed: &SignedTransaction) -> Receipt {
        let polled = async {
            loop {
                if let Some(receipt) = self.registry.receipt(signed.hash).await.unwrap() {
                    return receipt;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), polled).await.expect("mined within a minute")
    }

    /// Simulates and signs.
    pub(crate) async fn sign(&self, key: &OperatorKey, call: &Call) -> Result<SignedTransaction, Error> {
        let fees = self.chain.fees(FEE_CAP).await.unwrap();
        let nonce = self.chain.transaction_count(key.address(), Count::Pending).await.unwrap();
        self.chain.sign_call(key, call, nonce, fees).await
    }

    /// Does what the call says, by the operator.
    pub(crate) async fn do_it(&self, call: &Call) -> Receipt {
        self.send(&self.sign(&self.operator, call).await.unwrap()).await
    }

    /// Does what the call says, by somebody who has a coin for it.
    pub(crate) async fn do_as(&self, key: &OperatorKey, call: &Call) -> Receipt {
        self.send(&self.sign(key, call).await.unwrap()).await
    }

    pub(crate) async fn approve(&self, amount: Icnt) -> Receipt {
        self.do_it(&self.registry.approve_call(amount)).await
    }

    /// Out of the approval that stands.
    pub(crate) async fn register(&self, intent: &Intent) -> Receipt {
        self.do_it(&self.registry.register_call(intent, &Payment::approval()).unwrap()).await
    }

    pub(crate) async fn funds(&self, owner: Address, operator: Address) -> Funds {
        let at = self.chain.head().await.unwrap();
        self.registry.funds_at(at, owner, operator).await.unwrap()
    }
}
