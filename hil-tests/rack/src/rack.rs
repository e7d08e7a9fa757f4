//! The rack: all servers of one test or demo, their LAN, their TPM maker and their BMCs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::bmc::{Bmc, BmcFault, IpmiPolicy, Server, Setup};
use crate::boot::Override;
use crate::children::Nursery;
use crate::console::{Console, Line};
use crate::error::RackError;
use crate::machine::{Machine, PowerState};
use crate::netns::Lan;
use crate::spec::{EkKind, HostSpec};
use crate::tpm::Factory;

/// The port of every BMC.
const BMC_PORT: u16 = 443;

/// The port of every BMC's IPMI.
const IPMI_PORT: u16 = 623;

/// Firmware of ARM servers, code and variables: Debian's `qemu-efi-aarch64` puts them there.
const ARM_FIRMWARE: (&str, &str) = ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd");

/// What a rack is built from.
#[derive(Clone, Debug)]
pub struct RackConfig {
    /// Folder for everything the rack writes: drives, TPM state, logs.  Made when missing; used again when not.
    pub dir: PathBuf,
    /// The servers.
    pub hosts: Vec<HostSpec>,
    /// OVMF's code image, such as `OVMF_CODE_4M.fd`.
    pub ovmf_code: PathBuf,
    /// The same built with Secure Boot, such as `OVMF_CODE_4M.secboot.fd`, for servers that have it.
    pub ovmf_code_secure_boot: PathBuf,
    /// OVMF's empty variable store that belongs to both; every host gets its own copy.
    pub ovmf_vars: PathBuf,
}

/// A running rack.  Dropping it ends every process it started.
#[derive(Debug)]
pub struct Rack {
    lan: Lan,
    hosts: Vec<Host>,
    factory: Factory,
}

/// One server of the rack, as its owner sees it.
#[derive(Debug)]
pub struct Host {
    machine: Arc<Machine>,
    bmc: Bmc,
    folder: PathBuf,
}

impl Rack {
    /// Builds the LAN in the current network namespace, makes the TPMs and starts the BMCs; all servers are off.
    ///
    /// Call it inside a private namespace ([`crate::netns`]), on a runtime that was created there.
    ///
    /// # Errors
    /// When a tool is missing, a file cannot be written, or the description contradicts itself.
    pub async fn start(config: RackConfig) -> Result<Self, RackError> {
        let RackConfig { dir, hosts: specs, ovmf_code, ovmf_code_secure_boot, ovmf_vars } = config;
        let dir = std::path::absolute(&dir).map_err(RackError::io("find", &dir))?;
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(RackError::io("find", &path));
        let (code, vars) = (absolute(ovmf_code)?, absolute(ovmf_vars)?);
        let code_secure_boot = absolute(ovmf_code_secure_boot)?;
        for path in [&code, &code_secure_boot, &vars] {
            std::fs::metadata(path).map_err(RackError::io("find the firmware image", path))?;
        }
        let folders: Vec<PathBuf> = (0..specs.len()).map(|index| dir.join(format!("host-{index}"))).collect();
        let factory = Factory::new(&dir);
        make_tpms(&factory, &specs, &folders)?;
        let lan = Lan::create(specs.len())?;
        let nursery = Nursery::start()?;
        let mut hosts = Vec::new();
        for (index, (spec, folder)) in specs.into_iter().zip(folders).enumerate() {
            let code = if spec.secure_boot { &code_secure_boot } else { &code };
            let firmware = if spec.arm64 {
                (ARM_FIRMWARE.0.into(), ARM_FIRMWARE.1.into())
            } else {
                (code.clone(), vars.clone())
            };
            let machine = Machine::build(index, spec, folder.clone(), firmware, nursery.clone())?;
            let machine = Arc::new(machine);
            let address = IpAddr::from(Lan::bmc_address(index));
            let mut setup = Setup::new((address, BMC_PORT).into());
            setup.ipmi = Some(((address, IPMI_PORT).into(), IpmiPolicy::default()));
            let bmc = Bmc::start(setup, Arc::clone(&machine) as Arc<dyn Server>).await?;
            hosts.push(Host { machine, bmc, folder });
        }
        Ok(Self { lan, hosts, factory })
    }

    /// The LAN: for cable faults.
    #[must_use]
    pub fn lan(&self) -> &Lan {
        &self.lan
    }

    /// All servers in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One server.
    ///
    /// # Panics
    /// When there is none with this index: a mistake in the test.
    #[must_use]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// PEM of the root that the verifier should trust for endorsement certificates.
    ///
    /// # Errors
    /// When the file of the TPM maker's CA cannot be read (no genuine TPM was made).
    pub fn ek_roots_pem(&self) -> Result<String, RackError> {
        self.factory.root_pem()
    }

    /// PEM of the intermediate between that root and the certificates.
    ///
    /// # Errors
    /// As for [`Rack::ek_roots_pem`].
    pub fn ek_intermediates_pem(&self) -> Result<String, RackError> {
        self.factory.intermediate_pem()
    }

    /// Cuts all power and waits until every process is gone.
    pub async fn stop(self) {
        for host in &self.hosts {
            host.power_cut().await;
        }
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.machine.pull_plug();
        }
    }
}

impl Host {
    /// What the server is made of.
    #[must_use]
    pub fn spec(&self) -> &HostSpec {
        self.machine.spec()
    }

    /// Its folder, with `console.log`, `qemu.log`, drives and TPM state.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives power without asking the BMC, as a technician would.
    ///
    /// # Errors
    /// When QEMU or swtpm cannot be started.
    pub async fn power_on(&self) -> Result<(), RackError> {
        self.machine.power_on().await
    }

    /// Pulls the plug: SIGKILL to QEMU.  The BMC stays up and says `Off`; what the TPM had stored survives.
    pub async fn power_cut(&self) {
        self.machine.power_cut().await;
    }

    /// Takes the drive with this serial out, from the next power-on: the machine lacks it, and the BMC goes on listing it,
    /// as BMCs do that take stock at their own start.  Only the last drive: the others' backing files go by their place.
    pub fn pull_drive(&self, serial: &str) {
        self.machine.pull_drive(serial);
    }

    /// Takes [`HostSpec::network_last`] back from the next power-on: an override for the network strikes the drives from
    /// OVMF's stored order, and the network would come before them ever after.
    pub fn no_network_last(&self) {
        self.machine.no_network_last();
    }

    /// Puts a blank drive with another serial in the place of the one with this number, counted from 0.  The server must
    /// be off; its BMC goes on listing the old one.
    ///
    /// # Errors
    /// When the backing file cannot be written.
    pub fn exchange_drive(&self, number: usize, serial: &str) -> Result<(), RackError> {
        self.machine.exchange_drive(number, serial)
    }

    /// Where the BMC serves Redfish, such as `https://10.78.0.11`.
    #[must_use]
    pub fn bmc_url(&self) -> String {
        self.bmc.url()
    }

    /// The BMC's account.
    #[must_use]
    pub fn bmc_user(&self) -> &str {
        self.bmc.user()
    }

    /// Its password, random per BMC and run.
    #[must_use]
    pub fn bmc_password(&self) -> &str {
        self.bmc.password()
    }

    /// The BMC's self-signed certificate, for clients that pin it.
    #[must_use]
    pub fn bmc_certificate_pem(&self) -> String {
        self.bmc.certificate_pem()
    }

    /// Makes the BMC misbehave by a rule.
    pub fn bmc_fault(&self, rule: BmcFault) {
        self.bmc.fault(rule);
    }

    /// Makes the BMC lie: `patch` is merged into the resource at `path` from now on.
    pub fn bmc_lie(&self, path: &str, patch: Value) {
        self.bmc.lie(path, patch);
    }

    /// Forgets all rules and lies.
    pub fn bmc_honest(&self) {
        self.bmc.be_honest();
    }

    /// The boot override as it stands.
    #[must_use]
    pub fn boot_override(&self) -> Override {
        self.machine.boot().read()
    }

    /// The power state, to read or to wait on.
    #[must_use]
    pub fn power(&self) -> watch::Receiver<PowerState> {
        self.machine.power()
    }

    /// The serial console since the last power-on.
    #[must_use]
    pub fn console(&self) -> &Console {
        self.machine.console()
    }

    /// When `pattern` was first printed, counted from power-on.
    #[must_use]
    pub fn first_line_matching(&self, pattern: &str) -> Option<Duration> {
        self.console().first_line_matching(pattern)
    }

    /// Waits for `pattern` on the console.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub async fn wait_console(&self, pattern: &str, limit: Duration) -> Result<Line, RackError> {
        self.console().wait(pattern, limit).await
    }

    /// Sends one QMP command to the running server, for faults the rack has no word for.
    ///
    /// # Errors
    /// When the server is off or QEMU refuses.
    pub async fn qmp(&self, command: &str, arguments: Value) -> Result<Value, RackError> {
        self.machine.qmp("a QMP command", command, arguments).await
    }
}

/// Makes all TPMs, copies last, since the original must exist.
fn make_tpms(factory: &Factory, specs: &[HostSpec], folders: &[PathBuf]) -> Result<(), RackError> {
    let is_copy = |spec: &HostSpec| matches!(spec.ek, EkKind::CopyOf(_));
    for copies in [false, true] {
        for (spec, folder) in specs.iter().zip(folders).filter(|(spec, _)| is_copy(spec) == copies) {
            std::fs::create_dir_all(folder).map_err(RackError::io("create", folder))?;
            let original = match spec.ek {
                EkKind::CopyOf(index) if specs.get(index).is_some_and(|other| !is_copy(other)) => {
                    folders.get(index).map(PathBuf::as_path)
                }
                EkKind::CopyOf(_) | EkKind::Genuine | EkKind::UntrustedCa => None,
            };
            factory.manufacture(folder, spec.ek, original)?;
        }
    }
    Ok(())
}
