//! `scalerforge boot serve` on a bench, as a user would run it: one configuration file, one process.

use std::{
    fmt::Write as _,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use hil_tests_rack::bench::BootMachine;
use tokio::process::{Child, Command};

use crate::artefacts::Artefacts;

/// How long the service may take until it says that it has started; it takes half a second when the machine is quiet.
const START_SECONDS_MAX: u64 = 60;

/// How long the recorder may take until it knows what a machine has just shown; it takes milliseconds.
const WHY_SECONDS_MAX: u64 = 30;

/// Where operators ask.
const OPERATOR: &str = "127.0.0.1:8090";

/// Where the agents' API would be.
pub const API: &str = "https://10.77.0.1:8443";

/// What is different from one scenario to the next.
#[derive(Debug, Clone)]
pub struct Serving<'a> {
    /// `full`, `proxy` and so on.
    pub mode: &'a str,
    /// What UEFI firmware gets by PXE: `uki`, `ipxe`, `http`.
    pub uefi_pxe: &'a str,
    /// The image for x64, if it is not the discovery image of the artefacts.
    pub image: Option<&'a Path>,
    /// The image for arm64, if there is one.
    pub arm64: Option<&'a Path>,
    /// More lines for the section `[pxe]`.
    pub more: &'a str,
}

/// A running service.  Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    child: Child,
    program: PathBuf,
    log: PathBuf,
}

impl Service {
    /// Writes the configuration into `folder` and starts the service; leases of an earlier start are kept.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(folder: &Path, serving: &Serving<'_>, artefacts: &Artefacts) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let config = folder.join("boot.toml");
        std::fs::write(&config, text(serving, artefacts)?)?;
        let log = folder.join("boot.log");
        let out = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut child = Command::new(&artefacts.scalerforge)
            .args(["boot", "serve", "--json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .context("starting scalerforge boot serve")?;
        let end = tokio::time::Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("\"started\"") {
                return Ok(Self { child, program: artefacts.scalerforge.clone(), log });
            }
            if let Some(status) = child.try_wait()? {
                bail!("scalerforge boot serve ended ({status}): {said}");
            }
            if tokio::time::Instant::now() >= end {
                bail!("scalerforge boot serve did not start within {START_SECONDS_MAX} s: {said}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What `scalerforge boot why` says of a machine, as soon as it says `words`.
    ///
    /// # Errors
    /// If it does not within some seconds.
    pub async fn why(&self, machine: &BootMachine, words: &str) -> anyhow::Result<String> {
        let end = tokio::time::Instant::now() + Duration::from_secs(WHY_SECONDS_MAX);
        loop {
            let mut why = Command::new(&self.program);
            why.args(["boot", "why", "--appliance", &format!("http://{OPERATOR}"), &machine.mac.to_string()]);
            let told = why.output().await.context("running scalerforge boot why")?;
            let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
            if told.contains(words) {
                return Ok(told);
            }
            ensure!(tokio::time::Instant::now() < end, "boot why does not say `{words}`: {told}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends it and waits until it is gone.
    pub async fn stop(mut self) {
        let _ = self.child.kill().await;
    }
}

fn text(serving: &Serving<'_>, artefacts: &Artefacts) -> anyhow::Result<String> {
    // A JSON string is a TOML string.
    let quoted = |path: &Path| {
        path.to_str().map(|path| serde_json::Value::from(path).to_string()).context("a path is not UTF-8")
    };
    let boot = &artefacts.boot;
    let discovery = artefacts.image.join("discovery.efi");
    let mut text = format!(
        r#"state_dir = "state"
operator = "{OPERATOR}"

[pxe]
mode = "{mode}"
interface = "br0"
address = "10.77.0.1"
subnet = "10.77.0.0/24"
api_url = "{API}"
uefi_pxe = "{uefi_pxe}"
relays = {relays}
{more}
[pxe.pool]
first = "10.77.0.100"
last = "10.77.0.150"

[pxe.images]
x64 = {image}
{arm64}
kernel = {kernel}
initrd = {initrd}
command_line = "{command_line}"

[pxe.nbp]
ipxe_uefi = {ipxe_uefi}
ipxe_bios = {ipxe_bios}
shim = {shim}
grub = {grub}
"#,
        mode = serving.mode,
        uefi_pxe = serving.uefi_pxe,
        // A network names its relays; whoever gives no addresses has none.
        relays = if serving.mode == "proxy" { r#"["10.79.0.1"]"# } else { "[]" },
        more = serving.more,
        image = quoted(serving.image.unwrap_or(&discovery))?,
        arm64 =
            serving.arm64.map(quoted).transpose()?.map(|path| format!("arm64 = {path}")).unwrap_or_default(),
        kernel = quoted(&boot.kernel)?,
        initrd = quoted(&boot.initrd)?,
        command_line = boot.command_line,
        ipxe_uefi = quoted(&boot.ipxe_uefi)?,
        ipxe_bios = quoted(&boot.ipxe_bios)?,
        shim = quoted(&boot.shim)?,
        grub = quoted(&boot.grub)?,
    );
    if serving.mode != "proxy" {
        // Machines behind the relay.
        write!(
            text,
            r#"
[[pxe.networks]]
subnet = "10.79.0.0/24"
router = "10.79.0.1"
relays = ["10.79.0.1"]

[pxe.networks.pool]
first = "10.79.0.100"
last = "10.79.0.150"
"#
        )?;
    }
    Ok(text)
}
