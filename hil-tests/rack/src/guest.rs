//! A machine that starts from media of the tester's own: an appliance from its image, beside the rack's servers.
//!
//! It has firmware, a console, ports on bridges of the caller's namespace, and what the test plugs in; no BMC.  Its power
//! is the value: dropping it pulls the plug.  What it writes (its drives, firmware's variables, its TPM) is in its folder
//! and is there again at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use appliance_model::Mac;
use tokio::process::Child;

use crate::bench::follow;
use crate::children::Nursery;
use crate::console::{Console, Line};
use crate::error::RackError;
use crate::machine::listen;
use crate::netns::ip;
use crate::spec::EkKind;
use crate::tpm::{self, CONTROL_SOCKET, Factory};

/// Socket of the serial console in the machine's folder.
const CONSOLE_SOCKET: &str = "console.sock";

/// The machine's own copy of the firmware's variables.
const VARIABLES: &str = "vars.fd";

/// Where the first port is on the PCI bus; other devices take the lowest numbers.
const FIRST_PORT_SLOT: usize = 16;

/// Serial of a raw drive, before its place among the media.
pub const RAW_SERIAL: &str = "GUESTDRIVE";

/// What is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugged {
    /// A CD in a SATA drive.
    Cd(PathBuf),
    /// A CD that a management controller shows, over USB.
    VirtualCd(PathBuf),
    /// A USB stick, read-only.
    Stick(PathBuf),
    /// A drive that is written to, raw.
    Raw(PathBuf),
    /// A drive that is written to, qcow2.
    Qcow2(PathBuf),
}

/// What such a machine is made of.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// Its name in errors.
    pub name: String,
    /// Folder for what it writes.
    pub folder: PathBuf,
    /// OVMF's code image.
    pub ovmf_code: PathBuf,
    /// OVMF's empty variable store that belongs to it.
    pub ovmf_vars: PathBuf,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Media, in the order in which firmware tries them.
    pub media: Vec<Plugged>,
    /// Ports: the bridge each is on, and its address.  Linux calls them `enp0s16`, `enp0s17` and so on.
    pub ports: Vec<(String, Mac)>,
    /// Whether it has a TPM.
    pub tpm: bool,
    /// What its clock says at power-on, as QEMU's `-rtc base=` takes it; `None` is now.
    pub clock: Option<String>,
}

/// A machine with power.
#[derive(Debug)]
pub struct Guest {
    console: Arc<Console>,
    qemu: Child,
    tpm: Option<Child>,
    taps: Vec<String>,
    /// Its children end with it.
    _nursery: Nursery,
}

impl Guest {
    /// Gives power.
    ///
    /// # Errors
    /// When QEMU or swtpm cannot be started, or `ip` fails.
    pub async fn start(spec: &GuestSpec) -> Result<Self, RackError> {
        let folder = std::path::absolute(&spec.folder).map_err(RackError::io("find", &spec.folder))?;
        std::fs::create_dir_all(&folder).map_err(RackError::io("create", &folder))?;
        let variables = folder.join(VARIABLES);
        if !variables.exists() {
            std::fs::copy(&spec.ovmf_vars, &variables)
                .map_err(RackError::io("copy firmware variables to", &variables))?;
        }
        let nursery = Nursery::start()?;
        let tpm = if spec.tpm {
            Factory::new(&folder).manufacture(&folder, EkKind::Genuine, None)?;
            Some(tpm::power_on(&nursery, &folder).await?)
        } else {
            None
        };
        let taps: Vec<String> = (0..spec.ports.len()).map(|number| format!("gst{number}")).collect();
        for (tap, (bridge, _)) in taps.iter().zip(&spec.ports) {
            ip(&format!("tuntap add dev {tap} mode tap"))?;
            ip(&format!("link set {tap} master {bridge}"))?;
            ip(&format!("link set {tap} up"))?;
        }
        let listener = listen(&folder, CONSOLE_SOCKET)?;
        let console = Arc::new(Console::open(&spec.name, &folder.join("console.log"))?);
        console.restart();
        let words = arguments(spec, &taps);
        let mut qemu = nursery.spawn("qemu-system-x86_64", &words, &folder, "qemu.log").await?;
        follow(&console, &listener, &mut qemu, &spec.name, &folder).await?;
        Ok(Self { console, qemu, tpm, taps, _nursery: nursery })
    }

    /// The serial console.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Waits for `pattern` on the console.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub async fn wait_console(&self, pattern: &str, limit: Duration) -> Result<Line, RackError> {
        self.console.wait(pattern, limit).await
    }

    /// Types on the serial console.
    pub async fn types(&self, keys: &str) {
        self.console.types(keys).await;
    }

    /// Pulls the plug, and its cables.
    ///
    /// # Errors
    /// When `ip` fails.
    pub async fn stop(mut self) -> Result<(), RackError> {
        drop(self.qemu.kill().await);
        if let Some(tpm) = &mut self.tpm {
            // It writes its state when QEMU lets go, and ends.
            drop(tpm.wait().await);
        }
        self.taps.iter().try_for_each(|tap| ip(&format!("link del {tap}")))
    }
}

fn arguments(spec: &GuestSpec, taps: &[String]) -> Vec<String> {
    let mut words: Vec<String> = ["-nodefaults", "-no-user-config"].map(ToOwned::to_owned).into();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("-machine", "q35,smm=off".to_owned());
    add("-accel", "tcg,thread=multi".to_owned());
    add("-cpu", "max".to_owned());
    add("-smp", spec.cpus.to_string());
    add("-m", spec.memory_mib.to_string());
    add("-display", "none".to_owned());
    add("-drive", format!("if=pflash,format=raw,readonly=on,file={}", value(&spec.ovmf_code)));
    add("-drive", format!("if=pflash,format=raw,file={VARIABLES}"));
    add("-chardev", format!("socket,id=console,path={CONSOLE_SOCKET}"));
    add("-serial", "chardev:console".to_owned());
    add("-device", "virtio-rng-pci".to_owned());
    if let Some(clock) = &spec.clock {
        add("-rtc", format!("base={clock}"));
    }
    if spec.tpm {
        add("-chardev", format!("socket,id=tpm,path={CONTROL_SOCKET}"));
        add("-tpmdev", "emulator,id=tpm0,chardev=tpm".to_owned());
        add("-device", "tpm-crb,tpmdev=tpm0".to_owned());
    }
    add("-device", "qemu-xhci,id=usb".to_owned());
    for (number, plugged) in spec.media.iter().enumerate() {
        let order = format!("drive=m{number},bootindex={}", number + 1);
        let (format, read_only, file, device) = match plugged {
            Plugged::Cd(file) => ("raw", "on", file, format!("ide-cd,bus=ide.{number},{order}")),
            Plugged::VirtualCd(file) => {
                // One way into the bus for each: the bus would take a disc as its second unit.
                add("-device", format!("usb-bot,id=bot{number},bus=usb.0"));
                ("raw", "on", file, format!("scsi-cd,bus=bot{number}.0,{order}"))
            }
            Plugged::Stick(file) => ("raw", "on", file, format!("usb-storage,bus=usb.0,{order}")),
            Plugged::Raw(file) => {
                ("raw", "off", file, format!("virtio-blk-pci,serial={RAW_SERIAL}{number},{order}"))
            }
            Plugged::Qcow2(file) => ("qcow2", "off", file, format!("virtio-blk-pci,{order}")),
        };
        let file = value(file);
        add(
            "-blockdev",
            format!(
                "driver={format},node-name=m{number},read-only={read_only},file.driver=file,file.filename={file}"
            ),
        );
        add("-device", device);
    }
    for (number, (tap, (_, mac))) in taps.iter().zip(&spec.ports).enumerate() {
        add("-netdev", format!("tap,id=net{number},ifname={tap},script=no,downscript=no"));
        // In a slot of its own, whatever else is plugged in: the slot is in its name (`enp0s16`).
        let slot = FIRST_PORT_SLOT + number;
        add("-device", format!("virtio-net-pci,netdev=net{number},mac={mac},romfile=,addr={slot:#x}"));
    }
    // It starts from what was plugged in, or not at all.
    for feature in ["IPv4Support", "IPv6Support"] {
        add("-fw_cfg", format!("name=opt/org.tianocore/{feature},string=n"));
    }
    add("-fw_cfg", "name=opt/org.tianocore/EFIShellSupport,string=n".to_owned());
    words
}

/// QEMU splits option values at commas; a doubled comma is one comma.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_tried_in_their_order() {
        let mut spec = GuestSpec {
            name: "a".into(),
            folder: "f".into(),
            ovmf_code: "c".into(),
            ovmf_vars: "v".into(),
            cpus: 2,
            memory_mib: 1024,
            media: vec![Plugged::Cd("a,b.iso".into()), Plugged::Stick("s".into())],
            ports: vec![("br0".into(), Mac([2, 0, 0, 0, 0, 1]))],
            tpm: false,
            clock: Some("1970-01-01".into()),
        };
        let line = arguments(&spec, &["gst0".into()]).join(" ");
        for word in [
            "ide-cd,bus=ide.0,drive=m0,bootindex=1",
            "file.filename=a,,b.iso",
            "usb-storage,bus=usb.0,drive=m1,bootindex=2",
            "ifname=gst0",
            "romfile=,addr=0x10",
            "-rtc base=1970-01-01",
        ] {
            assert!(line.contains(word), "no {word} in {line}");
        }
        assert!(!line.contains("tpm"), "{line}");
        spec.media = vec![Plugged::VirtualCd("d.iso".into()), Plugged::Raw("d".into())];
        let line = arguments(&spec, &[]).join(" ");
        assert!(line.contains("usb-bot,id=bot0") && line.contains("scsi-cd,bus=bot0.0,drive=m0"), "{line}");
        assert!(line.contains("virtio-blk-pci,serial=GUESTDRIVE1,drive=m1"), "{line}");
        spec.media = vec![Plugged::Qcow2("d".into())];
        let line = arguments(&spec, &[]).join(" ");
        assert!(line.contains("driver=qcow2,node-name=m0,read-only=off") && !line.contains("tap"), "{line}");
    }
}
