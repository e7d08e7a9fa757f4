//! The appliance's link to its chain: keeps trying, remembers the newest block, and says what is wrong.
//!
//! A sick chain never stops a boot: nothing here is awaited by the agent's or the PXE path.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use appliance_api::operator::{ChainView, NodeView};
use appliance_model::{Address, Icnt};
use chain_client::{Block, Chain, Error, IcnRegistry, Network, OperatorKey, Registry};
use tokio::sync::Notify;

use crate::{chain_of, config};

/// How often the newest block is asked for.
const POLL: Duration = Duration::from_secs(2);

/// What the development chain grants the operator: enough for a rack, far from the supply.
const GRANT_TOKENS: u64 = 1_000_000;

/// Gas money on the development chain, in wei (100 ether).
const GRANT_WEI: u128 = 100_000_000_000_000_000_000;

/// Where a registration goes and who sends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) chain_id: u64,
    pub(crate) registry: Address,
    pub(crate) operator: Address,
}

/// The link.
#[derive(Debug)]
pub(crate) struct ChainLink {
    rpc_urls: Vec<String>,
    development: bool,
    config: config::Chain,
    operator: OperatorKey,
    /// Deploys the reference contracts; only a site without a fixed registry has one.
    deployer: Option<OperatorKey>,
    state: Mutex<State>,
    /// Rings when a call was queued.
    bell: Notify,
    /// Why nothing can be sent now.
    sender_trouble: Mutex<Option<String>>,
    /// Held by whoever looks what a payment is best made from and queues it.
    purse: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    network: Option<Arc<Network>>,
    /// Kept when the chain goes away: where to register does not change with its health.
    address: Option<Address>,
    head: Option<Block>,
    trouble: Option<String>,
}

impl ChainLink {
    pub(crate) fn new(
        rpc_urls: Vec<String>,
        development: bool,
        config: config::Chain,
        operator: OperatorKey,
        deployer: Option<OperatorKey>,
    ) -> Self {
        let state = State { address: config.registry, ..State::default() };
        Self {
            rpc_urls,
            development,
            config,
            operator,
            deployer,
            state: Mutex::new(state),
            bell: Notify::new(),
            sender_trouble: Mutex::new(None),
            purse: tokio::sync::Mutex::new(()),
        }
    }

    /// Keeps the link up until the end of the process.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(POLL);
        loop {
            tick.tick().await;
            if let Err(error) = self.refresh().await {
                let trouble = chain_of(&error);
                let mut state = self.state();
                if state.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(rpc = self.shown_urls(), error = trouble, "the chain is not usable");
                }
                state.head = None;
                state.trouble = Some(trouble);
            }
        }
    }

    /// Connects if need be and asks for the newest block.
    ///
    /// # Errors
    /// Whatever the chain says; the link stays usable.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let known = self.state().network.clone();
        let network = match known {
            Some(network) => network,
            None => Arc::new(self.open().await?),
        };
        let head = network.chain().head().await?;
        let mut state = self.state();
        if state.trouble.take().is_some() || state.network.is_none() {
            tracing::info!(rpc = self.shown_urls(), block = head.number, registry = %network.address(), "the chain answers");
        }
        state.address = Some(network.address());
        state.network = Some(network);
        state.head = Some(head);
        Ok(())
    }

    async fn open(&self) -> Result<Network, Error> {
        let chain = Chain::connect_any(&self.rpc_urls, self.config.chain_id).await?;
        if let Some(settings) = self.config.icn {
            return IcnRegistry::open(&chain, settings).await.map(Network::Icn);
        }
        let address = match (self.config.registry, &self.deployer) {
            (Some(address), _) => address,
            (None, Some(deployer)) => {
                let grant = Icnt::tokens(GRANT_TOKENS).unwrap_or(Icnt(0));
                chain.deploy_reference(deployer, self.operator.address(), grant, GRANT_WEI).await?.registry
            }
            (None, None) => Address([0; 20]),
        };
        Registry::open(&chain, address).await.map(Network::Reference)
    }

    /// The network and the newest block, or why there is none now.
    pub(crate) fn ready(&self) -> Result<(Arc<Network>, Block), String> {
        let state = self.state();
        match (&state.network, state.head) {
            (Some(network), Some(head)) => Ok((Arc::clone(network), head)),
            _ => {
                let trouble = state.trouble.clone().unwrap_or_else(|| "not reached yet".into());
                Err(format!("the chain at {} is not usable: {trouble}", self.shown_urls()))
            }
        }
    }

    /// The newest block, if the chain answers.
    pub(crate) fn head(&self) -> Option<Block> {
        self.state().head
    }

    /// Where to register; known once the chain was reached for the first time.
    pub(crate) fn target(&self) -> Option<Target> {
        let registry = self.state().address?;
        Some(Target { chain_id: self.config.chain_id, registry, operator: self.operator.address() })
    }

    /// The nodes' addresses, as people see them.
    fn shown_urls(&self) -> String {
        let shown: Vec<String> = self.rpc_urls.iter().map(|url| chain_client::shown_url(url)).collect();
        shown.join(" or ")
    }

    /// Whose collateral is put up: the operator's own account unless the site file names another.
    pub(crate) fn owner(&self) -> Address {
        self.config.owner.unwrap_or_else(|| self.operator.address())
    }

    /// Whether it is the embedded chain, which proves nothing to anybody.
    pub(crate) fn is_development(&self) -> bool {
        self.development
    }

    pub(crate) fn operator(&self) -> &OperatorKey {
        &self.operator
    }

    pub(crate) fn publish(&self) -> config::wire::Publish {
        self.config.publish
    }

    pub(crate) fn fee_cap(&self) -> u128 {
        self.config.fee_wei_max
    }

    /// One payment at a time is looked for and queued: two that find the same allowance would both count on it.
    pub(crate) async fn purse(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.purse.lock().await
    }

    /// A call was queued: the sender looks at once.
    pub(crate) fn wake_sender(&self) {
        self.bell.notify_one();
    }

    /// Until somebody queues a call.
    pub(crate) async fn sender_woken(&self) {
        self.bell.notified().await;
    }

    /// Notes why nothing can be sent now.  Returns whether that is news.
    pub(crate) fn note_sender(&self, trouble: Option<String>) -> bool {
        let mut known = self.sender_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != trouble;
        *known = trouble;
        is_news
    }

    /// Why nothing can be sent now.
    pub(crate) fn sender_trouble(&self) -> Option<String> {
        self.sender_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chain as people see it.
    pub(crate) async fn view(&self) -> ChainView {
        let mut view = ChainView {
            rpc_url: self.shown_urls(),
            development: self.development,
            chain_id: self.config.chain_id,
            head: self.head().map(|head| head.number),
            registry: self.target().map(|target| format!("0x{}", target.registry)),
            operator: Some(format!("0x{}", self.operator.address())),
            balance: None,
            trouble: self.state().trouble.clone(),
            nodes: Vec::new(),
        };
        if let Err(error) = self.read_back(&mut view).await {
            view.trouble = Some(error);
        }
        view
    }

    async fn read_back(&self, view: &mut ChainView) -> Result<(), String> {
        let (network, head) = self.ready()?;
        let said = |error: Error| chain_of(&error);
        let funds = network.funds_at(head, self.owner(), self.operator.address()).await.map_err(said)?;
        view.balance = Some(funds.available().to_string());
        let found = network.nodes().await.map_err(said)?;
        if !found.complete {
            view.trouble = Some("the registry's log is still being read: more nodes may follow".into());
        }
        view.nodes = found
            .nodes
            .into_iter()
            .map(|node| NodeView {
                node: node.node.to_string(),
                name: node.name,
                class: node.class,
                capacity: node.capacity,
                collateral: node.collateral.to_string(),
                unit_root: node.unit_root.to_string(),
                evidence: node.evidence_digest.to_string(),
                operator: format!("0x{}", node.operator),
            })
            .collect();
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
