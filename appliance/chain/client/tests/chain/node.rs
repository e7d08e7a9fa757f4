//! The chain that a test has to itself: the development chain, in this process.

use alloy::primitives::{Address, U256};

use crate::support::COIN;

/// A running chain.
pub(crate) struct Node {
    pub(crate) url: String,
    server: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Node {
    /// Starts one on which `rich` has 1000 coins.
    pub(crate) async fn start(rich: Address) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accounts = vec![(rich, U256::from(1000 * COIN))];
        let genesis = chain_devnet::Genesis { chain_id: chain_devnet::CHAIN_ID, accounts };
        let devnet = chain_devnet::Devnet::open(directory.path(), &genesis).unwrap();
        let server = tokio::spawn(async move {
            chain_devnet::serve(listener, devnet).await.unwrap();
        });
        Self { url, server, _directory: directory }
    }

    /// From now on nobody answers.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
    }
}
