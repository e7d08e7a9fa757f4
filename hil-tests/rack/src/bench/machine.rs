//! A machine that does nothing but boot from the network: firmware, one card, a console, and a record of its packets.
//!
//! QEMU itself writes the record (`filter-dump`), at the card, with its own clock: what the firmware sent and was sent,
//! independent of what the server under test says it did.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use appliance_model::Mac;
use tokio::net::UnixListener;
use tokio::process::Child;

use crate::children::Nursery;
use crate::console::{Console, Line};
use crate::error::RackError;
use crate::machine::listen;

/// Socket of the serial console in the machine's folder.
const CONSOLE_SOCKET: &str = "console.sock";

/// The record of packets in the machine's folder.
const RECORD: &str = "card.pcap";

/// Enough of a frame for every DHCP packet and request line; an image of 20 MB need not be kept.
const RECORD_BYTES_MAX: u32 = 1024;

/// How long QEMU may take until it opens the console.
const START_SECONDS_MAX: u64 = 120;

/// What runs before any operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI, as OVMF builds it.
    Uefi {
        /// Code image, read-only.
        code: PathBuf,
        /// Variable store that belongs to it; each boot gets a copy.
        variables: PathBuf,
        /// The code enforces Secure Boot: it needs system management mode and protected flash.
        secure_boot: bool,
    },
    /// UEFI on 64-bit ARM.
    Arm64 {
        /// Code image, read-only.
        code: PathBuf,
        /// Variable store that belongs to it; each boot gets a copy.
        variables: PathBuf,
    },
    /// SeaBIOS; the network is the card's option ROM, an iPXE.
    Bios,
}

/// Which way the firmware takes into the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its own order: PXE first, and HTTP only after PXE has failed.
    Pxe,
    /// HTTP boot alone, as a BMC's override selects it.
    Http,
    /// The same, trusting this `EFI_SIGNATURE_LIST` of authorities for HTTPS.
    Https(Vec<u8>),
    /// IPv6 alone, in its own order: PXE first, and HTTP only after PXE has failed.  (HTTP boot alone cannot be had: edk2
    /// up to 2025 gives up at once while its link-local address is tentative; PXE waits, and leaves a settled address.)
    V6,
}

/// A machine to be booted.
#[derive(Clone, Debug)]
pub struct BootMachine {
    /// Its name: folder, and name in errors.
    pub name: String,
    /// Firmware.
    pub firmware: Firmware,
    /// Way into the network; BIOS knows only [`Way::Pxe`].
    pub way: Way,
    /// The card brings QEMU's iPXE in its option ROM.  BIOS needs it; UEFI then uses it instead of its own driver.
    pub option_rom: bool,
    /// Address of the card.
    pub mac: Mac,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl BootMachine {
    /// A machine of 1 GiB whose card has the address `52:54:00:78:00:NUMBER`.
    #[must_use]
    pub fn new(name: &str, number: u8, firmware: Firmware, way: Way) -> Self {
        Self {
            name: name.to_owned(),
            option_rom: firmware == Firmware::Bios,
            firmware,
            way,
            mac: Mac([0x52, 0x54, 0x00, 0x78, 0x00, number]),
            memory_mib: 1024,
        }
    }
}

/// A machine with power.  Dropping it pulls the plug.
#[derive(Debug)]
pub struct Booting {
    console: Arc<Console>,
    record: PathBuf,
    qemu: Child,
}

impl Booting {
    /// Gives power to `machine`, whose card is at `tap` in the namespace of `nursery`.
    pub(crate) async fn start(
        machine: &BootMachine,
        folder: &Path,
        tap: &str,
        nursery: &Nursery,
    ) -> Result<Self, RackError> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(RackError::io("clear", folder))?;
        }
        std::fs::create_dir_all(folder).map_err(RackError::io("create", folder))?;
        if let Firmware::Uefi { variables, .. } | Firmware::Arm64 { variables, .. } = &machine.firmware {
            let copy = folder.join("vars.fd");
            std::fs::copy(variables, &copy).map_err(RackError::io("copy firmware variables to", copy))?;
        }
        if let Way::Https(authorities) = &machine.way {
            let file = folder.join("authorities.esl");
            std::fs::write(&file, authorities).map_err(RackError::io("write", file))?;
        }
        let listener = listen(folder, CONSOLE_SOCKET)?;
        let console = Arc::new(Console::open(&machine.name, &folder.join("console.log"))?);
        console.restart();
        let words = arguments(machine, tap);
        let program = match &machine.firmware {
            Firmware::Uefi { .. } | Firmware::Bios => "qemu-system-x86_64",
            Firmware::Arm64 { .. } => "qemu-system-aarch64",
        };
        let mut qemu = nursery.spawn(program, &words, folder, "qemu.log").await?;
        follow(&console, &listener, &mut qemu, &machine.name, folder).await?;
        Ok(Self { console, record: folder.join(RECORD), qemu })
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

    /// Pulls the plug; answers where the record of packets is (pcap, Ethernet).
    pub async fn stop(mut self) -> PathBuf {
        drop(self.qemu.kill().await);
        self.record
    }
}

/// Waits until QEMU opens the console, and follows it from then on.
pub(crate) async fn follow(
    console: &Arc<Console>,
    listener: &UnixListener,
    qemu: &mut Child,
    name: &str,
    folder: &Path,
) -> Result<(), RackError> {
    let limit = Duration::from_secs(START_SECONDS_MAX);
    let (stream, _) = tokio::select! {
        accepted = tokio::time::timeout(limit, listener.accept()) => accepted
            .map_err(|_| RackError::Timeout {
                host: name.to_owned(),
                what: "QEMU's console".to_owned(),
                waited: limit,
                tail: String::new(),
            })?
            .map_err(RackError::io("accept QEMU in", folder))?,
        status = qemu.wait() => return Err(RackError::Stillborn {
            host: name.to_owned(),
            status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            log: folder.join("qemu.log"),
        }),
    };
    let screen = Arc::clone(console);
    tokio::spawn(async move { screen.follow(stream).await });
    Ok(())
}

fn arguments(machine: &BootMachine, tap: &str) -> Vec<String> {
    let mut words: Vec<String> = ["-nodefaults", "-no-user-config"].map(ToOwned::to_owned).into();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    let mut board = String::from("q35");
    let mut processor = "max";
    let flash = |code: &Path, add: &mut dyn FnMut(&str, String)| {
        let code = code.display().to_string().replace(',', ",,");
        add("-drive", format!("if=pflash,format=raw,readonly=on,file={code}"));
        add("-drive", "if=pflash,format=raw,file=vars.fd".to_owned());
    };
    match &machine.firmware {
        // Without a graphics card SeaBIOS and the ROM talk on the serial line.
        Firmware::Bios => board.push_str(",smm=off,graphics=off"),
        Firmware::Uefi { code, secure_boot, .. } => {
            let _ = write!(board, ",smm={}", if *secure_boot { "on" } else { "off" });
            if *secure_boot {
                add("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned());
                add("-global", "ICH9-LPC.disable_s3=1".to_owned());
            }
            flash(code, &mut add);
        }
        Firmware::Arm64 { code, .. } => {
            "virt".clone_into(&mut board);
            // Firmware uses little of a newer one, and emulation has less to do.
            processor = "cortex-a57";
            flash(code, &mut add);
        }
    }
    add("-machine", board);
    add("-accel", "tcg,thread=multi".to_owned());
    add("-cpu", processor.to_owned());
    add("-smp", "2".to_owned());
    add("-m", machine.memory_mib.to_string());
    add("-display", "none".to_owned());
    add("-chardev", format!("socket,id=console,path={CONSOLE_SOCKET}"));
    add("-serial", "chardev:console".to_owned());
    add("-device", "virtio-rng-pci".to_owned());
    add("-netdev", format!("tap,id=net0,ifname={tap},script=no,downscript=no"));
    let rom = if machine.option_rom { "" } else { ",romfile=" };
    add("-device", format!("virtio-net-pci,netdev=net0,mac={},bootindex=1{rom}", machine.mac));
    add("-object", format!("filter-dump,id=record,netdev=net0,file={RECORD},maxlen={RECORD_BYTES_MAX}"));
    if let Way::Https(_) = &machine.way {
        add("-fw_cfg", "name=etc/edk2/https/cacerts,file=authorities.esl".to_owned());
    }
    // Firmware would ask for boot servers by the other version of IP between its ways by one.
    let off: &[&str] = match &machine.way {
        Way::Pxe => &["IPv6Support", "IPv6PXESupport"],
        Way::Http | Way::Https(_) => &["IPv6Support", "IPv6PXESupport", "IPv4PXESupport"],
        Way::V6 => &["IPv4Support", "IPv4PXESupport"],
    };
    for feature in off {
        add("-fw_cfg", format!("name=opt/org.tianocore/{feature},string=n"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_and_way_decide_the_command_line() {
        let uefi = |secure_boot| Firmware::Uefi { code: "c,d.fd".into(), variables: "v".into(), secure_boot };
        for (firmware, way, has, hasnt) in [
            (Firmware::Bios, Way::Pxe, "graphics=off", "pflash"),
            (uefi(false), Way::Pxe, "smm=off", "IPv4PXESupport"),
            (uefi(false), Way::Http, "IPv4PXESupport", "secure"),
            (uefi(true), Way::Http, "property=secure", "smm=off"),
            (uefi(false), Way::Https(vec![1]), "https/cacerts,file=authorities.esl", "graphics=off"),
            (uefi(false), Way::Http, "file=c,,d.fd", "cacerts"),
            (
                Firmware::Arm64 { code: "a.fd".into(), variables: "v".into() },
                Way::Http,
                "-machine virt",
                "q35",
            ),
            (uefi(false), Way::V6, "IPv4PXESupport", "IPv6PXESupport"),
        ] {
            let machine = BootMachine::new("m", 1, firmware, way);
            let line = arguments(&machine, "tap0").join(" ");
            assert!(line.contains(has) && !line.contains(hasnt), "{line}");
            assert_eq!(line.contains("romfile="), machine.firmware != Firmware::Bios, "{line}");
        }
    }
}
