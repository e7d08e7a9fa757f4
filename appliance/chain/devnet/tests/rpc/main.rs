//! The chain over real HTTP, by a real client: what alloy needs, what geth says, what survives a restart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping there")]

mod chain;
mod killed;
mod limits;
mod lines;
mod restart;

use std::{path::Path, sync::Once};

use alloy::{
    network::{EthereumWallet, TransactionBuilder as _},
    primitives::{Address, B256, Bytes, U256, hex},
    providers::{DynProvider, Provider as _, ProviderBuilder},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use chain_devnet::{CHAIN_ID, Devnet, Genesis, Mining};
use tokio::{net::TcpListener, task::JoinHandle};

/// `f()` reads slot 0; `f(word)` stores it and logs it with topic 7; one byte of input reverts with `deadbeef`.
const CELL: [u8; 70] = hex!(
    "603d8060095f395ff3"
    "36602014601957" "36600114602c57" "60005460005260206000f3"
    "5b600035806000556000526007602060" "00a100"
    "5b63deadbeef60e01b60005260046000fd"
);

/// A served chain.
struct Served {
    url: String,
    dir: std::path::PathBuf,
    server: JoinHandle<()>,
}

impl Served {
    async fn open(dir: &Path, mining: Mining) -> Self {
        let devnet = Devnet::open_with(dir, &genesis(), mining).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let ended = chain_devnet::serve(listener, devnet).await;
            panic!("server ended: {ended:?}");
        });
        Self { url, dir: dir.to_owned(), server }
    }

    /// Stops the server and waits until the directory is free.
    async fn stop(self) {
        self.server.abort();
        assert!(self.server.await.unwrap_err().is_cancelled());
        // Connections that are still open hold the chain for a moment longer than the server does.
        for _ in 0..1_000 {
            let file = std::fs::File::open(self.dir.join("chain.log")).unwrap();
            if file.try_lock().is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the chain in {} is still in use", self.dir.display());
    }

    fn provider(&self) -> DynProvider {
        Self::connect(&self.url)
    }

    fn connect(url: &str) -> DynProvider {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            rustls::crypto::ring::default_provider().install_default().unwrap();
        });
        let wallet = EthereumWallet::from(signer());
        ProviderBuilder::new().wallet(wallet).connect_http(url.parse().unwrap()).erased()
    }
}

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x11)).unwrap()
}

fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

fn genesis() -> Genesis {
    Genesis { chain_id: CHAIN_ID, accounts: vec![(signer().address(), ether(1_000))] }
}

async fn deploy(provider: &DynProvider) -> Address {
    let tx = TransactionRequest::default().with_deploy_code(Bytes::from_static(&CELL));
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt.contract_address.unwrap()
}

fn store(cell: Address, value: u64) -> TransactionRequest {
    TransactionRequest::default().with_to(cell).with_input(U256::from(value).to_be_bytes::<32>().to_vec())
}

fn load(cell: Address) -> TransactionRequest {
    TransactionRequest::default().with_to(cell)
}

/// A transfer of one wei, signed but not sent.
fn signed(nonce: u64, gwei: u64) -> Vec<u8> {
    signed_for(CHAIN_ID, nonce, gwei, 21_000, U256::from(1))
}

fn signed_for(chain_id: u64, nonce: u64, gwei: u64, gas: u64, value: U256) -> Vec<u8> {
    use alloy::{consensus::SignableTransaction as _, eips::Encodable2718 as _, signers::SignerSync as _};
    let tx = alloy::consensus::TxEip1559 {
        chain_id,
        nonce,
        gas_limit: gas,
        max_fee_per_gas: u128::from(gwei) * 1_000_000_000,
        max_priority_fee_per_gas: u128::from(gwei) * 1_000_000,
        to: Address::repeat_byte(0x22).into(),
        value,
        ..Default::default()
    };
    let signature = signer().sign_hash_sync(&tx.signature_hash()).unwrap();
    alloy::consensus::TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
}
