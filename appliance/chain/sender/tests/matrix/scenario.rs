//! One seeded run: the sender works while everything around it fails; then the storm ends, and the chain is asked what
//! came of it.

use std::sync::Arc;

use alloy::primitives::{Address as ChainAddress, Bytes, U256};
use appliance_model::{Address, Icnt, Now};
use chain_client::{Call, Chain, Error, Fees, NodeStatus, Registry};
use chain_devnet::CHAIN_ID;
use chain_sender::{Job, JobId, Limits, Sender, Site, State, Trouble, Urgency};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    backend::{Backend, FINAL_LAG},
    disk::{Disk, Killer},
    machines,
    proxy::{Lie, Node},
    seeds::Dice,
    world::{FEE_CAP, GRANT, MACHINES, World, amount, operator},
};

/// Rounds of the storm, and those after it at most.
const STORM: u64 = 40;
const CALM_MAX: u64 = 200;
/// Gifts of a run.
const GIFTS: u8 = 4;

/// What the chain shows of a job's effect.  Nothing outside the sender knows of gifts: that each is made once is the
/// nonces' work alone.
struct Onlooker(Registry);

impl Site for Onlooker {
    async fn is_there(&self, job: &Job) -> Result<bool, Error> {
        match job.id.as_str().strip_prefix("register ").and_then(|index| index.parse().ok()) {
            Some(index) => Ok(self.0.node(machines::node(index)).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn may_sign(&self, _: &Job) -> Result<(), String> {
        Ok(())
    }
}

/// What happened in a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    pub(crate) reorganisations: u64,
    pub(crate) thefts: u64,
    pub(crate) dropped: u64,
    pub(crate) spikes: u64,
    pub(crate) lies: u64,
    pub(crate) outages: u64,
    pub(crate) rounds: u64,
    pub(crate) reverts: u64,
}

struct Run<'a> {
    world: &'a World,
    dice: Dice,
    backend: Arc<Mutex<Backend>>,
    nodes: [Node; 2],
    killer: Arc<Killer>,
    dir: tempfile::TempDir,
    sender: Option<Sender<Disk, Onlooker>>,
    now: Now,
    start: u64,
    tally: Tally,
}

/// One run.  Panics with what is wrong; the caller names the seed.
pub(crate) async fn run(world: &World, seed: u64) -> Tally {
    let mut run = Run::new(world, seed).await;
    run.queue();
    for _ in 0..STORM {
        run.weather().await;
        run.round(true).await;
    }
    run.clear_up().await;
    run.calm().await;
    run.judge().await;
    run.tally
}

fn id(name: &str) -> JobId {
    JobId::try_from(name.to_owned()).expect("a name")
}

/// All jobs of a run: gifts, one of which waits for another and one for a quiet moment; an approval, and registrations
/// which need it.
fn jobs(world: &World, now: Now) -> Vec<Job> {
    let job = |name: String, call: Call, needs: Option<&str>, urgency: Urgency| Job {
        id: id(&name),
        account: operator().address(),
        call,
        needs: needs.map(id),
        urgency,
        queued_at: now,
        reverts: 0,
        state: State::new(now),
    };
    let gift = |index: u8| {
        let urgency = if index == 3 { Urgency::Idle } else { Urgency::Soon };
        job(format!("gift {index}"), world.gift(index), (index == 2).then_some("gift 0"), urgency)
    };
    let register = |(index, call): (usize, &Call)| {
        job(format!("register {index}"), call.clone(), Some("approve"), Urgency::Soon)
    };
    let mut jobs: Vec<Job> = (0..GIFTS).map(gift).collect();
    jobs.push(job("approve".into(), world.approve.clone(), None, Urgency::Soon));
    jobs.extend(world.registers.iter().enumerate().map(register));
    jobs
}

impl<'a> Run<'a> {
    async fn new(world: &'a World, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut backend = Backend::new(world.path(), &world.genesis).await;
        let start = backend.head().await + 1;
        // The storm shakes nothing that a node had seen before: neither lag nor fork reaches back to the grants.
        for _ in 0..2 * FINAL_LAG {
            backend.mine(true).await;
        }
        let backend = Arc::new(Mutex::new(backend));
        let killer = Arc::new(Killer::default());
        let (one, other) = (Dice::new(dice.below(u64::MAX)), Dice::new(dice.below(u64::MAX)));
        let nodes = [
            Node::start(Arc::clone(&backend), Arc::clone(&killer), one).await,
            Node::start(Arc::clone(&backend), Arc::clone(&killer), other).await,
        ];
        let dir = tempfile::tempdir().expect("a directory");
        let (now, tally) = (Now(1_700_000_000_000), Tally::default());
        Self { world, dice, backend, nodes, killer, dir, sender: None, now, start, tally }
    }

    fn queue(&self) {
        let disk = Disk::open(self.dir.path(), &self.killer);
        for job in jobs(self.world, self.now) {
            disk.add(&job);
        }
    }

    /// A sender that knows nothing but the disk and the nodes' addresses.
    async fn start_sender(&mut self) -> Option<Sender<Disk, Onlooker>> {
        let urls = [&self.nodes[0].url, &self.nodes[1].url];
        let chain = Chain::connect_any(&urls, CHAIN_ID).await.ok()?;
        let registry = Registry::open(&chain, self.world.registry).await.ok()?;
        let disk = Disk::open(self.dir.path(), &self.killer);
        Some(Sender::new(chain, operator(), Limits::usual(FEE_CAP), disk, Onlooker(registry)))
    }

    /// One round; with `deadly`, perhaps the sender's last.
    async fn round(&mut self, deadly: bool) {
        self.now = Now(self.now.0 + 5_000);
        self.tally.rounds += 1;
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => match self.start_sender().await {
                Some(sender) => sender,
                None => return,
            },
        };
        let fatal = (deadly && self.dice.happens(300)).then(|| self.dice.below(60));
        self.killer.arm(fatal);
        let before = self.sends();
        let lie = self.nodes[1].mood().lie;
        let ended = tokio::select! {
            biased;
            () = self.killer.struck() => None,
            ended = sender.round(self.now) => Some(ended),
        };
        self.killer.arm(None);
        match &ended {
            None => self.tally.kills += 1,
            Some(Ok(_)) => {}
            Some(Err(Trouble::Chain(_))) => {}
            Some(Err(error @ Trouble::Journal(_))) => panic!("the journal: {error:?}"),
        }
        if matches!(lie, Lie::ChainId | Lie::BlockHash) {
            assert_eq!(before, self.sends(), "nothing is sent while two nodes disagree ({lie:?}): {ended:?}");
        }
        if ended.is_some() {
            self.sender = Some(sender);
        }
    }

    fn sends(&self) -> usize {
        self.nodes.iter().map(|node| node.mood().sends.len()).sum()
    }

    /// What happens to the chain and its nodes before the next round.
    async fn weather(&mut self) {
        let mut backend = self.backend.lock().await;
        if self.dice.happens(120) {
            let (depth, keep, at_once) =
                (1 + self.dice.below(5), self.dice.happens(600), self.dice.happens(500));
            backend.reorganise(depth, keep, at_once).await;
            self.tally.reorganisations += 1;
        }
        if self.dice.happens(120) {
            let which = self.dice.below(4);
            let keys: Vec<_> = backend.pool.keys().copied().collect();
            for key in keys.iter().filter(|(_, nonce)| nonce % 4 == which) {
                backend.pool.remove(key);
                self.tally.dropped += 1;
            }
        }
        if self.dice.happens(150) {
            // From what the chain asks itself to twice the cap.
            let gwei = [0, 1, 5, 40, 99, 200];
            let which = usize::try_from(self.dice.below(6)).unwrap_or_default();
            backend.base_fee = gwei[which] * 1_000_000_000;
            self.tally.spikes += u64::from(which > 0);
        }
        if self.dice.happens(60) {
            steal(&mut backend, &mut self.dice).await;
            self.tally.thefts += 1;
        }
        for _ in 0..self.dice.below(3) {
            backend.mine(true).await;
        }
        drop(backend);
        self.moods();
    }

    fn moods(&mut self) {
        // While one lies both answer, so that the lie is heard.
        let honest = self.nodes[1].mood().lie == Lie::None;
        for index in 0..2 {
            let (changes, down) = (self.dice.happens(250), self.dice.happens(150));
            let (faults, lag) = (self.dice.below(4) * 60, self.dice.below(3) * 2);
            if changes && honest {
                let mut mood = self.nodes[index].mood();
                (mood.down, mood.faults, mood.lag) = (down, faults, lag);
                self.tally.outages += u64::from(down);
            }
        }
        let lies = [Lie::ChainId, Lie::BlockHash, Lie::Code, Lie::Receipt];
        let (which, begins, ends) = (
            usize::try_from(self.dice.below(4)).unwrap_or_default(),
            self.dice.happens(100),
            self.dice.happens(400),
        );
        if begins {
            self.tally.lies += 1;
            for node in &self.nodes {
                let mut mood = node.mood();
                (mood.down, mood.faults, mood.lag) = (false, 0, 0);
            }
            self.nodes[1].mood().lie = lies[which];
        } else if ends {
            self.nodes[1].mood().lie = Lie::None;
        }
    }

    /// The storm is over.
    async fn clear_up(&mut self) {
        for node in &self.nodes {
            let mut mood = node.mood();
            (mood.down, mood.faults, mood.lag, mood.lie) = (false, 0, 0, Lie::None);
        }
        self.backend.lock().await.base_fee = 0;
    }

    async fn calm(&mut self) {
        for _ in 0..CALM_MAX {
            self.round(false).await;
            self.backend.lock().await.mine(true).await;
            let disk = Disk::open(self.dir.path(), &self.killer);
            if self.states(&disk).iter().all(|(_, state)| state.is_over()) {
                return;
            }
        }
        let disk = Disk::open(self.dir.path(), &self.killer);
        panic!("not through after {CALM_MAX} calm rounds: {:#?}", self.states(&disk));
    }

    fn states(&self, disk: &Disk) -> Vec<(JobId, State)> {
        let names = jobs(self.world, self.now).into_iter().map(|job| job.id);
        names.map(|id| (id.clone(), disk.read(&id).state)).collect()
    }

    /// What the chain and the journal say in the end.
    async fn judge(&mut self) {
        assert_eq!(self.killer.early(), Vec::<String>::new(), "sent before it was stored");
        let disk = Disk::open(self.dir.path(), &self.killer);
        for (id, state) in self.states(&disk) {
            assert!(matches!(state, State::Settled(_)), "{id}: {state:?}");
        }
        self.nodes_are_registered().await;
        let mut backend = self.backend.lock().await;
        let account = ChainAddress::from(operator().address().0);
        let sent = backend.sent_by(account, self.start).await;
        for job in jobs(self.world, self.now) {
            let times = sent.iter().filter(|(other, fine)| other[..] == job.call.input[..] && *fine).count();
            assert_eq!(times, 1, "{} was done {times} times", job.id);
        }
        // We pay for what fails only where a fork gave a stolen nonce to somebody else, so that a registration came before
        // its approval.
        let failed = u64::try_from(sent.iter().filter(|(_, fine)| !*fine).count()).expect("few");
        let storm = self.tally.thefts > 0 && self.tally.reorganisations > 0;
        assert!(failed == 0 || storm, "{failed} failed");
        self.tally.reverts = failed;
        let mut given = U256::ZERO;
        for index in 0..GIFTS {
            let gift = U256::from(amount(index));
            assert_eq!(balance(&mut backend, self.world.token, World::recipient(index)).await, gift);
            given += gift;
        }
        let (locked, vault) = (U256::from(self.world.collateral.0), ChainAddress::from(self.world.vault.0));
        assert_eq!(balance(&mut backend, self.world.token, vault).await, locked, "collateral in the vault");
        let all = U256::from(Icnt::tokens(GRANT).expect("an amount").0);
        assert_eq!(
            balance(&mut backend, self.world.token, account).await,
            all - given - locked,
            "what is left"
        );
        assert!(backend.coin(account).await > U256::from(FEE_CAP), "gas money is left");
    }

    /// Every machine has exactly one live registration, and nothing more may be taken.
    async fn nodes_are_registered(&self) {
        let chain = Chain::connect(&self.nodes[0].url, CHAIN_ID).await.expect("a node");
        let registry = Registry::open(&chain, self.world.registry).await.expect("a registry");
        let found = registry.nodes().await.expect("the nodes");
        assert!(found.complete && found.nodes.len() == usize::from(MACHINES), "{:?}", found.nodes);
        for index in 0..MACHINES {
            let state = registry.node(machines::node(index)).await.expect("an answer").expect("a node");
            assert_eq!((state.status, state.owner), (NodeStatus::Registered, operator().address()));
        }
        let (at, account) = (chain.head().await.expect("a head"), operator().address());
        let funds = registry.funds_at(at, account, account).await.expect("funds");
        assert_eq!(funds.allowance, Icnt(0), "an approval was made again");
    }
}

/// Somebody else with the operator's key uses one of its next nonces.
async fn steal(backend: &mut Backend, dice: &mut Dice) {
    let account = operator().address();
    let used =
        backend.forward("eth_getTransactionCount", json!([ChainAddress::from(account.0), "latest"])).await;
    let nonce = crate::backend::number(&used.expect("a count")) + dice.below(3);
    let fee = 30_000_000_000 + u128::from(dice.below(60_000_000_000));
    let fees = Fees { max_fee_per_gas: fee, max_priority_fee_per_gas: fee };
    let raw = crate::world::stranger(nonce, fees).await;
    let _ = backend.answer("eth_sendRawTransaction", json!([Bytes::from(raw)]), u64::MAX).await;
}

async fn balance(backend: &mut Backend, token: Address, owner: ChainAddress) -> U256 {
    use alloy::sol_types::SolCall as _;
    let input = Bytes::from(chain_contracts::IcntMock::balanceOfCall { account: owner }.abi_encode());
    let call = json!([{ "to": ChainAddress::from(token.0), "input": input }, "latest"]);
    let answer = backend.forward("eth_call", call).await.expect("a balance");
    serde_json::from_value(answer).expect("a number")
}
