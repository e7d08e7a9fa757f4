//! One virtual server with power: QEMU and its TPM, started, watched, reset and cut.
//!
//! A task owns the two processes while the server is on and is the only place that ends them.  Power state is what
//! that task sees: a guest that powers itself off shows as off.  What boots is fixed on QEMU's command line, so a
//! reset after which something else must boot (a one-time override is used up) becomes a new QEMU.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::sync::{Notify, mpsc, watch};

use crate::attached::{self, Attached};
use crate::bench::{Trust, with_trust};
use crate::bmc::{Medium, Outcome, ResetType, SecureBootKeys, SerialLine, Server};
use crate::boot::BootSetting;
use crate::children::Nursery;
use crate::command_line;
use crate::console::Console;
use crate::error::RackError;
use crate::qmp::{Event, Qmp};
use crate::spec::{BootTarget, HostSpec};
use crate::tpm;

/// How long QEMU may take from exec to its control channel: 0.3 s when quiet, 10 s seen under heavy load.
const START_SECONDS_MAX: u64 = 120;

/// How long swtpm may take to write its state after QEMU let go; it takes milliseconds.
const TPM_END_SECONDS_MAX: u64 = 5;

/// Name of the file with QEMU's own words.
const QEMU_LOG: &str = "qemu.log";

/// Whether a server has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// QEMU runs.
    On,
    /// It does not.
    Off,
}

/// One virtual server.
#[derive(Debug)]
pub(crate) struct Machine {
    index: usize,
    spec: HostSpec,
    /// Serials of drives that were pulled: not there from the next power-on.
    pulled: Mutex<Vec<String>>,
    /// Drives in whose place others stand from the next power-on: which, and the other's serial.
    exchanged: Mutex<Vec<(usize, String)>>,
    /// Whether its firmware goes on to the network from the next power-on, as its description has it at first.
    network_last: AtomicBool,
    folder: PathBuf,
    firmware: PathBuf,
    nursery: Nursery,
    console: Arc<Console>,
    boot: BootSetting,
    attached: Attached,
    power: watch::Sender<PowerState>,
    control: Mutex<Option<Control>>,
    switching: tokio::sync::Mutex<()>,
}

/// What others hold of a running server.
#[derive(Clone, Debug)]
struct Control {
    qmp: Arc<Qmp>,
    cut: Arc<Notify>,
}

/// One run of QEMU, from exec to exit.
#[derive(Debug)]
struct Life {
    boots: BootTarget,
    qemu: Child,
    tpm: Child,
    events: mpsc::Receiver<Event>,
    qmp: Arc<Qmp>,
}

impl Machine {
    /// Prepares the host's folder: sparse drives and its own copy of the firmware's variables.
    pub(crate) fn build(
        index: usize,
        spec: HostSpec,
        folder: PathBuf,
        firmware: (PathBuf, PathBuf),
        nursery: Nursery,
    ) -> Result<Self, RackError> {
        for (number, drive) in spec.drives.iter().enumerate() {
            let path = folder.join(command_line::backing_file(number));
            let file = std::fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(RackError::io("create", &path))?;
            file.set_len(drive.bytes).map_err(RackError::io("size", &path))?;
        }
        let variables = folder.join(command_line::VARIABLES);
        if !variables.exists() {
            std::fs::copy(&firmware.1, &variables)
                .map_err(RackError::io("copy firmware variables to", &variables))?;
        }
        let console = Arc::new(Console::open(&spec.serial, &folder.join("console.log"))?);
        let network_last = spec.network_last;
        Ok(Self {
            index,
            spec,
            pulled: Mutex::default(),
            exchanged: Mutex::default(),
            network_last: AtomicBool::new(network_last),
            folder,
            firmware: firmware.0,
            nursery,
            console,
            boot: BootSetting::default(),
            attached: Attached::default(),
            power: watch::Sender::new(PowerState::Off),
            control: Mutex::new(None),
            switching: tokio::sync::Mutex::new(()),
        })
    }

    pub(crate) fn console(&self) -> &Arc<Console> {
        &self.console
    }

    pub(crate) fn power(&self) -> watch::Receiver<PowerState> {
        self.power.subscribe()
    }

    /// Gives power; a server that is on stays on.
    pub(crate) async fn power_on(self: &Arc<Self>) -> Result<(), RackError> {
        let _one_at_a_time = self.switching.lock().await;
        if *self.power.borrow() == PowerState::On {
            return Ok(());
        }
        let life = self.launch(self.boot.consume()).await?;
        let cut = Arc::new(Notify::new());
        self.set_control(Some(Control { qmp: Arc::clone(&life.qmp), cut: Arc::clone(&cut) }));
        self.power.send_replace(PowerState::On);
        tokio::spawn(Arc::clone(self).attend(life, cut));
        Ok(())
    }

    /// Takes power away at once (SIGKILL to QEMU); returns when the processes are gone.
    pub(crate) async fn power_cut(&self) {
        let _one_at_a_time = self.switching.lock().await;
        self.pull_plug();
        // The sender is in `self`, so waiting cannot fail.
        drop(self.power().wait_for(|state| *state == PowerState::Off).await);
    }

    /// Orders the cut and does not wait: for `Drop`.
    pub(crate) fn pull_plug(&self) {
        if let Some(control) = self.control() {
            control.cut.notify_one();
        }
    }

    /// Sends a control command to the running QEMU.
    pub(crate) async fn qmp(
        &self,
        wanted: &'static str,
        command: &str,
        arguments: Value,
    ) -> Result<Value, RackError> {
        let off = || RackError::Off { host: self.spec.serial.clone(), wanted };
        self.control().ok_or_else(off)?.qmp.run(command, arguments).await
    }

    /// Presses the reset button.
    pub(crate) async fn reset(&self) -> Result<(), RackError> {
        self.qmp("a reset", "system_reset", json!({})).await.map(drop)
    }

    /// Presses the power button shortly: the guest may shut down, or not.
    pub(crate) async fn press_power_button(&self) -> Result<(), RackError> {
        self.qmp("a graceful shutdown", "system_powerdown", json!({})).await.map(drop)
    }

    /// Takes a drive out; a server that runs notices at its next power-on.
    pub(crate) fn pull_drive(&self, serial: &str) {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner).push(serial.to_owned());
    }

    /// Has the firmware stay at its drives from the next start of QEMU on.
    pub(crate) fn no_network_last(&self) {
        self.network_last.store(false, Ordering::SeqCst);
    }

    /// Puts a blank drive of the same size in the place of this one, while the power is off.
    pub(crate) fn exchange_drive(&self, number: usize, serial: &str) -> Result<(), RackError> {
        let path = self.folder.join(command_line::backing_file(number));
        let bytes = self.spec.drives.get(number).map_or(0, |drive| drive.bytes);
        let file = std::fs::File::create(&path).map_err(RackError::io("empty", &path))?;
        file.set_len(bytes).map_err(RackError::io("size", &path))?;
        let mut exchanged = self.exchanged.lock().unwrap_or_else(PoisonError::into_inner);
        exchanged.push((number, serial.to_owned()));
        Ok(())
    }

    /// The server without the drives that were pulled, and with those that were exchanged.
    fn present(&self) -> HostSpec {
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spec = self.spec.clone();
        spec.network_last = self.network_last.load(Ordering::SeqCst);
        for (number, serial) in self.exchanged.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(drive) = spec.drives.get_mut(*number) {
                drive.serial.clone_from(serial);
            }
        }
        spec.drives.retain(|drive| !pulled.contains(&drive.serial));
        spec
    }

    async fn launch(&self, boots: BootTarget) -> Result<Life, RackError> {
        let console = listen(&self.folder, command_line::CONSOLE_SOCKET)?;
        let qmp = listen(&self.folder, command_line::QMP_SOCKET)?;
        let tpm = tpm::power_on(&self.nursery, &self.folder).await?;
        self.put_keys();
        self.console.restart();
        let mut arguments = command_line::arguments(self.index, &self.present(), &self.firmware, boots);
        arguments.extend(self.attached.arguments(boots));
        let program = if self.spec.arm64 { "qemu-system-aarch64" } else { "qemu-system-x86_64" };
        let mut qemu = self.nursery.spawn(program, &arguments, &self.folder, QEMU_LOG).await?;
        tracing::debug!(host = %self.spec.serial, ?boots, "QEMU started");
        let connect = async {
            let console = accept(&console, &self.folder).await?;
            let screen = Arc::clone(&self.console);
            tokio::spawn(async move { screen.follow(console).await });
            Qmp::greet(&self.spec.serial, accept(&qmp, &self.folder).await?).await
        };
        let limit = Duration::from_secs(START_SECONDS_MAX);
        let (qmp, events) = tokio::select! {
            connected = tokio::time::timeout(limit, connect) => connected.map_err(|_| RackError::Timeout {
                host: self.spec.serial.clone(),
                what: "QEMU's control channel".to_owned(),
                waited: limit,
                tail: self.console.tail(5),
            })??,
            status = qemu.wait() => return Err(RackError::Stillborn {
                host: self.spec.serial.clone(),
                status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                log: self.folder.join(QEMU_LOG),
            }),
        };
        Ok(Life { boots, qemu, tpm, events, qmp: Arc::new(qmp) })
    }

    /// Puts the Secure Boot keys that the BMC was given into the firmware's variables, while nobody runs that reads
    /// them.  A firmware without Secure Boot keeps them and does not heed them.
    fn put_keys(&self) {
        let Some(keys) = self.attached.take_keys() else { return };
        let trust = Trust {
            enable: keys.enable,
            platform: &keys.platform,
            exchange: &keys.exchange,
            allowed: &keys.allowed,
            forbidden: &keys.forbidden,
            revoked: &keys.revoked,
        };
        let path = self.folder.join(command_line::VARIABLES);
        let filled = std::fs::read(&path).ok().and_then(|store| with_trust(&store, trust));
        let written = filled.map(|store| std::fs::write(&path, store));
        if !matches!(written, Some(Ok(()))) {
            tracing::warn!(host = %self.spec.serial, "Secure Boot keys did not reach the firmware's variables");
        }
    }

    /// Owns the processes until the power is off.
    async fn attend(self: Arc<Self>, mut life: Life, cut: Arc<Notify>) {
        loop {
            let next = self.live(&mut life, &cut).await;
            bury(&mut life.tpm).await;
            let Some(boots) = next else { break };
            match self.launch(boots).await {
                Ok(new) => life = new,
                Err(error) => {
                    tracing::warn!(host = %self.spec.serial, error = %error, "reset failed; server is off");
                    break;
                }
            }
            self.set_control(Some(Control { qmp: Arc::clone(&life.qmp), cut: Arc::clone(&cut) }));
        }
        self.set_control(None);
        self.power.send_replace(PowerState::Off);
    }

    /// One QEMU from start to exit; says what to boot next if the end was a reset into something else.
    async fn live(&self, life: &mut Life, cut: &Notify) -> Option<BootTarget> {
        let mut next = None;
        let mut listening = true;
        loop {
            tokio::select! {
                status = life.qemu.wait() => {
                    tracing::debug!(host = %self.spec.serial, ?status, "QEMU ended");
                    return next;
                }
                () = cut.notified() => {
                    next = None;
                    drop(life.qemu.start_kill());
                }
                event = life.events.recv(), if listening => match event {
                    Some(Event::Reset) => {
                        let boots = self.boot.consume();
                        if boots != life.boots {
                            life.qmp.settle().await;
                            next = Some(boots);
                            listening = false;
                            drop(life.qemu.start_kill());
                        }
                    }
                    Some(Event::Closed) | None => listening = false,
                },
            }
        }
    }

    fn control(&self) -> Option<Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_control(&self, control: Option<Control>) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = control;
    }
}

impl Server for Machine {
    fn spec(&self) -> &HostSpec {
        &self.spec
    }

    fn is_on(&self) -> bool {
        *self.power.borrow() == PowerState::On
    }

    fn boot(&self) -> &BootSetting {
        &self.boot
    }

    fn command(self: Arc<Self>, reset: ResetType) -> Outcome<'static> {
        Box::pin(async move {
            match reset {
                ResetType::On => self.power_on().await,
                ResetType::ForceOff => {
                    self.power_cut().await;
                    Ok(())
                }
                ResetType::GracefulShutdown => self.press_power_button().await,
                // The guest has no agent that could be asked to restart, so the button is pressed.
                ResetType::ForceRestart | ResetType::GracefulRestart => self.reset().await,
                ResetType::Nmi => self.qmp("an NMI", "inject-nmi", json!({})).await.map(drop),
                ResetType::PowerCycle => {
                    self.power_cut().await;
                    self.power_on().await
                }
            }
        })
    }

    fn media(self: Arc<Self>, slot: String, medium: Option<Medium>) -> Outcome<'static> {
        Box::pin(async move {
            self.attached.set_medium(&slot, medium.clone());
            if self.is_on() {
                // A server without USB controller gets it at the next start.
                if let Err(error) = change_running(&self, &slot, medium.as_ref()).await {
                    tracing::debug!(host = %self.spec.serial, error = %error, "medium waits for the next start");
                }
            }
            Ok(())
        })
    }

    fn secure_boot(&self, keys: SecureBootKeys) {
        self.attached.set_keys(keys);
    }

    fn serial(&self) -> Option<SerialLine> {
        Some(self.console.line())
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }
}

/// Plugs a medium into a QEMU that runs, or pulls it.
async fn change_running(machine: &Machine, slot: &str, medium: Option<&Medium>) -> Result<(), RackError> {
    let Some(medium) = medium else {
        let (command, arguments) = attached::unplug(slot);
        return machine.qmp("a virtual medium", command, arguments).await.map(drop);
    };
    for (command, arguments) in attached::plug(slot, medium) {
        machine.qmp("a virtual medium", command, arguments).await?;
    }
    Ok(())
}

/// Listens on a socket in a folder by way of a descriptor, since addresses hold 107 bytes only.
pub(crate) fn listen(folder: &Path, name: &str) -> Result<UnixListener, RackError> {
    use std::os::fd::AsRawFd;

    let path = folder.join(name);
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(RackError::io("remove", path)(error)),
    }
    let folder = std::fs::File::open(folder).map_err(RackError::io("open", folder))?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
        .map_err(RackError::io("listen on", path))
}

async fn accept(listener: &UnixListener, folder: &Path) -> Result<UnixStream, RackError> {
    let (stream, _) = listener.accept().await.map_err(RackError::io("accept QEMU in", folder))?;
    Ok(stream)
}

/// Waits for the TPM to write its state and end, as `--terminate` makes it; a stuck one is killed.
async fn bury(tpm: &mut Child) {
    if tokio::time::timeout(Duration::from_secs(TPM_END_SECONDS_MAX), tpm.wait()).await.is_err() {
        tracing::warn!("swtpm did not end with its machine; killing it");
        drop(tpm.kill().await);
    }
}
