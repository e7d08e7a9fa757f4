//! Wiring: from a site directory to a running appliance.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use appliance_first_run::Notice;
use attest_verify::endorsement::Roots;
use chain_client::OperatorKey;
use tokio::net::TcpListener;

use crate::{
    admin::entrance,
    agent_api,
    app::{self, App, Parts},
    board,
    chain::ChainLink,
    chain_watch,
    config::{Config, ConfigError},
    controllers::Controllers,
    discovery, executor, fleet, offboard, operator_api, plain,
    programs::{self, Programs},
    publish, remedy, rescue,
    residence::{Releases, SealKeys},
    secure_boot::{self, BootKeys, images::Bases},
    sending, sightings, signing,
    site::{self, Keys, SiteError},
    tls,
    vault::Vault,
    verifier_api,
};

/// How long a new IPv6 address may be tentative until it cannot be listened on after all.
const TENTATIVE_TRIES_MAX: u32 = 40;
const TENTATIVE_PAUSE: Duration = Duration::from_millis(100);

/// One more listener for operators, opened by whoever started us.
pub type Inherited = Option<StdListener>;

/// Why the appliance did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The site file.
    #[error("the appliance was not started")]
    Config(#[source] ConfigError),
    /// The site's keys.
    #[error(
        "the appliance was not started: the site's keys cannot be used; `scalerforge site init` makes missing ones"
    )]
    Keys(#[source] SiteError),
    /// The door of the page.
    #[error("the appliance was not started: its page cannot be kept behind a password")]
    Admin(#[source] crate::admin::AdminError),
    /// The operator's key.
    #[error("the appliance was not started: the operator's key cannot be used")]
    OperatorKey(#[source] chain_client::KeyError),
    /// EK roots.
    #[error(
        "the appliance was not started: the endorsement certificates in {} (trust.endorsement_dir) cannot be used: \
         {why}; correct the directory, an empty one admits nobody", dir.display()
    )]
    Roots {
        /// The directory.
        dir: PathBuf,
        /// Which file, and why.
        why: String,
    },
    /// The store.
    #[error("the appliance's store failed")]
    Store(#[source] appliance_store::StoreError),
    /// A listener.
    #[error("cannot listen on {at} for {what}; is another appliance running, does the address exist?")]
    Listen {
        /// For whom.
        what: &'static str,
        /// Where.
        at: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The host release.
    #[error("the appliance was not started: the release that hosts get cannot be used")]
    Release(#[source] crate::residence::ReleaseError),
    /// The PXE server.
    #[error("the appliance was not started: machines cannot be booted")]
    Pxe(#[source] pxe_server::StartError),
    /// The PXE server stopped.
    #[error("the appliance stopped: machines can no longer be booted")]
    PxeStopped(#[source] pxe_server::RunError),
    /// The site's keys for images.
    #[error("the appliance was not started: images cannot be signed")]
    BootKeys(#[source] secure_boot::KeyFileError),
    /// The image.
    #[error("the appliance was not started: it has no image to serve")]
    Image(#[source] secure_boot::images::ImageError),
    /// The development chain.
    #[error("the embedded development chain failed")]
    Devnet(#[source] chain_devnet::Error),
    /// The configured chain is another one.
    #[error("the appliance was not started")]
    Chain(#[source] chain_client::Error),
}

/// Between two looks at a clock that is wrong, and between two words about it.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
const CLOCK_WORDS_EVERY: u32 = 60;

/// Returns once the clock can be believed.
///
/// Bindings, permissions and certificates carry a time, and whether somebody else's holds is judged by it: nothing of
/// that happens on a day that cannot be.  It waits instead of ending, so that a time service has the time to do its work.
async fn right_clock() {
    let mut looks = 0;
    while let Some(Notice { what, next }) = crate::first_run::clock() {
        if looks % CLOCK_WORDS_EVERY == 0 {
            tracing::error!("waiting with everything: {what}; {next}");
        }
        looks += 1;
        tokio::time::sleep(CLOCK_LOOK).await;
    }
}

/// Runs the appliance of a site directory until `stop` resolves.
///
/// # Errors
/// If something in the site directory cannot be used (then nothing was changed), or a service stops.
pub async fn serve(
    dir: &Path,
    inherited: Inherited,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    tokio::pin!(stop);
    tokio::select! {
        () = right_clock() => serve_now(dir, inherited, stop).await,
        () = &mut stop => Ok(()),
    }
}

async fn serve_now(
    dir: &Path,
    inherited: Inherited,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut config = Config::read(dir).map_err(ServeError::Config)?;
    let keys = Keys::read(dir).map_err(ServeError::Keys)?;
    let roots = roots(&config.endorsement_dir)?;
    let (tls, agents, agents6) = agents(&config, &keys).await?;
    let operators = listen("operators", config.operator).await?;
    let entrance = entrance::open(&config, &keys).await?;
    let verifiers = listen_if("verifiers", config.verifier.as_ref().map(|at| at.listen)).await?;
    let images = config.firmware.as_ref().and_then(|firmware| firmware.serve.as_ref());
    let images = listen_if("controllers that fetch firmware", images.map(|at| at.listen)).await?;
    let inherited = inherited.map(|listener| adopt(listener, config.operator)).transpose()?;
    let signers = Signers::read(&config)?;
    right_chain(&config.chain.rpc_urls, config.chain.chain_id).await?;
    let bases = secure_boot::images::bases(dir, &config).map_err(ServeError::Image)?;
    // Everything that can be wrong with a site was looked at; only from here on is its directory written to.
    let programs = programs::beside(&config);
    let boot_keys = sealed(dir, &mut config, &bases)?;
    let clock = pxe_server::Clock::new(app::now);
    let (pxe, pxe_server) = pxe_server::PxeServer::start(boot_service(&config), &dir.join("pxe"), clock)
        .await
        .map_err(ServeError::Pxe)?;
    let store = appliance_store::Store::open(&dir.join("store.sqlite")).map_err(ServeError::Store)?;
    let book = signing::StoreBook::open(dir).map_err(ServeError::Store)?;
    let (link, devnet) = link(&config, signers.with_book(book)).await?;
    let ca = std::fs::read(dir.join("ca.pem")).unwrap_or_default();
    let seal = SealKeys { boot: boot_keys.signer(), policy: Some(boot_keys.policy()) };
    let releases = Releases::open(dir, config.host.as_ref(), &ca, &seal).map_err(ServeError::Release)?;
    let (makers, intermediates) = roots.len();
    let controllers = controllers(dir);
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
        programs: Programs::keep(dir, &programs),
    });
    tracing::info!(agents = ?agents.local_addr().ok(), operators = ?operators.local_addr().ok(), makers, intermediates, "serving");
    let operator = operator_api::router(Arc::clone(&app));
    let behind = operator.clone();
    tokio::select! {
        () = stop => Ok(()),
        ended = pxe_server.run() => ended.map_err(ServeError::PxeStopped),
        ended = executor::run(Arc::clone(&app)) => ended.map_err(ServeError::Store),
        ended = operate(operators, inherited, operator) => ended.map_err(|source| {
            ServeError::Listen { what: "operators", at: app.config.operator, source }
        }),
        () = tls::serve(Some(agents), tls.clone(), agent_api::router(Arc::clone(&app))) => Ok(()),
        () = tls::serve(agents6, tls, agent_api::router(Arc::clone(&app))) => Ok(()),
        () = entrance::serve(entrance, behind) => Ok(()),
        () = plain::serve(verifiers, verifier_api::router(Arc::clone(&app))) => Ok(()),
        () = app.chain.run() => Ok(()),
        () = sending::run(&app) => Ok(()),
        () = publish::run(&app) => Ok(()),
        () = discovery::run(Arc::clone(&app)) => Ok(()),
        () = remedy::run(Arc::clone(&app)) => Ok(()),
        () = rescue::run(&app) => Ok(()),
        () = remedy::images::serve(images, Arc::clone(&app)) => Ok(()),
        () = sightings::run(Arc::clone(&app)) => Ok(()),
        () = board::run(Arc::clone(&app)) => Ok(()),
        () = chain_watch::run(&app) => Ok(()),
        () = chain_watch::post::run(&app) => Ok(()),
        () = fleet::run(&app) => Ok(()),
        () = offboard::run(&app) => Ok(()),
        ended = chain(devnet) => ended.map_err(ServeError::Devnet),
    }
}

/// The provisioning LAN, with the images that the site file names elsewhere.
fn boot_service(config: &Config) -> pxe_server::Config {
    let arm64 = config.arm64.as_ref().map(|image| image.uki.as_path());
    config.pxe.clone().with_image(&config.uki).with_arm64_image(arm64).with_medium(config.medium.as_deref())
}

/// The site's keys for images, and the images as this site's own.
fn sealed(dir: &Path, config: &mut Config, bases: &Bases) -> Result<BootKeys, ServeError> {
    let keys = BootKeys::open(dir, config.secure_boot.own_keys).map_err(ServeError::BootKeys)?;
    secure_boot::images::seal(dir, config, &keys, bases).map_err(ServeError::Image)?;
    Ok(keys)
}

/// A site whose vault cannot be opened still boots servers: its site file may name all controllers.
fn controllers(dir: &Path) -> Controllers {
    let vault = Vault::read(dir).map_err(|error| crate::chain_of(&error));
    if let Err(why) = &vault {
        tracing::warn!(why, "imported passwords of controllers cannot be used");
    }
    Controllers::new(vault)
}

/// Where agents call: the certificate for all of it, IPv4, and IPv6 if there is.
async fn agents(
    config: &Config,
    keys: &Keys,
) -> Result<(rustls::ServerConfig, TcpListener, Option<TcpListener>), ServeError> {
    let addresses: Vec<IpAddr> =
        [Some(config.agent), config.agent6].iter().flatten().map(SocketAddr::ip).collect();
    let tls = keys.tls(&addresses).map_err(ServeError::Keys)?;
    let agents = listen("agents", config.agent).await?;
    let agents6 = match config.agent6 {
        Some(at) => Some(settled("agents over IPv6", at).await?),
        None => None,
    };
    Ok((tls, agents, agents6))
}

async fn listen_if(what: &'static str, at: Option<SocketAddr>) -> Result<Option<TcpListener>, ServeError> {
    match at {
        Some(at) => listen(what, at).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn listen(what: &'static str, at: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(at).await.map_err(|source| ServeError::Listen { what, at, source })
}

/// [`listen`] on an IPv6 address that the kernel may still be looking at: a new address is tentative for a second or two
/// (RFC 4862, 5.4).
async fn settled(what: &'static str, at: SocketAddr) -> Result<TcpListener, ServeError> {
    for _ in 0..TENTATIVE_TRIES_MAX {
        match TcpListener::bind(at).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tokio::time::sleep(TENTATIVE_PAUSE).await;
            }
            Err(source) => return Err(ServeError::Listen { what, at, source }),
            Ok(listener) => return Ok(listener),
        }
    }
    listen(what, at).await
}

fn adopt(listener: StdListener, at: SocketAddr) -> Result<TcpListener, ServeError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| ServeError::Listen { what: "operators", at, source })
}

/// Serves operators on the configured address, and on the inherited socket if there is one.
async fn operate(
    listener: TcpListener,
    inherited: Option<TcpListener>,
    router: axum::Router,
) -> io::Result<()> {
    let more = router.clone();
    let inherited = async move {
        match inherited {
            Some(listener) => axum::serve(listener, more).await,
            None => std::future::pending().await,
        }
    };
    tokio::try_join!(async { axum::serve(listener, router).await }, inherited).map(drop)
}

type Embedded = Option<(TcpListener, chain_devnet::Devnet)>;

async fn chain(embedded: Embedded) -> Result<(), chain_devnet::Error> {
    match embedded {
        Some((listener, devnet)) => chain_devnet::serve(listener, devnet).await.map(drop),
        None => std::future::pending().await,
    }
}

/// Who signs transactions.
struct Signers {
    operator: OperatorKey,
    /// Only a site without a fixed registry has one.
    deployer: Option<OperatorKey>,
}

impl Signers {
    fn read(config: &Config) -> Result<Self, ServeError> {
        let key = |file: &Path| OperatorKey::read(file).map_err(ServeError::OperatorKey);
        let operator = signing::key(&config.chain).map_err(ServeError::OperatorKey)?;
        let deployer = match config.chain.registry {
            Some(_) => None,
            None => Some(key(&config.dir.join(site::DEPLOYER_KEY))?),
        };
        Ok(Self { operator, deployer })
    }

    /// The operator's key signs what the book allows, from now on.
    fn with_book(self, book: signing::StoreBook) -> Self {
        Self { operator: self.operator.with_book(Arc::new(book)), deployer: self.deployer }
    }
}

/// A chain that is down is waited for later; a chain that is another one is a mistake in the site file.  Nothing is
/// asked of it but its id.
async fn right_chain(urls: &[String], id: u64) -> Result<(), ServeError> {
    if urls.is_empty() {
        return Ok(());
    }
    match chain_client::Chain::connect_any(urls, id).await {
        Err(error @ (chain_client::Error::WrongChain { .. } | chain_client::Error::Url { .. })) => {
            Err(ServeError::Chain(error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The link to the chain, and the embedded chain if that is what it leads to.
async fn link(config: &Config, signers: Signers) -> Result<(ChainLink, Embedded), ServeError> {
    let Signers { operator, deployer } = signers;
    let rpc_urls = config.chain.rpc_urls.clone();
    if !rpc_urls.is_empty() {
        return Ok((ChainLink::new(rpc_urls, false, config.chain.clone(), operator, deployer), None));
    }
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = listen("the development chain", at).await?;
    let at = listener.local_addr().map_err(|source| ServeError::Listen {
        what: "the development chain",
        at,
        source,
    })?;
    let genesis = site::genesis(config.chain.chain_id, deployer.as_ref());
    let devnet =
        chain_devnet::Devnet::open(&config.dir.join("chain"), &genesis).map_err(ServeError::Devnet)?;
    let link = ChainLink::new(vec![format!("http://{at}")], true, config.chain.clone(), operator, deployer);
    Ok((link, Some((listener, devnet))))
}

/// All PEM files of the endorsement directory.  An empty directory is allowed: nothing is admitted then.
fn roots(dir: &Path) -> Result<Roots, ServeError> {
    let failed = |why: String| ServeError::Roots { dir: dir.to_owned(), why };
    let mut roots = Roots::default();
    let entries = std::fs::read_dir(dir).map_err(|error| failed(error.to_string()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "pem")) {
        let pem = std::fs::read(file).map_err(|error| failed(format!("{}: {error}", file.display())))?;
        let added = roots.add_pem(&pem).map_err(|error| failed(format!("{}: {error}", file.display())))?;
        tracing::debug!(file = %file.display(), roots = added.roots, intermediates = added.intermediates, "endorsement certificates");
    }
    Ok(roots)
}
