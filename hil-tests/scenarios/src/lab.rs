//! Rack, appliance and chain of one test or demo.

use std::{
    fs::File,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use appliance_api::{
    burn_in::BurnInView,
    operator::{ChainView, HostDetail, HostView},
};
use hil_tests_rack::{HostSpec, Rack, RackConfig, netns};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use crate::{artefacts::Artefacts, site_file};

/// Where the operator's API listens inside the lab's namespace.
pub(crate) const OPERATOR_ADDRESS: &str = "127.0.0.1:8090";

/// Where verifiers call inside the lab's namespace.
pub const VERIFIER_ADDRESS: &str = "127.0.0.1:8091";

/// Where a chain that runs apart listens inside the lab's namespace.
pub const CHAIN_ADDRESS: &str = "127.0.0.1:8545";

/// How often the API is asked while a test waits.
const POLL: Duration = Duration::from_millis(250);

/// Which chain the lab's appliance uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// The one inside the appliance.
    Embedded,
    /// A process of its own, with a block every so many milliseconds (0: one a transaction).
    Apart {
        /// Milliseconds between blocks.
        interval_ms: u64,
    },
}

/// What a lab is made of.
#[derive(Debug)]
pub struct LabConfig {
    /// Its name: a folder in the scratch directory.
    pub name: String,
    /// The servers.
    pub hosts: Vec<HostSpec>,
    /// The chain.
    pub chain: Chain,
    /// Burn-in profile: a built-in one, or the path of a `.toml` file.
    pub profile: String,
    /// More lines for the site file's section `[burn_in]`.
    pub burn_in: String,
    /// Lines of the site file's section `[carve]`.
    pub carve: String,
    /// Serve the image whose agent was altered.
    pub altered_image: bool,
    /// Whether servers are enrolled by the site (`auto`) or by a person (`manual`).
    pub enrolment: &'static str,
    /// Whether stakes are approved by the site (`auto`) or by a person (`manual`).
    pub approval: &'static str,
    /// The release that hosts get on a drive of their own.
    pub release: Option<PathBuf>,
    /// How long an agent may be silent.
    pub silence_seconds_max: u64,
    /// How old a node's evidence may become before the appliance asks for new.
    pub reattest_seconds: Option<u64>,
    /// Which evidence is published on chain (`chain.publish`).
    pub publish: &'static str,
    /// What BMCs say against the truth: server, resource, what is merged into it.
    pub lies: Vec<(usize, String, serde_json::Value)>,
    /// Whether the site file names the servers' BMCs; without, a server is known only when its agent says hello.
    pub bmcs: bool,
    /// Whether the site has a boot medium for virtual CDs.
    pub medium: bool,
    /// More lines for the site file's section `[pxe]`.
    pub pxe: String,
    /// More lines for the site file's section `[chain]`.
    pub chain_lines: String,
    /// More sections of the site file.
    pub sections: String,
    /// More files of the site directory: names and contents.
    pub files: Vec<(&'static str, String)>,
    /// Serve IPv6 beside IPv4.
    pub v6: bool,
    /// The site signs its images with keys of its own, and enrols these beside certificates in these files.
    pub own_keys: Option<Vec<PathBuf>>,
    /// The operator's listener, if it is to live outside the lab's namespace.
    pub operator: Option<TcpListener>,
}

impl LabConfig {
    /// A lab of `hosts` ordinary servers.
    #[must_use]
    pub fn new(name: &str, hosts: u8) -> Self {
        Self {
            name: name.into(),
            hosts: (0..hosts).map(HostSpec::lab).collect(),
            chain: Chain::Embedded,
            profile: "demo".into(),
            burn_in: String::new(),
            carve: String::new(),
            altered_image: false,
            enrolment: "auto",
            approval: "auto",
            release: None,
            // Agents call every 10 seconds; two labs on two cores may make that 20.
            silence_seconds_max: 25,
            reattest_seconds: None,
            publish: "registration",
            lies: Vec::new(),
            bmcs: true,
            medium: false,
            pxe: String::new(),
            chain_lines: String::new(),
            sections: String::new(),
            files: Vec::new(),
            v6: false,
            own_keys: None,
            operator: None,
        }
    }
}

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    /// The servers.
    pub rack: Rack,
    dir: PathBuf,
    artefacts: Artefacts,
    chain: Chain,
    operator: Option<TcpListener>,
    appliance: Option<Child>,
    devnet: Option<Child>,
}

/// Runs `scenario` in a network namespace of its own.
///
/// # Errors
/// Whatever the scenario fails with.
pub fn run<F>(scenario: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    netns::block_on_private(scenario)?
}

impl Lab {
    /// Builds the rack, writes the site directory, and starts chain and appliance.
    ///
    /// # Errors
    /// If anything is missing or does not start.
    pub async fn start(config: LabConfig, artefacts: &Artefacts) -> anyhow::Result<Self> {
        let dir = artefacts.scratch.join(&config.name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("clearing {}", dir.display()))?;
        }
        let rack = Rack::start(RackConfig {
            dir: dir.join("rack"),
            hosts: config.hosts.clone(),
            ovmf_code: artefacts.ovmf_code.clone(),
            ovmf_code_secure_boot: artefacts.boot.ovmf_code_secure_boot.clone(),
            ovmf_vars: artefacts.ovmf_vars.clone(),
        })
        .await?;
        if config.v6 {
            let words = ["-6", "addr", "add", "fd77::1/64", "dev", "br0", "nodad"];
            let done = Command::new("ip").args(words).status().await.context("running ip")?;
            anyhow::ensure!(done.success(), "ip {words:?}: {done}");
        }
        for (server, path, patch) in &config.lies {
            rack.host(*server).bmc_lie(path, patch.clone());
        }
        site_file::write(&dir.join("site"), &rack, &config, artefacts)?;
        let mut lab = Self {
            rack,
            dir,
            artefacts: artefacts.clone(),
            chain: config.chain,
            operator: config.operator,
            appliance: None,
            devnet: None,
        };
        lab.start_chain().await?;
        lab.start_appliance()?;
        Ok(lab)
    }

    /// The site directory.
    #[must_use]
    pub fn site(&self) -> PathBuf {
        self.dir.join("site")
    }

    /// The program under test.
    #[must_use]
    pub fn scalerforge(&self) -> &Path {
        &self.artefacts.scalerforge
    }

    /// Starts the appliance on its site directory.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start_appliance(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.artefacts.scalerforge);
        command.arg("serve").arg("--site").arg(self.site());
        if let Some(listener) = &self.operator {
            command.arg("--operator-on-stdin").stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)));
        } else {
            command.stdin(Stdio::null());
        }
        self.appliance = Some(self.spawn(command, "appliance.log")?);
        Ok(())
    }

    /// Kills the appliance with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// If it was not running.
    pub async fn kill_appliance(&mut self) -> anyhow::Result<()> {
        let mut child = self.appliance.take().context("the appliance is not running")?;
        child.kill().await.context("killing the appliance")
    }

    /// Starts the chain, if it runs apart.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub async fn start_chain(&mut self) -> anyhow::Result<()> {
        let Chain::Apart { interval_ms } = self.chain else { return Ok(()) };
        let mut command = Command::new(&self.artefacts.scalerforge);
        command.args(["chain", "devnet", "--listen", CHAIN_ADDRESS, "--dir"]).arg(self.dir.join("chain"));
        command.arg("--fund").arg(self.site().join("deployer.key")).stdin(Stdio::null());
        if interval_ms > 0 {
            command.arg("--interval-ms").arg(interval_ms.to_string());
        }
        self.devnet = Some(self.spawn(command, "chain.log")?);
        let up = || async { tokio::net::TcpStream::connect(CHAIN_ADDRESS).await.ok().map(drop) };
        until("the chain to listen", Duration::from_secs(30), up).await
    }

    /// Kills the chain, which must run apart.
    ///
    /// # Errors
    /// If it was not running.
    pub async fn kill_chain(&mut self) -> anyhow::Result<()> {
        let mut child = self.devnet.take().context("no chain runs apart")?;
        child.kill().await.context("killing the chain")
    }

    /// Memory the appliance holds, in bytes (VmRSS).
    #[must_use]
    pub fn appliance_rss_bytes(&self) -> Option<u64> {
        let pid = self.appliance.as_ref()?.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// The exit status of the appliance, if it ended by itself.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn appliance_ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(match &mut self.appliance {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// All hosts, as the API lists them.
    ///
    /// # Errors
    /// If the appliance does not answer.
    pub async fn hosts(&self) -> anyhow::Result<Vec<HostView>> {
        self.get("/api/v1/hosts").await
    }

    /// One host.
    ///
    /// # Errors
    /// If the appliance does not answer.
    pub async fn host(&self, id: &str) -> anyhow::Result<HostDetail> {
        self.get(&format!("/api/v1/hosts/{id}")).await
    }

    /// The chain, as the appliance reads it back.
    ///
    /// # Errors
    /// If the appliance does not answer.
    pub async fn chain_view(&self) -> anyhow::Result<ChainView> {
        self.get("/api/v1/chain").await
    }

    /// A host's burn-in.
    ///
    /// # Errors
    /// If the appliance does not answer, or knows of none.
    pub async fn burn_in(&self, id: &str) -> anyhow::Result<BurnInView> {
        self.get(&format!("/api/v1/hosts/{id}/burn-in")).await
    }

    /// The result stream of a host's burn-in.
    ///
    /// # Errors
    /// If the appliance does not answer, or has none.
    pub async fn burn_in_stream(&self, id: &str) -> anyhow::Result<String> {
        self.text(&format!("/api/v1/hosts/{id}/burn-in/stream")).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        serde_json::from_str(&self.text(path).await?).context("reading the answer")
    }

    async fn text(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{OPERATOR_ADDRESS}{path}");
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build().into();
            agent.get(&url).call()?.body_mut().read_to_string().context("reading the answer")
        })
        .await?
    }

    /// Waits until `found` says what it wants to see of the hosts.
    ///
    /// # Errors
    /// When `limit` is over; the message has consoles and the appliance's log.
    pub async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        found: impl Fn(&[HostView]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let asked = || async {
            let seen = self.hosts().await.ok().and_then(|hosts| found(&hosts)).map(Ok);
            seen.or_else(|| self.appliance_is_gone().then(|| Err(anyhow::anyhow!("the appliance ended"))))
        };
        match until(what, limit, asked).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) | Err(error) => Err(error.context(self.scene().await)),
        }
    }

    /// Whether the appliance was started and has ended since: nothing that is waited for will come.
    fn appliance_is_gone(&self) -> bool {
        let Some(pid) = self.appliance.as_ref().and_then(Child::id) else { return false };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }

    /// Waits until the host with this serial is in `stage`.
    ///
    /// # Errors
    /// When `limit` is over, or the host was quarantined instead.
    pub async fn wait_stage(&self, serial: &str, stage: &str, limit: Duration) -> anyhow::Result<HostView> {
        let ended = |hosts: &[HostView]| {
            let host = hosts.iter().find(|host| host.serial == serial)?;
            (host.stage == stage || host.stage == "quarantined").then(|| host.clone())
        };
        let host = self.wait(&format!("{serial} to be {stage}"), limit, ended).await?;
        if host.stage != stage {
            bail!("{serial} is {}: {}\n{}", host.stage, host.why.waiting_for, self.scene().await);
        }
        Ok(host)
    }

    /// Waits until the appliance's log has a line with all of `words`, looking every few milliseconds: for what lasts
    /// too short to be seen through the API.
    ///
    /// # Errors
    /// When `limit` is over.
    pub async fn wait_log(&self, words: &[&str], limit: Duration) -> anyhow::Result<()> {
        let file = self.dir.join("appliance.log");
        let end = Instant::now() + limit;
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if text.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                return Ok(());
            }
            if self.appliance_is_gone() {
                bail!("the appliance ended, and {words:?} is not in the log\n{}", self.scene().await);
            }
            if Instant::now() >= end {
                bail!(
                    "waited {} s in vain for {words:?} in the log\n{}",
                    limit.as_secs(),
                    self.scene().await
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The evidence file of a node.
    #[must_use]
    pub fn evidence(&self, node: &str) -> PathBuf {
        self.site().join("evidence").join(format!("{node}.evidence"))
    }

    /// Runs `scalerforge` with these arguments; answers exit code, standard output and standard error.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn command(&self, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<(i32, String, String)> {
        let output = Command::new(&self.artefacts.scalerforge).args(arguments).output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    /// What a stranger's verifier says of a node's evidence with these reference values: as [`Self::command`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn judged(
        &self,
        node: &str,
        reference: &Path,
        more: &[&str],
    ) -> anyhow::Result<(i32, String, String)> {
        let (file, roots) = (self.evidence(node), self.site().join("endorsement"));
        let mut arguments: Vec<&std::ffi::OsStr> = vec![
            "evidence".as_ref(),
            "verify".as_ref(),
            file.as_ref(),
            "--roots".as_ref(),
            roots.as_ref(),
            "--reference".as_ref(),
            reference.as_ref(),
            "--allow-software-tpm".as_ref(),
        ];
        arguments.extend(more.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
        self.command(&arguments).await
    }

    /// What a person would look at when something is wrong.
    pub async fn scene(&self) -> String {
        let mut scene = String::new();
        if let Ok(hosts) = self.hosts().await {
            for host in hosts {
                scene += &format!("{} {}: {}\n", host.serial, host.stage, host.why.waiting_for);
            }
        }
        for host in self.rack.hosts() {
            scene += &format!("--- console of {}\n{}\n", host.spec().serial, host.console().tail(25));
        }
        for log in ["appliance.log", "chain.log"] {
            let text = std::fs::read_to_string(self.dir.join(log)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            scene += &format!("--- {log}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        scene
    }

    /// Ends chain, appliance and servers.
    pub async fn stop(mut self) {
        for child in [self.appliance.take(), self.devnet.take()].into_iter().flatten() {
            let mut child = child;
            let _ = child.kill().await;
        }
        self.rack.stop().await;
    }

    fn spawn(&self, mut command: Command, log: &str) -> anyhow::Result<Child> {
        let file = File::options().create(true).append(true).open(self.dir.join(log))?;
        command.stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file)).kill_on_drop(true);
        command.spawn().with_context(|| format!("starting {}", self.artefacts.scalerforge.display()))
    }
}

/// Asks `look` until it answers.
async fn until<T, F>(what: &str, limit: Duration, look: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}
