//! The chain that every run starts from, made once: contracts, an operator with money, and what is to be called.

use std::path::Path;

use alloy::{
    consensus::{TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718 as _,
    primitives::{Address as ChainAddress, TxKind, U256},
    sol_types::SolCall as _,
};
use appliance_model::{Address, Icnt};
use chain_client::{Call, Chain, DevelopmentToken, Fees, OperatorKey, Payment, Purpose, Registry};
use chain_contracts::IcntMock;
use chain_devnet::{CHAIN_ID, Devnet, Genesis};

use crate::machines;

/// 100 gwei.
pub(crate) const FEE_CAP: u128 = 100_000_000_000;
/// One coin.
const COIN: u128 = 1_000_000_000_000_000_000;
/// Tokens that the operator starts with.
pub(crate) const GRANT: u64 = 100_000;

/// What does not change between runs.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) genesis: Genesis,
    pub(crate) token: Address,
    pub(crate) registry: Address,
    pub(crate) vault: Address,
    /// Takes the collateral of all machines.
    pub(crate) approve: Call,
    /// Registers each.
    pub(crate) registers: Vec<Call>,
    /// Collateral of all machines.
    pub(crate) collateral: Icnt,
}

/// Machines that are registered in a run.
pub(crate) const MACHINES: u8 = 3;

/// The operator's key.
pub(crate) fn operator() -> OperatorKey {
    OperatorKey::from_secret(&[0x0B; 32]).expect("a key")
}

/// A transfer of nothing that somebody else with the operator's key signs.
pub(crate) async fn stranger(nonce: u64, fees: Fees) -> Vec<u8> {
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fees.max_fee_per_gas,
        max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
        to: TxKind::Call(ChainAddress::repeat_byte(0xEE)),
        ..TxEip1559::default()
    };
    let signed = operator().sign(transaction).await.expect("a signature");
    TxEnvelope::from(signed).encoded_2718()
}

impl World {
    pub(crate) async fn new() -> Self {
        let deployer = OperatorKey::from_secret(&[0x0D; 32]).expect("a key");
        let rich = ChainAddress::from(deployer.address().0);
        let genesis = Genesis { chain_id: CHAIN_ID, accounts: vec![(rich, U256::from(1000 * COIN))] };
        let dir = tempfile::tempdir().expect("a directory");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let devnet = Devnet::open(dir.path(), &genesis).expect("a chain");
        let server = tokio::spawn(chain_devnet::serve(listener, devnet));
        let chain = Chain::connect(&url, CHAIN_ID).await.expect("the chain answers");
        let grant = Icnt::tokens(GRANT).expect("an amount");
        let operator = operator().address();
        // No permits: an approval and what it allows are two transactions, whose order counts.
        let plain = DevelopmentToken::Plain;
        let deployed = chain.deploy_reference_with(&deployer, plain, operator, grant, COIN).await;
        let deployed = deployed.expect("contracts");
        let registry = Registry::open(&chain, deployed.registry).await.expect("a registry");
        let (mut registers, mut collateral) = (Vec::new(), Icnt(0));
        for index in 0..MACHINES {
            let intent = machines::intent(&chain, &registry, index).await;
            collateral = Icnt(collateral.0 + intent.collateral.0);
            registers.push(registry.register_call(&intent, &Payment::approval()).expect("a call"));
        }
        let approve = registry.approve_call(collateral);
        server.abort();
        let (token, vault, registry) = (deployed.token, deployed.vault, deployed.registry);
        Self { dir, genesis, token, registry, vault, approve, registers, collateral }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The account that gift `index` goes to.
    pub(crate) fn recipient(index: u8) -> ChainAddress {
        ChainAddress::repeat_byte(0xA0 + index)
    }

    /// A call whose repetition would show: tokens for an account that has none.
    pub(crate) fn gift(&self, index: u8) -> Call {
        let call = IcntMock::transferCall { to: Self::recipient(index), value: U256::from(amount(index)) };
        Call::new(self.token, call.abi_encode(), Purpose::TopUp)
    }
}

/// What the recipient of gift `index` gets.
pub(crate) fn amount(index: u8) -> u64 {
    1000 + u64::from(index)
}
