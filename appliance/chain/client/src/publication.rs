//! The proof that evidence was on chain: found by its log, put together from a block's header and receipts.
//!
//! A publication convinces whoever knows the block's hash and nobody else, so nothing here is trusted that comes from
//! the node: the header must hash to the block's hash and the receipts to the header's root, or there is no
//! publication.  `attest-verify` reads it back without a chain; the format is in `attest/FORMAT.md`.

use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, Bloom, Bytes, U64, keccak256},
    providers::Provider as _,
    rlp::{Decodable as _, Encodable as _, Header as RlpHeader},
    rpc::types::{Block as RpcBlock, Filter, Log},
    sol_types::SolEvent as _,
};
use alloy_trie::{HashBuilder, Nibbles, proof::ProofRetainer, root::adjust_index_for_rlp};
use appliance_model::{Address, Digest, NodeId};
use chain_contracts::nodes::ScalerNodes as abi;
use serde::{Deserialize, Serialize};

use crate::{Block, Chain, Error, Registry};

/// Blocks asked for in one question about logs; nodes refuse more.
const LOG_BLOCKS: u64 = 10_000;

const LOOKING: &str = "looking for published evidence";

/// Questions about logs for one search: 20 million blocks, more than a year of Base.
const LOG_QUESTIONS_MAX: u64 = 2_000;

/// A log with the way to its block's hash.  Hex in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// RLP of the block's header.
    pub header: Bytes,
    /// The transaction's index in the block.
    pub transaction: u64,
    /// The log's index within this transaction's receipt.
    pub log: u64,
    /// Nodes of the receipts trie, from the root to the receipt.
    pub proof: Vec<Bytes>,
}

/// A publication, and what its log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where.
    pub block: Block,
    /// Who.
    pub operator: Address,
    /// The evidence's place in the node's row; `None` for the evidence that came with the registration.
    pub sequence: Option<u64>,
    /// The proof.
    pub publication: Publication,
}

impl Registry {
    /// The proof that `evidence` of `node` was published, in block `near` if that is known, else looked for from the
    /// newest block backwards to the node's registration.  `None`: it is not on the chain (yet).
    ///
    /// # Errors
    /// [`Error::Answer`] if header, receipts and log do not fit together; [`Error::Rejected`] if the node does not give
    /// a block's receipts; [`Error::Down`] and the like.
    pub async fn publication(
        &self,
        node: NodeId,
        evidence: Digest,
        near: Option<u64>,
    ) -> Result<Option<Published>, Error> {
        let Some(found) = self.log_of(node, evidence, near).await? else { return Ok(None) };
        let chain = self.chain();
        let during = "reading a publication";
        let (Some(hash), Some(transaction), Some(index)) =
            (found.log.block_hash, found.log.transaction_index, found.log.log_index)
        else {
            return Err(chain.nonsense(during, "a log that is in no block".into()));
        };
        let (header, block) = chain.raw_header(hash).await?;
        let root = receipts_root(&header)
            .ok_or_else(|| chain.nonsense(during, "a header that is no list of a header's fields".into()))?;
        let receipts = chain.receipts(hash).await?;
        let (computed, proof) = prove(&receipts, transaction);
        if computed != root {
            let what = format!("the receipts of block {} hash to {computed}, not to {root}", block.number);
            return Err(chain.nonsense(during, what));
        }
        // Logs are counted through the block; the proof reaches one receipt.
        let place = usize::try_from(transaction).ok().and_then(|place| receipts.get(place));
        let log = place.and_then(|receipt| {
            let at = receipt.logs.iter().position(|log| log.log_index == Some(index))?;
            receipt.logs.get(at).filter(|log| log.inner == found.log.inner)?;
            u64::try_from(at).ok()
        });
        let Some(log) = log else {
            let what = format!("log {index} is not in receipt {transaction} of block {}", block.number);
            return Err(chain.nonsense(during, what));
        };
        let publication = Publication { header, transaction, log, proof };
        Ok(Some(Published { block, operator: found.operator, sequence: found.sequence, publication }))
    }

    /// The newest log that names this node and this evidence.
    async fn log_of(
        &self,
        node: NodeId,
        evidence: Digest,
        near: Option<u64>,
    ) -> Result<Option<FoundLog>, Error> {
        let filter = Filter::new()
            .address(alloy::primitives::Address::from(self.address().0))
            .event_signature(vec![
                abi::EvidencePublished::SIGNATURE_HASH,
                abi::NodeRegistered::SIGNATURE_HASH,
            ])
            .topic1(B256::new(node.0));
        if let Some(block) = near {
            let filter = filter.select(block);
            return Ok(self
                .chain()
                .logs(LOOKING, &filter)
                .await?
                .into_iter()
                .find_map(|log| says(log, evidence)));
        }
        let Some(record) = self.node(node).await? else { return Ok(None) };
        let mut last = self.chain().head().await?.number;
        for _ in 0..LOG_QUESTIONS_MAX {
            let first = last.saturating_sub(LOG_BLOCKS - 1);
            let logs = self.chain().logs(LOOKING, &filter.clone().from_block(first).to_block(last)).await?;
            let found = logs.into_iter().rev().find_map(|log| says(log, evidence));
            let begins = self.chain().block(first).await?.map_or(0, |block| block.timestamp_unix);
            if found.is_some() || first == 0 || begins < record.registered_at_unix {
                return Ok(found);
            }
            last = first - 1;
        }
        Ok(None)
    }
}

/// A log that names the evidence.
struct FoundLog {
    log: Log,
    operator: Address,
    sequence: Option<u64>,
}

fn says(log: Log, evidence: Digest) -> Option<FoundLog> {
    let (operator, sequence, digest) = match abi::EvidencePublished::decode_log_data(log.data()) {
        Ok(event) => (event.operator, Some(event.sequence), event.evidenceDigest),
        Err(_) => {
            let event = abi::NodeRegistered::decode_log_data(log.data()).ok()?;
            (event.operator, None, event.evidenceDigest)
        }
    };
    (digest.0 == evidence.0 && !log.removed).then(|| FoundLog {
        operator: Address(operator.into_array()),
        sequence,
        log,
    })
}

impl Chain {
    /// `eth_getLogs`.
    pub(crate) async fn logs(&self, during: &'static str, filter: &Filter) -> Result<Vec<Log>, Error> {
        self.ask(during, self.provider().get_logs(filter)).await
    }

    /// Whether there was code at `address` after block `at`.
    pub(crate) async fn code_at(&self, address: Address, at: u64) -> Result<bool, Error> {
        let asked = self.provider().get_code_at(address.0.into()).block_id(BlockId::number(at)).into_future();
        Ok(!self.ask("looking for a contract", asked).await?.is_empty())
    }

    /// The RLP of a block's header, and the block: the RLP hashes to `hash`.
    async fn raw_header(&self, hash: B256) -> Result<(Bytes, Block), Error> {
        let during = "reading a block's header";
        let request =
            self.provider().client().request::<_, Option<RpcBlock>>("eth_getBlockByHash", (hash, false));
        let Some(block) = self.ask(during, request).await? else {
            return Err(self.nonsense(during, format!("it knows no block {hash}")));
        };
        let (number, timestamp_unix) = (block.header.inner.number, block.header.inner.timestamp);
        let place = Block { number, hash: hash.0, timestamp_unix };
        // Few public nodes offer this one; those that do spare us guessing which fields their headers have.
        let asked = self
            .provider()
            .client()
            .request::<_, Option<Bytes>>("debug_getRawHeader", (BlockNumberOrTag::Number(number),));
        if let Ok(Some(raw)) = self.ask(during, asked).await
            && keccak256(&raw) == hash
        {
            return Ok((raw, place));
        }
        let rebuilt = Bytes::from(alloy::rlp::encode(&block.header.inner));
        if keccak256(&rebuilt) == hash {
            return Ok((rebuilt, place));
        }
        let what = format!(
            "the header of block {number} does not hash to {hash}: it may have fields that are unknown here; ask a node \
             that offers debug_getRawHeader"
        );
        Err(self.nonsense(during, what))
    }

    /// All receipts of a block, in order.
    async fn receipts(&self, block: B256) -> Result<Vec<Receipt>, Error> {
        let during = "reading a block's receipts";
        let asked =
            self.provider().client().request::<_, Option<Vec<Receipt>>>("eth_getBlockReceipts", (block,));
        let receipts = self.ask(during, asked).await?;
        receipts.ok_or_else(|| self.nonsense(during, format!("it has no receipts of block {block}")))
    }
}

/// A receipt as nodes show it, as far as consensus knows it.  Not alloy's type, which refuses the deposits that every
/// block of an OP chain begins with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    #[serde(default, rename = "type")]
    kind: Option<U64>,
    status: Option<U64>,
    root: Option<B256>,
    cumulative_gas_used: U64,
    logs_bloom: Bloom,
    logs: Vec<Log>,
    /// Of a deposit (type 0x7e), since Regolith.
    deposit_nonce: Option<U64>,
    /// Of a deposit, since Canyon: only with it does the nonce count.
    deposit_receipt_version: Option<U64>,
}

/// Transaction type of a deposit on OP chains.
const DEPOSIT: u8 = 0x7E;

impl Receipt {
    /// Its EIP-2718 bytes: what the receipts trie holds.
    fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        match (self.status, self.root) {
            (Some(status), _) => (!status.is_zero()).encode(&mut fields),
            (None, root) => root.unwrap_or_default().encode(&mut fields),
        }
        self.cumulative_gas_used.to::<u64>().encode(&mut fields);
        self.logs_bloom.encode(&mut fields);
        let logs: Vec<_> = self.logs.iter().map(|log| log.inner.clone()).collect();
        logs.encode(&mut fields);
        let kind = u8::try_from(self.kind.unwrap_or_default().to::<u64>()).unwrap_or(u8::MAX);
        if let (DEPOSIT, Some(nonce), Some(version)) =
            (kind, self.deposit_nonce, self.deposit_receipt_version)
        {
            nonce.to::<u64>().encode(&mut fields);
            version.to::<u64>().encode(&mut fields);
        }
        let mut bytes = if kind == 0 { Vec::new() } else { vec![kind] };
        RlpHeader { list: true, payload_length: fields.len() }.encode(&mut bytes);
        bytes.extend(fields);
        bytes
    }
}

/// The root of the trie of `receipts`, and the nodes on the way to number `target`.
fn prove(receipts: &[Receipt], target: u64) -> (B256, Vec<Bytes>) {
    let key = |index: u64| Nibbles::unpack(alloy::rlp::encode(index));
    let mut trie = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![key(target)]));
    for place in 0..receipts.len() {
        // The trie wants its keys in their order, in which 0 comes after 127.
        let index = adjust_index_for_rlp(place, receipts.len());
        if let (Some(receipt), Ok(number)) = (receipts.get(index), u64::try_from(index)) {
            trie.add_leaf(key(number), &receipt.encode());
        }
    }
    let root = trie.root();
    let nodes = trie.take_proof_nodes().into_nodes_sorted();
    (root, nodes.into_iter().map(|(_, node)| node).collect())
}

/// The sixth field of a header.
fn receipts_root(header: &[u8]) -> Option<B256> {
    let mut rest = header;
    if !RlpHeader::decode(&mut rest).ok()?.list {
        return None;
    }
    for _ in 0..5 {
        let field = RlpHeader::decode(&mut rest).ok()?;
        rest = rest.get(field.payload_length..)?;
    }
    B256::decode(&mut rest).ok()
}
