//! Several RPC nodes of one chain: who answers is used, and who disagrees stops the spending.
//!
//! Reads and sends go to the node that answered last, and to the next one while it does not ([`Failover`]).  Before
//! money moves, [`Chain::agreed`] asks all of them: a node that is down is left out, but two that answer must have the
//! same chain id, the same block at the same height, the same code and the same receipt.  Nobody here chooses between
//! two stories.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use alloy::{
    network::Ethereum,
    primitives::{B256, keccak256},
    providers::{Provider as _, RootProvider},
    transports::{RpcError, TransportError, TransportErrorKind, TransportFut, http::Http},
};
use alloy_json_rpc::{RequestPacket, ResponsePacket};
use appliance_model::Address;
use tower_service::Service;

use crate::{Block, Chain, Error, TxHash};

/// One node, without the others.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) provider: RootProvider<Ethereum>,
    pub(crate) shown_url: String,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.shown_url)
    }
}

/// Asks the node that answered last, then the others.
#[derive(Debug, Clone)]
pub(crate) struct Failover {
    nodes: Arc<[Http<reqwest::Client>]>,
    first: Arc<AtomicUsize>,
}

impl Failover {
    pub(crate) fn new(nodes: Vec<Http<reqwest::Client>>) -> Self {
        Self { nodes: nodes.into(), first: Arc::new(AtomicUsize::new(0)) }
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let count = self.nodes.len();
        let start = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for (index, node) in self.nodes.iter().enumerate().cycle().skip(start).take(count) {
            match node.clone().call(request.clone()).await {
                Ok(answer) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if is_elsewhere(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| TransportErrorKind::custom_str("no RPC node is configured")))
    }
}

impl Service<RequestPacket> for Failover {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

/// Whether another node may do better: this one does not answer, is overloaded, or talks nonsense.
fn is_elsewhere(error: &TransportError) -> bool {
    matches!(error, RpcError::Transport(_) | RpcError::DeserError { .. })
}

impl Chain {
    /// The chain through that one of its nodes which is furthest, after all that answer were compared: same chain id,
    /// same block at the height that all of them have.  What is decided in one go is read through this one, so that
    /// answers of two nodes are never mixed.
    ///
    /// # Errors
    /// [`Error::Disagree`], [`Error::WrongChain`]: nothing may be spent until a person or time has mended that.
    /// [`Error::Down`] if no node can be used.
    pub async fn agreed(&self) -> Result<Self, Error> {
        let up = self.up().await?;
        let Some((_, low)) = up.iter().min_by_key(|(_, head)| head.number) else { return Ok(self.clone()) };
        let mut first: Option<(&Self, Block)> = None;
        for (chain, head) in &up {
            let at = if head.number == low.number { Some(*head) } else { chain.block(low.number).await? };
            // It had a higher head a moment ago: a reorganisation is going on there.
            let Some(at) = at else {
                return Err(self.disagree(chain, chain, format!("block {} is gone", low.number)));
            };
            match first {
                Some((other, block)) if block.hash != at.hash => {
                    let what = format!(
                        "block {} is {} on one and {} on the other",
                        low.number,
                        B256::new(block.hash),
                        B256::new(at.hash)
                    );
                    return Err(self.disagree(other, chain, what));
                }
                Some(_) => {}
                None => first = Some((chain, at)),
            }
        }
        let furthest = up.iter().max_by_key(|(_, head)| head.number);
        Ok(furthest.map_or_else(|| self.clone(), |(chain, _)| chain.clone()))
    }

    /// Makes sure that all nodes that answer have the same code at `address`.
    ///
    /// # Errors
    /// [`Error::Disagree`], [`Error::Down`] and the like.
    pub async fn agree_on_code(&self, address: Address) -> Result<(), Error> {
        let mut first: Option<(Self, B256)> = None;
        for (chain, _) in self.up().await? {
            let asked = chain.provider().get_code_at(address.0.into()).into_future();
            let code = keccak256(chain.ask("comparing a contract's code", asked).await?);
            match &first {
                Some((other, known)) if *known != code => {
                    return Err(self.disagree(other, &chain, format!("the code at 0x{address} differs")));
                }
                Some(_) => {}
                None => first = Some((chain, code)),
            }
        }
        Ok(())
    }

    /// Makes sure that every node that answers and has block `height` says the same of transaction `hash`: that it is
    /// in the block with hash `block`, or in none.
    ///
    /// # Errors
    /// [`Error::Disagree`], [`Error::Down`] and the like.
    pub async fn agree_on_receipt(
        &self,
        hash: TxHash,
        height: u64,
        block: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        for (chain, head) in self.up().await? {
            if head.number < height {
                continue;
            }
            let found = chain.raw_receipt(B256::new(hash.0)).await?.and_then(|receipt| receipt.block_hash);
            if found.map(|found| found.0) != block {
                let named = |block: Option<B256>| {
                    block.map_or("in no block".into(), |block| format!("in block {block}"))
                };
                let what = format!(
                    "transaction {hash} is {}, and was {} a moment ago",
                    named(found),
                    named(block.map(B256::new))
                );
                return Err(self.disagree(&chain, &chain, what));
            }
        }
        Ok(())
    }

    /// Every node that can be used, with its newest block.
    async fn up(&self) -> Result<Vec<(Self, Block)>, Error> {
        let mut up = Vec::new();
        let mut trouble = None;
        for node in self.nodes().iter() {
            let alone = self.alone(node);
            match alone.identified().await {
                Ok(head) => up.push((alone, head)),
                Err(error @ Error::WrongChain { .. }) => return Err(error),
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if up.is_empty() => Err(error),
            Some(_) | None => Ok(up),
        }
    }

    async fn identified(&self) -> Result<Block, Error> {
        self.demand_id().await?;
        self.head().await
    }

    fn disagree(&self, one: &Self, other: &Self, what: String) -> Error {
        Error::Disagree {
            one: one.shown_url().to_owned(),
            other: other.shown_url().to_owned(),
            chain_id: self.id(),
            what,
        }
    }
}
