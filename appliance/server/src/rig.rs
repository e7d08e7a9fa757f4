//! An appliance of a test's own: a site in a temporary directory, a development chain that outlives it, and machines whose
//! TPMs are in software.  [`Rig::open`] starts it, dropping what that gives kills it, and opening it again finds what it
//! had written.  Nothing is booted.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use appliance_model::{Address, Icnt};
use appliance_store::Store;
use attest_verify::endorsement::Roots;
use axum::http::StatusCode;
use chain_client::{Call, Chain, Count, Grant, OperatorKey, Registry};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    app::{App, Parts, now},
    chain::ChainLink,
    config::Config,
    controllers::Controllers,
    executor, operator_api,
    residence::{Releases, SealKeys},
    secure_boot::BootKeys,
    sending, signing,
    site::{self, Keys},
    vault::Vault,
};

mod machine;

pub(crate) use machine::{Machine, STAKE, quote_of};

/// Nothing here takes longer but on a machine that is very busy.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// No development chain's id.
const EARNEST: u64 = 4242;

const SITE: &str = r#"[site]
name = "rig"
enrolment = "manual"
approval = "manual"
silence_seconds_max = 3600

[pxe]
address = "127.0.0.1"
subnet = "127.0.0.0/24"
api_url = "https://127.0.0.1:8443"
dhcp_port = 0
http_port = 0
tftp_port = 0
boot_server_port = 0

[pxe.pool]
first = "127.0.0.100"
last = "127.0.0.199"

[image]
uki = "discovery.efi"
reference = "reference.json"

[agent]
listen = "127.0.0.1:0"

[operator]
listen = "127.0.0.1:0"

[burn_in]
profile = "demo"

[trust]
endorsement_dir = "endorsement"
allow_software_tpm = false

[chain]
rpc_url = "RPC"
chain_id = CHAIN_ID
operator_key_file = "operator.key"
fee_gwei_max = 100
CHAIN

[registration]
region = "eu-west"
hp_id = 1
location_code = 83
reservation_price_icnt = 10
reward_share_permille = 200
commitment_days = 1080
booking_days_max = 365
REGISTRATION
"#;

/// A site and its chain.
pub(crate) struct Rig {
    dir: TempDir,
    pub(crate) url: String,
    pub(crate) deployer: OperatorKey,
    chain_id: u64,
    _chain: JoinSet<()>,
}

/// What of a site file a test wants otherwise.
#[derive(Default)]
pub(crate) struct Wish {
    /// Whether the deployer is the owner, with this much in its deposit, and the operator acts within these limits.
    pub(crate) owner: Option<(Icnt, Grant)>,
    /// Lines of `[registration]`.
    pub(crate) registration: &'static str,
    /// A chain on which somebody has to allow what is signed.
    pub(crate) earnest: bool,
}

/// A running appliance.
pub(crate) struct Running {
    pub(crate) app: Arc<App>,
    client: reqwest::Client,
    operators: String,
    agents: String,
    verifiers: String,
    tasks: JoinSet<()>,
    decides: bool,
}

/// The boot service, as soon as the last run has written its journal to the end.
async fn pxe(config: &pxe_server::Config, dir: &Path) -> pxe_server::Handle {
    loop {
        let clock = pxe_server::Clock::new(now);
        match pxe_server::PxeServer::start(config.clone(), dir, clock).await {
            Ok((handle, _)) => return handle,
            Err(pxe_server::StartError::Journal(pxe_server::JournalError::InUse { .. })) => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

impl Rig {
    pub(crate) async fn new(wish: Wish) -> Self {
        // Every test of the process installs the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        site::init(path).unwrap();
        // The challenger that machines' bindings are signed by.
        std::fs::write(path.join("attestor.key"), hex::encode(crate::forge::CHALLENGERS[0])).unwrap();
        std::fs::create_dir(path.join("endorsement")).unwrap();
        std::fs::write(path.join("endorsement/maker.pem"), machine::maker_pem()).unwrap();
        std::fs::write(path.join("discovery.efi"), b"nothing boots from it").unwrap();
        std::fs::write(path.join("reference.json"), machine::reference()).unwrap();
        let deployer = OperatorKey::read(&path.join(site::DEPLOYER_KEY)).unwrap();
        let chain_id = if wish.earnest { EARNEST } else { chain_devnet::CHAIN_ID };
        let (url, chain) = devnet(&path.join("chain"), chain_id, &deployer).await;
        let owner = wish.owner.is_some().then(|| format!("owner = \"0x{}\"", deployer.address()));
        let text = SITE
            .replace("CHAIN_ID", &chain_id.to_string())
            .replace("RPC", &url)
            .replace("REGISTRATION", wish.registration);
        let text = text.replace("CHAIN", &owner.unwrap_or_default());
        std::fs::write(path.join("scalerforge.toml"), text).unwrap();
        let rig = Self { dir, url, deployer, chain_id, _chain: chain };
        if let Some((deposit, limits)) = wish.owner {
            rig.mandate(deposit, &limits).await;
        }
        rig
    }

    /// The site's directory.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the site file; an appliance that is opened after it reads it.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let file = self.dir.path().join("scalerforge.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Starts the appliance; only what is spawned runs.
    pub(crate) async fn open(&self) -> Running {
        let dir = self.dir.path();
        let config = Config::read(dir).unwrap();
        let keys = Keys::read(dir).unwrap();
        let boot_keys = BootKeys::open(dir, false).unwrap();
        // It serves nobody: no image is opened, and what would run it is dropped.
        let pxe = pxe(&config.pxe, &dir.join("pxe")).await;
        let store = Store::open(&dir.join("store.sqlite")).unwrap();
        let book = signing::StoreBook::open(dir).unwrap();
        let operator = signing::key(&config.chain).unwrap().with_book(Arc::new(book));
        let urls = config.chain.rpc_urls.clone();
        let deployer = OperatorKey::read(&dir.join(site::DEPLOYER_KEY)).unwrap();
        let link = ChainLink::new(urls, false, config.chain.clone(), operator, Some(deployer));
        let mut roots = Roots::default();
        roots.add_pem(machine::maker_pem().as_bytes()).unwrap();
        let seal = SealKeys { boot: boot_keys.signer(), policy: Some(boot_keys.policy()) };
        let releases = Releases::open(dir, None, &[], &seal).unwrap();
        let controllers = Controllers::new(Vault::read(dir).map_err(|error| crate::chain_of(&error)));
        let app = App::new(Parts {
            config,
            keys,
            boot_keys,
            store,
            pxe,
            chain: link,
            roots,
            controllers,
            releases,
            programs: crate::programs::Programs::default(),
        });
        app.chain.refresh().await.unwrap();
        let mut tasks = JoinSet::new();
        let operators = served(operator_api::router(Arc::clone(&app)), &mut tasks).await;
        let agents = served(crate::agent_api::router(Arc::clone(&app)), &mut tasks).await;
        let verifiers = served(crate::verifier_api::router(Arc::clone(&app)), &mut tasks).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Running { app, client, operators, agents, verifiers, tasks, decides: false }
    }

    pub(crate) async fn chain(&self) -> Chain {
        Chain::connect(&self.url, self.chain_id).await.unwrap()
    }

    pub(crate) async fn registry(&self) -> Registry {
        let (chain, operator) = (self.chain().await, self.operator());
        let coin = 1_000_000_000_000_000_000;
        let deployed = chain.deploy_reference(&self.deployer, operator, tokens(1_000_000), 100 * coin).await;
        Registry::open(&chain, deployed.unwrap().registry).await.unwrap()
    }

    pub(crate) fn operator(&self) -> Address {
        OperatorKey::read(&self.dir.path().join("operator.key")).unwrap().address()
    }

    /// The owner's deposit, and what its operator may do a day.
    pub(crate) async fn mandate(&self, deposit: Icnt, limits: &Grant) {
        let registry = self.registry().await;
        for call in registry.mandate_calls(self.operator(), deposit, limits).unwrap() {
            self.by_deployer(&call).await;
        }
    }

    /// A call of the deployer, who owns everything on a development chain.
    pub(crate) async fn by_deployer(&self, call: &Call) {
        self.by(&self.deployer, call).await;
    }

    async fn by(&self, key: &OperatorKey, call: &Call) {
        let chain = self.chain().await;
        let fees = chain.fees(u128::MAX).await.unwrap();
        let nonce = chain.transaction_count(key.address(), Count::Pending).await.unwrap();
        let signed = chain.sign_call(key, call, nonce, fees).await.unwrap();
        chain.broadcast(&signed).await.unwrap();
        until("a transaction to be mined", async || {
            let latest = chain.transaction_count(key.address(), Count::Latest).await.unwrap();
            (latest > nonce).then_some(())
        })
        .await;
    }

    /// Lets time pass on the chain.
    pub(crate) async fn pass(&self, seconds: u64) {
        for (method, params) in [("evm_increaseTime", json!([seconds])), ("evm_mine", json!([]))] {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let said: Value = client.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
            assert!(said.get("error").is_none(), "{said}");
        }
    }

    /// A call of the operator, beside whatever the appliance sends: only while that sends nothing.
    pub(crate) async fn by_operator(&self, call: &Call) {
        self.by(&OperatorKey::read(&self.dir.path().join("operator.key")).unwrap(), call).await;
    }
}

impl Running {
    /// Runs what `serve` does for a registration: decides, sends, looks at the chain.
    pub(crate) fn run(&mut self) {
        self.decide();
        self.send();
    }

    pub(crate) fn send(&mut self) {
        let app = Arc::clone(&self.app);
        self.spawn(async move { sending::run(&app).await });
    }

    /// The same, but that nothing is signed or sent.
    pub(crate) fn decide(&mut self) {
        self.decides = true;
        let app = Arc::clone(&self.app);
        self.spawn(async move { executor::run(app).await.unwrap() });
        let app = Arc::clone(&self.app);
        self.spawn(async move { app.chain.run().await });
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// As `kill -9` would: nothing is finished.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// A call of the operator's API.
    pub(crate) async fn ask(&self, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.operators);
        let request = match body {
            Some(body) => self.client.post(url).json(&body),
            None => self.client.get(url),
        };
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    }

    /// What a verifier reads.
    pub(crate) async fn verifier(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(format!("{}{path}", self.verifiers)).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    }

    /// A call of an agent.
    pub(crate) async fn tell(
        &self,
        session: Option<&str>,
        call: &str,
        body: &impl Serialize,
    ) -> (StatusCode, Value) {
        let mut request = self.client.post(format!("{}/agent/v1/{call}", self.agents)).json(body);
        if let Some(session) = session {
            request = request.bearer_auth(session);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or(Value::Null))
    }

    /// A report of an agent.
    pub(crate) async fn report(&self, session: &str, body: Value) {
        let request = self.client.post(format!("{}/agent/v1/report", self.agents)).bearer_auth(session);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    /// The next order of an agent.
    pub(crate) async fn next(&self, session: &str) -> Value {
        let request = self.client.post(format!("{}/agent/v1/next", self.agents)).bearer_auth(session);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }
}

/// Serves it on loopback, and says where.
async fn served(router: axum::Router, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn devnet(dir: &Path, chain_id: u64, deployer: &OperatorKey) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let genesis = site::genesis(chain_id, Some(deployer));
    let devnet = chain_devnet::Devnet::open(dir, &genesis).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { chain_devnet::serve(listener, devnet).await.map(drop).unwrap() });
    (url, tasks)
}

pub(crate) fn tokens(whole: u64) -> Icnt {
    Icnt::tokens(whole).unwrap()
}

/// What an owner allows a day.
pub(crate) fn grant(registrations: u16, collateral: Icnt) -> Grant {
    Grant {
        enabled: true,
        registrations_per_day: registrations,
        retirements_per_day: 0,
        collateral_per_day: collateral,
        registrations: 0,
        retirements: 0,
        collateral: Icnt(0),
    }
}

/// Waits for it.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let waited = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(LIMIT, waited).await {
        Ok(found) => found,
        Err(_) => panic!("waited for {what}"),
    }
}
